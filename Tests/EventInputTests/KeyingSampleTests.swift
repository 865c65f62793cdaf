import EventInput
import Testing

@Suite struct KeyingSampleTests {
    private static func at(_ partition: Int32, _ offset: Int64 = 0) -> KeyingSample.Sighting {
        .init(topic: 0, partition: partition, offset: .at(offset))
    }

    /// Hashes as good ones are: the bits of successive numbers, mixed (splitmix64, Steele et al. 2014).
    private static func hash(_ i: Int) -> UInt64 {
        var z = UInt64(i) &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    @Test func aCustomerInTwoPartitionsIsFoundOnce() {
        var sample = KeyingSample(capacity: 64)
        #expect(sample.note(7, at: Self.at(1, 10)) == nil)
        #expect(sample.note(7, at: Self.at(1, 11)) == nil)
        let pair = sample.note(7, at: Self.at(2, 5))
        #expect(pair?.first == Self.at(1, 10) && pair?.second == Self.at(2, 5))
        #expect(sample.note(7, at: Self.at(3, 6)) == nil && sample.note(7, at: Self.at(1, 12)) == nil)
        #expect(sample.note(8, at: Self.at(2)) == nil)
        #expect(sample.customers == 2 && sample.split == 1 && sample.share == 0.5)
    }

    @Test func theSamePartitionOfAnotherTopicIsAnotherOne() {
        var sample = KeyingSample(capacity: 64)
        _ = sample.note(7, at: .init(topic: 0, partition: 1, offset: .at(0)))
        #expect(sample.note(7, at: .init(topic: 1, partition: 1, offset: .at(0))) != nil)
    }

    @Test func zeroIsAHashLikeOthers() {
        var sample = KeyingSample(capacity: 4)
        #expect(sample.note(0, at: Self.at(0)) == nil)
        #expect(sample.note(0, at: Self.at(1)) != nil)
        #expect(sample.customers == 1)
    }

    /// All customers are in two partitions before the sample is thinned.
    @Test func whoLeavesTheSampleIsCountedNoMore() {
        var sample = KeyingSample(capacity: 64)
        for i in 0..<1000 { for p in [0, 1] { _ = sample.note(Self.hash(i), at: Self.at(Int32(p))) } }
        #expect(sample.factor >= 16 && sample.customers > 0)
        #expect(sample.split == sample.customers && sample.share == 1)
    }

    /// Of 100,000 customers, every tenth in two partitions, it keeps some hundred in the order of their coming or
    /// another, the same ones; the share is theirs.
    @Test(arguments: [1, 77]) func memoryIsBoundedAndTheShareStays(step: Int) {
        var sample = KeyingSample(capacity: 1024)
        for turn in 0..<2 {
            for i in 0..<100_000 {
                let n = i * step % 100_000
                let isSplit = n % 10 == 0
                _ = sample.note(Self.hash(n), at: Self.at(Int32(isSplit ? turn : 5)))
            }
        }
        let kept = (0..<100_000).filter { Self.hash($0) & sample.mask == 0 }
        #expect(sample.customers == kept.count && (256...512).contains(kept.count))
        #expect(sample.split == kept.count { $0 % 10 == 0 })
        #expect(abs(sample.share - 0.1) < 0.05)
        #expect(sample.factor == 256)
    }
}
