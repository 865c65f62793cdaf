import CRdKafka
import Foundation
import Kafka
import Logging
import Testing

/// What people and other programs do to a cluster, with Kafka's own protocol.
final class Administration {
    private let handle: OpaquePointer
    private let bootstrap: String
    private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    init(_ cluster: Cluster) throws {
        var text = [CChar](repeating: 0, count: 256)
        let configuration = rd_kafka_conf_new()
        rd_kafka_conf_set(configuration, "bootstrap.servers", cluster.bootstrap, &text, text.count)
        rd_kafka_conf_set(configuration, "log_level", "0", &text, text.count)
        handle = try #require(rd_kafka_new(RD_KAFKA_PRODUCER, configuration, &text, text.count))
        bootstrap = cluster.bootstrap
    }

    deinit { rd_kafka_destroy(handle) }

    /// Sends a request and waits for its answer.
    private func ask(
        _ operation: rd_kafka_admin_op_t, _ send: (OpaquePointer?, OpaquePointer?) -> Void,
        _ answer: (OpaquePointer) throws -> Void = { _ in }
    ) throws {
        let queue = rd_kafka_queue_new(handle)
        defer { rd_kafka_queue_destroy(queue) }
        let options = rd_kafka_AdminOptions_new(handle, operation)
        defer { rd_kafka_AdminOptions_destroy(options) }
        send(options, queue)
        let event = try #require(rd_kafka_queue_poll(queue, 30_000))
        defer { rd_kafka_event_destroy(event) }
        let error = rd_kafka_event_error(event)
        try #require(error == RD_KAFKA_RESP_ERR_NO_ERROR, "\(String(cString: rd_kafka_event_error_string(event)))")
        try answer(event)
    }

    private func partitions(of topic: String) -> Int? {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        guard rd_kafka_metadata(handle, 1, nil, &metadata, 10_000) == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata
        else { return nil }
        defer { rd_kafka_metadata_destroy(metadata) }
        for i in 0..<Int(metadata.pointee.topic_cnt)
        where String(cString: metadata.pointee.topics[i].topic) == topic {
            return Int(metadata.pointee.topics[i].partition_cnt)
        }
        return 0
    }

    /// Deletes a topic and makes one of its name, as somebody does who wants to "empty" it.
    func makeAnew(_ topic: String, partitions count: Int, in cluster: Cluster) async throws {
        var topics = [rd_kafka_DeleteTopic_new(topic)]
        defer { rd_kafka_DeleteTopic_destroy(topics[0]) }
        try ask(RD_KAFKA_ADMIN_OP_DELETETOPICS) { rd_kafka_DeleteTopics(handle, &topics, 1, $0, $1) }
        try await eventually(20, "\(topic) is gone") { partitions(of: topic) == 0 }
        try cluster.createTopics([topic], partitions: count, configuration: ["retention.ms": "-1"])
        try await eventually(20, "\(topic) is there") { partitions(of: topic) == count }
    }

    /// Removes the records before an offset, as retention does.
    func truncate(_ topic: String, _ partition: Int32 = 0, before offset: Int64) throws {
        let list = rd_kafka_topic_partition_list_new(1)
        defer { rd_kafka_topic_partition_list_destroy(list) }
        rd_kafka_topic_partition_list_add(list, topic, partition).pointee.offset = offset
        var records = [rd_kafka_DeleteRecords_new(list)]
        defer { rd_kafka_DeleteRecords_destroy(records[0]) }
        try ask(RD_KAFKA_ADMIN_OP_DELETERECORDS) {
            rd_kafka_DeleteRecords(handle, &records, 1, $0, $1)
        } _: { event in
            let result = rd_kafka_event_DeleteRecords_result(event)
            let offsets = try #require(rd_kafka_DeleteRecords_result_offsets(result))
            try #require(offsets.pointee.elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
        }
    }

    /// Sets all that a topic's configuration has of its own.
    func configure(_ topic: String, _ configuration: [String: String]) throws {
        var resources = [rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic)]
        defer { rd_kafka_ConfigResource_destroy(resources[0]) }
        for (name, value) in configuration { rd_kafka_ConfigResource_set_config(resources[0], name, value) }
        try ask(RD_KAFKA_ADMIN_OP_ALTERCONFIGS) {
            rd_kafka_AlterConfigs(handle, &resources, 1, $0, $1)
        } _: { event in
            var count = 0
            let result = rd_kafka_event_AlterConfigs_result(event)
            let answers = try #require(rd_kafka_AlterConfigs_result_resources(result, &count))
            try #require(rd_kafka_ConfigResource_error(answers[0]) == RD_KAFKA_RESP_ERR_NO_ERROR)
        }
    }

    /// Sends a record that takes little room as a batch and much when it is read.
    func bomb(_ topic: String, bytes: Int) throws {
        let producer = try Producer(
            bootstrap: bootstrap, transactionalId: nil,
            properties: ["compression.codec": "zstd", "message.max.bytes": "\(bytes + 1_000_000)"], logger: quiet)
        let value = [UInt8](repeating: UInt8(ascii: " "), count: bytes)
        try value.withUnsafeBytes { value in
            let none = UnsafeRawBufferPointer(start: nil, count: 0)
            try producer.produce(
                .init(topic: producer.topic(topic), key: none, value: value), partition: 0, timestampMs: Shop.begin)
        }
        try producer.flush()
    }

    /// Calls `body` with what the brokers say of each topic.
    private func forEachTopic(_ body: (String, UnsafeBufferPointer<rd_kafka_metadata_partition>) -> Void) {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        guard rd_kafka_metadata(handle, 1, nil, &metadata, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata
        else { return }
        defer { rd_kafka_metadata_destroy(metadata) }
        for i in 0..<Int(metadata.pointee.topic_cnt) {
            let t = metadata.pointee.topics[i]
            body(
                String(cString: t.topic), UnsafeBufferPointer(start: t.partitions, count: Int(t.partition_cnt)))
        }
    }

    /// The broker that leads a partition; nil when nobody says.
    func leader(_ topic: String, _ partition: Int32) -> Int32? {
        var leader: Int32?
        forEachTopic { name, partitions in
            if name == topic { leader = partitions.first { $0.id == partition }?.leader }
        }
        return leader
    }

    /// The least number of brokers that have all of a partition, over all topics; nil when nobody says.
    func leastInSync() -> Int? {
        var least: Int?
        forEachTopic { _, partitions in
            for p in partitions { least = min(least ?? .max, Int(p.isr_cnt)) }
        }
        return least
    }

    /// The broker that coordinates a group (`__consumer_offsets`) or a transactional id (`__transaction_state`): brokers
    /// find the partition by Java's hash of the name.
    func coordinator(_ topic: String, of name: String) -> Int32? {
        var count: Int32 = 0
        forEachTopic { if $0 == topic { count = Int32($1.count) } }
        let hash = name.utf16.reduce(Int32(0)) { $0 &* 31 &+ Int32($1) }
        return count > 0 ? leader(topic, (hash & Int32.max) % count) : nil
    }

    /// Commits an offset for a group that has no members, as a tool that resets offsets does.
    func reset(_ group: String, _ topic: String, _ partition: Int32 = 0, to offset: Int64, text: String = "")
        async throws
    {
        let consumer = try Consumer(
            bootstrap: bootstrap, groupId: group, instanceId: nil, topics: [topic], batchRecords: 1, properties: [:],
            logger: quiet)
        defer { consumer.close() }
        // Members that left without a word stay until their session ends.
        let place = [TopicPartition(topic, partition): PartitionOffset(offset: offset, metadata: text)]
        try await eventually(30, "group \(group) is empty") { (try? consumer.commit(place)) != nil }
        let committed = try consumer.committed([TopicPartition(topic, partition)]).values.first
        try #require(committed?.offset == offset)
    }

    /// Reads records as a member of a group, and commits them, as a console consumer with the wrong `--group` does.
    func consume(_ group: String, _ topic: String, to end: Int64) async throws {
        let consumer = try Consumer(
            bootstrap: bootstrap, groupId: group, instanceId: nil, topics: [topic], batchRecords: 100,
            properties: ["partition.assignment.strategy": "range"], logger: quiet)
        defer { consumer.close() }
        try consumer.subscribe()
        var next: [TopicPartition: Int64] = [:]
        try await eventually(40, "another consumer has read \(topic)") {
            let poll = consumer.poll(milliseconds: 50)
            for record in poll.records { next[TopicPartition(topic, record.partition)] = record.offset + 1 }
            consumer.release()
            switch poll.rebalance {
            case .assign(let partitions):
                let committed = try consumer.committed(partitions)
                try consumer.assign(
                    Dictionary(uniqueKeysWithValues: partitions.map { ($0, committed[$0] ?? .beginning) }))
            case .revoke(let partitions), .lost(let partitions): try consumer.unassign(partitions)
            case nil: break
            }
            return next.values.reduce(0, +) >= end
        }
        try consumer.commit(next.mapValues { PartitionOffset(offset: $0) })
    }

    /// A producer of another program with an open transaction on a topic.
    func openTransaction(on topic: String, _ records: some Collection<Input>, in cluster: Cluster) throws -> Producer {
        let producer = try Producer(
            bootstrap: bootstrap, transactionalId: "other-\(UUID().uuidString)",
            properties: ["transaction.timeout.ms": "600000"], logger: quiet)
        try producer.initTransactions(milliseconds: 20_000)
        try producer.beginTransaction()
        try cluster.produce(records, to: producer.topic(topic), by: producer)
        return producer
    }
}
