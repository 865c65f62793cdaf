import CEventParser
package import Engine
import EventInput
import Foundation
internal import Kafka
package import Logging
package import Settings
package import SnapshotStore

/// One life of the daemon's loop: restore, then poll → decode → step → publish → commit → snapshot until it is told to
/// stop or something fails. One thread runs all of it. What it has in memory is good for one life: after a failure the
/// next one begins from the newest snapshot.
package final class Pipeline {
    private let settings: Settings
    private let logger: Logger
    private let shared: SharedState
    private let keeper: SnapshotKeeper
    package let engine: Engine
    private let decoder: EventDecoder
    private let consumer: any RecordSource
    private let producer: any RecordSink
    private let clock: any LoopClock
    private let committer: Committer
    private let events: UnsafeMutablePointer<clvd_event>
    private let kept: UnsafeMutablePointer<clvd_record>
    private let reporter: Reporter
    private var partitions: [TaskID: Partition] = [:]
    /// Records taken in since the last commit, and when the first of them was.
    private var uncommitted = 0
    private var uncommittedSince: Double?
    /// Since when the group takes no offsets, being about to share its partitions out anew, and when to try again.
    private var refused: (since: Double, retryAt: Double, error: KafkaError)?
    private var snapshotAt: Double
    /// When the last turn had its records.
    private var turnedAt: Double
    private var snapshotPosition: Int64
    /// Errors of the clients as a whole that have been reported: of the consumer, of the producer.
    private var troubles: [UInt64] = [0, 0]
    /// What the loop knows of a partition it holds.
    private struct Partition {
        let name: TopicPartition
        var firstUnpublishedOffset: Int64
        /// Since when its committed records are read again; nil: they are, or there were none.
        var replayingSince: Double?
        /// What was committed last.
        var committed: PartitionOffset?
        var lastRecordAt: Double
        /// Clock when the partition fell idle, ms, and the latest tick.
        var idleClock: Int64?
        var tickedAt: Double
        /// Where the log ended when it was last read to its end.
        var end: Int64?
        /// The latest idle ticks, as they are committed.
        var idleTicks: [IdleTick]
    }

    /// - Parameter partitionCount: partitions of the input topics together.
    package init(
        _ settings: Settings, partitionCount: Int, store: any SnapshotRepository, shared: SharedState, logger: Logger,
        connections: Connections
    ) throws {
        self.settings = settings
        keeper = SnapshotKeeper(store, settings, logger: logger)
        self.shared = shared
        self.logger = logger
        let threads =
            settings.runtime.threads > 0
            ? settings.runtime.threads : ProcessInfo.processInfo.activeProcessorCount
        engine = Engine(
            configuration: settings.engine, topics: settings.input.topics, partitions: partitionCount,
            executor: WorkerPool(threads: threads))
        decoder = try EventDecoder(
            format: EventFormat.load(settings.input.format), limits: settings.input.limits,
            currency: settings.input.currency, headerLookup: Consumer.headerLookup)
        (consumer, producer, clock) = (connections.source, connections.sink, connections.clock)
        turnedAt = clock.now
        if settings.delivery == .exactlyOnce { try producer.initTransactions(milliseconds: 60_000) }
        committer = try Committer(
            settings, producer: producer, consumer: consumer, clock: clock, logger: logger,
            isStopping: { shared.isStopping })
        events = .allocate(capacity: settings.runtime.batchRecords)
        kept = .allocate(capacity: settings.runtime.batchRecords)
        reporter = Reporter(settings, shared: shared, logger: logger)
        snapshotAt = clock.now
        snapshotPosition = 0
    }

    deinit {
        events.deallocate()
        kept.deallocate()
    }

    // MARK: Life

    /// Runs until `shared` says stop.
    /// - Throws: whatever ended this life.
    func run() throws {
        defer { leave() }
        do {
            try begin()
            while !shared.isStopping { try turn() }
            try drain()
        } catch {
            throw end(after: error)
        }
    }

    /// The end of a life that failed.
    /// - Returns: what to say of it: the error, or that another instance has taken over, where that is behind it.
    package func end(after error: any Error) -> any Error {
        // It may have come in the middle of a batch.
        consumer.release()
        if let replaced = abandon() ?? replacement(behind: error) { return replaced }
        keepCommitted(before: error)
        return error
    }

    /// Before the process ends for good: the next one need not read again what is committed. The folder of one that was
    /// replaced is another's; a state that is ahead of what is committed is nobody's, nor is one that was being put
    /// together when the error came.
    private func keepCommitted(before error: any Error) {
        guard !Daemon.isPassing(error), (error as? KafkaError)?.isFenced != true, !partitions.isEmpty,
            Set(engine.taskIDs) == Set(partitions.keys)
        else { return }
        try? snapshotNow()
    }

    /// After a standstill: another instance may have taken over meanwhile, which this one would drive out again by
    /// beginning anew.
    private func replacement(behind error: any Error) -> KafkaError? {
        guard error is LostPartitions || error is TransactionExpired else { return nil }
        if error is LostPartitions, let p = partitions.values.first {
            let offset = p.committed ?? PartitionOffset(offset: p.firstUnpublishedOffset)
            if let replaced = committer.askWhetherReplaced([p.name: offset]) { return replaced }
        }
        // The group says so to a member that has a name in it.
        guard settings.kafka.staticMembership else { return nil }
        let began = clock.now
        while clock.now - began < 1 {
            let poll = consumer.poll(milliseconds: 100)
            consumer.release()
            if let error = poll.error, error.isFenced { return error }
            switch poll.rebalance {
            case .assign?: try? consumer.assign([:])
            case .revoke(let list)?, .lost(let list)?: try? consumer.unassign(list)
            case nil: break
            }
        }
        return nil
    }

    /// The first part of a life: state and membership.
    package func begin() throws {
        try restore()
        try consumer.subscribe()
    }

    /// Gives up what is open.
    /// - Returns: the error that says so, when it turns out that another instance has taken over.
    private func abandon() -> KafkaError? {
        let replaced = committer.leave()
        keeper.cancel()
        // Left for the next life, it would look like a failure of that one, which would then write what it has so far,
        // perhaps nothing, in place of the snapshot that it began with.
        if let outcome = keeper.finish() { note(outcome) }
        return replaced
    }

    /// The last part of every life.
    package func leave() { consumer.close() }

    /// One turn of the loop.
    package func turn() throws {
        let poll = consumer.poll(milliseconds: pollMilliseconds)
        // Its records may be another's by now. A rebalance that is not answered would hold up the end of this life.
        if case .lost? = poll.rebalance, let rebalance = poll.rebalance { try answer(rebalance) }
        if poll.rebalance == nil { try confirmMembership() }
        try take(poll.records)
        consumer.release()
        for (p, end) in poll.ends { if let id = id(p) { partitions[id]?.end = end } }
        if let rebalance = poll.rebalance { try answer(rebalance) }
        if let error = poll.error { try consider(error) }
        try tick()
        try committer.flow()
        if isCommitDue { try commit() }
        try snapshotIfDue()
        noteCaughtUp()
        noteTroubles()
        reporter.report(engine, lag: lag, phase: phase)
    }

    /// After a standstill in which the group may have gone on without this member: asks it by committing once more what
    /// is committed, before anything is said about records that may be another's by now. What is said in a transaction
    /// would not count then; what is said without cannot be taken back.
    private func confirmMembership() throws {
        let now = clock.now
        defer { turnedAt = now }
        guard settings.delivery == .atLeastOnce, now - turnedAt > Double(consumer.sessionTimeoutMs) / 2000 else {
            return
        }
        try askForMembership()
    }

    /// Commits once more what is committed: the group refuses that of whom it has gone on without.
    /// - Throws: `LostPartitions` then, and nothing else.
    private func askForMembership() throws {
        let offsets = partitions.values.compactMap { p in p.committed.map { (p.name, $0) } }
        guard !offsets.isEmpty else { return }
        if consumer.isAssignmentLost { throw LostPartitions(partitions.values.map(\.name)) }
        do {
            try consumer.commit(Dictionary(uniqueKeysWithValues: offsets), milliseconds: 2_000)
        } catch  where error.isOfExpelled || consumer.isAssignmentLost {
            throw LostPartitions(partitions.values.map(\.name))
        } catch {
            reporter.trouble(error.name, "\(error)")
        }
    }

    /// A broker that cannot be reached ends nothing; the clients try again for as long as it takes.
    private func noteTroubles() {
        for (i, error) in [consumer.lastError, producer.lastError].enumerated() {
            guard let error, error.count > troubles[i] else { continue }
            troubles[i] = error.count
            reporter.trouble(error.text, error.text)
        }
    }

    /// SIGTERM: nothing more is read; what was taken in is committed and kept.
    package func drain() throws {
        shared.update { $0.phase = .draining }
        logger.notice("draining")
        try insistOnCommit(keepingCompany: true)
        try snapshotNow()
        reporter.final(engine, lag: lag)
    }

    private var phase: DaemonStatus.Phase {
        if partitions.isEmpty { return .starting }
        return partitions.contains { engine.nextOffset($0.key) ?? 0 < $0.value.firstUnpublishedOffset }
            ? .replaying : .live
    }

    private var lag: Int64? {
        var lag: Int64?
        for (id, p) in partitions {
            guard let end = consumer.knownEnd(p.name), let next = engine.nextOffset(id) else { continue }
            // Markers of transactions have offsets as well.
            lag = (lag ?? 0) + max(0, end - max(next, p.end ?? next))
        }
        return lag
    }

    // MARK: Records

    private var pollMilliseconds: Int {
        guard let since = uncommittedSince, refused == nil else { return 100 }
        let left = Double(settings.output.commitIntervalMs) / 1000 - (clock.now - since)
        return max(0, min(100, Int(left * 1000)))
    }

    private func take(_ records: UnsafeBufferPointer<clvd_record>) throws {
        guard !records.isEmpty else { return }
        let records = held(records)
        decoder.decode(records, into: events)
        let batch = UnsafeBufferPointer(start: UnsafePointer(events), count: records.count)
        engine.step(batch)
        engine.forEachOutput { entry in publish(entry, records) }
        noteRecords(batch)
        uncommitted += records.count
        if uncommittedSince == nil { uncommittedSince = clock.now }
        shared.update { $0.records += Int64(records.count) }
    }

    /// The records of partitions that are held: some may have been given up while their records were on their way.
    private func held(_ records: UnsafeBufferPointer<clvd_record>) -> UnsafeBufferPointer<clvd_record> {
        var last: TaskID?
        let foreign = records.contains { r in
            let id = TaskID(topic: r.topic, partition: r.partition)
            if id == last { return false }
            last = id
            return partitions[id] == nil
        }
        guard foreign else { return records }
        var n = 0
        for r in records where partitions[TaskID(topic: r.topic, partition: r.partition)] != nil {
            kept[n] = r
            n += 1
        }
        return UnsafeBufferPointer(start: kept, count: n)
    }

    private func noteRecords(_ batch: UnsafeBufferPointer<clvd_event>) {
        let now = clock.now
        var last: TaskID?
        for e in batch {
            let id = TaskID(topic: e.topic, partition: e.partition)
            if id == last { continue }
            last = id
            partitions[id]?.lastRecordAt = now
            partitions[id]?.idleClock = nil
        }
    }

    private func publish(_ entry: OutboxEntry, _ records: UnsafeBufferPointer<clvd_record>) {
        switch entry.kind {
        case .update where entry.value.isEmpty:
            let record = records[Int(entry.record)]
            committer.publication.append(
                erasure: entry, of: record, topic: settings.input.topics[Int(record.topic)])
        case .update: committer.publication.append(update: entry)
        case .alert:
            committer.publication.append(alert: entry)
            reporter.alert(entry.value)
        case .deadLetter:
            let record = records[Int(entry.record)]
            var event = events[Int(entry.record)]
            let late = entry.reason == UInt8(clvd_status_too_late.rawValue)
            event.status = entry.reason
            committer.publication.append(
                deadLetter: record, topic: settings.input.topics[Int(record.topic)],
                reason: String(cString: clvd_status_name(entry.reason)), explanation: decoder.explain(record, event),
                stage: late ? "event_time" : "decode")
        }
    }

    /// Errors of the consumer that do not end this life are logged by the client.
    private func consider(_ error: KafkaError) throws {
        if error.isOutOfRange {
            // After a standstill: others may have gone on, and the log with them.
            try askForMembership()
            // The next life goes on where the log begins.
            if settings.snapshots.acceptGap { throw error }
            throw RecoveryError(
                description: "\(error.reason): the log no longer has the records that come next. Start again with "
                    + "snapshots.acceptGap: true to go on without them")
        }
        if error.isFatal || error.isFenced || error.isOfGroup { throw error }
        // The client does not read on from a topic that was away; the next life waits for it.
        if error.isOfMissingTopic, try isTopicMissing() {
            consumer.abandon()
            throw error
        }
        reporter.trouble(error.name, "\(error)")
    }

    private func isTopicMissing() throws -> Bool {
        let counts = try consumer.partitionCounts(settings.input.topics)
        return settings.input.topics.contains { counts[$0] == nil }
    }

    // MARK: Silence

    /// Partitions without records for a while: their clock follows the wall's. Where records wait to be read, as they
    /// may after an outage, there is no silence to speak of.
    private func tick() throws {
        let idle = Double(settings.runtime.idleTickSeconds)
        guard idle > 0 else { return }
        let now = clock.now
        let due = partitions.filter { now - max($0.value.lastRecordAt, $0.value.tickedAt) >= idle }
        guard !due.isEmpty else { return }
        for id in due.keys { partitions[id]?.tickedAt = now }
        var times: [TaskID: Int64] = [:]
        do {
            // Asked first, as it keeps to its time; librdkafka waits for the end of a partition as long as it takes.
            _ = try consumer.partitionCounts(settings.input.topics, milliseconds: 2_000)
            for (id, p) in due {
                guard let clock = p.idleClock ?? engine.clock(id), let end = p.end,
                    try consumer.watermarks(p.name, milliseconds: 2_000).high <= end
                else { continue }
                partitions[id]?.idleClock = clock
                times[id] = clock + Int64((now - p.lastRecordAt) * 1000)
            }
        } catch {
            reporter.trouble(error.name, "\(error)")
            return
        }
        guard !times.isEmpty else { return }
        let before = times.keys.map { ($0, engine.clock($0)) }
        engine.tick(times)
        for (id, clock) in before { recordIdleTick(id, since: clock) }
        engine.forEachOutput { entry in publish(entry, UnsafeBufferPointer(start: nil, count: 0)) }
        if !committer.publication.isEmpty, uncommittedSince == nil { uncommittedSince = now }
    }

    /// Keeps what a tick has done, to be done again after a restart.
    private func recordIdleTick(_ id: TaskID, since before: Int64?) {
        guard let clock = engine.clock(id), let next = engine.nextOffset(id), clock != before else { return }
        if partitions[id]?.idleTicks.last?.before == next { partitions[id]?.idleTicks.removeLast() }
        partitions[id]?.idleTicks.append(IdleTick(before: next, clock: clock))
        if partitions[id]?.idleTicks.count ?? 0 > CommitMetadata.mostIdleTicks {
            partitions[id]?.idleTicks.removeFirst()
        }
    }

    // MARK: Commits

    private var isCommitDue: Bool {
        guard let since = uncommittedSince else { return false }
        return uncommitted >= settings.output.commitRecords || committer.publication.bytes >= Self.mostBytes
            || clock.now - since >= Double(settings.output.commitIntervalMs) / 1000
    }

    /// Most bytes of publications between two commits, or little more.
    private static let mostBytes = 64 << 20

    /// Commits what there is.
    /// - Returns: false when the group does not take offsets now; the next turn tries again.
    @discardableResult
    private func commit() throws -> Bool {
        if consumer.isAssignmentLost { throw LostPartitions(partitions.values.map(\.name)) }
        let now = clock.now
        if let refused, now < refused.retryAt { return false }
        var offsets: [TopicPartition: PartitionOffset] = [:]
        var changed: [TaskID: PartitionOffset] = [:]
        for (id, p) in partitions {
            // While committed records are read again there is nothing to commit.
            guard let next = engine.nextOffset(id), next >= p.firstUnpublishedOffset else { continue }
            let offset = PartitionOffset(
                offset: next, metadata: CommitMetadata(clock: engine.clock(id), idleTicks: p.idleTicks).text)
            if offset == p.committed { continue }
            offsets[p.name] = offset
            changed[id] = offset
        }
        if !offsets.isEmpty || !committer.publication.isEmpty {
            do {
                try committer.commit(offsets)
            } catch let error as KafkaError where error.isOfGroup {
                let since = refused?.since ?? now
                guard now - since < (shared.isStopping ? 20 : 60) else { throw error }
                // An offset that reaches the broker after the group has gone on would cost the assignment: the end of
                // the rebalance is waited for, or for so long that there may be none.
                refused = (since, now + 5, error)
                return false
            }
            for (id, offset) in changed { partitions[id]?.committed = offset }
            reporter.committed()
        }
        uncommitted = 0
        uncommittedSince = nil
        refused = nil
        return true
    }

    /// Commits before partitions are given up, however long the group makes one wait.
    /// - Parameter keepingCompany: polls meanwhile, so that the group can go on with what keeps it.
    private func insistOnCommit(keepingCompany: Bool) throws {
        var revoked: [TopicPartition] = []
        while !(try commit()) {
            guard keepingCompany else {
                // Nothing that is done here brings a member back that the group has gone on without.
                if let refused, refused.error.isOfExpelled { throw LostPartitions(partitions.values.map(\.name)) }
                clock.sleep(0.1)
                continue
            }
            // What comes now is for the next one to read.
            let poll = consumer.poll(milliseconds: 100)
            consumer.release()
            if let error = poll.error, error.isFatal || error.isFenced { throw error }
            guard let rebalance = poll.rebalance else { continue }
            refused?.retryAt = clock.now
            switch rebalance {
            case .assign: try consumer.assign([:])
            case .revoke(let list): revoked = list
            case .lost(let list): throw LostPartitions(list)
            }
        }
        guard !revoked.isEmpty else { return }
        try release(revoked)
        try consumer.unassign(revoked)
    }

    // MARK: Partitions

    private func id(_ p: TopicPartition) -> TaskID? {
        settings.input.topics.firstIndex(of: p.topic).map { TaskID(topic: Int32($0), partition: p.partition) }
    }

    private func answer(_ rebalance: Consumer.Rebalance) throws {
        refused?.retryAt = clock.now
        switch rebalance {
        case .assign(let list):
            logger.notice("partitions assigned", metadata: ["partitions": "\(list.map(\.description).sorted())"])
            try consumer.assign(takeOn(list))
        case .revoke(let list):
            logger.notice("partitions revoked", metadata: ["partitions": "\(list.map(\.description).sorted())"])
            try release(list)
            try consumer.unassign(list)
        case .lost(let list):
            // Another member may have them: what is in memory is ahead of what was committed.
            try? consumer.unassign(list)
            throw LostPartitions(list)
        }
    }

    /// Where each partition begins, its state being taken from the store where that has it.
    private func takeOn(_ list: [TopicPartition]) throws -> [TopicPartition: PartitionOffset] {
        if list.isEmpty { return [:] }
        reporter.settle(engine)
        try keeper.restoreModel(engine)
        let committed = try consumer.committed(list, milliseconds: 30_000)
        var starts: [TopicPartition: PartitionOffset] = [:]
        for p in list.sorted() {
            guard let id = id(p) else { continue }
            if engine.holds(id) { engine.removeTask(id) }
            let adoption = try keeper.adopt(id, p, committed: committed[p]?.offset, into: engine)
            if adoption == nil { engine.addTask(id) }
            let log = try watermarks(p)
            let facts = StartPlan.Facts(
                partition: p, state: engine.nextOffset(id), committed: committed[p]?.offset, low: log.low,
                high: log.high)
            let isUnknown = facts.state == nil && facts.committed == nil
            let latest = try isUnknown && settings.input.start == .latest && isFirstStart()
            let plan = try StartPlan.make(facts, latest: latest, acceptGap: settings.snapshots.acceptGap)
            if let warning = plan.warning { logger.warning("\(warning)", metadata: ["partition": "\(p)"]) }
            let published = CommitMetadata(text: committed[p]?.metadata ?? "")
            let idleTicks = published.idleTicks(before: committed[p]?.offset ?? 0)
            engine.resume(id, at: plan.from, firstUnpublishedOffset: plan.firstUnpublishedOffset, idleTicks: idleTicks)
            let now = clock.now
            partitions[id] = Partition(
                name: p, firstUnpublishedOffset: plan.firstUnpublishedOffset,
                replayingSince: plan.firstUnpublishedOffset > plan.from ? now : nil,
                committed: committed[p], lastRecordAt: now, tickedAt: now, idleTicks: published.idleTicks)
            starts[p] = PartitionOffset(offset: plan.from)
            // The end of the log today is not that of the next start.
            if latest, uncommittedSince == nil { uncommittedSince = now }
            reporter.partitionTaken(p, plan, log: log.low..<max(log.low, log.high), adoption)
        }
        keeper.closeBase()
        reporter.rebase(engine)
        return starts
    }

    /// Asks again while another broker is about to lead the partition.
    private func watermarks(_ p: TopicPartition) throws -> (low: Int64, high: Int64) {
        let began = clock.now
        while clock.now - began < 30 {
            do {
                return try consumer.watermarks(p, milliseconds: 10_000)
            } catch {
                guard error.isPassing else { throw error }
                clock.sleep(0.2)
            }
        }
        return try consumer.watermarks(p, milliseconds: 10_000)
    }

    /// Whether the group has never committed anything and no instance has kept any state. After that a partition
    /// without either is one that was added to its topic: none of its records has been seen.
    private func isFirstStart() throws -> Bool {
        guard try keeper.isStoreEmpty() else { return false }
        let counts = try consumer.partitionCounts(settings.input.topics)
        let all = counts.flatMap { topic, count in (0..<Int32(count)).map { TopicPartition(topic, $0) } }
        return try consumer.committed(all, milliseconds: 30_000).isEmpty
    }

    /// Finishes partitions: what they said is committed and their state is in the store before they go.
    private func release(_ list: [TopicPartition]) throws {
        try insistOnCommit(keepingCompany: false)
        reporter.settle(engine)
        let start = clock.now
        let ids = Set(list.compactMap(id)).intersection(engine.taskIDs)
        do {
            let info = isQuiet && !ids.isEmpty ? try keeper.handOver(ids, of: engine) : nil
            reporter.partitionsReleased(list, info, seconds: clock.now - start)
        } catch let error as SnapshotError {
            note(failed: error)
        }
        for id in ids {
            partitions[id] = nil
            engine.removeTask(id)
        }
        reporter.rebase(engine)
    }

    /// Says which partitions have been brought to where the group had committed.
    private func noteCaughtUp() {
        for (id, p) in partitions {
            guard let since = p.replayingSince, let next = engine.nextOffset(id), next >= p.firstUnpublishedOffset
            else {
                continue
            }
            partitions[id]?.replayingSince = nil
            reporter.partitionCaughtUp(p.name, seconds: clock.now - since)
        }
    }

    // MARK: Snapshots

    private func restore() throws {
        shared.update { $0.phase = .restoring }
        snapshotPosition = try keeper.restoreOwn(engine) ?? 0
    }

    /// Nothing is published that is not committed: the state may be kept.
    private var isQuiet: Bool { committer.publication.isEmpty && uncommittedSince == nil }

    private func snapshotIfDue() throws {
        if let outcome = keeper.poll() { note(outcome) }
        guard !keeper.isWriting, clock.now - snapshotAt >= Double(settings.snapshots.intervalSeconds),
            engine.position != snapshotPosition
        else { return }
        // A busy stream is seldom quiet by itself.
        guard try commit(), isQuiet else { return }
        snapshotAt = clock.now
        do {
            try keeper.begin(engine)
            snapshotPosition = engine.position
        } catch let error as SnapshotError {
            note(failed: error)
        }
    }

    /// Waits for a snapshot on its way, then writes one of the present state in this process, if that is news.
    private func snapshotNow() throws {
        if let outcome = keeper.finish() { note(outcome) }
        guard engine.position != snapshotPosition, isQuiet else { return }
        do {
            let info = try keeper.write(engine)
            reporter.snapshotTaken(info, seconds: nil)
            snapshotPosition = info.position
        } catch let error as SnapshotError {
            note(failed: error)
        }
    }

    private func note(_ outcome: SnapshotOutcome) {
        switch outcome {
        case .written(let info, let seconds):
            // A failure meanwhile, of a part, may have made it look as if it had never been begun.
            snapshotPosition = info.position
            reporter.snapshotTaken(info, seconds: seconds)
        case .failed(let error): note(failed: error)
        }
    }

    /// The stream goes on without: the last good snapshot stays.
    private func note(failed error: SnapshotError) {
        // What the last good one holds is not written again: in its place, partitions that have gone since would be missing.
        snapshotPosition = keeper.newestPosition ?? -1
        reporter.snapshotFailed(error)
    }

    /// The highest-ranked users now.
    func topUsers(_ count: Int) -> [RankedUser] { engine.topUsers(count) }
}

/// Partitions went without warning: what is in memory is worth nothing any more.
struct LostPartitions: Error, CustomStringConvertible {
    let description: String

    init(_ list: [TopicPartition]) {
        description =
            "the group took \(list.map(\.description).sorted().joined(separator: ", ")) away; "
            + "was this instance paused for longer than session.timeout.ms?"
    }
}

/// Seconds since an arbitrary start, never backwards.
func monotonic() -> Double { ProcessInfo.processInfo.systemUptime }

func rounded(_ seconds: Double) -> Double { (seconds * 1000).rounded() / 1000 }
