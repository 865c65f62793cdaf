public import CEventParser
import CRdKafka
import Glibc
public import Logging

/// A member of a consumer group. One thread uses it. Rebalances come as values and wait for an answer; offsets are
/// committed by the application alone.
public final class Consumer {
    /// What a poll brought. Records stay valid until `release`.
    public struct Poll {
        public let records: UnsafeBufferPointer<clvd_record>
        /// Partitions read to their end, and the offset that the next record will have at least. Said once for each
        /// end that is reached.
        public let ends: [TopicPartition: Int64]
        /// To be answered, after the records, before the next poll.
        public let rebalance: Rebalance?
        public let error: KafkaError?
        /// The partition that `error` is about and the offset that was wanted, where it is about one.
        public let place: (partition: TopicPartition, offset: Int64)?
        /// Batches that have stopped their partitions. Each is said again when another try has failed.
        public let unreadable: [UnreadableBatch]
        /// Offsets that do not follow one another, of records that came lately and may be among these or wait.
        public let jumps: Jumps?

        package init(
            records: UnsafeBufferPointer<clvd_record>, ends: [TopicPartition: Int64] = [:],
            rebalance: Rebalance? = nil, error: KafkaError? = nil,
            place: (partition: TopicPartition, offset: Int64)? = nil, unreadable: [UnreadableBatch] = [],
            jumps: Jumps? = nil
        ) {
            self.records = records
            self.ends = ends
            self.rebalance = rebalance
            self.error = error
            self.place = place
            self.unreadable = unreadable
            self.jumps = jumps
        }
    }

    /// Where offsets do not follow one another. Markers of transactions, aborted records and what compaction removed have
    /// offsets as well.
    public struct Jumps: Sendable, Equatable {
        public var count: Int64
        /// Offsets without a record.
        public var skipped: Int64
        /// The largest of the jumps; one backwards comes before all others.
        public var partition: TopicPartition
        public var expected: Int64
        /// Below `expected`: a record came again.
        public var found: Int64

        package init(count: Int64, skipped: Int64, partition: TopicPartition, expected: Int64, found: Int64) {
            (self.count, self.skipped, self.partition) = (count, skipped, partition)
            (self.expected, self.found) = (expected, found)
        }
    }

    public enum Rebalance: Sendable, Equatable {
        /// Answer with `assign`.
        case assign([TopicPartition])
        /// Answer with `unassign`; offsets can still be committed.
        case revoke([TopicPartition])
        /// The partitions may belong to another member by now. Answer with `unassign`; commit nothing.
        case lost([TopicPartition])
    }

    /// Offsets at which a batch that cannot be read is stepped over.
    public var skips = SkippedOffsets()

    let client: Client
    let logger: Logger
    let alignment: OpaquePointer
    let topicNames: [String]
    /// Partitions that stand still before a batch that cannot be read.
    var stopped: [TopicPartition: Stop] = [:]
    /// Partitions that wait because they were told to.
    var paused: Set<TopicPartition> = []
    private let settings: [(String, String)]
    /// Opened when it is needed first.
    private var logReader: LogReader?
    private let cNames: UnsafeMutablePointer<UnsafePointer<CChar>?>
    private var topics: clvd_topics
    private var batch: clvd_batch

    /// - Parameters:
    ///   - batchRecords: most records of one poll.
    ///   - alignmentWaitMs: longest wait for the next record of a partition, so that records of all partitions come in the
    ///     order of their timestamps; 0: records come as they arrive.
    ///   - holdsBack: records wait for `alignmentWaitMs` for earlier ones of partitions that have none here, also where
    ///     none are known to be in the log.
    ///   - properties: librdkafka's names and values; they win over what is set here.
    public init(
        bootstrap: String, groupId: String, instanceId: String?, topics names: [String], batchRecords: Int,
        alignmentWaitMs: Int = 0, holdsBack: Bool = false, properties: [String: String], logger: Logger
    ) throws {
        var settings = [
            ("bootstrap.servers", bootstrap), ("group.id", groupId), ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"), ("auto.offset.reset", "error"), ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"), ("partition.assignment.strategy", "cooperative-sticky"),
            // The default of 100,000 stalls the fetcher of a fast consumer.
            ("queued.min.messages", "1000000"), ("queued.max.messages.kbytes", "262144"),
            ("fetch.wait.max.ms", "100"), ("socket.timeout.ms", KafkaProperties.answerMs(properties)),
            // Also the largest batch after decompression. librdkafka guesses that size, three times larger each time.
            ("receive.message.max.bytes", "536870912"),
        ]
        // By the protocol of KIP-848 a second member of a name is refused, and the first one is not told.
        if LibraryVersion.current >= .groupProtocols { settings.append(("group.protocol", "classic")) }
        if let instanceId { settings.append(("group.instance.id", instanceId)) }
        settings += properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        (self.settings, self.logger) = (settings, logger)
        client = try Client(RD_KAFKA_CONSUMER, properties: settings, logger: logger)
        rd_kafka_poll_set_consumer(client.handle)
        topicNames = names
        cNames = .allocate(capacity: names.count)
        let handles = UnsafeMutablePointer<OpaquePointer?>.allocate(capacity: names.count)
        for (i, name) in names.enumerated() {
            (cNames + i).initialize(to: UnsafePointer(strdup(name)))
            (handles + i).initialize(to: nil)
        }
        topics = clvd_topics(names: cNames, handles: handles, count: Int32(names.count))
        alignment = clvd_alignment_new(Int32(clamping: alignmentWaitMs), holdsBack ? 1 : 0)
        batch = clvd_batch()
        batch.capacity = UInt32(batchRecords)
        batch.records = .allocate(capacity: batchRecords)
        batch.messages = .allocate(capacity: batchRecords)
    }

    deinit {
        // Without `close`, librdkafka would wait for ever for an answer to the last rebalance.
        client.leavesSilently = true
        clvd_batch_release(&batch)
        clvd_alignment_free(alignment)
        batch.records.deallocate()
        batch.messages.deallocate()
        for i in topicNames.indices { free(UnsafeMutablePointer(mutating: cNames[i])) }
        cNames.deallocate()
        topics.handles.deallocate()
    }

    public func subscribe() throws(KafkaError) {
        let names = topicNames.map { TopicPartition($0, RD_KAFKA_PARTITION_UA) }
        try PartitionList.with(names) { (list) throws(KafkaError) in
            try client.check(
                "subscribe to \(topicNames.joined(separator: ", "))", rd_kafka_subscribe(client.handle, list))
        }
    }

    // MARK: Records

    /// Waits up to `milliseconds` for records and takes what is there. The batch before must have been released.
    public func poll(milliseconds: Int) -> Poll {
        precondition(batch.count == 0, "the batch before was not released")
        retryStopped()
        clvd_poll(client.handle, client.state, &topics, alignment, Int32(clamping: milliseconds), &batch)
        let unreadable = takeStops()
        var ends: [TopicPartition: Int64] = [:]
        for i in 0..<Int(batch.ends) {
            let topic = element(&batch.end_topic, i, Int32.self)
            guard topic >= 0 else { continue }
            let partition = TopicPartition(topicNames[Int(topic)], element(&batch.end_partition, i, Int32.self))
            ends[partition] = element(&batch.end_offset, i, Int64.self)
        }
        var error: KafkaError?
        var place: (TopicPartition, Int64)?
        if batch.error != RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = withUnsafePointer(to: &batch.error_text) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            error = fatalError ?? KafkaError("consume", batch.error, reason: text)
            if batch.error_topic >= 0 {
                place = (TopicPartition(topicNames[Int(batch.error_topic)], batch.error_partition), batch.error_offset)
            }
            batch.error = RD_KAFKA_RESP_ERR_NO_ERROR
        }
        return Poll(
            records: UnsafeBufferPointer(start: batch.records, count: Int(batch.count)), ends: ends,
            rebalance: takeRebalance(), error: error, place: place, unreadable: unreadable, jumps: takeJumps())
    }

    private func takeJumps() -> Jumps? {
        guard batch.jumps > 0 else { return nil }
        defer { (batch.jump, batch.jumps, batch.skipped) = (clvd_jump(), 0, 0) }
        let jump = batch.jump
        return Jumps(
            count: Int64(batch.jumps), skipped: Int64(batch.skipped),
            partition: TopicPartition(topicNames[Int(jump.topic)], jump.partition), expected: jump.expected,
            found: jump.found)
    }

    /// An element of a C array. The type is a parameter: if it were inferred, it might become an optional, which has
    /// another stride.
    private func element<T, Element: BitwiseCopyable>(_ tuple: inout T, _ i: Int, _ type: Element.Type) -> Element {
        withUnsafeBytes(of: &tuple) { $0.load(fromByteOffset: i * MemoryLayout<Element>.stride, as: type) }
    }

    /// The error that ended this member for good, if one did (another one with its instance id, for one).
    private var fatalError: KafkaError? { client.fatalError("consumer") }

    /// Gives the records of the last poll back.
    public func release() { clvd_batch_release(&batch) }

    /// Tells the group that this member is at work, when it does not poll for long (`max.poll.interval.ms`). The records of
    /// the last poll stay valid; what comes meanwhile (records, a rebalance, an error) is kept for the next poll.
    public func keepAlive() { clvd_keep_alive(client.handle, &topics, alignment, &batch) }

    /// Looks up a header of a record, for `clvd_parser_set_header_lookup`.
    public static var headerLookup: clvd_header_lookup { clvd_find_header }

    // MARK: Assignment

    private func takeRebalance() -> Rebalance? {
        let kind = client.state.pointee.rebalance
        guard kind != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        client.state.pointee.rebalance = RD_KAFKA_RESP_ERR_NO_ERROR
        var partitions: [TopicPartition] = []
        if let list = client.state.pointee.partitions { partitions = PartitionList.read(list) }
        if kind == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS { return .assign(partitions) }
        if isAssignmentLost { return .lost(partitions) }
        return .revoke(partitions)
    }

    /// Whether the group has expelled this member: its partitions may be another's, though no poll has said so.
    public var isAssignmentLost: Bool { rd_kafka_assignment_lost(client.handle) != 0 }

    /// Another member of the group with this one's `group.instance.id`; nil: there is none. Of a member that is gone, the
    /// group says so only after its session.
    public func holderOfName(milliseconds: Int = 5_000) throws(KafkaError) -> GroupMember? {
        guard let name = client.text("group.instance.id"), let group = client.text("group.id") else { return nil }
        let text = rd_kafka_memberid(client.handle)
        defer { if let text { rd_kafka_mem_free(client.handle, text) } }
        let own = text.map { String(cString: $0) }
        return try client.members(ofGroup: group, milliseconds: milliseconds)
            .first { $0.isInstance(name) && $0.id != own }
    }

    /// How long the group waits for a heartbeat of this member, ms.
    public var sessionTimeoutMs: Int { client.number("session.timeout.ms") ?? 45_000 }

    private var isCooperative: Bool {
        guard let protocolName = rd_kafka_rebalance_protocol(client.handle) else { return false }
        return String(cString: protocolName) == "COOPERATIVE"
    }

    /// Answers a rebalance: consumption of the partitions begins at the offsets.
    public func assign(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        for (p, offset) in offsets {
            endPause(p)
            goOn(p)
            if let topic = topicIndex(p) { clvd_alignment_add(alignment, topic, p.partition, offset.offset) }
        }
        try PartitionList.with(offsets) { (list) throws(KafkaError) in
            if isCooperative {
                try client.check("assign", rd_kafka_incremental_assign(client.handle, list))
            } else {
                try client.check("assign", rd_kafka_assign(client.handle, list))
            }
        }
    }

    /// Answers a rebalance: consumption of the partitions ends.
    public func unassign(_ partitions: [TopicPartition]) throws(KafkaError) {
        for p in partitions {
            endPause(p)
            goOn(p)
            if let topic = topicIndex(p) { clvd_alignment_remove(alignment, topic, p.partition) }
        }
        if isCooperative {
            try PartitionList.with(partitions) { (list) throws(KafkaError) in
                try client.check("unassign", rd_kafka_incremental_unassign(client.handle, list))
            }
        } else {
            try client.check("unassign", rd_kafka_assign(client.handle, nil))
        }
    }

    func topicIndex(_ p: TopicPartition) -> Int32? { topicNames.firstIndex(of: p.topic).map { Int32($0) } }

    // MARK: Offsets

    /// Offsets the group has committed; partitions without one are absent.
    public func committed(
        _ partitions: [TopicPartition], milliseconds: Int = 10_000
    ) throws(KafkaError) -> [TopicPartition: PartitionOffset] {
        try PartitionList.with(partitions) { (list) throws(KafkaError) in
            try client.check("read committed offsets", rd_kafka_committed(client.handle, list, Int32(milliseconds)))
            var result: [TopicPartition: PartitionOffset] = [:]
            for i in 0..<Int(list.pointee.cnt) {
                let e = list.pointee.elems[i]
                try client.check("read the committed offset of \(String(cString: e.topic))[\(e.partition)]", e.err)
                guard e.offset >= 0 else { continue }
                let metadata = UnsafeRawBufferPointer(start: e.metadata, count: e.metadata_size)
                result[TopicPartition(String(cString: e.topic), e.partition)] = PartitionOffset(
                    offset: e.offset, metadata: String(decoding: metadata, as: UTF8.self))
            }
            return result
        }
    }

    /// First offset the log still has and the one after its last, asked of the broker.
    public func watermarks(
        _ p: TopicPartition, milliseconds: Int = 10_000
    ) throws(KafkaError) -> (low: Int64, high: Int64) {
        var low: Int64 = 0
        var high: Int64 = 0
        try client.check(
            "ask for the offsets of \(p)",
            rd_kafka_query_watermark_offsets(client.handle, p.topic, p.partition, &low, &high, Int32(milliseconds)))
        return (low, high)
    }

    /// The first committed record at or after an offset, read beside the stream.
    /// - Returns: nil when the log has none.
    public func fingerprint(
        from offset: Int64, of p: TopicPartition, milliseconds: Int = 10_000
    ) throws(KafkaError) -> RecordFingerprint? {
        try reader(of: p).fingerprint(from: offset, of: p, milliseconds: milliseconds)
    }

    func reader(of p: TopicPartition) throws(KafkaError) -> LogReader {
        if logReader == nil {
            do { logReader = try LogReader(settings, logger: logger) } catch {
                throw KafkaError("read \(p) beside the stream", RD_KAFKA_RESP_ERR__FAIL, reason: "\(error)")
            }
        }
        return logReader!
    }

    /// The cluster's own id; nil when the brokers do not say it in time, or have none.
    public func clusterID(milliseconds: Int = 10_000) -> String? {
        guard let text = rd_kafka_clusterid(client.handle, Int32(clamping: milliseconds)) else { return nil }
        defer { rd_kafka_mem_free(client.handle, text) }
        return String(cString: text)
    }

    /// The end of a partition as the last fetch saw it; nil before the first.
    public func knownEnd(_ p: TopicPartition) -> Int64? {
        var low: Int64 = 0
        var high: Int64 = 0
        let error = rd_kafka_get_watermark_offsets(client.handle, p.topic, p.partition, &low, &high)
        return error == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 ? high : nil
    }

    /// Commits outside of transactions and waits for the answer, but not for ever: the client may hold offsets back
    /// until this member has answered a rebalance, which it cannot do while it waits here.
    public func commit(_ offsets: [TopicPartition: PartitionOffset], milliseconds: Int = 10_000) throws(KafkaError) {
        let queue = rd_kafka_queue_new(client.handle)
        defer { rd_kafka_queue_destroy(queue) }
        try PartitionList.with(offsets) { (list) throws(KafkaError) in
            try client.check("commit offsets", rd_kafka_commit_queue(client.handle, list, queue, nil, nil))
        }
        guard let event = rd_kafka_queue_poll(queue, Int32(clamping: milliseconds)) else {
            throw KafkaError("commit offsets", RD_KAFKA_RESP_ERR__TIMED_OUT)
        }
        defer { rd_kafka_event_destroy(event) }
        try client.check("commit offsets", rd_kafka_event_error(event))
    }

    /// Calls `body` with the group's metadata, which a transaction has to know.
    func withGroupMetadata<T>(_ body: (OpaquePointer) throws(KafkaError) -> T) throws(KafkaError) -> T {
        guard let metadata = rd_kafka_consumer_group_metadata(client.handle) else {
            throw KafkaError("read the group's metadata", RD_KAFKA_RESP_ERR__STATE)
        }
        defer { rd_kafka_consumer_group_metadata_destroy(metadata) }
        return try body(metadata)
    }

    /// Partitions of topics; a topic that does not exist is absent.
    public func partitionCounts(
        _ names: [String], milliseconds: Int = 10_000
    ) throws(KafkaError) -> [String: Int] {
        try client.partitionCounts(names, milliseconds: milliseconds)
    }

    public var lastError: ClientError? { client.lastError }

    /// Does not destroy the client's handle at the end, after `close`: for a member that read from a topic that vanished,
    /// as librdkafka would wait for ever. Costs the handle's threads and memory until the process ends.
    public func skipDestroy() {
        client.skipsDestroy = true
        logReader?.skipDestroy()
    }

    /// Leaves the group. Rebalances that come of it are answered on the way.
    public func close() {
        release()
        clvd_alignment_clear(alignment)
        let queue = rd_kafka_queue_new(client.handle)
        defer { rd_kafka_queue_destroy(queue) }
        if let error = rd_kafka_consumer_close_queue(client.handle, queue) {
            // After a fatal error there is no end of it to wait for.
            rd_kafka_error_destroy(error)
            client.leavesSilently = true
            return
        }
        while rd_kafka_consumer_closed(client.handle) == 0 {
            // Records may be waiting: a queue that only callbacks are expected of would abort the process at one.
            if let message = rd_kafka_consume_queue(queue, 100) { rd_kafka_message_destroy(message) }
            if takeRebalance() != nil {
                if isCooperative {
                    if let list = client.state.pointee.partitions {
                        if let e = rd_kafka_incremental_unassign(client.handle, list) { rd_kafka_error_destroy(e) }
                    }
                } else {
                    rd_kafka_assign(client.handle, nil)
                }
            }
        }
    }
}
