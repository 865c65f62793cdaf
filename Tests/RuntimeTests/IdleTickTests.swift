import Engine
import Kafka
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// The clock of a partition without records follows the wall's, but not while records wait.
@Suite struct IdleTickTests {
    private let folder: Folder
    private let source: ScriptedSource
    private let pipeline: Pipeline
    private let clock: StepClock
    private static let id = TaskID(topic: 0, partition: 0)

    init() throws {
        folder = try Folder()
        clock = StepClock()
        source = ScriptedSource(clock)
        var settings = Settings()
        settings.engine = .small
        settings.learning(false)
        settings.delivery = .atLeastOnce
        settings.runtime.idleTickSeconds = 60
        settings.snapshots.intervalSeconds = 1_000_000
        let log = Log()
        pipeline = try Pipeline(
            settings, partitionCount: 1,
            store: SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger),
            shared: SharedState(), logger: log.logger,
            connections: Connections(source: source, sink: AcceptingSink(), clock: clock))
        try pipeline.begin()
        source.next = .assign([0])
        try pipeline.turn()
    }

    /// Takes four records, after which `high` is the end of the log and `end` what the consumer has read of it.
    /// - Returns: the partition's clock, ms.
    private func take(end: Int64?, high: Int64) throws -> Int64 {
        source.next = .records(4)
        if let end { source.ends = [0: end] }
        source.high = high
        try pipeline.turn()
        return try #require(pipeline.engine.clock(Self.id))
    }

    /// - Returns: how far the partition's clock is after `seconds` without records, ms.
    private func clock(after seconds: Double) throws -> Int64 {
        clock.now += seconds
        try pipeline.turn()
        return try #require(pipeline.engine.clock(Self.id))
    }

    @Test func theClockOfAnIdlePartitionFollowsTheWalls() throws {
        let start = try take(end: 4, high: 4)
        #expect(try clock(after: 59) == start, "not yet idle")
        // Ticks are of full hours: after two hours the clock has passed one boundary at least, and is not ahead.
        let hour: Int64 = 3_600_000
        let reached = try clock(after: 7200 - 59)
        #expect(reached > start + hour - 1 && reached <= start + 2 * hour + 1000 && reached % hour == 0)
    }

    @Test func thereIsNoTickWhileRecordsWait() throws {
        let start = try take(end: 4, high: 5)
        #expect(try clock(after: 7200) == start, "one record waits")
        source.high = 4
        #expect(try clock(after: 61) > start, "none waits")
    }

    @Test func thereIsNoTickBeforeTheEndOfTheLogIsKnown() throws {
        let start = try take(end: nil, high: 4)
        #expect(try clock(after: 7200) == start)
    }
}
