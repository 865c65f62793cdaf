import Kafka
import Settings
import Testing

@testable import Runtime

/// What is made of a group that says that another member has this one's name.
@Suite struct NameFenceTests {
    private let folder: Folder
    private let source: ScriptedSource
    private let pipeline: Pipeline
    private let shared = SharedState()
    private let clock = StepClock()
    private let log = Log()
    private static let fenced = KafkaError("consume", code: 82, reason: "fenced", isFatal: true)
    private static let other = GroupMember(id: "m-2", clientID: "rdkafka", host: "/10.1.2.3")

    init() throws {
        folder = try Folder()
        source = ScriptedSource(clock)
        pipeline = try .scripted(source, in: folder, partitions: 3, clock, log, shared: shared) {
            $0.delivery = .atLeastOnce
            $0.runtime.idleTickSeconds = 0
        }
        source.next = .assign([0, 1])
        try pipeline.turn()
    }

    /// The session of the scripted member is 45 s.
    @Test func aMemberThatIsGoneIsWaitedForAndFencesNobody() throws {
        let began = clock.now
        source.holder = .success((Self.other, until: began + 45))
        let error = pipeline.end(after: Self.fenced)
        #expect(error is NameRefused && Daemon.isPassing(error), "\(error)")
        #expect((44.9...47).contains(clock.now - began))
        #expect("\(error)".contains("the group has no other member of this name"))
    }

    @Test func aMemberThatStaysHasTheName() throws {
        let began = clock.now
        source.holder = .success((Self.other, until: .infinity))
        let error = try #require(pipeline.end(after: Self.fenced) as? KafkaError)
        #expect(error.isFenced && !Daemon.isPassing(error))
        #expect(clock.now - began >= 44.9)
        #expect("\(error)".contains("member m-2") && "\(error)".contains("client rdkafka at /10.1.2.3"), "\(error)")
    }

    @Test func aNameThatNobodyCanBeAskedAboutIsGivenUpAfterFiveTries() throws {
        source.holder = .failure(KafkaError("ask", code: -185, reason: "no answer"))
        for refusals in 0..<5 {
            shared.refusals = refusals
            #expect(pipeline.end(after: Self.fenced) is NameRefused)
        }
        shared.refusals = 5
        #expect((pipeline.end(after: Self.fenced) as? KafkaError)?.isFenced == true)
    }

    // MARK: Open transactions of others

    private func look(after seconds: Double) throws {
        clock.now += seconds
        try pipeline.turn()
    }

    @Test func recordsBehindAnOpenTransactionAreTold() throws {
        source.next = .records(4)
        source.ends = [0: 2, 1: 2]
        // Committed records end at 2, the log at 7.
        (source.high, source.knownEnds) = (2, [0: 7, 1: 7])
        try pipeline.turn()
        for _ in 0..<5 { try look(after: 10) }
        #expect(log.count("open transaction") == 0, "\(log.text)")
        for _ in 0..<20 { try look(after: 10) }
        #expect(log.count("records wait behind an open transaction of another producer") == 2, "\(log.text)")
        #expect(log.count("partition=events[0] records=5 seconds=6") == 1, "\(log.text)")
        (source.high, source.knownEnds) = (8, [0: 8, 1: 8])
        source.ends = [0: 8, 1: 8]
        try look(after: 10)
        #expect(log.count("has ended") == 2, "\(log.text)")
        #expect(log.count("records wait") == 2)
    }

    /// Readers that lag have no open transaction before them.
    @Test func recordsThatAreOnTheirWayAreNotToldOf() throws {
        source.next = .records(4)
        source.ends = [0: 2, 1: 2]
        (source.high, source.knownEnds) = (7, [0: 7, 1: 7])
        try pipeline.turn()
        for _ in 0..<20 { try look(after: 10) }
        #expect(log.count("open transaction") == 0, "\(log.text)")
    }
}
