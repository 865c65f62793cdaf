import CEventParser
import Foundation
import Testing

@testable import EventInput

let header =
    "event_id,event_time_ms,user_id,event_type,item_id,category,price,quantity,amount,order_id,session_id"

/// A file that goes when the test ends.
final class TemporaryFile {
    let path: String

    init(_ bytes: some Sequence<UInt8>, _ name: String) throws {
        path = NSTemporaryDirectory() + "clvd-\(UUID().uuidString)-\(name)"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    convenience init(_ text: String, _ name: String = "events.csv") throws { try self.init(text.utf8, name) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func open(_ format: String = "native", limits: InputLimits = InputLimits()) throws -> EventFile {
        try EventFile(
            path: path, format: #require(EventFormat.builtIn(format)), limits: limits, currency: CurrencyTable())
    }
}

private struct Row: Equatable {
    var status: clvd_status
    var user = ""
    var amount = 0.0
    var product: UInt64 = 0
}

extension EventFile {
    fileprivate func all(_ maximum: Int = 100) throws -> [Row] {
        var rows: [Row] = []
        while case let events = try next(maximum: maximum), !events.isEmpty {
            for (index, event) in events.enumerated() {
                #expect(event.record == index)
                rows.append(
                    Row(
                        status: clvd_status(UInt32(event.status)), user: text(event.user, event.user_length),
                        amount: event.amount, product: event.product_hash))
            }
        }
        return rows
    }

    fileprivate func allMessages(
        _ maximum: Int = 100
    ) throws -> [(key: String, json: [UInt8], timeMs: Int64, note: String?)] {
        var all: [(key: String, json: [UInt8], timeMs: Int64, note: String?)] = []
        while case let messages = try nextMessages(maximum: maximum), !messages.isEmpty {
            all += messages.map { (String(decoding: $0.key, as: UTF8.self), Array($0.value), $0.timeMs, $0.note) }
        }
        return all
    }
}

/// A gzip member of one stored block.
private func gzip(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    func little(_ value: UInt32, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(value >> (8 * $0) & 255) } }
    var crc: UInt32 = ~0
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0xEDB8_8320 : 0) }
    }
    let length = UInt32(bytes.count)
    return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1] + little(length, 2) + little(~length, 2) + bytes + little(~crc, 4)
        + little(length, 4)
}

@Suite struct EventFiles {
    @Test func csvRowsBecomeEvents() throws {
        let file = try TemporaryFile(
            """
            \(header)
            cd-0,852076800000,00001,purchase,cd,music,11.77,1,11.77,o1,
            cd-1,852076800000,00004,purchase,cd,music,14.665,2,29.33,o2,s

            """)
        let events = try file.open()
        let batch = try events.next(maximum: 1)
        #expect(batch.count == 1)
        #expect(batch[0].time_ms == 852_076_800_000)
        #expect(batch[0].session_hash == 0)
        #expect(batch[0].event_id_hash == hash("cd-0"))
        #expect(try events.all() == [Row(status: clvd_status_ok, user: "00004", amount: 29.33, product: hash("cd"))])
        #expect(events.bytesRead == events.bytesTotal)
        #expect(events.bytesTotal == Int64(header.utf8.count + 1 + 60 + 62))
    }

    @Test func quotesAfterRFC4180() throws {
        let file = try TemporaryFile(
            "\u{FEFF}\"user_id\",event_time_ms,event_type,product_id,other\r\n"
                + "\"a,b\",1700000000000,view,\"x \"\"é\"\" 😀\",\r\n"
                + "\"two\nlines\",1700000000000,view,5\" disk,\"\"\r\n"
                + "\r\n"
                + "c,\"1700000000000\",\"view\",,last")
        let expected = [
            Row(status: clvd_status_ok, user: "a,b", product: hash("x \"é\" 😀")),
            Row(status: clvd_status_ok, user: "two\nlines", product: hash("5\" disk")),
            Row(status: clvd_status_ok, user: "c"),
        ]
        #expect(try file.open().all() == expected)
        #expect(try file.open().all(1) == expected)
        let messages = try file.open().allMessages()
        #expect(messages.map(\.key) == ["a,b", "two\nlines", "c"])
        let decoder = try decoder()
        #expect(messages.map { decoder.decode(bytes: $0.json).event.product_hash } == expected.map(\.product))
        #expect(messages.map { decoder.decode(bytes: $0.json).user } == expected.map(\.user))
    }

    @Test func rees46ColumnsAreKnownByTheirNames() throws {
        let file = try TemporaryFile(
            """
            event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
            2019-10-01 00:00:00 UTC,cart,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde
            2019-10-01 00:00:01 UTC,purchase,1,2,appliances.kitchen,,20.5,541312141,72d76fdf
            """)
        for format in ["native", "rees46", "segment"] {
            let batch = try file.open(format).next(maximum: 10)
            #expect(batch.map(\.type) == [UInt8(clvd_type_add_to_cart.rawValue), UInt8(clvd_type_purchase.rawValue)])
            #expect(batch[0].category_hash == hash("2103807459595387724"))
            #expect(batch[1].category_hash == hash("appliances.kitchen"))
            #expect(batch[1].amount == 20.5)
            let messages = try file.open(format).allMessages()
            #expect(
                String(decoding: messages[0].json, as: UTF8.self) == """
                    {"event_time":"2019-10-01 00:00:00 UTC","event_type":"cart","product_id":"44600062",\
                    "category_id":"2103807459595387724","price":35.79,"user_id":"541312140","user_session":"72d76fde"}
                    """)
            #expect(try file.open(format).format == EventFormat.builtIn("rees46"))
            #expect(messages[0].timeMs == 1_569_888_000_000)
        }
    }

    @Test func rejectedRowsStayRejectedAsMessages() throws {
        let sound = "e,1700000000000,u,purchase,i,c,1,1,1,o,s"
        let rows: [(row: String, status: clvd_status, reason: String)] = [
            ("e,1700000000000,,purchase,i,c,1,1,1,o,s", clvd_status_missing_user, "field user_id (/user_id): missing"),
            ("e,yesterday,u,purchase,i,c,1,1,1,o,s", clvd_status_invalid_time, "got \"yesterday\""),
            ("e,,u,purchase,i,c,1,1,1,o,s", clvd_status_missing_time, "field event_time"),
            ("e,1,u,purchase,i,c,1,1,1,o,s", clvd_status_time_out_of_range, "outside the accepted years"),
            ("e,1700000000000,u,,i,c,1,1,1,o,s", clvd_status_missing_type, "field event_type"),
            ("e,1700000000000,u,purchase,i,c,1,1,-1,o,s", clvd_status_negative_amount, "-1 is negative"),
            ("e,1700000000000,u,purchase,i,c,1,1,1e999,o,s", clvd_status_absurd_amount, "inf is above"),
            ("e,1700000000000,u,purchase,i,c,1,1,much,o,s", clvd_status_wrong_type, "got \"much\""),
            ("e,1700000000000,u\0,purchase,i,c,1,1,1,o,s", clvd_status_invalid_user, "NUL"),
            ("e,1700000000000,u,purchase", clvd_status_wrong_type, "4 columns, but the header has 11"),
            ("e,1700000000000,u,purchase,\"i\"x,c,1,1,1,o,s", clvd_status_wrong_type, "closing quote"),
        ]
        let text = ([header, sound] + rows.map(\.row)).joined(separator: "\n")
        let file = try TemporaryFile(text + "\ne,1700000000000,\"u")
        let events = try file.open()
        let batch = try events.next(maximum: 100)
        #expect(batch.count == rows.count + 2)
        for (index, row) in rows.enumerated() {
            #expect(clvd_status(UInt32(batch[index + 1].status)) == row.status, "\(row.row)")
            let sentence = events.explain(index + 1)
            #expect(sentence.contains("events.csv, row \(index + 3): ") && sentence.contains(row.reason), "\(sentence)")
        }
        #expect(events.explain(rows.count + 1).contains("not closed"))

        // The reader of the topic refuses each for the same reason, in the same words.
        let decoder = try decoder(headerLookup: noteLookup)
        let again = try file.open()
        let messages = try again.nextMessages(maximum: 100).map { (Array($0.value), $0.status, $0.timeMs, $0.note) }
        #expect(messages.count == batch.count)
        #expect(decoder.decode(bytes: messages[0].0).status == clvd_status_ok)
        for (index, row) in rows.enumerated() {
            let (json, status, time, note) = messages[index + 1]
            let decoded = withNote(note) { decoder.decode(bytes: json, headers: $0) }
            #expect(decoded.status == row.status, "\(String(decoding: json, as: UTF8.self))")
            #expect(UInt32(status) == row.status.rawValue)
            let sentence = again.explain(index + 1)
            #expect(sentence.contains("row \(index + 3)"))
            let words = decoded.explanation.replacing("string ", with: "").replacing("number ", with: "")
            #expect(
                sentence.hasSuffix(note == nil ? words.replacing("got 1", with: "got \"1\"") : decoded.explanation),
                "\(sentence) is not \(decoded.explanation)")
            // What has a time keeps it: no reader takes it for a record of the future.
            let hasTime =
                [clvd_status_negative_amount, clvd_status_absurd_amount].contains(row.status)
                || row.reason.contains("much")
            #expect(time == (hasTime ? 1_700_000_000_000 : -1), "\(row.row)")
        }
    }

    @Test func invalidUTF8StaysInvalid() throws {
        let row = Array("e,1700000000000,".utf8) + [0xC3, 0x28] + Array(",view,,,,,,,\n".utf8)
        let file = try TemporaryFile(Array((header + "\n").utf8) + row, "bad.csv")
        #expect(try file.open().all().map(\.status) == [clvd_status_invalid_utf8])
        let messages = try file.open().allMessages()
        let decoder = try decoder(headerLookup: noteLookup)
        let decoded = withNote(messages[0].note) { decoder.decode(bytes: messages[0].json, headers: $0) }
        #expect(decoded.status == clvd_status_invalid_utf8)
    }

    @Test func jsonLinesPassThrough() throws {
        let lines = [
            #"{"user_id":"a","event_time_ms":1700000000000,"event_type":"view", "x":[1]}"#, "not json",
            #"{"user_id":"\u0062","event_time_ms":1700000000001,"event_type":"view"}"#,
        ]
        let file = try TemporaryFile(lines.joined(separator: "\r\n") + "\n\n", "e.ndjson")
        let events = try file.open()
        #expect(try events.next(maximum: 2).map(\.user_length) == [1, 0])
        #expect(
            events.explain(1).hasSuffix("e.ndjson, row 2: record: invalid JSON: an event is a JSON object at byte 0"))
        #expect(try events.all().map(\.user) == ["b"])
        let messages = try file.open().allMessages(2)
        #expect(messages.map { String(decoding: $0.json, as: UTF8.self) } == lines)
        #expect(messages.map(\.key) == ["a", "", "b"])
        #expect(messages.map(\.timeMs) == [1_700_000_000_000, -1, 1_700_000_000_001])
    }

    @Test func longRowsAreSkippedWithoutMemory() throws {
        var limits = InputLimits()
        limits.maxRecordBytes = 1000
        let long = String(repeating: "x", count: 3_000_000)
        let line = #"{"user_id":"a","event_time_ms":1700000000000,"event_type":"view"}"#
        let lines = try TemporaryFile([line, "{\"a\":\"\(long)\"}", line].joined(separator: "\n"), "long.jsonl")
        let events = try lines.open(limits: limits)
        #expect(try events.next(maximum: 9).map { UInt32($0.status) } == [0, clvd_status_too_large.rawValue, 0])
        #expect(events.explain(1).contains("row 2: record: 3000008 bytes, the limit is 1000"))
        let messages = try lines.open(limits: limits).allMessages()
        #expect(messages.count == 3)
        #expect(messages[1].json.count == 500)
        #expect(messages[1].note == "too_large: \(events.name), row 2: record: 3000008 bytes, the limit is 1000")

        let row = "e,1700000000000,u,view,,,,,,,"
        let csv = try TemporaryFile("\(header)\n\(row)\n\"\(long)\n\",,,,\n\(row)\n")
        #expect(
            try csv.open(limits: limits).all().map(\.status) == [clvd_status_ok, clvd_status_too_large, clvd_status_ok])
        #expect(try csv.open(limits: limits).allMessages().map(\.key) == ["u", "", "u"])
        // The buffer is the batch and one row beside it, whatever the length of the row.
        let reader = try RowReader(path: lines.path, limit: 1000)
        while let row = try reader.next() { #expect(row.count <= 1 << 20) }
        #expect(reader.capacity <= 1 << 20)
    }

    @Test func gzipOfSeveralMembers() throws {
        let row = "e,1700000000000,u,view,,,,,,,\n"
        let bytes = gzip(header + "\ne,17000") + gzip("00000000,u,view,,,,,,,\n") + gzip(row + row)
        let file = try TemporaryFile(bytes, "events.bin")
        let events = try file.open()
        #expect(try events.all().count == 3)
        #expect(events.bytesTotal == Int64(bytes.count))
        #expect(events.bytesRead == events.bytesTotal)
        // Cut short: what is whole comes first.
        let cut = try TemporaryFile(bytes.dropLast(20), "cut.csv.gz").open()
        #expect(try cut.next(maximum: 9).count >= 1)
        let error = #expect(throws: InputError.self) { while try !cut.next(maximum: 1).isEmpty {} }
        #expect(error?.description.contains("ends early") == true)
    }

    @Test(arguments: [
        ("who,when\n1,2\n", "a.csv", "no column user_id; event_time or event_time_ms"),
        ("who;when\n1;2\n", "a.csv", "Found: who;when. Expected, separated by commas"),
        ("", "a.csv", "empty"), ("PK\u{3}\u{4}\0\0", "a.zip", "is not text"),
        ("user_id,event_type,event_time,user_id\n", "a.csv", "column \"user_id\" is there twice"),
    ])
    func unusableFilesSayWhy(content: String, name: String, reason: String) throws {
        let file = try TemporaryFile(content, name)
        let error = try #require(throws: InputError.self) { try file.open() }
        #expect(error.description.contains(reason) && error.description.contains(name), "\(error)")
    }

    @Test func emptyJSONLinesAreNoEvents() throws {
        #expect(try TemporaryFile("", "a.jsonl").open().all().isEmpty)
        #expect(throws: InputError.self) {
            try EventFile(
                path: "/no/such/file.csv", format: #require(EventFormat.builtIn("native")), limits: InputLimits(),
                currency: CurrencyTable())
        }
    }

    @Test func rowsOfIgnoredTypesAreNoMessages() throws {
        let yaml = """
            name: shop
            fields: { user_id: /who, event_time: { pointer: /when, unit: s }, event_type: /what, amount: /worth }
            types: { sold: purchase, noise: ignore }
            unknown_types: reject
            currency: USD
            """
        let file = try TemporaryFile(
            "when,who,what,worth\n1700000000,a,noise,\n1700000001,b,sold,.5\n1700000002,c,odd,\n")
        func open() throws -> EventFile {
            try EventFile(
                path: file.path, format: EventFormat(yaml: yaml, source: "shop.yaml"), limits: InputLimits(),
                currency: CurrencyTable())
        }
        #expect(
            try open().all().map(\.status) == [
                clvd_status_ignored_type, clvd_status_ok, clvd_status_missing_type,
            ])
        let events = try open()
        let messages = try events.nextMessages(maximum: 10).map { (String(decoding: $0.value, as: UTF8.self)) }
        #expect(
            messages == [
                #"{"when":1700000001,"who":"b","what":"sold","worth":0.5}"#,
                #"{"when":1700000002,"who":"c","what":"odd"}"#,
            ])
        #expect(events.explain(1).contains("row 4: field event_type (/what): \"odd\" is not in the table"))
        let decoder = try EventDecoder(
            format: EventFormat(yaml: yaml, source: "shop.yaml"), limits: InputLimits(), currency: CurrencyTable())
        #expect(decoder.decode(messages[0]).event.amount == 0.5)
        #expect(decoder.decode(messages[1]).status == clvd_status_missing_type)
        #expect(try open().allMessages(1).count == 2)
    }
}
