import CEventParser
import Foundation
import Testing

@testable import Engine

/// What is forecast before a network was taught, and how the network joins.
@Suite struct FirstForecastTests {
    /// A first purchase of 30, with a population of which nothing is known: every node of the process is as likely. With
    /// the rates λ and μ of a node, P(a purchase within h) = λ/(λ+μ)·(1 - e^(-(λ+μ)h)), and λ/μ·(1 - e^(-μh)) are expected.
    @Test func theFirstPurchaseHasAForecast() throws {
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 30)
        let json = try #require(Engine.make().run(stream).first).json()
        let clv = try #require(json["clv"] as? [String: Double])
        let purchase = try #require(json["purchase_probability"] as? [String: Double])
        for days in [2.0, 7, 20] {
            var (any, number) = (0.0, 0.0)
            for i in 0..<8 {
                let rate = 1 / 1500.0 * pow(1000, Double(i) / 7)
                for death in [1e-5, 1 / 3000.0, pow(300, 1 / 3.0) / 3000, pow(300, 2 / 3.0) / 3000, 0.1] {
                    any += rate / (rate + death) * -expm1(-(rate + death) * days) / 40
                    number += rate / death * -expm1(-death * days) / 40
                }
            }
            let key = HorizonDays.text(days)
            #expect(abs(purchase[key]! / any - 1) < 1e-3, "\(days) days: \(purchase[key]!) \(any)")
            #expect(abs(clv[key]! / (30 * number) - 1) < 1e-3, "\(days) days: \(clv[key]!) \(30 * number)")
        }
        #expect(json["model_version"] as? Int == 0 && json["confidence"] as? Double == 0)
    }

    /// A shop of 300 customers: rates from a gamma distribution, some leave, amounts of their own, a view now and then.
    private struct Shop {
        let stream = TestStream()
        /// By customer: days and amounts of purchases.
        var purchases: [[(day: Double, amount: Double)]] = []
        var first: [Double] = []

        init(seed: UInt64) {
            var random = RandomNumbers(seed: seed)
            func exponential(_ mean: Double) -> Double { -mean * log(1 - Double(random.uniform())) }
            var events: [(day: Double, user: Int, amount: Double)] = []
            for user in 0..<300 {
                let begin = 20 * Double(random.uniform())
                let gap = 4 + exponential(20)
                let end = begin + exponential(120)
                let spend = 10 + exponential(30)
                var bought: [(Double, Double)] = []
                var t = begin
                while t < min(end, 120) {
                    let amount = spend * (0.7 + 0.6 * Double(random.uniform()))
                    bought.append((t, amount))
                    events.append((t, user, amount))
                    t += exponential(gap)
                }
                first.append(begin)
                purchases.append(bought)
            }
            for e in events.sorted(by: { $0.day < $1.day }) {
                stream.add("user-\(e.user)", .purchase, at: epoch + Int64(e.day * Double(day)), amount: e.amount)
            }
        }
    }

    private static func gini(_ y: [Double], by score: [Double]) -> Double {
        let order = y.indices.sorted { score[$0] != score[$1] ? score[$0] > score[$1] : $0 < $1 }
        var (sum, area) = (0.0, 0.0)
        for i in order {
            sum += y[i]
            area += sum
        }
        return area / y.reduce(0, +) / Double(y.count) - 0.5
    }

    /// Forecasts differ from the first day, and in the end are better than every customer's own rate.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func aSmallShop(seed: UInt64) throws {
        let shop = Shop(seed: seed)
        var c = EngineConfiguration.small
        c.binEdgesDays = [7, 30]
        c.targets = [
            .init(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [7, 30]),
            .init(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [7, 30]),
            .init(name: "churn", kind: .absence, events: [], horizonsDays: [30]),
        ]
        let engine = Engine.make(c)
        let items = [Query.Item(target: "clv", horizonDays: 30), Query.Item(target: "purchase", horizonDays: 30)]
        func users(_ until: Double) -> [Int] { shop.first.indices.filter { shop.first[$0] <= until } }
        func run(from: Int, until: Double) -> Int {
            let limit = epoch + Int64(until * Double(day))
            let n = shop.stream.events.prefix { $0.time_ms <= limit }.count
            engine.run(shop.stream, from..<n)
            return n
        }
        func ask(_ users: [Int], _ at: Double) -> [Float] {
            engine.query(items).answer(users.map { ("user-\($0)", epoch + Int64(at * Double(day))) })
        }
        var at = run(from: 0, until: 1)
        let early = users(1)
        let first = ask(early, 1)
        #expect(early.count > 5 && Set(early.indices.map { first[2 * $0] }).count == early.count, "\(first)")

        at = run(from: at, until: 90)
        let all = users(90)
        let said = ask(all, 90)
        var (money, own, bought, ownChance) = ([Double](), [Double](), [Bool](), [Double]())
        for u in all {
            let after = shop.purchases[u].filter { $0.day > 90 && $0.day <= 120 }
            let before = shop.purchases[u].filter { $0.day <= 90 }
            money.append(after.reduce(0) { $0 + $1.amount })
            bought.append(!after.isEmpty)
            // As `naive` in reports: two weeks without anything are assumed before.
            let days = 90 - shop.first[u] + 14
            own.append(before.reduce(0) { $0 + $1.amount } / days * 30)
            ownChance.append(1 - exp(-Double(before.count) / days * 30))
        }
        func logLoss(_ p: [Double]) -> Double {
            zip(p, bought).reduce(0) { $0 - log($1.1 ? $1.0 : 1 - $1.0) } / Double(p.count)
        }
        let clv = all.indices.map { Double(said[2 * $0]) }
        let chance = all.indices.map { Double(said[2 * $0 + 1]) }
        #expect(Self.gini(money, by: clv) > Self.gini(money, by: own))
        #expect(logLoss(chance) < 0.95 * logLoss(ownChance), "\(logLoss(chance)) \(logLoss(ownChance))")
    }

    // MARK: Shares

    private static let layout = EngineSettings(.small, topics: ["events"], partitions: 1).model

    /// Coefficients of the first output of the first head once shares were taken into account: of base and network.
    private static func coefficients(_ shares: ForecastShares) -> (added: Float, base: Float, network: Float) {
        let all = CorrectionCoefficients(outputs: layout.outputs)
        let row = all.row(group: 0)
        for o in 0..<layout.outputs { (row.added[o], row.headFactor[o], row.processFactor[o]) = (0, 1, 0) }
        shares.write(layout, group: 0, into: row)
        let o = layout.output(head: 1, bin: 0)
        return (row.added[o], row.processFactor[o], row.headFactor[o])
    }

    private static let cell = 3

    @Test func theNetworkEarnsItsShare() {
        var shares = ForecastShares(groups: CorrectionCoefficients.groups, cells: 9)
        #expect(Self.coefficients(shares) == (0, 1, 0), "nobody has said anything")
        // The base knows nothing, the network is right nine times of ten.
        func outcomes(_ n: Int, awake: Bool, isRight: Bool = true) -> [ForecastShares.Sample] {
            (0..<n).map { i in
                let hit = i % 2 == 0
                let said = (i % 10 == 0) != isRight ? hit : !hit
                return .init(base: 0, network: awake ? (said ? 2.2 : -2.2) : nil, label: hit ? 1 : 0)
            }
        }
        func observe(_ s: [ForecastShares.Sample]) {
            shares.observe(
                group: 0, cell: Self.cell, before: nil, s, isMoney: false,
                corrects: false)
        }
        observe(outcomes(500, awake: false))
        #expect(Self.coefficients(shares).network == 0, "it sleeps")
        observe(outcomes(20, awake: true))
        let few = Self.coefficients(shares)
        #expect(few.network > 0.1 && few.network < 0.5 && abs(few.network + few.base - 1) < 1e-6, "\(few)")
        observe(outcomes(1000, awake: true))
        #expect(Self.coefficients(shares) == (0, 0, 1))
        // A year later half of this counts an eighth; then it is wrong nine times of ten.
        shares.advance(days: 360, keep: 1, steps: 100)
        observe(outcomes(400, awake: true, isRight: false))
        #expect(Self.coefficients(shares).network == 0)
    }

    /// Corrections that make a forecast worse lose to the network as it is: its coefficients are 1 for the heads and nothing
    /// else. Of base and networks that say the same, the base has 1 / (1 + 2/e²) = 0.787.
    @Test func correctionsEarnTheirShareToo() {
        var shares = ForecastShares(groups: CorrectionCoefficients.groups, cells: 9)
        func coefficients() -> [Float] {
            let all = CorrectionCoefficients(outputs: Self.layout.outputs)
            let (row, o) = (all.row(group: 0), Self.layout.output(head: 1, bin: 0))
            (row.added[o], row.headFactor[o], row.processFactor[o]) = (2, 0.5, 0.25)
            shares.write(Self.layout, group: 0, into: row)
            return [row.added[o], row.headFactor[o], row.processFactor[o]]
        }
        func observe(_ n: Int, base: Double, corrected: Double, plain: Double) {
            shares.observe(
                group: 0, cell: Self.cell, before: nil,
                Array(repeating: .init(base: base, network: corrected, plain: plain, label: 1), count: n),
                isMoney: false, corrects: false)
        }
        observe(1, base: 1, corrected: 1, plain: 1)
        let (w, base) = (Float(0.1065), Float(0.7870))
        let expected = [2 * w, 0.5 * w + w, 0.25 * w + base]
        #expect(zip(coefficients(), expected).allSatisfy { abs($0 - $1) < 1e-3 }, "\(coefficients())")
        observe(2000, base: 1, corrected: 1, plain: 3)
        #expect(coefficients() == [0, 1, 0])
        observe(6000, base: 1, corrected: 4, plain: 1)
        #expect(coefficients() == [2, 0.5, 0.25])
    }

    /// The network of twice the steps is another one: half of its losses count.
    @Test func lossesFade() {
        var shares = ForecastShares(groups: 1, cells: 9)
        shares.advance(days: 0, keep: 1, steps: 50)
        shares.observe(
            group: 0, cell: 0, before: nil, [.init(base: 0, network: 3, label: 1)], isMoney: false,
            corrects: false)
        let gain = 0.693_147_180_56 - 0.048_587_351_57
        #expect(abs(shares.groups[0][0].gain - gain) < 1e-10)
        shares.advance(days: 0, keep: 1, steps: 100)
        #expect(abs(shares.groups[0][0].gain - gain / 2) < 1e-10)
        shares.advance(days: 120, keep: 1, steps: 100)
        #expect(abs(shares.groups[0][0].gain - gain / 4) < 1e-10)
    }

    /// Whatever comes, the mean of logits loses no more than the experts do on their weighted mean, and that no more than
    /// the better of them and (ln(1/share) / rate + rate/8 · Σ difference²), the bound of exponential weights (Hoeffding).
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func theRegretIsBounded(seed: UInt64) {
        var shares = ForecastShares(groups: 1, cells: 9)
        var random = RandomNumbers(seed: seed)
        var (pooled, base, network, squares) = (0.0, 0.0, 0.0, 0.0)
        func loss(_ logit: Double, _ hit: Bool) -> Double { Foundation.log1p(Foundation.exp(hit ? -logit : logit)) }
        for i in 0..<4000 {
            let truth = Double(random.uniform()) * 6 - 3
            let hit = Double(random.uniform()) < 1 / (1 + exp(-truth))
            let other = Double(random.uniform()) * 6 - 3
            // First the one is right and then the other, or one of them always is.
            let isFirst = seed < 3 ? i < 2000 : seed == 3
            let (b, n) = isFirst ? (truth, other) : (other, truth)
            let before = shares.groups[0][0]
            let w = before.judged > 0 ? before.shares.corrected : 0.12
            pooled += loss((1 - w) * b + w * n, hit)
            #expect(loss((1 - w) * b + w * n, hit) <= (1 - w) * loss(b, hit) + w * loss(n, hit) + 1e-9)
            base += loss(b, hit)
            network += loss(n, hit)
            squares += pow(loss(b, hit) - loss(n, hit), 2)
            shares.observe(
                group: 0, cell: 0, before: nil, [.init(base: b, network: n, label: hit ? 1 : 0)], isMoney: false,
                corrects: false)
        }
        let regret = 2.126_928_011 / ForecastShares.rate + ForecastShares.rate / 8 * squares
        #expect(pooled <= min(base, network) + regret, "\(pooled) \(base) \(network) \(regret)")
    }

    /// The base's level follows what happens and its order stays: one hit in five where it says one in two. The logit of a
    /// fifth is -1.386.
    @Test func onlyTheLevelIsCorrected() {
        var shares = ForecastShares(groups: 1, cells: 9)
        for _ in 0..<200 {
            shares.observe(
                group: 0, cell: Self.cell, before: nil,
                (0..<10).map { .init(base: 0, network: nil, label: $0 % 5 == 0 ? 1 : 0) }, isMoney: false,
                corrects: true)
        }
        let (added, base, network) = Self.coefficients(shares)
        #expect(abs(added - -1.386) < 0.03 && base == 1 && network == 0, "\(added)")
    }

    /// Spenders spend 50 where the base says 40: a factor of 1.25, drawn to 1 by twenty spenders.
    @Test func moneyHasAFactor() {
        var shares = ForecastShares(groups: 1, cells: 9)
        let sample = ForecastShares.Sample(base: 0, network: nil, amount: (log(40), nil), variance: 0.25, label: 50)
        shares.observe(
            group: 0, cell: 0, before: nil, Array(repeating: sample, count: 80), isMoney: true,
            corrects: true)
        #expect(abs(exp(shares.groups[0][0].amountLevel) - (80 * 50 + 20 * 40) / (100 * 40)) < 1e-9)
    }
}
