internal import Engine
internal import Kafka
internal import Logging

/// Watches for records that are in the log but are not delivered, because a producer has a transaction open before them:
/// readers of committed records get nothing that comes after its first record until it ends.
struct OpenTransactionWatch {
    private struct Wait {
        /// Where committed records end.
        let end: Int64
        let since: Double
        var isTold = false
    }

    private let context: LoopContext
    private let table: PartitionTable
    private var waits: [TaskID: Wait] = [:]
    private var lookedAt = 0.0

    /// Seconds between two looks, and until the broker is asked and it is told.
    private static let lookSeconds = 5.0
    private static let patienceSeconds = 60.0

    init(_ context: LoopContext, _ table: PartitionTable) {
        (self.context, self.table) = (context, table)
    }

    /// To be called every turn. Costs nothing while no records wait; a broker is asked once for each partition and wait.
    mutating func look() {
        let now = context.clock.now
        guard now - lookedAt >= Self.lookSeconds else { return }
        lookedAt = now
        let waiting = table.partitions.filter { isBehindTransaction($0.key, $0.value) }
        for (id, wait) in waits where waiting[id]?.end != wait.end {
            if wait.isTold { tellEnd(id, wait, at: now) }
            waits[id] = nil
        }
        for (id, p) in waiting {
            let wait = waits[id] ?? Wait(end: p.end!, since: now)
            waits[id] = wait
            guard !wait.isTold, now - wait.since >= Self.patienceSeconds else { continue }
            confirm(id, p, wait, at: now)
        }
        let longest = waits.values.filter(\.isTold).map { now - $0.since }.max()
        context.reporter.waitingBehindTransaction(seconds: longest ?? 0)
    }

    /// Whether all committed records were taken in and the log goes on beyond them, as the last fetch saw it.
    private func isBehindTransaction(_ id: TaskID, _ p: HeldPartition) -> Bool {
        guard let end = p.end, let next = context.engine.nextOffset(id), next <= end else { return false }
        return context.consumer.knownEnd(p.name) ?? end > end
    }

    private mutating func confirm(_ id: TaskID, _ p: HeldPartition, _ wait: Wait, at now: Double) {
        // Of a consumer of committed records, the broker says where these end.
        guard let committed = try? context.consumer.watermarks(p.name, milliseconds: 2_000).high, committed <= wait.end
        else {
            waits[id] = nil
            return
        }
        waits[id]?.isTold = true
        let records = (context.consumer.knownEnd(p.name) ?? wait.end) - wait.end
        context.logger.warning(
            """
            records wait behind an open transaction of another producer. It ends at its transaction.timeout.ms; if it \
            does not, find it by kafka-transactions.sh find-hanging --topic \(p.name.topic) --partition \
            \(p.name.partition) and end it by kafka-transactions.sh abort
            """,
            metadata: [
                "partition": "\(p.name)", "offset": "\(wait.end)", "records": "\(records)",
                "seconds": "\(Int(now - wait.since))",
            ])
    }

    private func tellEnd(_ id: TaskID, _ wait: Wait, at now: Double) {
        guard let p = table.partitions[id] else { return }
        context.logger.notice(
            "the open transaction of another producer has ended, its partition goes on",
            metadata: [
                "partition": "\(p.name)", "offset": "\(wait.end)", "seconds": "\(Int(now - wait.since))",
            ])
    }
}
