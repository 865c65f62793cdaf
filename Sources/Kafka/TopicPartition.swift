import CRdKafka

/// A partition of a topic.
public struct TopicPartition: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let topic: String
    public let partition: Int32

    public init(_ topic: String, _ partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public static func < (a: TopicPartition, b: TopicPartition) -> Bool {
        a.topic != b.topic ? a.topic < b.topic : a.partition < b.partition
    }

    public var description: String { "\(topic)[\(partition)]" }
}

/// A position in a partition.
public struct PartitionOffset: Sendable, Equatable {
    /// Offset of the next record.
    public var offset: Int64
    /// What was committed along with it.
    public var metadata: String

    public init(offset: Int64, metadata: String = "") {
        self.offset = offset
        self.metadata = metadata
    }

    /// Where the log begins.
    public static let beginning = PartitionOffset(offset: Int64(RD_KAFKA_OFFSET_BEGINNING))  // for tests
}

/// `rd_kafka_topic_partition_list_t`s for the duration of a call.
enum PartitionList {
    typealias Pointer = UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

    static func with<T>(
        _ partitions: some Sequence<TopicPartition>, _ body: (Pointer) throws(KafkaError) -> T
    ) throws(KafkaError) -> T {
        let list = rd_kafka_topic_partition_list_new(8)!
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for p in partitions { rd_kafka_topic_partition_list_add(list, p.topic, p.partition) }
        return try body(list)
    }

    static func with<T>(
        _ offsets: [TopicPartition: PartitionOffset], _ body: (Pointer) throws(KafkaError) -> T
    ) throws(KafkaError) -> T {
        let list = rd_kafka_topic_partition_list_new(Int32(offsets.count))!
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for (p, offset) in offsets.sorted(by: { $0.key < $1.key }) {
            let entry = rd_kafka_topic_partition_list_add(list, p.topic, p.partition)!
            entry.pointee.offset = offset.offset
            // Freed with the list, by librdkafka: it has to come from the C heap.
            let bytes = Array(offset.metadata.utf8)
            guard !bytes.isEmpty, let memory = rd_kafka_mem_malloc(nil, bytes.count) else { continue }
            memory.copyMemory(from: bytes, byteCount: bytes.count)
            entry.pointee.metadata = memory
            entry.pointee.metadata_size = bytes.count
        }
        return try body(list)
    }

    static func read(_ list: Pointer) -> [TopicPartition] {
        (0..<Int(list.pointee.cnt)).map {
            let e = list.pointee.elems[$0]
            return TopicPartition(String(cString: e.topic), e.partition)
        }
    }
}
