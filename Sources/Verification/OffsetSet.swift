/// A set of offsets within a range: one bit each.
struct OffsetSet {
    let range: Range<Int64>
    private var words: [UInt64]
    /// Offsets in the set.
    private(set) var count: Int64 = 0

    init(_ range: Range<Int64>) {
        self.range = range
        words = Array(repeating: 0, count: (range.count + 63) / 64)
    }

    func contains(_ offset: Int64) -> Bool {
        let i = Int(offset - range.lowerBound)
        return words[i >> 6] >> UInt64(i & 63) & 1 != 0
    }

    /// Adds an offset of the range.
    /// - Returns: whether it is new.
    @discardableResult
    mutating func insert(_ offset: Int64) -> Bool {
        let i = Int(offset - range.lowerBound)
        let bit = UInt64(1) << UInt64(i & 63)
        guard words[i >> 6] & bit == 0 else { return false }
        words[i >> 6] |= bit
        count += 1
        return true
    }
}
