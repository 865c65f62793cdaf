/// What a step has to say to the world, in order. Bytes stay valid until the next step.
public struct OutboxEntry {
    public enum Kind: UInt8, Sendable {
        /// A CLV update; a null value (length 0) is the tombstone of an erased user.
        case update
        case alert
        /// The record goes to the dead-letter topic as it came; `reason` says why.
        case deadLetter
    }
    public let kind: Kind
    /// `clvd_status` of a dead letter.
    public let reason: UInt8
    /// Index, in the step's events, of the record that caused the entry.
    public let record: UInt32
    public let key: UnsafeBufferPointer<UInt8>
    public let value: UnsafeBufferPointer<UInt8>
}

/// The outbox of one partition task: bytes in one buffer, entries by offsets.
struct Outbox: ~Copyable {
    struct Item {
        var kind: OutboxEntry.Kind
        var reason: UInt8
        var record: UInt32
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

    mutating func deadLetter(record: UInt32, reason: UInt8) {
        items.append(
            Item(kind: .deadLetter, reason: reason, record: record, keyAt: 0, keyLength: 0, valueAt: 0, valueLength: 0))
    }

    /// Appends an entry of the bytes that `value` writes.
    @inline(__always)
    mutating func append(
        _ kind: OutboxEntry.Kind, record: UInt32, key: UnsafeBufferPointer<UInt8>, _ value: (inout ByteWriter) -> Void
    ) {
        let keyAt = writer.count
        if let p = key.baseAddress { writer.append(p, key.count) }
        let valueAt = writer.count
        value(&writer)
        items.append(
            Item(
                kind: kind, reason: 0, record: record, keyAt: keyAt, keyLength: key.count, valueAt: valueAt,
                valueLength: writer.count - valueAt))
    }

    func entry(_ i: Int) -> OutboxEntry {
        let item = items[i]
        return OutboxEntry(
            kind: item.kind, reason: item.reason, record: item.record,
            key: UnsafeBufferPointer(start: writer.base + item.keyAt, count: item.keyLength),
            value: UnsafeBufferPointer(start: writer.base + item.valueAt, count: item.valueLength))
    }
}
