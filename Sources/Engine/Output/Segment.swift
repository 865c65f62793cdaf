/// A customer's place among the customers of its partition by expected value.
public enum Segment: String, Sendable, Codable {
    case high, mid, low

    /// - Parameters:
    ///   - share: of the customers with a lower value.
    ///   - high: lowest share of the high segment; `mid` of the middle one.
    @inline(__always)
    init(share: Float, high: Float, mid: Float) { self = share >= high ? .high : share >= mid ? .mid : .low }
}
