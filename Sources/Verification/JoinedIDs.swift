import CEventParser
import Kafka

/// Which ids are of one customer, as the records say that were looked at: ids by their hashes.
struct JoinedIDs {
    /// Of an id another one of the customer; the last of them stands for all.
    private var next: [UInt64: UInt64] = [:]

    mutating func note(_ e: clvd_event) {
        guard e.status == UInt8(clvd_status_ok.rawValue), let alias = e.alias else { return }
        let (a, b) = (
            customer(of: clvd_hash(alias, Int(e.alias_length))), customer(of: clvd_hash(e.user, Int(e.user_length)))
        )
        if a != b { next[a] = b }
    }

    /// What stands for the customer of an id.
    func customer(of id: UInt64) -> UInt64 {
        var id = id
        while let other = next[id] { id = other }
        return id
    }
}

/// A user of a partition.
struct PartitionUser: Hashable {
    var partition: Int
    /// Hash of the id.
    var id: UInt64
}

/// What is to be known of a record of the topic of events beside the event in it.
enum RoutedRecord {
    /// Whether it is none of the input: one partition tells another of ids.
    static func isMessage(_ r: clvd_record) -> Bool {
        var length: UInt32 = 0
        return r.headers != nil && Consumer.headerLookup(r.headers, RecordOrigin.messageHeader, &length) != nil
    }
}

extension clvd_event {
    /// Whether a record says no more than whose an id is.
    var isIdentity: Bool { type == UInt8(clvd_type_identify.rawValue) || type == UInt8(clvd_type_alias.rawValue) }
}
