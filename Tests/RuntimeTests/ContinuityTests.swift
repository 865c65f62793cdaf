import Engine
import Foundation
import Kafka
import Settings
import Testing

@testable import Runtime

/// Offsets that do not follow one another, and a log that is asked about them.
@Suite struct ContinuityTests {
    private let folder: Folder
    private let source: ScriptedSource
    private let pipeline: Pipeline
    private let shared = SharedState()
    private let clock = StepClock()
    private let log = Log()

    init() throws {
        folder = try Folder()
        source = ScriptedSource(clock)
        pipeline = try .scripted(source, in: folder, partitions: 1, clock, log, shared: shared) { [folder] in
            $0.delivery = .atLeastOnce
            $0.snapshots.directory = folder.path
        }
        source.next = .assign([0])
        try pipeline.turn()
        try take(40)
    }

    private func take(_ count: Int) throws {
        defer { source.release() }
        source.next = .records(count)
        try pipeline.turn()
    }

    private func jump(from expected: Int64, to found: Int64) {
        source.jumps = Consumer.Jumps(
            count: 1, skipped: max(0, found - expected), partition: TopicPartition("events", 0), expected: expected,
            found: found)
    }

    @Test func offsetsThatTheLogHasNoRecordForAreNoLoss() throws {
        jump(from: 100, to: 120)
        try take(10)
        #expect(shared.status.records == 50)
    }

    /// The log has the records 10 to 39, which the client left out.
    @Test func recordsThatTheClientLeftOutEndTheLife() throws {
        jump(from: 10, to: 40)
        let error = #expect(throws: BrokenContinuity.self) { try take(10) }
        #expect(
            error?.description
                == "events[0]: offset 40 came after 9, but the log has a record at 10: reading on from the last commit")
        #expect(shared.status.records == 40, "nothing of that poll was taken in")
        #expect(Daemon.isPassing(try #require(error)))
    }

    @Test func aRecordThatComesAgainEndsTheLife() throws {
        jump(from: 40, to: 7)
        let error = #expect(throws: BrokenContinuity.self) { try take(10) }
        #expect(error?.description.contains("offset 7 came where 40 was to come") == true)
    }

    /// The third life that ends at one place is the last.
    @Test func whatDoesNotPassStopsTheProcess() throws {
        for _ in 0..<2 {
            jump(from: 40, to: 7)
            #expect(throws: BrokenContinuity.self) { try take(1) }
        }
        jump(from: 41, to: 7)
        #expect(throws: BrokenContinuity.self) { try take(1) }
        for last in [false, false, true] {
            jump(from: 42, to: 7)
            let error = #expect(throws: (any Error).self) { try take(1) }
            #expect((error is RecoveryError) == last)
            #expect(Daemon.isPassing(try #require(error)) == !last)
        }
    }

    /// A stream of transactions has a marker after each: the log is asked neither about those, nor all the time.
    @Test func theLogIsAskedNowAndThen() throws {
        jump(from: 10, to: 11)
        try take(1)
        jump(from: 100, to: 120)
        try take(1)
        // Too soon after the question before.
        jump(from: 10, to: 40)
        try take(1)
        clock.now += 10
        jump(from: 10, to: 40)
        #expect(throws: BrokenContinuity.self) { try take(1) }
    }
}
