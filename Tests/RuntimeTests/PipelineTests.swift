import Engine
import Foundation
import Kafka
import Settings
import SnapshotStore
import Synchronization
import Testing

@testable import Runtime

/// Turns of the loop whose order no cluster can be made to keep: what a poll brings, what the store does meanwhile.
@Suite struct PipelineTests {
    private let folder: Folder
    private let source: ScriptedSource
    private let sink = AcceptingSink()
    private let store: Store
    private let pipeline: Pipeline
    private let shared = SharedState()
    private let clock: StepClock
    private let log = Log()

    init() throws { try self.init(commitIntervalMs: 0) }

    private init(commitIntervalMs: Int) throws {
        folder = try Folder()
        clock = StepClock()
        source = ScriptedSource(clock)
        var settings = Settings()
        settings.engine = .small
        settings.learning(false)
        // The records are dealt out in turn.
        settings.input.keying = .asIs
        settings.delivery = .atLeastOnce
        settings.output.commitIntervalMs = commitIntervalMs
        settings.runtime.idleTickSeconds = 0
        settings.snapshots.intervalSeconds = 10
        settings.snapshots.directory = folder.path
        store = Store(try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger))
        pipeline = try Pipeline(
            settings, partitionCount: 3, store: store, shared: shared, logger: log.logger,
            connections: Connections(source: source, sink: sink, clock: clock))
        try pipeline.begin()
    }

    /// A turn with what a poll brings; a moment passes.
    private func turn(_ poll: ScriptedSource.Step = .nothing) throws {
        clock.now += 1
        source.next = poll
        try pipeline.turn()
    }

    /// The offset at which the store has a partition.
    private func kept(_ partition: Int32) throws -> Int64? {
        try store.base.list().compactMap { listing in
            try JSONDecoder().decode(EngineImage.Summary.self, from: listing.metadata)
                .partitions.first { $0.partition == partition }?.offset
        }.max()
    }

    @Test func anEndInTheMiddleOfABatchGivesItBack() throws {
        try turn(.assign([0, 1]))
        try turn(.records(40))
        #expect(throws: LostPartitions.self) { try turn(.lost([0, 1], records: 40)) }
        #expect(pipeline.end(after: LostPartitions([])) is LostPartitions)
        #expect(!source.isReading)
    }

    /// A part cannot be written while a whole snapshot is on its way: that one is as good as before.
    @Test func whatIsOnItsWayIsNotWrittenAgainWithLess() throws {
        try turn(.assign([0, 1]))
        try turn(.records(40))
        store.isHeld = true
        clock.now += 10
        try turn()
        #expect(store.isWriting && store.begun == 1)
        // At the same position, so that it would take the other one's place.
        store.isFull = true
        try turn(.revoke([1]))
        store.isFull = false
        store.isHeld = false
        clock.now += 10
        try turn()
        clock.now += 10
        try turn()
        #expect(try kept(1) == 20)
        #expect(store.begun == 1)
    }

    /// A partition has left, another cannot be handed over: what the newest snapshot holds of the first stays.
    @Test func whatIsKeptIsNotWrittenAgainWithLess() throws {
        try turn(.assign([0, 1]))
        try turn(.records(40))
        clock.now += 10
        try turn()
        try turn()
        #expect(try kept(1) == 20)
        try turn(.revoke([1]))
        try turn(.assign([2]))
        store.isFull = true
        try turn(.revoke([2]))
        store.isFull = false
        clock.now += 10
        try turn()
        try turn()
        #expect(try kept(1) == 20)
        #expect(log.count("no snapshot was taken") == 1, "\(log.text)")
    }

    /// The group asks for a partition while the last commit waits for it.
    @Test func whoIsAskedWhileDrainingHandsOver() throws {
        try turn(.assign([0, 1]))
        source.isRefusing = true
        try turn(.records(40))
        source.next = .revoke([1])
        source.onPoll = { source in source.isRefusing = false }
        var found: Int64?
        source.onUnassign = { found = try? kept(1) }
        try pipeline.drain()
        #expect(source.given == [1])
        #expect(source.committed == [0: 20, 1: 20])
        #expect(found == 20, "whoever takes it finds what it held")
    }

    /// At least once: offsets follow outputs that the cluster has confirmed.
    @Test func whatIsNotDeliveredIsNotCommitted() throws {
        try turn(.assign([0, 1]))
        sink.flushError = KafkaError("flush", code: 29, reason: "not authorized")
        #expect(throws: KafkaError.self) { try turn(.records(40)) }
        #expect(source.committed == [0: 0, 1: 0], "where they began")
        #expect(!pipeline.committer.publication.isEmpty)
        sink.flushError = nil
        try turn()
        #expect(source.committed == [0: 20, 1: 20])
        #expect(pipeline.committer.publication.isEmpty)
    }

    // MARK: Jumps of event time

    /// Between the slices of a long step the group is told that this member is at work; nothing of the step is committed.
    @Test func aJumpOfEventTimeKeepsTheMembership() throws {
        try turn(.assign([0, 1]))
        try turn(.records(40))
        pipeline.engine.sliceWork = 1
        let before = source.now
        source.skip(days: 10)
        var calls = 0
        source.onKeepAlive = { source in
            calls += 1
            #expect(source.isReading && source.committed == [0: 20, 1: 20])
        }
        try turn(.records(40))
        // A slice is an hour of one partition, or of both; each of them passes all hours up to its last record.
        let hours = Int((source.now - before) / 3_600_000)
        #expect(hours > 240 && (hours - 2...2 * hours).contains(calls), "\(calls) calls in \(hours) hours")
        #expect(source.committed == [0: 40, 1: 40])
    }

    /// Outputs from before the step do not wait for its end, as their transaction would run out of its time.
    @Test func aJumpOfEventTimeCommitsWhatWasBeforeIt() throws {
        let other = try PipelineTests(commitIntervalMs: 3_600_000)
        try other.turn(.assign([0, 1]))
        try other.turn(.records(40))
        #expect(other.source.committed == [:])
        other.pipeline.engine.sliceWork = 1
        other.source.skip(days: 10)
        var seen: [[Int32: Int64]] = []
        other.source.onKeepAlive = { seen.append($0.committed) }
        try other.turn(.records(40))
        #expect(seen.count > 2 && seen[0] == [:] && seen[1...].allSatisfy { $0 == [0: 20, 1: 20] })
        #expect(other.source.committed == [0: 20, 1: 20])
        try other.pipeline.drain()
        #expect(other.source.committed == [0: 40, 1: 40])
    }

    @Test func aMemberThatIsExpelledDuringAJumpStops() throws {
        try turn(.assign([0, 1]))
        try turn(.records(40))
        pipeline.engine.sliceWork = 1
        source.skip(days: 10)
        source.onKeepAlive = { $0.isAssignmentLost = true }
        #expect(throws: LostPartitions.self) { try turn(.records(40)) }
        #expect(source.committed == [0: 20, 1: 20])
    }

    // MARK: Questions

    /// What another thread asks is answered in the next turn, after the records of that turn.
    @Test func questionsAreAnsweredOnceATurn() throws {
        try turn(.assign([0, 1]))
        let answers = Mutex<[[RankedUser]]>([])
        let group = DispatchGroup()
        DispatchQueue.global().async(group: group) { [shared] in
            for _ in 0..<EngineRequests.defaultCapacity {
                let isTaken = shared.requests.submit(
                    .ranking(count: 3) { users in answers.withLock { $0.append(users) } })
                #expect(isTaken)
            }
            #expect(!shared.requests.submit(.ranking(count: 3) { _ in }), "a full mailbox refuses")
        }
        group.wait()
        #expect(answers.withLock { $0.isEmpty })
        try turn(.records(40))
        let found = answers.withLock { $0 }
        #expect(found.count == EngineRequests.defaultCapacity)
        #expect(found.allSatisfy { $0.count == 3 && $0 == found[0] }, "users of the records of this turn")
        #expect(shared.requests.submit(.ranking(count: 3) { _ in }), "there is room again")
        try turn()
        #expect(answers.withLock { $0.count } == found.count, "answered once")
    }
}

// MARK: - Doubles

/// A store that writes beside the stream until it is let go, and that may have no room.
private final class Store: ForwardingRepository {
    var isHeld = false
    var isFull = false
    /// Whole snapshots that were begun.
    private(set) var begun = 0
    private var outcome: SnapshotOutcome?

    override func begin(_ content: SnapshotContent) throws {
        begun += 1
        outcome = .written(try base.write(content), seconds: 1)
    }
    override func write(_ content: SnapshotContent) throws -> SnapshotInfo {
        if isFull { throw SnapshotError(.noSpace, "write", base.instance, "no room", advice: "make some") }
        return try super.write(content)
    }
    override var isWriting: Bool { outcome != nil }
    override func poll() -> SnapshotOutcome? { isHeld ? nil : finish() }
    override func finish() -> SnapshotOutcome? {
        defer { outcome = nil }
        return outcome
    }
    override func cancel() { outcome = nil }
}
