import Engine
import Foundation
import MetricsTestKit
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// Counters begin at 0 with the process and count what happened in it.
@Suite struct RuntimeMetricsTests {
    private let folder: Folder
    private let log = Log()

    init() throws { folder = try Folder() }

    /// One life of the loop: lives of one folder and source follow each other.
    private struct Life {
        let pipeline: Pipeline
        let metrics = TestMetrics()
        private let source: ScriptedSource
        private let clock: StepClock

        init(_ folder: Folder, _ log: Log, _ source: ScriptedSource, _ clock: StepClock) throws {
            (self.source, self.clock) = (source, clock)
            var settings = Settings()
            settings.engine = .small
            // The records are dealt out in turn.
            settings.input.keying = .asIs
            settings.delivery = .atLeastOnce
            settings.output.commitIntervalMs = 0
            settings.runtime.idleTickSeconds = 0
            settings.runtime.reportIntervalSeconds = 1
            settings.snapshots.intervalSeconds = 1_000_000
            pipeline = try Pipeline(
                settings, partitionCount: 1,
                store: SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger),
                shared: SharedState(), logger: log.logger,
                connections: Connections(
                    source: source, sink: AcceptingSink(), clock: clock, metrics: metrics))
            try pipeline.begin()
            try turn(.assign([0]))
        }

        func turn(_ poll: ScriptedSource.Step = .nothing) throws {
            clock.now += 10
            source.next = poll
            try pipeline.turn()
        }

        func take(batches: Int) throws { for _ in 0..<batches { try turn(.records(64)) } }

        func total(_ label: String) -> Int64 { metrics.counterTotal(label: label) }
        var steps: Int64 { pipeline.engine.report(prequential: false).learning.steps }
    }

    @Test func aRestoredModelsStepsAreNotCountedAgain() throws {
        let clock = StepClock()
        let source = ScriptedSource(clock)
        source.high = 1_000_000
        var first: Life? = try Life(folder, log, source, clock)
        try first!.take(batches: 24)
        try first!.pipeline.drain()
        let before = first!.steps
        try #require(before > 0, "the model has learned something")
        #expect(first!.total("clvd_learning_steps_total") == before)
        #expect(first!.total("clvd_events_consumed_total") == 24 * 64)
        first = nil

        let second = try Life(folder, log, source, clock)
        try #require(second.steps == before, "the model was restored")
        try second.turn()
        #expect(second.total("clvd_learning_steps_total") == 0)
        #expect(second.total("clvd_events_consumed_total") == 0)
        try second.take(batches: 16)
        try second.pipeline.drain()
        try #require(second.steps > before)
        #expect(second.total("clvd_learning_steps_total") == second.steps - before)
        #expect(second.total("clvd_events_consumed_total") == 16 * 64)
    }

    @Test func horizonsAreLabelledInTheFewestDigits() throws {
        let test = TestMetrics()
        var metrics = RuntimeMetrics(factory: test)
        let engine = Engine(
            configuration: .small, topics: ["events"], partitions: 1, executor: WorkerPool(threads: 1))
        var report = engine.report()
        report.prequential = try JSONDecoder().decode(
            [PrequentialReport].self,
            from: Data(
                """
                [{"target": "clv", "horizonDays": 30.0, "landmarks": 1, "seen": 1, "coverage": 0.8,
                  "model": {"gini": 0.5}, "naive": {"gini": 0.25}},
                 {"target": "clv", "horizonDays": 0.5, "landmarks": 1, "seen": 1, "model": {"gini": 0.75}, "naive": {}}]
                """.utf8))
        metrics.observe(report, lag: nil)
        func gauge(_ name: String, _ days: String, _ model: String?) throws -> Double? {
            let labels = [("target", "clv"), ("horizon_days", days)] + (model.map { [("model", $0)] } ?? [])
            return try test.expectGauge("clvd_prequential_\(name)", labels).lastValue
        }
        #expect(try gauge("coverage", "30", nil) == 0.8)
        #expect(try gauge("gini", "30", "clvd") == 0.5)
        #expect(try gauge("gini", "30", "naive") == 0.25)
        #expect(try gauge("gini", "0.5", "clvd") == 0.75)
    }

    @Test func driftsOfARestoredModelAreNotCounted() {
        let test = TestMetrics()
        var metrics = RuntimeMetrics(factory: test)
        let engine = Engine(
            configuration: .small, topics: ["events"], partitions: 1, executor: WorkerPool(threads: 1))
        var report = engine.report()
        (report.learning.drifts, report.learning.steps) = (3, 100)
        metrics.rebase(report)
        metrics.observe(report, lag: nil)
        #expect(test.counterTotal(label: "clvd_drift_alarms_total") == 0)
        #expect(test.counterTotal(label: "clvd_learning_steps_total") == 0)
        (report.learning.drifts, report.learning.steps) = (5, 107)
        metrics.observe(report, lag: nil)
        metrics.observe(report, lag: nil)
        #expect(test.counterTotal(label: "clvd_drift_alarms_total") == 2)
        #expect(test.counterTotal(label: "clvd_learning_steps_total") == 7)
    }
}
