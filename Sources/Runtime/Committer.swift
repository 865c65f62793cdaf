internal import Kafka
internal import Logging
internal import Settings

/// Brings a publication and the offsets it came from to Kafka: in one transaction, or outputs first and offsets after.
final class Committer {
    private let producer: any RecordSink
    private let consumer: any RecordSource
    private let clock: any LoopClock
    private let deadLetters: Producer.Topic
    private let isTransactional: Bool
    private let logger: Logger
    let publication: Publication
    /// How much of the publication was given to the producer.
    private var producedRecords = 0
    private var producedDeadLetters = 0
    private var isOpen = false
    /// When the transaction was begun.
    private var openedAt = 0.0
    /// An error after which the transaction must be made again, at the commit.
    private var broken: KafkaError?
    /// Most bytes of key and value of a dead letter: what the client sends, less than that once a broker refused it.
    private var deadLetterBytes: Int
    private let isStopping: () -> Bool

    private static let attempts = 10
    private static let callMs = 10_000
    /// How long a cluster that does not answer is waited for; a shorter time when the process is to end.
    private static let patienceSeconds = 600.0
    private static let lastPatienceSeconds = 20.0
    /// How long an abort may take. A coordinator that does not end a transaction within this will do so for the next
    /// producer of the id, or when the transaction has run out of time.
    private static let abortSeconds = 60.0
    /// Room for headers, of which the explanation is the longest.
    private static let headerBytes = 4096

    /// - Parameter isStopping: whether the daemon was asked to leave.
    init(
        _ settings: Settings, producer: any RecordSink, consumer: any RecordSource, clock: any LoopClock,
        logger: Logger, isStopping: @escaping () -> Bool
    ) throws(KafkaError) {
        self.producer = producer
        self.consumer = consumer
        self.clock = clock
        self.logger = logger
        self.isStopping = isStopping
        deadLetterBytes = max(0, producer.maxRecordBytes - Self.headerBytes)
        isTransactional = settings.delivery == .exactlyOnce
        deadLetters = try producer.topic(settings.output.deadLetterTopic)
        publication = Publication(
            updates: try producer.topic(settings.output.updatesTopic),
            alerts: try producer.topic(settings.output.alertsTopic),
            events: try settings.input.topics == [settings.input.eventsTopic]
                ? producer.topic(settings.input.eventsTopic) : nil)
    }

    deinit {
        // The records on their way point into the publication.
        producer.purge()
    }

    /// Produces what has been added to the publication, so that it is on its way before the commit.
    func produceAvailable() throws {
        guard broken == nil, !publication.isEmpty else { return producer.poll() }
        do {
            try produceRest()
        } catch {
            try note(error)
        }
    }

    private func produceRest() throws(KafkaError) {
        try open()
        if producedRecords < publication.records.count {
            try producer.produce(publication.records[producedRecords...])
            producedRecords = publication.records.count
        }
        while producedDeadLetters < publication.deadLetters.count {
            let letter = publication.deadLetters[producedDeadLetters].fitting(deadLetterBytes)
            try producer.produce(
                Producer.Record(topic: deadLetters, key: letter.key, value: letter.value), headers: letter.headers)
            producedDeadLetters += 1
        }
    }

    private func open() throws(KafkaError) {
        guard isTransactional && !isOpen else { return }
        try producer.beginTransaction()
        isOpen = true
        openedAt = clock.now
    }

    /// After a failure: cuts dead letters to a smaller size if one was too large. One large record must not stop the
    /// stream.
    /// - Returns: whether it is worth another try.
    /// - Throws: the refusal of another topic, of whose records nothing can be cut.
    private func shrinkDeadLetters(_ error: KafkaError) throws(KafkaError) -> Bool {
        let cause = failure(behind: error)
        guard error.isTooLarge || cause.isTooLarge else { return false }
        if let topic = cause.refusal?.topic, topic != deadLetters.name { throw cause }
        guard deadLetterBytes > 0, !publication.deadLetters.isEmpty else { return false }
        deadLetterBytes = min(deadLetterBytes, cause.refusal?.bytes ?? deadLetterBytes)
        deadLetterBytes = deadLetterBytes > 1024 ? deadLetterBytes / 2 : 0
        producedDeadLetters = 0
        logger.warning(
            "a dead letter is too large for its topic; raise the topic's max.message.bytes to keep such whole",
            metadata: [
                "topic": "\(deadLetters.name)", "bytes": "\(cause.refusal?.bytes ?? 0)",
                "bytes_kept": "\(deadLetterBytes)",
            ])
        return true
    }

    /// The failed delivery that an error comes from, which names the topic. Its report may still be on its way.
    private func failure(behind error: KafkaError) -> KafkaError {
        if let failure = producer.takeFailure() { return failure }
        guard error.isTooLarge, error.refusal == nil else { return error }
        for _ in 0..<20 {
            producer.poll()
            if let failure = producer.takeFailure() { return failure }
            clock.sleep(0.05)
        }
        return error
    }

    /// Publishes everything and commits the offsets; empties the publication.
    /// - Throws: `KafkaError`; after one that `isOfGroup` the publication is as it was, to be committed later.
    func commit(_ offsets: [TopicPartition: PartitionOffset]) throws {
        if isTransactional { try commitTransaction(offsets) } else { try commitPlain(offsets) }
        publication.removeAll()
        producedRecords = 0
        producedDeadLetters = 0
    }

    private func commitPlain(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        while true {
            do throws(KafkaError) {
                try produceRest()
                try retryPassing { () throws(KafkaError) in try producer.flush(milliseconds: Self.callMs) }
                break
            } catch {
                guard try shrinkDeadLetters(error) else { throw error }
            }
        }
        guard !offsets.isEmpty else { return }
        try retryPassing { () throws(KafkaError) in try consumer.commit(offsets) }
    }

    private func commitTransaction(_ offsets: [TopicPartition: PartitionOffset]) throws {
        for attempt in 1...Self.attempts {
            do throws(KafkaError) {
                if let error = broken { throw error }
                try open()
                try produceRest()
                try retryPassing { () throws(KafkaError) in
                    try producer.send(offsets, consumedBy: consumer, milliseconds: Self.callMs)
                }
                try retryPassing { () throws(KafkaError) in
                    try producer.commitTransaction(milliseconds: Self.callMs)
                }
                isOpen = false
                return
            } catch {
                try note(error)
                if error.isOfGroup {
                    try abort()
                    throw error
                }
                guard attempt < Self.attempts, !isStopping() || attempt < 3 else { throw error }
                logger.warning(
                    "a transaction is made again", metadata: ["error": "\(error)", "attempt": "\(attempt)"])
                try abort()
                clock.sleep(Double(min(2_000, 20 << attempt)) / 1000)
            }
        }
    }

    /// Calls `body` again while it fails with errors that may pass.
    /// - Parameter limit: seconds after which that is given up.
    private func retryPassing(
        limit: Double = patienceSeconds, _ body: () throws(KafkaError) -> Void
    ) throws(KafkaError) {
        let began = clock.now
        while true {
            do {
                return try body()
            } catch {
                let patience = min(limit, isStopping() ? Self.lastPatienceSeconds : Self.patienceSeconds)
                guard error.isPassing, !consumer.isAssignmentLost, !error.isUnsupported, !error.isFatal,
                    !error.requiresAbort, clock.now - began < patience
                else {
                    throw error
                }
                logger.warning(
                    "Kafka answers slowly",
                    metadata: [
                        "error": "\(error)", "seconds": "\(Int(clock.now - began))",
                        "broker": "\(producer.lastError?.text ?? "-")",
                    ])
                clock.sleep(0.2)
            }
        }
    }

    /// Keeps an error for the commit, which makes the transaction anew; throws one that this cannot mend.
    private func note(_ error: KafkaError) throws {
        if let fatal = producer.fatalError { throw cause(of: fatal) }
        if isTransactional, producer.isForgotten { throw ProducerForgotten(cause: error) }
        if try shrinkDeadLetters(error), !isTransactional { return }
        if error.isFatal || error.isFenced || error.isUnsupported || !isTransactional { throw error }
        broken = error
    }

    /// What is behind a fatal error of the producer: brokers fence producers for other reasons than another instance too.
    private func cause(of fatal: KafkaError) -> any Error {
        guard fatal.isFenced else { return fatal }
        if producer.isForgotten { return ProducerForgotten(cause: fatal) }
        return mayHaveExpired ? TransactionExpired(cause: fatal) : fatal
    }

    /// Aborts the open transaction; the publication stays, to be produced anew.
    private func abort() throws {
        if isOpen {
            let began = clock.now
            do {
                try retryPassing(limit: Self.abortSeconds) { () throws(KafkaError) in
                    try producer.abortTransaction(milliseconds: Self.callMs)
                }
            } catch {
                if let fatal = producer.fatalError { throw cause(of: fatal) }
                throw error.adding(
                    "given up after \(Int(clock.now - began)) s, a new producer goes on; latest error of the client: "
                        + (producer.lastError?.text ?? "none"))
            }
        }
        isOpen = false
        broken = nil
        producedRecords = 0
        producedDeadLetters = 0
        // The failures of records that were thrown away.
        _ = producer.takeFailure()
    }

    /// Aborts the open transaction and throws away records on their way, before the process or the pipeline goes.
    /// - Returns: the error that says so, when it turns out that another instance has taken over.
    func discard() -> KafkaError? {
        var replaced: KafkaError?
        if isOpen {
            let isAborted = (try? producer.abortTransaction(milliseconds: 5_000)) != nil
            if let fatal = producer.fatalError, let error = cause(of: fatal) as? KafkaError, error.isFenced {
                replaced = error
            }
            isOpen = !isAborted
        }
        producer.purge()
        return replaced
    }

    /// What the transaction coordinator says of this producer.
    enum Standing {
        /// Another instance has taken over.
        case replaced(KafkaError)
        /// Nobody has: a new producer of this name fences nobody.
        case alone
        /// It has not answered.
        case unanswered
        /// It cannot tell: there are no transactions, or it has fenced this producer for another reason.
        case unknown
    }

    /// Asks whether another instance has taken over, by a transaction that is aborted: an idle producer would not hear
    /// of it. Asking fences nobody.
    /// - Parameter offsets: of any partition.
    func askWhetherReplaced(_ offsets: [TopicPartition: PartitionOffset]) -> Standing {
        guard isTransactional, producer.fatalError == nil, !producer.isForgotten else { return .unknown }
        var isAnswered = true
        do {
            try open()
            try producer.send(offsets, consumedBy: consumer, milliseconds: 2_000)
        } catch {
            // The transaction coordinator is asked first; the group may have expelled this member.
            isAnswered = error.isOfGroup || error.isFencedMember
        }
        if let replaced = discard() { return .replaced(replaced) }
        if producer.fatalError != nil || producer.isForgotten { return .unknown }
        return isAnswered ? .alone : .unanswered
    }

    /// Whether the open transaction may have timed out: a broker then fences its producer as if another instance had
    /// taken over.
    private var mayHaveExpired: Bool {
        isOpen && clock.now - openedAt > Double(producer.transactionTimeoutMs) / 1000 * 0.9
    }
}

/// The broker aborted a transaction that was open for longer than it allows, and fenced the producer: the process was
/// paused, or the cluster was away. A new life may go on.
struct TransactionExpired: Error, CustomStringConvertible {
    let cause: KafkaError
    var description: String { "a transaction was open for longer than transaction.timeout.ms: \(cause)" }
}

/// The broker no longer knows the producer: its transactional id was not used for as long as the broker keeps it, or the
/// broker has lost its log. A new life gets a new one.
struct ProducerForgotten: Error, CustomStringConvertible {
    let cause: KafkaError
    var description: String {
        "the broker has forgotten this producer (idle for longer than transactional.id.expiration.ms): \(cause)"
    }
}

extension Publication.DeadLetter {
    /// The letter, cut to a number of bytes when it is longer; a header says what it was.
    func fitting(_ most: Int) -> Publication.DeadLetter {
        guard key.count + (value?.count ?? 0) > most else { return self }
        var cut = self
        if key.count > most / 2 { cut.key = UnsafeRawBufferPointer(rebasing: key.prefix(most / 2)) }
        cut.value = value.map { UnsafeRawBufferPointer(rebasing: $0.prefix(most - cut.key.count)) }
        cut.headers.append(("clvd.cut.from", "key \(key.count) bytes, value \(value?.count ?? 0) bytes"))
        return cut
    }
}
