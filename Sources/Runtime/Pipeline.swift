import CEventParser
package import Engine
internal import EventInput
internal import Kafka
package import Logging
package import Settings
package import SnapshotStore

/// One life of the daemon's loop: restore, then poll → decode → step → publish → commit → snapshot until it is told to
/// stop or something fails. One thread runs all of it. The state in memory is good for one life: after a failure the
/// next one begins from the newest snapshot.
package final class Pipeline {
    let context: LoopContext
    let table: PartitionTable
    let committer: Committer
    let snapshots: SnapshotSchedule
    private let commits: CommitGate
    private let assignment: PartitionAssignment
    private let idleClock: IdleClock
    private let watch: LogWatch
    private let keying: KeyingWatch
    private var continuity: Continuity
    private var openTransactions: OpenTransactionWatch
    private let producer: any RecordSink
    private let store: any SnapshotRepository
    private let decoder: EventDecoder
    private let schemaGate: SchemaGate
    private let skips: SkippedOffsets
    private let events: UnsafeMutablePointer<clvd_event>
    /// Records that came through the first stage, with the keys that they had before it.
    private let originals: UnsafeMutablePointer<clvd_record>
    /// nil: records change the engine's state.
    private var router: Router?
    /// Errors of the clients as a whole that have been reported: of the consumer, of the producer.
    private var reportedErrors: [UInt64] = [0, 0]

    package var engine: Engine { context.engine }

    /// - Parameters:
    ///   - settings: those of the stage.
    ///   - stage: nil: there is but one.
    ///   - partitionCount: partitions of the input topics together.
    package init(
        _ settings: Settings, stage: Stage? = nil, partitionCount: Int, store: any SnapshotRepository,
        shared: SharedState, logger: Logger, connections: Connections
    ) throws {
        let (consumer, clock) = (connections.source, connections.clock)
        producer = connections.sink
        self.store = store
        let engine = Engine(
            configuration: settings.engine, topics: settings.input.topics, partitions: partitionCount,
            currency: settings.input.currency.base, joinsByTopic: stage == .score,
            executor: WorkerPool(threads: settings.runtime.threadCount))
        let format = try EventFormat.load(settings.input.format)
        decoder = try EventDecoder(
            format: format, limits: settings.input.limits,
            currency: settings.input.currency, headerLookup: Consumer.headerLookup)
        // The second stage sees what the first passes on.
        if stage != .route { decoder.countUnknownTypes(most: 100) }
        skips = SkippedOffsets(settings.input.skip)
        if settings.delivery == .exactlyOnce { try producer.initTransactions(milliseconds: 60_000) }
        committer = try Committer(
            settings, producer: producer, consumer: consumer, clock: clock, logger: logger,
            isStopping: { shared.isStopping })
        context = LoopContext(
            settings: settings, shared: shared, logger: logger, engine: engine, consumer: consumer, clock: clock,
            reporter: Reporter(
                settings, stage: stage, shared: shared, logger: logger, connections: connections,
                unknownTypes: stage == .route ? nil : { [decoder] in decoder.unknownTypes }),
            stage: stage)
        router =
            stage == .route
            ? try Router(
                topics: settings.input.topics, engine: engine,
                splitter: RecordSplitter(
                    format: format, limits: settings.input.limits, currency: settings.input.currency,
                    headerLookup: Consumer.headerLookup)) : nil
        let table = PartitionTable(
            group: settings.kafka.groupId, topics: settings.input.topics, batchRecords: settings.runtime.batchRecords,
            engine: engine, consumer: consumer)
        self.table = table
        let keeper = SnapshotKeeper(store, settings, logger: logger, clock: clock) { table.origin(of: $0) }
        schemaGate = SchemaGate(context, table, decoder, connections.schemas, skips)
        watch = LogWatch(context, table)
        keying = KeyingWatch(context, table)
        commits = CommitGate(context, table, committer, watch)
        snapshots = SnapshotSchedule(context, commits, keeper)
        assignment = PartitionAssignment(context, table, commits, snapshots, keeper, keying)
        idleClock = IdleClock(context, table)
        continuity = Continuity(context)
        openTransactions = OpenTransactionWatch(context, table)
        events = .allocate(capacity: settings.runtime.batchRecords)
        originals = .allocate(capacity: stage == .score ? settings.runtime.batchRecords : 0)
    }

    deinit {
        events.deallocate()
        originals.deallocate()
    }

    /// Runs until `shared` says stop.
    /// - Throws: whatever ended this life.
    func run() throws {
        defer { leave() }
        do {
            try begin()
            while !context.shared.isStopping { try turn() }
            try drain()
        } catch {
            throw end(after: error)
        }
    }

    /// The first part of a life: state and membership.
    package func begin() throws {
        table.cluster = context.consumer.clusterID(milliseconds: 10_000)
        try StoreClaim.make(store, context.settings, cluster: table.cluster, logger: context.logger)
        try snapshots.restore()
        try context.consumer.subscribe()
    }

    /// One turn of the loop.
    package func turn() throws {
        let consumer = context.consumer
        begin(.waiting)
        let poll = consumer.poll(milliseconds: commits.pollMilliseconds)
        // The records may be another member's by now. A rebalance that is not answered would hold up the end of this
        // life.
        if case .lost? = poll.rebalance, let rebalance = poll.rebalance { try assignment.handleRebalance(rebalance) }
        try watch.beginTurn()
        if poll.rebalance == nil { try assignment.confirmMembership() }
        if let jumps = poll.jumps { try continuity.check(jumps) }
        try take(poll.records)
        consumer.release()
        schemaGate.retry()
        context.shared.requests.drain(engine)
        if table.noteEnds(poll.ends) { commits.require(at: context.clock.now) }
        if let rebalance = poll.rebalance {
            begin(.partitions)
            try assignment.handleRebalance(rebalance)
        }
        if let error = poll.error {
            watch.note(error)
            try handleConsumerError(error, poll.place)
        }
        noteStandstills(poll.unreadable)
        try tick()
        try committer.produceAvailable()
        if commits.isDue {
            begin(.committing)
            try commits.commit()
        }
        try watch.lookIfDue()
        try snapshots.takeIfDue()
        assignment.noteCaughtUp()
        noteClientErrors()
        openTransactions.look()
        tell()
    }

    /// SIGTERM: nothing more is read; what was taken in is committed and kept.
    package func drain() throws {
        context.shared.update {
            $0.phase = .draining
            $0.begin(.committing)
        }
        context.logger.notice("draining")
        let revoked = try commits.commitWhilePolling()
        if !revoked.isEmpty {
            try assignment.release(revoked)
            try context.consumer.unassign(revoked)
        }
        begin(.snapshot)
        try snapshots.takeNow()
        context.reporter.final(engine, lag: table.lag)
    }

    // MARK: Records

    private func take(_ records: UnsafeBufferPointer<clvd_record>) throws {
        guard !records.isEmpty else { return }
        let records = schemaGate.admit(table.ownedRecords(records))
        let original = original(records)
        decoder.decode(original, into: events)
        skips.mark(records, events, topics: context.settings.input.topics)
        if context.stage == .score { RoutedIdentity.mark(records, events) }
        router?.route(records, events, to: committer.publication)
        let batch = UnsafeBufferPointer(start: UnsafePointer(events), count: records.count)
        begin(.records)
        try engine.step(batch, betweenSlices: betweenSlices, afterLearning: tell)
        engine.forEachOutput { entry in publish(entry, original, records) }
        table.noteLast(records)
        idleClock.noteRecords(batch)
        commits.noteRecords(records.count)
        try keying.stepTaken()
        context.shared.update { $0.records += Int64(records.count) }
    }

    /// The records as they were before the first stage.
    /// - Returns: `records` itself, or memory that is valid until the next call.
    private func original(_ records: UnsafeBufferPointer<clvd_record>) -> UnsafeBufferPointer<clvd_record> {
        guard context.stage == .score else { return records }
        for (i, r) in records.enumerated() { originals[i] = RecordOrigin.restoringKey(of: r) }
        return UnsafeBufferPointer(start: originals, count: records.count)
    }

    private func tick() throws {
        guard let now = try idleClock.tick(betweenSlices: betweenSlices) else { return }
        let none = UnsafeBufferPointer<clvd_record>(start: nil, count: 0)
        engine.forEachOutput { entry in publish(entry, none, none) }
        commits.noteOutputs(at: now)
    }

    private func begin(_ activity: DaemonStatus.Activity) { context.shared.update { $0.begin(activity) } }

    /// Keeps the status going while a step takes long.
    private func tell() { context.reporter.report(engine, lag: table.lag, phase: table.phase) }

    /// Keeps this member in its group while a step or tick takes long because event time has jumped.
    /// - Throws: `LostPartitions` when the group has expelled it meanwhile.
    private func betweenSlices() throws {
        context.consumer.keepAlive()
        tell()
        if context.consumer.isAssignmentLost { throw table.allLost }
        try commits.commitBeforeStep()
    }

    /// - Parameters:
    ///   - records: as they were before the first stage; `routed`: as they came.
    private func publish(
        _ entry: OutboxEntry, _ records: UnsafeBufferPointer<clvd_record>, _ routed: UnsafeBufferPointer<clvd_record>
    ) {
        let topics = context.settings.input.topics
        switch entry.kind {
        case .update where entry.value.isEmpty:
            let event = events[Int(entry.record)]
            committer.publication.append(
                erasure: entry, topic: topics[Int(entry.source.topic)],
                user: UnsafeBufferPointer(start: event.user, count: Int(event.user_length)))
        case .forward, .message:
            let record = records[Int(entry.record)]
            let here = RecordOrigin(
                topic: topics[Int(record.topic)], partition: record.partition, offset: record.offset,
                element: Int(events[Int(entry.record)].hops) + 1)
            let origin = RecordOrigin(of: routed[Int(entry.record)])
            if entry.kind == .message {
                committer.publication.append(
                    message: entry.value, to: entry.key, from: origin, timestampMs: record.timestamp_ms)
            } else {
                committer.publication.append(forwarding: record, from: origin ?? here, user: entry.key, passedOn: here)
            }
        case .joined: committer.publication.append(joined: entry, topic: topics[Int(entry.source.topic)])
        case .update: committer.publication.append(update: entry)
        case .alert:
            committer.publication.append(alert: entry)
            context.reporter.alert(entry.value)
        case .deadLetter:
            let record = records[Int(entry.record)]
            var event = events[Int(entry.record)]
            event.status = entry.reason
            let here = RecordOrigin(
                topic: topics[Int(record.topic)], partition: record.partition, offset: record.offset)
            let origin = context.stage == .score ? RecordOrigin(of: record) : nil
            let explanation =
                SkippedOffsets.explanation(record, status: entry.reason)
                ?? context.settings.engine.explanation(of: entry) ?? decoder.explain(record, event)
            let from = origin ?? here
            context.reporter.refused(
                entry.reason,
                "\(from.topic)[\(from.partition)]@\(from.offset)\(from.element.map { "#\($0)" } ?? ""): \(explanation)")
            committer.publication.append(
                deadLetter: record, of: from, routed: origin.map { _ in here },
                reason: String(cString: clvd_status_name(entry.reason)), explanation: explanation,
                stage: Self.stage(of: entry.reason))
        }
    }

    /// Where a record was refused, as dead letters name it.
    private static func stage(of reason: UInt8) -> String {
        switch reason {
        case UInt8(clvd_status_too_late.rawValue): "event_time"
        case UInt8(clvd_status_too_many_events.rawValue): "events_per_day"
        default: "decode"
        }
    }

    // MARK: Errors

    /// Ends this life, or reports an error that the client gets over by itself.
    /// - Parameter place: what it is about, if it is about a partition.
    private func handleConsumerError(
        _ error: KafkaError, _ place: (partition: TopicPartition, offset: Int64)?
    ) throws {
        if error.isOutOfRange {
            // After a standstill: others may have gone on, and the log with them.
            try assignment.askForMembership()
            // The next life goes on where the log begins.
            if context.settings.snapshots.acceptGap { throw error }
            throw outOfRange(error, place) ?? error
        }
        if error.isFatal || error.isFenced || error.isOfGroup { throw error }
        // The client does not read on from a topic that was away; the next life waits for it.
        if error.isOfMissingTopic, try isTopicMissing() {
            context.consumer.skipDestroy()
            throw error
        }
        context.reporter.trouble(.consume, error)
    }

    /// - Returns: nil: the log has the offset now, as a leader that was behind has answered, and the next life reads it.
    private func outOfRange(
        _ error: KafkaError, _ place: (partition: TopicPartition, offset: Int64)?
    ) -> RecoveryError? {
        guard let p = place?.partition, let wanted = table.id(p).flatMap(engine.nextOffset) ?? place?.offset,
            let log = try? context.consumer.watermarks(p, milliseconds: 10_000)
        else { return .outOfRange("\(error.reason): the log no longer has the records that come next") }
        if (log.low...max(log.low, log.high)).contains(wanted) { return nil }
        return .outOfRange(p, wanted: wanted, low: log.low, high: log.high)
    }

    /// Reports partitions that a batch has stopped, and those that go on.
    private func noteStandstills(_ batches: [UnreadableBatch]) {
        for batch in batches {
            if table.noteStandstill(batch) { context.reporter.standstill(batch) }
        }
        for batch in table.takeEndedStandstills() { context.reporter.standstillEnded(batch) }
    }

    private func isTopicMissing() throws -> Bool {
        let topics = context.settings.input.topics
        let counts = try context.consumer.partitionCounts(topics)
        return topics.contains { counts[$0] == nil }
    }

    /// Reports new errors of the clients as a whole. A broker that cannot be reached ends nothing: the clients try for as
    /// long as it takes.
    private func noteClientErrors() {
        let errors: [(Reporter.Operation, ClientError?)] = [
            (.consumer, context.consumer.lastError), (.producer, producer.lastError),
        ]
        for (i, (operation, error)) in errors.enumerated() {
            guard let error, error.count > reportedErrors[i] else { continue }
            reportedErrors[i] = error.count
            context.reporter.trouble(operation, error.code, error.text)
        }
    }
}
