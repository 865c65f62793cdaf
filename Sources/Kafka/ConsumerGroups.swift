import CRdKafka

extension Admin {
    /// Those who are in a group now; nobody is in one that is not known. A static member that has ended stays until its
    /// session is over.
    public func members(ofGroup name: String, milliseconds: Int = 10_000) throws(KafkaError) -> [GroupMember] {
        do {
            return try client.members(ofGroup: name, milliseconds: milliseconds)
        } catch  where error.code == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND.rawValue {
            return []
        }
    }
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
