import CEventParser
import Kafka

/// How far the outputs of input partitions go, from the output topics alone.
public enum PublishedOffsets {
    /// The last input record of each partition that has an output: an update, the tombstone of an erased user or a dead
    /// letter. Partitions that no output names are absent.
    /// - Parameters:
    ///   - areRouted: the outputs are those of a first stage.
    ///   - patience: how long brokers may say nothing, seconds.
    ///   - progress: how many records of how many were read.
    /// - Throws: `VerificationError`, `KafkaError`.
    public static func read(
        _ cluster: Verification.Cluster, updates: String, deadLetters: String, areRouted: Bool = false,
        patience: Double = 30, transactionPatience: Double = 90,
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws -> [TopicPartition: Int64] {
        let topics = updates == deadLetters ? [updates] : [updates, deadLetters]
        let log = try TopicReader(cluster, topics: topics, patience: patience, seesAll: true).offsets()
        let total = log.values.reduce(0) { $0 + Int64($1.count) }
        var (done, last): (Int64, [TopicPartition: Int64]) = (0, [:])
        try TopicReader(cluster, topics: topics, patience: patience).read(
            log, transactionPatience: transactionPatience
        ) { records in
            for r in records {
                let isUpdate = topics[Int(r.topic)] == updates
                let source =
                    areRouted
                    ? OutputSource(routed: r, isDeadLetter: !isUpdate)
                    : isUpdate ? OutputSource(update: r) : OutputSource(deadLetter: r)
                guard let source else { continue }
                let p = TopicPartition(source.topic, source.partition)
                last[p] = max(last[p] ?? 0, source.offset)
            }
            done += Int64(records.count)
            progress(min(done, total), total)
        }
        return last
    }
}
