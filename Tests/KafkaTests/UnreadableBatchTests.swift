import CEventParser
import Foundation
import Logging
import Testing

@testable import Kafka

/// Batches of 3 MB that zstd makes a few hundred bytes of, and a consumer that takes 2 MB.
@Suite struct UnreadableBatchTests {
    private let cluster: TestCluster
    init() throws { cluster = try TestCluster() }

    private static let properties = ["receive.message.max.bytes": "2000000", "fetch.max.bytes": "1000000"]

    private func poison(_ name: String, records: Int) throws {
        let producer = try Producer(
            bootstrap: cluster.bootstrap, transactionalId: nil,
            properties: [
                "compression.codec": "zstd", "message.max.bytes": "8000000", "batch.size": "8000000",
                "linger.ms": "300",
            ], logger: cluster.logger)
        let topic = try producer.topic(name)
        let spaces = [UInt8](repeating: 0x20, count: 3_000_000 / records)
        try spaces.withUnsafeBytes { bytes in
            let record = Producer.Record(topic: topic, key: .init(start: nil, count: 0), value: bytes)
            for _ in 0..<records { try producer.produce(record, partition: 0, timestampMs: 1) }
        }
        try producer.flush()
    }

    /// What a partition gives until its end: offset and number of unreadable offsets of each record.
    private func read(_ consumer: Consumer, to end: Int64) throws -> [[Int64]] {
        var seen: [[Int64]] = []
        try consume(consumer, seconds: 90) { poll in
            seen += poll.records.map { [$0.offset, Int64($0.unreadable)] }
            #expect(poll.unreadable.isEmpty && poll.error == nil)
            return poll.ends.values.contains(end)
        }
        return seen
    }

    /// The end of a batch is found whatever its length, and whatever follows: nothing else is stepped over.
    @Test func itsEndIsFound() throws {
        let name = try cluster.topic("bad", partitions: 1)
        for records in [1, 2, 7, 64] {
            try cluster.produce(["good"], to: name)
            try poison(name, records: records)
        }
        // By hand: good records at 0, 2, 5, 13; batches up to 1, 4, 12, 77.
        let expected: [[Int64]] = [
            [0, 0], [1, 1], [2, 0], [4, 2], [5, 0], [12, 7], [13, 0], [77, 64],
        ]
        let consumer = try cluster.consumer([name], group: name, properties: Self.properties)
        consumer.skips = SkippedOffsets(["\(name)/0/1-77"])
        let found = try read(consumer, to: 78)
        #expect(found == expected, "\(found)")
        // From inside a batch, as after a commit at an offset that somebody has set.
        let later = try cluster.consumer([name], group: "\(name)-2", properties: Self.properties)
        later.skips = SkippedOffsets(["\(name)/0/13-77"])
        var seen: [[Int64]] = []
        try consume(later, seconds: 90, start: PartitionOffset(offset: 50)) { poll in
            seen += poll.records.map { [$0.offset, Int64($0.unreadable)] }
            return poll.ends.values.contains(78)
        }
        #expect(seen == [[77, 28]])
    }

    /// Nothing of a partition that stands still is lost: it goes on where it was once the batch can be read.
    @Test func whatComesAfterItWaits() throws {
        let name = try cluster.topic("bad", partitions: 2)
        try cluster.produce(["a", "b"], to: name)
        try poison(name, records: 4)
        try cluster.produce(["c"], to: name)
        try cluster.produce(["d"], to: name, partition: 1)
        let consumer = try cluster.consumer([name], group: name, properties: Self.properties)
        var (seen, stops): ([String], [UnreadableBatch]) = ([], [])
        try consume(consumer) { poll in
            seen += poll.records.map { "\($0.partition)/\($0.offset)" }
            stops += poll.unreadable
            return !stops.isEmpty && seen.count == 3
        }
        #expect(Set(seen) == ["0/0", "0/1", "1/0"])
        let stop = try #require(stops.first)
        #expect(stop.partition == TopicPartition(name, 0) && stop.offset == 2 && stop.next == 2)
        #expect(stop.error.name == "_BAD_COMPRESSION" && stop.error.reason.contains("(zstd)"))
        // Meanwhile an operator has made an entry: the next try steps over it.
        consumer.skips = SkippedOffsets(["\(name)/0/2"])
        seen = []
        try consume(consumer) { poll in
            seen += poll.records.map { "\($0.partition)/\($0.offset)/\($0.unreadable)" }
            return seen.count == 2
        }
        #expect(seen == ["0/5/4", "0/6/0"])
    }

    @Test(arguments: [
        "", "t", "t/0", "t/0/", "t/0/1-", "t/0/-1", "t/0/5-4", "t/x/1", "t/-1/1", "t/0/1/2", "/0/1", "t/0/1-2-3",
        "u/0/1",
    ])
    func entriesThatNameNoOffset(entry: String) { #expect(!SkippedOffsets.isSound(entry, topics: ["t"])) }

    @Test func entriesNameOffsets() {
        let skips = SkippedOffsets(["t/0/5", "t/0/7-9", "a.b-c/12/0"])
        let (t, other) = (TopicPartition("t", 0), TopicPartition("a.b-c", 12))
        #expect((0..<12).filter { skips.contains($0, of: t) } == [5, 7, 8, 9])
        #expect(skips.contains(0, of: other) && !skips.contains(5, of: TopicPartition("t", 1)))
        #expect(SkippedOffsets.isSound("a.b-c/12/0-4", topics: ["t", "a.b-c"]))
    }
}
