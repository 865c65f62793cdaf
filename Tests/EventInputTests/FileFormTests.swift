import CEventParser
import Foundation
import Testing

@testable import EventInput

/// A purchase of `user`, `second` seconds after 2024-01-01.
private func purchase(_ user: String, _ second: Int, _ amount: Int = 1) -> String {
    #"{"user_id": "\#(user)", "event_time_ms": \#(1_704_067_200_000 + second * 1000), "event_type": "purchase", "#
        + #""amount": \#(amount), "note": "a } [ , \" b"}"#
}

private struct Seen: Equatable {
    var user: String
    var status: UInt32
    var place: String
}

extension EventFile {
    /// Users, statuses and places of all rows; offsets must ascend.
    fileprivate func seen(_ maximum: Int = 100) throws -> [Seen] {
        var all: [Seen] = []
        var offset: Int64 = 0
        while case let events = try next(maximum: maximum), !events.isEmpty {
            for (i, event) in events.enumerated() {
                #expect(event.offset > offset && Int(event.record) == i)
                offset = event.offset
                let place = explain(i).split(separator: ":")[0].split(separator: ", ").dropFirst().joined(
                    separator: ", ")
                all.append(Seen(user: text(event.user, event.user_length), status: UInt32(event.status), place: place))
            }
        }
        return all
    }
}

@Suite struct FileForms {
    private static let ann = purchase("ann", 0)
    private static let bob = purchase("bob", 1)
    private static let pretty = """
        {
          "user_id": "ann",
          "event_time_ms": 1704067200000,
          "items": [
            {"x": "}{"}
          ],
          "event_type": "view"
        }
        """

    /// Every way in which exports write JSON has the same two events.
    @Test(arguments: [
        "\(ann)\n\(bob)\n", "\(ann),\n\(bob),\r\n", "[\(ann), \(bob)]", "[\n\(ann),\n\(bob)\n]\n", "[\(ann)]\n[\(bob)]",
        "\u{FEFF} [\(ann),\(bob),]", "\(pretty)\n\(bob)", "[\(pretty)\n, \(bob)\n]", "\(pretty),\n\(bob)",
        "[\(ann),\(bob)",
        #"{"batch": [\#(ann), \#(bob)], "sentAt": "x"}"#, #"{"a": [{"batch": 1}], "batch": [\#(ann)]}"# + "\n\(bob)",
        "\(ann)\n" + #"{"batch":[\#(bob)]}"#,
    ])
    func jsonOfAnyForm(content: String) throws {
        let file = try TemporaryFile(content, "events.json")
        for maximum in [1, 100] {
            let seen = try file.open().seen(maximum)
            #expect(seen.map(\.user) == ["ann", "bob"] && seen.allSatisfy { $0.status == 0 }, "\(seen)")
        }
        let events = try file.open()
        var users: [String] = []
        while case let messages = try events.nextMessages(maximum: 10), !messages.isEmpty {
            for message in messages {
                users.append(try decoder().decode(bytes: Array(message.value)).user)
                #expect(message.note == nil && message.timeMs >= 1_704_067_200_000)
            }
        }
        #expect(users == ["ann", "bob"])
    }

    /// Answers of an interface: the events are in a member of one long object, or of several.
    @Test func aListOfEventsInAnObject() throws {
        let rows = (0..<3000).map { purchase("u\($0)", $0) }
        let list = rows.joined(separator: ",")
        let format = try EventFormat(
            yaml: """
                name: list
                fields: {user_id: /user_id, event_time: [{pointer: /event_time_ms, unit: ms}], event_type: /event_type}
                types: {purchase: purchase}
                batch: [/orders]
                """, source: "test")
        var limits = InputLimits()
        limits.maxRecordBytes = 10_000
        for text in [
            #"{"orders":[\#(list)]}"#, "\n{ \"orders\" :\n[\(list)\n], \"next\": {\"a\": [{}, \"]}\"]}}\n",
            #"{"orders":[\#(rows[..<2000].joined(separator: ","))],"page":1}"# + "\n"
                + #"{"orders":[\#(rows[2000...].joined(separator: ",\n"))]}"#,
            #"{"batch":[\#(list)]"#,
        ] {
            let file = try TemporaryFile(text, "events.json")
            let events = try EventFile(
                path: file.path, format: format, limits: limits, currency: CurrencyTable())
            let seen = try events.seen()
            #expect(seen.map(\.user) == rows.indices.map { "u\($0)" } && seen.allSatisfy { $0.status == 0 })
            #expect(seen.last?.place == "row 3000")
        }
    }

    @Test func rowsKeepTheirNumbers() throws {
        let lines = [Self.ann, #"{"batch": [\#(Self.bob), {"user_id": "x"}, 7]}"#, "", "oops", Self.bob]
        let file = try TemporaryFile(lines.joined(separator: "\n"), "events.jsonl")
        let missing = clvd_status_missing_type.rawValue
        // An array that does not hold events alone is none of events.
        #expect(
            try file.open().seen().map(\.place) == ["row 1", "row 2", "row 4", "row 5"])
        let batch = lines[1].replacing(", 7", with: "")
        let other = try TemporaryFile([lines[0], batch, "", "oops", Self.bob].joined(separator: "\n"), "events.jsonl")
        #expect(
            try other.open().seen() == [
                Seen(user: "ann", status: 0, place: "row 1"),
                Seen(user: "bob", status: 0, place: "row 2, event 1 of its batch"),
                Seen(user: "", status: missing, place: "row 2, event 2 of its batch"),
                Seen(user: "", status: clvd_status_invalid_json.rawValue, place: "row 4"),
                Seen(user: "bob", status: 0, place: "row 5"),
            ])
        let array = try TemporaryFile("[\(Self.ann), 7, \"x\", {\"user_id\": \"open}\n, \(Self.bob)]", "a.json").open()
            .seen()
        #expect(array.map(\.place) == ["row 1", "row 2", "row 3", "row 4", "row 5"])
        #expect(array.map { $0.status == 0 } == [true, false, false, false, true], "\(array)")
    }

    /// A bracket that is missing costs the event that it is missing in, and that is named.
    @Test(
        arguments: [
            // The object's own brace; that of an object or array inside of it; the first one.
            { $0.replacing(", \"note\"", with: "\n, \"note\"").dropLast() + "" },
            { $0.dropLast() + #","in":{"x":{"y":[1,{}]}"# }, { $0.dropLast() + #","in":[{"x":1},{"y":2}}"# },
            { $0.dropLast() + #","in":[{"x":1],"y":2}"# }, { $0.dropLast() + #","in":[[{"x":[1}]]}"# },
            { $0.dropLast() + "," },
        ] as [@Sendable (String) -> String])
    func aMissingBracketCostsOneEvent(damage: @Sendable (String) -> String) throws {
        let rows = (0..<6).map { purchase("u\($0)", $0) }
        for broken in [0, 2, 5] {
            var all = rows
            all[broken] = damage(rows[broken])
            for separator in [",", ",\n", "\n,\n  "] {
                for form in ["[\(all.joined(separator: separator))]\n", "[\n" + all.joined(separator: separator)] {
                    let seen = try TemporaryFile(form, "events.json").open().seen()
                    let sound = seen.filter { $0.status == 0 }
                    #expect(sound.map(\.user) == rows.indices.filter { $0 != broken }.map { "u\($0)" }, "\(form)")
                    #expect(seen.count == 6 && seen.first { $0.status != 0 }?.place == "row \(broken + 1)", "\(form)")
                }
            }
        }
    }

    /// What is no fault: objects in arrays in objects, and deeper than brackets are told apart.
    @Test func nestedObjectsAreOneEvent() throws {
        for depth in [3, 63, 64, 65, 120] {
            let open = String(repeating: #"{"a":[{"b":1},"#, count: depth / 2)
            let nested = open + "{}" + String(repeating: "]}", count: depth / 2)
            let row = Self.ann.dropLast() + #","in": \#(nested)}"#
            let seen = try TemporaryFile("[\(row),\n\(Self.bob)]", "events.json").open().seen()
            #expect(seen.map(\.user) == ["ann", "bob"] && seen.allSatisfy { $0.status == 0 }, "\(depth)")
        }
    }

    /// A first line that was cut short does not make one document of the file.
    @Test func aLineCutShortStaysALine() throws {
        let file = try TemporaryFile("\(Self.ann.dropLast(9))\n\(Self.ann)\n\(Self.bob)\n", "events.jsonl")
        #expect(try file.open().seen().map(\.user) == ["", "ann", "bob"])
    }

    @Test func unknownTypesOfBatchesCountOnce() throws {
        let odd = Self.ann.replacing("\"purchase\"", with: "\"odd\"")
        let file = try TemporaryFile(
            "\(odd)\n" + #"{"batch": [\#(odd), \#(odd), \#(Self.bob)]}"# + "\n\(odd)", "e.jsonl")
        let events = try file.open()
        events.countUnknownTypes()
        events.countCurrencies()
        _ = try events.seen()
        #expect(events.unknownTypes.names.map(\.count) == [4])
        #expect(events.currencies == ["USD": 5])
    }

    // MARK: Order

    /// Rows of 200 users in no order, with equal times, refused rows and quotes, as CSV and their places by hand.
    private func shuffled(_ count: Int) -> (csv: String, sorted: [String]) {
        var random = SystemRandomNumberGenerator()
        var rows: [(time: Int?, text: String)] = []
        for i in 0..<count {
            let time = Int.random(in: 0..<count / 4, using: &random)
            let isRefused = i > 0 && i % 17 == 0
            let stamp = isRefused ? "" : String(1_704_067_200_000 + time * 86_400_000)
            rows.append((isRefused ? nil : time, "\"e \"\"\(i)\"\"\",\(stamp),u\(i),view,,,,,,,"))
        }
        var last = 0
        let keyed = rows.map { row in
            last = row.time ?? last
            return (last, row.text)
        }
        let sorted = keyed.enumerated().sorted { ($0.1.0, $0.0) < ($1.1.0, $1.0) }.map(\.1.1)
        return (([header] + rows.map(\.text)).joined(separator: "\n") + "\n", sorted)
    }

    /// A part is written after each 8192 rows, where memory is short: three of them here.
    @Test(arguments: [512 << 20, 3000]) func rowsAreSortedByTimeWhereSomeAreTooLate(memory: Int) throws {
        let (count, refused) = (20_000, 1176)
        let (csv, sorted) = shuffled(count)
        let file = try TemporaryFile(csv)
        let events = try file.open()
        let order = try #require(try events.sortIfLate(allowedLatenessSeconds: 3600, memory: memory))
        #expect(
            events.isSorted && order.late > 100 && order.events == count - refused
                && order.mostBehindMs % 86_400_000 == 0)
        // The text of a row is that of the file.
        let target = file.path + ".sorted.csv"
        defer { try? FileManager.default.removeItem(atPath: target) }
        try events.writeSorted(to: target)
        let written = try String(contentsOfFile: target, encoding: .utf8).split(separator: "\n").map(String.init)
        #expect(written == [header] + sorted)
        var times: [Int64] = []
        var ids: [String] = []
        while case let batch = try events.next(maximum: 37), !batch.isEmpty {
            times += batch.filter { $0.status == 0 }.map(\.time_ms)
            ids += batch.filter { $0.status == 0 }.map { text($0.event_id, $0.event_id_length) }
            #expect(zip(batch, batch.dropFirst()).allSatisfy { $0.offset < $1.offset })
        }
        #expect(times == times.sorted() && times.count == count - refused)
        let expected = sorted.filter { !$0.contains(",,u") }.map { row in
            "e \"\(row.split(separator: "\"")[1])\""
        }
        #expect(ids == expected)
        #expect(events.rowsRead == count && events.bytesRead == events.bytesTotal)
    }

    @Test func whatAStreamTakesStaysInItsOrder() throws {
        let rows = [0, 3600, 0, 7200, 3601].map { purchase("u\($0)", $0) }
        let file = try TemporaryFile(rows.joined(separator: "\n"), "e.jsonl")
        let events = try file.open()
        let order = try #require(try events.sortIfLate(allowedLatenessSeconds: 3600))
        #expect(!events.isSorted && order.behind == 2 && order.late == 0 && order.mostBehindMs == 3_600_000)
        #expect(try events.seen().map(\.user) == ["u0", "u3600", "u0", "u7200", "u3601"])
        let other = try file.open()
        _ = try other.sortIfLate(allowedLatenessSeconds: 3598)
        #expect(other.isSorted)
        #expect(try other.seen().map(\.user) == ["u0", "u0", "u3600", "u3601", "u7200"])
        #expect(try other.seen().isEmpty)
    }

    @Test func pipesAreNotSorted() throws {
        let path = NSTemporaryDirectory() + "clvd-\(UUID().uuidString).jsonl"
        #expect(mkfifo(path, 0o600) == 0)
        defer { unlink(path) }
        let text = [purchase("b", 90_000), purchase("a", 0)].joined(separator: "\n")
        Thread { try? text.write(to: URL(fileURLWithPath: path), atomically: false, encoding: .utf8) }.start()
        let events = try EventFile(
            path: path, format: #require(EventFormat.builtIn("native")), limits: InputLimits(),
            currency: CurrencyTable())
        #expect(try events.sortIfLate(allowedLatenessSeconds: 3600) == nil)
        #expect(try events.seen().map(\.user) == ["b", "a"])
    }

    // MARK: Messages

    /// A CSV row and its message are the same event for a reader of the topic.
    @Test func messagesAreTheSameEvents() throws {
        let cases: [(format: String, csv: String)] = [
            (
                "native",
                "\(header)\n\"a,1\",1700000000000,\"u \"\"1\"\"\",purchase,i,c,+1.50,007,.5,o,s\nb,1700000000001,u2,odd,,,,,,,"
            ),
            (
                "rees46",
                "event_time,event_type,product_id,category_code,price,user_id,user_session\n"
                    + "2019-11-01 00:00:00 UTC,purchase,1,a.b,10.93,520001,s1\n2019-11-01 00:03:00 UTC,cart,1,,0.5,7,"
            ),
            (
                "ga4",
                "event_timestamp,user_id,event_name,event_id\n1704067200000000,u,purchase,7\n1704067200000001,v,odd,8"
            ),
        ]
        for (format, csv) in cases {
            let file = try TemporaryFile(csv)
            let events = try file.open(format)
            let batch = try events.next(maximum: 10)
            let reader = try decoder(format)
            let sender = try file.open(format)
            let messages = try sender.nextMessages(maximum: 10)
            #expect(batch.count == 2 && messages.count == 2)
            for (event, message) in zip(batch, messages) {
                let decoded = reader.decode(bytes: Array(message.value), timestamp: message.timeMs).event
                #expect(decoded.status == 0 && decoded.time_ms == event.time_ms && decoded.type == event.type)
                #expect(decoded.amount == event.amount && decoded.price == event.price)
                #expect(decoded.quantity == event.quantity && decoded.order_hash == event.order_hash)
                #expect(decoded.product_hash == event.product_hash && decoded.category_hash == event.category_hash)
                #expect(decoded.session_hash == event.session_hash && decoded.event_id_hash == event.event_id_hash)
                #expect(decoded.flags == event.flags)
            }
            withExtendedLifetime((events, sender)) {}
        }
    }

    /// Amounts as people write them are refused as such, in the words of the file, whoever reads them.
    @Test(arguments: ["4,245.42", "1.234,56", "EUR 12.50", "(25.00)", "0x19", "25."])
    func amountsAreRefusedInTheSameWords(amount: String) throws {
        let csv = "user_id,event_time,event_type,amount\nu,2024-01-01T00:00:00Z,purchase,\"\(amount)\"\n"
        let file = try TemporaryFile(csv)
        let events = try file.open()
        #expect(try events.next(maximum: 1)[0].status == UInt8(clvd_status_wrong_type.rawValue))
        #expect(events.explain(0).hasSuffix("field amount (/amount): expected a number, got \"\(amount)\""))
        let sender = try file.open()
        let message = try sender.nextMessages(maximum: 1)[0]
        let decoded = try decoder().decode(bytes: Array(message.value), timestamp: message.timeMs)
        #expect(decoded.status == clvd_status_wrong_type && message.timeMs == milliseconds("2024-01-01T00:00:00Z"))
        #expect(decoded.explanation == "field amount (/amount): expected a number, got string \"\(amount)\"")
        withExtendedLifetime(sender) {}
    }

    @Test func notesOfStrangersMakeNoEvents() throws {
        let decoder = try decoder(headerLookup: noteLookup)
        let sound = Self.ann
        for note in ["", "wrong_type", "ok: fine", "tombstone: x", "nonsense: x", String(repeating: "x", count: 2000)] {
            #expect(
                withNote(note) { decoder.decode(bytes: Array(sound.utf8), headers: $0) }.status == clvd_status_ok,
                "\(note)")
        }
        let refused = withNote("wrong_type: row 7\u{1b}[2J") { decoder.decode(bytes: Array(sound.utf8), headers: $0) }
        #expect(refused.status == clvd_status_wrong_type && refused.explanation == "row 7?[2J")
    }
}
