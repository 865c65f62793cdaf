import CEventParser

/// Where a record lies in its log.
public struct RecordPlace: Sendable, Equatable {
    /// Index into the engine's list of topics.
    public var topic: Int32
    public var partition: Int32
    public var offset: Int64

    @inline(__always)
    init(_ event: clvd_event) { (topic, partition, offset) = (event.topic, event.partition, event.offset) }

    /// No record: what an idle tick says comes from none.
    static let none = RecordPlace(topic: 0, partition: -1, offset: -1)

    init(topic: Int32, partition: Int32, offset: Int64) {
        (self.topic, self.partition, self.offset) = (topic, partition, offset)
    }
}

/// One output of a step, in the order of the records. Its bytes stay valid until the next step.
public struct OutboxEntry {
    public enum Kind: UInt8, Sendable {
        /// A CLV update; a null value (length 0) is the tombstone of an erased user.
        case update
        case alert
        /// The row of an id that is another customer's now: the key is the id, the value the customer's.
        case joined
        /// The record goes to the topic of events once more, keyed by another id.
        case forward
        /// A message for the partition of the key (`IdentityMessage`).
        case message
        /// The record goes to the dead-letter topic as it came; `reason` says why.
        case deadLetter
    }
    public let kind: Kind
    /// `clvd_status` of a dead letter.
    public let reason: UInt8
    /// Of what is too late: by how much it is older than the watermark, ms.
    public let excess: Int64
    /// Index, in the step's events, of the record that caused the entry.
    public let record: UInt32
    /// Where that record lies; offset -1 for an idle tick, which has no record.
    public let source: RecordPlace
    public let key: UnsafeBufferPointer<UInt8>
    public let value: UnsafeBufferPointer<UInt8>

    init(
        kind: Kind, reason: UInt8, excess: Int64 = 0, record: UInt32, source: RecordPlace = .none,
        key: UnsafeBufferPointer<UInt8>,
        value: UnsafeBufferPointer<UInt8>
    ) {
        self.kind = kind
        self.reason = reason
        self.excess = excess
        self.record = record
        self.source = source
        self.key = key
        self.value = value
    }
}

/// The outbox of one partition task: bytes in one buffer, entries by offsets.
struct Outbox: ~Copyable {
    struct Item {
        var kind: OutboxEntry.Kind
        var reason: UInt8
        var excess: Int64 = 0
        var record: UInt32
        var source: RecordPlace
        var keyAt: Int
        var keyLength: Int
        var valueAt: Int
        var valueLength: Int
    }

    private(set) var items: [Item] = []
    var writer = ByteWriter()

    mutating func reset() {
        items.removeAll(keepingCapacity: true)
        writer.reset()
    }

    mutating func deadLetter(record: UInt32, source: RecordPlace, reason: UInt8, excess: Int64) {
        items.append(
            Item(
                kind: .deadLetter, reason: reason, excess: excess, record: record, source: source, keyAt: 0,
                keyLength: 0, valueAt: 0, valueLength: 0))
    }

    /// Appends an entry of the bytes that `value` writes.
    @inline(__always)
    mutating func append(
        _ kind: OutboxEntry.Kind, record: UInt32, source: RecordPlace, key: UnsafeBufferPointer<UInt8>,
        _ value: (inout ByteWriter) -> Void
    ) {
        let keyAt = writer.count
        if let p = key.baseAddress { writer.append(p, key.count) }
        let valueAt = writer.count
        value(&writer)
        items.append(
            Item(
                kind: kind, reason: 0, record: record, source: source, keyAt: keyAt, keyLength: key.count,
                valueAt: valueAt,
                valueLength: writer.count - valueAt))
    }

    func entry(_ i: Int) -> OutboxEntry {
        let item = items[i]
        return OutboxEntry(
            kind: item.kind, reason: item.reason, excess: item.excess, record: item.record, source: item.source,
            key: UnsafeBufferPointer(start: writer.base + item.keyAt, count: item.keyLength),
            value: UnsafeBufferPointer(start: writer.base + item.valueAt, count: item.valueLength))
    }
}
