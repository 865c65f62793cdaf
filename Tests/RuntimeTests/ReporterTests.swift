import CEventParser
import Engine
import EventInput
import Kafka
import Settings
import Testing

@testable import Runtime

@Suite struct ReporterTests {
    private let clock = StepClock()
    private let log = Log()
    private let reporter: Reporter
    private let shared = SharedState()

    init() {
        reporter = Reporter(
            Settings(), shared: shared, logger: log.logger,
            connections: Connections(source: ScriptedSource(clock), sink: AcceptingSink(), clock: clock))
    }

    private func error(_ code: Int32, _ text: String) -> KafkaError {
        KafkaError("deliver \(text) records", code: code, reason: "no answer after \(text) ms")
    }

    /// Texts contain timings and counts: the code and the operation tell troubles apart.
    @Test func anErrorIsLoggedOnceInHalfAMinuteWhateverItsText() {
        for i in 0..<1000 {
            reporter.trouble(.producer, -195, "connect failed after \(i) ms")
            reporter.trouble(.idleTick, error(-185, "\(i)"))
            clock.now += 0.029
        }
        #expect(log.count("trouble with Kafka") == 2, "\(log.text)")
        reporter.trouble(.consumer, -195, "of another client")
        #expect(log.count("trouble with Kafka") == 3)
        clock.now += 1.5
        reporter.trouble(.producer, -195, "after 30 s")
        #expect(log.count("trouble with Kafka") == 4)
    }

    @Test func fewKindsAreRemembered() {
        for code in 0..<1000 {
            reporter.trouble(.consume, Int32(code), "\(code)")
            clock.now += 0.001
        }
        #expect(log.count("trouble with Kafka") == 1000)
        #expect(reporter.troubles.count == Reporter.mostTroubles)
        reporter.trouble(.consume, 999, "again")
        #expect(log.count("trouble with Kafka") == 1000, "the latest is remembered")
    }

    /// Refused records are told when they are many, with the reason of most and its first record.
    @Test func manyRefusedRecordsAreToldWithAnExample() {
        let engine = Engine(
            configuration: EngineConfiguration(), topics: ["t"], partitions: 1, executor: SerialExecutor())
        engine.addTask(TaskID(topic: 0, partition: 0))
        func take(_ range: Range<Int>) {
            let events = range.map { i in
                var event = clvd_event()
                (event.offset, event.status) = (Int64(i), UInt8(clvd_status_tombstone.rawValue))
                return event
            }
            events.withUnsafeBufferPointer { engine.step($0) }
        }
        take(0..<1000)
        for i in 0..<10 { reporter.refused(UInt8(clvd_status_missing_user.rawValue), "t[0]@\(i): missing") }
        reporter.final(engine, lag: nil)
        #expect(log.count("more than one record in a hundred is refused") == 0, "10 of 1,000 are no more")
        take(1000..<1100)
        reporter.refused(UInt8(clvd_status_wrong_type.rawValue), "t[0]@99: " + String(repeating: "x", count: 5000))
        reporter.refused(UInt8(clvd_status_missing_user.rawValue), "t[0]@100: missing")
        reporter.final(engine, lag: nil)
        #expect(log.count("more than one record in a hundred is refused") == 1)
        #expect(log.text.contains("missing_user 11, wrong_type 1") && log.text.contains("t[0]@0: missing"))
        let reasons = shared.status.refusals.reasons
        #expect(reasons.map(\.name) == ["missing_user", "wrong_type"] && reasons.map(\.count) == [11, 1])
        #expect(reasons[1].example?.count == 301, "clipped")
    }

    /// What takes long is named, with the seconds, and what waits is not.
    @Test func thePhaseSaysWhatTakesLong() {
        var status = DaemonStatus()
        let now = ContinuousClock.now
        func text(_ seconds: Double) -> String { status.phaseText(at: now + .seconds(seconds)) }
        #expect(text(0.5) == "starting" && text(3.9) == "starting, joining the group for 3 s")
        status.phase = .live
        #expect(text(9) == "live")
        status.begin(.committing)
        status.begin(.committing)
        #expect(text(0.5) == "live" && text(7.5) == "live, committing for 7 s")
        status.begin(.waiting)
        #expect(text(7.5) == "live")
    }
}
