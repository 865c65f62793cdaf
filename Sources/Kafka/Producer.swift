import CRdKafka
import Glibc
public import Logging

/// Produces records, in transactions or without. One thread uses it.
public final class Producer {
    /// A topic to produce to.
    public struct Topic: @unchecked Sendable, Hashable {
        package let name: String
        /// nil: a topic of no cluster.
        fileprivate let handle: OpaquePointer?

        /// A topic that no producer of a cluster takes records for.
        package init(unconnected name: String) {
            self.name = name
            handle = nil
        }

        fileprivate init(name: String, handle: OpaquePointer) {
            self.name = name
            self.handle = handle
        }
    }

    /// A record whose key and value stay where they are until it is delivered.
    public struct Record {
        public var topic: Topic
        public var key: UnsafeRawBufferPointer
        /// nil: a tombstone.
        public var value: UnsafeRawBufferPointer?
        /// A record with headers is handed over by itself: for the few that need some.
        public var headers: [(name: String, text: String)]
        /// How a record that came from elsewhere is passed on; its key and value stay as those of all others.
        public var forwarding: Forwarding?

        public init(
            topic: Topic, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?,
            headers: [(name: String, text: String)] = [], forwarding: Forwarding? = nil
        ) {
            self.topic = topic
            self.key = key
            self.value = value
            self.headers = headers
            self.forwarding = forwarding
        }

        fileprivate var outgoing: clvd_outgoing {
            clvd_outgoing(
                key: key.baseAddress, value: value.map { $0.baseAddress ?? Producer.empty }, key_length: key.count,
                value_length: value?.count ?? 0, topic: topic.handle)
        }
    }

    private let client: Client
    private var topics: [String: Topic] = [:]
    private var outgoing: [clvd_outgoing] = []
    private var scratch: [rd_kafka_message_t] = []
    /// An empty value is not a tombstone: it needs an address.
    nonisolated(unsafe) static let empty = UnsafeRawPointer(
        UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1))

    /// - Parameters:
    ///   - transactionalId: stable name of this instance; nil: no transactions.
    ///   - properties: librdkafka's names and values; they win over what is set here.
    public init(
        bootstrap: String, transactionalId: String?, properties: [String: String], logger: Logger
    ) throws {
        var settings = [
            ("bootstrap.servers", bootstrap), ("enable.idempotence", "true"), ("compression.codec", "lz4"),
            ("linger.ms", "20"), ("partitioner", "murmur2_random"),
            ("socket.timeout.ms", KafkaProperties.answerMs(properties)),
            ("queue.buffering.max.messages", "1000000"), ("queue.buffering.max.kbytes", "1048576"),
        ]
        if let transactionalId { settings.append(("transactional.id", transactionalId)) }
        settings += properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        client = try Client(RD_KAFKA_PRODUCER, properties: settings, logger: logger)
    }

    deinit { for topic in topics.values { topic.handle.map(rd_kafka_topic_destroy) } }

    public func topic(_ name: String) throws(KafkaError) -> Topic {
        if let topic = topics[name] { return topic }
        guard let handle = rd_kafka_topic_new(client.handle, name, nil) else {
            throw KafkaError("topic \(name)", rd_kafka_last_error())
        }
        let topic = Topic(name: name, handle: handle)
        topics[name] = topic
        return topic
    }

    // MARK: Records

    /// Hands records over in their order; waits while the queue is full.
    public func produce(_ records: some Collection<Record>) throws(KafkaError) {
        outgoing.removeAll(keepingCapacity: true)
        for r in records {
            if r.headers.isEmpty, r.forwarding == nil {
                outgoing.append(r.outgoing)
                continue
            }
            try produceOutgoing()
            if let forwarding = r.forwarding {
                try forward(r, forwarding)
            } else {
                try produce(r, headers: r.headers)
            }
        }
        try produceOutgoing()
    }

    private func forward(_ record: Record, _ forwarding: Forwarding) throws(KafkaError) {
        var out = record.outgoing
        try retryWhileFull(or: out) { forwarding.produce(&out, by: client.handle) }
    }

    private func produceOutgoing() throws(KafkaError) {
        defer { outgoing.removeAll(keepingCapacity: true) }
        if scratch.count < outgoing.count {
            scratch = [rd_kafka_message_t](repeating: rd_kafka_message_t(), count: outgoing.count)
        }
        let error = clvd_produce(client.handle, outgoing, outgoing.count, &scratch)
        rd_kafka_poll(client.handle, 0)
        if error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE { throw tooLarge(outgoing) }
        try client.check("produce", error)
    }

    /// The client does not send records as large as one of these.
    private func tooLarge(_ records: [clvd_outgoing]) -> KafkaError {
        let largest = records.max { $0.key_length + $0.value_length < $1.key_length + $1.value_length }!
        let topic = String(cString: rd_kafka_topic_name(largest.topic))
        let bytes = largest.key_length + largest.value_length
        var error = KafkaError(
            "produce to \(topic)", RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            reason:
                "a record of \(bytes) bytes is larger than the client's message.max.bytes, \(maxRecordBytes); raise "
                + "it in kafka.properties, and max.message.bytes of the topic")
        error.refusal = (topic, bytes)
        return error
    }

    /// Hands one record with headers over; key and value are copied.
    public func produce(_ record: Record, headers: [(name: String, text: String)]) throws(KafkaError) {
        try retryWhileFull(or: record.outgoing) {
            produceOne(record, headers, partition: nil, timestampMs: 0)
        }
    }

    /// Hands one record over with its timestamp (ms) and its headers; key and value are copied.
    /// - Parameter partition: nil: by the key.
    public func produce(_ record: Record, partition: Int32? = nil, timestampMs: Int64) throws(KafkaError) {
        try retryWhileFull(or: record.outgoing) {
            produceOne(record, record.headers, partition: partition, timestampMs: timestampMs)
        }
    }

    private func produceOne(
        _ record: Record, _ headers: [(name: String, text: String)], partition: Int32?, timestampMs: Int64
    ) -> rd_kafka_resp_err_t {
        let names = headers.map { strdup($0.name) }
        let texts = headers.map { strdup($0.text) }
        defer { for p in names + texts { free(p) } }
        let list = zip(names, texts).map { clvd_header(name: $0, text: $1) }
        var out = record.outgoing
        return clvd_produce_one(
            client.handle, &out, list, list.count, partition ?? RD_KAFKA_PARTITION_UA, timestampMs)
    }

    /// - Throws: also when the record is larger than the client sends, which the error names.
    private func retryWhileFull(or record: clvd_outgoing, _ body: () -> rd_kafka_resp_err_t) throws(KafkaError) {
        var isTooLarge = false
        try retryWhileFull("produce") {
            let error = body()
            isTooLarge = error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            return isTooLarge ? RD_KAFKA_RESP_ERR_NO_ERROR : error
        }
        rd_kafka_poll(client.handle, 0)
        if isTooLarge { throw tooLarge([record]) }
    }

    private func retryWhileFull(_ operation: String, _ body: () -> rd_kafka_resp_err_t) throws(KafkaError) {
        while true {
            let error = body()
            guard error == RD_KAFKA_RESP_ERR__QUEUE_FULL else { return try client.check(operation, error) }
            rd_kafka_poll(client.handle, 50)
        }
    }

    /// Serves delivery reports and errors.
    public func poll() { rd_kafka_poll(client.handle, 0) }

    /// Records on their way.
    public var queued: Int { Int(rd_kafka_outq_len(client.handle)) }
    public var delivered: UInt64 { client.state.pointee.delivered }

    /// Waits until everything is delivered.
    /// - Throws: when something was not, or not in time.
    public func flush(milliseconds: Int = 30_000) throws(KafkaError) {
        try client.check("deliver records", rd_kafka_flush(client.handle, Int32(milliseconds)))
        try takeFailures()
    }

    /// - Throws: the first failed delivery since the last look.
    public func takeFailures() throws(KafkaError) {
        let failed = client.state.pointee.failed
        guard failed > 0 else { return }
        client.state.pointee.failed = 0
        let topic = withUnsafePointer(to: &client.state.pointee.failed_topic) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        let bytes = client.state.pointee.failed_bytes
        let isTooLarge = client.state.pointee.first_failure == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        var error = KafkaError(
            "deliver \(failed) records to \(topic)", client.state.pointee.first_failure,
            reason: isTooLarge
                ? "the topic does not take a batch of them, of which the largest has \(bytes) bytes; raise the topic's "
                    + "max.message.bytes above that. A new start makes batches that fit"
                : nil)
        error.refusal = (topic, bytes)
        throw error
    }

    /// The first failed delivery since the last look, if there was one; it is forgotten.
    public func takeFailure() -> KafkaError? {
        do {
            try takeFailures()
            return nil
        } catch { return error }
    }

    /// Largest record that the client sends, bytes with all that belongs to it.
    public var maxRecordBytes: Int { client.number("message.max.bytes") ?? 1_000_000 }
    /// How long a transaction may stay open before the broker ends it and bars this producer; ms.
    public var transactionTimeoutMs: Int { client.number("transaction.timeout.ms") ?? 60_000 }

    /// Throws everything on its way away and waits for the reports: memory of the records is free afterwards.
    public func purge() {
        rd_kafka_purge(client.handle, Int32(RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT))
        while queued > 0 { rd_kafka_poll(client.handle, 50) }
        client.state.pointee.failed = 0
    }

    public var lastError: ClientError? { client.lastError }

    /// The error that ended this producer for good, if one did.
    public var fatalError: KafkaError? { client.fatalError("producer") }

    /// Whether a broker has forgotten this producer's id, which it does when a transactional id is not used for
    /// `transactional.id.expiration.ms` (seven days). Only a new producer can go on.
    public var isForgotten: Bool { client.isForgotten }

    // MARK: Transactions

    /// Registers the transactional id; fences an older instance and finishes what it left open.
    public func initTransactions(milliseconds: Int) throws(KafkaError) {
        try client.check("start transactions", rd_kafka_init_transactions(client.handle, Int32(milliseconds)))
    }

    public func beginTransaction() throws(KafkaError) {
        try client.check("begin a transaction", rd_kafka_begin_transaction(client.handle))
    }

    /// Makes consumed offsets a part of the transaction.
    public func send(
        _ offsets: [TopicPartition: PartitionOffset], of consumer: Consumer, milliseconds: Int
    ) throws(KafkaError) {
        try consumer.withGroupMetadata { (group) throws(KafkaError) in
            try PartitionList.with(offsets) { (list) throws(KafkaError) in
                try client.check(
                    "add offsets to the transaction",
                    rd_kafka_send_offsets_to_transaction(client.handle, list, group, Int32(milliseconds)))
            }
        }
    }

    public func commitTransaction(milliseconds: Int) throws(KafkaError) {
        try client.check("commit the transaction", rd_kafka_commit_transaction(client.handle, Int32(milliseconds)))
    }

    public func abortTransaction(milliseconds: Int) throws(KafkaError) {
        try client.check("abort the transaction", rd_kafka_abort_transaction(client.handle, Int32(milliseconds)))
    }
}
