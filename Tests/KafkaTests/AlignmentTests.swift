import CEventParser
import Foundation
import Testing

@testable import Kafka

/// Partitions that are behind proceed side by side in the time of their records.
@Suite struct AlignmentTests {
    private static let perPartition = 5000

    /// Record `i` of each of `partitions` is of second `i`.
    private static func fill(_ cluster: TestCluster, partitions: Int32) throws -> String {
        let name = try cluster.topic("aligned", partitions: Int(partitions))
        for p in 0..<partitions {
            try cluster.produce((0..<perPartition).map { "\(p)-\($0)" }, to: name, partition: p) {
                Int64($0 + 1) * 1000
            }
        }
        return name
    }

    /// Reads records until there are so many, in the order of each partition.
    /// - Returns: their partitions and seconds.
    private static func read(
        _ consumer: Consumer, _ count: Int, seconds: Double = 20
    ) throws -> [(partition: Int32, second: Int64)] {
        var read: [(partition: Int32, second: Int64)] = []
        var next: [Int32: Int64] = [:]
        try consume(consumer, seconds: seconds) { poll in
            for r in poll.records {
                #expect(r.offset == next[r.partition, default: 0])
                next[r.partition] = r.offset + 1
                read.append((r.partition, r.timestamp_ms / 1000))
            }
            return read.count >= count
        }
        return read
    }

    /// How far a record lies behind one that came before it, at most, s.
    private static func disorder(_ records: [(partition: Int32, second: Int64)]) -> Int64 {
        var newest: Int64 = 0
        var most: Int64 = 0
        for r in records {
            newest = max(newest, r.second)
            most = max(most, newest - r.second)
        }
        return most
    }

    @Test(arguments: [0, 2000]) func partitionsThatAreBehindProceedInTheTimeOfTheirRecords(waitMs: Int) throws {
        let cluster = try TestCluster()
        let name = try Self.fill(cluster, partitions: 4)
        let consumer = try cluster.consumer([name], group: name, batchRecords: 100, alignmentWaitMs: waitMs)
        let read = try Self.read(consumer, 4 * Self.perPartition)
        consumer.close()
        try #require(read.count == 4 * Self.perPartition)
        #expect(waitMs > 0 ? Self.disorder(read) == 0 : Self.disorder(read) > 1000)
    }

    /// What is at hand fits one batch all the time, and no partition has much at hand: old records are in order all the
    /// same, to the last.
    @Test func oldRecordsAreInOrderHoweverFewAreAtHand() throws {
        let cluster = try TestCluster()
        let name = try cluster.topic("aligned", partitions: 4)
        // Of batches of different sizes, one a fetch in the mock cluster, partitions have more or less at hand.
        for p in 0..<4 {
            let size = [50, 110, 170, 230][p]
            for at in stride(from: 0, to: 1000, by: size) {
                let values = (at..<min(1000, at + size)).map { "\(p)-\($0)" }
                try cluster.produce(values, to: name, partition: Int32(p)) { Int64(at + $0 + 1) * 1000 }
            }
        }
        let consumer = try cluster.consumer(
            [name], group: name, batchRecords: 8192, alignmentWaitMs: 5000,
            properties: ["max.partition.fetch.bytes": "2000"])
        let read = try Self.read(consumer, 4 * 1000)
        consumer.close()
        try #require(read.count == 4 * 1000)
        #expect(Self.disorder(read) == 0)
    }

    /// The first fetch may bring thousands of one partition, which fit one batch: they wait for those of the others.
    @Test func afterAStartTheFirstBatchIsInOrderToo() throws {
        let cluster = try TestCluster()
        let name = try Self.fill(cluster, partitions: 8)
        let consumer = try cluster.consumer([name], group: name, batchRecords: 8192, alignmentWaitMs: 5000)
        let read = try Self.read(consumer, 4000)
        consumer.close()
        #expect(Self.disorder(Array(read.prefix(4000))) <= 100)
    }

    /// What comes a moment later of another partition may be earlier: a record waits for that, but not for good.
    @Test func whatComesEarlierIsWaitedFor() throws {
        let cluster = try TestCluster()
        let name = try cluster.topic("held", partitions: 2)
        let consumer = try cluster.consumer([name], group: name, alignmentWaitMs: 2000, holdsBack: true)
        try consume(consumer, ends: 2)
        var read: [Int64] = []
        func poll(seconds: Double, until count: Int) throws {
            try consume(consumer, seconds: seconds) { poll in
                read += poll.records.map(\.timestamp_ms)
                return read.count >= count
            }
        }
        try cluster.produce(["late"], to: name, partition: 0) { _ in 2000 }
        try poll(seconds: 0.5, until: 1)
        #expect(read.isEmpty, "held back")
        try cluster.produce(["early"], to: name, partition: 1) { _ in 1000 }
        try poll(seconds: 20, until: 2)
        #expect(read == [1000, 2000])
        let began = ContinuousClock.now
        try cluster.produce(["alone"], to: name, partition: 0) { _ in 3000 }
        try poll(seconds: 20, until: 3)
        #expect(read == [1000, 2000, 3000])
        #expect((.seconds(1.5)...(.seconds(10))).contains(ContinuousClock.now - began))
        consumer.close()
    }

    /// Of records of the same time, those of the lower partition come first, whatever the order of assignment.
    @Test func equalTimesComeInTheOrderOfPartitions() throws {
        let cluster = try TestCluster()
        let name = try Self.fill(cluster, partitions: 3)
        let consumer = try cluster.consumer([name], group: name, batchRecords: 100, alignmentWaitMs: 2000)
        let read = try Self.read(consumer, 3 * Self.perPartition)
        consumer.close()
        try #require(read.count == 3 * Self.perPartition)
        // Second s consists of (s, 0), (s, 1), (s, 2).
        let places = read.enumerated().map { i, r in i == Int(r.second - 1) * 3 + Int(r.partition) }
        #expect(places.allSatisfy { $0 }, "\(places.count { !$0 }) records are out of order")
    }

    /// What waited when a partition was given up is read anew, from where it is taken on again.
    @Test func whatWaitsGoesWithItsPartition() throws {
        let cluster = try TestCluster()
        let name = try Self.fill(cluster, partitions: 2)
        let consumer = try cluster.consumer([name], group: name, batchRecords: 100, alignmentWaitMs: 2000)
        #expect(try Self.read(consumer, 1000).count >= 1000)
        let both = [TopicPartition(name, 0), TopicPartition(name, 1)]
        try consumer.unassign(both)
        #expect(consumer.poll(milliseconds: 300).records.isEmpty)
        consumer.release()
        try consumer.assign(Dictionary(uniqueKeysWithValues: both.map { ($0, PartitionOffset(offset: 0)) }))
        #expect(try Self.read(consumer, 2 * Self.perPartition).count == 2 * Self.perPartition)
        consumer.close()
    }

    /// The leader of one partition is away: the others wait for it, but not for good.
    @Test(.enabled(if: !TestCluster.isReal, "needs the faults of the mock cluster"))
    func whoCannotBeReadHoldsNobodyUpForGood() throws {
        let cluster = try TestCluster(brokers: 2)
        let mock = try #require(cluster.mock)
        let name = try Self.fill(cluster, partitions: 2)
        for p: Int32 in [0, 1] { try mock.setLeader(of: name, p, to: Int(p) + 1) }
        try mock.setCoordinator(ofGroup: name, to: 1)
        try mock.setBroker(2, up: false)
        let consumer = try cluster.consumer([name], group: name, batchRecords: 100, alignmentWaitMs: 2000)
        try consume(consumer) { $0.rebalance != nil }
        let start = ContinuousClock.now
        #expect(try Self.read(consumer, 101).count > 100)
        let waited = ContinuousClock.now - start
        #expect(waited > .milliseconds(1900) && waited < .seconds(6))
        let before = ContinuousClock.now
        try consume(consumer) { $0.ends[TopicPartition(name, 0)] != nil }
        #expect(ContinuousClock.now - before < .seconds(2), "waited for once, not again and again")
        consumer.close()
    }
}
