import CEventParser
internal import Engine
internal import Kafka

/// What the second stage has to know of a record of the topic of events beside the event in it: whether it is a message of
/// one partition to another (`IdentityMessage`), or an event that another partition has passed on.
enum RoutedIdentity {
    /// - Parameters:
    ///   - records: as they are in the topic of events.
    ///   - events: decoded from them.
    static func mark(_ records: UnsafeBufferPointer<clvd_record>, _ events: UnsafeMutablePointer<clvd_event>) {
        for (i, r) in records.enumerated() where r.headers != nil {
            var length: UInt32 = 0
            if Consumer.headerLookup(r.headers, RecordOrigin.messageHeader, &length) != nil {
                events[i].status = UInt8(clvd_status_message.rawValue)
                (events[i].user, events[i].user_length) = (r.key, r.key_length)
                (events[i].alias, events[i].alias_length) = (r.value, r.value_length)
            } else if events[i].status == UInt8(clvd_status_ok.rawValue), let from = RecordOrigin(passedOn: r) {
                events[i].flags |= UInt8(clvd_flag_passed_on.rawValue)
                events[i].hops = UInt8(clamping: from.element ?? 1)
                (events[i].alias, events[i].alias_length) = (r.key, r.key_length)
            }
        }
    }
}

/// What the first stage tells of ids: each pair once, as far as a bounded memory reaches. Repeats do no harm.
struct AliasMessages {
    private static let capacity = 1 << 16
    /// After so much event time a pair is told again: its partition may have forgotten it meanwhile.
    private static let repeatMs: Int64 = 86_400_000
    private var told: [UInt64: (user: UInt64, time: Int64)] = [:]

    /// The message for the partition of an event's alias; nil when there is none, or it was told.
    mutating func message(for e: clvd_event) -> IdentityMessage? {
        guard e.status == UInt8(clvd_status_ok.rawValue) else { return nil }
        if e.type == UInt8(clvd_type_user_deleted.rawValue) {
            // Its aliases are forgotten, so that whoever is identified anew is told anew.
            told.removeAll(keepingCapacity: true)
        }
        guard let alias = e.alias else { return nil }
        let (a, u) = (clvd_hash(alias, Int(e.alias_length)), clvd_hash(e.user, Int(e.user_length)))
        if let known = told[a], known.user == u, (known.time...known.time + Self.repeatMs).contains(e.time_ms) {
            return nil
        }
        if told.count >= Self.capacity { told.removeAll(keepingCapacity: true) }
        told[a] = (u, e.time_ms)
        var message = IdentityMessage(kind: .alias)
        message.time = e.time_ms
        message.isExplicit = e.type == UInt8(clvd_type_alias.rawValue)
        message.isOrderWhole = UInt32(e.flags) & clvd_flag_whole_order.rawValue != 0
        message.ids = [Array(UnsafeBufferPointer(start: e.user, count: Int(e.user_length)))]
        return message
    }
}
