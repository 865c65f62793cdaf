import Glibc
import Testing

@testable import Engine

/// Alerts in words.
@Suite struct WordsTests {
    @Test(
        arguments: [
            (0, "0"), (0.04, "0"), (0.06, "0.1"), (4.94, "4.9"), (9.94, "9.9"), (9.96, "10"), (12.4, "12"),
            (999.6, "1,000"),
            (1_234_567.2, "1,234,567"), (-3.25, "-3.3"), (-0.01, "0"), (.infinity, "?"),
        ] as [(Double, String)])
    func numbers(x: Double, text: String) { #expect(PlainNumber.text(x) == text) }

    @Test(
        arguments: [
            (0, "0.00 EUR"), (12.5, "12.50 EUR"), (1342.289, "1,342.29 EUR"), (0.049, "0.05 EUR"), (-2, "-2.00 EUR"),
            (1e6, "1,000,000.00 EUR"),
        ] as [(Double, String)])
    func money(x: Double, text: String) { #expect(PlainNumber.money(x, "EUR") == text) }

    @Test func nouns() {
        #expect(PlainNumber.count(1, "day") == "1 day" && PlainNumber.count(0.5, "day") == "0.5 days")
        #expect(
            PlainNumber.count(2, "addition", "additions") == "2 additions" && PlainNumber.count(0.98, "day") == "1 day")
        #expect(PlainNumber.percent(0.805) == "81 %" && PlainNumber.percent(1.2) == "100 %")
    }

    /// A row of features with some of them set, in natural units.
    private static func text(_ name: String, _ values: [String: Float]) throws -> String {
        var row = [Float](repeating: 0, count: SnapshotFeatures.count)
        for (name, value) in values {
            let i = try #require(SnapshotFeatures.definitions.firstIndex { $0.name == name })
            row[i] = i < SnapshotFeatures.logCount ? log1pf(value) : value
        }
        let i = try #require(SnapshotFeatures.definitions.firstIndex { $0.name == name })
        return FactorText(currency: "EUR").text(feature: i, of: row)
    }

    @Test func factors() throws {
        let buyer: [String: Float] = ["orders": 6, "purchase_gap": 21, "purchase_recency": 103, "gap_ratio": 4.7]
        #expect(try Self.text("gap_ratio", buyer) == "last bought 103 days ago; buys every 21 days otherwise")
        #expect(try Self.text("purchase_gap", buyer) == "buys every 21 days")
        #expect(try Self.text("purchase_recency", buyer) == "last bought 103 days ago")
        #expect(try Self.text("purchase_recency", ["purchase_recency": 5]) == "known for 5 days, never bought")
        #expect(try Self.text("recency", ["recency": 103.2]) == "silent for 103 days")
        #expect(try Self.text("mean_order", ["mean_order": 335.999]) == "orders of 336.00 EUR on average")
        #expect(try Self.text("orders_90d", [:]) == "no order in the last 90 days")
        #expect(try Self.text("carts_7d", ["carts_7d": 2]) == "2 additions to the cart in the last 7 days")
        #expect(try Self.text("views_1d", ["views_1d": 1]) == "1 product view in the last day")
        #expect(try Self.text("spend_30d", ["spend_30d": 12.5]) == "spent 12.50 EUR in the last 30 days")
        // Orders of a window are kept as logarithms.
        #expect(
            try Self.text("max_order_90d", ["max_order_90d": log1pf(80)]).hasPrefix("largest order of 80.00 EUR in"))
        #expect(try Self.text("active_share", ["active_share": 0.031]) == "active on 3 % of the days")
    }

    /// No feature is without words, and none says nothing or ends in a number without a unit.
    @Test func allFeatures() {
        let row = [Float](repeating: 1, count: SnapshotFeatures.count)
        let texts = SnapshotFeatures.definitions.indices.map { FactorText(currency: "EUR").text(feature: $0, of: row) }
        #expect(texts.allSatisfy { $0.count > 8 && $0.last?.isLetter == true })
        // The two of the weekday say the same.
        #expect(Set(texts).count >= texts.count - 1 - 2)
    }

    @Test func summaries() {
        var alert = AlertEncoder.Alert(
            id: 1, state: "raised", reason: "silence", isBacklog: false, at: epoch + 103 * day, lastEventMs: epoch,
            churnProbability: 0.81, value: 51.047, valueToDate: 1342.28, orders: 6,
            firstPurchase: UInt32(epoch / 1000) - 105 * 86_400, lastPurchase: UInt32(epoch / 1000), factors: [],
            modelVersion: 3)
        let words = AlertText(currency: "EUR", churnDays: "30", valueDays: "90")
        #expect(
            words.summary(of: alert)
                == "Silent for 103 days; bought every 21 days before (6 orders, 1,342.28 EUR so far). Stays away for the "
                + "next 30 days with a probability of 81 %; 51.05 EUR expected over 90 days are at risk.")
        alert.state = "cleared"
        alert.churnProbability = 0.2
        alert.lastEventMs = alert.at
        alert.orders = 1
        #expect(
            words.summary(of: alert)
                == "Is back; 1 order, 1,342.28 EUR so far. Stays away for the next 30 days with a probability of 20 %.")
        alert.lastEventMs = epoch
        #expect(words.summary(of: alert).hasPrefix("Is no longer at risk; "))
    }
}
