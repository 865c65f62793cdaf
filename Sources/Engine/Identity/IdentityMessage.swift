import CEventParser

/// What the partitions of a topic of events tell each other of ids, where an id and its customer are in different ones. It
/// travels as a record of that topic, keyed by the id that it is for:
///
/// | kind | key | says |
/// | --- | --- | --- |
/// | `alias` | the alias | from now on it is this customer's; sent by the first stage |
/// | `adopt` | the customer | what was held of the alias |
/// | `forget` | the alias | its customer was erased |
///
/// Whoever may write to the topic may write these, so nothing in them is trusted.
public struct IdentityMessage: Equatable {
    public enum Kind: UInt8, Sendable {
        case alias = 1
        case adopt = 2
        case forget = 3
    }

    private static let magic = Array("clvd-id".utf8)
    private static let version: UInt8 = 1

    public var kind: Kind
    /// Event time of what joined the ids, ms; of a `forget`: of what erased the customer.
    public var time: Int64 = 0
    /// Whether the alias may have aliases itself.
    public var isExplicit = false
    /// Whether a record is a whole order.
    public var isOrderWhole = false
    /// How often it was passed on.
    var hops: UInt8 = 0
    /// Of an `adopt`: where the `alias` lay that caused it. It tells repeats.
    var cause = RecordPlace.none
    /// `alias`: the customer. `adopt`: the alias. `forget`: the customer, then its aliases.
    public var ids: [[UInt8]] = []
    /// Of an `adopt`: the slot of the alias and its open landmarks, the oldest first, in the layout that `layout` tells;
    /// empty where nothing was held.
    var slot: [UInt8] = []
    var landmarks: [UInt8] = []
    var layout: UInt64 = 0

    public init(kind: Kind) { self.kind = kind }

    // MARK: Bytes

    public var bytes: [UInt8] {
        var w = Writer()
        w.bytes = Self.magic + [Self.version, kind.rawValue]
        w.append(time)
        w.append((isExplicit ? 1 : 0) | (isOrderWhole ? 2 : 0) as UInt8)
        w.append(hops)
        w.append(cause.topic)
        w.append(cause.partition)
        w.append(cause.offset)
        w.append(layout)
        w.append(UInt32(ids.count))
        for part in ids + [slot, landmarks] {
            w.append(UInt32(part.count))
            w.bytes += part
        }
        w.append(Self.checksum(w.bytes))
        return w.bytes
    }

    private static func checksum(_ bytes: some Collection<UInt8>) -> UInt64 {
        Array(bytes).withUnsafeBufferPointer { clvd_hash($0.baseAddress, $0.count) }
    }

    /// nil: not of this form, or damaged.
    init?(_ bytes: UnsafeBufferPointer<UInt8>) {
        var r = Reader(bytes: bytes)
        guard bytes.count > Self.magic.count + 10, bytes.prefix(Self.magic.count).elementsEqual(Self.magic) else {
            return nil
        }
        r.at = Self.magic.count
        guard r.next(as: UInt8.self) == Self.version, let kind = r.next(as: UInt8.self).flatMap({ Kind(rawValue: $0) }),
            let time = r.next(as: Int64.self), let flags = r.next(as: UInt8.self), let hops = r.next(as: UInt8.self),
            let topic = r.next(as: Int32.self), let partition = r.next(as: Int32.self),
            let offset = r.next(as: Int64.self), let layout = r.next(as: UInt64.self),
            let count = r.next(as: UInt32.self), count <= Self.mostIDs
        else { return nil }
        self.init(kind: kind)
        (self.time, self.hops, self.layout) = (time, hops, layout)
        (isExplicit, isOrderWhole) = (flags & 1 != 0, flags & 2 != 0)
        cause = RecordPlace(topic: topic, partition: partition, offset: offset)
        var parts: [[UInt8]] = []
        for _ in 0..<count + 2 {
            guard let length = r.next(as: UInt32.self), let part = r.next(Int(length)) else { return nil }
            parts.append(part)
        }
        let end = r.at
        guard r.next(as: UInt64.self) == Self.checksum(bytes[..<end]), r.at == bytes.count else { return nil }
        landmarks = parts.removeLast()
        slot = parts.removeLast()
        ids = parts
        guard !ids.isEmpty, ids.allSatisfy({ (1...Self.longestID).contains($0.count) }),
            kind == .forget || ids.count == 1, StateCheck.instants.contains(time)
        else { return nil }
    }

    /// Aliases that one `forget` names; a customer with more of them gets several.
    static let mostIDs: UInt32 = 256
    /// As settings allow for ids of events.
    private static let longestID = 4096

    private struct Writer {
        var bytes: [UInt8] = []
        mutating func append<T: FixedWidthInteger>(_ value: T) {
            withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
        }
    }

    private struct Reader {
        let bytes: UnsafeBufferPointer<UInt8>
        var at = 0

        mutating func next<T: FixedWidthInteger>(as type: T.Type) -> T? {
            let size = MemoryLayout<T>.size
            guard bytes.count - at >= size else { return nil }
            defer { at += size }
            return T(littleEndian: UnsafeRawBufferPointer(bytes).loadUnaligned(fromByteOffset: at, as: T.self))
        }

        mutating func next(_ count: Int) -> [UInt8]? {
            guard bytes.count - at >= count else { return nil }
            defer { at += count }
            return Array(bytes[at..<at + count])
        }
    }
}
