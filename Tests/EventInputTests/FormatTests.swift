import CEventParser
import Testing

@testable import EventInput

@Suite struct BuiltInFormats {
    @Test(arguments: EventFormat.builtInNames) func areReadableAndSayWhatTheyAre(name: String) throws {
        let format = try #require(EventFormat.builtIn(name))
        #expect(format.name == name)
        #expect(!format.summary.isEmpty)
        #expect(try EventFormat.load(name) == format)
    }

    @Test func nativeTakesEveryFieldAndEveryType() throws {
        let decoder = try decoder()
        let all = decoder.decode(
            """
            {"event_id":"e-1","event_time":"2024-02-29T12:00:00.5+01:00","user_id":"u-1","event_type":"add_to_cart",
             "product_id":"p-1","category":"shoes","price":19.5,"quantity":2,"amount":39,"currency":"USD",
             "order_id":"o-1","session_id":"s-1","unknown":{"deep":[1,2,{"x":null}]}}
            """)
        #expect(all.status == clvd_status_ok, "\(all.explanation)")
        #expect(all.type == clvd_type_add_to_cart)
        #expect(all.user == "u-1")
        #expect(all.eventID == "e-1")
        #expect(all.event.time_ms == milliseconds("2024-02-29T11:00:00.500Z"))
        #expect(all.event.product_hash == hash("p-1"))
        #expect(all.event.category_hash == hash("shoes"))
        #expect(all.event.order_hash == hash("o-1"))
        #expect(all.event.session_hash == hash("s-1"))
        #expect(all.event.event_id_hash == hash("e-1"))
        #expect([all.event.price, all.event.quantity, all.event.amount] == [19.5, 2, 39])
        #expect([all.event.offset, Int64(all.event.partition), Int64(all.event.topic)] == [7, 3, 1])
        for (number, name) in FormatReader.typeNames.enumerated() {
            let ids = #""user_id":42,"anonymous_id":"a","previous_id":"p""#
            let event = decoder.decode(#"{"event_time_ms":1700000000000,\#(ids),"event_type":"\#(name)"}"#)
            #expect(event.status == clvd_status_ok)
            #expect(event.event.type == number)
            #expect(event.user == "42")
            #expect(event.event.time_ms == 1_700_000_000_000)
        }
    }

    @Test func segmentOrderOfSeveralProductsIsOneEvent() throws {
        let decoder = try decoder("segment")
        func order(_ money: String) -> Decoded {
            decoder.decode(
                """
                {"type":"track","event":"Order Completed","messageId":"ajs-1","userId":"019mr8mf4r","anonymousId":"a-9",
                 "timestamp":"2024-03-01T10:20:30.123Z","sentAt":"2024-03-01T10:20:31.000Z",
                 "context":{"library":{"name":"analytics.js"},"sessionId":1709288430},
                 "properties":{"checkout_id":"fk","order_id":"50314b8e",\(money)"currency":"USD","products":[
                  {"product_id":"507f1f77","sku":"45790-32","category":"Games","price":19,"quantity":1},
                  {"product_id":"505bd76785","sku":"46493-32","category":"Toys","price":3,"quantity":2}]}}
                """)
        }
        let total = order(#""total":27.5,"revenue":25,"#)
        #expect(total.status == clvd_status_ok, "\(total.explanation)")
        #expect(total.type == clvd_type_purchase)
        #expect(total.user == "019mr8mf4r")
        #expect(total.eventID == "ajs-1")
        #expect(total.event.time_ms == milliseconds("2024-03-01T10:20:30.123Z"))
        #expect([total.event.amount, total.event.quantity, total.event.price] == [27.5, 3, 19])
        #expect(total.event.product_hash == hash("507f1f77"))
        #expect(total.event.category_hash == hash("Games"))
        #expect(total.event.order_hash == hash("50314b8e"))
        #expect(total.event.session_hash == hash("1709288430"))
        #expect(order(#""revenue":"25.00","#).event.amount == 25)
        #expect(order("").event.amount == 25)  // 19 + 2 × 3
    }

    @Test(arguments: [
        (#""type":"track","event":"Product Viewed","properties":{"sku":"G-32","price":18.99}"#, clvd_type_view),
        (#""type":"track","event":"Product Added""#, clvd_type_add_to_cart),
        (#""type":"track","event":"Product Removed""#, clvd_type_remove_from_cart),
        (#""type":"track","event":"Checkout Started""#, clvd_type_checkout),
        (#""type":"track","event":"Products Searched""#, clvd_type_search),
        (#""type":"track","event":"Order Refunded","properties":{"total":30}"#, clvd_type_refund),
        (#""type":"page","name":"Home""#, clvd_type_page_view),
        (#""type":"screen","name":"Home""#, clvd_type_page_view),
        (#""type":"track","event":"Something Else""#, clvd_type_other),
    ])
    func segmentNames(body: String, type: clvd_event_type) throws {
        let event = try decoder("segment").decode(
            #"{"anonymousId":"a-1","timestamp":"2024-03-01T10:20:30Z",\#(body)}"#)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.type == type)
        #expect(event.user == "a-1")
    }

    @Test func segmentIdentifyIsIgnored() throws {
        let event = try decoder("segment").decode(
            #"{"type":"identify","userId":"u","timestamp":"2024-03-01T10:20:30Z","traits":{"email":"a@b.c"}}"#)
        #expect(event.status == clvd_status_ignored_type)
    }

    @Test func ga4PurchaseFromTheExport() throws {
        let event = try decoder("ga4").decode(
            """
            {"event_date":"20210131","event_timestamp":"1612069510766593","event_name":"purchase",
             "event_params":[{"key":"value","value":{"int_value":"30"}},
              {"key":"currency","value":{"string_value":"USD"}},
              {"key":"ga_session_id","value":{"int_value":"4133064523"}}],
             "user_id":null,"user_pseudo_id":"1026454.4271112504",
             "ecommerce":{"total_item_quantity":"3","purchase_revenue":44.5,"transaction_id":"741471"},
             "items":[{"item_id":"9195841","item_name":"Google Tee","item_category":"Apparel","price":14,"quantity":"1"},
              {"item_id":"9195842","item_category":"Bags","price":15.25,"quantity":"2"}]}
            """)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.type == clvd_type_purchase)
        #expect(event.user == "1026454.4271112504")
        #expect(event.event.time_ms == 1_612_069_510_766)
        #expect([event.event.amount, event.event.quantity, event.event.price] == [44.5, 3, 14])
        #expect(event.event.product_hash == hash("9195841"))
        #expect(event.event.category_hash == hash("Apparel"))
        #expect(event.event.order_hash == hash("741471"))
        #expect(event.event.session_hash == hash("4133064523"))
    }

    @Test func ga4MeasurementRequestHoldsOneEvent() throws {
        func request(_ events: String) throws -> Decoded {
            try decoder("ga4").decode(
                #"{"client_id":"x.y","timestamp_micros":1612069510766593,"events":[\#(events)]}"#)
        }
        let purchase = """
            {"name":"purchase","params":{"currency":"USD","value":12.5,"transaction_id":"t-1",
             "items":[{"item_id":"SKU_1","price":12.5,"quantity":1}]}}
            """
        let event = try request(purchase)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.type == clvd_type_purchase)
        #expect(event.user == "x.y")
        #expect(event.event.amount == 12.5)
        #expect(event.event.order_hash == hash("t-1"))
        #expect(event.event.product_hash == hash("SKU_1"))
        let several = try request(purchase + "," + purchase)
        #expect(several.status == clvd_status_wrong_type)
        #expect(several.explanation.contains("more than one event"))
    }

    @Test func rees46Row() throws {
        let event = try decoder("rees46").decode(
            """
            {"event_time":"2019-10-01 00:00:00 UTC","event_type":"cart","product_id":"44600062",
             "category_id":"2103807459595387724","category_code":"","brand":"shiseido","price":"35.79",
             "user_id":"541312140","user_session":"72d76fde-8bb3-4e00-8c23-a032dfed738c"}
            """)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.type == clvd_type_add_to_cart)
        #expect(event.event.time_ms == milliseconds("2019-10-01T00:00:00Z"))
        #expect(event.event.category_hash == hash("2103807459595387724"))
        #expect(event.event.price == 35.79)
        #expect(event.user == "541312140")
    }
}

@Suite struct CustomFormats {
    static let minimal = """
        name: mine
        fields:
          user_id: [/u]
          event_time: { pointer: /t, unit: s }
        default_type: purchase
        """

    @Test func everyTimeUnit() throws {
        for (unit, written, expected) in [
            ("s", "1700000000", 1_700_000_000_000), ("ms", "1700000000123", 1_700_000_000_123),
            ("us", "\"1700000000123999\"", 1_700_000_000_123), ("s", "1700000000.25", 1_700_000_000_250),
            ("iso8601", "\"2023-11-14T22:13:20Z\"", 1_700_000_000_000),
            ("iso8601_utc", "\"2023-11-14\"", 1_699_920_000_000),
        ] as [(String, String, Int64)] {
            let yaml = Self.minimal.replacing("unit: s", with: "unit: \(unit)")
            let format = try EventFormat(yaml: yaml, source: "test")
            let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
            let event = decoder.decode(#"{"u":"a","t":\#(written)}"#)
            #expect(event.event.time_ms == expected, "\(unit): \(event.explanation)")
            #expect(event.type == clvd_type_purchase)
        }
    }

    /// RFC 6901: `~1` is a slash, `~0` a tilde.
    @Test func pointersHaveEscapes() throws {
        let yaml = """
            name: mine
            fields: { user_id: ['/a~1b'], event_time: { pointer: '/c~0d', unit: s } }
            default_type: view
            """
        let format = try EventFormat(yaml: yaml, source: "test")
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        let event = decoder.decode(#"{"a/b":"slash","a~b":"tilde","c/d":1,"c~d":1700000000}"#)
        #expect(event.user == "slash" && event.event.time_ms == 1_700_000_000_000, "\(event.explanation)")
    }

    @Test func assumedCurrencyAndUnknownTypes() throws {
        let yaml =
            Self.minimal.replacing("default_type: purchase", with: "unknown_types: ignore\ncurrency: eur")
            .replacing("fields:", with: "types: { sold: purchase }\nfields:\n  event_type: [/e]\n  amount: [/a]")
        let format = try EventFormat(yaml: yaml, source: "test")
        var currency = CurrencyTable()
        currency.rates = ["EUR": 1.25]
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: currency)
        #expect(decoder.decode(#"{"u":"a","t":1700000000,"e":"sold","a":8}"#).event.amount == 10)
        #expect(decoder.decode(#"{"u":"a","t":1700000000,"e":"bought"}"#).status == clvd_status_ignored_type)
        #expect(throws: InputError.self) {
            try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        }
    }

    @Test func allProblemsAreListedWithLineKeyAndRemedy() throws {
        let yaml = """
            name: broken
            feilds: 1
            fields:
              user: [/u]
              event_time: { pointer: /t, unit: minutes }
              user_id: [properties.user]
              event_type: /e
            types:
              Sold: purchse
              Seen: view
            unknown_types: drop
            numeric_strings: maybe
            currency: euro
            items:
              product_id: [/p]
            """
        let error = try #require(throws: FormatError.self) { try EventFormat(yaml: yaml, source: "mine.yaml") }
        let found = error.problems.map { "\($0.line ?? 0) \($0.key ?? "")" }
        #expect(
            found == [
                "2 feilds", "4 fields.user", "5 fields.event_time[0].unit", "6 fields.user_id[0]", "9 types.Sold",
                "11 unknown_types", "12 numeric_strings", "13 currency", "14 items",
            ])
        let text = "\(error)"
        for part in [
            "mine.yaml: 9 problems", "did you mean \"fields\"?", "did you mean \"user_id\"?",
            "did you mean \"purchase\"?", "\"/properties/user\"", "iso8601, iso8601_utc, s, ms, us",
        ] {
            #expect(text.contains(part), "\(text)")
        }
    }

    @Test(arguments: [
        ("name: [", "line 2: not valid YAML"), ("name: a\nname: b", "\"name\" more than once"), ("", "empty"),
        ("- 1", "a mapping is expected"),
        ("name: x\nfields: { user_id: [/u] }", "fields.event_time"),
        ("name: x\nfields: { user_id: [/u, /u/v], event_time: /t }\ndefault_type: view", "fields.user_id[1]"),
        ("name: x\nfields: { user_id: ['/a~2'], event_time: /t }\ndefault_type: view", "line 2, fields.user_id[0]"),
    ])
    func brokenFiles(yaml: String, expected: String) throws {
        let error = try #require(throws: FormatError.self) { try EventFormat(yaml: yaml, source: "x") }
        #expect("\(error)".contains(expected), "\(error)")
    }

    @Test func unknownNameSuggestsABuiltIn() throws {
        let error = try #require(throws: FormatError.self) { try EventFormat.load("segmnt") }
        #expect("\(error)".contains("did you mean \"segment\"?"))
    }

    @Test func unusableLimitsAreNamed() throws {
        var limits = InputLimits()
        limits.maxYear = 2106
        let error = try #require(throws: InputError.self) { try decoder(limits: limits) }
        #expect(error.description.contains("maxYear is 2106"))
        limits = InputLimits()
        limits.minYear = 1969
        #expect(throws: InputError.self) { try decoder(limits: limits) }
        limits.minYear = 2024
        limits.maxYear = 2023
        #expect(throws: InputError.self) { try decoder(limits: limits) }
        var currency = CurrencyTable()
        currency.rates = ["EUR": -1]
        #expect(throws: InputError.self) { try decoder(currency: currency) }
    }
}
