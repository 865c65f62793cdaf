/// A user's place in the stream by expected value.
public enum Segment: String, Sendable, Codable {
    case high, mid, low

    /// - Parameters:
    ///   - value: expected value of the segment target, base currency.
    ///   - high: lowest value of the high segment; `mid` of the middle one.
    @inline(__always)
    init(value: Float, high: Float, mid: Float) { self = value >= high ? .high : value >= mid ? .mid : .low }
}
