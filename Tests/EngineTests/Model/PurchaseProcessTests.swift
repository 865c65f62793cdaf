import Foundation
import Testing

@testable import Engine

/// The purchase process against its definition: customers simulated event by event, sums in double precision.
@Suite struct PurchaseProcessTests {
    private let ends = [7.0, 30, 90]

    /// A finished row of snapshot features of who bought on days 0 … `last`, `now` days after the first.
    private static func features(days: Int, last: Double, now: Double, spend: Double) -> [Float] {
        var row = [Float](repeating: 0, count: SnapshotFeatures.count)
        row[SnapshotFeatures.purchaseDays] = Float(log1p(Double(days)))
        row[SnapshotFeatures.purchaseTenure] = Float(log1p(now))
        row[SnapshotFeatures.purchaseRecency] = Float(log1p(now - last))
        row[SnapshotFeatures.value] = Float(log1p(spend * Double(days)))
        return row
    }

    private static func layout(_ configuration: EngineConfiguration) -> ModelLayout {
        ModelLayout(
            configuration: configuration.model,
            heads: [
                Head(name: "clv", kind: .value, weight: 1), Head(name: "purchase", kind: .occurrence, weight: 1),
                Head(name: "other", kind: .occurrence, weight: 1),
            ], bins: 3, eventNumerics: StepInputs.numerics, snapshotFeatures: SnapshotFeatures.count)
    }

    /// What Bayes' rule says, node by node in double precision.
    @Test(arguments: [(1, 0.0, 0.0), (1, 0, 200), (4, 60, 61), (4, 60, 400), (40, 390, 400), (300, 320, 700)])
    func forecastsFollowBayes(days: Int, last: Double, now: Double) throws {
        let row = Self.features(days: days, last: last, now: now, spend: 20)
        let layout = Self.layout(.small)
        let forecast = PurchaseForecast(ends: ends)
        var out = [Float](repeating: 9, count: layout.outputs)
        let centre = [Float](repeating: 2, count: layout.cells)
        #expect(
            forecast.outputs(row, layout, purchaseHeads: [true, true, false], meanLogSpend: centre, into: &out))
        var logs: [Double] = []
        var lives: [Double] = []
        for rate in PurchaseProcess.rates {
            for death in PurchaseProcess.deathRates {
                // Alive: no death and no purchase since `last`. Dead: death at some time since then, no purchase before.
                let (s, x) = (rate + death, Double(days - 1))
                let alive = x * log(rate) - s * now
                let dead = x * log(rate) + log(death / s) - s * last + log(-expm1(-s * (now - last)))
                logs.append(max(dead, alive) + log1p(exp(-abs(dead - alive))))
                lives.append(alive)
            }
        }
        let most = logs.max()!
        let evidence = logs.reduce(0) { $0 + exp($1 - most) }
        var before = 0.0
        for (b, end) in ends.enumerated() {
            let start = b == 0 ? 0 : ends[b - 1]
            var (until, any, number) = (0.0, 0.0, 0.0)
            var k = 0
            for rate in PurchaseProcess.rates {
                for death in PurchaseProcess.deathRates {
                    let alive = exp(lives[k] - most) / evidence
                    // By quadrature over the time of death.
                    let steps = 2000
                    func integral(_ f: (Double) -> Double) -> Double {
                        let width = end / Double(steps)
                        let dying = (0..<steps).reduce(0.0) { sum, i in
                            let t = (Double(i) + 0.5) * width
                            return sum + death * exp(-death * t) * f(t) * width
                        }
                        return dying + exp(-death * end) * f(end)
                    }
                    until += alive * integral { 1 - exp(-rate * $0) }
                    any += alive * integral { $0 <= start ? 0 : 1 - exp(-rate * ($0 - start)) }
                    number += alive * integral { $0 <= start ? 0 : rate * ($0 - start) }
                    k += 1
                }
            }
            let hazard = (until - before) / (1 - before)
            before = until
            func probability(_ x: Float) -> Double { 1 / (1 + exp(-Double(x))) }
            let value = layout.output(head: 0, bin: b)
            #expect(abs(probability(out[value]) - max(1e-5, any)) < 2e-3 * any + 1e-5)
            #expect(abs(probability(out[layout.output(head: 1, bin: b)]) - max(1e-5, hazard)) < 2e-3 * hazard + 1e-5)
            #expect(out[layout.output(head: 2, bin: b)] == 0)
            if any > 1e-6 {
                // Before anything is learned of the population, a customer's own spend, 20 a day, is all there is.
                #expect(abs(Double(out[value + 1]) - (log(20 * number / any) - 2)) < 5e-3)
            }
        }
    }

    @Test func whoHasNotBoughtIsUnknown() {
        let layout = Self.layout(.small)
        var out = [Float](repeating: 9, count: layout.outputs)
        let row = [Float](repeating: 0, count: SnapshotFeatures.count)
        let known = PurchaseForecast(ends: ends).outputs(
            row, layout, purchaseHeads: [true, true, true], meanLogSpend: [Float](repeating: 0, count: 9), into: &out)
        #expect(!known && out.allSatisfy { $0 == 0 })
        #expect(PurchaseProcess.History(row) == nil)
    }

    /// Customers of two kinds: the weights find how many of either there are and forecasts come out calibrated.
    @Test func aMixtureIsLearned() {
        var random = RandomNumbers(seed: 8)
        var process = PurchaseProcess()
        let forecast = PurchaseForecast(ends: [30])
        func exponential(_ rate: Double) -> Double { -log(1 - random.uniform()) / rate }
        /// Purchases after the first at 0 until `until`, of a customer of a random kind.
        func customer(until: Double) -> [Double] {
            let (rate, death) = random.uniform() < 0.3 ? (0.15, 0.002) : (0.01, 0.005)
            let end = min(until, exponential(death))
            var (times, t) = ([0.0], exponential(rate))
            while t < end {
                times.append(t)
                t += exponential(rate)
            }
            return times
        }
        func history(_ times: [Double], at now: Double) -> [Float] {
            let some = times.filter { $0 <= now }
            return Self.features(days: some.count, last: some.last!, now: now, spend: 30)
        }
        var faults = FirstFaults()
        for _ in 0..<40_000 {
            let now = 10 + 300 * random.uniform()
            let h = PurchaseProcess.History(history(customer(until: now), at: now))!
            var r = [Float](repeating: 0, count: PurchaseProcess.nodes)
            forecast.responsibilities(h, into: &r)
            faults.expect(abs(r.reduce(0, +) - 1) < 1e-4, "\(h): \(r.reduce(0, +))")
            if process.observe(h, responsibilities: r) { forecast.set(process) }
        }
        #expect(faults.found == [])
        #expect(abs(process.weights.reduce(0, +) - 1) < 1e-9 && abs(process.spend - 30) < 0.01)
        let often = (0..<PurchaseProcess.nodes).reduce(0.0) { sum, k in
            PurchaseProcess.rates[k / PurchaseProcess.deathRates.count] > 0.04 ? sum + process.weights[k] : sum
        }
        #expect(abs(often - 0.3) < 0.05, "\(often)")
        // Deciles of the forecast against what happens in the 30 days after.
        let layout = ModelLayout(
            configuration: EngineConfiguration.small.model, heads: [Head(name: "p", kind: .occurrence, weight: 1)],
            bins: 1,
            eventNumerics: StepInputs.numerics, snapshotFeatures: SnapshotFeatures.count)
        var (low, high) = ((n: 0.0, said: 0.0, came: 0.0), (n: 0.0, said: 0.0, came: 0.0))
        for _ in 0..<8000 {
            let now = 50 + 250 * random.uniform()
            let times = customer(until: now + 30)
            var out = [Float](repeating: 0, count: layout.outputs)
            _ = forecast.outputs(
                history(times, at: now), layout, purchaseHeads: [true], meanLogSpend: [0], into: &out)
            let p = 1 / (1 + exp(-Double(out[0])))
            let came = times.contains { $0 > now } ? 1.0 : 0
            if p < 0.3 {
                low = (low.n + 1, low.said + p, low.came + came)
            } else {
                high = (high.n + 1, high.said + p, high.came + came)
            }
        }
        #expect(low.n > 1000 && high.n > 500)
        // Neither kind is on the grid, and 156 batches are not all the way to the likeliest weights.
        #expect(abs(low.said - low.came) / low.n < 0.03, "\(low)")
        #expect(abs(high.said - high.came) / high.n < 0.04, "\(high)")
    }
}
