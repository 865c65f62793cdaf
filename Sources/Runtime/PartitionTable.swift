import CEventParser
internal import Engine
internal import Kafka

/// What the loop knows of a partition that it holds.
struct HeldPartition {
    let name: TopicPartition
    /// Outputs of records before it are committed already.
    var firstUnpublishedOffset: Int64
    /// Since when its committed records are read again; nil: they are, or there were none.
    var replayingSince: Double?
    /// What was committed last.
    var committed: PartitionOffset?
    /// Where the log ended when it was last read to its end.
    var end: Int64?
    /// What it stands still before.
    var unreadable: UnreadableBatch?
    /// The schema that its next record needs; nil: it is at hand.
    var schema: SchemaWait?
    var idle: IdleState
    var log: LogState
    /// Where it was taken on, and how many records it had taken in by then.
    var taken: (from: Int64, records: Int64) = (0, 0)
}

/// What is known of the log of a held partition, to notice when it becomes another one.
struct LogState {
    /// The first offset that the group ever read; nil: unknown.
    var begin: Int64?
    /// The furthest snapshot, while it is beyond the partition's position with consent.
    var rewoundFrom: Int64?
    /// A record of this log. It was there when the log was looked at last, or came after that; the state and everything
    /// that is committed with it are of this log if it is still there. nil before the first.
    var anchor: RecordFingerprint?
    /// The last record that was taken in; nil: none in this life.
    var lastRecord: RecordFingerprint?
    /// Next offset when `lastRecord` was noted.
    var notedNext: Int64
    /// When the log was looked at last, s.
    var lookedAt: Double
    /// The end of the log as the last fetch saw it.
    var knownEnd: Int64?

    mutating func note(_ record: RecordFingerprint) {
        lastRecord = record
        notedNext = record.offset + 1
        anchor = anchor ?? record
    }

    /// Notes that the log is still the same one.
    mutating func confirm(at now: Double) {
        anchor = lastRecord ?? anchor
        lookedAt = now
    }
}

/// The partitions that this instance holds.
final class PartitionTable {
    var partitions: [TaskID: HeldPartition] = [:]
    let group: String
    /// The cluster's id; nil: unknown.
    var cluster: String?
    private let topics: [String]
    private let engine: Engine
    private let consumer: any RecordSource
    /// Room for the owned records of a batch.
    private let owned: UnsafeMutablePointer<clvd_record>

    /// - Parameter batchRecords: most records of one batch.
    init(group: String, topics: [String], batchRecords: Int, engine: Engine, consumer: any RecordSource) {
        self.group = group
        self.topics = topics
        self.engine = engine
        self.consumer = consumer
        owned = .allocate(capacity: batchRecords)
    }

    deinit { owned.deallocate() }

    /// nil for a partition of a topic that is not read.
    func id(_ p: TopicPartition) -> TaskID? {
        topics.firstIndex(of: p.topic).map { TaskID(topic: Int32($0), partition: p.partition) }
    }

    /// The error that all partitions are lost.
    var allLost: LostPartitions { LostPartitions(partitions.values.map(\.name)) }

    /// The records of held partitions: some may have been given up while their records were on their way.
    /// - Returns: `records` itself, or memory that is valid until the next call.
    func ownedRecords(_ records: UnsafeBufferPointer<clvd_record>) -> UnsafeBufferPointer<clvd_record> {
        var last: TaskID?
        let areOthersThere = records.contains { r in
            let id = TaskID(topic: r.topic, partition: r.partition)
            if id == last { return false }
            last = id
            return partitions[id] == nil
        }
        guard areOthersThere else { return records }
        var n = 0
        for r in records where partitions[TaskID(topic: r.topic, partition: r.partition)] != nil {
            owned[n] = r
            n += 1
        }
        return UnsafeBufferPointer(start: owned, count: n)
    }

    /// The records of partitions that wait for no schema, and those before which the others wait.
    /// - Returns: memory that is valid until the next call.
    func withoutWaiting(_ records: UnsafeBufferPointer<clvd_record>) -> UnsafeBufferPointer<clvd_record> {
        var n = 0
        for r in records {
            let wait = partitions[TaskID(topic: r.topic, partition: r.partition)]?.schema
            if let wait, r.offset >= wait.offset { continue }
            owned[n] = r
            n += 1
        }
        return UnsafeBufferPointer(start: owned, count: n)
    }

    /// Notes the last record that was taken in of each partition. Looks from the end, seldom at more than a few.
    func noteLast(_ records: UnsafeBufferPointer<clvd_record>) {
        var changed: [TaskID: Int64] = [:]
        for (id, p) in partitions {
            if let next = engine.nextOffset(id), next != p.log.notedNext { changed[id] = next }
        }
        for r in records.reversed() {
            if changed.isEmpty { return }
            let id = TaskID(topic: r.topic, partition: r.partition)
            guard changed[id] == r.offset + 1 else { continue }
            changed[id] = nil
            // What stands for a batch that cannot be read is not in the log.
            if r.unreadable > 0 {
                partitions[id]?.log.notedNext = r.offset + 1
            } else {
                partitions[id]?.log.note(RecordFingerprint(r))
            }
        }
    }

    /// Where the state of partitions comes from, for the snapshot that keeps it.
    func origin(of ids: some Sequence<TaskID>) -> SnapshotOrigin {
        let known = ids.compactMap { partitions[$0] }.map {
            ($0.name.description, SnapshotOrigin.Partition(anchor: $0.log.anchor, begin: $0.log.begin))
        }
        return SnapshotOrigin(
            group: group, cluster: cluster, topics: topics, partitions: Dictionary(uniqueKeysWithValues: known))
    }

    /// Notes where logs ended that were read to their end. Markers of transactions and aborted records have offsets as
    /// well: past those of the last record, the partition goes on at the end.
    /// - Returns: whether a partition goes on elsewhere.
    func noteEnds(_ ends: [TopicPartition: Int64]) -> Bool {
        var hasAdvanced = false
        for (p, end) in ends {
            // Of a partition that waits, the records before the end were not taken in.
            guard let id = id(p), let held = partitions[id], held.schema == nil else { continue }
            partitions[id]?.end = end
            guard engine.advance(id, to: end) else { continue }
            partitions[id]?.log.notedNext = end
            hasAdvanced = true
        }
        return hasAdvanced
    }

    /// Notes that a partition stands still.
    /// - Returns: whether it is held.
    func noteStandstill(_ batch: UnreadableBatch) -> Bool {
        guard let id = id(batch.partition), partitions[id] != nil else { return false }
        partitions[id]?.unreadable = batch
        return true
    }

    /// Batches that partitions were stopped by and have passed since.
    func takeEndedStandstills() -> [UnreadableBatch] {
        partitions.compactMap { id, p in
            guard let batch = p.unreadable, let next = engine.nextOffset(id), next > batch.next else { return nil }
            partitions[id]?.unreadable = nil
            return batch
        }
    }

    var phase: DaemonStatus.Phase {
        if partitions.isEmpty { return .starting }
        return partitions.contains { engine.nextOffset($0.key) ?? 0 < $0.value.firstUnpublishedOffset }
            ? .replaying : .live
    }

    /// Records that wait in the logs; nil before the first fetch.
    var lag: Int64? {
        var lag: Int64?
        for (id, p) in partitions {
            guard let end = consumer.knownEnd(p.name), let next = engine.nextOffset(id) else { continue }
            lag = (lag ?? 0) + max(0, end - next)
        }
        return lag
    }
}
