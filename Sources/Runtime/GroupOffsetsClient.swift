internal import Engine
import Foundation
package import Kafka
package import Logging
package import Settings
internal import SnapshotStore

/// Reads and sets the offsets of a group as one who is no member of it. One thread uses it.
package final class GroupOffsetsClient {
    private let settings: Settings
    private let admin: Admin
    private let consumer: Consumer
    private let logger: Logger
    private let milliseconds: Int
    private let hasState: Bool

    /// - Parameters:
    ///   - settings: those of the stage.
    ///   - hasState: whether the daemon of the group has a state, which snapshots keep.
    ///   - patience: how long brokers may say nothing, seconds.
    package init(_ settings: Settings, hasState: Bool = true, patience: Double, logger: Logger) throws {
        (self.settings, self.hasState, self.logger) = (settings, hasState, logger)
        milliseconds = Int(patience * 1000)
        let kafka = settings.kafka
        admin = try Admin(bootstrap: kafka.bootstrapServers, properties: kafka.properties, logger: logger)
        consumer = try Consumer(
            bootstrap: kafka.bootstrapServers, groupId: kafka.groupId, instanceId: nil, topics: settings.input.topics,
            batchRecords: 1, properties: kafka.properties, logger: logger)
    }

    deinit { consumer.close() }

    /// Those who are in the group now; nil: the brokers cannot say.
    package func members() throws -> [GroupMember]? {
        do { return try admin.members(ofGroup: settings.kafka.groupId, milliseconds: milliseconds) } catch
            where error.isUnsupported
        { return nil }
    }

    /// - Parameters:
    ///   - published: the last record of each partition that has an output.
    ///   - time: the offsets of this time, ms since 1970, are looked up as well.
    /// - Throws: `OffsetRefusal` when an input topic is missing, `KafkaError`, `SnapshotError`.
    package func read(published: [TopicPartition: Int64], time: Int64?) throws -> GroupOffsets {
        let topics = settings.input.topics
        let counts = try consumer.partitionCounts(topics, milliseconds: milliseconds)
        if let missing = topics.first(where: { counts[$0] == nil }) {
            throw OffsetRefusal("there is no topic \(missing); input.topics names the topics that the group reads")
        }
        let all = topics.flatMap { topic in (0..<Int32(counts[topic]!)).map { TopicPartition(topic, $0) } }.sorted()
        let committed = try consumer.committed(all, milliseconds: milliseconds)
        let cluster = consumer.clusterID(milliseconds: milliseconds)
        let origin = SnapshotOrigin(group: settings.kafka.groupId, cluster: cluster, topics: topics)
        let shelf = SnapshotShelf(
            try SharedSnapshotFolder.listings(in: settings.snapshots.directory),
            origin: settings.snapshots.acceptOrigin ? nil : origin)
        let standings = try all.map { p in
            let (low, high) = try consumer.watermarks(p, milliseconds: milliseconds)
            return OffsetStanding(
                partition: p, log: low..<max(low, high), committed: committed[p], in: shelf, published: published[p])
        }
        var offsets = GroupOffsets(
            group: settings.kafka.groupId, cluster: cluster, standings: standings, shelf: shelf)
        offsets.consent = StartPlan.Consent(
            latest: settings.input.start == .latest, gap: settings.snapshots.acceptGap,
            missingOffsets: settings.snapshots.acceptMissingOffsets, origin: settings.snapshots.acceptOrigin)
        offsets.hasState = hasState
        offsets.fate = { [consumer, milliseconds] record, p in
            try consumer.fate(of: record, in: p, isCompacted: false, milliseconds: milliseconds)
        }
        if let time {
            offsets.offsetsByTime = try consumer.offsets(atMs: time, of: all, milliseconds: milliseconds)
        }
        return offsets
    }

    /// Commits and moves what a plan says, while no instance can start in the folder.
    /// - Returns: where the snapshots are; nil when none had to go.
    /// - Throws: `KafkaError` when the group has got members meanwhile; `SnapshotError`: `locked` when an instance runs,
    ///   before anything is done. After another one the offsets are set, and the same plan moves what is left.
    package func carryOut(_ plan: OffsetPlan) throws -> String? {
        let directory = settings.snapshots.directory
        let hasFolder = FileManager.default.fileExists(atPath: directory)
        let aside = hasFolder ? try SnapshotAside(directory: directory, logger: logger) : nil
        if !plan.commits.isEmpty { try consumer.commit(plan.commits, milliseconds: milliseconds) }
        return plan.moves.isEmpty ? nil : try aside?.move(plan.moves, at: Date())
    }
}

extension OffsetStanding {
    init(
        partition: TopicPartition, log: Range<Int64>, committed: PartitionOffset?, in shelf: SnapshotShelf,
        published: Int64?
    ) {
        func held(_ entry: SnapshotCatalog.Entry?) -> Held? {
            entry.map { Held(snapshot: $0.listing.place, offset: $0.offsets[partition] ?? 0) }
        }
        let limit = committed?.offset ?? -1
        let states = shelf.catalog.states(of: partition, committed: nil)
        self.init(
            partition: partition, log: log, committed: committed,
            snapshot: held(states.first { $0.offsets[partition] ?? 0 <= limit }),
            beyond: held(states.first { $0.offsets[partition] ?? 0 > limit }), published: published)
    }
}
