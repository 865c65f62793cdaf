import CEventParser
import Foundation

/// Writes messages of a batch one after the other: CSV rows as JSON in the format `native`.
final class NativeMessages {
    private struct Entry {
        var key: UnsafeBufferPointer<UInt8>
        var value: Value
        var timeMs: Int64
        var status: UInt8
    }

    private enum Value {
        case line(UnsafeBufferPointer<UInt8>)
        /// In `json`, which may move until the batch is complete.
        case written(Range<Int>)
    }

    private var entries: [Entry] = []
    private var json = UnsafeMutablePointer<UInt8>.allocate(capacity: 1 << 16)
    private var capacity = 1 << 16
    private var count = 0

    deinit { json.deallocate() }

    func removeAll() {
        entries.removeAll(keepingCapacity: true)
        count = 0
    }

    /// The messages, valid until the next change, each with its `rowsRead`.
    func finish(rowsRead: [Int64]) -> [EventMessage] {
        zip(entries, rowsRead).map { entry, rows in
            let value =
                switch entry.value {
                case .line(let bytes): bytes
                case .written(let range):
                    UnsafeBufferPointer(start: json + range.lowerBound, count: range.count)
                }
            return EventMessage(
                key: entry.key, value: value, timeMs: entry.timeMs, status: entry.status, rowsRead: rows)
        }
    }

    /// A line of JSON as it is.
    func append(line record: clvd_record, _ event: clvd_event) {
        let key = UnsafeBufferPointer(start: event.user, count: Int(event.user_length))
        let value = UnsafeBufferPointer(start: record.value, count: Int(record.value_length))
        add(key, .line(value), event)
    }

    /// Puts a note in the place of a message: JSON that no daemon takes for an event, since it has no type, user or
    /// time. `row` is the text of the row, unless it is too long.
    func replace(_ index: Int, error: String, row: UnsafeBufferPointer<UInt8>?) {
        let start = count
        append("{")
        var error = error
        error.withUTF8 { member("error", text: $0) }
        if let row { member("row", text: row) }
        append("}")
        entries[index].value = .written(start..<count)
        entries[index].key = UnsafeBufferPointer(start: nil, count: 0)
    }

    /// The CSV row that `parser` has just decoded, with the currency of rows that name none.
    func append(_ event: clvd_event, _ parser: OpaquePointer, currency: String?) {
        func place(_ field: Field) -> (text: UnsafeBufferPointer<UInt8>, unit: clvd_time_unit)? {
            var unit = clvd_time_iso8601
            let text = clvd_parser_field_text(parser, field.code, &unit)
            return text.data.map { (UnsafeBufferPointer(start: $0, count: Int(text.length)), unit) }
        }
        let start = count
        append("{")
        appendType(event, place(.eventType)?.text)
        appendTime(event, place(.eventTime))
        for (field, name) in Self.texts {
            if let value = place(field) { member(name, text: value.text) }
        }
        for (field, name) in Self.numbers {
            if let value = place(field) { member(name, number: value.text) }
        }
        if let value = place(.currency) {
            member("currency", text: value.text)
        } else if var currency {
            currency.withUTF8 { member("currency", text: $0) }
        }
        append("}")
        add(place(.userID)?.text ?? UnsafeBufferPointer(start: nil, count: 0), .written(start..<count), event)
    }

    private static let texts: [(Field, StaticString)] = [
        (.userID, "user_id"), (.eventID, "event_id"), (.productID, "product_id"), (.category, "category"),
        (.orderID, "order_id"), (.sessionID, "session_id"),
    ]
    private static let numbers: [(Field, StaticString)] = [
        (.price, "price"), (.quantity, "quantity"), (.amount, "amount"),
    ]

    private func add(_ key: UnsafeBufferPointer<UInt8>, _ value: Value, _ event: clvd_event) {
        let isSound = event.status == UInt8(clvd_status_ok.rawValue)
        entries.append(Entry(key: key, value: value, timeMs: isSound ? event.time_ms : -1, status: event.status))
    }

    // MARK: Members

    /// Begins the row's object with its type: the engine's name of it, which every native reader knows.
    private func appendType(_ event: clvd_event, _ source: UnsafeBufferPointer<UInt8>?) {
        let isUnresolved =
            event.status == UInt8(clvd_status_missing_type.rawValue)
            || (event.status >= UInt8(clvd_status_first_rejection.rawValue)
                && event.rejected_field == UInt8(clvd_field_event_type.rawValue))
        if isUnresolved {
            // Under another name: `native` would take an unknown type for `other`.
            member("source_event_type", text: source ?? UnsafeBufferPointer(start: nil, count: 0))
            return
        }
        if event.type == UInt8(clvd_type_other.rawValue), let source,
            !FormatReader.typeNames.contains(where: { $0.utf8.elementsEqual(source) })
        {
            member("event_type", text: source)
            return
        }
        let name = clvd_event_type_name(event.type)!
        name.withMemoryRebound(to: UInt8.self, capacity: strlen(name)) {
            member("event_type", text: UnsafeBufferPointer(start: $0, count: strlen(name)))
        }
    }

    private func appendTime(
        _ event: clvd_event, _ source: (text: UnsafeBufferPointer<UInt8>, unit: clvd_time_unit)?
    ) {
        guard let source else { return }
        if event.status == UInt8(clvd_status_ok.rawValue) || event.time_ms != 0 {
            name("event_time_ms")
            append("\(event.time_ms)")
        } else if source.unit == clvd_time_milliseconds {
            member("event_time_ms", number: source.text)
        } else {
            member("event_time", text: source.text)
        }
    }

    private func name(_ name: StaticString) {
        if json[count - 1] != UInt8(ascii: "{") { append(",") }
        append("\"")
        append(UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        append("\":")
    }

    private func member(_ name: StaticString, text: UnsafeBufferPointer<UInt8>) {
        self.name(name)
        append(quoted: text)
    }

    /// A number as it is written, or, when that is not JSON, as a string (which `native` reads too, or rejects).
    private func member(_ name: StaticString, number text: UnsafeBufferPointer<UInt8>) {
        var value = 0.0
        guard clvd_parse_number(text.baseAddress, text.count, &value) else { return member(name, text: text) }
        self.name(name)
        append(text)
    }

    // MARK: Bytes

    private func reserve(_ more: Int) {
        guard count + more > capacity else { return }
        capacity = max(capacity * 2, count + more)
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        memcpy(larger, json, count)
        json.deallocate()
        json = larger
    }

    private func append(_ text: String) {
        var text = text
        text.withUTF8 { append($0) }
    }

    private func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let base = bytes.baseAddress else { return }
        reserve(bytes.count)
        memcpy(json + count, base, bytes.count)
        count += bytes.count
    }

    /// As a JSON string. Invalid UTF-8 stays as it is, so that the reader of the message rejects it too.
    private func append(quoted bytes: UnsafeBufferPointer<UInt8>) {
        reserve(bytes.count * 6 + 2)
        json[count] = UInt8(ascii: "\"")
        count += 1
        for byte in bytes {
            if byte < 0x20 {
                append(Self.escapes[Int(byte)])
            } else {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                    json[count] = UInt8(ascii: "\\")
                    count += 1
                }
                json[count] = byte
                count += 1
            }
        }
        json[count] = UInt8(ascii: "\"")
        count += 1
    }

    private static let escapes = (0..<0x20).map { ["\\u00", $0 < 16 ? "0" : "", String($0, radix: 16)].joined() }
}
