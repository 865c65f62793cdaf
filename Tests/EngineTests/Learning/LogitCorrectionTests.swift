import Foundation
import Testing

@testable import Engine

@Suite struct LogitCorrectionTests {
    /// Outcomes whose log-odds are 0.4 x - 1 where the head says x.
    @Test func logitsAreMappedToWhatHappens() {
        var calibration = LogitCorrection(cells: 2)
        var random = RandomNumbers(seed: 5)
        func teach(_ batches: Int, intercept: Double, slope: Double) {
            for _ in 0..<batches {
                let batch = (0..<200).map { _ in
                    let x = 2 * random.normal()
                    return (x: x, hit: random.uniform() < 1 / (1 + exp(-(intercept + slope * x))))
                }
                calibration.fade(0.9)
                calibration.observe(cell: 1, logits: batch)
            }
        }
        teach(60, intercept: -1, slope: 0.4)
        #expect(abs(calibration.cells[1].intercept + 1) < 0.15 && abs(calibration.cells[1].slope - 0.4) < 0.1)
        #expect(calibration.cells[0].intercept == 0 && calibration.cells[0].slope == 1)
        // It follows what changes, and comes back to no correction when it hears nothing.
        teach(60, intercept: 0.5, slope: 0.8)
        #expect(abs(calibration.cells[1].intercept - 0.5) < 0.15 && abs(calibration.cells[1].slope - 0.8) < 0.1)
        calibration.fade(1e-9)
        #expect(abs(calibration.cells[1].intercept) < 1e-6 && abs(calibration.cells[1].slope - 1) < 1e-6)
    }

    @Test func amountsAndTheirSum() {
        var calibration = LogitCorrection(cells: 1)
        var random = RandomNumbers(seed: 6)
        for _ in 0..<20_000 {
            let mu = random.normal()
            calibration.observe(cell: 0, mu: mu, logSpend: 0.3 + 0.6 * mu + random.normal())
        }
        let amount = calibration.cells[0].amount
        #expect(abs(amount.offset - 0.3) < 0.05 && abs(amount.factor - 0.6) < 0.05)
        #expect(calibration.cells[0].ratio(money: 20) == 1 && calibration.cells[0].ratio(money: 0) == 1)
        for _ in 0..<10_000 { calibration.observe(cell: 0, predicted: 20, actual: 10) }
        #expect(abs(calibration.cells[0].ratio(money: 20) - 0.5) < 0.01)
        for _ in 0..<10_000 { calibration.observe(cell: 0, predicted: 0, actual: 1e6) }
        #expect(calibration.cells[0].ratio(money: 20) == 5, "no correction without bounds")
    }

    /// After a drift what comes counts for more; until it comes, nothing is forgotten.
    @Test func loosened() {
        func taught(_ drift: Bool) -> LogitCorrection {
            var calibration = LogitCorrection(cells: 1)
            for _ in 0..<50 {
                calibration.observe(cell: 0, logits: (0..<100).map { (x: Double($0 % 5 - 2), hit: $0 < 80) })
                calibration.observe(cell: 0, predicted: 2000, actual: 1000)
            }
            let before = calibration.cells[0]
            if drift {
                calibration.loosen(cell: 0, amounts: false)
                #expect(
                    calibration.cells[0].intercept == before.intercept && calibration.cells[0].slope == before.slope)
                #expect(abs(calibration.cells[0].ratio(money: 20) - before.ratio(money: 20)) < 0.05)
            }
            calibration.observe(cell: 0, logits: (0..<100).map { (x: Double($0 % 5 - 2), hit: $0 < 20) })
            return calibration
        }
        #expect(taught(true).cells[0].intercept < taught(false).cells[0].intercept - 0.01)
    }

    /// On a sparse stream a day of events, not the number of records, brings the next lesson; and none where it is off.
    @Test(arguments: [0, 24])
    func sparseStreamsLearnByEventTime(hours: Int) {
        var c = EngineConfiguration.small
        c.learning.intervalHours = hours
        c.learning.calibrationDays = hours == 0 ? 0 : 30
        let engine = Engine.make(c)
        let stream = RandomStream(users: 40, events: 1500, days: 60, troubles: false).make(seed: 77)
        var gaps: [Int64] = []
        for i in stream.events.indices {
            let last = engine.schedule.last
            engine.run(stream, i..<i + 1)
            if engine.schedule.last != last { gaps.append(engine.schedule.last - last) }
        }
        if hours == 0 {
            #expect(gaps.allSatisfy { $0 == 256 } && gaps.count == stream.events.count / 256)
        } else {
            // 25 records a day on average.
            #expect(gaps.allSatisfy { (16...256).contains($0) } && (16...50).contains(gaps.sorted()[gaps.count / 2]))
        }
        let n = engine.settings.model.outputs
        let corrected = (0..<LogitCorrection.groups).reduce(0) { count, g in
            let row = engine.serving.parameters.coefficients.row(activity: g, blend: nil)
            return count + (0..<n).count { row.added[$0] != 0 || row.headFactor[$0] != 1 }
        }
        // Shares of the network and of counts are earned in any case; with a correction, the level moves as well.
        let moved = (0..<LogitCorrection.groups).contains { g in
            let row = engine.serving.parameters.coefficients.row(activity: g, blend: nil)
            return (0..<n).contains { row.added[$0] != 0 }
        }
        #expect(corrected > LogitCorrection.groups * n / 2 && moved == (hours > 0), "\(corrected), \(moved)")
    }
}
