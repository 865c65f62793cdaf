import Foundation
import Testing

@testable import Engine

/// What follows from an alarm: which cells it names, and how learning adapts.
@Suite struct DriftEffectTests {
    /// Feeds outcomes of the shortest horizon of `clv` (metric 0), whose truth changes on day 60, and returns the
    /// alarms.
    /// - Parameter outcome: money of one prediction; predicted are spenders of one half, log-normal around 20 with σ =
    ///   1.
    private static func alarms(
        _ outcome: (_ changed: Bool, inout RandomNumbers) -> Float
    ) -> [DriftMonitor.Alarm] {
        let settings = EngineSettings(.small, topics: ["events"], partitions: 1)
        var monitor = DriftMonitor(settings, metrics: OutcomeScorer(settings).metrics)
        let distribution = SpendDistribution(zero: 0.5, location: logf(20), scale: 1)
        var random = RandomNumbers(seed: 12)
        for d in 0..<70 as Range<Int64> {
            for _ in 0..<200 {
                let sample = PrequentialWindow.Sample(prediction: 0, naive: 0, label: outcome(d >= 60, &random))
                monitor.observe(metric: 0, sample, distribution, instant: d * day, led: .max)
                // A longer horizon is not watched.
                monitor.observe(
                    metric: 1, .init(prediction: 0, naive: 0, label: 1e6), distribution, instant: d * day, led: .max)
            }
            let alarms = monitor.advance(to: d * day, days: 1)
            if !alarms.isEmpty { return alarms }
        }
        return []
    }

    /// An alarm names every bin of its target, as what changed in the shortest concerns them all.
    @Test func anAlarmNamesAllBinsOfItsTarget() throws {
        func spends(_ share: Double, _ around: Double, _ random: inout RandomNumbers) -> Float {
            random.uniform() < share ? Float(around * exp(random.normal())) : 0
        }
        #expect(Self.alarms { _, random in spends(0.5, 20, &random) }.isEmpty)
        let amounts = Self.alarms { changed, random in spends(0.5, changed ? 400 : 20, &random) }
        #expect(amounts.map(\.cells) == [0..<3] && amounts.map(\.amounts) == [true])
    }

    /// While learning adapts, steps are twice as large (the default); afterwards, and without a drift, they are not.
    @Test func stepsAreLargerWhileLearningAdapts() throws {
        var c = EngineConfiguration.small
        c.learning.learningRate = 1e-3
        c.learning.warmupSteps = 0
        c.learning.driftDays = 20
        c.learning.earlyStoppingInterval = 1_000_000
        c.learning.intervalHours = 0
        let engine = Engine.make(c)
        let stream = RandomStream(users: 40, events: 3000, days: 90, troubles: false).make(seed: 79)
        let alarm = epoch + 40 * day
        var (usual, larger, before) = (0, 0, Int64(0))
        for at in stride(from: 0, to: stream.events.count, by: 256) {
            if engine.learner.drift.detector.count == 0, engine.task.watermark >= alarm {
                Self.raise(&engine.learner.drift.detector, c.learning, at: engine.task.watermark)
            }
            engine.run(stream, at..<min(stream.events.count, at + 256))
            let learning = engine.report(prequential: false).learning
            guard learning.steps > before else { continue }
            before = learning.steps
            let expected: Float = learning.adapting ? 2e-3 : 1e-3
            #expect(abs(learning.learningRate - expected) < 1e-9)
            if learning.adapting { larger += 1 } else { usual += 1 }
        }
        #expect(engine.learner.drift.detector.count == 1)
        #expect(usual > 3 && larger > 1, "\(usual), \(larger)")
    }

    /// Losses that leave their band on the last day, so that the first monitor raises an alarm at `now`.
    private static func raise(_ detector: inout DriftDetector, _ c: EngineConfiguration.Learning, at now: Int64) {
        var random = RandomNumbers(seed: 13)
        for d in 0..<60 where detector.count == 0 {
            for _ in 0..<50 { detector.observe(0, loss: random.normal() + (d < 40 ? 0 : 9), instant: now) }
            _ = detector.advance(to: now, days: 1, c) { _ in ("clv", nil) }
        }
        #expect(detector.count == 1)
    }
}
