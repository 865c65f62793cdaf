/// How many events with an update customers had while the latest was on one day (UTC): further ones may be ignored.
struct DayCounts {
    private static let dayMs: Int64 = 86_400_000
    /// Most of a day; 0: any number.
    let most: Int
    private var days: [UInt64: (day: Int64, count: Int)] = [:]

    init(most: Int) { self.most = most }

    /// From now on, this customer counts.
    mutating func follow(_ customer: UInt64) {
        if most > 0 { days[customer] = (.min, 0) }
    }

    mutating func note(_ customer: UInt64, at time: Int64, isDeletion: Bool) {
        guard let known = days[customer] else { return }
        let day = max(known.day, time / Self.dayMs)
        days[customer] = isDeletion ? (.min, 0) : (day, day == known.day ? known.count + 1 : 1)
    }

    /// Whether a customer has had its events of the day when one of this time comes.
    func isFull(_ customer: UInt64, at time: Int64) -> Bool {
        guard let known = days[customer] else { return false }
        return known.count >= most && time / Self.dayMs <= known.day
    }
}
