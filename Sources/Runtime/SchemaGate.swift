import CEventParser
internal import Engine
internal import EventInput
internal import Kafka

/// A partition that waits for the schema of its next record.
struct SchemaWait {
    let missing: SchemaUnavailable
    /// The first record that needs it.
    let offset: Int64
    /// By the loop's clock, s, and by the wall's, ms since 1970.
    let since: Double
    let sinceWallMs: Int64
}

/// Lets records through whose schemas are at hand. The partition of another one waits from that record on, without
/// being read; the others go on. Records of a schema that cannot be had are not bad, and the next ones would be of the
/// same schema.
final class SchemaGate {
    private let context: LoopContext
    private let table: PartitionTable
    private let decoder: EventDecoder
    private let schemas: (any SchemaSource)?
    private let skips: SkippedOffsets
    private var retryAt = 0.0

    /// Seconds between two tries, and how many times longer than a try they are at least: a registry that does not answer
    /// takes seconds, in which nothing else is done.
    private static let retrySeconds = 2.0
    private static let retryShare = 5.0

    init(
        _ context: LoopContext, _ table: PartitionTable, _ decoder: EventDecoder, _ schemas: (any SchemaSource)?,
        _ skips: SkippedOffsets
    ) {
        (self.context, self.table, self.decoder) = (context, table, decoder)
        (self.schemas, self.skips) = (schemas, skips)
    }

    /// Gets the schemas of records, and has the partitions wait whose schemas are missing.
    /// - Returns: `records` without those that wait; valid until the next call of the table.
    func admit(_ records: UnsafeBufferPointer<clvd_record>) -> UnsafeBufferPointer<clvd_record> {
        let missing = decoder.missingSchemas(of: records, schemas: schemas)
        guard !missing.isEmpty else { return records }
        for (index, error) in missing {
            let record = records[index]
            let id = TaskID(topic: record.topic, partition: record.partition)
            guard let p = table.partitions[id], p.schema == nil, !skips.contains(record.offset, of: p.name) else {
                continue
            }
            let wait = SchemaWait(
                missing: error, offset: record.offset, since: context.clock.now, sinceWallMs: context.clock.wallMs)
            table.partitions[id]?.schema = wait
            context.consumer.pause(p.name, at: record.offset)
            context.reporter.waits(p.name, wait)
            if retryAt <= context.clock.now { retryAt = context.clock.now + Self.retrySeconds }
        }
        return table.withoutWaiting(records)
    }

    /// Asks for missing schemas again, and has partitions go on that have got theirs. To be called every turn.
    func retry() {
        let began = context.clock.now
        guard began >= retryAt else { return }
        let waiting = table.partitions.filter { $0.value.schema != nil }
            .sorted { ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition) }
        guard !waiting.isEmpty else { return }
        var answers: [UInt32: SchemaUnavailable?] = [:]
        var isSilent = false
        for (id, p) in waiting {
            guard let wait = p.schema else { continue }
            let schema = wait.missing.id
            if answers[schema] == nil, !isSilent {
                do throws(SchemaUnavailable) {
                    try decoder.prepare(schema: schema, schemas: schemas)
                    answers[schema] = .some(nil)
                } catch {
                    answers[schema] = error
                    isSilent = error.isOfSource
                }
            }
            if let answer = answers[schema], answer == nil {
                goOn(id, p.name, wait)
            } else {
                note(id, p.name, wait, answers[schema] ?? nil)
            }
        }
        let now = context.clock.now
        retryAt = now + max(Self.retrySeconds, Self.retryShare * (now - began))
    }

    private func note(_ id: TaskID, _ name: TopicPartition, _ wait: SchemaWait, _ error: SchemaUnavailable?) {
        let wait = SchemaWait(
            missing: error ?? wait.missing, offset: wait.offset, since: wait.since, sinceWallMs: wait.sinceWallMs)
        table.partitions[id]?.schema = wait
        context.reporter.waits(name, wait)
    }

    private func goOn(_ id: TaskID, _ name: TopicPartition, _ wait: SchemaWait) {
        do throws(KafkaError) {
            try context.consumer.resume(name, at: wait.offset)
        } catch {
            context.reporter.trouble(.consume, error)
            return
        }
        table.partitions[id]?.schema = nil
        context.reporter.waitEnded(name, wait)
    }
}
