import Engine
import Foundation
import Kafka
import Logging
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// Instances of adjacent versions in one group, and a folder that is another's: what does not fit is refused in clear
/// words, and nothing is made anew instead.
@Suite struct UpgradeTests {
    private static let newer = StateFormat.current + 1

    /// The snapshots of a folder once more, as a newer version would have written them: instance 1.
    private static func upgrade(_ site: Site) throws {
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let store = try SharedSnapshotFolder(
            directory: site.settings.snapshots.directory, instance: "1", logger: quiet)
        let listing = try #require(try store.list().first)
        let text = String(decoding: listing.metadata, as: UTF8.self)
        let changed = text.replacing("\"format\":\(StateFormat.current)", with: "\"format\":\(newer)")
        try #require(changed != text)
        _ = try store.write(
            SnapshotContent(position: listing.position, metadata: Data(changed.utf8), sections: [], weights: []))
    }

    private static func site(_ change: (inout Settings) -> Void = { _ in }) async throws -> Site {
        let site = try Site(Cluster()) {
            $0.learning(false)
            $0.kafka.staticMembership = false
            change(&$0)
        }
        var shop = Shop(seed: 62)
        try site.produce(shop.events(40))
        let daemon = RunningDaemon(site)
        try await daemon.taken(40)
        try await daemon.stop()
        return site
    }

    private static func failure(_ site: Site) async throws -> String {
        let daemon = RunningDaemon(site)
        defer { daemon.daemon.stop() }
        let result = try await daemon.ended(seconds: 60)
        let error = #expect(throws: RecoveryError.self) { try result.get() }
        return error?.description ?? ""
    }

    @Test func anOlderInstanceDoesNotTakeWhatANewerOneHad() async throws {
        let site = try await Self.site()
        try Self.upgrade(site)
        let program = try RunningProgram(site)
        #expect(try await program.status(seconds: 60) == 3, "\(program.errors)")
        let word =
            "was written by a newer clvd (state format \(Self.newer), this one reads \(Self.newer - 1)): upgrade this "
            + "instance; partitions go from older to newer versions only"
        #expect(program.errors.contains("1/snapshot-00000000000000000040 \(word)"), "\(program.errors)")
        // Its own newest snapshot, too.
        let own = site.instance("1")
        #expect(try await Self.failure(own).contains(word))
        // An operator may start anew from the log.
        let anew = RunningDaemon(site.instance("0") { $0.snapshots.discardIncompatible = true })
        try await eventually(60, "a beginning\n\(anew.log.text)") { anew.log.count("partition begins") == 1 }
        try await anew.stop()
        #expect(anew.log.count("a snapshot of another version of clvd is left aside") == 1)
    }

    /// A partition that no newer version has had is served on.
    @Test func otherPartitionsAreNotRefused() throws {
        let folder = try Folder()
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let store = try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: quiet)
        let description =
            #"{"format":\#(Self.newer),"topics":["events"],"modelVersion":1,"schedule":{"next":0,"last":0},"#
            + #""offsets":{"0/1":5}}"#
        _ = try store.write(
            SnapshotContent(position: 5, metadata: Data(description.utf8), sections: [], weights: []))
        let keeper = SnapshotKeeper(store, Settings(), logger: quiet, clock: StepClock()) { _ in
            SnapshotOrigin(group: "g", cluster: nil, topics: ["events"])
        }
        #expect(try keeper.furthest(TopicPartition("events", 0)) == nil)
        #expect(throws: RecoveryError.self) { try keeper.furthest(TopicPartition("events", 1)) }
    }

    @Test func anOlderInstanceDoesNotReadNewerOffsets() async throws {
        var site = try await Self.site()
        if !Cluster.isReal {
            // The mock takes no offsets from outside once a group has had a member.
            site.settings.kafka.groupId += "-heir"
            site.settings.snapshots.acceptOrigin = true
        }
        let consumer = try Consumer(
            bootstrap: site.cluster.bootstrap, groupId: site.settings.kafka.groupId, instanceId: nil,
            topics: site.input, batchRecords: 1, properties: [:],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try consumer.commit([
            TopicPartition(site.input[0], 0): PartitionOffset(offset: 40, metadata: "clvd3;at=40;other=thing")
        ])
        consumer.close()
        let text = try await Self.failure(site)
        #expect(text.contains("a newer clvd") && text.contains("upgrade this instance"), "\(text)")
    }

    @Test func aFolderOfAnotherGroupIsRefused() async throws {
        let site = try await Self.site()
        let path = site.settings.snapshots.directory + "/origin.json"
        var other = site
        other.settings.kafka.groupId = "other-\(site.settings.kafka.groupId)"
        let text = try await Self.failure(other)
        #expect(text.contains("the folder is of group \(site.settings.kafka.groupId)"), "\(text)")
        #expect(text.contains("snapshots.acceptOrigin: true"))
        #expect(try String(contentsOfFile: path, encoding: .utf8).contains("\"\(site.settings.kafka.groupId)\""))
        other.settings.snapshots.acceptOrigin = true
        other.settings.snapshots.acceptMissingOffsets = true
        let daemon = RunningDaemon(other)
        try await eventually(60, "a beginning\n\(daemon.log.text)") { daemon.log.count("partition begins") == 1 }
        try await daemon.stop()
        #expect(daemon.log.count("the folder of snapshots is that of another origin, which is accepted") == 1)
        #expect(try String(contentsOfFile: path, encoding: .utf8).contains("\"other-"))
    }
}
