import Engine
import Foundation
import Kafka
import SnapshotStore
import Testing

@testable import Runtime

/// What `clvd offsets` decides, without a cluster.
@Suite struct OffsetPlanTests {
    private static func p(_ n: Int32) -> TopicPartition { TopicPartition("events", n) }

    /// The description of a snapshot, as far as it is read here.
    private static func snapshot(
        _ instance: String, _ position: Int64, _ offsets: [Int32: Int64], format: Int = StateFormat.current
    ) -> SnapshotListing {
        let held = offsets.map { #""0/\#($0)":\#($1)"# }.sorted().joined(separator: ",")
        let metadata =
            #"{"format":\#(format),"topics":["events"],"modelVersion":1,"schedule":{"next":0,"last":0},"#
            + #""offsets":{\#(held)}}"#
        return SnapshotListing(
            instance: instance, name: SnapshotListing.name(position: position), position: position,
            metadata: Data(metadata.utf8))
    }

    private static func own(_ offset: Int64) -> PartitionOffset {
        PartitionOffset(offset: offset, metadata: CommitMetadata(offset: offset, clock: 1, begin: 3).text)
    }

    private static func foreign(_ offset: Int64) -> PartitionOffset { PartitionOffset(offset: offset, metadata: "") }

    private static func group(
        _ partitions: [(log: Range<Int64>, committed: PartitionOffset?)], _ snapshots: [SnapshotListing],
        published: [Int32: Int64] = [:]
    ) -> GroupOffsets {
        let shelf = SnapshotShelf(snapshots, origin: nil)
        let standings = partitions.enumerated().map { n, partition in
            OffsetStanding(
                partition: p(Int32(n)), log: partition.log, committed: partition.committed, in: shelf,
                published: published[Int32(n)])
        }
        return GroupOffsets(group: "g", cluster: "c", standings: standings, shelf: shelf)
    }

    // MARK: What is there

    @Test func whoCommittedIsTold() {
        func author(_ offset: Int64, _ metadata: String) -> OffsetStanding.Author? {
            Self.group([(0..<9, PartitionOffset(offset: offset, metadata: metadata))], []).standings[0].author
        }
        #expect(author(5, "clvd2;at=5;clock=7") == .thisVersion)
        #expect(author(5, "clvd2;at=7;clock=7") == .moved(from: 7))
        #expect(author(5, "clvd1;clock=7") == .older)
        #expect(author(5, "clvd3;at=5;what=ever") == .newer(3))
        #expect(author(5, "") == .foreign && author(5, "kafka-ui") == .foreign)
        #expect(Self.group([(0..<9, nil)], []).standings[0].author == nil)
    }

    @Test func snapshotsUpToTheOffsetAndBeyondIt() {
        let snapshots = [
            Self.snapshot("0", 10, [0: 10]), Self.snapshot("0", 20, [0: 20, 1: 5]), Self.snapshot("1", 30, [0: 30]),
            Self.snapshot("1", 40, [0: 40]),
        ]
        let s = Self.group([(0..<99, Self.own(20)), (0..<9, nil)], snapshots).standings
        #expect(s[0].snapshot == .init(snapshot: "0/snapshot-00000000000000000020", offset: 20))
        #expect(s[0].beyond == .init(snapshot: "1/snapshot-00000000000000000040", offset: 40))
        #expect(s[1].snapshot == nil && s[1].beyond?.offset == 5)
    }

    // MARK: Accept

    @Test func acceptingTakesOffsetsAsTheyAre() throws {
        let ahead = Self.snapshot("0", 60, [0: 50, 1: 10])
        let behind = Self.snapshot("0", 30, [0: 20, 1: 10])
        let moved = PartitionOffset(offset: 40, metadata: CommitMetadata(offset: 55, clock: 1, begin: 3).text)
        let group = Self.group([(0..<99, moved), (0..<99, Self.own(10)), (0..<99, nil)], [behind, ahead])
        let plan = try group.accept()
        #expect(plan.changes.map(\.after) == [40, 10] && plan.changes.map(\.before) == [40, 10])
        // What clvd itself committed stays as it is, with all that it says.
        #expect(plan.commits == [Self.p(0): PartitionOffset(offset: 40, metadata: "clvd2;at=40;begin=3;cluster=c")])
        #expect(plan.moves == [ahead], "a state of what is to come")
        #expect(plan.changes[0].moved == ["0/snapshot-00000000000000000060"] && plan.changes[1].moved.isEmpty)
        let outlook = try group.outlook(after: plan).map(\.sentence)
        #expect(
            outlook[0]
                == "The daemon goes on from 0/snapshot-00000000000000000030 at 20, reads 20 records again without "
                + "publishing and publishes from 40.")
        #expect(outlook[2] == "The daemon begins at 0 and publishes from 0.")
    }

    @Test func whereNothingIsCommittedTheFurthestSnapshotIs() throws {
        let plan = try Self.group(
            [(0..<99, nil)], [Self.snapshot("0", 5, [0: 30]), Self.snapshot("1", 2, [0: 35])]
        ).accept()
        #expect(plan.commits == [Self.p(0): PartitionOffset(offset: 35, metadata: "clvd2;at=35;cluster=c")])
        #expect(plan.moves.isEmpty && plan.changes.map(\.before) == [nil])
        #expect(try Self.group([(0..<99, nil)], []).accept().changes.isEmpty)
    }

    @Test func whatCannotBeAcceptedIsRefused() {
        let beyond = #expect(throws: OffsetRefusal.self) { try Self.group([(5..<9, Self.foreign(12))], []).accept() }
        #expect(beyond?.description.contains("events[0]: offset 12 is not in the log, which has 5 to 9") == true)
        let newer = PartitionOffset(offset: 7, metadata: "clvd3;at=7")
        let refused = #expect(throws: OffsetRefusal.self) { try Self.group([(5..<9, newer)], []).accept() }
        #expect(refused?.description.contains("a newer clvd (metadata clvd3, this one reads clvd2)") == true)
    }

    // MARK: Rewind

    @Test func everyTargetIsAnOffset() throws {
        var group = Self.group(
            [(10..<90, Self.own(40)), (0..<50, Self.foreign(20))],
            [Self.snapshot("0", 5, [0: 30, 1: 15]), Self.snapshot("1", 2, [0: 35, 1: 25])], published: [0: 44, 1: 19])
        group.offsetsByTime = [Self.p(0): 33]
        func after(_ target: OffsetTarget) throws -> [Int64] {
            try group.rewind(to: target, only: nil).changes.map(\.after)
        }
        #expect(try after(.published) == [45, 20])
        #expect(try after(.snapshot) == [35, 25])
        #expect(try after(.earliest) == [10, 0] && after(.latest) == [90, 50])
        #expect(try after(.offset(12)) == [12, 12])
        #expect(try after(.time(0)) == [33, 50], "after the last record the end")
        let one = try group.rewind(to: .offset(60), only: [Self.p(0)])
        #expect(one.changes.map(\.partition) == [Self.p(0)] && one.changes[0].after == 60)
        for (target, only) in [
            (OffsetTarget.offset(9), nil), (.offset(60), nil), (.offset(20), [Self.p(7)]),
        ] as [(OffsetTarget, Set<TopicPartition>?)] {
            #expect(throws: OffsetRefusal.self) { try group.rewind(to: target, only: only) }
        }
    }

    /// Whole snapshots hold many partitions: one of them beyond its offset is enough.
    @Test func snapshotsBeyondGoAside() throws {
        let (a, b, c) = (
            Self.snapshot("0", 1, [0: 10, 1: 10]), Self.snapshot("0", 2, [0: 20, 1: 20]), Self.snapshot("1", 2, [1: 30])
        )
        let group = Self.group([(0..<50, Self.own(40)), (0..<50, Self.own(40))], [a, b, c])
        #expect(try group.rewind(to: .offset(15), only: nil).moves == [b, c])
        #expect(try group.rewind(to: .offset(15), only: [Self.p(0)]).moves == [b])
        #expect(try group.rewind(to: .offset(20), only: nil).moves == [c])
        #expect(try group.rewind(to: .latest, only: nil).moves.isEmpty)
        let plan = try group.rewind(to: .earliest, only: [Self.p(0)])
        #expect(plan.moves == [a, b])
        #expect(plan.commits[Self.p(0)]?.metadata == "clvd2;at=0;begin=0;cluster=c")
        let outlook = try group.outlook(after: plan).map(\.sentence)
        #expect(outlook[0].hasPrefix("The daemon makes the state again from 0 and publishes from 0."))
        #expect(outlook[1].hasPrefix("The daemon goes on from 1/snapshot-00000000000000000002 at 30"))
    }

    /// A partition whose offset stays must not lose a state that the log cannot make again.
    @Test func anotherPartitionsStateIsNotLost() throws {
        let both = Self.snapshot("0", 2, [0: 20, 1: 20])
        let group = Self.group([(0..<50, Self.own(40)), (5..<50, Self.own(40))], [both])
        let refused = #expect(throws: OffsetRefusal.self) { try group.rewind(to: .earliest, only: [Self.p(0)]) }
        #expect(refused?.description.contains("events[1]: its state is in the snapshots") == true)
        var lenient = group
        lenient.consent.gap = true
        #expect(try lenient.rewind(to: .earliest, only: [Self.p(0)]).moves == [both])
        #expect(try group.rewind(to: .earliest, only: nil).moves == [both])
        let whole = Self.group([(0..<50, Self.own(40)), (0..<50, Self.own(40))], [both])
        #expect(try whole.rewind(to: .earliest, only: [Self.p(0)]).moves == [both])
    }

    @Test func snapshotsOfNewerVersionsGoAsideInARewindOnly() throws {
        let format = StateFormat.current + 1
        let newer = Self.snapshot("1", 2, [0: 10], format: format)
        let unknown = SnapshotListing(
            instance: "2", name: SnapshotListing.name(position: 3), position: 3,
            metadata: Data(#"{"format":\#(format),"all":"other"}"#.utf8))
        let group = Self.group([(0..<50, Self.own(40)), (0..<50, Self.own(7))], [newer, unknown])
        #expect(try group.accept().moves.isEmpty)
        #expect(try group.rewind(to: .offset(40), only: [Self.p(0)]).moves == [newer, unknown])
        #expect(try group.rewind(to: .offset(7), only: [Self.p(1)]).moves == [unknown])
        #expect(
            try group.outlook()[0].sentence
                == "The daemon stops with exit code 3: 1/snapshot-00000000000000000002 was written by a newer clvd "
                + "(state format \(format), this one reads \(format - 1)): upgrade this instance; partitions go from older "
                + "to newer versions only.")
    }

    // MARK: Outlook

    @Test func whatWouldBePublishedTwiceOrNeverIsSaid() throws {
        let twice = Self.group([(0..<50, Self.own(20))], [Self.snapshot("0", 1, [0: 20])], published: [0: 39])
        #expect(
            try twice.outlook()[0].sentence.hasSuffix("Outputs of records from 20 to 39 are published twice."))
        let never = Self.group([(0..<50, Self.own(40))], [Self.snapshot("0", 1, [0: 20])], published: [0: 29])
        #expect(
            try never.outlook()[0].sentence
                .hasSuffix("No output was found of records from 30 to 39, and none will come."))
        let gone = Self.group([(30..<50, Self.own(40))], [Self.snapshot("0", 1, [0: 20])])
        #expect(
            try gone.outlook()[0].sentence.hasPrefix("The daemon stops with exit code 3: events[0]: the state needs"))
    }
}
