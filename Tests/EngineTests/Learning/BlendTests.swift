import Foundation
import Testing

@testable import Engine

@Suite struct BlendTests {
    /// Outcomes follow one of two opinions: the share goes there and, told nothing more, back to the prior.
    @Test(arguments: [0.0, 1])
    func theShareGoesToWhoIsRight(truth: Double) {
        var blend = Blend(cells: 2)
        var random = RandomNumbers(seed: 3)
        for _ in 0..<400 {
            blend.fade(0.99)
            blend.observe(
                cell: 1,
                (0..<200).map { _ in
                    let (heads, process) = (2 * random.normal(), 2 * random.normal())
                    let p = 1 / (1 + exp(-(truth == 0 ? heads : process)))
                    return sample(heads, process, random.uniform() < p ? 1 : 0)
                })
        }
        #expect(abs(blend.cells[1].share - truth) < 0.1, "\(blend.cells[1].share)")
        #expect(blend.cells[0].share == Blend.prior)
        blend.fade(1e-30)
        #expect(abs(blend.cells[1].share - Blend.prior) < 0.01)
    }

    @Test func moneyIsCorrectedSlowly() {
        var blend = Blend(cells: 1)
        #expect(blend.cells[0].ratio(money: 20) == 1 && blend.cells[0].ratio(money: 0) == 1)
        // Each expects p = ½ times exp(μ + σ²/2) = 20, and gets half of it.
        let said = Blend.Sample(
            heads: 0, process: 0, mu: (log(20) - 0.5, log(20) - 0.5), sigma: 1, label: 5)
        let some = [Blend.Sample](repeating: said, count: 1000)
        blend.observeMoney(cell: 0, some, meanLogSpend: 0)
        #expect(abs(blend.cells[0].predicted - 10_000) < 1e-6 && blend.cells[0].actual == 5000)
        let first = blend.cells[0].ratio(money: 20)
        #expect(abs(first - (5000 + Blend.spenderPrior * 20) / (10_000 + Blend.spenderPrior * 20)) < 1e-12)
        for _ in 0..<200 { blend.observeMoney(cell: 0, some, meanLogSpend: 0) }
        #expect(abs(blend.cells[0].ratio(money: 20) - 0.5) < 0.03)
    }

    private func sample(_ heads: Double, _ process: Double, _ label: Double) -> Blend.Sample {
        Blend.Sample(heads: heads, process: process, mu: (0, 0), sigma: 0, label: label)
    }

    /// For who has bought and for purchase heads alone the process counts; without it in the configuration, for nobody.
    @Test(arguments: [true, false])
    func theProcessCountsForBuyersOnly(on: Bool) {
        var c = EngineConfiguration.small
        c.model.purchaseProcess = on
        let engine = Engine.make(c)
        engine.run(RandomStream(users: 40, events: 1500, days: 60, troubles: false).make(seed: 77), 0..<1500)
        let layout = engine.settings.model
        let n = layout.outputs
        for g in 0..<Calibration.groups {
            for (h, head) in layout.heads.enumerated() {
                for b in 0..<layout.bins {
                    let o = layout.output(head: h, bin: b)
                    let bought = engine.serving.coefficients(group: g, bought: true)
                    #expect(engine.serving.coefficients(group: g, bought: false)[2 * n + o] == 0)
                    let blended = on && engine.settings.purchaseHeads[h]
                    #expect((bought[2 * n + o] > 0) == blended, "\(head.name) \(b)")
                    if blended { #expect(abs(bought[n + o] + bought[2 * n + o] - 1) < 1e-6 && bought[o] == 0) }
                }
            }
        }
        #expect(engine.settings.purchaseHeads == (on ? [true, true, false] : [false, false, false]))
    }
}
