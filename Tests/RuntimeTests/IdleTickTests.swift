import Engine
import Kafka
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// The clock of a partition without records follows the wall's, but not while records wait.
@Suite struct IdleTickTests {
    private let folder: Folder
    private let store: SharedSnapshotFolder
    private let source: ScriptedSource
    private let pipeline: Pipeline
    private let clock: StepClock
    private let log = Log()
    private static let id = TaskID(topic: 0, partition: 0)
    private static let hour: Int64 = 3_600_000

    init() throws {
        folder = try Folder()
        clock = StepClock()
        source = ScriptedSource(clock)
        store = try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger)
        pipeline = try Self.pipeline(store, source, clock, log)
    }

    /// A life that has got partition 0.
    private static func pipeline(
        _ store: SharedSnapshotFolder, _ source: ScriptedSource, _ clock: StepClock, _ log: Log
    ) throws -> Pipeline {
        var settings = Settings()
        settings.engine = .small
        settings.learning(false)
        // The records are dealt out in turn.
        settings.input.keying = .asIs
        settings.delivery = .atLeastOnce
        settings.runtime.idleTickSeconds = 60
        settings.snapshots.intervalSeconds = 1_000_000
        let pipeline = try Pipeline(
            settings, partitionCount: 1, store: store, shared: SharedState(), logger: log.logger,
            connections: Connections(source: source, sink: AcceptingSink(), clock: clock))
        try pipeline.begin()
        source.next = .assign([0])
        try pipeline.turn()
        return pipeline
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
        let reached = try clock(after: 7200 - 59)
        #expect(reached > start + Self.hour - 1 && reached <= start + 2 * Self.hour + 1000 && reached % Self.hour == 0)
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

    // MARK: Over a restart

    /// Ends a life in order and begins another one, which finds the log at its end.
    private func restart(down seconds: Double, after last: Pipeline) throws -> Pipeline {
        try last.drain()
        last.leave()
        clock.now += seconds
        let next = try Self.pipeline(store, source, clock, log)
        source.ends = [0: 4]
        try next.turn()
        return next
    }

    private func reached(_ pipeline: Pipeline) throws -> Int64 { try #require(pipeline.engine.clock(Self.id)) }

    /// Whether a clock is the last full hour of so many hours after `start`, give or take the turns in between.
    private func isFullHour(_ clock: Int64, of hours: Int64, after start: Int64) -> Bool {
        let (least, most) = (start + hours * Self.hour, start + hours * Self.hour + 60_000)
        return clock == least / Self.hour * Self.hour || clock == most / Self.hour * Self.hour
    }

    @Test func idleTimeGoesOnOverARestart() throws {
        let start = try take(end: 4, high: 4)
        _ = try clock(after: 1200)
        let next = try restart(down: 50 * 3600 - 1200, after: pipeline)
        let atStart = try reached(next)
        #expect(isFullHour(atStart, of: 50, after: start), "\(atStart - start)")
        #expect(log.text.contains("idle time goes on"))
        // And goes on by the loop's time.
        clock.now += 5 * 3600
        try next.turn()
        #expect(isFullHour(try reached(next), of: 55, after: start))
    }

    @Test func livesOfHalfAnHourAddUp() throws {
        let start = try take(end: 4, high: 4)
        var pipeline = pipeline
        for _ in 0..<20 {
            pipeline = try restart(down: 0, after: pipeline)
            clock.now += 1800
        }
        pipeline = try restart(down: 0, after: pipeline)
        let end = try reached(pipeline)
        #expect(isFullHour(end, of: 10, after: start), "\(end - start)")
    }

    /// A change of the metadata alone is a commit, so it must not change without cause.
    @Test func theSilenceIsCommittedOnceAndStays() throws {
        _ = try take(end: 4, high: 4)
        let seen = clock.wallMs
        var pipeline = try restart(down: 10, after: pipeline)
        let metadata = try #require(source.metadata[0])
        let silence = try #require(CommitMetadata(text: metadata).silence)
        #expect(abs(silence.wallMs - seen) < 1000)
        #expect(silence.clock == (try reached(pipeline)))
        for _ in 0..<3 { pipeline = try restart(down: 100, after: pipeline) }
        #expect(source.metadata[0] == metadata)
        pipeline = try restart(down: 20 * 3600, after: pipeline)
        try pipeline.drain()
        #expect(CommitMetadata(text: try #require(source.metadata[0])).silence == silence, "only the clock has moved")
    }

    /// After a kill the state is made again from records whose outputs are committed.
    @Test func recordsThatAreReadAgainDoNotEndTheSilence() throws {
        let start = try take(end: 4, high: 4)
        _ = try clock(after: 10)
        #expect(source.committed[0] == 4)
        pipeline.leave()
        clock.now += 50 * 3600
        let next = try Self.pipeline(store, source, clock, log)
        source.next = .records(4)
        source.ends = [0: 4]
        try next.turn()
        #expect(isFullHour(try reached(next), of: 50, after: start))
    }

    @Test func aRecordBeginsTheSilenceAnew() throws {
        _ = try take(end: 4, high: 4)
        let next = try restart(down: 50 * 3600, after: pipeline)
        source.next = .records(1)
        source.ends = [0: 5]
        source.high = 5
        try next.turn()
        let start = try reached(next)
        clock.now += 3 * 3600
        try next.turn()
        #expect(isFullHour(try reached(next), of: 3, after: start))
    }

    /// What the wall clock says at a restart is not believed when it cannot be.
    @Test(arguments: [-30 * 3600, 400 * 86_400]) func aWallClockThatIsWrongIsNotFollowed(seconds: Int64) throws {
        let start = try take(end: 4, high: 4)
        _ = try clock(after: 5 * 3600)
        clock.wallAhead = seconds * 1000
        let next = try restart(down: 0, after: pipeline)
        let before = try reached(next)
        #expect(isFullHour(before, of: 5, after: start), "it neither goes back nor jumps")
        #expect(log.text.contains(seconds < 0 ? "the wall clock has been set back by" : "the wall clock is 400 days"))
        clock.now += 2 * 3600
        try next.turn()
        #expect(isFullHour(try reached(next), of: 2, after: before), "it goes on from what was reached")
        // The wall clock that there is now counts at the next restart.
        let last = try restart(down: 10 * 3600, after: next)
        #expect(isFullHour(try reached(last), of: 12, after: before))
    }

    @Test func offsetsOfAnEarlierVersionCountFromNow() throws {
        let start = try take(end: 4, high: 4)
        try pipeline.drain()
        source.metadata[0] = "clvd1;clock=\(start)"
        let next = try restart(down: 50 * 3600, after: pipeline)
        #expect(try reached(next) == start)
        clock.now += 3 * 3600
        try next.turn()
        #expect(isFullHour(try reached(next), of: 3, after: start))
    }
}
