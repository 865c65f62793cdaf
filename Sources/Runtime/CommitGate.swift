internal import Engine
internal import Kafka
internal import Settings

/// Decides when to commit, and commits: the outputs and the offsets that they came from. Waits when the group refuses
/// offsets because it is about to share its partitions out anew.
final class CommitGate {
    private let context: LoopContext
    private let table: PartitionTable
    private let committer: Committer
    private let watch: LogWatch
    /// Records taken in since the last commit, and since when there is something to commit, s.
    private var records = 0
    private var pendingSince: Double?
    /// Since when the group refuses offsets, when to try again (both s), and the latest refusal.
    private var refusal: (since: Double, retryAt: Double, error: KafkaError)?

    /// Most bytes of publications between two commits, or little more.
    private static let mostBytes = 64 << 20
    /// Longest wait for records in one poll, ms.
    private static let pollMilliseconds = 100.0
    /// Seconds after which a refusal ends this life: usually, and when the process is to end.
    private static let patienceSeconds = (usual: 60.0, stopping: 20.0)
    /// Seconds between two tries while the group refuses offsets, unless a rebalance comes in between.
    private static let retrySeconds = 5.0

    init(_ context: LoopContext, _ table: PartitionTable, _ committer: Committer, _ watch: LogWatch) {
        self.context = context
        self.watch = watch
        self.table = table
        self.committer = committer
    }

    private var intervalSeconds: Double { Double(context.settings.output.commitIntervalMs) / 1000 }

    /// How long a poll may wait for records so that the next commit is in time, ms.
    var pollMilliseconds: Int {
        guard let since = pendingSince, refusal == nil else { return Int(Self.pollMilliseconds) }
        let left = intervalSeconds - (context.clock.now - since)
        return max(0, Int(min(Self.pollMilliseconds, left * 1000)))
    }

    var isDue: Bool {
        guard let since = pendingSince else { return false }
        return records >= context.settings.output.commitRecords || committer.publication.bytes >= Self.mostBytes
            || context.clock.now - since >= intervalSeconds
    }

    /// Whether everything is committed, so that the state may be kept.
    var isQuiet: Bool { committer.publication.isEmpty && pendingSince == nil }

    /// Notes records that were taken in.
    func noteRecords(_ count: Int) {
        records += count
        require(at: context.clock.now)
    }

    /// Notes that there may be outputs since `now`.
    func noteOutputs(at now: Double) { if !committer.publication.isEmpty { require(at: now) } }

    /// Notes that there is something to commit since `now`.
    func require(at now: Double) { if pendingSince == nil { pendingSince = now } }

    /// The group has gone on: it may take offsets again.
    func retryNow() { refusal?.retryAt = context.clock.now }

    /// Commits the outputs from before the step or tick that is under way, so that their transaction is not open for as
    /// long as that takes. When the group refuses, the transaction is aborted, which does as well.
    func commitBeforeStep() throws {
        guard !committer.publication.isEmpty, refusal == nil else { return }
        try commit(beforeStep: true)
    }

    /// Commits what there is, if the logs are those that it was read from.
    /// - Parameter beforeStep: the engine is in the middle of a step or tick: the offsets are those from before it.
    /// - Returns: false when the group does not take offsets now; the next turn tries again.
    @discardableResult
    func commit(beforeStep: Bool = false) throws -> Bool {
        if context.consumer.isAssignmentLost { throw table.allLost }
        let now = context.clock.now
        if let refusal, now < refusal.retryAt { return false }
        let changed = changedOffsets(beforeStep: beforeStep)
        if !changed.isEmpty || !committer.publication.isEmpty {
            try watch.confirm()
            do {
                try committer.commit(
                    Dictionary(uniqueKeysWithValues: changed.map { ($0.partition, $0.offset) }))
            } catch let error as KafkaError where error.isOfGroup {
                try noteRefusal(error, at: now)
                return false
            }
            for (id, _, offset) in changed { table.partitions[id]?.committed = offset }
            context.reporter.committed()
        }
        records = 0
        pendingSince = nil
        refusal = nil
        return true
    }

    /// Offsets that differ from those that are committed.
    private func changedOffsets(beforeStep: Bool) -> [(id: TaskID, partition: TopicPartition, offset: PartitionOffset)]
    {
        table.partitions.compactMap { id, p in
            let engine = context.engine
            let (position, clock) =
                beforeStep ? engine.stepStart(id) : (engine.nextOffset(id), engine.clock(id))
            // While committed records are read again there is nothing to commit.
            guard let next = position, next >= p.firstUnpublishedOffset else { return nil }
            let metadata = CommitMetadata(
                offset: next, clock: clock, idleTicks: p.idle.ticks, lastRecord: p.log.anchor,
                silence: p.idle.silence, begin: p.log.begin,
                rewoundFrom: p.log.rewoundFrom.flatMap { $0 > next ? $0 : nil }, cluster: table.cluster)
            let offset = PartitionOffset(offset: next, metadata: metadata.text)
            return offset == p.committed ? nil : (id, p.name, offset)
        }
    }

    private func noteRefusal(_ error: KafkaError, at now: Double) throws {
        let since = refusal?.since ?? now
        let patience = context.shared.isStopping ? Self.patienceSeconds.stopping : Self.patienceSeconds.usual
        guard now - since < patience else { throw error }
        // An offset that reaches the broker after the group has gone on would cost the assignment. So nothing is sent
        // before the rebalance has come, or before it is clear that none comes soon.
        refusal = (since, now + Self.retrySeconds, error)
    }

    /// Commits before partitions are given up, as long as it takes, without polling.
    /// - Throws: `LostPartitions` when the group has expelled this member: only a new life joins it again.
    func commitWithoutPolling() throws {
        while !(try commit()) {
            if let refusal, refusal.error.isOfExpelled { throw table.allLost }
            context.clock.sleep(0.1)
        }
    }

    /// Commits before the process ends, as long as it takes. Polls meanwhile, so that the group can finish a rebalance;
    /// records that come are left to the next instance.
    /// - Returns: partitions that the group has revoked meanwhile; they are still to be released.
    func commitWhilePolling() throws -> [TopicPartition] {
        let consumer = context.consumer
        var revoked: [TopicPartition] = []
        while !(try commit()) {
            let poll = consumer.poll(milliseconds: Int(Self.pollMilliseconds))
            consumer.release()
            if let error = poll.error, error.isFatal || error.isFenced { throw error }
            guard let rebalance = poll.rebalance else { continue }
            retryNow()
            switch rebalance {
            case .assign: try consumer.assign([:])
            case .revoke(let list): revoked = list
            case .lost(let list): throw LostPartitions(list)
            }
        }
        return revoked
    }
}
