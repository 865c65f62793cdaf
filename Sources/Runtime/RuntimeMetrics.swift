import CEventParser
internal import Engine
import Metrics

/// The daemon's metrics by the conventions of Prometheus. The backend is whoever bootstraps swift-metrics.
struct RuntimeMetrics {
    private let records = FloatingPointCounter(label: "clvd_events_consumed_total")
    private let updates = FloatingPointCounter(label: "clvd_updates_produced_total")
    private let steps = FloatingPointCounter(label: "clvd_learning_steps_total")
    private let alerts = FloatingPointCounter(label: "clvd_alerts_raised_total")
    private let commits = Counter(label: "clvd_commits_total")
    private let snapshotFailures = Counter(label: "clvd_snapshot_failures_total")
    private let snapshotTime = Gauge(label: "clvd_snapshot_last_success_timestamp_seconds")
    private let snapshotBytes = Gauge(label: "clvd_snapshot_bytes")
    private let drifts = FloatingPointCounter(label: "clvd_drift_alarms_total")
    private let adapting = Gauge(label: "clvd_drift_adapting")
    private let taken = Counter(label: "clvd_partitions_taken_total")
    private let released = Counter(label: "clvd_partitions_released_total")
    private let takenBytes = FloatingPointCounter(label: "clvd_partition_state_read_bytes_total")
    private let takenSeconds = FloatingPointCounter(label: "clvd_partition_state_read_seconds_total")
    private let muted = FloatingPointCounter(label: "clvd_partition_records_muted_total")
    private let users = Gauge(label: "clvd_users")
    private let stateBytes = Gauge(label: "clvd_state_bytes")
    private let lag = Gauge(label: "clvd_consumer_lag_records")
    private let loss = Gauge(label: "clvd_training_loss")
    private var seen = TaskCounters()
    private var seenSteps: Int64 = 0
    private var seenDrifts: Int64 = 0

    func commit() { commits.increment() }
    static func restarted() { Counter(label: "clvd_restarts_total").increment() }
    func snapshotFailed() { snapshotFailures.increment() }

    /// - Parameter muted: records that are read again in silence.
    func partitionTaken(bytes: Int, seconds: Double, muted records: Int64) {
        taken.increment()
        takenBytes.increment(by: Double(bytes))
        takenSeconds.increment(by: seconds)
        muted.increment(by: Double(records))
    }

    func partitionsReleased(_ count: Int) { released.increment(by: Int64(count)) }

    func snapshotTaken(at seconds: Double, bytes: Int64) {
        snapshotTime.record(seconds)
        snapshotBytes.record(bytes)
    }

    /// Counts on from what a report says.
    mutating func rebase(_ report: EngineReport) {
        seen = report.counters
        seenSteps = report.learning.steps
    }

    mutating func observe(_ report: EngineReport, lag waiting: Int64?) {
        let c = report.counters
        records.increment(by: Double(max(0, c.records - seen.records)))
        updates.increment(by: Double(max(0, c.updates - seen.updates)))
        alerts.increment(by: Double(max(0, c.alertsRaised - seen.alertsRaised)))
        steps.increment(by: Double(max(0, report.learning.steps - seenSteps)))
        for (code, count) in c.reasons.enumerated() where count > seen.reasons[code] {
            let reason = String(cString: clvd_status_name(UInt8(code)))
            FloatingPointCounter(label: "clvd_dead_letters_total", dimensions: [("reason", reason)])
                .increment(by: Double(count - seen.reasons[code]))
        }
        drifts.increment(by: Double(max(0, report.learning.drifts - seenDrifts)))
        seenDrifts = report.learning.drifts
        adapting.record(report.learning.adapting ? 1 : 0)
        seen = c
        seenSteps = report.learning.steps
        users.record(report.users)
        stateBytes.record(report.userBytes)
        loss.record(report.learning.loss)
        if let waiting { lag.record(waiting) }
        for metric in report.prequential { observe(metric) }
    }

    private func observe(_ metric: PrequentialReport) {
        if let coverage = metric.coverage {
            Gauge(
                label: "clvd_prequential_coverage",
                dimensions: [("target", metric.target), ("horizon_days", String(metric.horizonDays))]
            ).record(coverage)
        }
        for (model, score) in [("clvd", metric.model), ("naive", metric.naive)] {
            let values = [
                ("gini", score.gini), ("mae", score.mae), ("bias", score.bias), ("auc", score.auc),
                ("logloss", score.logLoss), ("calibration_error", score.calibrationError),
            ]
            for case (let name, let value?) in values {
                Gauge(
                    label: "clvd_prequential_\(name)",
                    dimensions: [
                        ("target", metric.target), ("horizon_days", String(metric.horizonDays)), ("model", model),
                    ]
                ).record(value)
            }
        }
    }
}
