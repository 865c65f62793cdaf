internal import Engine
internal import Kafka
internal import Settings

/// Notices when the log of a held partition becomes another one: a topic can be deleted and made anew while it is read,
/// and the client reads on in the new one. Looks now and then whether a record that was taken in is still where it was;
/// at once after anything that hides or shows such a change. Nothing is done for each record.
final class LogWatch {
    private let context: LoopContext
    private let table: PartitionTable
    /// When the latest turn began, when the next regular look and the next look at the ends are due, s.
    private var turnedAt: Double
    private var lookAt = 0.0
    private var endsAt = 0.0
    /// Something has happened that a change may be behind: all partitions are looked at before anything is committed.
    private var isSuspect = false

    /// Seconds without a turn in which a topic may have been deleted, made anew and filled. A turn takes far less.
    private static let standstillSeconds = 5.0
    /// Seconds in which each partition is looked at once.
    private static let intervalSeconds = 30.0
    /// Longest wait of a regular look, and of one that has to succeed, ms.
    private static let milliseconds = (regular: 1_000, needed: 10_000)
    /// Seconds for which brokers may say nothing when a look has to succeed.
    private static let patienceSeconds = 30.0
    /// Seconds after which a log that ends before the state is not a broker's that has just begun to lead it.
    private static let settleSeconds = 10.0

    init(_ context: LoopContext, _ table: PartitionTable) {
        self.context = context
        self.table = table
        turnedAt = context.clock.now
    }

    /// To be called in each turn before its records are taken in. After a standstill nothing is before the logs were
    /// looked at.
    func beginTurn() throws {
        let now = context.clock.now
        if now - turnedAt > Self.standstillSeconds { isSuspect = true }
        try confirm()
        turnedAt = context.clock.now
    }

    /// Notes an error of the consumer.
    func note(_ error: KafkaError) { if error.isOfMissingTopic || error.isOfLeader { isSuspect = true } }

    /// Looks at all partitions if a change is suspected.
    /// - Throws: `RecoveryError` when one is another log; `KafkaError` when the brokers say nothing.
    func confirm() throws {
        guard isSuspect else { return }
        for id in table.partitions.keys.sorted() { try lookPatiently(id) }
        isSuspect = false
    }

    /// Regular looks, one a turn at most, which cost nothing when a broker does not answer.
    func lookIfDue() throws {
        let now = context.clock.now
        compareEnds(at: now)
        guard now >= lookAt, let (id, p) = table.partitions.min(by: { $0.value.log.lookedAt < $1.value.log.lookedAt })
        else { return }
        lookAt = now + Self.intervalSeconds / Double(table.partitions.count)
        guard now - p.log.lookedAt >= Self.intervalSeconds else { return }
        do {
            if try look(id, milliseconds: Self.milliseconds.regular) != nil { isSuspect = true }
        } catch let error as KafkaError {
            lookAt = now + Self.intervalSeconds
            context.reporter.trouble(.consume, error)
        }
    }

    /// A log whose end goes backwards, or lies before the state, may have been made anew.
    private func compareEnds(at now: Double) {
        guard now >= endsAt else { return }
        endsAt = now + 1
        for (id, p) in table.partitions {
            guard let end = context.consumer.knownEnd(p.name), end != p.log.knownEnd else { continue }
            if end < p.log.knownEnd ?? context.engine.nextOffset(id) ?? 0 { isSuspect = true }
            table.partitions[id]?.log.knownEnd = end
        }
    }

    /// Looks at a partition until the brokers have answered.
    private func lookPatiently(_ id: TaskID) throws {
        let clock = context.clock
        let began = clock.now
        while true {
            do {
                guard let end = try look(id, milliseconds: Self.milliseconds.needed) else { return }
                if clock.now - began > Self.settleSeconds { throw consented(end) }
            } catch let error as KafkaError {
                // The client would wait for ever for what is not there.
                if error.isOfMissingTopic { context.consumer.skipDestroy() }
                guard error.isPassing, clock.now - began < Self.patienceSeconds else { throw error }
            }
            clock.sleep(0.5)
        }
    }

    /// Looks once.
    /// - Returns: the error that says that the log ends before the state, which may pass; nil: it is the same one.
    private func look(_ id: TaskID, milliseconds: Int) throws -> RecoveryError? {
        guard let p = table.partitions[id] else { return nil }
        let consumer = context.consumer
        let fate = try consumer.fate(
            of: p.log.anchor, in: p.name, isCompacted: context.acceptsCompacted, milliseconds: milliseconds)
        switch fate {
        case .same, .unknown:
            table.partitions[id]?.log.confirm(at: context.clock.now)
            return nil
        case .ended(let high):
            let next = context.engine.nextOffset(id) ?? 0
            return .otherLog(p.name, "the state", next, high: high, isRead: true)
        case .other(let was, let now):
            throw consented(.otherRecord(p.name, was: was, now: now, isRead: true))
        }
    }

    /// With the operator's consent a new life goes on where the new log begins.
    private func consented(_ error: RecoveryError) -> any Error {
        context.settings.snapshots.acceptGap ? KafkaError.otherLog(error.description) : error
    }
}
