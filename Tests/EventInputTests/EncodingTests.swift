import CEventParser
import Foundation
import Testing

@testable import EventInput

extension RecordEncoding {
    /// Text in columns of fixed widths, padded with blanks; `columns` says `POINTER WIDTH, …`.
    fileprivate static let fixedWidth = RecordEncoding(name: "fixed_width", options: ["columns"]) { parser, format, _ in
        try FixedWidthRecords(parser, columns: format.encodingOptions["columns"])
    }
}

private final class FixedWidthRecords: RecordDecoder {
    private let parser: OpaquePointer
    private let columns: [(slot: Int, width: Int)]
    private let width: Int
    private var slots: [clvd_text]

    init(_ parser: OpaquePointer, columns: String?) throws {
        guard let columns else { throw InputError("encoding fixed_width needs columns") }
        self.parser = parser
        self.columns = columns.split(separator: ",").map {
            let words = $0.split(separator: " ")
            return (Int(clvd_parser_find_slot(parser, String(words[0]))), Int(words[1])!)
        }
        width = self.columns.map(\.width).reduce(0, +)
        slots = Array(repeating: clvd_text(), count: Int(clvd_parser_slot_count(parser)))
    }

    func decode(_ records: UnsafeBufferPointer<clvd_record>, into events: UnsafeMutablePointer<clvd_event>) {
        for (index, var record) in records.enumerated() {
            if split(record) == nil {
                _ = clvd_parser_decode_row(parser, slots, &record, &events[index])
            } else {
                events[index] = clvd_event()
                events[index].offset = record.offset
                events[index].status = UInt8(clvd_status_wrong_type.rawValue)
            }
            events[index].record = UInt32(index)
        }
    }

    func explain(_ record: clvd_record, _ event: clvd_event) -> String {
        if let fault = split(record) { return fault }
        var (record, event) = (record, event)
        return sentence { clvd_parser_explain_row(parser, slots, &record, &event, $0, $1) }
    }

    /// Fills the slots. Returns what is wrong with the record.
    private func split(_ record: clvd_record) -> String? {
        for slot in slots.indices { slots[slot] = clvd_text() }
        guard var at = record.value else { return nil }
        guard record.value_length == width else { return "record: \(record.value_length) bytes, expected \(width)" }
        for column in columns {
            let length = (0..<column.width).last { at[$0] != UInt8(ascii: " ") }.map { $0 + 1 } ?? 0
            if column.slot >= 0 { slots[column.slot] = clvd_text(data: at, length: UInt32(length)) }
            at += column.width
        }
        return nil
    }
}

@Suite struct Encodings {
    private static let fields = """
        name: mine
        fields:
          user_id: [/user/id]
          event_time: [/at]
          event_type: [/kind]
          amount: [/total]
        types: { purchase: purchase, view: view, refund: refund }
        """
    private static let fixedWidth = """
        encoding: { name: fixed_width, columns: "/user/id 5, /at 20, /unused 2, /kind 8, /total 6" }
        """

    private static func decoder(_ encoding: String = "") throws -> EventDecoder {
        let format = try EventFormat(
            yaml: fields + "\n" + encoding, source: "mine.yaml", encodings: RecordEncoding.all + [.fixedWidth])
        return try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
    }

    @Test func anotherEncodingGivesTheSameEvents() throws {
        let json = try Self.decoder("encoding: json")
        let fixed = try Self.decoder(Self.fixedWidth)
        let records = [
            (
                #"{"user":{"id":"ann"},"at":"2024-02-29T12:00:00Z","kind":"purchase","total":19.5}"#,
                "ann  2024-02-29T12:00:00Z--purchase19.50 "
            ),
            (
                #"{"user":{"id":"zoë"},"at":"2024-02-29T12:00:01Z","kind":"view"}"#,
                "zoë 2024-02-29T12:00:01Z  view          "
            ),
            (
                #"{"user":{"id":41},"at":"1999-12-31T23:59:59Z","kind":"refund","total":7}"#,
                "41   1999-12-31T23:59:59Z  refund  7     "
            ),
        ]
        for (written, padded) in records {
            let expected = json.decode(written)
            #expect(expected.status == clvd_status_ok, "\(expected.explanation)")
            #expect(content(fixed.decode(padded)) == content(expected))
        }
        let first = fixed.decode(records[0].1)
        #expect(first.user == "ann" && first.type == clvd_type_purchase && first.event.amount == 19.5)
        #expect(first.event.time_ms == 1_709_208_000_000)
        #expect([first.event.offset, Int64(first.event.partition), Int64(first.event.topic)] == [7, 3, 1])
    }

    @Test func eventsOfABatchHaveTheirIndices() throws {
        let fixed = try Self.decoder(Self.fixedWidth)
        let bytes = Array("ann  2024-02-29T12:00:00Z--purchase19.50 bob  2024-02-29T12:00:00Z--purchase5     ".utf8)
        bytes.withUnsafeBufferPointer { bytes in
            let records = [0, 41].map { start in
                var record = clvd_record()
                (record.value, record.value_length, record.timestamp_ms) = (bytes.baseAddress! + start, 41, -1)
                return record
            }
            withUnsafeTemporaryAllocation(of: clvd_event.self, capacity: 2) { events in
                records.withUnsafeBufferPointer { fixed.decode($0, into: events.baseAddress!) }
                #expect(events.map { text($0.user, $0.user_length) } == ["ann", "bob"])
                #expect(events.map(\.record) == [0, 1])
            }
        }
    }

    @Test func rejectionsAreThoseOfTheMappingOrOfTheEncoding() throws {
        let fixed = try Self.decoder(Self.fixedWidth)
        let noUser = fixed.decode("     2024-02-29T12:00:00Z  purchase19.50 ")
        #expect(noUser.status == clvd_status_missing_user)
        #expect(noUser.explanation == "field user_id (/user/id): missing")
        let short = fixed.decode("ann")
        #expect(short.status == clvd_status_wrong_type)
        #expect(short.explanation == "record: 3 bytes, expected 41")
        #expect(fixed.decode(bytes: nil).status == clvd_status_tombstone)
        #expect(fixed.decode("ann  2024-02-29T12:00:00Z--purchase19.50 ").status == clvd_status_ok)
    }

    @Test(arguments: [
        (
            "encoding: messagepack",
            "format mine.yaml: line 8, encoding: unknown encoding \"messagepack\"; known are json, avro, protobuf"
        ),
        (
            "encoding: jsonl",
            "format mine.yaml: line 8, encoding: unknown encoding \"jsonl\"; known are json, avro, protobuf; did you mean \"json\"?"
        ),
        (
            "encoding: { name: json, schema: x.json }",
            "format mine.yaml: line 8, encoding.schema: unknown key; known are name"
        ),
        ("encoding: { nam: json }", "format mine.yaml: line 8, encoding: has no name; known are json, avro, protobuf"),
        ("encoding: [json]", "format mine.yaml: line 8, encoding: a text is expected here"),
    ])
    func unusableEncodingIsRefused(encoding: String, message: String) {
        let error = #expect(throws: FormatError.self) {
            try EventFormat(yaml: Self.fields + "\n" + encoding, source: "mine.yaml")
        }
        #expect(error?.description == message)
    }

    @Test func missingOptionIsRefused() {
        let error = #expect(throws: InputError.self) { try Self.decoder("encoding: fixed_width") }
        #expect(error?.description == "encoding fixed_width needs columns")
    }

    @Test func filesAreReadAsRowsOrJSONWhateverTheTopicsHold() throws {
        let path = NSTemporaryDirectory() + "encodings-\(UUID()).jsonl"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try #"{"user":{"id":"ann"},"at":"2024-02-29T12:00:00Z","kind":"view"}"#.write(
            toFile: path, atomically: true, encoding: .utf8)
        let format = try EventFormat(
            yaml: Self.fields + "\n" + Self.fixedWidth, source: "mine.yaml",
            encodings: RecordEncoding.all + [.fixedWidth])
        let file = try EventFile(path: path, format: format, limits: InputLimits(), currency: CurrencyTable())
        let events = try file.next(maximum: 10)
        #expect(events.map { text($0.user, $0.user_length) } == ["ann"])
    }
}
