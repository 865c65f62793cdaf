public import CEventParser
import CRdKafka

/// The place of the record that a repartitioned one is made of. It travels in a header, `topic/partition/offset`, or with
/// `#n` behind it where a record holds several events. A second header has the original key where that is another one.
public struct RecordOrigin: Sendable, Hashable {
    public var topic: String
    public var partition: Int32
    public var offset: Int64
    /// Which event of a record that holds several, from 0; nil: the record as a whole.
    public var element: Int?

    public init(topic: String, partition: Int32, offset: Int64, element: Int? = nil) {
        (self.topic, self.partition, self.offset, self.element) = (topic, partition, offset, element)
    }

    /// Names of the headers: where a record comes from, and the key that it had there (a null value: none).
    public static let header = "clvd.origin"
    public static let keyHeader = "clvd.key"
    /// Name of the header that says where a record was before it was passed on in the topic of events, and how often it was.
    public static let passedOnHeader = "clvd.from"
    /// Name of the header of what partitions of the topic of events say to each other.
    public static let messageHeader = "clvd.command"
    /// Name of the header of a dead letter that says where its record is in the topic of events.
    public static let routedHeader = "clvd.routed"
    /// Name of the header of a dead letter that says which event of its record it is, where that held several.
    public static let elementHeader = "clvd.element"

    public var text: String { "\(topic)/\(partition)/\(offset)" + (element.map { "#\($0)" } ?? "") }

    /// - Returns: nil when the text is no place.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, let partition = Int32(parts[1]), partition >= 0 else { return nil }
        let place = parts[2].split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
        guard let offset = Int64(place[0]), offset >= 0 else { return nil }
        var element: Int?
        if place.count == 2 {
            guard let number = Int(place[1]), number >= 0 else { return nil }
            element = number
        }
        self.init(topic: String(parts[0]), partition: partition, offset: offset, element: element)
    }

    /// What a record says of its origin; nil when it says nothing.
    public init?(of record: clvd_record) { self.init(record, Self.header) }

    /// Where a record was before it was passed on in the topic of events; nil when it was not.
    public init?(passedOn record: clvd_record) { self.init(record, Self.passedOnHeader) }

    private init?(_ record: clvd_record, _ header: String) {
        guard record.headers != nil else { return nil }
        var length: UInt32 = 0
        guard let bytes = clvd_find_header(record.headers, header, &length) else { return nil }
        self.init(String(decoding: UnsafeBufferPointer(start: bytes, count: Int(length)), as: UTF8.self))
    }

    /// The record with the key that it had where it comes from.
    public static func restoringKey(of record: clvd_record) -> clvd_record {
        guard record.headers != nil else { return record }
        var original = record
        var length: UInt32 = 0
        switch clvd_find_header_or_null(record.headers, keyHeader, &original.key, &length) {
        case 0: return record
        default: original.key_length = length
        }
        return original
    }
}

/// Names of headers of tombstones in the topic of updates.
public enum OutputHeader {
    /// The user of the record that erased a customer, where it is an alias of the customer.
    public static let user = "clvd.source.user"
    /// The customer whose alias the id of the tombstone is now.
    public static let customer = "clvd.joined"
}

/// How a record is passed on: as it came, with another key and its origin.
public struct Forwarding {
    /// ms since 1970; below 0: not known.
    public var timestampMs: Int64
    public var origin: RecordOrigin?
    /// Where the record was before in the topic of events; nil: nowhere.
    public var passedOn: RecordOrigin?
    /// Name of a header that marks it; nil: none.
    public var mark: String?
    /// Those that the record came with.
    fileprivate var headers: Headers?
    /// The key that it came with, where it is not the new one; it stays where it is until the record is handed over.
    public var originalKey: OriginalKey

    public enum OriginalKey {
        case same
        case none
        case bytes(UnsafeRawBufferPointer)
    }

    /// - Parameters:
    ///   - record: its headers are copied.
    ///   - header: name of a header that is left out.
    public init(
        _ record: clvd_record, from origin: RecordOrigin, originalKey: OriginalKey, without header: String? = nil,
        passedOn: RecordOrigin? = nil
    ) {
        self.passedOn = passedOn
        timestampMs = record.timestamp_ms
        self.origin = origin
        self.originalKey = originalKey
        headers = record.headers.flatMap { rd_kafka_headers_copy(OpaquePointer($0)) }.map(Headers.init)
        if let header, let headers { rd_kafka_header_remove(headers.list, header) }
    }

    /// A record that is none of the input, told by a header.
    public init(command mark: String, from origin: RecordOrigin?, timestampMs: Int64) {
        (self.mark, self.origin, self.timestampMs, originalKey) = (mark, origin, timestampMs, .same)
    }

    /// A copy of a record's headers.
    fileprivate final class Headers {
        let list: OpaquePointer
        init(_ list: OpaquePointer) { self.list = list }
        deinit { rd_kafka_headers_destroy(list) }
    }

    /// Hands a record over. Its value is not copied.
    func produce(_ record: inout clvd_outgoing, by client: OpaquePointer) -> rd_kafka_resp_err_t {
        // 0 would be the wall clock for librdkafka, and so is what is not known.
        let time = timestampMs < 0 ? 0 : max(1, timestampMs)
        var list = clvd_forwarded_headers()
        switch originalKey {
        case .same: break
        case .none: list.has_original_key = 1
        case .bytes(let key):
            (list.has_original_key, list.original_key) = (1, key.baseAddress ?? Producer.empty)
            list.original_key_length = key.count
        }
        return withExtendedLifetime(headers) {
            withText(origin?.text) { origin in
                withText(passedOn?.text) { passedOn in
                    withText(mark) { mark in
                        (list.origin, list.passed_on, list.mark) = (origin, passedOn, mark)
                        return clvd_produce_forwarded(client, &record, time, headers?.list, &list)
                    }
                }
            }
        }
    }

    private func withText<T>(_ text: String?, _ body: (UnsafePointer<CChar>?) -> T) -> T {
        text.map { $0.withCString(body) } ?? body(nil)
    }
}
