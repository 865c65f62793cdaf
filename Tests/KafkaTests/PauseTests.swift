import CEventParser
import Foundation
import Testing

@testable import Kafka

/// Partitions that wait because they are told to.
@Suite struct PauseTests {
    /// While one of two partitions waits, the other is read to its end without waiting for it. Then the first goes on where
    /// it was told to, without a gap. Record `i` of each is of second `i`.
    @Test(arguments: [(0, false), (3000, false), (3000, true)])
    func aPartitionWaitsAndGoesOn(waitMs: Int, holdsBack: Bool) throws {
        let cluster = try TestCluster()
        let name = try cluster.topic("paused", partitions: 2)
        for p: Int32 in [0, 1] {
            try cluster.produce((0..<3000).map { "\(p)-\($0)" }, to: name, partition: p) { Int64($0 + 1) * 1000 }
        }
        let consumer = try cluster.consumer(
            [name], group: name, batchRecords: 100, alignmentWaitMs: waitMs, holdsBack: holdsBack)
        let waiting = TopicPartition(name, 0)
        var (next, pausedAt): ([Int32: Int64], Int64?) = ([:], nil)
        var isGoingOn = false
        var ends: Set<TopicPartition> = []
        func take(_ poll: Consumer.Poll) {
            for r in poll.records {
                // As the loop does: of a partition that waits, nothing is taken from there on.
                if r.partition == 0, let pausedAt, !isGoingOn, r.offset >= pausedAt { continue }
                #expect(r.offset == next[r.partition, default: 0])
                next[r.partition] = r.offset + 1
                guard r.partition == 0, r.offset == 49, pausedAt == nil else { continue }
                pausedAt = 50
                consumer.pause(waiting, at: 50)
            }
            ends.formUnion(poll.ends.keys)
            #expect(poll.jumps == nil && poll.error == nil)
        }
        let other = TopicPartition(name, 1)
        let began = ContinuousClock.now
        try consume(consumer) { poll in
            take(poll)
            return pausedAt != nil && ends.contains(other)
        }
        // Held-back records wait for those of others, but not for those of a partition that is told to wait.
        #expect(ContinuousClock.now - began < .seconds(15))
        #expect(next[1] == 3000 && next[0] == 50 && !ends.contains(waiting))
        try consume(consumer, seconds: 1) { poll in
            #expect(poll.records.isEmpty)
            return false
        }
        try consumer.resume(waiting, at: 50)
        isGoingOn = true
        try consume(consumer) { poll in
            take(poll)
            return ends.contains(waiting)
        }
        #expect(next[0] == 3000)
        consumer.close()
    }

    /// A new assignment ends the wait.
    @Test func anAssignmentEndsIt() throws {
        let cluster = try TestCluster()
        let name = try cluster.topic("paused", partitions: 1)
        try cluster.produce((0..<100).map { "\($0)" }, to: name)
        let consumer = try cluster.consumer([name], group: name)
        try consume(consumer, ends: 1)
        let p = TopicPartition(name, 0)
        consumer.pause(p, at: 20)
        try consumer.unassign([p])
        try consumer.assign([p: PartitionOffset(offset: 10)])
        var offsets: [Int64] = []
        try consume(consumer, seconds: 20) { poll in
            offsets += poll.records.map(\.offset)
            return offsets.count >= 90
        }
        #expect(offsets == Array(10..<100))
        // What it was told is forgotten.
        try consumer.resume(p, at: 0)
        try consume(consumer, seconds: 0.5) { poll in
            #expect(poll.records.isEmpty)
            return false
        }
        consumer.close()
    }
}
