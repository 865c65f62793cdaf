/// Lengths of time in milliseconds, and the UTC calendar arithmetic that features need.
enum Clock {
    static let second: Int64 = 1000
    static let minute: Int64 = 60_000
    static let hour: Int64 = 3_600_000
    static let day: Int64 = 86_400_000

    static let secondsPerDay: UInt32 = 86_400

    /// Floor division, so that instants before 1970 fall into the right hour.
    @inline(__always)
    static func index(_ time: Int64, per unit: Int64) -> Int64 {
        let q = time / unit
        return (time % unit < 0) ? q - 1 : q
    }

    /// The remainder of floor division, 0..<unit.
    @inline(__always)
    static func remainder(_ time: Int64, per unit: Int64) -> Int64 {
        let r = time % unit
        return r < 0 ? r + unit : r
    }

    /// Hour of the week in UTC, 0…167, 0 is Sunday 00:00.
    @inline(__always)
    static func hourOfWeek(_ time: Int64) -> Int {
        let hours = index(time, per: hour) + 96  // 1970-01-01 was a Thursday
        return Int(remainder(hours, per: 168))
    }
}
