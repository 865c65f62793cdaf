import CEventParser
import Testing

@testable import EventInput

/// A decoder of `CustomFormats.minimal` (user /u, time /t in seconds, purchases) with more keys, and with more fields.
func decoder(adding keys: String, fields: String = "") throws -> EventDecoder {
    let yaml = CustomFormats.minimal.replacing("fields:", with: "fields:\n\(fields)") + "\n" + keys
    let format = try EventFormat(yaml: yaml, source: "test")
    return try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
}

extension EventDecoder {
    /// An event of user `a` with more members.
    func decode(members: String) -> Decoded { decode(#"{"u":"a","t":1700000000,\#(members)}"#) }
}

@Suite struct Rules {
    // MARK: Filters

    @Test(arguments: [
        ("/test: false", #""test":false"#, true), ("/test: false", #""test":true"#, false),
        ("/test: false", #""x":1"#, false), ("/test: { not: true }", #""x":1"#, true),
        ("/test: { not: true }", #""test":true"#, false), ("/n: [1, 2]", #""n":2"#, true),
        ("/n: [1, 2]", #""n":"2""#, true), ("/n: [1, 2]", #""n":3"#, false), ("/n: null", #""n":null"#, true),
        ("/n: null", #""x":1"#, true), ("/n: null", #""n":[]"#, false), ("/n: { not: null }", #""n":"""#, false),
        ("/n: 'null'", #""n":null"#, false), ("/n: 'é'", #""n":"\u00e9""#, true), ("/n: null", #""n":false"#, false),
        ("/a/b: x\n  /c: y", #""a":{"b":"x"},"c":"y""#, true), ("/a/b: x\n  /c: y", #""a":{"b":"x"},"c":"z""#, false),
    ])
    func recordsThatDoNotMatchAreFiltered(condition: String, members: String, passes: Bool) throws {
        let event = try decoder(adding: "where:\n  \(condition)").decode(members: members)
        #expect(event.status == (passes ? clvd_status_ok : clvd_status_filtered))
    }

    /// Whether a record counts is asked before anything of it is judged.
    @Test func aFilteredRecordIsNoDeadLetterWhateverElseIsWrongWithIt() throws {
        let decoder = try decoder(
            adding: "where: { /test: false }\nitems: { pointer: [/lines], price: [/p] }")
        #expect(decoder.decode(#"{"test":true,"lines":[{"p":-1}]}"#).status == clvd_status_filtered)
        #expect(decoder.decode(#"{"test":false}"#).status == clvd_status_missing_user)
    }

    /// A condition may ask for an object whose members are places.
    @Test func aConditionMayBeAroundPlaces() throws {
        let decoder = try decoder(adding: "where: { /o: { not: null } }", fields: "  order_id: [/o/id]")
        #expect(decoder.decode(members: #""o":{"id":"7"}"#).event.order_hash == hash("7"))
        #expect(decoder.decode(members: #""o":null"#).status == clvd_status_filtered)
    }

    // MARK: Signs

    @Test(arguments: [
        (#""q":-6,"p":2.5"#, clvd_type_refund, 15.0, 6.0), (#""q":6,"p":2.5"#, clvd_type_purchase, 15, 6),
        (#""m":-40,"q":2"#, clvd_type_refund, 40, 2), (#""m":-40,"q":-2"#, clvd_type_refund, 40, 2),
        (#""m":"-40.5""#, clvd_type_refund, 40.5, 0), (#""m":-0.0"#, clvd_type_purchase, 0, 0),
        (#""lines":[{"p":10,"q":-2},{"p":1,"q":3}]"#, clvd_type_refund, 17, 1),
        (#""lines":[{"p":10,"q":2},{"p":1,"q":-3}]"#, clvd_type_purchase, 17, 1),
    ])
    func aNegativePurchaseIsARefundWhereTheMappingSaysSo(
        members: String, type: clvd_event_type, amount: Double, quantity: Double
    ) throws {
        let event = try decoder(
            adding:
                "negative: refund\nnumeric_strings: true\nitems: { pointer: [/lines], price: [/p], quantity: [/q] }",
            fields: "  amount: [/m]\n  price: [/p]\n  quantity: [/q]"
        ).decode(members: members)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.type == type)
        #expect([event.event.amount, event.event.quantity] == [amount, quantity])
    }

    @Test func otherEventsMustNotBeNegative() throws {
        let yaml = "negative: refund\ntypes: { seen: view }"
        let event = try decoder(adding: yaml, fields: "  amount: [/m]\n  event_type: [/e]")
            .decode(members: #""e":"seen","m":-1"#)
        #expect(event.status == clvd_status_negative_amount)
        #expect(event.explanation.contains("neither a purchase nor a refund"), "\(event.explanation)")
    }

    @Test func negativePricesStayWrong() throws {
        let event = try decoder(adding: "negative: refund", fields: "  price: [/p]").decode(members: #""p":-1"#)
        #expect(event.status == clvd_status_negative_amount)
    }

    // MARK: Numbers

    @Test func moneyInCentsIsDivided() throws {
        let decoder = try decoder(
            adding: "numeric_strings: true\nitems: { pointer: [/lines], price: { pointer: /p, divide: 100 } }",
            fields: "  amount: { pointer: /m, divide: 100 }")
        #expect(decoder.decode(members: #""m":1999"#).event.amount == 19.99)
        #expect(decoder.decode(members: #""m":"5""#).event.amount == 0.05)
        let items = decoder.decode(members: #""lines":[{"p":1999},{"p":1}]"#)
        #expect([items.event.amount, items.event.price] == [20, 19.99])
        let wrong = decoder.decode(members: #""m":"x""#)
        #expect(wrong.status == clvd_status_wrong_type)
        #expect(wrong.explanation.contains(#"expected a number, got string "x""#), "\(wrong.explanation)")
        #expect(decoder.decode(members: #""m":1e300"#).status == clvd_status_absurd_amount)
    }

    @Test(arguments: [
        ("1.234,56", 1234.56), ("1234,5", 1234.5), ("12", 12), ("1.234", 1234), ("1 234 567,00", 1_234_567),
        ("12\u{A0}345,6", 12345.6), ("12\u{202F}345", 12345), ("0,5", 0.5),
    ])
    func numbersHaveADecimalCommaWhereTheMappingSaysSo(text: String, value: Double) throws {
        let decoder = try decoder(
            adding: "decimal: comma\nitems: { pointer: [/lines], price: [/p] }", fields: "  amount: [/m]")
        let event = decoder.decode(members: #""m":"\#(text)""#)
        #expect(event.event.amount == value, "\(event.explanation)")
        #expect(decoder.decode(members: #""lines":[{"p":"\#(text)"}]"#).event.amount == value)
        // A JSON number has a point, whatever the mapping says.
        #expect(decoder.decode(members: #""m":12.345"#).event.amount == 12.345)
    }

    @Test(arguments: ["12.34", "1.23,4", "1,2,3", "1,", ",5", "1.2345", "1..234", "€12,50", "4,245.42", "1.234.5", ""])
    func otherNumbersAreRefusedThere(text: String) throws {
        let decoder = try decoder(
            adding: "decimal: comma\nitems: { pointer: [/lines], price: [/p] }", fields: "  amount: [/m]")
        let event = decoder.decode(members: #""m":"\#(text)""#)
        #expect(event.status == (text.isEmpty ? clvd_status_ok : clvd_status_wrong_type))
        if !text.isEmpty {
            #expect(
                event.explanation.contains("decimal comma (1.234,56), got string \"\(text)\""), "\(event.explanation)")
            #expect(decoder.decode(members: #""lines":[{"p":"\#(text)"}]"#).status == clvd_status_wrong_type)
        }
    }

    @Test func theFirstAmountThatIsNotZeroCounts() throws {
        let decoder = try decoder(adding: "nonzero: amount", fields: "  amount: [/a, /b, /c]\n  price: [/a]")
        #expect(decoder.decode(members: #""a":0.0,"b":null,"c":40"#).event.amount == 40)
        #expect(decoder.decode(members: #""a":5,"c":40"#).event.amount == 5)
        #expect(decoder.decode(members: #""a":0,"b":0"#).event.amount == 0)
        // Not an amount at all is not passed over.
        #expect(decoder.decode(members: #""a":0,"b":"x","c":40"#).status == clvd_status_wrong_type)
    }

    @Test func defaultsStandForWhatIsMissing() throws {
        let decoder = try decoder(
            adding: "defaults: { quantity: 3, category: shoes }",
            fields: "  price: [/p]\n  quantity: [/q]\n  category: [/c]")
        let event = decoder.decode(members: #""p":2,"c":"""#)
        #expect([event.event.amount, event.event.quantity] == [6, 3])
        #expect(event.event.category_hash == hash("shoes"))
        #expect(decoder.decode(members: #""p":2,"q":1,"c":"hats""#).event.category_hash == hash("hats"))
        #expect(decoder.decode(members: #""p":2,"q":1"#).event.amount == 2)
    }

    @Test func aPlaceMayStandForAWord() throws {
        let decoder = try decoder(
            adding: "types: { cancelled: refund }",
            fields: "  event_type: { pointer: /cancelled_at, as: cancelled }\n  amount: [/m]")
        #expect(decoder.decode(members: #""cancelled_at":"2024-01-01","m":4"#).type == clvd_type_refund)
        for nothing in ["null", "false", "\"\""] {
            #expect(decoder.decode(members: #""cancelled_at":\#(nothing),"m":4"#).type == clvd_type_purchase)
        }
    }

    // MARK: Ids

    @Test func idsWithZerosAfterAPointAreIntegersWhereTheMappingSaysSo() throws {
        let decoder = try decoder(adding: "whole_ids: true", fields: "  order_id: [/o]")
        func user(_ id: String) -> Decoded { decoder.decode(#"{"u":\#(id),"t":1700000000,"o":17.00}"#) }
        #expect(user("\"17850.0\"").user == "17850")
        #expect(user("17850.0").user == "17850")
        #expect(user("17850").event.order_hash == hash("17"))
        #expect(user("\"17850.5\"").user == "17850.5")
        #expect(user("\"v1.0\"").user == "v1.0")
        #expect(user("\"17850.\"").user == "17850.")
        #expect(user("17850.5").status == clvd_status_wrong_type)
        let plain = try EventInputTests.decoder(adding: "")
        #expect(plain.decode(#"{"u":"17850.0","t":1700000000}"#).user == "17850.0")
    }

    @Test(arguments: [
        "undefined", "UNDEFINED", "null", "None", "nan", "NaN", "[object Object]", "(not set)", "N/A", #"\\N"#, " ",
        "  \\t ", "00000000-0000-0000-0000-000000000000", "anonymous", "", "true", "distinct_id", #"\u006eull"#,
    ])
    func placeholdersAreMissingIds(word: String) throws {
        for format in ["native", "segment"] {
            let event = try decoder(format).decode(
                """
                {"user_id":"\(word)","userId":"\(word)","event_time":"2024-01-01T00:00:00Z","event_type":"view",
                 "timestamp":"2024-01-01T00:00:00Z","event":"Product Viewed"}
                """)
            #expect(event.status == clvd_status_missing_user, "\(format): \(event.user)")
            #expect(
                event.explanation.contains(word.isEmpty ? "empty" : "stands for a missing id"), "\(event.explanation)")
        }
        // The next place is asked, and so it is for other ids.
        let event = try decoder("segment").decode(
            """
            {"userId":"\(word)","anonymousId":"a-1","timestamp":"2024-01-01T00:00:00Z","event":"Order Completed",
             "messageId":"\(word)","properties":{"order_id":"\(word)","session_id":"\(word)","total":1}}
            """)
        #expect(event.user == "a-1", "\(event.explanation)")
        #expect(event.event.event_id_hash == 0 && event.event.order_hash == 0 && event.event.session_hash == 0)
    }

    @Test(arguments: [
        "undefined1", "nullius", "0", "-1", "anon", "u undefined", "1582917533873852417", "[object]", "nul",
        "00000000-0000-0000-0000-000000000001",
    ])
    func otherIdsAreNot(id: String) throws {
        let event = try decoder().decode(
            #"{"user_id":"\#(id)","event_time":"2024-01-01T00:00:00Z","event_type":"view"}"#)
        #expect(event.user == id, "\(event.explanation)")
    }

    @Test func aFormatHasPlaceholdersOfItsOwn() throws {
        let own = try decoder(adding: "placeholders: ['0', nobody]")
        #expect(own.decode(#"{"u":0,"t":1700000000}"#).status == clvd_status_missing_user)
        #expect(own.decode(#"{"u":"Nobody","t":1700000000}"#).status == clvd_status_missing_user)
        #expect(own.decode(#"{"u":"undefined","t":1700000000}"#).user == "undefined")
        let more = try decoder(adding: "placeholders: [usual, '0']")
        #expect(more.decode(#"{"u":"0","t":1700000000}"#).status == clvd_status_missing_user)
        #expect(more.decode(#"{"u":"null","t":1700000000}"#).status == clvd_status_missing_user)
        let none = try decoder(adding: "placeholders: []")
        #expect(none.decode(#"{"u":" ","t":1700000000}"#).user == " ")
        let null = try decoder(adding: "placeholders: [null]")
        #expect(null.decode(#"{"u":"null","t":1700000000}"#).status == clvd_status_missing_user)
    }

    @Test func guestsAreToldApartOrLeftOut() throws {
        let apart = try decoder(adding: "placeholders: ['0']\nguest: [/mail, /key]")
        #expect(apart.decode(#"{"u":0,"t":1700000000,"mail":"a@x.org","key":"k"}"#).user == "a@x.org")
        #expect(apart.decode(#"{"u":0,"t":1700000000,"mail":"","key":"k"}"#).user == "k")
        #expect(apart.decode(#"{"u":7,"t":1700000000,"mail":"a@x.org"}"#).user == "7")
        #expect(apart.decode(#"{"u":0,"t":1700000000}"#).status == clvd_status_missing_user)
        let out = try decoder(adding: "placeholders: ['0']\nguest: ignore")
        #expect(out.decode(#"{"u":0,"t":1700000000}"#).status == clvd_status_filtered)
        #expect(out.decode(#"{"u":7,"t":1700000000}"#).user == "7")
        // An id that is wrong is not one that is missing.
        #expect(out.decode(#"{"u":[7],"t":1700000000}"#).status == clvd_status_wrong_type)
    }

    // MARK: Where the body is

    @Test func theBodyGoesBeforeWhatIsAroundIt() throws {
        let decoder = try decoder(
            adding: "root: [/data, /payload/after]\nitems: { pointer: [/lines], price: [/p] }",
            fields: "  order_id: [/id]")
        let inner = decoder.decode(
            #"{"id":"e","t":1700000000,"data":{"id":"o","u":"a","t":1600000000,"lines":[{"p":2}]}}"#)
        #expect(inner.user == "a" && inner.event.order_hash == hash("o") && inner.event.amount == 2)
        #expect(inner.event.time_ms == 1_600_000_000_000)
        let outer = decoder.decode(#"{"id":"e","t":1700000000,"data":{"u":"a"}}"#)
        #expect(outer.event.order_hash == hash("e") && outer.event.time_ms == 1_700_000_000_000)
        #expect(decoder.decode(#"{"payload":{"after":{"u":"b","t":1700000000},"op":"c"}}"#).user == "b")
    }

    @Test func aBatchIsOneDeadLetterThatSaysSo() throws {
        let decoder = try decoder("segment")
        let event = #"{"type":"track","event":"Order Completed","userId":"u, [1]","timestamp":"2024-01-01T10:00:00Z"}"#
        for (batch, count) in [("[\(event), \(event)]", 2), ("[\(event)]", 1), ("[ ]", 0)] {
            let found = decoder.decode(#"{"batch": \#(batch), "sentAt": "2024-01-01T10:00:02Z", "writeKey": "k"}"#)
            #expect(found.status == clvd_status_wrong_type)
            #expect(found.explanation.contains("a batch of \(count) events in one record"), "\(found.explanation)")
        }
        // A member of that name in an event is no batch.
        let single = decoder.decode(String(event.dropLast()) + #","batch":[1]}"#)
        #expect(single.status == clvd_status_ok)
    }

    // MARK: Mistakes in them

    @Test(arguments: [
        ("where: { test: false }", 6, "write \"/test\""), ("where: { /test: { is: true } }", 6, "{ not: value }"),
        ("defaults: { quantity: much }", 6, "not a number"), ("defaults: { user_id: x }", 6, "unknown key"),
        ("nonzero: [amuont]", 6, "did you mean \"amount\"?"), ("decimal: dot", 6, "point, comma"),
        ("negative: refunds", 6, "did you mean \"refund\"?"),
        ("plaecholders: [x]", 6, "did you mean \"placeholders\"?"),
        ("items: { pointer: /l, price: { pointer: /p, divide: 0 } }", 6, "no positive number"),
        ("items: { pointer: /l, price: { pointer: /p, unit: s } }", 6, "unknown key"),
        ("items: { pointer: /l, price: [/p] }\ndefaults: { price: 1 }", 7, "before what the items say"),
        ("batch: [/u]\nwhere: { /t/x: 1 }", 7, "the parser does not take this pointer"),
    ])
    func mistakesAreNamedWithTheirLine(keys: String, line: Int, remedy: String) throws {
        let error = try #require(
            throws: FormatError.self
        ) { try EventFormat(yaml: CustomFormats.minimal + "\n" + keys, source: "test") }
        #expect(error.description.contains(remedy), "\(error)")
        #expect(error.problems.contains { $0.line == line }, "\(error)")
    }
}
