import Kafka
import Settings
import Testing

@testable import Runtime

@Suite struct ReporterTests {
    private let clock = StepClock()
    private let log = Log()
    private let reporter: Reporter

    init() {
        reporter = Reporter(
            Settings(), shared: SharedState(), logger: log.logger,
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
}
