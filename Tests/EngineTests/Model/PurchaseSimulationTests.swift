import Foundation
import Testing

@testable import Engine

/// A customer who buys on day 0 and then as a Poisson process until death, drawn event by event.
private struct Life {
    /// Purchases at or before `now`, ascending from 0, and those after it.
    var past: [Double]
    var future: [Double]
    var isAlive: Bool

    init(rate: Double, death: Double, now: Double, until end: Double, _ random: inout RandomNumbers) {
        func exponential(_ r: Double, _ random: inout RandomNumbers) -> Double { -log(1 - random.uniform()) / r }
        let dies = exponential(death, &random)
        (past, future, isAlive) = ([0], [], dies > now)
        var t = exponential(rate, &random)
        while t < min(dies, end) {
            if t <= now { past.append(t) } else { future.append(t) }
            t += exponential(rate, &random)
        }
    }

    func row(at now: Double, spend: Double = 30) -> [Float] {
        var row = [Float](repeating: 0, count: SnapshotFeatures.count)
        row[SnapshotFeatures.purchaseDays] = Float(log1p(Double(past.count)))
        row[SnapshotFeatures.purchaseTenure] = Float(log1p(now))
        row[SnapshotFeatures.purchaseRecency] = Float(log1p(now - past.last!))
        row[SnapshotFeatures.value] = Float(log1p(spend * Double(past.count)))
        return row
    }
}

/// The purchase process against customers that are simulated: no formula of it is repeated here.
@Suite struct PurchaseSimulationTests {
    /// A process that knows these nodes (indices of rate and death rate) with these weights, after some steps.
    private static func process(_ known: [(rate: Int, death: Int, weight: Double)], steps: Int = 0) throws
        -> PurchaseProcess
    {
        var weights = [Double](repeating: 1e-12, count: PurchaseProcess.nodes)
        for k in known { weights[k.rate * PurchaseProcess.deathRates.count + k.death] = k.weight }
        let data = try JSONEncoder().encode(PurchaseProcess())
        var fields = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        fields["weights"] = weights
        fields["steps"] = steps
        return try JSONDecoder().decode(PurchaseProcess.self, from: JSONSerialization.data(withJSONObject: fields))
    }

    private static let layout = ModelLayout(
        configuration: EngineConfiguration.small.model, heads: [Head(name: "clv", kind: .value, weight: 1)], bins: 1,
        eventNumerics: StepInputs.numerics, snapshotFeatures: SnapshotFeatures.count)

    /// P(a purchase within the bin) and expected purchases in it.
    private static func forecast(_ forecast: PurchaseForecast, _ row: [Float]) -> (any: Double, number: Double) {
        var out = [Float](repeating: 0, count: layout.outputs)
        _ = forecast.outputs(row, layout, purchaseHeads: [true], meanLogSpend: [0], into: &out)
        let any = 1 / (1 + exp(-Double(out[0])))
        // Before anything is learned of the population, a customer's own spend, 30 a day, is all there is.
        return (any, any * exp(Double(out[1])) / 30)
    }

    /// 200,000 customers and more with one known pair of rates, of whom those with a history are looked at.
    @Test(arguments: [
        (rate: 3, death: 2, now: 104.0, last: 0.0), (3, 2, 104, 60), (2, 3, 60, 0), (2, 3, 60, 20), (4, 4, 12, 0),
        (5, 1, 60, 50),
    ])
    func oneKindOfCustomer(rate: Int, death: Int, now: Double, last: Double) throws {
        let (r, d) = (PurchaseProcess.rates[rate], PurchaseProcess.deathRates[death])
        let process = try Self.process([(rate, death, 1)])
        let forecast = PurchaseForecast(ends: [30])
        forecast.set(process)
        var random = RandomNumbers(seed: UInt64(rate * 100 + death) + UInt64(last))
        // Last purchase on the first day, or within these five days.
        let window = last == 0 ? 0...0 : last...last + 5
        var (n, alive, bought, number, ever) = (0.0, 0.0, 0.0, 0.0, 0.0)
        var said = (alive: 0.0, any: 0.0, number: 0.0, ever: 0.0)
        let s = r + d
        for _ in 0..<200_000 {
            let life = Life(rate: r, death: d, now: now, until: now + 30 + 3 / r, &random)
            guard window.contains(life.past.last!) else { continue }
            let soon = life.future.count { $0 <= now + 30 }
            n += 1
            alive += life.isAlive ? 1 : 0
            bought += soon > 0 ? 1 : 0
            number += Double(soon)
            ever += life.future.isEmpty ? 0 : 1
            guard n <= 2000 || last > 0 else { continue }
            let row = life.row(at: now)
            let f = Self.forecast(forecast, row)
            var (leaves, returns) = ([Float](repeating: 0, count: 40), [Float](repeating: 0, count: 40))
            forecast.posterior(PurchaseProcess.History(row)!, leaves: &leaves, returns: &returns)
            let back = Double(returns.reduce(0, +))
            said = (said.alive + back * s / r, said.any + f.any, said.number + f.number, said.ever + back)
        }
        #expect(n > 2000)
        let m = last > 0 ? n : 2000
        func near(_ said: Double, _ came: Double, spread: Double, _ what: String) {
            #expect(
                abs(said - came) < 4.5 * (spread / n).squareRoot() + 2e-4, "\(what): said \(said), came \(came) of \(n)"
            )
        }
        let (p, q) = (bought / n, alive / n)
        near(said.any / m, p, spread: p * (1 - p), "bought within 30 days")
        near(said.alive / m, q, spread: q * (1 - q), "alive")
        // A Poisson number of a rate that is the same for all, for a random time: at most this variance.
        let mean = number / n
        near(said.number / m, mean, spread: mean + 30 * r * mean, "purchases within 30 days")
        // What is cut off after the end of the simulation: below e^-3 of those who return.
        #expect(ever / n < said.ever / m + 0.01 && ever / n > 0.93 * said.ever / m - 0.01)
    }

    /// Customers of two kinds that the process knows: in every class of histories what it says comes true.
    @Test func classesOfHistories() throws {
        let kinds = [(rate: 4, death: 1, weight: 0.4), (rate: 3, death: 3, weight: 0.6)]
        let forecast = PurchaseForecast(ends: [30])
        forecast.set(try Self.process(kinds))
        var random = RandomNumbers(seed: 41)
        // By repeats (0, 1–2, more) and by days since the last purchase (up to 40, 100, more).
        var classes = [(n: Double, any: Double, bought: Double, number: Double, came: Double)](
            repeating: (0, 0, 0, 0, 0), count: 9)
        for _ in 0..<40_000 {
            let kind = random.uniform() < kinds[0].weight ? kinds[0] : kinds[1]
            let now = 20 + 250 * random.uniform()
            let life = Life(
                rate: PurchaseProcess.rates[kind.rate], death: PurchaseProcess.deathRates[kind.death], now: now,
                until: now + 30, &random)
            let f = Self.forecast(forecast, life.row(at: now))
            let silent = now - life.past.last!
            let c = [0, 1, 1][min(2, life.past.count - 1)] + (life.past.count > 3 ? 1 : 0)
            let i = 3 * min(2, c) + (silent < 40 ? 0 : silent < 100 ? 1 : 2)
            classes[i].n += 1
            classes[i].any += f.any
            classes[i].bought += life.future.isEmpty ? 0 : 1
            classes[i].number += f.number
            classes[i].came += Double(life.future.count)
        }
        for (i, c) in classes.enumerated() where c.n > 300 {
            let p = c.any / c.n
            #expect(abs(c.any - c.bought) < 4 * (c.n * p * (1 - p)).squareRoot() + 1, "class \(i): \(c)")
            #expect(abs(c.number - c.came) < 4 * (2 * c.number).squareRoot() + 1, "class \(i): \(c)")
        }
        #expect(classes.count { $0.n > 300 } >= 7)
    }

    // MARK: Learning

    private typealias Kind = (share: Double, rate: Double, death: Double)

    private static func draw(_ kinds: [Kind], _ random: inout RandomNumbers) -> Kind {
        var u = random.uniform()
        for k in kinds {
            if u < k.share { return k }
            u -= k.share
        }
        return kinds.last!
    }

    /// Histories of customers of these kinds, observed at random times in their first 300 days.
    private static func teach(
        _ process: inout PurchaseProcess, _ forecast: PurchaseForecast, _ kinds: [Kind], customers: Int,
        _ random: inout RandomNumbers
    ) {
        forecast.set(process)
        var r = [Float](repeating: 0, count: PurchaseProcess.nodes)
        for _ in 0..<customers {
            let (kind, now) = (draw(kinds, &random), 10 + 290 * random.uniform())
            let life = Life(rate: kind.rate, death: kind.death, now: now, until: now, &random)
            let history = PurchaseProcess.History(life.row(at: now))!
            forecast.responsibilities(history, into: &r)
            if process.observe(history, responsibilities: r) { forecast.set(process) }
        }
    }

    /// Forecasts and outcomes of 30 days over other customers of these kinds, by whether they bought again before.
    private static func check(
        _ forecast: PurchaseForecast, _ kinds: [Kind], _ random: inout RandomNumbers, within: Double
    ) {
        var groups = [(n: Double, said: Double, came: Double)](repeating: (0, 0, 0), count: 2)
        for _ in 0..<12_000 {
            let (kind, now) = (draw(kinds, &random), 10 + 290 * random.uniform())
            let life = Life(rate: kind.rate, death: kind.death, now: now, until: now + 30, &random)
            let i = life.past.count > 1 ? 1 : 0
            groups[i].n += 1
            groups[i].said += Self.forecast(forecast, life.row(at: now)).any
            groups[i].came += life.future.isEmpty ? 0 : 1
        }
        for g in groups { #expect(abs(g.said - g.came) / g.n < within, "\(g)") }
    }

    private static func meanRate(_ process: PurchaseProcess) -> Double {
        (0..<PurchaseProcess.nodes).reduce(0) {
            $0 + process.weights[$1] * PurchaseProcess.rates[$1 / PurchaseProcess.deathRates.count]
        }
    }

    /// Two kinds, on nodes of the grid and between them. The grid is coarse (a factor of 2.7 in rates, 6.7 in death rates),
    /// so that off it even the likeliest weights say some hundredths too much or too little.
    @Test(arguments: [(onGrid: true, within: 0.02), (false, 0.04)])
    func ratesOfAPopulationAreFound(onGrid: Bool, within: Double) {
        let (rates, deaths) = (PurchaseProcess.rates, PurchaseProcess.deathRates)
        let kinds: [Kind] =
            onGrid
            ? [(0.5, rates[4], deaths[1]), (0.5, rates[3], deaths[3])] : [(0.5, 0.05, 0.001), (0.5, 0.005, 0.02)]
        var random = RandomNumbers(seed: 42)
        var process = PurchaseProcess()
        let forecast = PurchaseForecast(ends: [30])
        Self.teach(&process, forecast, kinds, customers: 50_000, &random)
        let mean = (kinds[0].rate + kinds[1].rate) / 2
        #expect(abs(Self.meanRate(process) / mean - 1) < 0.1, "\(Self.meanRate(process))")
        Self.check(forecast, kinds, &random, within: within)
    }

    /// After long learning, 50,000 customers replace all but a share 1/e of what was known before.
    @Test func theMemoryIsOfFiftyThousandCustomers() throws {
        var process = try Self.process([(4, 0, 1)], steps: 10_000)
        var new = [Float](repeating: 0, count: PurchaseProcess.nodes)
        new[0] = 1
        var random = RandomNumbers(seed: 44)
        let row = Life(rate: 1, death: 1, now: 0, until: 0, &random).row(at: 0)
        for _ in 0..<50_000 { _ = process.observe(PurchaseProcess.History(row)!, responsibilities: new) }
        let old = process.weights[4 * PurchaseProcess.deathRates.count]
        #expect(abs(old - exp(-1)) < 0.01, "\(old)")
        #expect(abs(process.spend - 30 * (1 - exp(-1))) < 0.3, "\(process.spend)")
    }

    /// A population that buys seldom and stays gives way to one that buys often and leaves early: after 100,000 customers
    /// a share of e^-2 of what was known of the first is left.
    @Test func anotherPopulationIsLearned() throws {
        let kinds: [Kind] = [(0.7, 0.03, 0.02), (0.3, 0.1, 0.005)]
        var random = RandomNumbers(seed: 43)
        var process = try Self.process([(1, 0, 0.5), (2, 0, 0.5)], steps: 10_000)
        let forecast = PurchaseForecast(ends: [30])
        Self.teach(&process, forecast, kinds, customers: 100_000, &random)
        let mean = exp(-2) * (PurchaseProcess.rates[1] + PurchaseProcess.rates[2]) / 2 + (1 - exp(-2)) * 0.051
        #expect(abs(Self.meanRate(process) / mean - 1) < 0.15, "\(Self.meanRate(process))")
        Self.check(forecast, kinds, &random, within: 0.06)
    }
}
