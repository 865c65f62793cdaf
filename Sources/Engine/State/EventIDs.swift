/// The ids of a user's last eight events, as 48 bits of their hashes: they tell duplicates. An event without an id
/// (hash 0) is never a duplicate.
struct EventIDs {
    private let low: UnsafeMutablePointer<UInt32>
    private let high: UnsafeMutablePointer<UInt16>
    private let header: UnsafeMutablePointer<UserHeader>

    @inline(__always)
    init(_ slot: UserSlot, _ layout: UserLayout) {
        low = slot.at(layout.dedupLow, as: UInt32.self)
        high = slot.at(layout.dedupHigh, as: UInt16.self)
        header = slot.header
    }

    @inline(__always)
    func contains(_ hash: UInt64) -> Bool {
        guard hash != 0 else { return false }
        let l = UInt32(truncatingIfNeeded: hash)
        let h = UInt16(truncatingIfNeeded: hash >> 32)
        for i in 0..<UserLayout.dedupCount where low[i] == l && high[i] == h { return true }
        return false
    }

    /// The ids (48 bits of their hashes), the newest first.
    var newest: [UInt64] {
        (1...UserLayout.dedupCount).compactMap { k in
            let i = (Int(header.pointee.dedupNext) + UserLayout.dedupCount - k) % UserLayout.dedupCount
            let id = UInt64(high[i]) << 32 | UInt64(low[i])
            return id == 0 ? nil : id
        }
    }

    /// Keeps an id in place of the oldest.
    @inline(__always)
    func insert(_ hash: UInt64) {
        guard hash != 0 else { return }
        let at = Int(header.pointee.dedupNext)
        low[at] = UInt32(truncatingIfNeeded: hash)
        high[at] = UInt16(truncatingIfNeeded: hash >> 32)
        header.pointee.dedupNext = UInt8((at + 1) % UserLayout.dedupCount)
    }
}
