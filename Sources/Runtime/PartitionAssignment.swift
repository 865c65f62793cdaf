internal import Engine
internal import Kafka
internal import Logging
internal import Settings
internal import SnapshotStore

/// Takes partitions on and gives them up as the group asks for it.
final class PartitionAssignment {
    private let context: LoopContext
    private let table: PartitionTable
    private let commits: CommitGate
    private let snapshots: SnapshotSchedule
    private let keeper: SnapshotKeeper
    private let keying: KeyingWatch
    /// When membership was known last, s.
    private var confirmedAt: Double

    init(
        _ context: LoopContext, _ table: PartitionTable, _ commits: CommitGate, _ snapshots: SnapshotSchedule,
        _ keeper: SnapshotKeeper, _ keying: KeyingWatch
    ) {
        self.context = context
        self.table = table
        self.commits = commits
        self.snapshots = snapshots
        self.keeper = keeper
        self.keying = keying
        confirmedAt = context.clock.now
    }

    /// Answers a rebalance.
    /// - Throws: `LostPartitions` when the group took partitions without asking.
    func handleRebalance(_ rebalance: Consumer.Rebalance) throws {
        let consumer = context.consumer
        commits.retryNow()
        switch rebalance {
        case .assign(let list):
            context.logger.notice(
                "partitions assigned", metadata: ["partitions": "\(list.map(\.description).sorted())"])
            try consumer.assign(acquire(list))
        case .revoke(let list):
            context.logger.notice(
                "partitions revoked", metadata: ["partitions": "\(list.map(\.description).sorted())"])
            try release(list)
            try consumer.unassign(list)
        case .lost(let list):
            // Another member may have them, and what is in memory is ahead of what was committed.
            try? consumer.unassign(list)
            throw LostPartitions(list)
        }
    }

    // MARK: Acquire

    /// Gives the engine the state of each partition, from the store where that has it.
    /// - Returns: where each partition is read from.
    private func acquire(_ list: [TopicPartition]) throws -> [TopicPartition: PartitionOffset] {
        if list.isEmpty { return [:] }
        let (engine, reporter) = (context.engine, context.reporter)
        reporter.settle(engine)
        try keeper.restoreModel(engine)
        let committed = try context.consumer.committed(list, milliseconds: 30_000)
        var starts: [TopicPartition: PartitionOffset] = [:]
        for p in list.sorted() {
            guard let id = table.id(p) else { continue }
            starts[p] = PartitionOffset(offset: try acquire(p, id, committed[p]))
        }
        keeper.closeBase()
        try keying.partitionsTaken(list.compactMap(table.id).sorted())
        reporter.rebase(engine)
        return starts
    }

    /// - Parameter committed: what the group has committed of the partition.
    /// - Returns: offset of the first record to read.
    private func acquire(_ p: TopicPartition, _ id: TaskID, _ committed: PartitionOffset?) throws -> Int64 {
        let engine = context.engine
        if engine.holds(id) { engine.removeTask(id) }
        let furthest = try keeper.furthest(p)
        let adoption = try keeper.adopt(id, p, committed: committed?.offset, into: engine)
        if adoption == nil { engine.addTask(id) }
        let log = try watermarks(p)
        var facts = StartPlan.Facts(
            partition: p, low: log.low, high: log.high, state: engine.nextOffset(id), origin: adoption?.origin,
            furthest: furthest, committed: committed?.offset, metadata: committed?.metadata ?? "",
            group: table.group, cluster: table.cluster)
        facts.isStateless = !context.hasState
        let published = facts.published
        facts.stateRecord = try fate(of: adoption?.origin?.anchor, in: p)
        facts.groupRecord =
            published.lastRecord == adoption?.origin?.anchor
            ? facts.stateRecord : try fate(of: published.lastRecord, in: p)
        let plan = try StartPlan.make(facts, try consent(facts))
        if let warning = plan.warning { context.logger.warning("\(warning)", metadata: ["partition": "\(p)"]) }
        engine.resume(
            id, at: plan.from, firstUnpublishedOffset: plan.firstUnpublishedOffset,
            idleTicks: published.idleTicks(before: committed?.offset ?? 0))
        let now = context.clock.now
        let idle = IdleState(after: published, at: now, wallMs: context.clock.wallMs)
        if let warning = idle.warning { context.logger.warning("\(warning)", metadata: ["partition": "\(p)"]) }
        table.partitions[id] = HeldPartition(
            name: p, firstUnpublishedOffset: plan.firstUnpublishedOffset,
            replayingSince: plan.firstUnpublishedOffset > plan.from ? now : nil, committed: committed,
            idle: idle,
            log: LogState(
                begin: plan.begin, rewoundFrom: plan.rewoundFrom,
                anchor: plan.isAnew ? nil : later(adoption?.origin?.anchor, published.lastRecord),
                notedNext: plan.from, lookedAt: now))
        table.partitions[id]?.taken = (plan.from, engine.recordsTaken(id))
        // Where the group began is known to no one yet.
        if committed == nil { commits.require(at: now) }
        context.reporter.partitionTaken(p, plan, log: log.low..<max(log.low, log.high), adoption)
        return plan.from
    }

    private func consent(_ f: StartPlan.Facts) throws -> StartPlan.Consent {
        let settings = context.settings
        let isUnknown = f.state == nil && f.committed == nil
        return StartPlan.Consent(
            latest: try isUnknown && settings.input.start == .latest && isFirstStart(),
            gap: settings.snapshots.acceptGap, missingOffsets: settings.snapshots.acceptMissingOffsets,
            origin: settings.snapshots.acceptOrigin)
    }

    private func later(_ a: RecordFingerprint?, _ b: RecordFingerprint?) -> RecordFingerprint? {
        guard let a, let b else { return a ?? b }
        return a.offset > b.offset ? a : b
    }

    /// Looks for a record of the state's log. Nothing is begun before that has succeeded.
    private func fate(of record: RecordFingerprint?, in p: TopicPartition) throws -> RecordFate {
        try patiently {
            try context.consumer.fate(of: record, in: p, isCompacted: context.acceptsCompacted, milliseconds: 10_000)
        }
    }

    /// First offset of the log and the one after its last.
    private func watermarks(_ p: TopicPartition) throws -> (low: Int64, high: Int64) {
        try patiently { try context.consumer.watermarks(p, milliseconds: 10_000) }
    }

    /// Asks again while another broker is about to lead the partition.
    private func patiently<T>(_ body: () throws -> T) throws -> T {
        let began = context.clock.now
        while context.clock.now - began < 30 {
            do {
                return try body()
            } catch let error as KafkaError {
                guard error.isPassing else { throw error }
                context.clock.sleep(0.2)
            }
        }
        return try body()
    }

    /// Whether the group has never committed anything and no instance has kept any state. After that a partition
    /// without either is one that was added to its topic: none of its records has been seen.
    private func isFirstStart() throws -> Bool {
        guard try keeper.isStoreEmpty() else { return false }
        let counts = try context.consumer.partitionCounts(context.settings.input.topics)
        let all = counts.flatMap { topic, count in (0..<Int32(count)).map { TopicPartition(topic, $0) } }
        return try context.consumer.committed(all, milliseconds: 30_000).isEmpty
    }

    /// Notes which partitions have been brought to where the group had committed.
    func noteCaughtUp() {
        for (id, p) in table.partitions {
            guard let since = p.replayingSince, let next = context.engine.nextOffset(id),
                next >= p.firstUnpublishedOffset
            else { continue }
            table.partitions[id]?.replayingSince = nil
            context.reporter.partitionCaughtUp(
                p.name, seconds: context.clock.now - since, offsets: next - p.taken.from,
                records: context.engine.recordsTaken(id) - p.taken.records)
        }
    }

    // MARK: Release

    /// Finishes partitions: their outputs are committed and their state is in the store before they go.
    func release(_ list: [TopicPartition]) throws {
        try commits.commitWithoutPolling()
        let (engine, reporter, clock) = (context.engine, context.reporter, context.clock)
        reporter.settle(engine)
        let start = clock.now
        let ids = Set(list.compactMap(table.id)).intersection(engine.taskIDs)
        do {
            let info = commits.isQuiet && !ids.isEmpty && context.hasState ? try keeper.handOver(ids, of: engine) : nil
            reporter.partitionsReleased(list, info, seconds: clock.now - start)
        } catch let error as SnapshotError {
            snapshots.note(failure: error)
        }
        for id in ids {
            table.partitions[id] = nil
            engine.removeTask(id)
        }
        reporter.rebase(engine)
    }

    // MARK: Membership

    /// Asks the group whether this is still a member, when no turn was made for so long that it may not be. To be
    /// called before outputs are made of records that another member may own by now: with transactions such outputs
    /// would not count, but without they cannot be taken back.
    /// - Throws: `LostPartitions` when it is not.
    func confirmMembership() throws {
        let now = context.clock.now
        defer { confirmedAt = now }
        guard context.settings.delivery == .atLeastOnce,
            now - confirmedAt > Double(context.consumer.sessionTimeoutMs) / 2000
        else { return }
        try askForMembership()
    }

    /// Commits once more what is committed, which a group refuses of a member that it has expelled.
    /// - Throws: `LostPartitions` then, and nothing else.
    func askForMembership() throws {
        let consumer = context.consumer
        let offsets = table.partitions.values.compactMap { p in p.committed.map { (p.name, $0) } }
        guard !offsets.isEmpty else { return }
        if consumer.isAssignmentLost { throw table.allLost }
        do {
            try consumer.commit(Dictionary(uniqueKeysWithValues: offsets), milliseconds: 2_000)
        } catch  where error.isOfExpelled || consumer.isAssignmentLost {
            throw table.allLost
        } catch {
            context.reporter.trouble(.membership, error)
        }
    }
}
