import CEventParser
import Foundation
import Kafka

/// The input record that an output says it is of.
struct OutputSource: Equatable {
    var topic: String
    var partition: Int32
    var offset: Int64
    /// What else the output says of it.
    var identity = RecordIdentity.unknown

    init(topic: String, partition: Int32, offset: Int64) {
        (self.topic, self.partition, self.offset) = (topic, partition, offset)
    }

    /// Of an update: a field of its JSON, or headers of a tombstone. nil when it names none.
    init?(update r: clvd_record) {
        guard let value = r.value else {
            self.init(r, headers: "clvd.source.")
            identity = RecordIdentity(user: Self.bytes(r, OutputHeader.user) ?? r.keyBytes, event: .deletion)
            return
        }
        let bytes = UnsafeBufferPointer(start: value, count: Int(r.value_length))
        guard let scanned = Self.scan(bytes) ?? Self.parse(bytes) else { return nil }
        self = scanned.source
        // The event may name an alias of the customer.
        guard let user = scanned.user else {
            identity = RecordIdentity(user: r.keyBytes, event: scanned.event)
            return
        }
        identity = user.withUnsafeBufferPointer { RecordIdentity(user: $0, event: scanned.event) }
    }

    /// Whether a record of the topic of updates says that an id is an alias now. It stands beside an output, and is none.
    static func isJoin(_ r: clvd_record) -> Bool { r.value == nil && bytes(r, OutputHeader.customer) != nil }

    /// Of a dead letter, whose headers are those of Kafka Connect. Where its record came through a first stage, it is the
    /// record that this has written. nil when it names none.
    init?(deadLetter r: clvd_record) {
        if let routed = Self.text(r, RecordOrigin.routedHeader).flatMap({ RecordOrigin($0) }) {
            self.init(topic: routed.topic, partition: routed.partition, offset: routed.offset)
        } else {
            self.init(r, headers: "__connect.errors.")
        }
        var length: UInt32 = 0
        // One that was longer than the topic takes has only some of its record's bytes.
        let isCut = Consumer.headerLookup(r.headers, "clvd.cut.from", &length) != nil
        identity = isCut ? .unknown : RecordIdentity(bytesOf: r)
    }

    /// Of what a first stage has written: a record that it passed on, or the dead letter of one that it stepped over. nil
    /// for any other.
    init?(routed r: clvd_record, isDeadLetter: Bool) {
        if isDeadLetter {
            guard Self.text(r, RecordOrigin.routedHeader) == nil,
                let reason = Self.text(r, "__connect.errors.class.name"), ["skipped", "unreadable"].contains(reason)
            else { return nil }
            self.init(deadLetter: r)
        } else {
            guard let origin = RecordOrigin(of: r) else { return nil }
            self.init(topic: origin.topic, partition: origin.partition, offset: origin.offset)
            identity = RecordIdentity(bytesOf: RecordOrigin.restoringKey(of: r))
        }
    }

    private init?(_ r: clvd_record, headers prefix: String) {
        guard let topic = Self.text(r, prefix + "topic"),
            let partition = Self.text(r, prefix + "partition").flatMap({ Int32($0) }),
            let offset = Self.text(r, prefix + "offset").flatMap({ Int64($0) })
        else { return nil }
        self.init(topic: topic, partition: partition, offset: offset)
    }

    /// The text of a header.
    private static func text(_ r: clvd_record, _ name: String) -> String? {
        bytes(r, name).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func bytes(_ r: clvd_record, _ name: String) -> UnsafeBufferPointer<UInt8>? {
        var length: UInt32 = 0
        guard let bytes = Consumer.headerLookup(r.headers, name, &length) else { return nil }
        return UnsafeBufferPointer(start: bytes, count: Int(length))
    }

    // MARK: JSON

    /// What the JSON of an update says of its event.
    private struct Scanned {
        var source: OutputSource
        var event: RecordIdentity.Event
        /// Of the event, where it is not the customer's id.
        var user: [UInt8]?
    }

    /// Reads the fields in the form that the daemon writes, a hundred times faster than JSON is parsed.
    private static func scan(_ bytes: UnsafeBufferPointer<UInt8>) -> Scanned? {
        var rest = Scanner(bytes)
        guard rest.skip("{\"user_id\":\""), rest.skipText(), rest.skip(",\"event_id\":") else { return nil }
        var event: RecordIdentity.Event?
        if !rest.skip("null") {
            guard rest.skip("\""), let id = rest.plainText() else { return nil }
            event = .id(RecordIdentity.hash(id))
        }
        guard rest.skip(",\"event_time\":\""), let time = rest.plainText(),
            rest.skip(",\"source\":{\"topic\":\""), let topic = rest.plainText(), rest.skip(",\"partition\":"),
            let partition = rest.number().flatMap({ Int32(exactly: $0) }), rest.skip(",\"offset\":"),
            let offset = rest.number()
        else { return nil }
        var user: [UInt8]?
        if rest.skip(",\"user_id\":\"") {
            guard let id = rest.plainText() else { return nil }
            user = Array(id)
        }
        guard rest.skip("}") else { return nil }
        let source = OutputSource(
            topic: String(decoding: topic, as: UTF8.self), partition: partition, offset: offset)
        return Scanned(source: source, event: event ?? Self.event(at: time), user: user)
    }

    /// The same in any other form.
    private static func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> Scanned? {
        struct Update: Decodable {
            struct Source: Decodable {
                var topic: String
                var partition: Int32
                var offset: Int64
                var userID: String?

                enum CodingKeys: String, CodingKey {
                    case topic, partition, offset
                    case userID = "user_id"
                }
            }
            var eventID: String?
            var eventTime: String?
            var source: Source

            enum CodingKeys: String, CodingKey {
                case eventID = "event_id"
                case eventTime = "event_time"
                case source
            }
        }
        guard let update = try? JSONDecoder().decode(Update.self, from: Data(bytes)) else { return nil }
        let source = OutputSource(
            topic: update.source.topic, partition: update.source.partition, offset: update.source.offset)
        let text = Array((update.eventID ?? update.eventTime ?? "").utf8)
        return text.withUnsafeBufferPointer { text in
            Scanned(
                source: source, event: update.eventID != nil ? .id(RecordIdentity.hash(text)) : event(at: text),
                user: update.source.userID.map { Array($0.utf8) })
        }
    }

    private static func event(at time: UnsafeBufferPointer<UInt8>) -> RecordIdentity.Event {
        var ms: Int64 = 0
        return clvd_parse_time(time.baseAddress, time.count, true, &ms) ? .time(ms) : .unsaid
    }

    private struct Scanner {
        let bytes: UnsafeBufferPointer<UInt8>
        var at = 0

        init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

        mutating func skip(_ text: StaticString) -> Bool {
            let count = text.utf8CodeUnitCount
            guard bytes.count - at >= count, memcmp(bytes.baseAddress! + at, text.utf8Start, count) == 0 else {
                return false
            }
            at += count
            return true
        }

        /// Up to the closing quote; nil when the text is escaped.
        mutating func plainText() -> UnsafeBufferPointer<UInt8>? {
            let start = at
            while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
                if bytes[at] == UInt8(ascii: "\\") { return nil }
                at += 1
            }
            guard at < bytes.count else { return nil }
            defer { at += 1 }
            return UnsafeBufferPointer(rebasing: bytes[start..<at])
        }

        /// Over text, escaped or not.
        /// - Returns: false when it does not end.
        mutating func skipText() -> Bool {
            while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
                at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1
            }
            at += 1
            return at <= bytes.count
        }

        mutating func number() -> Int64? {
            let start = at
            while at < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[at]) { at += 1 }
            return Int64(String(decoding: bytes[start..<at], as: UTF8.self))
        }
    }
}
