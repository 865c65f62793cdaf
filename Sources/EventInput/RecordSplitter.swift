public import CEventParser

/// Splits records that hold several events: a JSON array, a batch as the format names it, a request of which the format
/// takes one event (`single`). Each event becomes a record of its own. It belongs to one thread at a time.
public final class RecordSplitter {
    /// An event of a record.
    public struct Element {
        /// The record with the event alone as its value, which stays where it is during the call.
        public let record: clvd_record
        public let event: clvd_event
        /// Its place, from 0.
        public let index: Int
    }

    /// Most events of a record, and most bytes of them all: requests repeat what is around their events. Records beyond
    /// that are left whole.
    static let (mostEvents, mostBytes) = (10_000, 16 << 20)
    /// A batch may be an element of an array, and a request with several events, too.
    private static let deepest = 3

    private let decoder: EventDecoder
    private let batches: [[String]]
    private let single: [[String]]
    /// Header that stands for the event id of records that have none. All events of a record would have it.
    public let idHeader: String?

    /// - Throws: as `EventDecoder`.
    public init(
        format: EventFormat, limits: InputLimits, currency: CurrencyTable, headerLookup: clvd_header_lookup? = nil
    ) throws {
        decoder = try EventDecoder(format: format, limits: limits, currency: currency, headerLookup: headerLookup)
        let isText = format.encoding == .json
        // As files have it, a member `batch` of any format is one.
        batches = isText ? [[], ["batch"]] + format.batches.compactMap(Self.path) : []
        single = isText ? format.single.compactMap(Self.path) : []
        idHeader = format.headers[.eventID]
    }

    /// Names of members; nil: the place is not one of members alone.
    private static func path(_ pointer: String) -> [String]? {
        guard pointer.hasPrefix("/"), !pointer.contains("~"), !pointer.contains("[") else { return nil }
        return pointer.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    }

    /// Calls `body` with each event of a record.
    /// - Parameter status: what came of the record as it is. Only what is no event is split.
    /// - Returns: how many there are; 0: the record holds no events, or too many.
    public func forEachEvent(
        of record: clvd_record, status: UInt8, _ body: (Element) -> Void
    ) -> Int {
        guard let value = record.value, Self.mayBeSplit(status) else { return 0 }
        let text = UnsafeBufferPointer(start: value, count: Int(record.value_length))
        var (left, bytes): ([[UInt8]], Int) = ([], 0)
        guard split(text, record, 0, &left, &bytes), !left.isEmpty else { return 0 }
        for (index, value) in left.enumerated() {
            value.withUnsafeBufferPointer { value in
                let (part, event) = decode(value, record)
                body(Element(record: part, event: event, index: index))
            }
        }
        return left.count
    }

    /// The status of a record as it is.
    public func status(of record: clvd_record) -> UInt8 { decode(record).status }

    private static func mayBeSplit(_ status: UInt8) -> Bool {
        let whole = [
            clvd_status_invalid_utf8, clvd_status_too_large, clvd_status_unreadable, clvd_status_skipped,
        ].map { UInt8($0.rawValue) }
        return UInt32(status) >= clvd_status_first_rejection.rawValue && !whole.contains(status)
    }

    /// Adds the events of a text. False: there are too many of them.
    private func split(
        _ text: UnsafeBufferPointer<UInt8>, _ record: clvd_record, _ depth: Int, _ all: inout [[UInt8]],
        _ bytes: inout Int
    ) -> Bool {
        for part in parts(of: text) {
            let isInner =
                depth + 1 < Self.deepest
                && part.withUnsafeBufferPointer { value in
                    Self.mayBeSplit(decode(value, record).event.status) && !parts(of: value).isEmpty
                }
            if isInner {
                guard part.withUnsafeBufferPointer({ split($0, record, depth + 1, &all, &bytes) }) else { return false }
            } else {
                all.append(part)
                bytes += part.count
            }
            guard all.count <= Self.mostEvents, bytes <= Self.mostBytes else { return false }
        }
        return true
    }

    /// The values of the records that a record is to be split into; none: it holds no events, or far too many.
    private func parts(of text: UnsafeBufferPointer<UInt8>) -> [[UInt8]] {
        // JSON behind the frame of a schema registry.
        let isFramed = text.count > 5 && text[0] == 0
        let text = isFramed ? UnsafeBufferPointer(rebasing: text[5...]) : text
        for path in batches {
            let events = Envelope.events(in: text, at: path)
            if !events.isEmpty, events.count <= Self.mostEvents { return events.map { Array(text[$0]) } }
        }
        for path in single {
            let events = Envelope.events(in: text, at: path)
            guard let first = events.first, let last = events.last, events.count > 1 else { continue }
            let around = first.lowerBound + text.count - last.upperBound
            guard events.count * around <= Self.mostBytes else { return [] }
            return events.map { Array(text[..<first.lowerBound]) + text[$0] + text[last.upperBound...] }
        }
        return []
    }

    private func decode(
        _ value: UnsafeBufferPointer<UInt8>, _ record: clvd_record
    ) -> (record: clvd_record, event: clvd_event) {
        var part = record
        part.value = value.baseAddress
        part.value_length = UInt32(value.count)
        return (part, decode(part))
    }

    private func decode(_ record: clvd_record) -> clvd_event {
        var event = clvd_event()
        withUnsafePointer(to: record) { decoder.decode(UnsafeBufferPointer(start: $0, count: 1), into: &event) }
        return event
    }
}
