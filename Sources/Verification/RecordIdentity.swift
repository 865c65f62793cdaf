import CEventParser

/// Tells whether an output is of a record, by 32 bits: half of them of the customer, half of the event. A dead letter
/// is compared by its bytes.
struct RecordIdentity: Equatable {
    /// 0: there is nothing to compare.
    let bits: UInt32

    static let unknown = RecordIdentity(bits: 0)

    /// What an output says of its event.
    enum Event: Equatable {
        /// Nothing.
        case unsaid
        /// The tombstone of an erased customer.
        case deletion
        /// The hash of its id.
        case id(UInt64)
        /// Its time (ms); it has no id.
        case time(Int64)
    }

    init(bits: UInt32) { self.bits = bits }

    /// - Parameter user: the customer's id.
    init(user: UnsafeBufferPointer<UInt8>, event: Event) {
        let half =
            switch event {
            case .unsaid: UInt32(0)
            case .deletion: UInt32(1)
            case .id(let hash): Self.half(hash)
            case .time(var ms):
                withUnsafeBytes(of: &ms) { Self.half(Self.hash($0.assumingMemoryBound(to: UInt8.self))) }
            }
        bits = Self.half(Self.hash(user)) << 16 | half
    }

    /// What an update of the event says.
    init(of e: clvd_event) {
        let isDeletion = e.type == UInt8(clvd_type_user_deleted.rawValue)
        self.init(
            user: UnsafeBufferPointer(start: e.user, count: Int(e.user_length)),
            event: isDeletion ? .deletion : e.event_id != nil ? .id(e.event_id_hash) : .time(e.time_ms))
    }

    /// Of key and value.
    init(bytesOf r: clvd_record) {
        let value = UnsafeBufferPointer(start: r.value, count: Int(r.value_length))
        bits = UInt32(truncatingIfNeeded: Self.hash(r.keyBytes) &* 31 &+ Self.hash(value))
    }

    /// Whether an output that says this may be of the record.
    func isSameUser(as record: RecordIdentity) -> Bool { bits >> 16 == record.bits >> 16 }
    func isSameEvent(as record: RecordIdentity) -> Bool {
        bits & 0xFFFF == 0 || bits & 0xFFFF == record.bits & 0xFFFF
    }

    static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64 { clvd_hash(bytes.baseAddress, bytes.count) }

    /// 0 and 1 have meanings of their own.
    private static func half(_ hash: UInt64) -> UInt32 { max(2, UInt32(hash & 0xFFFF)) }
}

extension clvd_record {
    var keyBytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: key, count: Int(key_length)) }
}
