import CEventParser
import Foundation
import Testing

@testable import EventInput

/// A sound native event with some members replaced or, by nil, left out.
private func event(_ changes: [String: String?] = [:], more: String = "") -> String {
    var members: [String: String] = [
        "event_id": "\"e\"", "event_time": "\"2024-02-29T12:00:00Z\"", "user_id": "\"u\"", "event_type": "\"purchase\"",
        "amount": "10", "currency": "\"USD\"",
    ]
    for (name, value) in changes { members[name] = value }
    return "{" + members.sorted { $0.key < $1.key }.map { "\"\($0)\":\($1)" }.joined(separator: ",") + more + "}"
}

@Suite struct Rejections {
    struct Case: Sendable, CustomTestStringConvertible {
        var record: [UInt8]
        var status: clvd_status
        var reason: String
        var testDescription: String { reason }

        init(_ record: String, _ status: clvd_status, _ reason: String) {
            (self.record, self.status, self.reason) = (Array(record.utf8), status, reason)
        }

        init(bytes: [UInt8], _ status: clvd_status, _ reason: String) {
            (record, self.status, self.reason) = (bytes, status, reason)
        }
    }

    static let cases = [
        Case("", clvd_status_invalid_json, "record: the record is empty"),
        Case("[1]", clvd_status_invalid_json, "an event is a JSON object"),
        Case(event(more: ",\"x\":01"), clvd_status_invalid_json, "not a JSON number"),
        Case(event(more: ",\"x\":nul"), clvd_status_invalid_json, "not a JSON value"),
        Case(event(more: ","), clvd_status_invalid_json, "invalid JSON"),
        Case(event() + "{}", clvd_status_invalid_json, "bytes follow the event"),
        Case(String(event().dropLast(3)), clvd_status_invalid_json, "invalid JSON"),
        Case(event(["user_id": #""\ud800""#]), clvd_status_invalid_json, "lone surrogate"),
        Case(event(more: #","x":"\udc00\ud800""#), clvd_status_invalid_json, "lone surrogate"),
        Case(
            event(more: ",\"x\":" + String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000)),
            clvd_status_invalid_json, "nested deeper than 128"),
        Case(
            bytes: Array(event().utf8).map { $0 == UInt8(ascii: "u") ? 0xFF : $0 }, clvd_status_invalid_utf8,
            "invalid UTF-8"),
        // The three bytes of U+D800, which UTF-8 has not.
        Case(
            bytes: Array("{\"user_id\":\"".utf8) + [0xED, 0xA0, 0x80] + Array("\"}".utf8), clvd_status_invalid_utf8,
            "invalid UTF-8"),
        Case(event(["user_id": nil]), clvd_status_missing_user, "field user_id (/user_id): missing"),
        Case(event(["user_id": "null"]), clvd_status_missing_user, "field user_id (/user_id): missing"),
        Case(event(["user_id": "\"\""]), clvd_status_missing_user, "field user_id (/user_id): empty"),
        Case(
            event(["user_id": "\"Undefined\""]), clvd_status_missing_user,
            "field user_id (/user_id): string \"Undefined\" stands for a missing id"),
        Case(event(["user_id": #""a\u0000b""#]), clvd_status_invalid_user, "field user_id (/user_id): holds a NUL"),
        Case(
            event(["user_id": "\"" + String(repeating: "x", count: 513) + "\""]), clvd_status_invalid_user,
            "field user_id (/user_id): 513 bytes long, the limit is 512"),
        Case(
            event(["user_id": "1.5"]), clvd_status_wrong_type, "field user_id (/user_id): expected a string or integer"),
        Case(event(["event_time": nil]), clvd_status_missing_time, "field event_time (/event_time, "),
        Case(event(["event_time": "\"2024-02-30T12:00:00Z\""]), clvd_status_invalid_time, "field event_time"),
        Case(event(["event_time": "\"2024-02-29T12:00:00\""]), clvd_status_invalid_time, "with its zone"),
        Case(event(["event_time": "\"0000-01-01T00:00:00Z\""]), clvd_status_invalid_time, "field event_time"),
        Case(event(["event_time": "\"0001-01-01T00:00:00Z\""]), clvd_status_time_out_of_range, "field event_time"),
        Case(event(["event_time": "\"9999-12-31T23:59:59Z\""]), clvd_status_time_out_of_range, "field event_time"),
        Case(event(["event_time": "\"1989-12-31T23:59:59.999Z\""]), clvd_status_time_out_of_range, "field event_time"),
        Case(event(["event_time": "\"2101-01-01T00:00:00Z\""]), clvd_status_time_out_of_range, "field event_time"),
        Case(
            event(["event_time": nil, "event_time_ms": "1e999"]), clvd_status_time_out_of_range,
            "field event_time (/event_time_ms)"),
        Case(
            event(["event_time": "\"2024-03-01T01:00:00.001Z\""]), clvd_status_future_time,
            "field event_time (/event_time): 3600.001 s later"),
        Case(event(["amount": "\"much\""]), clvd_status_wrong_type, "field amount (/amount): expected a number"),
        Case(event(["amount": "true"]), clvd_status_wrong_type, "field amount (/amount): expected a number, got true"),
        Case(event(["order_id": "{}"]), clvd_status_wrong_type, "field order_id (/order_id): expected a string"),
        Case(event(["event_type": nil]), clvd_status_missing_type, "field event_type (/event_type): missing"),
        Case(event(["amount": "-0.01"]), clvd_status_negative_amount, "field amount (/amount): -0.01 is negative"),
        Case(
            event(["amount": "1234567.5"]), clvd_status_absurd_amount,
            "field amount (/amount): 1,234,567.5 is above the limit of 1,000,000 USD"),
        Case(
            event(["amount": "1000000.01"]), clvd_status_absurd_amount,
            "1,000,000.01 is above the limit of 1,000,000 USD"),
        Case(event(["amount": "-1234.5"]), clvd_status_negative_amount, "(/amount): -1,234.5 is negative"),
        Case(
            event(["quantity": "1e300"]), clvd_status_absurd_amount,
            "(/quantity): 1e+300 is above the limit of 1,000,000"),
        Case(event(["quantity": "-1"]), clvd_status_negative_amount, "field quantity (/quantity): -1 is negative"),
        Case(event(["amount": "1000000.01"]), clvd_status_absurd_amount, "field amount (/amount)"),
        Case(event(["amount": "1e999"]), clvd_status_absurd_amount, "field amount (/amount): inf"),
        Case(event(["price": "1e999"]), clvd_status_absurd_amount, "field price (/price): inf"),
        Case(event(["currency": "\"XXX\""]), clvd_status_unknown_currency, "field currency (/currency): no rate from"),
        Case(
            event(more: ",\"x\":\"" + String(repeating: "x", count: 1 << 20) + "\""), clvd_status_too_large,
            "the limit is 1048576"),
    ]

    @Test(arguments: cases) func recordsGetTheirStatusAndASentence(rejection: Case) throws {
        let decoded = try decoder().decode(bytes: rejection.record, timestamp: milliseconds("2024-03-01T00:00:00Z"))
        #expect(decoded.status == rejection.status, "\(decoded.explanation)")
        #expect(decoded.explanation.contains(rejection.reason), "\(decoded.explanation)")
        #expect(!decoded.explanation.contains("\n"))
    }

    @Test func everyRejectionOfTheDecoderHasACase() throws {
        // What the decoder does not decide: `input.skip`, the watermark and a customer's events of the day do.
        let others: Set = [
            clvd_status_unreadable.rawValue, clvd_status_skipped.rawValue, clvd_status_too_many_events.rawValue,
        ]
        let all = (clvd_status_first_rejection.rawValue..<clvd_status_too_late.rawValue).filter { !others.contains($0) }
        #expect(Set(Self.cases.map(\.status.rawValue)) == Set(all))
    }
}

@Suite struct Decoding {
    @Test func soundEventsAtTheEdges() throws {
        let decoder = try decoder()
        func accepts(_ json: String, _ check: (Decoded) -> Bool = { _ in true }) {
            let decoded = decoder.decode(json, timestamp: milliseconds("2024-03-01T00:00:00Z"))
            #expect(decoded.status == clvd_status_ok, "\(decoded.explanation)")
            #expect(check(decoded), "\(json.prefix(200))")
        }
        accepts(event()) { $0.event.amount == 10 && $0.user == "u" }
        accepts(event(["event_time": "\"2024-03-01T01:00:00Z\""]))  // an hour ahead is allowed
        accepts(event(["event_time": "\"1990-01-01T00:00:00Z\""]))
        let last = decoder.decode(event(["event_time": "\"2100-12-31T23:59:59.999Z\""]))
        #expect(last.status == clvd_status_ok, "\(last.explanation)")
        accepts(event(["user_id": #""\ud83d\ude00\u00e9""#])) { $0.user == "😀é" }
        accepts(event(["user_id": "12345678901234567890"])) { $0.user == "12345678901234567890" }
        accepts(event(["amount": "-0"])) { $0.event.amount == 0 && $0.event.amount.sign == .plus }
        accepts(event(["amount": "1e-999"])) { $0.event.amount == 0 }
        accepts(event(["amount": "1000000"]))
        accepts(event(["amount": "\"19.90\""])) { $0.event.amount == 19.9 }
        accepts(event(["amount": "null", "price": "2.5", "quantity": "4"])) { $0.event.amount == 10 }
        accepts(event(["amount": nil, "price": "2.5"])) { $0.event.amount == 2.5 }
        accepts(event(["event_type": "\"something new\""])) { $0.type == clvd_type_other }
        // The first of duplicate keys counts.
        accepts("{\"user_id\":\"first\"," + event(["user_id": "\"second\""]).dropFirst()) { $0.user == "first" }
        let deep = String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
        accepts(event(more: ",\"x\":\(deep)"))
        accepts(" \r\n\t" + event() + "\n")
        accepts(event() + String(repeating: " ", count: 1_048_576 - event().utf8.count))  // just the limit
    }

    /// State holds seconds in 32 bits, and 0 for never: the first second of 1970 and what follows 2105 are not times.
    @Test func timesStayWithinWhatStateHolds() throws {
        var limits = InputLimits()
        (limits.minYear, limits.maxYear) = (1970, 2105)
        let decoder = try decoder(limits: limits)
        for (time, status) in [
            ("1969-12-31T23:59:59.999Z", clvd_status_time_out_of_range),
            ("1970-01-01T00:00:00Z", clvd_status_time_out_of_range),
            ("1970-01-01T00:00:00.999Z", clvd_status_time_out_of_range), ("1970-01-01T00:00:01Z", clvd_status_ok),
            ("2105-12-31T23:59:59.999Z", clvd_status_ok), ("2106-01-01T00:00:00Z", clvd_status_time_out_of_range),
        ] {
            #expect(decoder.decode(event(["event_time": "\"\(time)\""])).status == status, "\(time)")
        }
        // The C interface refuses limits beyond it as well.
        let parser = try #require(clvd_parser_create())
        defer { clvd_parser_destroy(parser) }
        func accepts(_ from: Int64, _ end: Int64) -> Bool {
            var limits = clvd_limits(
                max_record_bytes: 1, max_user_bytes: 1, max_amount: 1, max_quantity: 1, min_time_ms: from,
                end_time_ms: end, max_future_skew_ms: -1)
            return clvd_parser_set_limits(parser, &limits)
        }
        #expect(accepts(1000, 4_294_967_296_000))
        #expect(!accepts(999, 4_294_967_296_000) && !accepts(1000, 4_294_967_296_001) && !accepts(5000, 5000))
    }

    @Test func firstAndLastYearMayBeTheSame() throws {
        var limits = InputLimits()
        (limits.minYear, limits.maxYear) = (2024, 2024)
        let decoder = try decoder(limits: limits)
        for (time, status) in [
            ("2023-12-31T23:59:59.999Z", clvd_status_time_out_of_range), ("2024-01-01T00:00:00Z", clvd_status_ok),
            ("2024-12-31T23:59:59.999Z", clvd_status_ok), ("2025-01-01T00:00:00Z", clvd_status_time_out_of_range),
        ] {
            #expect(decoder.decode(event(["event_time": "\"\(time)\""])).status == status, "\(time)")
        }
    }

    /// Epoch milliseconds by Python: `datetime.fromisoformat(text).timestamp() * 1000`.
    @Test(
        arguments: [
            ("2024-03-10T12:00:00-05:00", 1_710_090_000_000), ("2024-03-10T12:00:00+05:00", 1_710_054_000_000),
            ("2024-03-10T12:00:00+05:30", 1_710_052_200_000), ("2024-03-10T12:00:00-03:30", 1_710_084_600_000),
            ("2024-03-10T12:00:00+0045", 1_710_069_300_000), ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2096-02-29T00:00:00Z", 3_981_312_000_000), ("2100-03-01T00:00:00Z", 4_107_542_400_000),
            ("1999-12-31T23:59:59.999Z", 946_684_799_999), ("2024-02-29T23:30:00-01:00", 1_709_253_000_000),
        ] as [(String, Int64)])
    func timesAreWhatPythonSays(text: String, milliseconds expected: Int64) throws {
        #expect(milliseconds(text) == expected)
        #expect(try decoder().decode(event(["event_time": "\"\(text)\""])).event.time_ms == expected)
    }

    @Test(arguments: [
        "2100-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "2024-04-31T00:00:00Z",
        "2024-13-01T00:00:00Z", "2024-03-10T24:00:00Z", "2024-03-10T12:60:00Z", "2024-03-10T12:00:00+24:00",
        "2024-03-10T12:00:00+05:60",
    ])
    func whatIsNoTime(text: String) throws {
        #expect(milliseconds(text) == -1)
        #expect(try decoder().decode(event(["event_time": "\"\(text)\""])).status == clvd_status_invalid_time)
    }

    @Test func tombstonesAndKeysOfAnyLength() throws {
        let decoder = try decoder()
        #expect(decoder.decode(bytes: nil).status == clvd_status_tombstone)
        for count in [0, 1 << 20] {
            let key = [UInt8](repeating: 0xFF, count: count)
            #expect(decoder.decode(bytes: Array(event().utf8), key: key).status == clvd_status_ok)
        }
        // Member names, likewise.
        let name = String(repeating: "k", count: 1_000_000)
        #expect(decoder.decode(event(more: ",\"\(name)\":1,\"\":2")).status == clvd_status_ok)
    }

    @Test func aBatchKeepsItsOrderAndItsStrings() throws {
        let decoder = try decoder()
        // Escaped users live in the decoder, for the whole batch.
        let lines = (0..<300).map { index in
            Array((index % 3 == 2 ? "broken" : event(["user_id": "\"\\u0075\(index)\""])).utf8)
        }
        let bytes = lines.flatMap(\.self)
        bytes.withUnsafeBufferPointer { bytes in
            var start = 0
            let records = lines.enumerated().map { index, line in
                defer { start += line.count }
                return clvd_record(
                    key: nil, value: bytes.baseAddress! + start, key_length: 0, value_length: UInt32(line.count),
                    offset: 1000 + Int64(index), timestamp_ms: -1, partition: Int32(index % 7), topic: 2, headers: nil,
                    unreadable: 0)
            }
            let events = UnsafeMutablePointer<clvd_event>.allocate(capacity: records.count)
            defer { events.deallocate() }
            records.withUnsafeBufferPointer { decoder.decode($0, into: events) }
            for index in records.indices {
                let event = events[index]
                #expect(Int(event.record) == index && event.offset == 1000 + Int64(index))
                #expect(event.partition == Int32(index % 7) && event.topic == 2)
                if index % 3 == 2 {
                    #expect(decoder.explain(records[index], event).contains("an event is a JSON object"))
                } else {
                    #expect(text(event.user, event.user_length) == "u\(index)")
                }
            }
        }
    }

    @Test func cloudEventsHeadersStandInForTheBody() throws {
        // Names and values in turn, each ended by NUL, stand for the headers of a record.
        let lookup: clvd_header_lookup = { headers, name, length in
            var entry = headers!.assumingMemoryBound(to: CChar.self)
            while entry.pointee != 0 {
                let value = entry + strlen(entry) + 1
                if strcmp(entry, name!) == 0 {
                    length!.pointee = UInt32(strlen(value))
                    return UnsafeRawPointer(value).assumingMemoryBound(to: UInt8.self)
                }
                entry = value + strlen(value) + 1
            }
            return nil
        }
        let decoder = try decoder(headerLookup: lookup)
        func decode(_ json: String, _ values: [String: String]) -> Decoded {
            let text = values.map { "\($0)\0\($1)\0" }.joined() + "\0"
            return Array(text.utf8).withUnsafeBytes { decoder.decode(json, headers: $0.baseAddress) }
        }
        let bare = event(["event_id": nil, "event_time": nil])
        let both = ["ce_id": "A234", "ce_time": "2023-01-01T00:00:00Z"]
        let taken = decode(bare, both)
        #expect(taken.status == clvd_status_ok, "\(taken.explanation)")
        #expect(taken.event.event_id_hash == hash("A234"))
        #expect(taken.event.time_ms == milliseconds("2023-01-01T00:00:00Z"))
        // What the body says goes first.
        #expect(decode(event(), both).event.event_id_hash == hash("e"))
        #expect(decode(event(), both).event.time_ms == milliseconds("2024-02-29T12:00:00Z"))
        #expect(decode(bare, ["ce_id": "A234"]).status == clvd_status_missing_time)
        #expect(decode(bare, ["ce_time": "2023-01-01T00:00:00"]).status == clvd_status_invalid_time, "no zone")
        let wrong = decode(bare, ["ce_time": "noon"])
        #expect(wrong.status == clvd_status_invalid_time)
        #expect(wrong.explanation.contains("field event_time: ") && wrong.explanation.contains("\"noon\""))
    }

    @Test func moneyIsConverted() throws {
        var currency = CurrencyTable()
        currency.base = "EUR"
        currency.assumed = "GBP"
        currency.rates = ["GBP": 1.25, "USD": 0.5]
        let decoder = try decoder(currency: currency)
        #expect(decoder.decode(event()).event.amount == 5)
        #expect(decoder.decode(event(["currency": "\"eur\""])).event.amount == 10)
        #expect(decoder.decode(event(["currency": nil])).event.amount == 12.5)
        #expect(decoder.decode(event(["currency": nil, "price": "4"])).event.price == 5)
        // The limit is one of the base currency.
        let rich = decoder.decode(event(["amount": "900000", "currency": "\"GBP\""]))
        #expect(rich.status == clvd_status_absurd_amount)
    }

    /// By how much an event is ahead of its record's timestamp; beyond a day the timestamp is no clock.
    @Test(arguments: [(-1, 0), (0, 0), (59 * 60_000, 59 * 60_000), (86_400_000, 86_400_000), (86_400_001, 0)])
    func eventsAheadOfTheirRecords(ahead: Int64, expected: Int64) throws {
        var limits = InputLimits()
        limits.futureSkewSeconds = 1_000_000
        let decoder = try decoder(limits: limits)
        let time = milliseconds("2024-02-29T12:00:00Z")
        #expect(decoder.decode(bytes: Array(event().utf8), timestamp: time - ahead).event.ahead_ms == expected)
        #expect(decoder.decode(bytes: Array(event().utf8), timestamp: -1).event.ahead_ms == 0)
    }

    @Test func anEventTooLateIsExplainedToo() throws {
        let decoder = try decoder()
        let bytes = Array(event().utf8)
        bytes.withUnsafeBufferPointer { bytes in
            var record = clvd_record()
            record.value = bytes.baseAddress
            record.value_length = UInt32(bytes.count)
            var late = clvd_event()
            late.status = UInt8(clvd_status_too_late.rawValue)
            #expect(decoder.explain(record, late).contains("event_time"))
        }
    }
}
