import Foundation
import Testing

@testable import Engine

/// Standardisation, population rates and prequential metrics against their definitions.
@Suite struct MetricsTests {
    @Test func standardisation() {
        var random = RandomNumbers(seed: 1)
        let rows = (0..<300).map { _ in (0..<4).map { Float(random.normal() * Double($0) + 10 * Double($0)) } }
        var standardizer = Standardizer(features: 4)
        for (i, row) in rows.enumerated() {
            if i == 15 {
                standardizer.refresh()
                #expect(standardizer.inverse == [0, 0, 0, 0, 0], "too few to scale by")
            }
            standardizer.observe(features: row)
        }
        standardizer.observe(logAmount: 3)
        standardizer.refresh()
        for f in 0..<4 {
            let x = rows.map { Double($0[f]) }
            let mean = x.reduce(0, +) / 300
            let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 300
            #expect(abs(Double(standardizer.center[f]) - mean) < 1e-5)
            let inverse = variance > 1e-8 ? 1 / variance.squareRoot() : 0
            #expect(abs(Double(standardizer.inverse[f]) - inverse) < 1e-5)
        }
        var out = [Float](repeating: 0, count: 8)
        standardizer.apply([0, 10, 20, 1e9, 5, -1e9, 20, 30], rows: 2, into: &out)
        #expect(out[0] == 0 && out[4] == 0, "a constant says nothing")
        #expect(out[3] == 6 && out[5] == -6, "clipped")
        #expect(abs(out[1]) < 0.3)
    }

    /// [bins] of a target with one number for each bin.
    private static func priors(_ rates: PopulationRates, _ rule: LabelRule, _ ends: [Int64]) -> [Float] {
        [Float](unsafeUninitializedCapacity: ends.count) {
            rates.writePriors(rule, binEnds: ends, into: $0.baseAddress!)
            $1 = ends.count
        }
    }

    /// Over a stream that changes, the scaling follows.
    @Test func populationRatesFade() {
        var rates = PopulationRates(cells: 1)
        for _ in 0..<120_000 { rates.add(cell: 0, label: 0, atRisk: true) }
        for _ in 0..<300_000 { rates.add(cell: 0, label: 10, atRisk: true) }
        let rule = LabelRule(kind: .value, cell: 0, types: .max, category: 0)
        #expect(abs(Self.priors(rates, rule, [day])[0] - 9.5) < 0.1)
        #expect(abs(rates.meanLogSpend(0) - logf(10)) < 1e-4)
    }

    @Test func priorsOfBinsThatHaveNotMatured() {
        var rates = PopulationRates(cells: 6)
        let value = LabelRule(kind: .value, cell: 0, types: .max, category: 0)
        let hazard = LabelRule(kind: .occurrence, cell: 3, types: .max, category: 0)
        let ends = [7 * day, 30 * day, 90 * day]
        #expect(Self.priors(rates, value, ends)[0] == 0)
        #expect(Self.priors(rates, hazard, ends)[0] == 0.1)
        for i in 0..<100 {
            rates.add(cell: 0, label: i < 20 ? 35 : 0, atRisk: true)
            rates.add(cell: 3, label: i < 20 ? 1 : 0, atRisk: true)
            rates.add(cell: 4, label: 1, atRisk: false)
        }
        #expect(abs(Self.priors(rates, value, ends)[0] - 7) < 1e-4)
        // A day brings one: 23 in the next bin, and 60 in the last.
        #expect(abs(Self.priors(rates, value, ends)[1] - 23) < 1e-3)
        #expect(abs(Self.priors(rates, value, ends)[2] - 60) < 1e-3)
        let p = 20.5 / 105
        #expect(abs(Double(Self.priors(rates, hazard, ends)[0]) - p) < 1e-6)
        #expect(abs(Double(Self.priors(rates, hazard, ends)[1]) - (1 - pow(1 - p, 23.0 / 7))) < 1e-5)
        #expect(abs(Double(Self.priors(rates, hazard, ends)[2]) - (1 - pow(1 - p, 60.0 / 7))) < 1e-5)
    }

    // MARK: Prequential

    private static func window(_ capacity: Int, _ n: Int, value: Bool, seed: UInt64) -> (
        PrequentialWindow, [PrequentialWindow.Sample]
    ) {
        var random = RandomNumbers(seed: seed)
        var window = PrequentialWindow(capacity: capacity)
        var all: [PrequentialWindow.Sample] = []
        for _ in 0..<n {
            // Few levels, so that there are ties.
            let p = Float(random.below(20)) / 20
            let label: Float =
                value
                ? (random.uniform() < 0.4 ? Float(100 * random.uniform()) * p : 0)
                : random.uniform() < Double(p) ? 1 : 0
            let sample = PrequentialWindow.Sample(prediction: value ? 50 * p : p, naive: 0.3, label: label)
            window.add(sample)
            all.append(sample)
        }
        return (window, all.suffix(capacity))
    }

    @Test func coverageOfTheWindowAndEver() throws {
        var window = PrequentialWindow(capacity: 4)
        for covered in [1, 1, 1, 1, 0, 0, 1] as [Float] {
            window.add(.init(prediction: 1, naive: 1, label: 1, covered: covered, inside: covered))
        }
        let target = EngineConfiguration.Target(name: "x", kind: .value, events: [], horizonsDays: [7])
        let report = window.report(target: target, horizon: 7)
        #expect(report.coverage == 0.5 && report.coverageEver == 5.0 / 7 && report.inside == 0.5)
    }

    @Test func probabilityMetrics() throws {
        let (window, kept) = Self.window(500, 1300, value: false, seed: 4)
        let target = EngineConfiguration.Target(name: "x", kind: .occurrence, events: [], horizonsDays: [7])
        let report = window.report(target: target, horizon: 7)
        #expect(report.landmarks == 500 && report.seen == 1300)
        // AUC by all pairs.
        var (wins, pairs) = (0.0, 0.0)
        for a in kept where a.label == 1 {
            for b in kept where b.label == 0 {
                pairs += 1
                wins += a.prediction > b.prediction ? 1 : a.prediction == b.prediction ? 0.5 : 0
            }
        }
        #expect(abs(try #require(report.model.auc) - wins / pairs) < 1e-9)
        #expect(report.naive.auc == 0.5)
        let loss = kept.reduce(0.0) {
            let p = min(1 - 1e-6, max(1e-6, Double($1.prediction)))
            return $0 - log($1.label == 1 ? p : 1 - p)
        }
        #expect(abs(try #require(report.model.logLoss) - loss / 500) < 1e-9)
        var calibration = 0.0
        for cell in 0..<10 {
            let inside = kept.filter { Int(Double($0.prediction) * 10) == cell }
            calibration += abs(inside.reduce(0.0) { $0 + Double($1.prediction) - Double($1.label) }) / 500
        }
        #expect(abs(try #require(report.model.calibrationError) - calibration) < 1e-9)
        #expect(report.model.gini == nil && report.model.mae == nil)
    }

    @Test func valueMetrics() throws {
        let (window, kept) = Self.window(400, 900, value: true, seed: 5)
        let target = EngineConfiguration.Target(name: "x", kind: .value, events: [], horizonsDays: [7])
        let report = window.report(target: target, horizon: 7)
        let total = kept.reduce(0.0) { $0 + Double($1.label) }
        let predicted = kept.reduce(0.0) { $0 + Double($1.prediction) }
        #expect(abs(try #require(report.model.bias) - predicted / total) < 1e-9)
        let error = kept.reduce(0.0) { $0 + abs(Double($1.label) - Double($1.prediction)) } / 400
        #expect(abs(try #require(report.model.mae) - error) < 1e-9)
        // The perfect order has 1, the reverse -1, and the model lies between.
        var perfect = PrequentialWindow(capacity: 400)
        var reversed = PrequentialWindow(capacity: 400)
        for s in kept {
            perfect.add(.init(prediction: s.label, naive: 0, label: s.label))
            reversed.add(.init(prediction: -s.label, naive: 0, label: s.label))
        }
        #expect(abs(try #require(perfect.report(target: target, horizon: 7).model.gini) - 1) < 1e-9)
        #expect(abs(try #require(reversed.report(target: target, horizon: 7).model.gini) + 1) < 1e-9)
        let gini = try #require(report.model.gini)
        #expect(gini > 0.1 && gini < 0.95)
        // The 40 of 400 that were expected to bring most; of those who tie with the last of them, on average.
        let least = kept.map(\.prediction).sorted(by: >)[39]
        let surely = kept.filter { $0.prediction > least }
        let tied = kept.filter { $0.prediction == least }
        func money(_ samples: [PrequentialWindow.Sample]) -> Double { samples.reduce(0) { $0 + Double($1.label) } }
        let named = money(surely) + money(tied) / Double(tied.count) * Double(40 - surely.count)
        let share = try #require(report.model.topTenth)
        #expect(tied.count > 1 && abs(share - named / total) < 1e-9)
        #expect(report.model.auc == nil)
    }

    @Test func windowsThatSayNothing() {
        let empty = PrequentialWindow(capacity: 5)
        var zeros = PrequentialWindow(capacity: 5)
        zeros.add(.init(prediction: 0.2, naive: 0.1, label: 0))
        for kind in EngineConfiguration.Target.Kind.allCases {
            let target = EngineConfiguration.Target(name: "x", kind: kind, events: [], horizonsDays: [7])
            #expect(empty.report(target: target, horizon: 7).model == PrequentialReport.Score())
            let score = zeros.report(target: target, horizon: 7).model
            #expect(score.auc == nil && score.gini == nil && score.bias == nil)
        }
    }
}
