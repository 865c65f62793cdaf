import CEventParser
import CKernels
import Foundation
import Testing

@testable import Engine

/// Features and labels against a recount of all events ever made, on random streams through the whole engine.
@Suite struct RecountTests {
    struct Event {
        var time: Int64
        /// The user's clock after the event: late events do not turn it back.
        var now: Int64
        var type: EventType
        var amount: Double
        /// Number of the order, and whether an earlier line of it came before.
        var order: Int?
        var continues: Bool
        /// What it changes: a refund takes no more than there is.
        var money: Double
    }

    /// A stream of a few users with what a recount needs: orders of several lines, two orders at once, late events,
    /// refunds, and pauses from seconds to months.
    struct Recounted {
        let stream = TestStream()
        var byUser: [String: [Event]] = [:]
        var steps: [(user: String, count: Int)] = []

        init(seed: UInt64, users: Int = 3, events: Int = 220) {
            var random = RandomNumbers(seed: seed)
            var now = epoch + Int64(random.below(1000)) * hour
            var orders = 0
            for _ in 0..<events {
                let gap = [2_000.0, 3_600_000, 30_000_000, 86_400_000, 700_000_000][random.below(5)]
                now += Int64(random.uniform() * gap)
                let user = "user-\(random.below(users))"
                let late = random.uniform() < 0.12
                let time = late ? now - Int64(random.uniform() * 3_500_000) : now
                let draw = random.uniform()
                if draw < 0.25 {
                    // Lines of one order, or of two at the same time.
                    let (a, b) = (orders, random.uniform() < 0.3 ? orders + 1 : orders)
                    orders += 2
                    var seen: Set<Int> = []
                    for order in [a, b, a, b].prefix(1 + random.below(4)) {
                        let amount = Double(5 + random.below(300))
                        add(user, .purchase, time, amount, order: order, continues: !seen.insert(order).inserted)
                    }
                } else if draw < 0.32 {
                    add(user, .refund, time, Double(1 + random.below(20)))
                } else {
                    let types: [EventType] = [
                        .pageView, .search, .view, .click, .wishlist, .addToCart, .removeFromCart, .checkout, .message,
                        .return, .session, .other,
                    ]
                    add(user, types[random.below(types.count)], time, 0)
                }
            }
        }

        private mutating func add(
            _ user: String, _ type: EventType, _ time: Int64, _ amount: Double, order: Int? = nil,
            continues: Bool = false
        ) {
            stream.add(user, type, at: time, amount: amount, order: order.map { "order-\($0)" })
            let now = max(time, byUser[user]?.last?.now ?? time)
            let value = byUser[user, default: []].reduce(0) { $0 + $1.money }
            byUser[user, default: []].append(
                Event(
                    time: time, now: now, type: type, amount: amount, order: order, continues: continues,
                    money: type == .purchase ? amount : type == .refund ? -min(amount, value) : 0))
            steps.append((user, byUser[user]!.count))
        }
    }

    // MARK: Features

    private static func paneIndex(_ t: Int64, hours: Int64) -> Int64 {
        Int64((Double(t) / Double(hours * hour)).rounded(.down))
    }

    /// Whether an event is in a window, by the documentation of `Panes`.
    private static func inside(_ time: Int64, window: Int, now: Int64) -> Bool {
        let (hours, panes): (Int64, Int64) = [(6, 4), (24, 7), (144, 5), (432, 5)][window]
        return paneIndex(time, hours: hours) > paneIndex(now, hours: hours) - panes
    }

    /// The features by name. `min_order` is left out: it is checked by its bounds.
    private static func features(_ events: [Event], now: Int64) -> [String: Double] {
        var f: [String: Double] = [:]
        for (w, name) in ["1d", "7d", "30d", "90d"].enumerated() {
            let some = events.filter { inside($0.time, window: w, now: now) }
            func count(_ types: EventType...) -> Double { Double(some.count { types.contains($0.type) }) }
            let (views, carts) = (count(.view, .click, .wishlist), count(.addToCart))
            let orders = Double(some.count { $0.type == .purchase && !$0.continues })
            let spend = max(0, some.reduce(0) { $0 + $1.money })
            f["browses_\(name)"] = log1p(count(.pageView, .search, .removeFromCart, .message, .session, .other))
            f["views_\(name)"] = log1p(views)
            f["carts_\(name)"] = log1p(carts)
            f["checkouts_\(name)"] = log1p(count(.checkout))
            f["orders_\(name)"] = log1p(orders)
            f["spend_\(name)"] = log1p(spend)
            f["mean_order_\(name)"] = log1p(orders > 0 ? spend / orders : 0)
            f["max_order_\(name)"] = totals(some).values.max().map { Double(code($0)) / 18 } ?? 0
            f["view_to_cart_\(name)"] = min(2, carts / (views + 1))
            f["cart_to_order_\(name)"] = min(2, orders / (carts + 1))
        }
        func days(_ t: Int64) -> Double { Double(now / 1000 - t / 1000) / 86_400 }
        let purchases = events.filter { $0.type == .purchase }
        let orders = Double(purchases.count { !$0.continues })
        let value = max(0, events.reduce(0) { $0 + $1.money })
        let tenure = days(events[0].now)
        let sincePurchase = purchases.last.map { days($0.now) } ?? tenure
        let gap = orders > 1 ? (days(purchases[0].now) - sincePurchase) / (orders - 1) : 0
        let active = Double(Set(events.map { $0.now / day }).count)
        f["recency"] = log1p(Double(now - events.last!.now) / Double(day))
        f["tenure"] = log1p(tenure)
        f["purchase_recency"] = log1p(sincePurchase)
        f["orders"] = log1p(orders)
        f["value"] = log1p(value)
        f["mean_order"] = log1p(orders > 0 ? value / orders : 0)
        f["events"] = log1p(Double(events.count))
        f["spend_rate"] = log1p(30 * value / (tenure + 14))
        f["order_rate"] = log1p(30 * orders / (tenure + 14))
        f["purchase_gap"] = log1p(gap)
        f["gap_ratio"] = log1p(orders > 1 ? sincePurchase / (gap + 1) : 0)
        f["days_active"] = log1p(active)
        f["views"] = log1p(Double(events.count { [.view, .click, .wishlist].contains($0.type) }))
        f["purchase_tenure"] = log1p(purchases.first.map { days($0.now) } ?? 0)
        f["purchase_days"] = log1p(Double(Set(purchases.map { $0.now / day }).count))
        f["has_purchased"] = purchases.isEmpty ? 0 : 1
        f["repurchase_rate"] = orders > 0 ? (orders - 1) / orders : 0
        f["active_share"] = active / (tenure + 1)
        let weekday = Double((now / day + 4) % 7)  // 1970-01-01 was a Thursday, Sunday is 0
        f["weekday_sin"] = sin(2 * .pi * weekday / 7)
        f["weekday_cos"] = cos(2 * .pi * weekday / 7)
        return f
    }

    private static func code(_ amount: Double) -> Int { Int((18 * log1p(amount)).rounded()) }

    /// Money by order.
    private static func totals(_ events: [Event]) -> [Int: Double] {
        events.reduce(into: [:]) { if let order = $1.order { $0[order, default: 0] += $1.amount } }
    }

    @Test(arguments: 0..<8)
    func featuresEqualARecount(seed: Int) throws {
        let made = Recounted(seed: UInt64(seed))
        var configuration = EngineConfiguration.small
        configuration.learning.enabled = false
        let engine = Engine.make(configuration)
        var random = RandomNumbers(seed: 77)
        var faults = FirstFaults()
        var row = [Float](repeating: 0, count: SnapshotFeatures.count)
        for (i, (user, count)) in made.steps.enumerated() {
            engine.run(made.stream, i..<i + 1)
            let slot = try #require(engine.slot(user))
            let events = Array(made.byUser[user]!.prefix(count))
            let now = events.last!.now
            for instant in [now, now + Int64(random.uniform() * 8e9)] {
                SnapshotFeatures.write(slot, engine.settings.userLayout, now: instant, into: &row)
                SnapshotFeatures.finish(&row, count: 1)
                let expected = Self.features(events, now: instant)
                var unchecked = 0
                for (f, definition) in SnapshotFeatures.definitions.enumerated() {
                    guard let x = expected[definition.name] else {
                        #expect(definition.name.hasPrefix("min_order"))
                        unchecked += 1
                        continue
                    }
                    faults.expect(
                        abs(Double(row[f]) - x) < 2e-4 * (1 + abs(x)),
                        "\(definition.name) of \(user) after event \(i): \(row[f]), not \(x)")
                }
                #expect(unchecked == 4)
                for (w, name) in ["1d", "7d", "30d", "90d"].enumerated() {
                    let some = events.filter { Self.inside($0.time, window: w, now: instant) }
                    let f = try #require(SnapshotFeatures.definitions.firstIndex { $0.name == "min_order_\(name)" })
                    // A pane does not know the smallest of several orders once that one grows: then the money of its
                    // first line stands.
                    let first = some.filter { $0.type == .purchase && !$0.continues }.map(\.amount).min() ?? 0
                    let total = Self.totals(some).values.min() ?? 0
                    let recorded = Int((row[f] * 18).rounded())
                    faults.expect(
                        (Self.code(first)...Self.code(total)).contains(recorded),
                        "min_order_\(name) of \(user) after event \(i): \(recorded)")
                }
            }
        }
        #expect(faults.found == [])
    }

    // MARK: Labels

    @Test(arguments: 0..<6)
    func labelsEqualARecount(seed: Int) throws {
        let made = Recounted(seed: UInt64(seed + 50), events: 300)
        var configuration = EngineConfiguration.small
        configuration.learning.stepsPerThousandEvents = 0
        configuration.learning.intervalRecords = 37
        configuration.learning.eventLandmarkShare = 0.5
        configuration.learning.maxLandmarks = 20_000
        let engine = Engine.make(configuration)
        engine.run(made.stream, cut: 100)
        let pool = engine.task.pool.image
        #expect(pool.head == 1, "no landmark has left")
        var grid: [UInt32: [Int64]] = [:]
        var paid = 0
        var faults = FirstFaults()
        for sequence in pool.head..<pool.tail {
            let landmark = engine.task.pool.at(sequence)
            let h = LandmarkPool.header(landmark).pointee
            #expect(h.sequence == sequence)
            let key = String(decoding: engine.task.users.key(of: engine.task.users.slot(h.user)), as: UTF8.self)
            let events = try #require(made.byUser[key])
            if !events.contains(where: { $0.now == h.instant }) { grid[h.user, default: []].append(h.instant) }
            var expected = [Double](repeating: 0, count: 9)
            for e in events where e.time > h.instant {
                guard let bin = [2, 7, 20].firstIndex(where: { e.time <= h.instant + $0 * day }) else { continue }
                expected[bin] += e.money
                if e.continues { continue }
                if e.type == .purchase { expected[3 + bin] += 1 }
                expected[6 + bin] += 1
            }
            let labels = landmark.at(engine.settings.landmarkLayout.labels, as: Float.self)
            for cell in 0..<9 {
                faults.expect(
                    abs(Double(labels[cell]) - expected[cell]) < 1e-3,
                    "cell \(cell) of \(key) at \(h.instant): \(labels[cell]), not \(expected[cell])")
            }
            if expected[0] > 0 { paid += 1 }
            // Matured is what no accepted event can reach any more.
            for (bin, days) in ([2, 7, 20] as [Int64]).enumerated() where sequence < pool.frontier[bin] {
                faults.expect(h.instant + days * day < engine.task.watermark, "matured: \(h.instant) in bin \(bin)")
            }
        }
        #expect(faults.found == [])
        #expect(paid > 5)
        #expect(pool.frontier[0] > 50 && pool.frontier[2] > 20)
        // The grid: every landmarkIntervalDays, at an offset of the user's own.
        #expect(grid.count == 3)
        for instants in grid.values {
            for (a, b) in zip(instants, instants.dropFirst()) { #expect((b - a) % (3 * day) == 0 && b > a) }
            #expect(instants.count > 20)
        }
    }

    @Test func anEventAtTheEndOfABinCounts() throws {
        var configuration = EngineConfiguration.small
        configuration.learning.eventLandmarkShare = 1
        configuration.learning.intervalRecords = 1
        configuration.learning.landmarkIntervalDays = 1000
        configuration.time.clockSkewSeconds = 0
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        // Another user brings the watermark to the very end of the first bin, then an event comes for that instant.
        stream.add("b", .view, at: epoch + 2 * day + hour)
        stream.add("a", .purchase, at: epoch + 2 * day, amount: 9)
        stream.add("b", .view, at: epoch + 2 * day + hour + 1)
        let engine = Engine.make(configuration)
        engine.run(stream, 0..<2)
        #expect(engine.task.watermark == epoch + 2 * day)
        #expect(engine.task.pool.frontier[0] == 1)
        engine.run(stream, 2..<4)
        #expect(engine.task.pool.frontier[0] == 2)
        let labels = engine.task.pool.at(1).at(engine.settings.landmarkLayout.labels, as: Float.self)
        #expect(labels[0] == 9 && labels[3] == 1)
    }

    // MARK: Sequences

    /// What a landmark stores gives the state that served: training sees the inputs that serving saw.
    @Test(arguments: EngineConfiguration.Model.Recurrent.allCases)
    func storedSequencesLeadToTheServedState(recurrent: EngineConfiguration.Model.Recurrent) throws {
        var configuration = EngineConfiguration.small
        configuration.model.recurrent = recurrent
        configuration.learning.eventLandmarkShare = 1
        configuration.learning.intervalRecords = 1_000_000
        configuration.learning.intervalHours = 0
        let engine = Engine.make(configuration)
        let stream = RandomStream(users: 12, events: 700, days: 60, troubles: false).make(seed: 3)
        let settings = engine.settings
        let network = Network(settings.model)
        let workspace = Workspace(layout: settings.model, rows: 1)
        var longest = 0
        for i in stream.events.indices {
            let made = engine.report(prequential: false).counters.landmarks
            engine.run(stream, i..<i + 1)
            // Not every event of a busy day becomes a landmark.
            if engine.report(prequential: false).counters.landmarks == made { continue }
            let landmark = engine.task.pool.at(engine.task.pool.tail - 1)
            let h = LandmarkPool.header(landmark).pointee
            let slot = engine.task.users.slot(h.user)
            longest = max(longest, Int(h.steps))
            var state = [Float](repeating: 0, count: settings.stateWidth)
            settings.codec.unpack(landmark + settings.landmarkLayout.state, into: &state)
            var context = StepInputs.Context(
                previousTime: h.contextTime, previousCode: h.contextCode, lastPurchase: h.contextPurchase,
                amountMean: 0, amountInverse: 0)
            let events = landmark.at(settings.landmarkLayout.events, as: StoredEvent.self)
            for t in 0..<Int(h.steps) {
                var (indices, numerics) = ([UInt16](repeating: 0, count: 3), [Float](repeating: 0, count: 12))
                settings.inputs.encode(
                    events[t], logAmount: clvd_float_of_half(events[t].amount), context, indices: &indices,
                    numerics: &numerics)
                network.recurrentStep(
                    engine.serving.parameters.weights, rows: 1, indices: indices, numerics: numerics, state: &state,
                    workspace: workspace)
                context.previousTime = events[t].time
                context.previousCode = events[t].code
                if events[t].code >> EventRing.typeShift == 9 { context.lastPurchase = events[t].time }
            }
            var served = state
            settings.codec.unpack(slot + settings.userLayout.rolling, into: &served)
            // States at rest are rounded after every event: h to 1/127, c to half precision.
            #expect(firstDifferences(served, state) { abs($0 - $1) < 0.05 } == [], "event \(i)")
        }
        #expect(longest == 16)
    }
}
