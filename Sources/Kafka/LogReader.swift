import CEventParser
import CRdKafka
import Glibc
import Logging

/// Reads single records at given offsets, beside a consumer and as a member of no group.
final class LogReader {
    let client: Client

    /// - Parameter properties: those of the consumer; what is needed here wins.
    init(_ properties: [(String, String)], logger: Logger) throws {
        let own = [
            ("enable.auto.commit", "false"), ("auto.offset.reset", "error"), ("enable.partition.eof", "true"),
            ("queued.min.messages", "1"), ("queued.max.messages.kbytes", "1024"), ("fetch.wait.max.ms", "100"),
            ("fetch.message.max.bytes", "65536"), ("fetch.error.backoff.ms", "1"),
        ]
        let names = Set(own.map(\.0) + ["group.instance.id"])
        client = try Client(
            RD_KAFKA_CONSUMER, properties: properties.filter { !names.contains($0.0) } + own, logger: logger)
        rd_kafka_poll_set_consumer(client.handle)
    }

    /// See `Consumer.skipDestroy`.
    func skipDestroy() { client.skipsDestroy = true }

    /// The first committed record at or after an offset.
    /// - Returns: nil when there is none.
    func fingerprint(
        from offset: Int64, of p: TopicPartition, milliseconds: Int
    ) throws(KafkaError) -> RecordFingerprint? {
        let operation = "read \(p) at offset \(offset)"
        return try first(from: offset, of: p, operation, milliseconds: milliseconds) {
            (message) throws(KafkaError) -> RecordFingerprint?? in
            let m = message.pointee
            if m.err == RD_KAFKA_RESP_ERR__PARTITION_EOF { return .some(nil) }
            if m.err != RD_KAFKA_RESP_ERR_NO_ERROR {
                throw KafkaError(operation, m.err, reason: String(cString: rd_kafka_message_errstr(message)))
            }
            guard m.offset >= offset else { return nil }
            var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
            let time = rd_kafka_message_timestamp(message, &type)
            var record = clvd_record()
            record.key = UnsafePointer(m.key?.assumingMemoryBound(to: UInt8.self))
            record.value = UnsafePointer(m.payload?.assumingMemoryBound(to: UInt8.self))
            record.key_length = UInt32(m.key_len)
            record.value_length = UInt32(m.len)
            record.offset = m.offset
            record.timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : time
            return RecordFingerprint(record)
        }
    }

    /// Reads a partition from an offset on until `answer` has one.
    /// - Parameter answer: gets each message of the partition, a record or an error about it; nil: the next one is needed.
    func first<T>(
        from offset: Int64, of p: TopicPartition, _ operation: String, milliseconds: Int,
        _ answer: (UnsafeMutablePointer<rd_kafka_message_t>) throws(KafkaError) -> T?
    ) throws(KafkaError) -> T {
        try PartitionList.with([p: PartitionOffset(offset: offset)]) { (list) throws(KafkaError) in
            try client.check(operation, rd_kafka_assign(client.handle, list))
        }
        defer { rd_kafka_assign(client.handle, nil) }
        var left = milliseconds
        while left > 0 {
            let wait = min(left, 100)
            left -= wait
            guard let message = rd_kafka_consumer_poll(client.handle, Int32(wait)) else { continue }
            defer { rd_kafka_message_destroy(message) }
            let m = message.pointee
            guard m.rkt != nil, m.partition == p.partition else {
                if m.err != RD_KAFKA_RESP_ERR_NO_ERROR, KafkaError(operation, m.err).isFatal {
                    throw KafkaError(operation, m.err)
                }
                continue
            }
            if let found = try answer(message) { return found }
        }
        throw KafkaError(operation, RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
}
