import CEventParser
import Kafka
import Runtime

/// A member of the group.
final class SimulatedConsumer: RecordSource {
    let name: String
    /// The cluster refers to its members and outlives them.
    private unowned let cluster: SimulatedCluster
    private let clock: SimulatedClock
    private let gate: Gate
    private let batchRecords: Int
    private(set) var positions: [TopicPartition: Int64] = [:]
    private var endsSaid: [TopicPartition: Int64] = [:]
    private var batch: UnsafeMutableBufferPointer<clvd_record>
    private var dice: Dice
    var isFenced = false
    var isExpelled = false
    var hasToRejoin = false
    private var hasHeardOfIt = false
    /// A rebalance that `keepAlive` met, for the next poll; and whether the one of the last poll waits for its answer.
    private var pendingRebalance: Consumer.Rebalance?
    private var isUnanswered = false
    /// The records of the last poll are in use.
    private var isReading = false
    /// Called before a rebalance is handled, with partitions that are assigned, and with partitions that are revoked but not
    /// lost.
    var onRebalance: (Consumer.Rebalance) -> Void = { _ in }
    var onAssign: ([TopicPartition: PartitionOffset]) -> Void = { _ in }
    var onUnassign: ([TopicPartition]) -> Void = { _ in }

    init(
        _ cluster: SimulatedCluster, name: String, clock: SimulatedClock, gate: Gate, batchRecords: Int, seed: UInt64
    ) {
        self.cluster = cluster
        self.name = name
        self.clock = clock
        self.gate = gate
        self.batchRecords = batchRecords
        batch = .allocate(capacity: batchRecords)
        dice = Dice(seed: seed)
    }

    deinit { batch.deallocate() }

    func subscribe() throws(KafkaError) {
        try gate.call("subscribe") { () throws(KafkaError) in cluster.join(self) }
    }

    func poll(milliseconds: Int) -> Consumer.Poll {
        let nothing = UnsafeBufferPointer<clvd_record>(start: nil, count: 0)
        precondition(!isReading, "the batch before was not released")
        clock.advance(0.001)
        guard gate.mayPass() else { return Consumer.Poll(records: nothing, error: Gate.death) }
        if isFenced { return Consumer.Poll(records: nothing, error: .fencedMember("consume", isFatal: true)) }
        if hasHeardOfIt {
            clock.sleep(Double(milliseconds) / 1000)
            return Consumer.Poll(records: nothing)
        }
        var count = 0
        var ends: [TopicPartition: Int64] = [:]
        for p in positions.keys.sorted() {
            let most = min(batchRecords - count, dice.pick(0..<batchRecords + 1))
            let position = positions[p]!
            let found: [clvd_record]
            do throws(KafkaError) { found = try cluster.read(p, from: position, most: most) } catch {
                return Consumer.Poll(records: nothing, error: error)
            }
            for r in found {
                batch[count] = r
                count += 1
            }
            if let last = found.last { positions[p] = last.offset + 1 }
            let end = cluster.high(p)
            if positions[p]! >= end, endsSaid[p] != end {
                endsSaid[p] = end
                ends[p] = end
            }
        }
        var rebalance: Consumer.Rebalance?
        if pendingRebalance != nil || dice.chance(0.7) {
            // A poll may return records and a rebalance together.
            hasHeardOfIt = isExpelled
            rebalance =
                isExpelled ? .lost(positions.keys.sorted()) : pendingRebalance ?? cluster.rebalance(self)
            pendingRebalance = nil
            isUnanswered = rebalance != nil
        }
        if let rebalance { onRebalance(rebalance) }
        isReading = count > 0
        if count == 0 && rebalance == nil { clock.sleep(Double(milliseconds) / 1000) }
        return Consumer.Poll(
            records: UnsafeBufferPointer(rebasing: UnsafeBufferPointer(batch)[..<count]), ends: ends,
            rebalance: rebalance)
    }

    func release() { isReading = false }

    /// Seldom the process dies here; now and then it meets what the next poll reports.
    func keepAlive() {
        clock.advance(0.001)
        if dice.chance(0.05), !gate.mayPass() { return }
        guard !gate.isDead, !isFenced, dice.chance(0.1) else { return }
        if isExpelled {
            hasHeardOfIt = true
        } else if !isUnanswered, pendingRebalance == nil {
            pendingRebalance = cluster.rebalance(self)
        }
    }

    func assign(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        try gate.call("assign") { () throws(KafkaError) in
            onAssign(offsets)
            isUnanswered = false
            for (p, offset) in offsets {
                positions[p] = offset.offset
                endsSaid[p] = nil
            }
        }
    }

    func unassign(_ partitions: [TopicPartition]) throws(KafkaError) {
        try gate.call("unassign") { () throws(KafkaError) in
            if !isExpelled && !isFenced { onUnassign(partitions) }
            isUnanswered = false
            for p in partitions { positions[p] = nil }
            cluster.unassign(self, partitions)
        }
    }

    // No record of the simulation needs a schema.
    func pause(_ p: TopicPartition, at offset: Int64) { preconditionFailure("\(p) waits for a schema") }
    func resume(_ p: TopicPartition, at offset: Int64) {}

    var isAssignmentLost: Bool { hasHeardOfIt }

    func committed(
        _ partitions: [TopicPartition], milliseconds: Int
    ) throws(KafkaError) -> [TopicPartition: PartitionOffset] {
        try gate.call("committed") { () throws(KafkaError) in cluster.committed.filter { partitions.contains($0.key) } }
    }

    func holderOfName(milliseconds: Int) throws(KafkaError) -> GroupMember? {
        try gate.call("ask for the members") { () throws(KafkaError) in
            guard cluster.holdsAnother(self) else { return nil }
            return GroupMember(id: "another", clientID: "simulated", host: "elsewhere")
        }
    }

    let sessionTimeoutMs = 45_000
    func skipDestroy() {}

    func commit(_ offsets: [TopicPartition: PartitionOffset], milliseconds: Int) throws(KafkaError) {
        try gate.retriable("commit offsets") { () throws(KafkaError) in
            try cluster.check("commit offsets", self, offsets)
            cluster.commit(offsets)
        }
    }

    func watermarks(_ p: TopicPartition, milliseconds: Int) throws(KafkaError) -> (low: Int64, high: Int64) {
        try gate.call("watermarks") { () throws(KafkaError) in (cluster.low(p), cluster.high(p)) }
    }

    func knownEnd(_ p: TopicPartition) -> Int64? { cluster.high(p) }

    func fingerprint(
        from offset: Int64, of p: TopicPartition, milliseconds: Int
    ) throws(KafkaError) -> RecordFingerprint? {
        try gate.call("read a record") { () throws(KafkaError) in
            try cluster.read(p, from: offset, most: 1).first.map { RecordFingerprint($0) }
        }
    }

    func clusterID(milliseconds: Int) -> String? { cluster.id }

    func partitionCounts(_ names: [String], milliseconds: Int) throws(KafkaError) -> [String: Int] {
        try gate.call("partitions") { () throws(KafkaError) in
            Dictionary(uniqueKeysWithValues: names.map { ($0, cluster.partitions.count) })
        }
    }

    var lastError: ClientError? { nil }

    func close() { if !gate.isDead { cluster.leave(self) } }
}
