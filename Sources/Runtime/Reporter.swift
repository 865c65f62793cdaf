internal import Engine
internal import EventInput
import Foundation
internal import Kafka
internal import Logging
internal import Settings
internal import SnapshotStore

/// Reports the loop's progress to the log, the metrics and the status, at a pace that costs next to nothing.
final class Reporter {
    private let settings: Settings
    private let stage: Stage?
    private let shared: SharedState
    private let logger: Logger
    private let clock: any LoopClock
    private var metrics: RuntimeMetrics
    private var statusAt = 0.0
    private var reportAt: Double
    /// Position and time (s) of the latest reports, for the rate.
    private var looks: [(at: Double, position: Int64)] = []
    private var prequential: [PrequentialReport] = []
    /// When an error of each kind was logged last, s.
    private(set) var troubles: [Trouble: Double] = [:]
    /// Partitions that stand still: before which offset, and when it was logged last, s.
    private var standstills: [TopicPartition: (offset: Int64, at: Double)] = [:]
    /// Partitions that wait for a schema, and when each was logged last, s.
    private var waits: [TopicPartition: (at: Double, schema: UInt32)] = [:]
    /// Dead letters of this process, and how many of them, and records, were logged.
    private var refusals = Refusals()
    private var logged: (refused: Int64, misspelt: Int64, position: Int64) = (0, 0, 0)
    /// Names of event types that the format does not know; nil: nobody counts them.
    private let unknownTypes: (() -> UnknownTypeNames)?
    private var unknown = UnknownTypeNames()
    /// Drifts that were logged, or happened before.
    private var loggedDrifts: Int64 = 0
    private var hasWarnedOfAliases = false
    private var phase = DaemonStatus.Phase.starting

    init(
        _ settings: Settings, stage: Stage? = nil, shared: SharedState, logger: Logger, connections: Connections,
        unknownTypes: (() -> UnknownTypeNames)? = nil
    ) {
        (self.settings, self.stage, self.unknownTypes) = (settings, stage, unknownTypes)
        clock = connections.clock
        metrics = RuntimeMetrics(factory: connections.metrics.of(stage))
        self.shared = shared
        self.logger = logger
        reportAt = clock.now
        shared.update { $0.schemaWaits = [:] }
    }

    /// To be called every turn.
    func report(_ engine: Engine, lag: @autoclosure () -> Int64?, phase now: DaemonStatus.Phase) {
        let time = clock.now
        guard time - statusAt >= 0.2 else { return }
        statusAt = time
        if now != phase {
            phase = now
            logger.notice("phase", metadata: ["phase": "\(now.rawValue)"])
        }
        let isDue = time - reportAt >= Double(settings.runtime.reportIntervalSeconds)
        if isDue {
            reportAt = time
            unknown = unknownTypes?() ?? unknown
        }
        var report = engine.report(prequential: isDue)
        if isDue { prequential = report.prequential } else { report.prequential = prequential }
        looks.append((time, report.position))
        while looks.count > 2 && time - looks[0].at > 5 { looks.removeFirst() }
        logDrifts(report.learning)
        let rate =
            looks.count > 1
            ? Double(report.position - looks[0].position) / max(1e-3, time - looks[0].at) : 0
        let lag = lag()
        let latest = report
        shared.update { status in
            status.phase = now
            status.report = latest
            status.refusals = refusals
            status.unknownTypes = unknown
            status.recordsPerSecond = rate
            status.lag = lag
        }
        guard isDue else { return }
        metrics.observe(report, lag: lag)
        log(report, rate: rate, lag: lag)
    }

    /// Counts what was done with the held partitions. To be called before these change.
    func settle(_ engine: Engine) { metrics.observe(engine.report(prequential: false), lag: nil) }

    /// To be called when a model was restored or partitions have come or gone: what happened elsewhere or before is not
    /// counted, and its drifts are not logged.
    func rebase(_ engine: Engine) {
        let report = engine.report(prequential: false)
        metrics.rebase(report)
        loggedDrifts = report.learning.drifts
        logged.position = report.position
    }

    /// A record became a dead letter.
    /// - Parameter example: where it stands and what is wrong with it.
    func refused(_ status: UInt8, _ example: @autoclosure () -> String) { refusals.add(status, example()) }

    /// Warns when more than one record in a hundred was refused since the last look, with the reason of most, or has a type
    /// whose name is nearly one that the format knows.
    private func logFaults(_ position: Int64) {
        let misspelt = unknown.misspelt.reduce(0) { $0 + $1.count }
        let records = position - logged.position
        let (refused, odd) = (refusals.total - logged.refused, misspelt - logged.misspelt)
        logged = (refusals.total, misspelt, position)
        if refused > 0, 100 * refused > records, let most = refusals.reasons.first {
            logger.warning(
                "more than one record in a hundred is refused",
                metadata: [
                    "refused": "\(refused)", "records": "\(records)", "most_often": "\(most.name)",
                    "example": "\(most.example ?? "-")",
                ])
        }
        if odd > 0, 100 * odd > records, let most = unknown.misspelt.first {
            logger.warning(
                "more than one record in a hundred has a type that the format does not know, but nearly",
                metadata: ["events": "\(odd)", "records": "\(records)", "most_often": "\(most.text)"])
        }
    }

    /// Reports once more, at the end of a life.
    func final(_ engine: Engine, lag: Int64?) {
        let report = engine.report()
        metrics.observe(report, lag: lag)
        unknown = unknownTypes?() ?? unknown
        shared.update { status in
            status.report = report
            status.refusals = refusals
            status.unknownTypes = unknown
            status.lag = lag
        }
        log(report, rate: 0, lag: lag)
    }

    /// Warns once when most ids of guests that were joined to customers have nothing to bring.
    private func logAliases(_ c: TaskCounters) {
        let (found, missed) = (c.joined, c.aliasesWithoutState)
        guard !hasWarnedOfAliases, stage == nil, missed >= Self.manyAliases, missed > found else { return }
        hasWarnedOfAliases = true
        logger.warning(
            """
            most ids of guests are joined to customers without anything being held of them: where their events are in \
            other partitions than the customers', input.keying: repartition brings them together
            """,
            metadata: ["aliases_without_state": "\(missed)", "aliases_joined": "\(found)"])
    }

    private static let manyAliases: Int64 = 100

    /// Logs every drift of this life once.
    private func logDrifts(_ learning: LearningReport) {
        defer { loggedDrifts = learning.drifts }
        guard learning.drifts > loggedDrifts else { return }
        for alarm in learning.driftAlarms.suffix(Int(min(learning.drifts - loggedDrifts, Int64(Int.max)))) {
            let time = Date(timeIntervalSince1970: Double(alarm.timeMs) / 1000)
            logger.warning(
                "the stream has drifted: predictions fare otherwise than they did, learning adapts",
                metadata: [
                    "event_time": "\(time.formatted(.iso8601))", "target": "\(alarm.target)",
                    "part": "\(alarm.part ?? "-")", "excess_loss": "\(rounded(alarm.excess))",
                    "usual": "\(rounded(alarm.usual))", "drifts": "\(learning.drifts)",
                ])
        }
    }

    private func log(_ report: EngineReport, rate: Double, lag: Int64?) {
        let c = report.counters
        if stage == .route {
            return logger.info(
                "progress",
                metadata: [
                    "routed": "\(c.records)", "per_second": "\(Int(rate))", "lag": "\(lag.map(String.init) ?? "-")",
                ])
        }
        var metadata: Logger.Metadata = [
            "records": "\(c.records)", "per_second": "\(Int(rate))", "lag": "\(lag.map(String.init) ?? "-")",
            "updates": "\(c.updates)", "duplicates": "\(c.duplicates)", "ignored": "\(c.ignored)",
            "dead_letters": "\(c.deadLetters)", "alerts": "\(c.alertsRaised)", "users": "\(report.users)",
            "steps": "\(report.learning.steps)", "model_version": "\(report.modelVersion)",
            "loss": "\(rounded(report.learning.loss))", "learning_rate": "\(report.learning.learningRate)",
        ]
        if c.purchasesWithoutMoney > 0 { metadata["purchases_without_money"] = "\(c.purchasesWithoutMoney)" }
        if c.refundsWithoutOrder > 0 { metadata["refunds_without_order"] = "\(c.refundsWithoutOrder)" }
        if c.lateAccepted > 0 { metadata["late_accepted"] = "\(c.lateAccepted)" }
        if c.excessEvents > 0 { metadata["excess_events"] = "\(c.excessEvents)" }
        if c.joined > 0 { metadata["aliases_joined"] = "\(c.joined)" }
        if c.aliasesWithoutState > 0 { metadata["aliases_without_state"] = "\(c.aliasesWithoutState)" }
        if report.learning.drifts > 0 { metadata["drifts"] = "\(report.learning.drifts)" }
        if report.learning.adapting { metadata["adapting"] = "true" }
        if report.learning.skipped > 0 { metadata["steps_skipped"] = "\(report.learning.skipped)" }
        if refusals.total > 0 {
            metadata["refused"] =
                "\(refusals.reasons.prefix(3).map { "\($0.name) \($0.count)" }.joined(separator: ", "))"
        }
        if !unknown.isEmpty {
            let names = (unknown.misspelt + unknown.names.filter { $0.nearest == nil }).prefix(3)
            metadata["unknown_names"] = "\(names.map { "\($0.text) \($0.count)" }.joined(separator: ", "))"
        }
        logger.info("progress", metadata: metadata)
        logFaults(report.position)
        logAliases(c)
        for p in report.prequential where p.landmarks > 0 {
            func pair(_ a: Double?, _ b: Double?) -> String? {
                a.map { "\(rounded($0))" + (b.map { " (naive \(rounded($0)))" } ?? "") }
            }
            var m: Logger.Metadata = [
                "target": "\(p.target)", "horizon_days": "\(HorizonDays.text(p.horizonDays))",
                "landmarks": "\(p.landmarks)",
            ]
            m["gini"] = pair(p.model.gini, p.naive.gini).map { "\($0)" }
            m["mae"] = pair(p.model.mae, p.naive.mae).map { "\($0)" }
            m["bias"] = pair(p.model.bias, p.naive.bias).map { "\($0)" }
            m["coverage"] = pair(p.coverage, nil).map { "\($0)" }
            m["auc"] = pair(p.model.auc, p.naive.auc).map { "\($0)" }
            m["log_loss"] = pair(p.model.logLoss, p.naive.logLoss).map { "\($0)" }
            m["calibration_error"] = pair(p.model.calibrationError, p.naive.calibrationError).map { "\($0)" }
            logger.info("prequential", metadata: m)
        }
    }

    func alert(_ value: UnsafeBufferPointer<UInt8>) {
        let data = Data(value)
        shared.update { status in
            status.recentAlerts.insert(data, at: 0)
            if status.recentAlerts.count > 12 { status.recentAlerts.removeLast() }
        }
    }

    func committed() {
        metrics.commit()
        shared.update { $0.commits += 1 }
    }

    /// - Parameter seconds: how long it took, when it was written beside the stream.
    func snapshotTaken(_ info: SnapshotInfo, seconds: Double?) {
        metrics.snapshotTaken(at: info.createdAt.timeIntervalSince1970, bytes: info.bytes)
        shared.update {
            $0.snapshot = .init(takenAt: info.createdAt, bytes: info.bytes, position: info.position)
        }
        logger.info(
            "snapshot taken",
            metadata: [
                "snapshot": "\(info.name)", "bytes": "\(info.bytes)",
                "seconds": "\(seconds.map { "\(rounded($0))" } ?? "-")",
            ])
    }

    /// A partition was acquired, with its state from the store or without.
    func partitionTaken(_ p: TopicPartition, _ plan: StartPlan, log: Range<Int64>, _ from: SnapshotKeeper.Adoption?) {
        forgetWait(of: p)
        let muted = plan.firstUnpublishedOffset - plan.from
        metrics.partitionTaken(bytes: from?.bytes ?? 0, seconds: from?.seconds ?? 0, muted: muted)
        var metadata: Logger.Metadata = [
            "partition": "\(p)", "offset": "\(plan.from)", "publish_from": "\(plan.firstUnpublishedOffset)",
            "muted": "\(muted)", "log": "\(log)", "from": "\(from?.instance ?? "-")",
        ]
        if let from {
            metadata["snapshot"] = "\(from.snapshot)"
            metadata["bytes"] = "\(from.bytes)"
            metadata["seconds"] = "\(rounded(from.seconds))"
        }
        logger.info("partition begins", metadata: metadata)
    }

    /// A partition's committed records have been read again.
    /// - Parameters:
    ///   - offsets: how many were passed.
    ///   - records: how many of them were records.
    func partitionCaughtUp(_ p: TopicPartition, seconds: Double, offsets: Int64, records: Int64) {
        var metadata: Logger.Metadata = [
            "partition": "\(p)", "seconds": "\(rounded(seconds))", "offsets": "\(offsets)", "records": "\(records)",
        ]
        guard records < offsets else { return logger.info("partition is up to date", metadata: metadata) }
        metadata["others"] = "\(offsets - records)"
        guard settings.input.acceptCompacted else {
            return logger.info(
                "partition is up to date; the other offsets are of markers of transactions or aborted records",
                metadata: metadata)
        }
        logger.warning(
            "partition is up to date; the other offsets are of records that compaction removed, markers or aborted records",
            metadata: metadata)
    }

    /// A customer of a sample was found in a second partition.
    /// - Parameter customers: how many it stands for.
    func customersSplit(_ customers: Int64, _ sample: KeyingSample) {
        metrics.customersSplit(customers)
        shared.update { $0.splitCustomers = (Int64(sample.split) * sample.factor, sample.share) }
    }

    /// Offsets of records that came do not follow one another.
    func jumped(_ jumps: Consumer.Jumps) {
        metrics.jumped(jumps.count, skipping: jumps.skipped)
        logger.debug(
            "offsets without a record",
            metadata: [
                "jumps": "\(jumps.count)", "offsets": "\(jumps.skipped)", "largest": "\(jumps.partition)",
                "from": "\(jumps.expected)", "to": "\(jumps.found)",
            ])
    }

    /// - Parameter info: the snapshot that was written for the next owner; nil: an earlier one has them, or there are no
    ///   partitions.
    func partitionsReleased(_ list: [TopicPartition], _ info: SnapshotInfo?, seconds: Double) {
        metrics.partitionsReleased(list.count)
        for p in list { forgetWait(of: p) }
        logger.info(
            "partitions released",
            metadata: [
                "partitions": "\(list.map(\.description).sorted())", "snapshot": "\(info?.name ?? "-")",
                "bytes": "\(info?.bytes ?? 0)", "seconds": "\(rounded(seconds))",
            ])
    }

    func snapshotFailed(_ error: SnapshotError) {
        metrics.snapshotFailed()
        shared.update { $0.snapshotFailures += 1 }
        logger.error(
            "no snapshot was taken; the stream goes on and the last one stays", metadata: ["error": "\(error)"])
    }

    /// - Parameter seconds: how long records have waited behind an open transaction of another producer; 0: none wait.
    func waitingBehindTransaction(seconds: Double) { metrics.waitingBehindTransaction(seconds: seconds) }

    // MARK: Standstills

    /// Seconds in which a partition that stands still is logged once.
    private static let standstillSeconds = 600.0

    /// A partition stands still before a batch that cannot be read. May be called for each try.
    func standstill(_ batch: UnreadableBatch) {
        let now = clock.now
        let known = standstills[batch.partition]
        let isNews = known?.offset != batch.offset
        if isNews { metrics.unreadableBatch() }
        if let known, !isNews, now - known.at < Self.standstillSeconds { return }
        standstills[batch.partition] = (batch.offset, now)
        shared.update { $0.standstills[batch.partition.description] = batch.offset }
        logger.error(
            "a batch cannot be read: its partition stands still, the others go on",
            metadata: [
                "partition": "\(batch.partition)", "offset": "\(batch.offset)", "next": "\(batch.next)",
                "error": "\(batch.error)", "remedy": "\(batch.remedy)",
            ])
    }

    func standstillEnded(_ batch: UnreadableBatch) {
        standstills[batch.partition] = nil
        shared.update { $0.standstills[batch.partition.description] = nil }
        logger.notice(
            "a partition goes on that stood still",
            metadata: ["partition": "\(batch.partition)", "offset": "\(batch.offset)"])
    }

    // MARK: Missing schemas

    /// Seconds in which a partition that waits for a schema is logged once.
    private static let waitSeconds = 30.0

    /// A partition waits for a schema. May be called for each try.
    func waits(_ p: TopicPartition, _ wait: SchemaWait) {
        let seconds = clock.now - wait.since
        metrics.waitsForSchema(p.description, wait.missing.id, seconds: seconds)
        let since = Date(timeIntervalSince1970: Double(wait.sinceWallMs) / 1000)
        shared.update {
            $0.schemaWaits[p.description] = .init(
                schema: wait.missing.id, offset: wait.offset, since: since, reason: wait.missing.reason)
        }
        if let known = waits[p], known.schema == wait.missing.id, clock.now - known.at < Self.waitSeconds { return }
        waits[p] = (clock.now, wait.missing.id)
        logger.warning(
            "records wait for their schema: their partition stands still, the others go on",
            metadata: [
                "partition": "\(p)", "offset": "\(wait.offset)", "since": "\(since.formatted(.iso8601))",
                "error": "\(wait.missing)",
                "remedy": """
                register the schema or check input.registry, and the partition goes on by itself; to step over records, \
                set input.skip: ["\(p.topic)/\(p.partition)/\(wait.offset)"]
                """,
            ])
    }

    func waitEnded(_ p: TopicPartition, _ wait: SchemaWait) {
        forgetWait(of: p)
        logger.notice(
            "a partition goes on that has waited for its schema",
            metadata: [
                "partition": "\(p)", "offset": "\(wait.offset)", "schema": "\(wait.missing.id)",
                "seconds": "\(rounded(clock.now - wait.since))",
            ])
    }

    /// A partition goes on, or is not held any more.
    private func forgetWait(of p: TopicPartition) {
        if let wait = waits.removeValue(forKey: p) { metrics.waitsForSchema(p.description, wait.schema, seconds: 0) }
        shared.update { $0.schemaWaits[p.description] = nil }
    }

    // MARK: Troubles

    /// What was being done when an error came that does not end anything.
    enum Operation { case consume, consumer, producer, membership, idleTick }

    /// What tells one kind of trouble from another. Texts do not, as they have timings and counts in them.
    struct Trouble: Hashable {
        let operation: Operation
        let code: Int32
    }

    /// Seconds in which an error of one kind is logged once.
    private static let troubleSeconds = 30.0
    /// Most kinds of trouble that are remembered.
    static let mostTroubles = 64

    /// Logs an error that does not end anything, unless one of its kind was logged lately.
    func trouble(_ operation: Operation, _ error: KafkaError) { trouble(operation, error.code, "\(error)") }

    /// - Parameter code: one of librdkafka's.
    func trouble(_ operation: Operation, _ code: Int32, _ text: String) {
        let now = clock.now
        shared.update { $0.trouble = (text, .now) }
        let kind = Trouble(operation: operation, code: code)
        if let last = troubles[kind], now - last < Self.troubleSeconds { return }
        if troubles[kind] == nil, troubles.count >= Self.mostTroubles,
            let oldest = troubles.min(by: { $0.value < $1.value })
        {
            troubles[oldest.key] = nil
        }
        troubles[kind] = now
        logger.warning("trouble with Kafka", metadata: ["error": "\(text)"])
    }
}
