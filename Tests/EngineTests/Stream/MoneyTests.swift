import CEventParser
import Testing

@testable import Engine

/// What customers are worth, from records as sources write them to the value to date. All expected values are by hand.
@Suite struct MoneyTests {
    /// A native event of a user, some hours after 2024-03-01.
    private static func native(_ user: String, _ hours: Int, _ type: String, _ fields: String) -> String {
        let (day, hour) = (hours / 24, hours % 24)
        let month = day < 31 ? 3 : 4
        let time = "2024-0\(month)-\(pad(day % 31 + 1))T\(pad(hour)):00:00Z"
        return #"{"event_time":"\#(time)","user_id":"\#(user)","event_type":"\#(type)"\#(fields)}"#
    }

    private static func pad(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }

    private static func segment(_ user: String, _ hours: Int, _ event: String, _ properties: String) -> String {
        let time = "2024-03-\(pad(hours / 24 + 1))T\(pad(hours % 24)):00:00Z"
        return #"{"type":"track","event":"\#(event)","timestamp":"\#(time)","userId":"\#(user)","#
            + #""properties":{\#(properties)}}"#
    }

    // MARK: Refunds

    /// A purchase of 70 in order x, then what is given back.
    @Test(arguments: [
        ("all of it", [#"refund|,"order_id":"x","amount":70"#], 0.0),
        ("a part", [#"refund|,"order_id":"x","amount":25.5"#], 44.5),
        ("more than it brought", [#"refund|,"order_id":"x","amount":90"#], 0),
        ("twice", [#"refund|,"order_id":"x","amount":70"#, #"refund|,"order_id":"x","amount":70"#], 0),
        ("in two parts", [#"refund|,"order_id":"x","amount":30"#, #"refund|,"order_id":"x","amount":30"#], 10),
        ("no amount", [#"refund|,"order_id":"x""#], 0),
        ("a part, then the rest", [#"refund|,"order_id":"x","amount":20"#, #"refund|,"order_id":"x""#], 0),
        ("with a minus sign", [#"refund|,"order_id":"x","amount":-70"#], 0),
        ("goods and price", [#"refund|,"order_id":"x","price":20,"quantity":3"#], 10),
        ("returned", [#"return|,"order_id":"x","amount":70"#], 0),
        ("returned, then refunded", [#"return|,"order_id":"x","amount":70"#, #"refund|,"order_id":"x""#], 0),
        ("returned without a word of money", [#"return|,"order_id":"x","product_id":"p""#], 70),
        ("no order", [#"refund|,"amount":20"#], 50),
        ("no order, more than there is", [#"refund|,"amount":200"#], 0),
        ("no order, then of it", [#"refund|,"amount":60"#, #"refund|,"order_id":"x","amount":60"#], 0),
        ("of another order", [#"refund|,"order_id":"y","amount":20"#], 70),
        ("of nothing", ["refund|"], 70),
    ])
    func refunds(what: String, events: [String], right: Double) throws {
        var records = [Self.native("u", 0, "purchase", #","order_id":"x","amount":70"#)]
        for (i, event) in events.enumerated() {
            let parts = event.split(separator: "|", omittingEmptySubsequences: false)
            records.append(Self.native("u", i + 1, String(parts[0]), String(parts[1])))
        }
        let ledger = try Ledger("native", records)
        #expect(ledger.value("u") == right, "\(what)")
        #expect(ledger.orders("u") == 1)
        #expect(ledger.counters.accepted == Int64(records.count))
        let without: Set = ["of another order", "of nothing"]
        #expect(ledger.counters.refundsWithoutOrder == (without.contains(what) ? 1 : 0))
    }

    @Test func aRefundOfOneWhoNeverBoughtChangesNothingAndIsCounted() throws {
        let ledger = try Ledger(
            "native",
            [
                Self.native("u", 0, "refund", #","order_id":"z","amount":12"#),
                Self.native("v", 0, "refund", #","amount":12"#),
            ])
        #expect(ledger.value("u") == 0 && ledger.orders("u") == 0 && ledger.value("v") == 0)
        #expect(ledger.counters.refundsWithoutOrder == 2)
    }

    /// A refund of an order that is not remembered takes what such orders have left, and nothing of the others.
    @Test func aRefundOfAForgottenOrder() throws {
        var records = (0..<9).map { Self.native("u", $0, "purchase", #","order_id":"o\#($0)","amount":10"#) }
        records.append(Self.native("u", 10, "refund", #","order_id":"o0","amount":7"#))
        #expect(try Ledger("native", records).value("u") == 83)
        records.append(Self.native("u", 11, "refund", #","order_id":"o0","amount":7"#))
        let twice = try Ledger("native", records)
        #expect(twice.value("u") == 80)
        #expect(twice.counters.refundsWithoutOrder == 0)
    }

    @Test func aNegativePurchaseIsRefused() throws {
        let ledger = try Ledger(
            "native",
            [
                Self.native("u", 0, "purchase", #","order_id":"x","amount":70"#),
                Self.native("u", 1, "purchase", #","order_id":"x","amount":-20"#),
                Self.native("u", 2, "purchase", #","order_id":"x","price":7,"quantity":-2"#),
            ])
        #expect(ledger.value("u") == 70)
        #expect(ledger.statuses[1...].allSatisfy { $0 == UInt8(clvd_status_negative_amount.rawValue) })
    }

    @Test func refundsThatAreNotSubtracted() throws {
        var configuration = EngineConfiguration.small
        configuration.state.subtractRefunds = false
        let ledger = try Ledger(
            "native",
            [
                Self.native("u", 0, "purchase", #","order_id":"x","amount":70"#),
                Self.native("u", 1, "refund", #","order_id":"x""#),
                Self.native("u", 2, "return", #","order_id":"x","amount":3"#),
            ], configuration: configuration)
        #expect(ledger.value("u") == 70 && ledger.counters.refundsWithoutOrder == 0)
    }

    // MARK: Whole orders

    /// A repeat with the same order id replaces, however late.
    @Test func segmentOrders() throws {
        let one = #"{"product_id":"b","price":6,"quantity":1}"#
        let goods = #","products":[{"product_id":"a","price":15,"quantity":2},\#(one)]"#
        let ledger = try Ledger(
            "segment",
            [
                Self.segment("retried", 0, "Order Completed", #""order_id":"1","total":36"#),
                Self.segment("retried", 1, "Order Completed", #""order_id":"1","total":36"#),
                Self.segment("edited", 1, "Order Completed", #""order_id":"2","total":36"#),
                Self.segment("edited", 2, "Order Updated", #""order_id":"2","total":48.5"#),
                Self.segment("cheaper", 2, "Order Completed", #""order_id":"3","total":36"#),
                Self.segment("cheaper", 3, "Order Updated", #""order_id":"3","total":30"#),
                Self.segment("refunded", 3, "Order Completed", #""order_id":"4","total":36"#),
                Self.segment("refunded", 4, "Order Refunded", #""order_id":"4""#),
                Self.segment("refunded", 5, "Order Completed", #""order_id":"4","total":36"#),
                Self.segment("part", 5, "Order Completed", #""order_id":"5","total":36"# + goods),
                Self.segment("part", 6, "Order Refunded", #""order_id":"5","total":36,"products":[\#(one)]"#),
                Self.segment("part", 7, "Order Updated", #""order_id":"5","total":40"#),
                Self.segment("both", 7, "Order Completed", #""order_id":"6","total":36"# + goods),
                Self.segment("both", 8, "Order Cancelled", #""order_id":"6","total":36"# + goods),
                Self.segment("both", 9, "Order Refunded", #""order_id":"6","total":36"#),
                Self.segment("goods", 9, "Order Completed", #""order_id":"7""# + goods),
                Self.segment("no id", 10, "Order Completed", #""total":8"#),
                Self.segment("no id", 10, "Order Completed", #""total":8"#),
                Self.segment("retried", 26 * 24, "Order Completed", #""order_id":"1","total":36"#),
            ])
        let right = [
            "retried": 36, "edited": 48.5, "cheaper": 30, "refunded": 0, "part": 34, "both": 0, "goods": 36,
            "no id": 16,
        ]
        for (user, value) in right {
            #expect(ledger.value(user) == value, "\(user)")
            #expect(ledger.orders(user) == (user == "no id" ? 2 : 1), "\(user)")
        }
        #expect(ledger.counters.accepted == 19 && ledger.counters.updates == 19)
    }

    @Test func aReloadedPageOfGA4() throws {
        func purchase(_ user: String, _ seconds: Int, _ id: String, _ value: Double) -> String {
            #"{"event_timestamp":"\#(1_710_000_000 + seconds)000000","event_name":"purchase","user_pseudo_id":"\#(user)","#
                + #""ecommerce":{"transaction_id":"\#(id)","purchase_revenue":\#(value)}}"#
        }
        let ledger = try Ledger(
            "ga4",
            [
                purchase("a", 0, "T9", 31.4), purchase("a", 40, "T9", 31.4), purchase("b", 50, "T9", 5),
                purchase("a", 9_000_000, "T9", 31.4), purchase("a", 9_000_001, "T10", 2),
            ])
        #expect(ledger.value("a") == 33.4 && ledger.orders("a") == 2)
        #expect(ledger.value("b") == 5 && ledger.orders("b") == 1)
    }

    /// An order that comes again is no purchase: recency, active purchase days and the model's events stay.
    @Test func aRepeatIsNoPurchase() throws {
        let ledger = try Ledger(
            "segment",
            [
                Self.segment("u", 0, "Order Completed", #""order_id":"1","total":36"#),
                Self.segment("u", 72, "Order Updated", #""order_id":"1","total":40"#),
            ])
        let h = try #require(ledger.engine.slot("u")).header.pointee
        #expect(h.lastPurchase == h.firstPurchase && h.purchaseDays == 1 && h.events == 2)
        let view = try #require(ledger.engine.view(of: "u"))
        #expect(view.lastEvents.map(\.type) == ["purchase", "other"])
        #expect(view.windows.map(\.orders) == [0, 1, 1, 1] && view.windows.map(\.spend) == [4, 40, 40, 40])
    }

    @Test func wholeOrdersByAMappingOfOnesOwn() throws {
        let yaml = """
            name: shop
            fields: {user_id: /customer, event_time: [{pointer: /at, unit: iso8601}], order_id: /id, amount: /sum}
            default_type: purchase
            order: whole
            """
        func order(_ id: Int, _ hour: Int, _ sum: Double) -> String {
            #"{"customer":7,"id":\#(id),"at":"2024-05-01T\#(Self.pad(hour)):00:00Z","sum":\#(sum)}"#
        }
        let whole = [order(1, 1, 20.5), order(2, 2, 5), order(1, 3, 20.5), order(2, 4, 9.25)]
        let ledger = try Ledger(yaml, whole)
        #expect(ledger.value("7") == 29.75 && ledger.orders("7") == 2)
        let lines = try Ledger(yaml.replacing("whole", with: "lines"), whole)
        #expect(lines.value("7") == 55.25 && lines.orders("7") == 2)
    }

    // MARK: Lines

    @Test(arguments: [
        ("ab", 2), ("aba", 2), ("abab", 2), ("abca", 3), ("abcda", 4), ("abcdabcd", 4), ("abcdefgha", 8),
        // The ninth order takes the place of the first.
        ("abcdefghia", 10), ("abcdefghib", 9),
    ])
    func linesOfOrdersThatInterleave(orders: String, right: Int) throws {
        let ledger = try Ledger(
            "native",
            orders.enumerated().map { i, order in
                Self.native("u", i, "purchase", #","order_id":"\#(order)","amount":2.5"#)
            })
        #expect(ledger.orders("u") == right)
        #expect(ledger.value("u") == 2.5 * Double(orders.count))
    }

    @Test func purchasesWithoutAnOrderAreOrders() throws {
        let line = Self.native("u", 3, "purchase", #","session_id":"s","amount":4"#)
        let ledger = try Ledger("native", [line, line, line])
        #expect(ledger.orders("u") == 3 && ledger.value("u") == 12)
    }

    @Test func theLinesOfASessionOfREES46() throws {
        func row(_ user: Int, _ second: Int, _ type: String, _ price: String, _ session: String) -> String {
            #"{"event_time":"2019-10-05 08:00:\#(Self.pad(second)) UTC","event_type":"\#(type)","product_id":"\#(second)","#
                + #""price":"\#(price)","user_id":"\#(user)","user_session":"\#(session)"}"#
        }
        let ledger = try Ledger(
            "rees46",
            [
                row(1, 0, "view", "120.49", "s1"), row(1, 1, "purchase", "120.49", "s1"),
                row(1, 1, "purchase", "3.02", "s1"), row(1, 2, "purchase", "3.02", "s1"),
                row(1, 9, "purchase", "8.00", "s2"), row(2, 10, "purchase", "-0.70", "s3"),
                row(3, 11, "purchase", "0.00", ""), row(3, 12, "purchase", "1.00", ""),
            ])
        #expect(ledger.orders("1") == 2 && abs(ledger.value("1")! - 134.53) < 1e-9)
        #expect(ledger.orders("2") == nil)
        #expect(ledger.orders("3") == 2 && ledger.value("3") == 1)
        #expect(ledger.counters.purchasesWithoutMoney == 0)
    }

    /// Six days by default: an id that comes after seven is a new order, and its refunds are its own.
    @Test func aSubscriptionChargesUnderOneId() throws {
        func charge(_ user: String, _ day: Int, _ type: String = "purchase") -> String {
            Self.native(user, day * 24, type, #","order_id":"S","amount":7.5"#)
        }
        let weekly = try Ledger("native", [0, 7, 14, 21, 28].map { charge("u", $0) })
        #expect(weekly.orders("u") == 5 && weekly.value("u") == 37.5)
        let lines = try Ledger("native", [0, 6, 12].map { charge("u", $0) })
        #expect(lines.orders("u") == 1 && lines.value("u") == 22.5)
        let refunded = try Ledger(
            "native", [charge("u", 0), charge("u", 30), charge("u", 31, "refund"), charge("u", 32, "refund")])
        #expect(refunded.orders("u") == 2 && refunded.value("u") == 7.5)
        var configuration = EngineConfiguration.small
        configuration.state.orderGapDays = 10
        let longer = try Ledger("native", [0, 10, 21].map { charge("u", $0) }, configuration: configuration)
        #expect(longer.orders("u") == 2 && longer.value("u") == 22.5)
    }

    // MARK: Amounts

    @Test(arguments: [
        (#","price":8,"quantity":0"#, 0.0), (#","price":8,"quantity":0.25"#, 2), (#","price":8,"quantity":0.5"#, 4),
        (#","price":8,"quantity":1.5"#, 12), (#","price":8"#, 8), (#","price":8,"quantity":"3""#, 24),
        (#","price":8,"quantity":3,"amount":20"#, 20), (#","price":8,"quantity":3,"amount":0"#, 0),
        (#","price":0,"quantity":3"#, 0), (#","amount":0"#, 0),
    ])
    func priceTimesQuantity(fields: String, right: Double) throws {
        let ledger = try Ledger("native", [Self.native("u", 0, "purchase", #","order_id":"x""# + fields)])
        #expect(ledger.value("u") == right && ledger.orders("u") == 1)
        #expect(ledger.counters.purchasesWithoutMoney == 0)
    }

    @Test func purchasesWithoutMoneyAreCounted() throws {
        let ledger = try Ledger(
            "native",
            [
                Self.native("u", 0, "purchase", #","order_id":"x""#),
                Self.native("u", 1, "purchase", #","order_id":"y","quantity":2"#),
                Self.native("u", 2, "purchase", #","order_id":"z","price":null"#),
                Self.native("u", 3, "view", ""),
            ])
        #expect(ledger.value("u") == 0 && ledger.orders("u") == 3)
        #expect(ledger.counters.purchasesWithoutMoney == 3 && ledger.counters.accepted == 4)
        let goods = try Ledger(
            "segment", [Self.segment("u", 0, "Order Completed", #""order_id":"1","products":[{"sku":"a"}]"#)])
        #expect(goods.counters.purchasesWithoutMoney == 1)
    }

    /// An order whose money a repeat does not name keeps it.
    @Test func aRepeatWithoutMoney() throws {
        let ledger = try Ledger(
            "segment",
            [
                Self.segment("u", 0, "Order Completed", #""order_id":"1","total":36"#),
                Self.segment("u", 1, "Order Updated", #""order_id":"1""#),
                Self.segment("v", 2, "Order Updated", #""order_id":"2""#),
                Self.segment("v", 3, "Order Completed", #""order_id":"2","total":11"#),
            ])
        #expect(ledger.value("u") == 36 && ledger.value("v") == 11 && ledger.orders("v") == 1)
        #expect(ledger.counters.purchasesWithoutMoney == 2)
    }

    // MARK: Kept money

    @Test(arguments: [
        (0.0, 0.0), (0.01, 0.01), (510.93, 510.93), (53_687.0911, 53_687.0911), (53_687.0912, 53_687.09),
        (99_999.99, 99_999.99), (5_368_709.11, 5_368_709.11), (5_368_709.12, 5_368_709), (536_870_912, 536_870_900),
        (1e12, 1e12), (0.00004, 0), (0.00006, 0.0001),
    ])
    func moneyOfAnOrderInFourBytes(amount: Double, kept: Double) {
        #expect(OrderMoney.amount(OrderMoney.code(amount)) == kept)
    }
}
