import CEventParser
import Testing

@testable import Engine

/// Value to date, orders, windows and labels against a recount in whole cents by dictionaries, on random orders, lines,
/// repeats, edits, refunds and returns.
@Suite struct MoneyRecountTests {
    /// One customer. Money in cents.
    private struct Recount {
        struct Order {
            var total: Int
            var refunded = 0
            var lastDay: Int
            var left: Int { max(0, total - refunded) }
        }

        var byID: [String: Order] = [:]
        /// Ids in the order in which their orders began; the last eight are known.
        var begun: [String] = []
        var orders = 0
        /// Money of orders without an id, and of those that are forgotten.
        var elsewhere = 0

        var value: Int { elsewhere + byID.values.reduce(0) { $0 + $1.left } }

        mutating func begin(_ id: String?, _ amount: Int, day: Int) {
            orders += 1
            guard let id else {
                elsewhere += amount
                return
            }
            if let old = byID[id] {
                elsewhere += old.left
                begun[begun.firstIndex(of: id)!] = ""
            }
            byID[id] = Order(total: amount, lastDay: day)
            begun.append(id)
            if begun.count > 8, let forgotten = byID.removeValue(forKey: begun.removeFirst()) {
                elsewhere += forgotten.left
            }
        }

        mutating func purchase(_ id: String?, _ amount: Int, day: Int, isWhole: Bool) {
            guard let id, let known = byID[id], isWhole || day - known.lastDay <= 6 else {
                return begin(id, amount, day: day)
            }
            byID[id]!.total = isWhole ? amount : known.total + amount
            byID[id]!.lastDay = day
        }

        mutating func refund(_ id: String?, _ amount: Int?) {
            if let id, let known = byID[id] {
                byID[id]!.refunded += min(amount ?? known.left, known.left)
            } else if let amount {
                var left = amount
                let part = min(left, elsewhere)
                elsewhere -= part
                left -= part
                guard id == nil else { return }
                for id in begun.reversed() where byID[id] != nil {
                    let part = min(left, byID[id]!.left)
                    byID[id]!.refunded += part
                    left -= part
                }
            }
        }
    }

    @Test(arguments: 0..<24)
    func moneyEqualsARecount(seed: Int) throws {
        var random = RandomNumbers(seed: UInt64(seed) + 900)
        let isWhole = seed % 2 == 0
        let stream = TestStream()
        var recount = Recount()
        var right: [(value: Int, orders: Int)] = []
        // A landmark before all money, so that its label is all of it.
        stream.add("u", .view, at: epoch)
        right.append((0, 0))
        var now = epoch
        for _ in 0..<160 {
            now += Int64(random.uniform() * [3e5, 2e7, 1e8][random.below(3)])
            guard now < epoch + 19 * day else { break }
            let today = Int(now / day)
            let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]
            let id = random.uniform() < 0.15 ? nil : ids[random.below(seed % 3 == 0 ? 11 : 5)]
            let amount = random.uniform() < 0.1 ? 0 : random.below(20_000)
            var flags = isWhole ? UInt8(clvd_flag_whole_order.rawValue) : 0
            if random.uniform() < 0.65 {
                stream.add("u", .purchase, at: now, amount: Double(amount) / 100, order: id, flags: flags)
                recount.purchase(id, amount, day: today, isWhole: isWhole)
            } else {
                let named: Int? = random.uniform() < 0.2 ? nil : amount
                if named == nil { flags |= UInt8(clvd_flag_no_money.rawValue) }
                let isReturn = random.uniform() < 0.2
                stream.add(
                    "u", isReturn ? .return : .refund, at: now, amount: Double(named ?? 0) / 100, order: id,
                    flags: flags)
                if !isReturn || named != nil { recount.refund(id, named) }
            }
            right.append((recount.value, recount.orders))
        }
        var configuration = EngineConfiguration.small
        configuration.learning.eventLandmarkShare = 1
        let engine = Engine.make(configuration)
        var faults = FirstFaults()
        for (i, expected) in right.enumerated() {
            engine.run(stream, i..<i + 1)
            let view = try #require(engine.view(of: "u"))
            let value = Double(expected.value) / 100
            faults.expect(
                abs(view.valueToDate - value) < 1e-6 && view.valueToDate >= 0 && view.orders == expected.orders,
                "record \(i): \(view.valueToDate) and \(view.orders) orders, not \(value) and \(expected.orders)")
            faults.expect(abs(view.windows[3].spend - value) < 0.1, "record \(i): window \(view.windows[3].spend)")
        }
        #expect(faults.found == [])
        #expect(right.count > 40)
        let pool = engine.task.pool.image
        let landmark = try #require(
            (pool.head..<pool.tail).map { engine.task.pool.at($0) }
                .first { LandmarkPool.header($0).pointee.instant == epoch })
        let labels = landmark.at(engine.settings.landmarkLayout.labels, as: Float.self)
        let clv = try #require(engine.configuration.targets.firstIndex { $0.kind == .value })
        let sum = engine.settings.targetTable.cells(target: clv).reduce(Float(0)) { $0 + labels[$1] }
        #expect(abs(Double(sum) - Double(right.last!.value) / 100) < 0.1)
    }
}
