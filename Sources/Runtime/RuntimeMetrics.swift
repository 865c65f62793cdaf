import CEventParser
internal import Engine
internal import Metrics

/// The daemon's metrics by the conventions of Prometheus. The backend is whoever bootstraps swift-metrics.
struct RuntimeMetrics {
    private let factory: any MetricsFactory
    private let records: FloatingPointCounter
    private let updates: FloatingPointCounter
    private let withoutMoney: FloatingPointCounter
    private let withoutOrder: FloatingPointCounter
    private let lateAccepted: FloatingPointCounter
    private let excess: FloatingPointCounter
    private let joined: FloatingPointCounter
    private let aliasesWithoutState: FloatingPointCounter
    private let steps: FloatingPointCounter
    private let alerts: FloatingPointCounter
    private let commits: Counter
    private let snapshotFailures: Counter
    private let unreadableBatches: Counter
    private let snapshotTime: Gauge
    private let snapshotBytes: Gauge
    private let drifts: FloatingPointCounter
    private let adapting: Gauge
    private let taken: Counter
    private let released: Counter
    private let takenBytes: FloatingPointCounter
    private let takenSeconds: FloatingPointCounter
    private let muted: FloatingPointCounter
    private let jumps: Counter
    private let skipped: Counter
    private let split: Counter
    private let users: Gauge
    private let stateBytes: Gauge
    private let lag: Gauge
    private let transactionWait: Gauge
    private let loss: Gauge
    /// What the latest report said. Counters grow by what comes after it.
    private var seen = TaskCounters()
    private var seenSteps: Int64 = 0
    private var seenDrifts: Int64 = 0

    /// - Parameter factory: the backend.
    init(factory: any MetricsFactory) {
        self.factory = factory
        records = FloatingPointCounter(label: "clvd_events_consumed_total", factory: factory)
        updates = FloatingPointCounter(label: "clvd_updates_produced_total", factory: factory)
        withoutMoney = FloatingPointCounter(label: "clvd_purchases_without_money_total", factory: factory)
        withoutOrder = FloatingPointCounter(label: "clvd_refunds_without_order_total", factory: factory)
        lateAccepted = FloatingPointCounter(label: "clvd_late_events_accepted_total", factory: factory)
        excess = FloatingPointCounter(label: "clvd_excess_events_total", factory: factory)
        joined = FloatingPointCounter(label: "clvd_aliases_joined_total", factory: factory)
        aliasesWithoutState = FloatingPointCounter(label: "clvd_aliases_without_state_total", factory: factory)
        steps = FloatingPointCounter(label: "clvd_learning_steps_total", factory: factory)
        alerts = FloatingPointCounter(label: "clvd_alerts_raised_total", factory: factory)
        commits = Counter(label: "clvd_commits_total", factory: factory)
        snapshotFailures = Counter(label: "clvd_snapshot_failures_total", factory: factory)
        unreadableBatches = Counter(label: "clvd_unreadable_batches_total", factory: factory)
        snapshotTime = Gauge(label: "clvd_snapshot_last_success_timestamp_seconds", factory: factory)
        snapshotBytes = Gauge(label: "clvd_snapshot_bytes", factory: factory)
        drifts = FloatingPointCounter(label: "clvd_drift_alarms_total", factory: factory)
        adapting = Gauge(label: "clvd_drift_adapting", factory: factory)
        taken = Counter(label: "clvd_partitions_taken_total", factory: factory)
        released = Counter(label: "clvd_partitions_released_total", factory: factory)
        takenBytes = FloatingPointCounter(label: "clvd_partition_state_read_bytes_total", factory: factory)
        takenSeconds = FloatingPointCounter(label: "clvd_partition_state_read_seconds_total", factory: factory)
        muted = FloatingPointCounter(label: "clvd_partition_records_muted_total", factory: factory)
        jumps = Counter(label: "clvd_offset_jumps_total", factory: factory)
        skipped = Counter(label: "clvd_offsets_skipped_total", factory: factory)
        split = Counter(label: "clvd_split_customers_total", factory: factory)
        users = Gauge(label: "clvd_users", factory: factory)
        stateBytes = Gauge(label: "clvd_state_bytes", factory: factory)
        lag = Gauge(label: "clvd_consumer_lag_records", factory: factory)
        transactionWait = Gauge(label: "clvd_waiting_behind_transaction_seconds", factory: factory)
        loss = Gauge(label: "clvd_training_loss", factory: factory)
    }

    /// - Parameter seconds: how long the partition has waited; 0: it goes on.
    func waitsForSchema(_ partition: String, _ id: UInt32, seconds: Double) {
        Gauge(
            label: "clvd_schema_wait_seconds", dimensions: [("partition", partition), ("schema", "\(id)")],
            factory: factory
        ).record(seconds)
    }
    func waitingBehindTransaction(seconds: Double) { transactionWait.record(seconds) }
    func commit() { commits.increment() }
    static func restarted(_ stage: Stage?) {
        Counter(label: "clvd_restarts_total", factory: MetricsSystem.factory.of(stage)).increment()
    }
    func snapshotFailed() { snapshotFailures.increment() }
    func unreadableBatch() { unreadableBatches.increment() }

    /// - Parameter muted: records that are read again without publishing.
    func partitionTaken(bytes: Int, seconds: Double, muted records: Int64) {
        taken.increment()
        takenBytes.increment(by: Double(bytes))
        takenSeconds.increment(by: seconds)
        muted.increment(by: Double(records))
    }

    func jumped(_ count: Int64, skipping offsets: Int64) {
        jumps.increment(by: count)
        skipped.increment(by: offsets)
    }

    func customersSplit(_ count: Int64) { split.increment(by: count) }
    func partitionsReleased(_ count: Int) { released.increment(by: Int64(count)) }

    func snapshotTaken(at seconds: Double, bytes: Int64) {
        snapshotTime.record(seconds)
        snapshotBytes.record(bytes)
    }

    /// Starts from what a report says: it was counted already, or did not happen in this process.
    mutating func rebase(_ report: EngineReport) {
        seen = report.counters
        seenSteps = report.learning.steps
        seenDrifts = report.learning.drifts
    }

    mutating func observe(_ report: EngineReport, lag waiting: Int64?) {
        let c = report.counters
        records.increment(by: Double(max(0, c.records - seen.records)))
        updates.increment(by: Double(max(0, c.updates - seen.updates)))
        alerts.increment(by: Double(max(0, c.alertsRaised - seen.alertsRaised)))
        withoutMoney.increment(by: Double(max(0, c.purchasesWithoutMoney - seen.purchasesWithoutMoney)))
        withoutOrder.increment(by: Double(max(0, c.refundsWithoutOrder - seen.refundsWithoutOrder)))
        lateAccepted.increment(by: Double(max(0, c.lateAccepted - seen.lateAccepted)))
        excess.increment(by: Double(max(0, c.excessEvents - seen.excessEvents)))
        joined.increment(by: Double(max(0, c.joined - seen.joined)))
        aliasesWithoutState.increment(by: Double(max(0, c.aliasesWithoutState - seen.aliasesWithoutState)))
        steps.increment(by: Double(max(0, report.learning.steps - seenSteps)))
        for (code, count) in c.reasons.enumerated() where count > seen.reasons[code] {
            let reason = String(cString: clvd_status_name(UInt8(code)))
            FloatingPointCounter(
                label: "clvd_dead_letters_total", dimensions: [("reason", reason)], factory: factory
            )
            .increment(by: Double(count - seen.reasons[code]))
        }
        drifts.increment(by: Double(max(0, report.learning.drifts - seenDrifts)))
        adapting.record(report.learning.adapting ? 1 : 0)
        rebase(report)
        users.record(report.users)
        stateBytes.record(report.userBytes)
        loss.record(report.learning.loss)
        if let waiting { lag.record(waiting) }
        for metric in report.prequential { observe(metric) }
    }

    private func observe(_ metric: PrequentialReport) {
        let horizon = [("target", metric.target), ("horizon_days", HorizonDays.text(metric.horizonDays))]
        if let coverage = metric.coverage {
            Gauge(label: "clvd_prequential_coverage", dimensions: horizon, factory: factory).record(coverage)
        }
        for (model, score) in [("clvd", metric.model), ("naive", metric.naive)] {
            let values = [
                ("gini", score.gini), ("mae", score.mae), ("bias", score.bias), ("auc", score.auc),
                ("logloss", score.logLoss), ("calibration_error", score.calibrationError),
            ]
            for case (let name, let value?) in values {
                Gauge(
                    label: "clvd_prequential_\(name)", dimensions: horizon + [("model", model)], factory: factory
                ).record(value)
            }
        }
    }
}
