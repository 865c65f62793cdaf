import Foundation
import Testing

@testable import Engine

@Suite struct ProcessBlendTests {
    /// Outcomes follow one of two opinions: the share goes there and, told nothing more, back to the prior. That all
    /// buy less than both say is the season's doing, and no reason to follow who happens to say less.
    @Test(arguments: [(0.0, 0.0), (1, 0), (0, -1), (1, -1)])
    func theShareGoesToWhoIsRight(truth: Double, level: Double) {
        var blend = ProcessBlend(cells: 2, group: 0)
        var random = RandomNumbers(seed: 3)
        for _ in 0..<150 {
            blend.advance(days: 1)
            let batch = (0..<2000).map { _ in
                let (heads, process) = (2 * random.normal() + 0.5, 2 * random.normal())
                let p = 1 / (1 + exp(-((truth == 0 ? heads : process) + level)))
                return sample(heads, process, label: random.uniform() < p ? 1 : 0)
            }
            blend.observe(cell: 1, batch)
        }
        let cell = blend.cells[1].chance
        #expect(abs(cell.share - truth) < 0.1, "\(cell.share)")
        #expect(abs(cell.season + cell.shift - level) < 0.15, "\(cell)")
        #expect(blend.cells[0].chance.share == ProcessBlend.prior[0])
        blend.advance(days: 1e5)
        #expect(
            abs(blend.cells[1].chance.share - ProcessBlend.prior[0]) < 0.01 && abs(blend.cells[1].chance.shift) < 0.01)
    }

    /// The filter against the posterior of a Bayesian linear regression in closed form.
    @Test func theFilterIsARegression() {
        var random = RandomNumbers(seed: 4)
        let variance = SIMD3(0.5, 0.2, 0.1)
        var filter = ProcessBlend.Filter(share: 0.3, variance: variance)
        // Precision A and A · mean, of y = x · w + noise of variance ½.
        var a = (0..<3).map { i in (0..<3).map { j in i == j ? 1 / variance[i] : 0.0 } }
        var b = [0.3 / variance.x, 0, 0]
        for _ in 0..<50 {
            let x = SIMD3(random.normal(), 1, random.normal())
            let y = (x * SIMD3(0.4, 0.3, -0.2)).sum() + 0.7 * random.normal()
            filter.observe(x, gradient: 2 * (y - (x * filter.mean).sum()), information: 2)
            for i in 0..<3 {
                for j in 0..<3 { a[i][j] += 2 * x[i] * x[j] }
                b[i] += 2 * x[i] * y
            }
        }
        for i in 0..<3 {
            let row = (0..<3).reduce(0.0) { $0 + a[i][$1] * filter.mean[$1] }
            #expect(abs(row - b[i]) < 1e-9 * abs(b[i]) + 1e-9, "\(filter.mean)")
            for j in 0..<3 {
                let product = (0..<3).reduce(0.0) { $0 + a[i][$1] * filter.covariance[$1][j] }
                #expect(abs(product - (i == j ? 1 : 0)) < 1e-9)
            }
        }
    }

    /// All spend half of what was expected: the mean comes right, at once where a drift was noticed.
    @Test func amountsComeRight() {
        func spending(_ batches: Int, drift: Bool) -> Double {
            var blend = ProcessBlend(cells: 1, group: 0)
            var random = RandomNumbers(seed: 7)
            if drift { blend.loosenAmounts(cell: 0) }
            for _ in 0..<batches {
                blend.advance(days: 1)
                // 20 is expected, log spend has σ = 1, and the mean is 10.
                let batch = (0..<40).map { _ in
                    var s = sample(0, 0, label: exp(log(10) - 0.5 + random.normal()))
                    s.mu = (0, log(20) - 0.5)
                    s.sigma = 1
                    return s
                }
                blend.observeAmounts(cell: 0, batch, meanLogSpend: 0)
            }
            return blend.cells[0].amount.season + blend.cells[0].amount.shift
        }
        #expect(abs(spending(150, drift: false) - log(0.5)) < 0.1)
        #expect(spending(1, drift: true) < spending(1, drift: false) - 0.15, "sooner after a drift")
    }

    /// A season fades with the distance of the bin, a shift does not.
    @Test func seasonsPass() {
        let engine = Engine.make(.small)
        let layout = engine.settings.model
        var blend = ProcessBlend(cells: layout.cells, group: 0)
        let head = layout.heads.firstIndex { $0.kind == .value }!
        let none = coefficients(blend, engine)
        for _ in 0..<60 {
            blend.advance(days: 1)
            blend.observe(cell: head * layout.bins, (0..<100).map { sample(0, 0, label: $0 < 70 ? 1 : 0) })
        }
        let said = coefficients(blend, engine)
        let offsets = (0..<layout.bins).map { said[layout.output(head: head, bin: $0)] }
        let first = blend.cells[head * layout.bins].chance
        #expect(first.season > 0.2 && first.shift > 0)
        #expect(zip(offsets, offsets.dropFirst()).allSatisfy(>), "\(offsets)")
        #expect(offsets.allSatisfy { $0 > Float(first.shift) && $0 < Float(first.season + first.shift) })
        #expect((0..<layout.bins).allSatisfy { none[layout.output(head: head, bin: $0)] == 0 })
    }

    /// Without outcomes a season is 1/e of itself after 30 days; share and shift are that after 360.
    @Test func whatIsKnownFadesWithTimesOfItsOwn() {
        var blend = ProcessBlend(cells: 1, group: 1)
        for _ in 0..<100 { blend.observe(cell: 0, (0..<100).map { sample(-1, 1, label: $0 < 70 ? 1 : 0) }) }
        let before = blend.cells[0].chance
        #expect(before.season > 0.1 && before.shift > 0.002 && before.share > 0.25)
        func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-9 }
        blend.advance(days: 15)
        blend.advance(days: 15)
        let month = blend.cells[0].chance
        #expect(near(month.season, 0.36787944117 * before.season), "\(month.season) of \(before.season)")
        // e^(-1/12)
        #expect(near(month.shift, 0.92004441462 * before.shift), "\(month.shift) of \(before.shift)")
        #expect(near(month.share - 0.25, 0.92004441462 * (before.share - 0.25)))
        blend.advance(days: 330)
        #expect(near(blend.cells[0].chance.shift, 0.36787944117 * before.shift))
    }

    /// What a season counts for in a bin: it was seen at the middle of the first bin, a day before now, and is expected
    /// at the middle of the bin. Bins of `EngineConfiguration.small` end after 2, 7 and 20 days: 1 + 1, 1 + 4.5 and 1 +
    /// 13.5 days lie between, of a season that lasts 30.
    @Test func aSeasonFadesToTheMiddleOfTheBin() {
        let engine = Engine.make(.small)
        let layout = engine.settings.model
        var blend = ProcessBlend(cells: layout.cells, group: 0)
        let head = layout.heads.firstIndex { $0.kind == .value }!
        for _ in 0..<20 {
            blend.observe(cell: head * layout.bins, (0..<100).map { sample(0, 0, label: $0 < 70 ? 1 : 0) })
        }
        let added = coefficients(blend, engine)
        let first = blend.cells[head * layout.bins].chance
        #expect(first.season > 0.2)
        // e^(-2/30), e^(-5.5/30), e^(-14.5/30)
        for (bin, left) in [0.9355069850, 0.8324906126, 0.6167242144].enumerated() {
            let expected = first.shift + left * first.season
            #expect(abs(Double(added[layout.output(head: head, bin: bin)]) - expected) < 1e-6, "bin \(bin)")
        }
    }

    /// Outcomes that lie beyond one of the two predictors never take the share out of 0…1.
    @Test(arguments: [1.0, -1])
    func theShareStaysBetweenTheTwo(direction: Double) {
        var filter = ProcessBlend.Filter(share: 0.5, variance: SIMD3(1, 0.1, 0.1))
        var extreme = 0.5
        for _ in 0..<50 {
            // As if the truth had a share of 3, or of -2.
            let x = SIMD3(2.0, 1, 1)
            filter.observe(x, gradient: 0.5 + 2.5 * direction - filter.share, information: 1)
            #expect((0...1).contains(filter.share), "\(filter.share)")
            extreme = direction > 0 ? max(extreme, filter.share) : min(extreme, filter.share)
        }
        #expect(extreme == (direction > 0 ? 1 : 0))
    }

    /// [outputs] of what is added.
    private func coefficients(_ blend: ProcessBlend, _ engine: Engine) -> [Float] {
        let n = engine.settings.model.outputs
        let coefficients = CorrectionCoefficients(outputs: n)
        let row = coefficients.row(activity: 0, blend: 0)
        blend.write(
            engine.settings.model, purchaseHeads: engine.settings.purchaseHeads, binEnds: engine.settings.binEndDays,
            into: row)
        let added = (0..<n).map { row.added[$0] }
        withExtendedLifetime(coefficients) {}
        return added
    }

    private func sample(_ heads: Double, _ process: Double, label: Double) -> ProcessBlend.Sample {
        ProcessBlend.Sample(heads: heads, process: process, mu: (0, 0), sigma: 0, label: label)
    }

    /// Who has done something since the last purchase has shown what the process does not see.
    @Test func groups() {
        var features = [Float](repeating: 0, count: SnapshotFeatures.count)
        func group(recency: Float, purchase: Float) -> Int {
            features[SnapshotFeatures.recency] = log1p(recency)
            features[SnapshotFeatures.purchaseRecency] = log1p(purchase)
            return ProcessBlend.group(features)
        }
        #expect(group(recency: 0, purchase: 0) == 0 && group(recency: 30, purchase: 30) == 0)
        #expect(group(recency: 0, purchase: 0.01) == 0, "within the hour")
        #expect(group(recency: 0, purchase: 0.2) == 1 && group(recency: 3, purchase: 30) == 1)
    }

    /// For who has bought and for purchase heads alone the process counts; without it in the configuration, for nobody.
    @Test(arguments: [true, false])
    func theProcessCountsForBuyersOnly(on: Bool) {
        var c = EngineConfiguration.small
        c.model.purchaseProcess = on
        let engine = Engine.make(c)
        engine.run(RandomStream(users: 40, events: 1500, days: 60, troubles: false).make(seed: 77), 0..<1500)
        let layout = engine.settings.model
        let coefficients = CorrectionCoefficients(outputs: layout.outputs)
        engine.learner.correction.writeNetwork(rates: engine.learner.rates, into: coefficients)
        for (g, blend) in (0..<LogitCorrection.groups).flatMap({ g in (0..<ProcessBlend.groups).map { (g, $0) } }) {
            for (h, head) in layout.heads.enumerated() {
                for b in 0..<layout.bins {
                    let o = layout.output(head: h, bin: b)
                    let bought = coefficients.row(activity: g, blend: blend)
                    let others = coefficients.row(activity: g, blend: nil)
                    #expect(others.processFactor[o] == 0)
                    let blended = on && engine.settings.purchaseHeads[h]
                    #expect((bought.processFactor[o] > 0) == blended, "\(head.name) \(b)")
                    if blended { #expect(abs(bought.headFactor[o] + bought.processFactor[o] - 1) < 1e-6) }
                }
            }
        }
        #expect(engine.settings.purchaseHeads == (on ? [true, true, false] : [false, false, false]))
    }
}
