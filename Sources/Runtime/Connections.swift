package import EventInput
import Foundation
package import Kafka
package import Metrics

/// What the loop needs of a member of a consumer group. `Consumer` implements and documents it for a cluster;
/// simulations have their own. Called once for each batch, never for each record.
package protocol RecordSource: AnyObject {
    func subscribe() throws(KafkaError)
    func poll(milliseconds: Int) -> Consumer.Poll
    func release()
    func keepAlive()
    func assign(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError)
    func unassign(_ partitions: [TopicPartition]) throws(KafkaError)
    func pause(_ p: TopicPartition, at offset: Int64)
    func resume(_ p: TopicPartition, at offset: Int64) throws(KafkaError)
    var isAssignmentLost: Bool { get }
    func holderOfName(milliseconds: Int) throws(KafkaError) -> GroupMember?
    func committed(
        _ partitions: [TopicPartition], milliseconds: Int
    ) throws(KafkaError) -> [TopicPartition: PartitionOffset]
    func commit(_ offsets: [TopicPartition: PartitionOffset], milliseconds: Int) throws(KafkaError)
    var sessionTimeoutMs: Int { get }
    func watermarks(_ p: TopicPartition, milliseconds: Int) throws(KafkaError) -> (low: Int64, high: Int64)
    func knownEnd(_ p: TopicPartition) -> Int64?
    func fingerprint(
        from offset: Int64, of p: TopicPartition, milliseconds: Int
    ) throws(KafkaError) -> RecordFingerprint?
    func clusterID(milliseconds: Int) -> String?
    func partitionCounts(_ names: [String], milliseconds: Int) throws(KafkaError) -> [String: Int]
    var lastError: ClientError? { get }
    func skipDestroy()
    func close()
}

/// What the loop needs of a producer, as `Producer` describes it.
package protocol RecordSink: AnyObject {
    func topic(_ name: String) throws(KafkaError) -> Producer.Topic
    func produce(_ records: ArraySlice<Producer.Record>) throws(KafkaError)
    func produce(_ record: Producer.Record, headers: [(name: String, text: String)]) throws(KafkaError)
    func poll()
    func flush(milliseconds: Int) throws(KafkaError)
    func purge()
    func takeFailure() -> KafkaError?
    var maxRecordBytes: Int { get }
    var transactionTimeoutMs: Int { get }
    var lastError: ClientError? { get }
    var fatalError: KafkaError? { get }
    var isForgotten: Bool { get }
    func initTransactions(milliseconds: Int) throws(KafkaError)
    func beginTransaction() throws(KafkaError)
    /// Makes consumed offsets a part of the transaction.
    func send(
        _ offsets: [TopicPartition: PartitionOffset], consumedBy source: any RecordSource, milliseconds: Int
    ) throws(KafkaError)
    func commitTransaction(milliseconds: Int) throws(KafkaError)
    func abortTransaction(milliseconds: Int) throws(KafkaError)
}

/// Time as the loop sees it.
package protocol LoopClock: AnyObject {
    /// Seconds since an arbitrary start, never backwards.
    var now: Double { get }
    /// The wall clock, ms since 1970. It may jump, and goes on while the process is down.
    var wallMs: Int64 { get }
    func sleep(_ seconds: Double)
}

extension RecordSource {
    func commit(_ offsets: [TopicPartition: PartitionOffset]) throws(KafkaError) {
        try commit(offsets, milliseconds: 10_000)
    }

    func partitionCounts(_ names: [String]) throws(KafkaError) -> [String: Int] {
        try partitionCounts(names, milliseconds: 10_000)
    }
}

extension Consumer: RecordSource {}

extension Producer: RecordSink {
    package func send(
        _ offsets: [TopicPartition: PartitionOffset], consumedBy source: any RecordSource, milliseconds: Int
    ) throws(KafkaError) {
        guard let consumer = source as? Consumer else { preconditionFailure("a consumer of another kind of cluster") }
        try send(offsets, of: consumer, milliseconds: milliseconds)
    }
}

/// The system's time.
package final class SystemClock: LoopClock {
    package init() {}
    package var now: Double { monotonic() }
    package var wallMs: Int64 {
        var t = timespec()
        clock_gettime(CLOCK_REALTIME, &t)
        return Int64(t.tv_sec) * 1000 + Int64(t.tv_nsec) / 1_000_000
    }
    package func sleep(_ seconds: Double) { usleep(useconds_t(seconds * 1_000_000)) }
}

/// What a pipeline is connected to.
package struct Connections {
    package var source: any RecordSource
    package var sink: any RecordSink
    package var clock: any LoopClock
    package var metrics: any MetricsFactory
    /// Where the schemas of records are, if they need any.
    package var schemas: (any SchemaSource)?

    package init(
        source: any RecordSource, sink: any RecordSink, clock: any LoopClock,
        metrics: any MetricsFactory = MetricsSystem.factory, schemas: (any SchemaSource)? = nil
    ) {
        self.schemas = schemas
        self.source = source
        self.sink = sink
        self.clock = clock
        self.metrics = metrics
    }
}
