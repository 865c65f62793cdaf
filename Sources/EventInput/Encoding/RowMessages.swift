import CEventParser
import Foundation

/// Writes messages of a batch one after the other: CSV rows as JSON objects whose members are the columns.
final class RowMessages {
    private struct Entry {
        var key: UnsafeBufferPointer<UInt8>
        var value: Bytes
        var timeMs: Int64
        var status: UInt8
        var note: String?
    }

    private enum Bytes {
        /// In the row, which stays where it is.
        case row(UnsafeBufferPointer<UInt8>)
        /// In `json`, which may move until the batch is complete.
        case written(Range<Int>)
    }

    private var entries: [Entry] = []
    private var json = UnsafeMutablePointer<UInt8>.allocate(capacity: 1 << 16)
    private var capacity = 1 << 16
    private var count = 0

    /// Most bytes of the text of a row that is no message.
    private static let textBytes = 500

    deinit { json.deallocate() }

    func removeAll() {
        entries.removeAll(keepingCapacity: true)
        count = 0
    }

    /// The messages, valid until the next change, each with its `rowsRead`.
    func finish(rowsRead: [Int64]) -> [EventMessage] {
        func place(_ bytes: Bytes) -> UnsafeBufferPointer<UInt8> {
            switch bytes {
            case .row(let bytes): bytes
            case .written(let range): UnsafeBufferPointer(start: json + range.lowerBound, count: range.count)
            }
        }
        return zip(entries, rowsRead).map { entry, rows in
            EventMessage(
                key: entry.key, value: place(entry.value), timeMs: entry.timeMs, status: entry.status,
                note: entry.note, rowsRead: rows)
        }
    }

    /// A JSON document as it is. With a note, only its beginning: it is too long.
    func append(line: UnsafeBufferPointer<UInt8>, _ event: clvd_event, note: String?) {
        let part = note == nil ? line : UnsafeBufferPointer(rebasing: line.prefix(Self.textBytes))
        add(Self.user(event), .row(part), event, note)
    }

    /// The text of a CSV row that is no message, and why.
    func append(text: UnsafeBufferPointer<UInt8>, _ event: clvd_event, note: String) {
        let start = count
        append(UnsafeBufferPointer(rebasing: text.prefix(Self.textBytes)))
        add(Self.user(event), .written(start..<count), event, note)
    }

    /// A CSV row. An empty column is left out, as it says nothing. Numbers are written as JSON, times in their own unit.
    func append(_ event: clvd_event, _ slots: UnsafeMutableBufferPointer<clvd_text>, _ columns: Columns) {
        let start = count
        append("{")
        for member in columns.members where slots[member.slot].length > 0 {
            let text = UnsafeBufferPointer(start: slots[member.slot].data, count: Int(slots[member.slot].length))
            if count > start + 1 { append(",") }
            member.key.withUnsafeBufferPointer { append($0) }
            if !member.isNumber || !append(number: text) { append(quoted: text) }
        }
        append("}")
        var key = Self.user(event)
        if key.isEmpty, let place = columns.userPlaces.first(where: { slots[$0].length > 0 }) {
            key = UnsafeBufferPointer(start: slots[place].data, count: Int(slots[place].length))
        }
        add(key, .written(start..<count), event, nil)
    }

    private static func user(_ event: clvd_event) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: event.user, count: Int(event.user_length))
    }

    private func add(_ key: UnsafeBufferPointer<UInt8>, _ value: Bytes, _ event: clvd_event, _ note: String?) {
        entries.append(
            Entry(
                key: key, value: value, timeMs: event.knownTimeMs ?? -1, status: event.status, note: note))
    }

    /// A number as it is written, or, when JSON has no such form (`.5`), the same one in another. False: no number.
    private func append(number text: UnsafeBufferPointer<UInt8>) -> Bool {
        var value = 0.0
        if clvd_parse_number(text.baseAddress, text.count, true, &value) {
            append(text)
            return true
        }
        guard clvd_parse_number(text.baseAddress, text.count, false, &value), value.isFinite else { return false }
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { digits in
            let length = Int(clvd_write_number(value, digits.baseAddress))
            digits.withMemoryRebound(to: UInt8.self) { append(UnsafeBufferPointer(rebasing: $0[..<length])) }
        }
        return true
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
