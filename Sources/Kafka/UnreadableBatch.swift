import CRdKafka
import Logging

/// A batch that the client cannot read: damaged, or too large when it is decompressed. Its partition stands still.
public struct UnreadableBatch: Sendable {
    public let partition: TopicPartition
    /// Its first offset.
    public let offset: Int64
    /// The first one that was not read: the batch's, or one inside it.
    public let next: Int64
    public let error: KafkaError
    /// librdkafka's property `receive.message.max.bytes`, as it is in force.
    public let receiveMaxBytes: Int

    package init(
        partition: TopicPartition, offset: Int64, next: Int64, error: KafkaError, receiveMaxBytes: Int
    ) {
        (self.partition, self.offset, self.next) = (partition, offset, next)
        (self.error, self.receiveMaxBytes) = (error, receiveMaxBytes)
    }

    /// What an operator can do about it.
    public var remedy: String {
        let entry = "\(partition.topic)/\(partition.partition)/\(offset)"
        let skip = "set input.skip: [\"\(entry)\"] to step over the batch, which a dead letter will name"
        switch rd_kafka_resp_err_t(error.code) {
        case RD_KAFKA_RESP_ERR__BAD_COMPRESSION, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
            return "raise kafka.properties.receive.message.max.bytes (now \(receiveMaxBytes)) above three times the "
                + "batch's size without compression, or \(skip)"
        case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE: return "give this process more memory, or \(skip)"
        default: return "have the brokers restore the partition from a sound replica, or \(skip)"
        }
    }

    /// librdkafka's text, with the codec by its name.
    static func reason(_ text: String) -> String {
        ["0x1": "gzip", "0x2": "snappy", "0x3": "lz4", "0x4": "zstd"].reduce(text) {
            $0.replacing("(codec \($1.key))", with: "(\($1.value))")
        }
    }
}

extension Consumer {
    /// A partition that stands still.
    struct Stop {
        let next: Int64
        let retryAt: ContinuousClock.Instant
    }

    /// Time between two tries to read a batch: brokers may have mended it.
    private static let retry = Duration.seconds(10)
    private static let seekMs: Int32 = 5_000

    /// Steps over the batches that an operator wants to be stepped over. The partitions of others stand still.
    /// - Returns: these others.
    func takeStops() -> [UnreadableBatch] {
        var batches: [UnreadableBatch] = []
        var stop = clvd_stop()
        while clvd_alignment_take_stop(alignment, &stop) != 0 {
            let p = TopicPartition(topicNames[Int(stop.topic)], stop.partition)
            let text = withUnsafeBytes(of: stop.text) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            let batch = UnreadableBatch(
                partition: p, offset: stop.batch, next: stop.next,
                error: KafkaError("read \(p)", stop.error, reason: UnreadableBatch.reason(text)),
                receiveMaxBytes: client.number("receive.message.max.bytes") ?? 0)
            var failure: KafkaError?
            if skips.contains(batch.offset, of: p) || skips.contains(batch.next, of: p) {
                do throws(KafkaError) {
                    try stepOver(batch)
                    continue
                } catch { failure = error }
            }
            if let failure {
                logger.warning("a batch cannot be stepped over yet", metadata: ["error": "\(failure)"])
            }
            _ = clvd_pause(client.handle, p.topic, p.partition, 1)
            stopped[p] = Stop(next: batch.next, retryAt: .now + Self.retry)
            batches.append(batch)
        }
        return batches
    }

    private func stepOver(_ batch: UnreadableBatch) throws(KafkaError) {
        let p = batch.partition
        let high = try watermarks(p).high
        let end = try reader(of: p).end(
            ofBatch: batch.offset, next: batch.next, high: high, of: p, milliseconds: 10_000)
        try client.check(
            "go on after the batch at offset \(batch.offset) of \(p)",
            clvd_seek(client.handle, p.topic, p.partition, end, Self.seekMs))
        clvd_alignment_end_stop(alignment, topicIndex(p) ?? -1, p.partition, end - 1)
        logger.warning(
            "a batch that cannot be read is stepped over, as input.skip says; a dead letter names it",
            metadata: [
                "partition": "\(p)", "offsets": "\(batch.next)-\(end - 1)", "error": "\(batch.error.reason)",
            ])
    }

    /// Tries the batches again that are due.
    func retryStopped() {
        for (p, stop) in stopped where stop.retryAt <= .now {
            goOn(p)
            let error = clvd_seek(client.handle, p.topic, p.partition, stop.next, Self.seekMs)
            guard error == RD_KAFKA_RESP_ERR_NO_ERROR else {
                stopped[p] = Stop(next: stop.next, retryAt: .now + Self.retry)
                continue
            }
            clvd_alignment_end_stop(alignment, topicIndex(p) ?? -1, p.partition, -1)
        }
    }

    /// Ends the standstill of a partition, if it does stand still.
    func goOn(_ p: TopicPartition) {
        guard stopped.removeValue(forKey: p) != nil else { return }
        _ = clvd_pause(client.handle, p.topic, p.partition, 0)
    }
}

extension LogReader {
    /// The first offset after a batch that cannot be read. librdkafka does not say where it ends, but the error of a read
    /// inside it names its first offset.
    /// - Parameters:
    ///   - batch: its first offset.
    ///   - next: an offset inside it.
    ///   - high: where the log ends, at least.
    func end(
        ofBatch batch: Int64, next: Int64, high: Int64, of p: TopicPartition, milliseconds: Int
    ) throws(KafkaError) -> Int64 {
        var inside = next
        var step: Int64 = 1
        while inside + step < high, try isInside(inside + step, batch, p, milliseconds: milliseconds) {
            inside += step
            step *= 2
        }
        var outside = min(inside + step, max(high, inside + 1))
        while outside - inside > 1 {
            let middle = inside + (outside - inside) / 2
            if try isInside(middle, batch, p, milliseconds: milliseconds) { inside = middle } else { outside = middle }
        }
        return outside
    }

    private func isInside(
        _ offset: Int64, _ batch: Int64, _ p: TopicPartition, milliseconds: Int
    ) throws(KafkaError) -> Bool {
        try first(
            from: offset, of: p, "look for the end of the batch at offset \(batch) of \(p)", milliseconds: milliseconds
        ) { message in
            // A record, an end, or no such offset: not in the batch.
            message.pointee.err != RD_KAFKA_RESP_ERR_NO_ERROR && message.pointee.offset == batch
                && message.pointee.err != RD_KAFKA_RESP_ERR__PARTITION_EOF
        }
    }
}
