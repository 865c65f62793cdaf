import Glibc
import Kafka
import Logging
import Settings

/// Brings a publication and the offsets it came from to Kafka: in one transaction, or outputs first and offsets after.
final class Committer {
    private let producer: Producer
    private let consumer: Consumer
    private let deadLetters: Producer.Topic
    private let isTransactional: Bool
    private let logger: Logger
    let publication: Publication
    /// How much of the publication the producer has.
    private var handedRecords = 0
    private var handedDeadLetters = 0
    private var isOpen = false
    /// An error that a new transaction may mend; met at the commit.
    private var broken: KafkaError?

    private static let attempts = 10
    private static let timeoutMs = 60_000

    init(_ settings: Settings, producer: Producer, consumer: Consumer, logger: Logger) throws(KafkaError) {
        self.producer = producer
        self.consumer = consumer
        self.logger = logger
        isTransactional = settings.delivery == .exactlyOnce
        deadLetters = try producer.topic(settings.output.deadLetterTopic)
        publication = Publication(
            updates: try producer.topic(settings.output.updatesTopic),
            alerts: try producer.topic(settings.output.alertsTopic))
    }

    deinit {
        // The records on their way point into the publication.
        producer.purge()
    }

    /// Hands over what has been added to the publication, so that it is on its way before the commit.
    func flow() throws(KafkaError) {
        guard broken == nil, !publication.isEmpty else { return producer.poll() }
        do {
            try handOver()
        } catch {
            try note(error)
        }
    }

    private func handOver() throws(KafkaError) {
        if isTransactional && !isOpen {
            try producer.beginTransaction()
            isOpen = true
        }
        if handedRecords < publication.records.count {
            try producer.produce(publication.records[handedRecords...])
            handedRecords = publication.records.count
        }
        while handedDeadLetters < publication.deadLetters.count {
            let letter = publication.deadLetters[handedDeadLetters]
            try producer.produce(
                Producer.Record(topic: deadLetters, key: letter.key, value: letter.value), headers: letter.headers)
            handedDeadLetters += 1
        }
    }

    /// Publishes everything and commits the offsets; the publication is empty afterwards.
    func commit(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        if isTransactional { try commitTransaction(offsets) } else { try commitPlain(offsets) }
        publication.removeAll()
        handedRecords = 0
        handedDeadLetters = 0
    }

    private func commitPlain(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        try handOver()
        try producer.flush(milliseconds: Self.timeoutMs)
        if !offsets.isEmpty { try consumer.commit(offsets) }
    }

    private func commitTransaction(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        for attempt in 1...Self.attempts {
            do throws(KafkaError) {
                if let error = broken { throw error }
                try handOver()
                if !isOpen {
                    try producer.beginTransaction()
                    isOpen = true
                }
                try patiently { () throws(KafkaError) in
                    try producer.send(offsets, of: consumer, milliseconds: Self.timeoutMs)
                }
                try patiently { () throws(KafkaError) in
                    try producer.commitTransaction(milliseconds: Self.timeoutMs)
                }
                isOpen = false
                return
            } catch {
                try note(error)
                guard attempt < Self.attempts else { throw error }
                logger.warning(
                    "a transaction is made again", metadata: ["error": "\(error)", "attempt": "\(attempt)"])
                try abort()
                usleep(useconds_t(min(2_000, 20 << attempt)) * 1000)
            }
        }
    }

    /// Calls again what may be called again.
    private func patiently(_ body: () throws(KafkaError) -> Void) throws(KafkaError) {
        for _ in 1..<Self.attempts {
            do {
                return try body()
            } catch {
                guard error.isRetriable, !error.requiresAbort else { throw error }
                logger.warning("Kafka answers slowly", metadata: ["error": "\(error)"])
            }
        }
        try body()
    }

    /// Keeps an error for the commit to mend, unless nothing can: the producer is done for, or the group has moved on
    /// and the partitions may be another's.
    private func note(_ error: KafkaError) throws(KafkaError) {
        if let fatal = producer.fatalError { throw fatal }
        if error.isFatal || error.isFenced || error.isOfGroup || !isTransactional { throw error }
        broken = error
    }

    /// Gives the open transaction up; the publication stays, to be handed over anew.
    private func abort() throws(KafkaError) {
        if isOpen {
            try patiently { () throws(KafkaError) in
                try producer.abortTransaction(milliseconds: Self.timeoutMs)
            }
        }
        isOpen = false
        broken = nil
        handedRecords = 0
        handedDeadLetters = 0
    }

    /// Gives up what is open, before the process or the pipeline goes.
    func leave() {
        if isOpen { try? producer.abortTransaction(milliseconds: 5_000) }
        isOpen = false
        producer.purge()
    }
}
