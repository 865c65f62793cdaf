/// Whether customers stay in one partition: a sample of customers, each with the partition that it was seen in first.
/// It begins with all customers. When half of its memory is in use, it goes on with every second one of them. The hash of
/// the customer decides which, so the partition has no say.
public struct KeyingSample: Sendable {
    /// Where a customer was seen.
    public struct Sighting: Sendable, Equatable {
        /// Index of the topic.
        public var topic: Int32
        public var partition: Int32
        public var offset: Offset

        public enum Offset: Sendable, Equatable {
            /// Of the record.
            case at(Int64)
            /// The record came before this one.
            case before(Int64)
        }

        public init(topic: Int32, partition: Int32, offset: Offset) {
            (self.topic, self.partition, self.offset) = (topic, partition, offset)
        }
    }

    /// Customers in the sample, and those of them that were seen in more than one partition.
    public private(set) var customers = 0
    public private(set) var split = 0
    /// Hashes in the sample have none of these bits.
    public private(set) var mask: UInt64 = 0
    private var hashes: [UInt64]
    private var sightings: [Sighting]
    private var isSplit: [Bool]
    private let shift: UInt64

    /// - Parameter capacity: places in memory, 40 bytes each; a power of two.
    public init(capacity: Int = 65_536) {
        precondition(capacity > 1 && capacity.nonzeroBitCount == 1, "a power of two")
        hashes = Array(repeating: 0, count: capacity)
        sightings = Array(repeating: Sighting(topic: 0, partition: 0, offset: .at(0)), count: capacity)
        isSplit = Array(repeating: false, count: capacity)
        shift = UInt64(64 - capacity.trailingZeroBitCount)
    }

    /// How many customers one in the sample stands for.
    public var factor: Int64 { Int64(mask) + 1 }

    /// Share of the customers that were seen in more than one partition, 0 to 1.
    public var share: Double { customers > 0 ? Double(split) / Double(customers) : 0 }

    /// Notes that a customer was seen.
    /// - Parameter hash: 64 bits of its id, by the same function for all partitions.
    /// - Returns: the first sighting and this one, when the customer turns out to be in a second partition.
    public mutating func note(_ hash: UInt64, at sighting: Sighting) -> (first: Sighting, second: Sighting)? {
        guard hash & mask == 0 else { return nil }
        // 0 is an empty place.
        let hash = hash == 0 ? 1 << 63 : hash
        let i = place(hash)
        if hashes[i] == hash {
            let first = sightings[i]
            guard !isSplit[i], first.topic != sighting.topic || first.partition != sighting.partition else {
                return nil
            }
            isSplit[i] = true
            split += 1
            return (first, sighting)
        }
        (hashes[i], sightings[i], isSplit[i]) = (hash, sighting, false)
        customers += 1
        if customers * 2 > hashes.count { thin() }
        return nil
    }

    /// Where a hash is, or will be.
    private func place(_ hash: UInt64) -> Int {
        var i = Int((hash &* 0x9E37_79B9_7F4A_7C15) >> shift)
        while hashes[i] != 0, hashes[i] != hash { i = (i + 1) & (hashes.count - 1) }
        return i
    }

    private mutating func thin() {
        mask = mask << 1 | 1
        let all = hashes.indices.filter { hashes[$0] & mask == 0 && hashes[$0] != 0 }
            .map { (hashes[$0], sightings[$0], isSplit[$0]) }
        for i in hashes.indices { hashes[i] = 0 }
        (customers, split) = (all.count, 0)
        for (hash, sighting, wasSplit) in all {
            let i = place(hash)
            (hashes[i], sightings[i], isSplit[i]) = (hash, sighting, wasSplit)
            if wasSplit { split += 1 }
        }
    }
}
