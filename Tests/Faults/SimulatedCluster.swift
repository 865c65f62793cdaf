import CEventParser
import Kafka
import Runtime

/// A Kafka cluster in memory: one input topic, output topics, transactions, fencing by epochs, and a group that shares
/// partitions out. What the clients of it see is what librdkafka's clients show.
final class SimulatedCluster {
    struct Output {
        let topic: String
        var key: [UInt8]
        var value: [UInt8]?
        var headers: [String: String]
        /// nil: not in a transaction.
        let transaction: Int?
    }

    private enum Transaction { case open, committed, aborted }

    let partitions: [TopicPartition]
    private let records: [[clvd_record]]
    /// Records of each partition that are in the log by now, and those that it has lost.
    private var written: [Int]
    private var lost: [Int]
    private var lows: [Int64]
    private var outputs: [Output] = []
    private var transactions: [Transaction] = []
    /// Epoch and open transaction by transactional id.
    private var producers: [String: (epoch: Int, open: Int?)] = [:]

    private(set) var committed: [TopicPartition: PartitionOffset] = [:]
    /// All that was ever committed, in order.
    private(set) var history: [(partition: TopicPartition, offset: PartitionOffset)] = []

    private let isCooperative: Bool
    private var members: [String: SimulatedConsumer] = [:]
    private var owners: [TopicPartition: SimulatedConsumer] = [:]
    private let clock: SimulatedClock
    /// Until when offsets are refused because of a rebalance.
    private var unsettledUntil = 0.0
    private var dice: Dice

    init(topic: String, records: [[clvd_record]], isCooperative: Bool, clock: SimulatedClock, seed: UInt64) {
        self.records = records
        self.isCooperative = isCooperative
        self.clock = clock
        partitions = records.indices.map { TopicPartition(topic, Int32($0)) }
        written = records.map { _ in 0 }
        lost = written
        lows = records.map { _ in 0 }
        dice = Dice(seed: seed)
    }

    // MARK: Log

    /// Puts the next records of a partition into the log.
    func write(_ count: Int, to p: Int) { written[p] = min(records[p].count, written[p] + count) }

    var isWritten: Bool { zip(written, records).allSatisfy { $0 == $1.count } }

    func low(_ p: TopicPartition) -> Int64 { lows[Int(p.partition)] }

    func high(_ p: TopicPartition) -> Int64 {
        let i = Int(p.partition)
        return written[i] == 0 ? 0 : records[i][written[i] - 1].offset + 1
    }

    /// Retention: records below an offset go, if the member that has the partition has read them.
    func truncate(_ p: TopicPartition, below limit: Int64) {
        let i = Int(p.partition)
        let offset = min(limit, owners[p]?.positions[p] ?? limit)
        lost[i] = max(lost[i], index(p, offset))
        lows[i] = max(lows[i], offset)
    }

    private func index(_ p: TopicPartition, _ offset: Int64) -> Int {
        let list = records[Int(p.partition)]
        var (low, high) = (0, written[Int(p.partition)])
        while low < high {
            let middle = (low + high) / 2
            if list[middle].offset < offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Records from an offset on, at most `most`.
    fileprivate func read(_ p: TopicPartition, from offset: Int64, most: Int) throws(KafkaError) -> [clvd_record] {
        let i = Int(p.partition)
        let start = index(p, offset)
        guard start >= lost[i] else { throw .outOfRange(p) }
        return Array(records[i][start..<min(written[i], start + most)])
    }

    /// What readers see that skip aborted transactions and wait for open ones.
    func visible(_ topic: String) -> [Output] {
        outputs.filter { $0.topic == topic && ($0.transaction.map { transactions[$0] == .committed } ?? true) }
    }

    /// Whether everything in the log was processed.
    var isConsumed: Bool { isWritten && partitions.allSatisfy { committed[$0]?.offset ?? 0 >= high($0) } }

    // MARK: Transactions

    /// Registers a producer: an older one of its name is fenced, what that left open is aborted.
    fileprivate func register(_ id: String) -> Int {
        abortOpen(id)
        producers[id, default: (0, nil)].epoch += 1
        return producers[id]!.epoch
    }

    /// A transaction was open for too long: it is aborted and its producer fenced.
    func expireTransaction(_ id: String) {
        guard producers[id]?.open != nil else { return }
        _ = register(id)
    }

    private func abortOpen(_ id: String) {
        guard let open = producers[id]?.open else { return }
        transactions[open] = .aborted
        producers[id]?.open = nil
    }

    fileprivate func isFenced(_ id: String, epoch: Int) -> Bool { producers[id]?.epoch != epoch }

    fileprivate func begin(_ id: String) {
        transactions.append(.open)
        producers[id]?.open = transactions.count - 1
    }

    fileprivate func append(_ output: Output) { outputs.append(output) }

    fileprivate func open(_ id: String) -> Int? { producers[id]?.open }

    fileprivate func end(_ id: String, committing offsets: [TopicPartition: PartitionOffset]?) {
        guard let open = producers[id]?.open else { return }
        producers[id]?.open = nil
        transactions[open] = offsets == nil ? .aborted : .committed
        if let offsets { commit(offsets) }
    }

    fileprivate func commit(_ offsets: [TopicPartition: PartitionOffset]) {
        for (p, offset) in offsets.sorted(by: { $0.key < $1.key }) {
            committed[p] = offset
            history.append((p, offset))
        }
    }

    // MARK: Group

    /// A member joins; one of the same name gives way and is fenced.
    fileprivate func join(_ member: SimulatedConsumer) {
        if let old = members[member.name] {
            old.isFenced = true
            release(old)
            // A member that comes back within its session gets what it had, and the others hear nothing of it.
            members[member.name] = member
            return
        }
        members[member.name] = member
        rebalance()
    }

    fileprivate func leave(_ member: SimulatedConsumer) {
        guard members[member.name] === member else { return }
        release(member)
        members[member.name] = nil
        rebalance()
    }

    /// The session of a member ends without it.
    func expire(_ name: String) {
        guard let member = members[name] else { return }
        member.isExpelled = true
        leave(member)
    }

    private func release(_ member: SimulatedConsumer) {
        for (p, owner) in owners where owner === member { owners[p] = nil }
    }

    private func rebalance() {
        if dice.chance(0.5) { unsettledUntil = clock.now + dice.uniform() * 3 }
        for member in members.values { member.hasToRejoin = true }
    }

    private func target(_ p: TopicPartition) -> SimulatedConsumer? {
        let names = members.keys.sorted()
        return names.isEmpty ? nil : members[names[Int(p.partition) % names.count]]
    }

    /// What a member is told by a poll.
    fileprivate func rebalance(_ member: SimulatedConsumer) -> Consumer.Rebalance? {
        let owned = partitions.filter { owners[$0] === member }
        let give = isCooperative ? owned.filter { target($0) !== member } : member.hasToRejoin ? owned : []
        if !give.isEmpty {
            member.hasToRejoin = false
            return .revoke(give)
        }
        member.hasToRejoin = false
        let mine = partitions.filter { target($0) === member }
        // With the eager protocol nobody gets anything before all have given everything back.
        if !isCooperative && members.values.contains(where: { $0.hasToRejoin && $0 !== member && holdsAny($0) }) {
            return nil
        }
        let take = mine.filter { owners[$0] == nil }
        guard !take.isEmpty else { return nil }
        for p in take { owners[p] = member }
        return .assign(take)
    }

    private func holdsAny(_ member: SimulatedConsumer) -> Bool { owners.values.contains { $0 === member } }

    fileprivate func unassign(_ member: SimulatedConsumer, _ list: [TopicPartition]) {
        for p in list where owners[p] === member { owners[p] = nil }
    }

    fileprivate func owns(_ member: SimulatedConsumer, _ p: TopicPartition) -> Bool { owners[p] === member }

    /// Whether the group takes offsets from a member.
    fileprivate func check(
        _ operation: String, _ member: SimulatedConsumer, _ offsets: [TopicPartition: PartitionOffset]
    ) throws(KafkaError) {
        if member.isFenced { throw .fencedMember(operation) }
        guard members[member.name] === member, offsets.keys.allSatisfy({ owns(member, $0) }) else {
            throw .unknownMember(operation)
        }
        if clock.now < unsettledUntil { throw .rebalancing(operation) }
    }

    /// No more refusals.
    func calmDown() { unsettledUntil = 0 }
}

// MARK: - Clients

/// A member of the group.
final class SimulatedConsumer: RecordSource {
    let name: String
    /// Which knows its members and outlives them.
    private unowned let cluster: SimulatedCluster
    private let clock: SimulatedClock
    private let gate: Gate
    private let batchRecords: Int
    fileprivate private(set) var positions: [TopicPartition: Int64] = [:]
    private var endsSaid: [TopicPartition: Int64] = [:]
    private var batch: UnsafeMutableBufferPointer<clvd_record>
    private var dice: Dice
    fileprivate var isFenced = false
    fileprivate var isExpelled = false
    fileprivate var hasToRejoin = false
    private var hasHeardOfIt = false
    /// A rebalance that `keepAlive` met, for the next poll; and whether the one of the last poll waits for its answer.
    private var pendingRebalance: Consumer.Rebalance?
    private var isUnanswered = false
    /// The records of the last poll are in use.
    private var isReading = false
    /// Told of a rebalance before it is answered, of partitions that are read from here on, and of those that are let go
    /// without having been lost.
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
        if isFenced { return Consumer.Poll(records: nothing, error: .fencedMember("consume")) }
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
            // Records that are on their way come along.
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

    var isAssignmentLost: Bool { hasHeardOfIt }

    func committed(
        _ partitions: [TopicPartition], milliseconds: Int
    ) throws(KafkaError) -> [TopicPartition: PartitionOffset] {
        try gate.call("committed") { () throws(KafkaError) in cluster.committed.filter { partitions.contains($0.key) } }
    }

    var sessionTimeoutMs: Int { 45_000 }
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

    func partitionCounts(_ names: [String], milliseconds: Int) throws(KafkaError) -> [String: Int] {
        try gate.call("partitions") { () throws(KafkaError) in
            Dictionary(uniqueKeysWithValues: names.map { ($0, cluster.partitions.count) })
        }
    }

    var lastError: ClientError? { nil }

    func close() { if !gate.isDead { cluster.leave(self) } }
}

/// A producer, with transactions when it has an id for them.
final class SimulatedProducer: RecordSink {
    private let cluster: SimulatedCluster
    private let gate: Gate
    private let id: String?
    private var epoch = 0
    private var isInTransaction = false
    private var offsets: [TopicPartition: PartitionOffset] = [:]
    /// Why the transaction cannot be committed.
    private var spoilt: KafkaError?
    /// The broker has committed, though its answer was lost.
    private var isCommitted = false
    /// Without transactions: records on their way, which the cluster does not have yet.
    private var pending: [SimulatedCluster.Output] = []
    private(set) var fatalError: KafkaError?

    init(_ cluster: SimulatedCluster, transactionalId: String?, gate: Gate) {
        self.cluster = cluster
        self.gate = gate
        id = transactionalId
    }

    func topic(_ name: String) throws(KafkaError) -> Producer.Topic { Producer.Topic(unconnected: name) }

    func produce(_ records: ArraySlice<Producer.Record>) throws(KafkaError) {
        for r in records { try produce(r, headers: r.headers) }
    }

    func produce(_ record: Producer.Record, headers: [(name: String, text: String)]) throws(KafkaError) {
        guard gate.mayPass() else { throw dies() }
        if let id {
            // Whether it is fenced, a producer hears later.
            guard !cluster.isFenced(id, epoch: epoch) else { return }
            // Records after one that is lost are not sent.
            if spoilt == nil, gate.fails(gate.failing / 4) { spoilt = .abortable("deliver") }
            guard spoilt == nil else { return }
        }
        let output = SimulatedCluster.Output(
            topic: record.topic.name, key: Array(record.key), value: record.value.map { Array($0) },
            headers: Dictionary(headers.map { ($0.name, $0.text) }) { $1 }, transaction: id.flatMap(cluster.open))
        if id == nil { pending.append(output) } else { cluster.append(output) }
    }

    /// Some of the records on their way arrive, in their order.
    func poll() { if !gate.isDead, !pending.isEmpty { deliver(gate.pick(0..<pending.count + 1)) } }

    private func deliver(_ count: Int) {
        for output in pending.prefix(count) { cluster.append(output) }
        pending.removeFirst(count)
    }

    /// Fails in three ways: it is not done in time; records are not delivered at all, from one of them on; or they are,
    /// but the answer is lost.
    func flush(milliseconds: Int) throws(KafkaError) {
        try gate.call("flush") { () throws(KafkaError) in
            if gate.fails(gate.failing) {
                poll()
                throw .noAnswer("flush")
            }
            if gate.fails(gate.failing / 4) {
                deliver(gate.pick(0..<pending.count + 1))
                pending = []
                throw .undelivered("flush")
            }
            deliver(pending.count)
            if gate.fails(gate.failing) { throw .noAnswer("flush") }
        }
    }

    func purge() {
        poll()
        pending = []
    }

    func takeFailure() -> KafkaError? { nil }

    let maxRecordBytes = 1_000_000
    let transactionTimeoutMs = 60_000
    var lastError: ClientError? { nil }

    private func dies() -> KafkaError {
        fatalError = Gate.death
        return Gate.death
    }

    /// A call of a transaction: checks what every such call checks.
    private func call(_ operation: String, _ body: () throws(KafkaError) -> Void) throws(KafkaError) {
        guard let id else { preconditionFailure("a producer without transactions") }
        do throws(KafkaError) {
            try gate.call(operation) { () throws(KafkaError) in
                if gate.fails(gate.failing) { throw .noAnswer(operation) }
                if cluster.isFenced(id, epoch: epoch) { throw .fenced(operation) }
                try body()
                if gate.fails(gate.failing) { throw .noAnswer(operation) }
            }
        } catch {
            if error.isFatal { fatalError = error }
            throw error
        }
    }

    func initTransactions(milliseconds: Int) throws(KafkaError) {
        guard gate.mayPass() else { throw dies() }
        epoch = cluster.register(id!)
    }

    func beginTransaction() throws(KafkaError) {
        guard gate.mayPass() else { throw dies() }
        precondition(!isInTransaction, "a transaction is open")
        (isInTransaction, isCommitted, spoilt, offsets) = (true, false, nil, [:])
        if !cluster.isFenced(id!, epoch: epoch) { cluster.begin(id!) }
    }

    func send(
        _ sent: [TopicPartition: PartitionOffset], consumedBy source: any RecordSource, milliseconds: Int
    ) throws(KafkaError) {
        try call("add offsets to the transaction") { () throws(KafkaError) in
            if let spoilt { throw spoilt }
            guard let consumer = source as? SimulatedConsumer else { preconditionFailure("another kind of cluster") }
            try cluster.check("add offsets to the transaction", consumer, sent)
            offsets.merge(sent) { $1 }
        }
    }

    func commitTransaction(milliseconds: Int) throws(KafkaError) {
        try call("commit the transaction") { () throws(KafkaError) in
            if let spoilt { throw spoilt }
            if !isCommitted { cluster.end(id!, committing: offsets) }
            isCommitted = true
        }
        isInTransaction = false
    }

    func abortTransaction(milliseconds: Int) throws(KafkaError) {
        try call("abort the transaction") { () throws(KafkaError) in
            cluster.end(id!, committing: nil)
            spoilt = nil
        }
        isInTransaction = false
    }
}
