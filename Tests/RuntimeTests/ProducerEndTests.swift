import Kafka
import Settings
import Testing

@testable import Runtime

/// Producers that cannot go on: what takes their place, and when.
@Suite struct ProducerEndTests {
    private let folder: Folder
    private let source: ScriptedSource
    private let sink = AcceptingSink()
    private let pipeline: Pipeline
    private let clock = StepClock()
    private let log = Log()

    init() throws {
        folder = try Folder()
        source = ScriptedSource(clock)
        pipeline = try .scripted(source, sink, in: folder, partitions: 3, clock, log) {
            $0.delivery = .exactlyOnce
            $0.output.commitIntervalMs = 0
            $0.runtime.idleTickSeconds = 0
        }
        source.next = .assign([0, 1])
        try pipeline.turn()
        source.next = .records(4)
    }

    /// - Returns: why the life ended, and after how many seconds.
    private func end() throws -> (error: any Error, seconds: Double) {
        let began = clock.now
        do {
            try pipeline.turn()
        } catch {
            return (pipeline.end(after: error), clock.now - began)
        }
        throw Late(description: "it did not end")
    }

    /// A coordinator that does not answer, as in a rolling restart.
    @Test func anAbortThatHangsIsGivenUpAfterAMinute() throws {
        sink.sendError = KafkaError("send", code: -192, reason: "not delivered", requiresAbort: true)
        sink.onAbort = { [clock] () throws(KafkaError) in
            clock.sleep(10)
            throw KafkaError("abort the transaction", code: -185, reason: "no answer", isRetriable: true)
        }
        let (error, seconds) = try end()
        #expect(Daemon.isPassing(error) && (60...85).contains(seconds), "\(error) after \(seconds) s")
        #expect("\(error)".contains("abort the transaction") && "\(error)".contains("given up after 6"), "\(error)")
        #expect(log.count("Kafka answers slowly") == 5, "\(log.text)")
    }

    /// The broker has dropped the idle id: librdkafka asks for a new epoch of it and reports itself fenced.
    @Test(arguments: [true, false]) func aForgottenProducerIsNoOtherInstance(isFatal: Bool) throws {
        let fenced = KafkaError("send", code: -144, reason: "fenced", isFatal: isFatal)
        sink.sendError = fenced
        sink.isForgotten = true
        if isFatal { sink.fatalError = fenced }
        let (error, _) = try end()
        #expect(error is ProducerForgotten && Daemon.isPassing(error), "\(error)")
    }

    @Test func aFencedProducerIsReplaced() throws {
        let fenced = KafkaError("send", code: -144, reason: "fenced", isFatal: true)
        sink.sendError = fenced
        sink.fatalError = fenced
        source.holder = .success((GroupMember(id: "m-2", clientID: "rdkafka", host: "/10.1.2.3"), until: .infinity))
        let (error, _) = try end()
        #expect(!Daemon.isPassing(error) && "\(error)".contains("client rdkafka at /10.1.2.3"), "\(error)")
    }
}
