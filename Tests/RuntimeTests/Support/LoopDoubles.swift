import CEventParser
import EventInput
import Kafka
import Settings
import SnapshotStore

@testable import Runtime

/// A member of a group that is told what each poll brings.
final class ScriptedSource: RecordSource {
    enum Step {
        case nothing
        case assign([Int32])
        case revoke([Int32])
        case lost([Int32], records: Int)
        /// So many, from all partitions in turn.
        case records(Int)
        case error(KafkaError)
    }

    var next = Step.nothing
    /// What every record holds instead of an event.
    var value: [UInt8]?
    /// What the records of a partition hold instead.
    var values: [Int32: [UInt8]] = [:]
    var onPoll: (ScriptedSource) -> Void = { _ in }
    var onUnassign: () -> Void = {}
    /// Ends of logs that the next poll reports.
    var ends: [Int32: Int64] = [:]
    /// What the next poll says of offsets that do not follow one another.
    var jumps: Consumer.Jumps?
    /// The offset after the last record of each log.
    var high: Int64 = 1000
    /// Takes no offsets, as the group is about to share its partitions out anew.
    var isRefusing = false
    /// The group has expelled this member.
    var isAssignmentLost = false
    var onKeepAlive: (ScriptedSource) -> Void = { _ in }
    private(set) var committed: [Int32: Int64] = [:]
    /// Metadata of the committed offsets.
    var metadata: [Int32: String] = [:]
    private(set) var given: [Int32] = []
    private(set) var isReading = false
    private var positions: [Int32: Int64] = [:]
    /// What the logs have, as far as it was read.
    private var fingerprints: [Int32: [Int64: RecordFingerprint]] = [:]
    /// Partitions whose records were looked at beside the stream.
    private(set) var looks: [Int32] = []
    var onLook: (ScriptedSource) -> Void = { _ in }
    var lookError: KafkaError?
    var knownEnds: [Int32: Int64] = [:]
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
        let ends = Dictionary(uniqueKeysWithValues: ends.map { (TopicPartition("events", $0), $1) })
        defer {
            next = .nothing
            self.ends = [:]
            jumps = nil
            onPoll(self)
        }
        func named(_ list: [Int32]) -> [TopicPartition] { list.map { TopicPartition("events", $0) } }
        let none = UnsafeBufferPointer<clvd_record>(start: nil, count: 0)
        switch next {
        case .nothing: return Consumer.Poll(records: none, ends: ends)
        case .assign(let list):
            return Consumer.Poll(records: none, rebalance: .assign(named(list)))
        case .revoke(let list):
            return Consumer.Poll(records: none, rebalance: .revoke(named(list)))
        case .lost(let list, let count): return Consumer.Poll(records: read(count), rebalance: .lost(named(list)))
        case .records(let count): return Consumer.Poll(records: read(count), ends: ends, jumps: jumps)
        case .error(let error): return Consumer.Poll(records: none, error: error)
        }
    }

    private func read(_ count: Int) -> UnsafeBufferPointer<clvd_record> {
        let partitions = positions.keys.filter { !paused.contains($0) }.sorted()
        let count = partitions.isEmpty ? 0 : count
        for (i, input) in shop.events(count).enumerated() {
            let partition = partitions[i % partitions.count]
            var record = clvd_record()
            let (key, value) = (bytes(input.key ?? []), bytes(values[partition] ?? value ?? input.value ?? []))
            record.key = UnsafePointer(key.baseAddress?.assumingMemoryBound(to: UInt8.self))
            record.key_length = UInt32(key.count)
            record.value = UnsafePointer(value.baseAddress?.assumingMemoryBound(to: UInt8.self))
            record.value_length = UInt32(value.count)
            record.partition = partition
            record.offset = positions[partition]!
            record.timestamp_ms = input.timestampMs
            positions[partition]! += 1
            batch[i] = record
            fingerprints[partition, default: [:]][record.offset] = RecordFingerprint(record)
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
    func keepAlive() { onKeepAlive(self) }
    /// Event time of the latest record, ms.
    var now: Int64 { shop.now }
    /// The next record comes so much later, event time in days.
    func skip(days: Int64) { shop.now += days * 86_400_000 }
    func subscribe() {}
    func assign(_ offsets: [TopicPartition: PartitionOffset]) {
        for (p, offset) in offsets {
            positions[p.partition] = offset.offset
            paused.remove(p.partition)
        }
    }
    func unassign(_ partitions: [TopicPartition]) {
        onUnassign()
        for p in partitions {
            positions[p.partition] = nil
            given.append(p.partition)
        }
    }
    private(set) var paused: Set<Int32> = []
    func pause(_ p: TopicPartition, at offset: Int64) { paused.insert(p.partition) }
    func resume(_ p: TopicPartition, at offset: Int64) {
        paused.remove(p.partition)
        positions[p.partition] = offset
    }
    func committed(
        _ partitions: [TopicPartition], milliseconds: Int
    ) -> [TopicPartition: PartitionOffset] {
        partitions.reduce(into: [:]) { found, p in
            guard let offset = committed[p.partition] else { return }
            found[p] = PartitionOffset(offset: offset, metadata: metadata[p.partition] ?? "")
        }
    }
    func commit(_ offsets: [TopicPartition: PartitionOffset], milliseconds: Int) throws(KafkaError) {
        if isRefusing { throw KafkaError("commit", code: 27, reason: "the group is about to share out anew") }
        for (p, offset) in offsets {
            committed[p.partition] = offset.offset
            metadata[p.partition] = offset.metadata
        }
    }
    /// Another member of the group with this one's name, and when it will be gone; an error: the group does not answer.
    var holder: Result<(member: GroupMember, until: Double)?, KafkaError> = .success(nil)
    func holderOfName(milliseconds: Int) throws(KafkaError) -> GroupMember? {
        try holder.get().flatMap { $0.until > clock.now ? $0.member : nil }
    }
    let sessionTimeoutMs = 45_000
    func watermarks(_ p: TopicPartition, milliseconds: Int) -> (low: Int64, high: Int64) { (0, high) }
    func knownEnd(_ p: TopicPartition) -> Int64? { knownEnds[p.partition] }
    func fingerprint(
        from offset: Int64, of p: TopicPartition, milliseconds: Int
    ) throws(KafkaError) -> RecordFingerprint? {
        looks.append(p.partition)
        onLook(self)
        if let lookError { throw lookError }
        return offset < high ? fingerprints[p.partition]?[offset] : nil
    }
    /// Another log takes the place of the partition's, as long and with other records.
    func makeAnew(_ partition: Int32) {
        fingerprints[partition] = fingerprints[partition]?.mapValues {
            RecordFingerprint(offset: $0.offset, timestampMs: $0.timestampMs + 86_400_000, hash: ~$0.hash)
        }
    }
    func clusterID(milliseconds: Int) -> String? { "scripted" }
    func partitionCounts(_ names: [String], milliseconds: Int) -> [String: Int] { ["events": 3] }
    var lastError: ClientError? { nil }
    func skipDestroy() {}
    func close() {}
}

/// Takes everything.
final class AcceptingSink: RecordSink {
    /// The cluster does not confirm what it was given.
    var flushError: KafkaError?
    var sendError: KafkaError?
    var onAbort: () throws(KafkaError) -> Void = { () throws(KafkaError) in }
    func topic(_ name: String) -> Producer.Topic { Producer.Topic(unconnected: name) }
    func produce(_ records: ArraySlice<Producer.Record>) {}
    func produce(_ record: Producer.Record, headers: [(name: String, text: String)]) {}
    func poll() {}
    func flush(milliseconds: Int) throws(KafkaError) { if let flushError { throw flushError } }
    func purge() {}
    func takeFailure() -> KafkaError? { nil }
    let maxRecordBytes = 1_000_000
    let transactionTimeoutMs = 60_000
    var lastError: ClientError? { nil }
    var fatalError: KafkaError?
    var isForgotten = false
    func initTransactions(milliseconds: Int) {}
    func beginTransaction() {}
    func send(
        _ offsets: [TopicPartition: PartitionOffset], consumedBy source: any RecordSource, milliseconds: Int
    ) throws(KafkaError) { if let sendError { throw sendError } }
    func commitTransaction(milliseconds: Int) {}
    func abortTransaction(milliseconds: Int) throws(KafkaError) { try onAbort() }
}

final class StepClock: LoopClock {
    var now = 1000.0
    /// How far the wall clock has been set ahead, ms.
    var wallAhead: Int64 = 0
    var wallMs: Int64 { 1_700_000_000_000 + Int64(now * 1000) + wallAhead }
    func sleep(_ seconds: Double) { now += seconds }
}

extension Pipeline {
    /// The beginning of a life that does not learn, between a scripted source and a sink that takes everything.
    static func scripted(
        _ source: ScriptedSource, _ sink: AcceptingSink = AcceptingSink(), in folder: Folder, partitions: Int,
        _ clock: StepClock, _ log: Log, shared: SharedState = SharedState(),
        schemas: (any SchemaSource)? = nil, _ change: (inout Settings) -> Void
    ) throws -> Pipeline {
        var settings = Settings()
        settings.engine = .small
        settings.learning(false)
        // Its records are dealt out in turn.
        settings.input.keying = .asIs
        change(&settings)
        let pipeline = try Pipeline(
            settings, partitionCount: partitions,
            store: SharedSnapshotFolder(directory: folder.path, instance: "0", logger: log.logger), shared: shared,
            logger: log.logger, connections: Connections(source: source, sink: sink, clock: clock, schemas: schemas))
        try pipeline.begin()
        return pipeline
    }
}
