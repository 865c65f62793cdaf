import CKernels
import Glibc

/// The features of a user at a scoring instant: what is known of windows, recency, tenure, totals and rates.
/// Written raw first (counts, money, days), then a stretch of the row goes through log(1 + x) in one sweep.
public enum SnapshotFeatures {
    /// Names of the windows, shortest first.
    static let windowNames = ["1d", "7d", "30d", "90d"]

    /// The features in the order of the row. Those of the first `logCount` are log(1 + raw).
    public static let definitions: [FeatureDefinition] = logged + plain

    static let count = definitions.count
    static let logCount = logged.count
    private static let perWindow = 7
    /// Place of the days since the last event: 0 while the user acts.
    static let recency = 4 * perWindow
    /// Places of what a process of purchases needs to know.
    static let purchaseRecency = recency + 2
    static let value = recency + 4
    static let purchaseDays = recency + 13
    static let purchaseTenure = recency + 14

    private static let logged: [FeatureDefinition] =
        windowNames.flatMap { w in
            [
                .init("browses_\(w)", "log count", "log(1 + page views and other visits in the window)"),
                .init("views_\(w)", "log count", "log(1 + product views and clicks in the window)"),
                .init("carts_\(w)", "log count", "log(1 + additions to the cart in the window)"),
                .init("checkouts_\(w)", "log count", "log(1 + checkouts in the window)"),
                .init("orders_\(w)", "log count", "log(1 + orders in the window)"),
                .init("spend_\(w)", "log money", "log(1 + net money in the window)"),
                .init("mean_order_\(w)", "log money", "log(1 + net money / orders in the window)"),
            ] as [FeatureDefinition]
        } + [
            .init("recency", "log days", "log(1 + days since the last event)"),
            .init("tenure", "log days", "log(1 + days since the first event)"),
            .init("purchase_recency", "log days", "log(1 + days since the last purchase, else since the first event)"),
            .init("orders", "log count", "log(1 + orders so far)"),
            .init("value", "log money", "log(1 + net money so far)"),
            .init("mean_order", "log money", "log(1 + net money / orders so far)"),
            .init("events", "log count", "log(1 + events so far)"),
            .init("spend_rate", "log money", "log(1 + 30 × net money / (tenure + 14 days))"),
            .init("order_rate", "log count", "log(1 + 30 × orders / (tenure + 14 days))"),
            .init("purchase_gap", "log days", "log(1 + days from first to last purchase / (orders - 1))"),
            .init("gap_ratio", "log ratio", "log(1 + days since the last purchase / (mean gap + 1 day)); 0 below two"),
            .init("days_active", "log days", "log(1 + days with an event)"),
            .init("views", "log count", "log(1 + product views so far)"),
            .init("purchase_days", "log days", "log(1 + days with a purchase)"),
            .init("purchase_tenure", "log days", "log(1 + days since the first purchase); 0 before it"),
        ]

    private static let plain: [FeatureDefinition] =
        windowNames.flatMap { w in
            [
                .init("min_order_\(w)", "log money", "log(1 + smallest order in the window), within 3 %"),
                .init("max_order_\(w)", "log money", "log(1 + largest order in the window), within 3 %"),
                .init("view_to_cart_\(w)", "ratio", "carts / (views + 1) in the window, at most 2"),
                .init("cart_to_order_\(w)", "ratio", "orders / (carts + 1) in the window, at most 2"),
            ] as [FeatureDefinition]
        } + [
            .init("has_purchased", "flag", "1 after the first purchase"),
            .init("repurchase_rate", "ratio", "(orders - 1) / orders; 0 without any"),
            .init("active_share", "ratio", "days with an event / (tenure + 1 day)"),
            .init("weekday_sin", "-", "sin of the day of the week (UTC) on a circle"),
            .init("weekday_cos", "-", "cos of the day of the week (UTC) on a circle"),
        ]

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
        writeTotals(h, now: now, logged: row + Panes.windows * perWindow, plain: row + logCount + Panes.windows * 4)
    }

    @inline(__always)
    private static func writeWindow(_ w: PaneSums, _ i: Int, _ row: UnsafeMutablePointer<Float>) {
        let l = row + i * perWindow
        let (views, carts, orders) = (Float(w.counts.1), Float(w.counts.2), Float(w.counts.4))
        let spend = max(0, w.sum)
        l[0] = Float(w.counts.0)
        l[1] = views
        l[2] = carts
        l[3] = Float(w.counts.3)
        l[4] = orders
        l[5] = spend
        l[6] = orders > 0 ? spend / orders : 0
        let p = row + logCount + i * 4
        p[0] = Panes.logAmount(w.min)
        p[1] = Panes.logAmount(w.max)
        p[2] = min(2, carts / (views + 1))
        p[3] = min(2, orders / (carts + 1))
    }

    @inline(__always)
    private static func writeTotals(
        _ h: UnsafeMutablePointer<UserHeader>, now: Int64, logged l: UnsafeMutablePointer<Float>,
        plain p: UnsafeMutablePointer<Float>
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
        l[0] = Float(max(0, now - h.pointee.lastEventMs)) / Float(Clock.day)
        l[1] = tenure
        l[2] = sincePurchase
        l[3] = orders
        l[4] = value
        l[5] = has ? value / orders : 0
        l[6] = Float(h.pointee.events)
        l[7] = value / (tenure + 14) * 30
        l[8] = orders / (tenure + 14) * 30
        l[9] = gap
        l[10] = h.pointee.purchases > 1 ? sincePurchase / (gap + 1) : 0
        l[11] = Float(h.pointee.daysActive)
        l[12] = Float(h.pointee.views)
        l[13] = Float(h.pointee.purchaseDays)
        l[14] = has ? days(since: h.pointee.firstPurchase) : 0
        p[0] = has ? 1 : 0
        p[1] = has ? (orders - 1) / orders : 0
        p[2] = Float(h.pointee.daysActive) / (tenure + 1)
        let d = weekday[Clock.hourOfWeek(now) / 24]
        p[3] = d.x
        p[4] = d.y
    }

    /// Events in the window of a day, from a finished row.
    static func eventsOfDay(_ row: UnsafePointer<Float>) -> Float {
        expm1f(row[0]) + expm1f(row[1]) + expm1f(row[2]) + expm1f(row[3]) + expm1f(row[4])
    }

    /// log(1 + x) over the logged part of `rows` rows.
    static func finish(_ rows: UnsafeMutablePointer<Float>, count: Int) {
        for i in 0..<count {
            clvd_log1p(logCount, rows + i * SnapshotFeatures.count, rows + i * SnapshotFeatures.count)
        }
    }
}
