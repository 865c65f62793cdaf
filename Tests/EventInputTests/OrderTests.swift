import CEventParser
import Testing

@testable import EventInput

/// What formats say of orders, in the events that they make.
@Suite struct OrderFormatTests {
    private static let whole = UInt8(clvd_flag_whole_order.rawValue)
    private static let noMoney = UInt8(clvd_flag_no_money.rawValue)

    private static func format(_ more: String) throws -> EventDecoder {
        let yaml = """
            name: shop
            fields:
              user_id: /user
              event_time: [{pointer: /t, unit: s}]
              event_type: /type
              amount: /sum
              price: /price
              quantity: /count
              order_id: /order
              session_id: /visit
            items: {pointer: /lines, price: /price, quantity: /count}
            types: {buy: purchase, back: refund, sent: return, see: view}

            """
        return try EventDecoder(
            format: EventFormat(yaml: yaml + more, source: "shop.yaml"), limits: InputLimits(),
            currency: CurrencyTable())
    }

    private static func event(_ decoder: EventDecoder, _ members: String) -> clvd_event {
        let decoded = decoder.decode(#"{"user":"u","t":1700000000,\#(members)}"#)
        #expect(decoded.status == clvd_status_ok, "\(decoded.explanation)")
        return decoded.event
    }

    @Test func flagsOfTheBuiltInFormats() throws {
        let formats = EventFormat.builtInNames.map { ($0, EventFormat.builtIn($0)!) }
        #expect(Set(formats.filter { $0.1.order == .whole }.map(\.0)).isSuperset(of: ["segment", "ga4"]))
        #expect(EventFormat.builtIn("native")?.order == .lines && EventFormat.builtIn("rees46")?.order == .lines)
        #expect(formats.filter { $0.1.orderFromSession }.map(\.0) == ["rees46"])
        #expect(formats.filter { $0.1.refundFromItems }.map(\.0) == ["segment", "posthog"])
    }

    @Test func recordsAreLinesUnlessTheFormatSaysWhole() throws {
        let buy = #""type":"buy","sum":3"#
        #expect(try Self.event(Self.format(""), buy).flags == 0)
        #expect(try Self.event(Self.format("order: lines"), buy).flags == 0)
        #expect(try Self.event(Self.format("order: whole"), buy).flags == Self.whole)
    }

    @Test(arguments: [
        (#""type":"buy""#, true), (#""type":"back","count":2"#, true), (#""type":"sent""#, true),
        (#""type":"buy","lines":[{"count":1}]"#, true), (#""type":"buy","sum":0"#, false),
        (#""type":"buy","price":0"#, false), (#""type":"buy","lines":[{"price":0}]"#, false), (#""type":"see""#, false),
    ])
    func eventsWithoutMoney(members: String, right: Bool) throws {
        #expect(try Self.event(Self.format(""), members).flags == (right ? Self.noMoney : 0))
    }

    @Test func aSessionStandsInForAnOrder() throws {
        let decoder = try Self.format("order_from_session: true")
        #expect(Self.event(decoder, #""type":"buy","sum":1,"visit":"v9""#).order_hash == hash("v9"))
        #expect(Self.event(decoder, #""type":"buy","sum":1,"visit":"v9","order":"o2""#).order_hash == hash("o2"))
        #expect(Self.event(decoder, #""type":"buy","sum":1"#).order_hash == 0)
        let without = try Self.format("order_from_session: false")
        #expect(Self.event(without, #""type":"buy","sum":1,"visit":"v9""#).order_hash == 0)
    }

    @Test func aRefundOfItems() throws {
        let lines = #","lines":[{"price":4,"count":2},{"price":1.5}]"#
        let decoder = try Self.format("refund_from_items: true")
        #expect(Self.event(decoder, #""type":"back","sum":20"# + lines).amount == 9.5)
        #expect(Self.event(decoder, #""type":"back","sum":6"# + lines).amount == 6)
        #expect(Self.event(decoder, #""type":"back","sum":20"#).amount == 20)
        #expect(Self.event(decoder, #""type":"back","sum":20,"lines":[{"count":1}]"#).amount == 20)
        #expect(Self.event(decoder, #""type":"buy","sum":20"# + lines).amount == 20)
        #expect(try Self.event(Self.format(""), #""type":"back","sum":20"# + lines).amount == 20)
    }

    @Test func whatIsGivenBackIsAsMuchWithAMinusSign() throws {
        let decoder = try Self.format("")
        #expect(Self.event(decoder, #""type":"back","sum":-8"#).amount == 8)
        #expect(Self.event(decoder, #""type":"sent","price":-3,"count":2"#).amount == 6)
        #expect(Self.event(decoder, #""type":"back","price":3,"count":-2"#).amount == 6)
        let bought = decoder.decode(#"{"user":"u","t":1700000000,"type":"buy","price":3,"count":-2}"#)
        #expect(bought.status == clvd_status_negative_amount)
    }

    @Test func wrongKeysAreNamed() {
        let wrong = #expect(throws: FormatError.self) {
            try EventFormat(
                yaml: """
                    name: x
                    fields: {user_id: /u, event_time: /t}
                    default_type: purchase
                    order: line
                    order_from_session: yes
                    refund_from_items: 1
                    """, source: "x.yaml")
        }
        #expect(
            wrong?.problems.map(\.description) == [
                #"line 4, order: "line" is none of lines, whole; did you mean "lines"?"#,
                #"line 5, order_from_session: "yes" is neither true nor false"#,
                #"line 6, refund_from_items: "1" is neither true nor false"#,
            ])
    }
}
