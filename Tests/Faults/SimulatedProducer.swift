import Kafka
import Runtime

/// A producer; transactional when it has a transactional id.
final class SimulatedProducer: RecordSink {
    private let cluster: SimulatedCluster
    private let gate: Gate
    private let id: String?
    private var epoch = 0
    private var isInTransaction = false
    private var offsets: [TopicPartition: PartitionOffset] = [:]
    /// Why the transaction cannot be committed.
    private var spoilt: KafkaError?
    /// The broker has committed, but its answer was lost.
    private var isCommitted = false
    /// Without transactions: records that were sent but have not reached the cluster.
    private var pending: [SimulatedCluster.Output] = []
    private(set) var fatalError: KafkaError?
    let isForgotten = false

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
            // A producer learns only later that it was fenced.
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

    /// Delivers some of the pending records, in their order.
    func poll() { if !gate.isDead, !pending.isEmpty { deliver(gate.pick(0..<pending.count + 1)) } }

    private func deliver(_ count: Int) {
        for output in pending.prefix(count) { cluster.append(output) }
        pending.removeFirst(count)
    }

    /// Fails in three ways: a timeout; records from one on are not delivered; or all are delivered, but the answer is lost.
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

    /// A call of a transaction, with the checks that all such calls share.
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
