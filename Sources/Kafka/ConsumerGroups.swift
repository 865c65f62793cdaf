import CRdKafka

/// A member of a consumer group.
public struct GroupMember: Sendable, Equatable, CustomStringConvertible {
    /// The coordinator's name for it.
    public let id: String
    /// Its `group.instance.id`; nil: it is no static member.
    public let instance: String?
    /// Address, as the coordinator saw it.
    public let host: String

    public var description: String { "\(instance ?? id) at \(host.drop { $0 == "/" })" }
}

extension Admin {
    /// Those who are in a group now. A static member that has ended stays until its session is over.
    /// - Throws: `KafkaError`, `isUnsupported` where the brokers cannot say.
    public func members(ofGroup name: String, milliseconds: Int = 10_000) throws(KafkaError) -> [GroupMember] {
        let operation = "ask for the members of group \(name)"
        let handle = client.handle
        let queue = rd_kafka_queue_new(handle)
        defer { rd_kafka_queue_destroy(queue) }
        let options = rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS)
        defer { rd_kafka_AdminOptions_destroy(options) }
        rd_kafka_AdminOptions_set_request_timeout(options, Int32(milliseconds), nil, 0)
        name.withCString {
            var names: UnsafePointer<CChar>? = $0
            rd_kafka_DescribeConsumerGroups(handle, &names, 1, options, queue)
        }
        guard let event = rd_kafka_queue_poll(queue, Int32(milliseconds) + 5000) else {
            throw KafkaError(operation, RD_KAFKA_RESP_ERR__TIMED_OUT)
        }
        defer { rd_kafka_event_destroy(event) }
        let error = rd_kafka_event_error(event)
        if error != RD_KAFKA_RESP_ERR_NO_ERROR {
            // After a request that the brokers do not know, librdkafka 2.0.2 would wait for ever for itself.
            client.skipsDestroy = true
            throw KafkaError(operation, error, reason: String(cString: rd_kafka_event_error_string(event)))
        }
        var count = 0
        guard let result = rd_kafka_event_DescribeConsumerGroups_result(event),
            let groups = rd_kafka_DescribeConsumerGroups_result_groups(result, &count), count == 1,
            let group = groups[0]
        else { return [] }
        if let error = rd_kafka_ConsumerGroupDescription_error(group) {
            let code = rd_kafka_error_code(error)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                throw KafkaError(operation, code, reason: String(cString: rd_kafka_error_string(error)))
            }
        }
        return (0..<rd_kafka_ConsumerGroupDescription_member_count(group)).compactMap { i in
            rd_kafka_ConsumerGroupDescription_member(group, i).map {
                GroupMember(
                    id: text(rd_kafka_MemberDescription_consumer_id($0)) ?? "",
                    instance: text(rd_kafka_MemberDescription_group_instance_id($0)),
                    host: text(rd_kafka_MemberDescription_host($0)) ?? "")
            }
        }
    }

    private func text(_ pointer: UnsafePointer<CChar>?) -> String? { pointer.map { String(cString: $0) } }
}

extension Consumer {
    /// The first offset of each partition whose record has this timestamp or a later one. Partitions without such a record
    /// are absent.
    public func offsets(
        atMs time: Int64, of partitions: [TopicPartition], milliseconds: Int = 10_000
    ) throws(KafkaError) -> [TopicPartition: Int64] {
        let times = Dictionary(uniqueKeysWithValues: partitions.map { ($0, PartitionOffset(offset: time)) })
        return try PartitionList.with(times) { (list) throws(KafkaError) in
            try client.check(
                "look up offsets by time", rd_kafka_offsets_for_times(client.handle, list, Int32(milliseconds)))
            var offsets: [TopicPartition: Int64] = [:]
            for i in 0..<Int(list.pointee.cnt) {
                let e = list.pointee.elems[i]
                let p = TopicPartition(String(cString: e.topic), e.partition)
                try client.check("look up an offset of \(p) by time", e.err)
                if e.offset >= 0 { offsets[p] = e.offset }
            }
            return offsets
        }
    }
}
