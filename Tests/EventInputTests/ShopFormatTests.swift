import CEventParser
import Foundation
import Testing

@testable import EventInput

@Suite struct ShopFormats {
    /// Purchases and refunds of each customer by order, as an engine takes them in: a later whole order replaces the
    /// former, a refund reduces its order to 0 at least.
    private func values(_ format: String, _ lines: [String]) throws -> [String: [UInt64: Double]] {
        let decoder = try decoder(format)
        var values: [String: [UInt64: Double]] = [:]
        for line in lines {
            let event = decoder.decode(line)
            if event.status == clvd_status_filtered || event.status == clvd_status_ignored_type { continue }
            #expect(event.status == clvd_status_ok, "\(event.explanation)")
            let order = event.event.order_hash
            if event.type == clvd_type_refund {
                values[event.user, default: [:]][order, default: 0] -= event.event.amount
            } else {
                #expect(event.type == clvd_type_purchase && event.event.flags == UInt8(clvd_flag_whole_order.rawValue))
                values[event.user, default: [:]][order] = event.event.amount
            }
        }
        return values
    }

    @Test func shopify() throws {
        func order(_ id: Int, _ total: String, _ left: String, _ more: String) -> String {
            """
            {"id":\(id),"created_at":"2024-05-01T10:00:00+02:00","updated_at":"2024-05-02T10:00:00+02:00",
             "currency":"USD","total_price":"\(total)","current_total_price":"\(left)",
             "line_items":[{"product_id":632910392,"sku":"IPOD-1","price":"20.00","quantity":2}],\(more)}
            """
        }
        let account = #""customer":{"id":115310627314723954},"test":false,"cancelled_at":null,"email":"a@example.org""#
        let guest = #""customer":null,"test":false,"cancelled_at":null,"email":"b@example.org""#
        let found = try values(
            "shopify",
            [
                order(1, "44.90", "44.90", account), order(1, "44.90", "22.45", account),
                order(2, "10.00", "10.00", guest),
                order(2, "10.00", "10.00", guest.replacing("null,\"email", with: "\"2024-05-03T00:00:00Z\",\"email")),
                order(3, "9999.00", "9999.00", account.replacing("\"test\":false", with: "\"test\":true")),
                // The webhook refunds/create, whose user_id is who works in the shop.
                """
                {"id":509562969,"order_id":1,"created_at":"2024-05-02T10:00:00Z","user_id":548380009,
                 "refund_line_items":[{"quantity":1,"subtotal":20.0}],"transactions":[{"amount":"22.45","kind":"refund"}]}
                """,
            ])
        #expect(found == ["115310627314723954": [hash("1"): 22.45], "b@example.org": [hash("2"): 0]])
        let event = try decoder("shopify").decode(order(1, "44.90", "44.90", account))
        #expect(event.event.time_ms == milliseconds("2024-05-02T08:00:00Z"))
        #expect([event.event.price, event.event.quantity] == [20, 2])
        #expect(event.event.product_hash == hash("632910392"))
    }

    @Test func woocommerce() throws {
        func order(_ id: Int, _ status: String, customer: Int, _ more: String = "") -> String {
            """
            {"id":\(id),"status":"\(status)","date_created_gmt":"2024-03-22T16:28:02",
             "date_modified_gmt":"2024-03-22T16:28:08","customer_id":\(customer),"total":"29.35","currency":"USD",
             "billing":{"email":"g\(id)@example.org"},"order_key":"wc_order_\(id)",\(more)
             "line_items":[{"product_id":93,"quantity":2,"price":3.5}]}
            """
        }
        let noMail = #""billing":{"email":""},"#
        let found = try values(
            "woocommerce",
            [
                order(1, "pending", customer: 26), order(1, "processing", customer: 26),
                order(1, "completed", customer: 26), order(1, "refunded", customer: 26),
                order(2, "completed", customer: 0), order(3, "completed", customer: 0),
                order(4, "failed", customer: 26),
                order(5, "completed", customer: 0).replacing(#""billing":{"email":"g5@example.org"},"#, with: noMail),
            ])
        #expect(
            found == [
                "26": [hash("1"): 0], "g2@example.org": [hash("2"): 29.35], "g3@example.org": [hash("3"): 29.35],
                "wc_order_5": [hash("5"): 29.35],
            ])
        let event = try decoder("woocommerce").decode(order(1, "completed", customer: 26))
        #expect(event.event.time_ms == milliseconds("2024-03-22T16:28:08Z"))
    }

    @Test func posthog() throws {
        let decoder = try decoder("posthog")
        func event(_ name: String, _ more: String) -> Decoded {
            decoder.decode(
                """
                {"uuid":"0193-a","event":"\(name)","timestamp":"2024-11-24T10:00:00.250000Z","distinct_id":"d-1",
                 \(more)}
                """)
        }
        let order = event(
            "order_completed",
            #"""
            "person_id":"p-1","properties":{"$session_id":"s-1","order_id":"o-1","revenue":12.5,"currency":"USD",
            "products":[{"product_id":"x","price":5,"quantity":2}]}
            """#)
        #expect(order.status == clvd_status_ok, "\(order.explanation)")
        #expect(order.type == clvd_type_purchase && order.user == "p-1" && order.event.amount == 12.5)
        #expect(order.event.order_hash == hash("o-1") && order.event.session_hash == hash("s-1"))
        #expect(order.event.time_ms == milliseconds("2024-11-24T10:00:00.25Z"))
        #expect(event("$pageview", #""properties":{}"#).type == clvd_type_page_view)
        #expect(event("$pageview", #""properties":{}"#).user == "d-1")
        #expect(event("$autocapture", #""properties":{}"#).status == clvd_status_ignored_type)
    }

    @Test func snowplow() throws {
        let decoder = try decoder("snowplow")
        let action = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
        let entity = "contexts_com_snowplowanalytics_snowplow_ecommerce_"
        func event(_ more: String) -> Decoded {
            decoder.decode(
                """
                {"event_id":"e-1","derived_tstamp":"2024-06-01T08:30:00.123Z","user_id":null,"domain_userid":"d-1",
                 "domain_sessionid":"s-1",\(more)}
                """)
        }
        let order = event(
            """
            "event":"unstruct","event_name":"snowplow_ecommerce_action","\(action)":{"type":"transaction"},
            "\(entity)transaction_1":[{"transaction_id":"t-1","revenue":45.5,"currency":"USD"}],
            "\(entity)product_1":[{"id":"x","category":"hats","price":20,"quantity":2}]
            """)
        #expect(order.status == clvd_status_ok, "\(order.explanation)")
        #expect(order.type == clvd_type_purchase && order.user == "d-1" && order.event.amount == 45.5)
        #expect(order.event.order_hash == hash("t-1") && order.event.product_hash == hash("x"))
        let refund = event(
            """
            "event":"unstruct","event_name":"snowplow_ecommerce_action","\(action)":{"type":"refund"},
            "\(entity)refund_1":[{"transaction_id":"t-1","refund_amount":5.5,"currency":"USD"}]
            """)
        #expect(refund.type == clvd_type_refund && refund.event.amount == 5.5)
        let older = event(#""event":"transaction","event_name":"transaction","tr_orderid":"t-2","tr_total":7"#)
        #expect(older.type == clvd_type_purchase && older.event.amount == 7 && older.event.order_hash == hash("t-2"))
        #expect(event(#""event":"page_ping","event_name":"page_ping""#).status == clvd_status_ignored_type)
        #expect(event(#""event":"page_view","event_name":"page_view""#).type == clvd_type_page_view)
    }

    @Test func cloudEventsInStructuredMode() throws {
        let event = try decoder("cloudevents").decode(
            """
            {"specversion":"1.0","id":"ce-1","source":"/shop","type":"purchase","time":"2024-04-05T17:31:00Z",
             "datacontenttype":"application/json","subject":"u-1",
             "data":{"amount":12.5,"order_id":"o-1"}}
            """)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.type == clvd_type_purchase && event.user == "u-1" && event.eventID == "ce-1")
        #expect(event.event.amount == 12.5 && event.event.order_hash == hash("o-1"))
        #expect(event.event.time_ms == milliseconds("2024-04-05T17:31:00Z"))
    }

    @Test func ga4RefundsHaveTheirValueWhateverStandsBesideIt() throws {
        for money in [
            #""refund_value":40.0"#, #""purchase_revenue":0.0,"refund_value":40.0"#, #""refund_value":-40.0"#,
        ] {
            let event = try decoder("ga4").decode(
                """
                {"event_timestamp":"1704067260000000","event_name":"refund","user_pseudo_id":"p.1",
                 "ecommerce":{"transaction_id":"(not set)",\(money)}}
                """)
            #expect(event.type == clvd_type_refund && event.event.amount == 40, "\(event.explanation)")
            #expect(event.event.order_hash == 0)
        }
    }

    /// The mapping of docs/formats.md for the change log of a table.
    @Test func debezium() throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/formats.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let block = try #require(text.split(separator: "```yaml\n").first { $0.hasPrefix("name: orders-table") })
        let format = try EventFormat(yaml: String(block.split(separator: "```")[0]), source: "docs")
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        func change(_ op: String, before: String, after: String) -> Decoded {
            decoder.decode(
                #"{"schema":{},"payload":{"op":"\#(op)","ts_ms":1700000009000,"before":\#(before),"after":\#(after)}}"#)
        }
        let row = #"{"id":1,"customer_id":7,"total":"12.50","updated_at":1700000000000000}"#
        let created = change("c", before: "null", after: row)
        #expect(created.type == clvd_type_purchase && created.user == "7", "\(created.explanation)")
        #expect(created.event.amount == 12.5 && created.event.order_hash == hash("1"))
        #expect(created.event.time_ms == 1_700_000_000_000)
        let deleted = change("d", before: row, after: "null")
        #expect(deleted.type == clvd_type_refund && deleted.user == "7" && deleted.event.amount == 12.5)
        // A snapshot of the table at the start counts, too; other operations do not.
        #expect(change("r", before: "null", after: row).type == clvd_type_purchase)
        #expect(change("t", before: "null", after: "null").status == clvd_status_filtered)
    }
}
