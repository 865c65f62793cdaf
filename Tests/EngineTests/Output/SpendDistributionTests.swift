import Foundation
import Testing

@testable import Engine

/// Distributions of spend and their intervals against draws from what they stand for.
@Suite struct SpendDistributionTests {
    private struct Bin {
        var chance: Double
        var mu: Double
        var sigma: Double
        var expected: Double { chance * exp(mu + sigma * sigma / 2) }

        func draw(_ random: inout RandomNumbers) -> Double {
            random.uniform() < chance ? exp(mu + sigma * random.normal()) : 0
        }
    }

    private func distribution(_ bins: [Bin]) -> SpendDistribution {
        var sum = SpendDistribution.Sum()
        for b in bins { sum.add(chance: Float(b.chance), expected: Float(b.expected), sigma: Float(b.sigma)) }
        return sum.distribution
    }

    @Test func oneBinIsExact() {
        let d = distribution([Bin(chance: 0.3, mu: 3.2, sigma: 0.7)])
        #expect(abs(d.zero - 0.7) < 1e-6 && abs(d.location - 3.2) < 1e-4 && abs(d.scale - 0.7) < 1e-4)
        for u in [0.71, 0.8, 0.95, 0.999] { #expect(abs(d.cumulative(d.quantile(u)) - u) < 1e-6) }
        #expect(d.quantile(0.7 - 1e-4) == 0 && d.quantile(0) == 0)
        #expect(abs(d.quantile(0.85) - exp(3.2)) < 0.01, "half of the spenders")
    }

    @Test func sumOfBins() {
        let bins = [
            Bin(chance: 0.2, mu: 3, sigma: 0.6), Bin(chance: 0.4, mu: 3.4, sigma: 0.8),
            Bin(chance: 0.5, mu: 4, sigma: 0.5),
        ]
        let d = distribution(bins)
        var random = RandomNumbers(seed: 1)
        let draws = (0..<20_000).map { _ in bins.reduce(0) { $0 + $1.draw(&random) } }.sorted()
        #expect(abs(Double(d.zero) - 0.8 * 0.6 * 0.5) < 1e-6)
        for u in [0.3, 0.5, 0.8, 0.9, 0.97] {
            let below = Double(draws.count { $0 <= d.quantile(u) }) / 20_000
            #expect(abs(below - u) < 0.06, "\(u): \(below)")
        }
    }

    @Test func whatAnIntervalLeavesOut() {
        func interval(_ chance: Double) -> SpendInterval {
            distribution([Bin(chance: chance, mu: 3, sigma: 0.5)]).interval(level: 0.8)
        }
        // Nothing alone holds more than 80 %.
        #expect(interval(0.1) == SpendInterval(lower: 0, upper: 0, zeroShare: interval(0.1).zeroShare))
        #expect(abs(interval(0.1).zeroShare - 0.8 / 0.9) < 1e-5)
        // Zero is inside, and what is left out lies above.
        let half = interval(0.5)
        #expect(half.lower == 0 && half.zeroShare == 1)
        #expect(abs(Double(half.upper) - exp(3 + 0.5 * Normal.quantile(0.6))) < 0.01)
        // Nearly all spend: a tenth lies below, a tenth above.
        let all = interval(0.9999999)
        #expect(abs(Double(all.lower) - exp(3 - 0.5 * 1.281552)) < 0.01)
        #expect(abs(Double(all.upper) - exp(3 + 0.5 * 1.281552)) < 0.02)
        #expect(distribution([Bin(chance: 0, mu: 0, sigma: 1)]).interval(level: 0.8).upper == 0)
    }

    /// A right model has a coverage of 0.8 whatever the share of zeros; one that is too sure or too timid has not.
    @Test(arguments: [0.02, 0.15, 0.5, 0.88, 0.97, 0.999])
    func coverageOfARightModel(chance: Double) {
        var random = RandomNumbers(seed: 7)
        let bin = Bin(chance: chance, mu: 3, sigma: 0.8)
        let right = distribution([bin])
        let narrow = distribution([Bin(chance: chance, mu: 3, sigma: 0.4)])
        let timid = distribution([Bin(chance: min(0.9999, 3 * chance), mu: 3, sigma: 0.8)])
        var (a, b, c) = (0.0, 0.0, 0.0)
        let n = 40_000
        for _ in 0..<n {
            let y = bin.draw(&random)
            a += right.interval(level: 0.8).coverage(of: y)
            b += narrow.interval(level: 0.8).coverage(of: y)
            c += timid.interval(level: 0.8).coverage(of: y)
        }
        #expect(abs(a / Double(n) - 0.8) < 0.01, "\(a / Double(n))")
        if chance > 0.8 { #expect(b / Double(n) < 0.72, "\(b / Double(n))") }
        if chance == 0.15 { #expect(c / Double(n) > 0.88, "\(c / Double(n))") }
    }

    /// Levels follow what matured, so that a model that is too sure is covered as it should all the same.
    @Test func levelsAdapt() {
        var random = RandomNumbers(seed: 3)
        var levels = IntervalLevels(count: 2)
        var (before, after) = (0.0, 0.0)
        let n = 6000
        for i in 0..<2 * n {
            let bin = Bin(chance: 0.5 + 0.5 * random.uniform(), mu: 3, sigma: 1)
            let sure = distribution([Bin(chance: 0.7 * bin.chance, mu: 3, sigma: 0.55)])
            let y = bin.draw(&random)
            before += sure.coverage(of: y, level: 0.8) / Double(2 * n)
            if i >= n { after += sure.coverage(of: y, level: levels.values[0]) / Double(n) }
            levels.observe(0, sure, outcome: y)
        }
        #expect(before < 0.75 && abs(after - 0.8) < 0.02, "\(before) \(after)")
        #expect(levels.values[1] == 0.8)
    }

    @Test func normalQuantiles() {
        for (p, x) in [
            (0.5, 0), (0.975, 1.959964), (0.9, 1.281552), (1e-6, -4.753424), (1e-12, -7.034484), (0.1, -1.281552),
        ] { #expect(abs(Normal.quantile(p) - x) < 2e-6) }
    }
}
