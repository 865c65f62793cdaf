import Engine
import Foundation
import Kafka
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// A log becomes another one while it is read.
@Suite struct LogWatchTests {
    private let folder: Folder
    private let source: ScriptedSource
    private let clock = StepClock()
    private let log = Log()
    private let settings: Settings
    private let store: SharedSnapshotFolder
    private let pipeline: Pipeline

    init() throws { try self.init { _ in } }

    private init(_ change: (inout Settings) -> Void) throws {
        folder = try Folder()
        source = ScriptedSource(clock)
        var settings = Settings()
        settings.engine = .small
        settings.learning(false)
        // Its records are dealt out in turn.
        settings.input.keying = .asIs
        settings.delivery = .atLeastOnce
        settings.output.commitIntervalMs = 0
        settings.runtime.idleTickSeconds = 0
        settings.snapshots.intervalSeconds = 86_400
        settings.snapshots.directory = folder.path
        change(&settings)
        self.settings = settings
        store = try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger)
        pipeline = try Self.life(settings, store, source, clock, log)
    }

    private static func life(
        _ settings: Settings, _ store: SharedSnapshotFolder, _ source: ScriptedSource, _ clock: StepClock, _ log: Log
    ) throws -> Pipeline {
        let pipeline = try Pipeline(
            settings, partitionCount: 3, store: store, shared: SharedState(), logger: log.logger,
            connections: Connections(source: source, sink: AcceptingSink(), clock: clock))
        try pipeline.begin()
        return pipeline
    }

    /// A turn with what a poll brings; a moment passes.
    private func turn(_ poll: ScriptedSource.Step = .nothing) throws {
        clock.now += 1
        source.next = poll
        try pipeline.turn()
    }

    /// Twenty records of each of two partitions, committed.
    private func begin() throws {
        try turn(.assign([0, 1]))
        try turn(.records(40))
        #expect(source.committed == [0: 20, 1: 20])
    }

    // MARK: What is kept

    @Test func offsetsSayWhatTheirLogIs() throws {
        try begin()
        let metadata = CommitMetadata(text: try #require(source.metadata[1]))
        #expect(metadata.offset == 20 && metadata.begin == 0 && metadata.cluster == "scripted")
        let last = try source.fingerprint(from: 19, of: TopicPartition("events", 1), milliseconds: 0)
        #expect(last != nil && metadata.lastRecord == last)
    }

    // MARK: Looks

    /// A process that stood still while the topic was made anew publishes and commits nothing of the new one.
    @Test func afterAStandstillTheLogIsLookedAtFirst() throws {
        try begin()
        source.makeAnew(1)
        // More than half of the session; sooner than the regular look.
        clock.now += 23
        let error = try #require(#expect(throws: RecoveryError.self) { try turn(.records(40)) })
        for part in ["events[1]: the record at offset 19", "made anew", "nothing more is committed", "acceptGap: true"]
        {
            #expect(error.description.contains(part), "\(error)")
        }
        #expect(source.committed == [0: 20, 1: 20] && pipeline.committer.publication.isEmpty)
        // The state is not kept: it might be of both.
        _ = pipeline.end(after: error)
        #expect(try store.list().isEmpty)
    }

    /// Without any sign of it, it is noticed within a minute, although records of the new log were taken in; and at the
    /// next start, by what was committed.
    @Test func withoutASignItIsNoticedByTheRegularLook() throws {
        try begin()
        source.makeAnew(0)
        let began = clock.now
        let error = try #require(
            #expect(throws: RecoveryError.self) { for _ in 0..<100 { try turn(.records(4)) } })
        #expect(error.description.contains("events[0]: the record at offset 19"), "\(error)")
        #expect(clock.now - began < 62 && (source.committed[0] ?? 0) > 30)
        let next = try Self.life(settings, store, source, clock, log)
        source.next = .assign([0])
        let again = try #require(#expect(throws: RecoveryError.self) { try next.turn() })
        #expect(again.description.contains("events[0]: the record at offset 19"), "\(again)")
    }

    /// What hides a change: the leader of a partition changes, a topic is not there, a log has another end.
    @Test(arguments: [
        KafkaError("consume", code: 6, reason: "not leader"), KafkaError("consume", code: 74, reason: "fenced epoch"),
        nil,
    ])
    func signsAreFollowed(sign: KafkaError?) throws {
        source.knownEnds = [0: 90]
        try begin()
        source.makeAnew(0)
        if let sign {
            try turn(.error(sign))
        } else {
            source.knownEnds = [0: 80]
            try turn()
        }
        #expect(throws: RecoveryError.self) { try turn(.records(4)) }
        #expect(source.committed == [0: 20, 1: 20])
    }

    @Test func aLogThatEndsBeforeTheStateIsAnotherUnlessThatPasses() throws {
        source.knownEnds = [0: 90]
        try begin()
        // A broker that has just begun to lead.
        source.high = 5
        source.knownEnds = [0: 5]
        source.onLook = { source in if source.looks.count > 4 { source.high = 1000 } }
        try turn()
        try turn()
        source.onLook = { _ in }
        source.high = 5
        source.knownEnds = [0: 4]
        let error = try #require(#expect(throws: RecoveryError.self) { for _ in 0..<3 { try turn() } })
        #expect(error.description.contains("events[0]: the state is at offset 20, but the log ends at 5"), "\(error)")
    }

    /// They are no evidence of anything.
    @Test func brokersThatDoNotAnswer() throws {
        try begin()
        source.lookError = KafkaError("read", code: -185, reason: "no answer")
        for _ in 0..<100 { try turn(.records(2)) }
        #expect(log.count("trouble with Kafka") > 1 && source.committed[0] == 120)
        // After a standstill there has to be an answer before anything is committed.
        clock.now += 30
        #expect(throws: KafkaError.self) { try turn(.records(2)) }
        #expect(source.committed[0] == 120)
    }

    /// One a turn at most, and each partition about twice a minute.
    @Test func looksAreFew() throws {
        try begin()
        source.onLook = { _ in }
        let began = clock.now
        var most = 0
        for _ in 0..<600 {
            let before = source.looks.count
            try turn(.records(2))
            most = max(most, source.looks.count - before)
        }
        let minutes = (clock.now - began) / 60
        for p in [0, 1] as [Int32] {
            let count = Double(source.looks.count { $0 == p })
            #expect(count > minutes && count <= 2 * minutes + 1, "\(count) looks in \(minutes) minutes")
        }
        #expect(most == 1)
    }

    /// A new life reads the new log from its beginning.
    @Test func withConsentItGoesOn() throws {
        let test = try LogWatchTests { $0.snapshots.acceptGap = true }
        try test.begin()
        test.source.makeAnew(0)
        test.clock.now += 23
        let error = try #require(#expect(throws: KafkaError.self) { try test.turn(.records(4)) })
        #expect(Daemon.isPassing(error) && error.description.contains("made anew"))
        _ = test.pipeline.end(after: error)
        let next = try Self.life(test.settings, test.store, test.source, test.clock, test.log)
        test.source.next = .assign([0])
        try next.turn()
        test.source.next = .records(4)
        try next.turn()
        #expect(test.source.committed[0] == 2 && test.log.count("beginning at 0") == 1)
    }
}
