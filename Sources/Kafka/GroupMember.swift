import CRdKafka

/// A member of a consumer group, as the group describes it.
public struct GroupMember: Sendable, Equatable, CustomStringConvertible {
    /// What the group calls it; another one after each start.
    public let id: String
    /// Its `client.id`.
    public let clientID: String
    /// Where the group's coordinator sees it.
    public let host: String

    package init(id: String, clientID: String, host: String) {
        (self.id, self.clientID, self.host) = (id, clientID, host)
    }

    public var description: String { "\(id) at \(host.drop { $0 == "/" })" }

    /// Whether it is a static member of this name: brokers call those by their `group.instance.id`, a dash and a UUID.
    func isInstance(_ name: String) -> Bool { id.hasPrefix("\(name)-") && id.utf8.count == name.utf8.count + 37 }
}

extension Client {
    /// The members of a group. By the older of librdkafka's two calls: the newer one, which knows the instance id, ends the
    /// process when the broker does not know the request (as the mock), up to 2.0.2 at least.
    func members(ofGroup group: String, milliseconds: Int) throws(KafkaError) -> [GroupMember] {
        let operation = "ask for the members of group \(group)"
        var list: UnsafePointer<rd_kafka_group_list>?
        let error = rd_kafka_list_groups(handle, group, &list, Int32(milliseconds))
        defer { if let list { rd_kafka_group_list_destroy(list) } }
        // Some brokers have not answered: none of them has the group if another has.
        guard let list, error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR__PARTIAL else {
            throw KafkaError(operation, error)
        }
        // Who has committed to it and may not see it must not take it for empty.
        guard list.pointee.group_cnt > 0 else { throw KafkaError(operation, RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND) }
        let found = list.pointee.groups[0]
        try check(operation, found.err)
        func text(_ value: UnsafeMutablePointer<CChar>?) -> String { value.map { String(cString: $0) } ?? "" }
        return (0..<Int(found.member_cnt)).map { i in
            let member = found.members[i]
            return GroupMember(
                id: text(member.member_id), clientID: text(member.client_id), host: text(member.client_host))
        }
    }
}
