import CKernels
import Glibc

/// The features of a user at a scoring instant: what is known of windows, recency, tenure, totals and rates.
/// Written raw first (counts, money, days), then a stretch of the row goes through log(1 + x) in one sweep.
public enum SnapshotFeatures {
    /// Names of the windows, shortest first.
    static let windowNames = Panes.windowDays.map { "\($0)d" }

    /// A user's own rates are over tenure + this, days: two weeks in which nothing happened are assumed before the
    /// first event, so that the rates of a user of one hour are not 24 times those of a day.
    static let ratePriorDays: Float = 14

    // Rows lie as [windows × WindowFeature] [Total] [windows × WindowShape] [Trait]; the first two are the logged part.

    /// Logged features of one window, in the order of the row.
    enum WindowFeature: Int, CaseIterable {
        case browses, views, carts, checkouts, orders, spend, meanOrder
        static let count = WindowFeature.meanOrder.rawValue + 1

        func definition(_ w: String) -> FeatureDefinition {
            switch self {
            case .browses: .init("browses_\(w)", "log count", "log(1 + page views and other visits in the window)")
            case .views: .init("views_\(w)", "log count", "log(1 + product views and clicks in the window)")
            case .carts: .init("carts_\(w)", "log count", "log(1 + additions to the cart in the window)")
            case .checkouts: .init("checkouts_\(w)", "log count", "log(1 + checkouts in the window)")
            case .orders: .init("orders_\(w)", "log count", "log(1 + orders in the window)")
            case .spend: .init("spend_\(w)", "log money", "log(1 + net money in the window)")
            case .meanOrder: .init("mean_order_\(w)", "log money", "log(1 + net money / orders in the window)")
            }
        }
    }

    /// Logged features of the user's whole past, in the order of the row.
    enum Total: Int, CaseIterable {
        case recency, tenure, purchaseRecency, orders, value, meanOrder, events, spendRate, orderRate, purchaseGap
        case gapRatio, daysActive, views, purchaseDays, purchaseTenure
        static let count = Total.purchaseTenure.rawValue + 1

        var definition: FeatureDefinition {
            switch self {
            case .recency: .init("recency", "log days", "log(1 + days since the last event)")
            case .tenure: .init("tenure", "log days", "log(1 + days since the first event)")
            case .purchaseRecency:
                .init(
                    "purchase_recency", "log days", "log(1 + days since the last purchase, else since the first event)")
            case .orders: .init("orders", "log count", "log(1 + orders so far)")
            case .value: .init("value", "log money", "log(1 + net money so far)")
            case .meanOrder: .init("mean_order", "log money", "log(1 + net money / orders so far)")
            case .events: .init("events", "log count", "log(1 + events so far)")
            case .spendRate: .init("spend_rate", "log money", "log(1 + 30 × net money / (tenure + 14 days))")
            case .orderRate: .init("order_rate", "log count", "log(1 + 30 × orders / (tenure + 14 days))")
            case .purchaseGap:
                .init("purchase_gap", "log days", "log(1 + days from first to last purchase / (orders - 1))")
            case .gapRatio:
                .init(
                    "gap_ratio", "log ratio",
                    "log(1 + days since the last purchase / (mean gap + 1 day)); 0 below two")
            case .daysActive: .init("days_active", "log days", "log(1 + days with an event)")
            case .views: .init("views", "log count", "log(1 + product views so far)")
            case .purchaseDays: .init("purchase_days", "log days", "log(1 + days with a purchase)")
            case .purchaseTenure:
                .init("purchase_tenure", "log days", "log(1 + days since the first purchase); 0 before it")
            }
        }
    }

    /// Features of one window that are not logged on the way, in the order of the row.
    enum WindowShape: Int, CaseIterable {
        case minOrder, maxOrder, viewToCart, cartToOrder
        static let count = WindowShape.cartToOrder.rawValue + 1

        func definition(_ w: String) -> FeatureDefinition {
            switch self {
            case .minOrder: .init("min_order_\(w)", "log money", "log(1 + smallest order in the window), within 3 %")
            case .maxOrder: .init("max_order_\(w)", "log money", "log(1 + largest order in the window), within 3 %")
            case .viewToCart: .init("view_to_cart_\(w)", "ratio", "carts / (views + 1) in the window, at most 2")
            case .cartToOrder: .init("cart_to_order_\(w)", "ratio", "orders / (carts + 1) in the window, at most 2")
            }
        }
    }

    /// Other features that are not logged, in the order of the row.
    enum Trait: Int, CaseIterable {
        case hasPurchased, repurchaseRate, activeShare, weekdaySin, weekdayCos
        static let count = Trait.weekdayCos.rawValue + 1

        var definition: FeatureDefinition {
            switch self {
            case .hasPurchased: .init("has_purchased", "flag", "1 after the first purchase")
            case .repurchaseRate: .init("repurchase_rate", "ratio", "(orders - 1) / orders; 0 without any")
            case .activeShare: .init("active_share", "ratio", "days with an event / (tenure + 1 day)")
            case .weekdaySin: .init("weekday_sin", "-", "sin of the day of the week (UTC) on a circle")
            case .weekdayCos: .init("weekday_cos", "-", "cos of the day of the week (UTC) on a circle")
            }
        }
    }

    /// The features in the order of the row. Those of the first `logCount` are log(1 + raw).
    public static let definitions: [FeatureDefinition] =
        windowNames.flatMap { w in WindowFeature.allCases.map { $0.definition(w) } }
        + Total.allCases.map(\.definition)
        + windowNames.flatMap { w in WindowShape.allCases.map { $0.definition(w) } }
        + Trait.allCases.map(\.definition)

    private static let totals = Panes.windows * WindowFeature.count
    static let logCount = totals + Total.count
    private static let traits = logCount + Panes.windows * WindowShape.count
    static let count = traits + Trait.count

    /// What stands at a place of the row.
    enum Place {
        case window(Int, WindowFeature)
        case total(Total)
        case shape(Int, WindowShape)
        case trait(Trait)
    }

    static func place(of feature: Int) -> Place {
        switch feature {
        case ..<totals:
            .window(feature / WindowFeature.count, WindowFeature(rawValue: feature % WindowFeature.count)!)
        case ..<logCount: .total(Total(rawValue: feature - totals)!)
        case ..<traits:
            .shape(
                (feature - logCount) / WindowShape.count,
                WindowShape(rawValue: (feature - logCount) % WindowShape.count)!)
        default: .trait(Trait(rawValue: feature - traits)!)
        }
    }

    static func place(_ total: Total) -> Int { totals + total.rawValue }

    /// Place in the row of the days since the last event: 0 while the user acts.
    static let recency = totals + Total.recency.rawValue
    /// Places of what the processes of activity and purchases need to know.
    static let tenure = totals + Total.tenure.rawValue
    static let daysActive = totals + Total.daysActive.rawValue
    static let purchaseRecency = totals + Total.purchaseRecency.rawValue
    static let value = totals + Total.value.rawValue
    static let purchaseDays = totals + Total.purchaseDays.rawValue
    static let purchaseTenure = totals + Total.purchaseTenure.rawValue

    private static let weekday: [SIMD2<Float>] = (0..<7).map { d in
        let x = 2 * Double.pi * Double(d) / 7
        return SIMD2(Float(sin(x)), Float(cos(x)))
    }

    /// Writes the raw row of a user at `now` (ms, not before the user's last event). Call `finish` on rows before use.
    @inline(__always)
    static func write(_ slot: UserSlot, _ layout: UserLayout, now: Int64, into row: UnsafeMutablePointer<Float>) {
        let h = slot.header
        withUnsafeTemporaryAllocation(of: PaneSums.self, capacity: Panes.windows) { w in
            let windows = w.baseAddress!
            Panes(slot + layout.panes).windows(clock: h.pointee.paneClock, at: Panes.index(now), into: windows)
            for i in 0..<Panes.windows { writeWindow(windows[i], i, row) }
        }
        writeTotals(h, now: now, row + totals, row + traits)
    }

    @inline(__always)
    private static func writeWindow(_ w: PaneSums, _ i: Int, _ row: UnsafeMutablePointer<Float>) {
        let (views, carts, orders) = (Float(w.counts.1), Float(w.counts.2), Float(w.counts.4))
        let spend = max(0, w.sum)
        let l = row + i * WindowFeature.count
        l[WindowFeature.browses] = Float(w.counts.0)
        l[WindowFeature.views] = views
        l[WindowFeature.carts] = carts
        l[WindowFeature.checkouts] = Float(w.counts.3)
        l[WindowFeature.orders] = orders
        l[WindowFeature.spend] = spend
        l[WindowFeature.meanOrder] = orders > 0 ? spend / orders : 0
        let p = row + logCount + i * WindowShape.count
        p[WindowShape.minOrder] = Panes.logAmount(w.min)
        p[WindowShape.maxOrder] = Panes.logAmount(w.max)
        p[WindowShape.viewToCart] = min(2, carts / (views + 1))
        p[WindowShape.cartToOrder] = min(2, orders / (carts + 1))
    }

    /// - Parameters:
    ///   - l: [Total], raw.
    ///   - p: [Trait]
    @inline(__always)
    private static func writeTotals(
        _ h: UnsafeMutablePointer<UserHeader>, now: Int64, _ l: UnsafeMutablePointer<Float>,
        _ p: UnsafeMutablePointer<Float>
    ) {
        let seconds = now / 1000
        let perDay: Float = 86_400
        func days(since t: UInt32) -> Float { Float(max(0, seconds - Int64(t))) / perDay }
        let tenure = days(since: h.pointee.firstSeen)
        let orders = Float(h.pointee.purchases)
        let has = h.pointee.purchases > 0
        let sincePurchase = has ? days(since: h.pointee.lastPurchase) : tenure
        let value = Float(max(0, h.pointee.valueToDate))
        let gap =
            h.pointee.purchases > 1
            ? Float(h.pointee.lastPurchase &- h.pointee.firstPurchase) / perDay / (orders - 1) : 0
        l[Total.recency] = Float(max(0, now - h.pointee.lastEventMs)) / Float(Clock.day)
        l[Total.tenure] = tenure
        l[Total.purchaseRecency] = sincePurchase
        l[Total.orders] = orders
        l[Total.value] = value
        l[Total.meanOrder] = has ? value / orders : 0
        l[Total.events] = Float(h.pointee.events)
        l[Total.spendRate] = value / (tenure + ratePriorDays) * 30
        l[Total.orderRate] = orders / (tenure + ratePriorDays) * 30
        l[Total.purchaseGap] = gap
        l[Total.gapRatio] = h.pointee.purchases > 1 ? sincePurchase / (gap + 1) : 0
        l[Total.daysActive] = Float(h.pointee.daysActive)
        l[Total.views] = Float(h.pointee.views)
        l[Total.purchaseDays] = Float(h.pointee.purchaseDays)
        l[Total.purchaseTenure] = has ? days(since: h.pointee.firstPurchase) : 0
        p[Trait.hasPurchased] = has ? 1 : 0
        p[Trait.repurchaseRate] = has ? (orders - 1) / orders : 0
        p[Trait.activeShare] = Float(h.pointee.daysActive) / (tenure + 1)
        let d = weekday[Clock.hourOfWeek(now) / 24]
        p[Trait.weekdaySin] = d.x
        p[Trait.weekdayCos] = d.y
    }

    /// Events in the window of a day, from a finished row.
    static func eventsOfDay(_ row: UnsafePointer<Float>) -> Float {
        func events(_ feature: WindowFeature) -> Float { expm1f(row[feature.rawValue]) }
        return events(.browses) + events(.views) + events(.carts) + events(.checkouts) + events(.orders)
    }

    /// log(1 + x) over the logged part of `rows` rows.
    static func finish(_ rows: UnsafeMutablePointer<Float>, count: Int) {
        for i in 0..<count {
            clvd_log1p(logCount, rows + i * SnapshotFeatures.count, rows + i * SnapshotFeatures.count)
        }
    }
}

extension UnsafeMutablePointer<Float> {
    /// The element at a place that an enum names.
    @inline(__always)
    fileprivate subscript<Place: RawRepresentable>(_ place: Place) -> Float where Place.RawValue == Int {
        get { self[place.rawValue] }
        nonmutating set { self[place.rawValue] = newValue }
    }
}
