import CEventParser
import Engine
import Foundation
import Kafka
import Settings
import Testing

@testable import Runtime
@testable import SnapshotStore

/// Turns of the loop whose order no cluster can be made to keep: what a poll brings, what the store does meanwhile.
@Suite struct PipelineTests {
    private let folder: Folder
    private let source: Source
    private let store: Store
    private let pipeline: Pipeline
    private let clock: StepClock
    private let log = Log()

    init() throws {
        folder = try Folder()
        clock = StepClock()
        source = Source(clock)
        var settings = Settings()
        settings.engine = .small
        settings.learning(false)
        settings.delivery = .atLeastOnce
        settings.output.commitIntervalMs = 0
        settings.runtime.idleTickSeconds = 0
        settings.snapshots.intervalSeconds = 10
        settings.snapshots.directory = folder.path
        store = Store(try SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger))
        pipeline = try Pipeline(
            settings, partitionCount: 3, store: store, shared: SharedState(), logger: log.logger,
            connections: Connections(source: source, sink: Sink(), clock: clock))
        try pipeline.begin()
    }

    /// A turn with what a poll brings; a moment passes.
    private func turn(_ poll: Source.Step = .nothing) throws {
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
}

// MARK: - Doubles

/// A member of a group that is told what each poll brings.
private final class Source: RecordSource {
    enum Step {
        case nothing
        case assign([Int32])
        case revoke([Int32])
        case lost([Int32], records: Int)
        /// So many, from all partitions in turn.
        case records(Int)
    }

    var next = Step.nothing
    var onPoll: (Source) -> Void = { _ in }
    var onUnassign: () -> Void = {}
    /// Takes no offsets, as the group is about to share its partitions out anew.
    var isRefusing = false
    private(set) var committed: [Int32: Int64] = [:]
    private(set) var given: [Int32] = []
    private(set) var isReading = false
    private var positions: [Int32: Int64] = [:]
    private var shop = Shop(seed: 61)
    private var held: [UnsafeMutableRawBufferPointer] = []
    private let batch = UnsafeMutableBufferPointer<clvd_record>.allocate(capacity: 64)
    private let clock: StepClock

    init(_ clock: StepClock) { self.clock = clock }

    deinit {
        batch.deallocate()
        for bytes in held { bytes.deallocate() }
    }

    func poll(milliseconds: Int) -> Consumer.Poll {
        precondition(!isReading, "the batch before was not released")
        clock.sleep(0.1)
        defer {
            next = .nothing
            onPoll(self)
        }
        func named(_ list: [Int32]) -> [TopicPartition] { list.map { TopicPartition("events", $0) } }
        let none = UnsafeBufferPointer<clvd_record>(start: nil, count: 0)
        switch next {
        case .nothing: return Consumer.Poll(records: none)
        case .assign(let list):
            return Consumer.Poll(records: none, rebalance: .assign(named(list)))
        case .revoke(let list):
            return Consumer.Poll(records: none, rebalance: .revoke(named(list)))
        case .lost(let list, let count): return Consumer.Poll(records: read(count), rebalance: .lost(named(list)))
        case .records(let count): return Consumer.Poll(records: read(count))
        }
    }

    private func read(_ count: Int) -> UnsafeBufferPointer<clvd_record> {
        let partitions = positions.keys.sorted()
        for (i, input) in shop.events(count).enumerated() {
            let partition = partitions[i % partitions.count]
            var record = clvd_record()
            let (key, value) = (bytes(input.key ?? []), bytes(input.value ?? []))
            record.key = UnsafePointer(key.baseAddress?.assumingMemoryBound(to: UInt8.self))
            record.key_length = UInt32(key.count)
            record.value = UnsafePointer(value.baseAddress?.assumingMemoryBound(to: UInt8.self))
            record.value_length = UInt32(value.count)
            record.partition = partition
            record.offset = positions[partition]!
            record.timestamp_ms = input.timestampMs
            positions[partition]! += 1
            batch[i] = record
        }
        isReading = true
        return UnsafeBufferPointer(rebasing: UnsafeBufferPointer(batch)[..<count])
    }

    private func bytes(_ source: [UInt8]) -> UnsafeMutableRawBufferPointer {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: source.count, alignment: 1)
        copy.copyBytes(from: source)
        held.append(copy)
        return copy
    }

    func release() { isReading = false }
    func subscribe() {}
    func assign(_ offsets: [TopicPartition: PartitionOffset]) {
        for (p, offset) in offsets { positions[p.partition] = offset.offset }
    }
    func unassign(_ partitions: [TopicPartition]) {
        onUnassign()
        for p in partitions {
            positions[p.partition] = nil
            given.append(p.partition)
        }
    }
    var isAssignmentLost: Bool { false }
    func committed(
        _ partitions: [TopicPartition], milliseconds: Int
    ) -> [TopicPartition: PartitionOffset] {
        partitions.reduce(into: [:]) { found, p in
            if let offset = committed[p.partition] { found[p] = PartitionOffset(offset: offset) }
        }
    }
    func commit(_ offsets: [TopicPartition: PartitionOffset], milliseconds: Int) throws(KafkaError) {
        if isRefusing { throw KafkaError("commit", code: 27, reason: "the group is about to share out anew") }
        for (p, offset) in offsets { committed[p.partition] = offset.offset }
    }
    let sessionTimeoutMs = 45_000
    func watermarks(_ p: TopicPartition, milliseconds: Int) -> (low: Int64, high: Int64) { (0, 1000) }
    func knownEnd(_ p: TopicPartition) -> Int64? { nil }
    func partitionCounts(_ names: [String], milliseconds: Int) -> [String: Int] { ["events": 3] }
    var lastError: (text: String, count: UInt64)? { nil }
    func skipDestroy() {}
    func close() {}
}

/// Takes everything.
private final class Sink: RecordSink {
    func topic(_ name: String) -> Producer.Topic { Producer.Topic(unconnected: name) }
    func produce(_ records: ArraySlice<Producer.Record>) {}
    func produce(_ record: Producer.Record, headers: [(name: String, text: String)]) {}
    func poll() {}
    func flush(milliseconds: Int) {}
    func purge() {}
    func takeFailure() -> KafkaError? { nil }
    let maxRecordBytes = 1_000_000
    let transactionTimeoutMs = 60_000
    var lastError: (text: String, count: UInt64)? { nil }
    var fatalError: KafkaError? { nil }
    func initTransactions(milliseconds: Int) {}
    func beginTransaction() {}
    func send(
        _ offsets: [TopicPartition: PartitionOffset], consumedBy source: any RecordSource, milliseconds: Int
    ) {}
    func commitTransaction(milliseconds: Int) {}
    func abortTransaction(milliseconds: Int) {}
}

private final class StepClock: LoopClock {
    var now = 1000.0
    func sleep(_ seconds: Double) { now += seconds }
}

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
