import Foundation
import Testing

@testable import Inspection

/// Records as shops and trackers really write them, each kind with what is right, by hand. Every one of them was a wrong
/// value in silence, or a refusal without a word.
@Suite struct ExportTests {
    private static func pad(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }

    // MARK: Google Analytics

    private static func ga4(_ user: String, _ minute: Int, _ name: String, _ ecommerce: String) -> String {
        #"{"event_timestamp":"\#(1_709_000_000 + minute * 60)000000","event_name":"\#(name)","user_pseudo_id":"\#(user)","#
            + #""ecommerce":{\#(ecommerce)}}"#
    }

    /// The page that says thank you is loaded again, after a minute and after two months.
    @Test func aPageThatIsLoadedAgain() throws {
        let order = #""transaction_id":"T-1","purchase_revenue":42.5"#
        let lines = [
            Self.ga4("again", 0, "purchase", order), Self.ga4("again", 1, "purchase", order),
            Self.ga4("once", 2, "purchase", #""transaction_id":"T-2","purchase_revenue":8"#),
            Self.ga4("unset", 3, "purchase", #""transaction_id":"(not set)","purchase_revenue":3"#),
            Self.ga4("unset", 4, "purchase", #""transaction_id":"(not set)","purchase_revenue":4"#),
            Self.ga4("again", 90_000, "purchase", order),
        ]
        let look = try Look(lines.joined(separator: "\n"), format: "ga4")
        #expect(look.held == ["again": [1, 42.5], "once": [1, 8], "unset": [2, 7]])
        #expect(look.found.repeatedOrders == 2)
    }

    /// A revenue of nothing stands beside the value of a refund, which some senders write with a minus sign.
    @Test func aRefundBesideNoRevenue() throws {
        let refunds = [#""refund_value":15"#, #""purchase_revenue":0.0,"refund_value":15"#, #""refund_value":-15.0"#]
        let lines = refunds.enumerated().flatMap { i, refund in
            [
                Self.ga4("u\(i)", 2 * i, "purchase", #""transaction_id":"T\#(i)","purchase_revenue":70"#),
                Self.ga4("u\(i)", 2 * i + 1, "refund", #""transaction_id":"T\#(i)",\#(refund)"#),
            ]
        }
        let look = try Look(lines.joined(separator: "\n"), format: "ga4")
        #expect(look.held == ["u0": [1, 55], "u1": [1, 55], "u2": [1, 55]])
    }

    /// The price of a purchase within an app is in millionths.
    @Test func purchasesWithinApps() throws {
        func param(_ key: String, _ value: String) -> String { #"{"key":"\#(key)","value":{\#(value)}}"# }
        let params = [
            param("value", #""int_value":"1990000""#), param("price", #""int_value":"1990000""#),
            param("currency", #""string_value":"USD""#),
        ]
        let app =
            Self.ga4("app", 0, "in_app_purchase", "").dropLast()
            + ",\"event_params\":[\(params.joined(separator: ","))]}"
        let web =
            Self.ga4("web", 1, "purchase", #""transaction_id":"T","purchase_revenue":20"#).dropLast()
            + ",\"event_params\":[\(param("value", #""int_value":"20""#))]}"
        let look = try Look("\(app)\n\(web)", format: "ga4")
        #expect(look.held == ["app": [1, 1.99], "web": [1, 20]])
    }

    // MARK: Segment

    private static func segment(_ user: String, _ hour: Int, _ event: String, _ properties: String) -> String {
        let time = "2024-05-\(pad(1 + hour / 24))T\(pad(hour % 24)):00:00Z"
        return #"{"type":"track","event":"\#(event)","timestamp":"\#(time)","userId":"\#(user)","#
            + #""messageId":"\#(user)-\#(hour)-\#(event)","properties":{\#(properties)}}"#
    }

    /// The names that plug-ins give the event of an order; one that is not known is told, with the one that was meant.
    @Test func namesOfOneEvent() throws {
        let names = ["Order Completed", "Completed Order", "ORDER COMPLETED", "order_completed", " order-completed "]
        let lines = (names + ["Magento Order Completed"]).enumerated().map { i, name in
            Self.segment("u\(i)", i, name, #""order_id":"o\#(i)","total":35"#)
        }
        let look = try Look(lines.joined(separator: "\n"), format: "segment")
        for i in names.indices { #expect(look.held["u\(i)"] == [1, 35], "\(names[i])") }
        #expect(look.held["u5"] == [0, 0] && look.found.unknownTypes == ["Magento Order Completed": 1])
        #expect(look.found.nearestTypes == ["Magento Order Completed": "Order Completed"])
        #expect(!look.found.ready && look.advises(#"it knows "Order Completed""#))
    }

    /// A batch of the HTTP interface, and an array that was cut into lines.
    @Test func severalEventsTogether() throws {
        let (a, b) = (
            Self.segment("a", 0, "Order Completed", #""order_id":"1","total":5"#),
            Self.segment("b", 1, "Order Completed", #""order_id":"2","total":6"#)
        )
        for content in [#"{"batch":[\#(a),\#(b)],"sentAt":"2024-05-01T02:00:00Z","writeKey":"w"}"#, "\(a),\n\(b),\n"] {
            let look = try Look(content, format: "segment")
            #expect(look.held == ["a": [1, 5], "b": [1, 6]] && look.found.refusedRows == 0)
        }
    }

    @Test func ordersOfSegment() throws {
        let one = #"{"product_id":"b","price":12,"quantity":1}"#
        let goods = #","products":[{"product_id":"a","price":9,"quantity":2},\#(one)]"#
        func order(_ user: String, _ more: String = #","total":30"#) -> String {
            Self.segment(user, 0, "Order Completed", #""order_id":"\#(user)""# + more)
        }
        func later(_ user: String, _ hour: Int, _ event: String, _ more: String = "") -> String {
            Self.segment(user, hour, event, #""order_id":"\#(user)""# + more)
        }
        let lines = [
            order("edited", #","total":30"# + goods), later("edited", 1, "Order Updated", #","total":44"# + goods),
            order("refunded", #","total":30"# + goods), later("refunded", 2, "Order Refunded"),
            order("part", #","total":30"# + goods),
            later("part", 3, "Order Refunded", #","total":30,"products":[\#(one)]"#),
            order("cancelled"), later("cancelled", 4, "Order Cancelled", #","total":30"# + goods),
            later("cancelled", 5, "Order Refunded", #","total":30"#),
            order("goods", goods), order("net", #","revenue":26,"shipping":4"# + goods),
            order("value", #","value":26"#),
            order("text", #","total":"30.00","products":[{"product_id":7,"price":"15.00","quantity":"2"}]"#),
            // Segment's first specification has `orderId`, and `id` for products.
            Self.segment("first", 6, "Completed Order", #""orderId":"9","total":"17""#),
            Self.segment("first", 7, "Completed Order", #""orderId":"9","total":"17""#),
            later("nothing", 8, "Order Completed"),
        ]
        let look = try Look(
            lines.sorted { $0.split(separator: "2024-05")[1] < $1.split(separator: "2024-05")[1] }
                .joined(separator: "\n"), format: "segment")
        let right: [String: Look.Held] = [
            "edited": [1, 44], "refunded": [1, 0], "part": [1, 18], "cancelled": [1, 0], "goods": [1, 30],
            "net": [1, 26], "value": [1, 26], "text": [1, 30], "first": [1, 17], "nothing": [1, 0],
        ]
        for (user, held) in right { #expect(look.held[user] == held, "\(user)") }
        #expect(look.found.purchasesWithoutMoney == 1 && look.advises("1 of 12 purchases have no money"))
    }

    // MARK: Rows of native events

    /// `event_time` of second `i`.
    private static func native(_ i: Int, _ user: String, _ type: String, _ fields: String) -> String {
        let time = "2024-06-\(pad(1 + i / 1440))T\(pad(i / 60 % 24)):\(pad(i % 60)):00Z"
        return #"{"event_time":"\#(time)","user_id":"\#(user)","event_type":"\#(type)","# + fields + "}"
    }

    /// What a person reads as money and a machine does not: each is refused in its own words, also after a replay.
    @Test func amountsAsPeopleWriteThem() throws {
        let amounts = ["3,120.99", "3.120,99", "$8.25", "8.25 USD", "8,25", "8'250.00", "(8.25)", "1e3x", "０８", "--8"]
        let lines = amounts.enumerated().map { i, amount in
            Self.native(i, "u\(i)", "purchase", #""amount":"\#(amount)""#)
        }
        let look = try Look(
            (lines + [Self.native(59, "sound", "purchase", #""amount":"8.25""#)]).joined(separator: "\n"),
            format: "native")
        #expect(look.found.refused == ["wrong_type": 10] && look.held == ["sound": [1, 8.25]])
        #expect(look.found.refusedExamples["wrong_type"]?.hasSuffix(#"got string "3,120.99""#) == true)
    }

    @Test func wordsThatAreNoCustomers() throws {
        let words = [
            "undefined", "null", "NULL", "None", "NaN", "nil", "[object Object]", "(not set)", "n/a", "\\\\N", "  ", "",
            "00000000-0000-0000-0000-000000000000", "true", "guest", "anonymous",
        ]
        let lines = words.enumerated().map { i, word in Self.native(i, word, "purchase", #""amount":1"#) }
        let others = ["7205759403792793601", "1.5", "[1]", #"{"id":1}"#, "true", #""a\u0000b""#].enumerated().map {
            Self.native(100 + $0, "ID", "purchase", #""amount":2"#).replacing(#""ID""#, with: $1)
        }
        let long = [512, 513].map {
            Self.native(120 + $0, String(repeating: "y", count: $0), "purchase", #""amount":3"#)
        }
        let look = try Look((lines + others + long).joined(separator: "\n"), format: "native")
        #expect(look.held == ["7205759403792793601": [1, 2], String(repeating: "y", count: 512): [1, 3]])
        #expect(look.found.refused == ["missing_user": 16, "wrong_type": 4, "invalid_user": 2])
    }

    @Test func whatIsGivenBack() throws {
        func pair(_ i: Int, _ user: String, _ back: [String]) -> [String] {
            [Self.native(10 * i, user, "purchase", #""order_id":"o\#(i)","amount":60"#)]
                + back.enumerated().map { j, text in
                    let type = text.hasPrefix("return") ? "return" : text.hasPrefix("purchase") ? "purchase" : "refund"
                    let rest = text.drop { $0 != "," }
                    return Self.native(10 * i + 1 + j, user, type, #""order_id":"o\#(i)""# + rest)
                }
        }
        let lines =
            pair(0, "full", [#"refund,"amount":60"#]) + pair(1, "more", [#"refund,"amount":99"#])
            + pair(2, "no amount", ["refund"]) + pair(3, "twice", [#"refund,"amount":60"#, #"refund,"amount":60"#])
            + pair(4, "returned", [#"return,"amount":60"#]) + pair(5, "minus", [#"refund,"amount":-60"#])
            + pair(6, "negative", [#"purchase,"amount":-20"#])
            + pair(7, "negative goods", [#"purchase,"price":20,"quantity":-1"#])
            + [Self.native(90, "only", "refund", #""order_id":"z","amount":30"#)] + pair(10, "plain", [])
        let look = try Look(lines.joined(separator: "\n"), format: "native")
        let right: [String: Look.Held] = [
            "full": [1, 0], "more": [1, 0], "no amount": [1, 0], "twice": [1, 0], "returned": [1, 0], "minus": [1, 0],
            "negative": [1, 60], "negative goods": [1, 60], "only": [0, 0], "plain": [1, 60],
        ]
        #expect(look.held == right)
        #expect(look.found.refused == ["negative_amount": 2] && look.found.refundsWithoutPurchase == 1)
        let mapping = """
            name: signed
            fields: {user_id: /user_id, event_time: /event_time, event_type: /event_type, order_id: /order_id,
                     amount: /amount, price: /price, quantity: /quantity}
            types: {purchase: purchase, refund: refund, return: return}
            negative: refund
            """
        let signed = try Look(lines.joined(separator: "\n"), format: mapping)
        #expect(signed.held["negative"] == [1, 40] && signed.held["negative goods"] == [1, 40])
    }

    /// One id each month, cents for money, goods for nothing, no goods, and more than is believed.
    @Test func subscriptionsAndSums() throws {
        let months = (1...5).map {
            Self.native(0, "sub", "purchase", #""order_id":"S","amount":4.99"#)
                .replacing("2024-06-01", with: "2024-0\($0)-15")
        }
        let lines = [
            #"free","event_type":"purchase","order_id":"a","amount":0"#,
            #"bare","event_type":"purchase","order_id":"b"#, #"huge","event_type":"purchase","amount":2000000.5"#,
            #"zero","event_type":"purchase","price":7,"quantity":0"#,
            #"half","event_type":"purchase","price":7,"quantity":0.5"#,
            #"both","event_type":"purchase","price":7,"quantity":3,"amount":20"#,
        ].enumerated().map { i, text in
            let sound = text.hasSuffix(#""b"#) ? text + "\"" : text
            return #"{"event_time":"2024-07-01T00:\#(Self.pad(i)):00Z","user_id":"\#(sound)}"#
        }
        let look = try Look((months + lines).joined(separator: "\n"), format: "native")
        #expect(
            look.held == [
                "sub": [5, 24.95], "free": [1, 0], "bare": [1, 0], "zero": [1, 0], "half": [1, 3.5], "both": [1, 20],
            ])
        #expect(look.found.purchasesWithoutMoney == 1 && look.found.refused == ["absurd_amount": 1])
        #expect(
            look.found.refusedExamples["absurd_amount"]?.hasSuffix(
                "2,000,000.5 is above the limit of 1,000,000 USD") == true,
            "\(look.found.refusedExamples)")
    }

    @Test(arguments: [("0", 0.0), ("0.2", 1.6), ("0.75", 6), ("1", 8), ("1.25", 10), ("2.6", 20.8), (#""2""#, 16)])
    func goodsByWeight(quantity: String, right: Double) throws {
        let look = try Look(
            Self.native(0, "u", "purchase", #""order_id":"a","price":8,"quantity":\#(quantity)"#), format: "native")
        #expect(look.held == ["u": [1, .init(right)]])
    }

    @Test func linesThatInterleave() throws {
        var lines: [String] = []
        for (u, orders) in ["xyxy", "xyzx", "xyzwx", "xyzwvxy"].enumerated() {
            for (i, order) in orders.enumerated() {
                lines.append(Self.native(10 * u + i, orders, "purchase", #""order_id":"\#(order)","amount":2"#))
            }
        }
        lines += [100, 101].map { Self.native($0, "no ids", "purchase", #""amount":2"#) }
        let look = try Look(lines.joined(separator: "\n"), format: "native")
        #expect(
            look.held == [
                "xyxy": [2, 8], "xyzx": [3, 8], "xyzwx": [4, 10], "xyzwvxy": [5, 14], "no ids": [2, 4],
            ])
    }

    /// Confluent's frame is taken off JSON; another body is named with its schema.
    @Test func framesOfASchemaRegistry() throws {
        let frame: [UInt8] = [0, 0, 0, 1, 2]
        let json = Self.native(0, "framed", "purchase", #""amount":6"#)
        let bytes =
            frame + Array(json.utf8) + [0x0A] + Array(Self.native(1, "plain", "purchase", #""amount":7"#).utf8)
            + [0x0A] + frame + [0x06, 0x75, 0x34, 0x32, 0x0A]
        let look = try Look(bytes: bytes, "framed.jsonl", format: "native")
        #expect(look.held == ["framed": [1, 6], "plain": [1, 7]])
        #expect(look.found.refused == ["invalid_json": 1])
        #expect(look.found.refusedExamples["invalid_json"]?.contains("schema id 258") == true)
    }

    // MARK: Tables

    private static let invoices = """
        name: invoices
        fields:
          user_id: /CustomerID
          event_time: { pointer: /InvoiceDate, unit: iso8601_utc }
          session_id: /InvoiceNo
          product_id: /StockCode
          price: /UnitPrice
          quantity: /Quantity
        default_type: purchase
        numeric_strings: true
        whole_ids: true
        negative: refund
        order_from_session: true
        """

    /// Lines of invoices; a cancellation has a number of its own and a negative quantity, an id was a number with gaps.
    @Test func invoicesWithNegativeQuantities() throws {
        let look = try Look(
            """
            InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID
            7001,A1,"BOWL, BLUE",4,2011-03-01 09:30:00,2.50,30007.0
            7001,A2,"SIGN ""HOME"" 7",2,2011-03-01 09:30:00,6.25,30007.0
            7002,P,POSTAGE,1,2011-03-01 10:00:00,15.00,30008.0
            C7003,A1,"BOWL, BLUE",-3,2011-03-02 09:30:00,2.50,30007.0
            7004,A3,LOST,2,2011-03-02 10:30:00,0.0,
            """, "invoices.csv", format: Self.invoices)
        #expect(look.held == ["30007": [1, 15], "30008": [1, 15]])
        #expect(look.found.refused == ["missing_user": 1])
    }

    /// A table in no order, with milliseconds: all rows count, in the order of their time.
    @Test func anUnsortedTable() throws {
        let mapping = """
            name: table
            fields:
              user_id: /visitor
              event_time: { pointer: /at, unit: ms }
              event_type: /what
              order_id: /transaction
              price: /paid
            types: { view: view, addtocart: add_to_cart, transaction: purchase }
            numeric_strings: true
            """
        let look = try Look(
            """
            at,visitor,what,transaction,paid
            1709300000000,a,transaction,1,5
            1709200000000,b,transaction,2,6
            1709100000000,a,view,,
            1709300000000,a,transaction,1,7
            1709000000000,c,addtocart,,
            """, "table.csv", format: mapping)
        #expect(look.held == ["a": [1, 12], "b": [1, 6], "c": [0, 0]])
        #expect(look.found.accepted == 5 && look.found.sorted == false && look.found.late == 3)
        #expect(look.found.refusedRows == 0 && look.advises("sort the file by time on the way"))
    }

    /// Rows of one checkout are one order; what costs nothing counts, what costs less does not.
    @Test func aCheckoutOfREES46() throws {
        let look = try Look(
            """
            event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
            2019-12-01 00:00:00 UTC,view,1,2,a.b,c,12.30,610001,s-1
            2019-12-01 00:01:00 UTC,purchase,1,2,a.b,c,12.30,610001,s-1
            2019-12-01 00:01:00 UTC,purchase,3,4,,,3.20,610001,s-1
            2019-12-01 00:01:00 UTC,purchase,3,4,,,3.20,610001,s-1
            2019-12-01 00:02:00 UTC,purchase,5,4,,,-1.00,610002,s-2
            2019-12-01 00:03:00 UTC,purchase,6,4,,,0.00,610003,
            """, "rees46.csv", format: "rees46")
        #expect(look.held == ["610001": [1, 18.7], "610003": [1, 0]])
        #expect(look.found.refused == ["negative_amount": 1] && look.found.purchasesWithoutMoney == 0)
    }

    /// The daemon forgets those who were away for two years; a look at a file names them all.
    @Test func customersOfLongAgoAreHeld() throws {
        let lines = [2015, 2018, 2024].map {
            #"{"event_time":"\#($0)-05-01T00:00:00Z","user_id":"u\#($0)","event_type":"purchase","amount":3}"#
        }
        let look = try Look(lines.joined(separator: "\n"), format: "native")
        #expect(look.held == ["u2015": [1, 3], "u2018": [1, 3], "u2024": [1, 3]] && look.found.customers == 3)
    }

    // MARK: Webhooks of shops

    @Test func webhooksOfShopify() throws {
        func order(_ id: Int, day: Int, _ left: String, _ more: String) -> String {
            #"{"id":\#(id),"created_at":"2024-04-01T10:00:00Z","updated_at":"2024-04-\#(Self.pad(day))T10:00:00Z","#
                + #""currency":"USD","total_price":"39.90","current_total_price":"\#(left)",\#(more)}"#
        }
        let account = #""customer":{"id":700001},"test":false,"cancelled_at":null"#
        let guest = #""customer":null,"email":"x@example.net","test":false"#
        let lines = [
            order(1, day: 1, "39.90", account), order(2, day: 2, "39.90", guest),
            order(3, day: 3, "5000.00", account.replacing("false", with: "true")), order(1, day: 4, "19.95", account),
            order(2, day: 5, "39.90", guest + #","cancelled_at":"2024-04-05T10:00:00Z""#),
            order(4, day: 6, "39.90", guest.replacing("x@", with: "y@")),
        ]
        let look = try Look(lines.joined(separator: "\n"), format: "shopify")
        #expect(look.held == ["700001": [1, 19.95], "x@example.net": [1, 0], "y@example.net": [1, 39.9]])
        #expect(look.found.ignored == 1)
    }

    /// An answer of the Admin API, and the mapping of docs/formats.md for the CSV export.
    @Test func exportsOfShopify() throws {
        let order =
            #"{"id":1,"updated_at":"2024-04-01T10:00:00Z","current_total_price":"9.50","currency":"USD","#
            + #""customer":{"id":5},"line_items":[{"product_id":1,"price":"9.50","quantity":1}]}"#
        let list = try Look(
            #"{"orders":[\#(order),\#(order.replacing(#""id":1,"#, with: #""id":2,"#))]}"#, "orders.json",
            format: "shopify")
        #expect(list.held == ["5": [2, 19]])
        let page = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/formats.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let mapping = try #require(text.split(separator: "```yaml\n").first { $0.hasPrefix("name: shopify-export") })
        let table = try Look(
            """
            Name,Email,Financial Status,Paid at,Currency,Total,Created at,Lineitem quantity,Lineitem name,Lineitem sku
            #1001,a@example.com,paid,2024-03-10 01:59:59 -0500,USD,59.00,2024-03-10 01:59:59 -0500,1,Mug,M-1
            #1001,a@example.com,,,,,2024-03-10 01:59:59 -0500,1,Print,P-1
            #1002,b@example.com,pending,,USD,12.00,2024-03-11 01:59:59 -0500,1,Mug,M-1
            #1003,,paid,2024-03-11 02:59:59 -0500,USD,8.00,2024-03-11 02:59:59 -0500,1,Mug,M-1
            """, "orders_export.csv", format: String(mapping.split(separator: "```")[0]))
        #expect(table.held == ["a@example.com": [1, 59], "#1003": [1, 8]] && table.found.refusedRows == 0)
        // 01:59:59 in New York on the day that the clocks change.
        #expect(table.found.firstEventMs == 1_710_053_999_000)
    }

    /// What counts for nothing because its name is not known is told when there is money in it.
    @Test func moneyUnderAnUnknownName() throws {
        let lines = [
            Self.segment("a", 0, "Order Completed", #""order_id":"1","total":5"#),
            Self.segment("a", 1, "Subscription Renewed", #""total":5"#),
        ]
        let look = try Look(lines.joined(separator: "\n"), format: "segment")
        #expect(look.found.unknownTypesWithMoney == 1 && look.found.ready && look.held == ["a": [1, 5]])
        #expect(
            look.advises(#"and with money, which counts for nothing; the most frequent of these types: "Subscription"#))
    }

    /// A currency without a rate: the setting that helps is named.
    @Test func anotherCurrency() throws {
        let look = try Look(
            Self.native(0, "u", "purchase", #""amount":3,"currency":"CHF""#), format: "native")
        #expect(look.found.refused == ["unknown_currency": 1] && look.advises("CLVD_INPUT_CURRENCY_BASE=CHF"))
    }

    @Test func webhooksOfWooCommerce() throws {
        func order(_ id: Int, _ hour: Int, _ status: String, _ customer: Int) -> String {
            let mail = customer == 0 ? #","billing":{"email":"g\#(id)@example.net"}"# : ""
            let time = "2024-10-27T\(Self.pad(hour)):30:00"
            return #"{"id":\#(id),"status":"\#(status)","date_created_gmt":"\#(time)","customer_id":\#(customer),"#
                + #""total":"25.00","currency":"USD"\#(mail)}"#
        }
        let lines = [
            order(1, 0, "processing", 21), order(1, 1, "completed", 21), order(2, 2, "completed", 0),
            order(3, 3, "completed", 0), order(1, 4, "refunded", 21),
        ]
        let look = try Look(lines.joined(separator: "\n"), format: "woocommerce")
        #expect(look.held == ["21": [1, 0], "g2@example.net": [1, 25], "g3@example.net": [1, 25]])
    }
}
