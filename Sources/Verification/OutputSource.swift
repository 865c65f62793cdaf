import CEventParser
import Foundation
import Kafka

/// The input record that an output says it is of.
struct OutputSource: Equatable {
    var topic: String
    var partition: Int32
    var offset: Int64

    init(topic: String, partition: Int32, offset: Int64) {
        (self.topic, self.partition, self.offset) = (topic, partition, offset)
    }

    /// Of an update: a field of its JSON, or headers of a tombstone. nil when it names none.
    init?(update r: clvd_record) {
        guard let value = r.value else {
            self.init(r, headers: "clvd.source.")
            return
        }
        let bytes = UnsafeBufferPointer(start: value, count: Int(r.value_length))
        if let source = Self.scan(bytes) ?? Self.parse(bytes) { self = source } else { return nil }
    }

    /// Of a dead letter, whose headers are those of Kafka Connect. nil when it names none.
    init?(deadLetter r: clvd_record) { self.init(r, headers: "__connect.errors.") }

    private init?(_ r: clvd_record, headers prefix: String) {
        func text(_ name: String) -> String? {
            var length: UInt32 = 0
            guard let bytes = Consumer.headerLookup(r.headers, prefix + name, &length) else { return nil }
            return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(length)), as: UTF8.self)
        }
        guard let topic = text("topic"), let partition = text("partition").flatMap({ Int32($0) }),
            let offset = text("offset").flatMap({ Int64($0) })
        else { return nil }
        self.init(topic: topic, partition: partition, offset: offset)
    }

    // MARK: JSON

    /// Finds the field in the form that the daemon writes, a hundred times faster than JSON is parsed. Within text a
    /// quote has a backslash before it, so that what is found is the key.
    private static func scan(_ bytes: UnsafeBufferPointer<UInt8>) -> OutputSource? {
        var rest = Scanner(bytes)
        guard rest.find("\"source\":{\"topic\":\""), let topic = rest.plainText(), rest.skip(",\"partition\":"),
            let partition = rest.number(), rest.skip(",\"offset\":"), let offset = rest.number(), rest.skip("}")
        else { return nil }
        return Int32(exactly: partition).map { OutputSource(topic: topic, partition: $0, offset: offset) }
    }

    /// The same in any other form.
    private static func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> OutputSource? {
        struct Update: Decodable {
            struct Source: Decodable {
                var topic: String
                var partition: Int32
                var offset: Int64
            }
            var source: Source
        }
        guard let update = try? JSONDecoder().decode(Update.self, from: Data(bytes)) else { return nil }
        return OutputSource(
            topic: update.source.topic, partition: update.source.partition, offset: update.source.offset)
    }

    private struct Scanner {
        let bytes: UnsafeBufferPointer<UInt8>
        var at = 0

        init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

        mutating func find(_ text: StaticString) -> Bool {
            guard let base = bytes.baseAddress else { return false }
            while let found = memchr(base + at, Int32(text.utf8Start.pointee), bytes.count - at) {
                at = UnsafeRawPointer(found) - UnsafeRawPointer(base)
                if skip(text) { return true }
                at += 1
            }
            return false
        }

        mutating func skip(_ text: StaticString) -> Bool {
            let count = text.utf8CodeUnitCount
            guard bytes.count - at >= count, memcmp(bytes.baseAddress! + at, text.utf8Start, count) == 0 else {
                return false
            }
            at += count
            return true
        }

        /// Up to the closing quote; nil when the text is escaped.
        mutating func plainText() -> String? {
            let start = at
            while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
                if bytes[at] == UInt8(ascii: "\\") { return nil }
                at += 1
            }
            guard at < bytes.count else { return nil }
            defer { at += 1 }
            return String(decoding: bytes[start..<at], as: UTF8.self)
        }

        mutating func number() -> Int64? {
            let start = at
            while at < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[at]) { at += 1 }
            return Int64(String(decoding: bytes[start..<at], as: UTF8.self))
        }
    }
}
