internal import Kafka

/// What a log has where a record was that the state has taken in.
enum RecordFate: Equatable, Sendable {
    /// The record.
    case same
    /// The log no longer reaches back to it, or nothing is known of it.
    case unknown
    /// The log ends before it, at this offset.
    case ended(Int64)
    /// Another record, or none (nil) although the log reaches back to it: this is another log.
    case other(was: RecordFingerprint, now: RecordFingerprint?)
}

extension RecordSource {
    /// Looks for a record where it was.
    /// - Parameter isCompacted: records may vanish from the middle of the log.
    /// - Throws: `KafkaError` when the brokers do not say, which is no evidence of anything.
    func fate(
        of record: RecordFingerprint?, in p: TopicPartition, isCompacted: Bool, milliseconds: Int
    ) throws(KafkaError) -> RecordFate {
        guard let record else { return .unknown }
        var found: RecordFingerprint?
        do throws(KafkaError) {
            found = try fingerprint(from: record.offset, of: p, milliseconds: milliseconds)
        } catch {
            guard error.isOutOfRange else { throw error }
        }
        if let found, found.offset == record.offset {
            return found == record ? .same : .other(was: record, now: found)
        }
        // Asked afterwards: retention may have removed it meanwhile.
        let log = try watermarks(p, milliseconds: milliseconds)
        if log.high <= record.offset { return .ended(log.high) }
        return isCompacted || log.low > record.offset ? .unknown : .other(was: record, now: nil)
    }
}
