import Glibc

/// What a feature says of a user, in words and natural units.
struct FactorText {
    let currency: String

    /// - Parameters:
    ///   - feature: its place in the row.
    ///   - row: finished features of the user.
    func text(feature: Int, of row: UnsafePointer<Float>) -> String {
        let windows = Panes.windows
        let value = Double(feature < SnapshotFeatures.logCount ? expm1f(row[feature]) : row[feature])
        switch SnapshotFeatures.place(of: feature) {
        case .window(let w, let kind): return text(kind, value, days(w))
        case .total(let total): return text(total, value, row)
        case .shape(let w, let shape): return text(shape, value, days(w))
        case .trait(let trait): return text(trait, value)
        }

        func days(_ window: Int) -> String {
            precondition(window < windows)
            let n = Panes.windowDays[window]
            return n == 1 ? "the last day" : "the last \(n) days"
        }
    }

    private func text(_ feature: SnapshotFeatures.WindowFeature, _ x: Double, _ when: String) -> String {
        func number(_ noun: String, _ plural: String? = nil) -> String {
            x < 0.5 ? "no \(noun) in \(when)" : "\(PlainNumber.count(x.rounded(), noun, plural)) in \(when)"
        }
        return switch feature {
        case .browses: number("visit")
        case .views: number("product view")
        case .carts: number("addition to the cart", "additions to the cart")
        case .checkouts: number("checkout")
        case .orders: number("order")
        case .spend: "spent \(PlainNumber.money(x, currency)) in \(when)"
        case .meanOrder: x > 0 ? "orders of \(PlainNumber.money(x, currency)) in \(when)" : "no order in \(when)"
        }
    }

    private func text(_ total: SnapshotFeatures.Total, _ x: Double, _ row: UnsafePointer<Float>) -> String {
        func other(_ total: SnapshotFeatures.Total) -> Double { Double(expm1f(row[SnapshotFeatures.place(total)])) }
        let days = PlainNumber.count(x, "day")
        return switch total {
        case .recency: x < 0.05 ? "active right now" : "silent for \(days)"
        case .tenure: "known for \(days)"
        case .purchaseRecency: other(.orders) > 0.5 ? "last bought \(days) ago" : "known for \(days), never bought"
        case .orders: x < 0.5 ? "never bought" : "\(PlainNumber.count(x.rounded(), "order")) so far"
        case .value: "\(PlainNumber.money(x, currency)) so far"
        case .meanOrder: x > 0 ? "orders of \(PlainNumber.money(x, currency)) on average" : "no money so far"
        case .events: "\(PlainNumber.count(x.rounded(), "event")) so far"
        case .spendRate: "spends \(PlainNumber.money(x, currency)) in 30 days"
        case .orderRate: "\(PlainNumber.count(x, "order")) in 30 days"
        case .purchaseGap: x > 0 ? "buys every \(days)" : "has not bought on two days"
        case .gapRatio:
            other(.orders) > 1.5
                ? "last bought \(PlainNumber.count(other(.purchaseRecency), "day")) ago; "
                    + "buys every \(PlainNumber.count(other(.purchaseGap), "day")) otherwise"
                : "has not bought twice"
        case .daysActive: "active on \(PlainNumber.count(x.rounded(), "day"))"
        case .views: "\(PlainNumber.count(x.rounded(), "product view")) so far"
        case .purchaseDays: "bought on \(PlainNumber.count(x.rounded(), "day"))"
        case .purchaseTenure: other(.orders) > 0.5 ? "first bought \(days) ago" : "never bought"
        }
    }

    private func text(_ shape: SnapshotFeatures.WindowShape, _ x: Double, _ when: String) -> String {
        switch shape {
        case .minOrder:
            x > 0 ? "smallest order of \(PlainNumber.money(expm1(x), currency)) in \(when)" : "no order in \(when)"
        case .maxOrder:
            x > 0 ? "largest order of \(PlainNumber.money(expm1(x), currency)) in \(when)" : "no order in \(when)"
        case .viewToCart: "\(PlainNumber.text(10 * x)) additions to the cart for ten product views in \(when)"
        case .cartToOrder: "\(PlainNumber.text(10 * x)) orders for ten additions to the cart in \(when)"
        }
    }

    private func text(_ trait: SnapshotFeatures.Trait, _ x: Double) -> String {
        switch trait {
        case .hasPurchased: x > 0.5 ? "has bought" : "never bought"
        case .repurchaseRate: "\(PlainNumber.percent(x)) of the orders are repeats"
        case .activeShare: "active on \(PlainNumber.percent(x)) of the days"
        case .weekdaySin, .weekdayCos: "the day of the week"
        }
    }
}
