import CRdKafka

/// A member of a consumer group, as the group describes it.
public struct GroupMember: Sendable, Equatable {
    /// What the group calls it; another one after each start.
    public let id: String
    /// Its `group.instance.id`; nil: it is not a static member.
    public let instanceID: String?
    /// Its `client.id`.
    public let clientID: String
    /// Where the group's coordinator sees it.
    public let host: String

    package init(id: String, instanceID: String?, clientID: String, host: String) {
        (self.id, self.instanceID, self.clientID, self.host) = (id, instanceID, clientID, host)
    }
}

extension Client {
    /// The members of a group.
    func members(ofGroup group: String, milliseconds: Int) throws(KafkaError) -> [GroupMember] {
        let operation = "ask for the members of group \(group)"
        let queue = rd_kafka_queue_new(handle)
        defer { rd_kafka_queue_destroy(queue) }
        let options = rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS)
        defer { rd_kafka_AdminOptions_destroy(options) }
        rd_kafka_AdminOptions_set_request_timeout(options, Int32(milliseconds), nil, 0)
        group.withCString { name in
            var names: [UnsafePointer<CChar>?] = [name]
            rd_kafka_DescribeConsumerGroups(handle, &names, 1, options, queue)
        }
        guard let event = rd_kafka_queue_poll(queue, Int32(milliseconds) + 1000) else {
            throw KafkaError(operation, RD_KAFKA_RESP_ERR__TIMED_OUT)
        }
        defer { rd_kafka_event_destroy(event) }
        let error = rd_kafka_event_error(event)
        if error != RD_KAFKA_RESP_ERR_NO_ERROR {
            throw KafkaError(operation, error, reason: String(cString: rd_kafka_event_error_string(event)))
        }
        var count = 0
        guard let result = rd_kafka_event_DescribeConsumerGroups_result(event),
            let groups = rd_kafka_DescribeConsumerGroups_result_groups(result, &count), count == 1
        else { throw KafkaError(operation, RD_KAFKA_RESP_ERR__BAD_MSG) }
        if let error = rd_kafka_ConsumerGroupDescription_error(groups[0]) {
            try check(operation, rd_kafka_error_code(error))
        }
        return (0..<rd_kafka_ConsumerGroupDescription_member_count(groups[0])).compactMap { i in
            guard let member = rd_kafka_ConsumerGroupDescription_member(groups[0], i) else { return nil }
            func text(_ value: UnsafePointer<CChar>?) -> String { value.map { String(cString: $0) } ?? "" }
            return GroupMember(
                id: text(rd_kafka_MemberDescription_consumer_id(member)),
                instanceID: rd_kafka_MemberDescription_group_instance_id(member).map { String(cString: $0) },
                clientID: text(rd_kafka_MemberDescription_client_id(member)),
                host: text(rd_kafka_MemberDescription_host(member)))
        }
    }
}
