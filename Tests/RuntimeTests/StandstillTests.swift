import Engine
import Foundation
import Kafka
import MetricsTestKit
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// What is said of partitions that stand still, and of snapshots that are not finished.
@Suite struct StandstillTests {
    private let clock = StepClock()
    private let log = Log()
    private let metrics = TestMetrics()
    private let shared = SharedState()

    private func batch(_ offset: Int64) -> UnreadableBatch {
        UnreadableBatch(
            partition: TopicPartition("orders", 3), offset: offset, next: offset + 1,
            error: KafkaError("read orders[3]", code: -198, reason: "Decompression (zstd) failed"),
            receiveMaxBytes: 1000)
    }

    /// The client tries every ten seconds; people want to hear of it now and then.
    @Test func aStandstillIsLoggedEveryTenMinutesAndCountedOnce() {
        let reporter = Reporter(
            Settings(), shared: shared, logger: log.logger,
            connections: Connections(
                source: ScriptedSource(clock), sink: AcceptingSink(), clock: clock, metrics: metrics))
        for _ in 0..<121 {
            reporter.standstill(batch(7))
            clock.now += 10
        }
        #expect(log.count("error a batch cannot be read") == 3 && log.count("input.skip: [\"orders/3/7\"]") == 3)
        #expect(metrics.counterTotal(label: "clvd_unreadable_batches_total") == 1)
        #expect(shared.status.standstills == ["orders[3]": 7])
        reporter.standstill(batch(9))
        #expect(log.count("offset=9") == 1 && shared.status.standstills == ["orders[3]": 9])
        #expect(metrics.counterTotal(label: "clvd_unreadable_batches_total") == 2)
        reporter.standstillEnded(batch(9))
        #expect(log.count("a partition goes on that stood still") == 1 && shared.status.standstills.isEmpty)
    }

    private func pipeline(_ source: ScriptedSource, _ store: any SnapshotRepository) throws -> Pipeline {
        var settings = Settings()
        settings.engine = .small
        // The records are dealt out in turn.
        settings.input.keying = .asIs
        settings.delivery = .atLeastOnce
        settings.output.commitIntervalMs = 0
        settings.runtime.idleTickSeconds = 0
        settings.snapshots.intervalSeconds = 5
        return try Pipeline(
            settings, partitionCount: 1, store: store, shared: shared, logger: log.logger,
            connections: Connections(source: source, sink: AcceptingSink(), clock: clock, metrics: metrics))
    }

    /// Aborted records and the markers of transactions have offsets too: the group is told that nothing waits there.
    @Test func aPartitionGoesOnWhereItsLogEnds() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        source.high = 1_000_000
        let store = try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger)
        let pipeline = try pipeline(source, store)
        try pipeline.begin()
        func turn(_ step: ScriptedSource.Step, end: Int64? = nil) throws {
            clock.now += 10
            source.next = step
            source.ends = end.map { [0: $0] } ?? [:]
            try pipeline.turn()
        }
        try turn(.assign([0]))
        try turn(.records(64), end: 64)
        try turn(.nothing)
        #expect(source.committed[0] == 64)
        try turn(.nothing, end: 185)
        try turn(.nothing)
        #expect(source.committed[0] == 185)
        #expect(pipeline.engine.nextOffset(TaskID(topic: 0, partition: 0)) == 185)
        #expect(pipeline.engine.report().counters.records == 64)
    }

    /// A store that is never done writing.
    private final class SlowStore: ForwardingRepository {
        private let outcome: SnapshotError
        private var isBegun = false

        init(_ base: SharedSnapshotFolder, _ kind: SnapshotError.Kind) {
            outcome = SnapshotError(kind, "write", "x", "it was stopped on request", advice: "write another one")
            super.init(base)
        }

        override var isWriting: Bool { isBegun }
        override func begin(_ content: SnapshotContent) { isBegun = true }
        override func poll() -> SnapshotOutcome? { nil }
        override func finish() -> SnapshotOutcome? {
            defer { isBegun = false }
            return isBegun ? .failed(outcome) : nil
        }
        override func cancel() {}
    }

    /// The end of a life stops a snapshot on request: that is no failure, and no error to be logged.
    @Test(arguments: [(SnapshotError.Kind.cancelled, Int64(0)), (.noSpace, 1)])
    func aSnapshotThatIsStoppedIsNoFailure(kind: SnapshotError.Kind, failures: Int64) throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        source.high = 1_000_000
        let store = SlowStore(
            try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger), kind)
        let pipeline = try pipeline(source, store)
        try pipeline.begin()
        for step in [ScriptedSource.Step.assign([0]), .records(64), .nothing, .nothing] {
            clock.now += 10
            source.next = step
            try pipeline.turn()
        }
        try #require(store.isWriting)
        _ = pipeline.end(after: KafkaError("poll", code: -195, reason: "the broker is away"))
        #expect(!store.isWriting)
        #expect(log.count("no snapshot was taken") == Int(failures), "\(log.text)")
        #expect(shared.status.snapshotFailures == failures)
        #expect(metrics.counterTotal(label: "clvd_snapshot_failures_total") == failures)
    }
}
