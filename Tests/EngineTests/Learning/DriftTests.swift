import CEventParser
import Foundation
import Testing

@testable import Engine

/// Drift of the stream is noticed, and nothing else is taken for it.
@Suite struct DriftTests {
    /// The delays below are for this threshold; the default is less nervous.
    private static let learning = {
        var learning = EngineConfiguration().learning
        learning.driftThreshold = 10
        return learning
    }()

    /// Feeds a monitor a day at a time and returns the days of its alarms.
    private func alarms(days: Int, seed: UInt64, _ loss: (Int, inout RandomNumbers) -> Double) -> [Int] {
        var random = RandomNumbers(seed: seed)
        var monitor = PageHinkley()
        var found: [Int] = []
        for day in 0..<days {
            for _ in 0..<50 { monitor.add(loss(day, &random)) }
            let isDrift = monitor.advance(
                days: 1, tolerance: Self.learning.driftTolerance, threshold: Self.learning.driftThreshold)
            if isDrift {
                found.append(day)
                monitor = PageHinkley()
            }
        }
        return found
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func stationaryLossesRaiseNoAlarm(seed: UInt64) {
        #expect(alarms(days: 1500, seed: seed) { _, random in random.normal() }.isEmpty)
        #expect(alarms(days: 1500, seed: seed) { _, random in pow(random.normal(), 2) / 2 }.isEmpty, "skewed")
    }

    @Test(arguments: [1, -1] as [Double])
    func aShiftIsNoticed(sign: Double) throws {
        let found = alarms(days: 300, seed: 4) { day, random in random.normal() + (day < 150 ? 0 : sign * 0.3) }
        try #require(found.count == 1, "\(found)")
        #expect((151...170).contains(found[0]), "\(found)")
        let slight = alarms(days: 300, seed: 4) { day, random in random.normal() + (day < 150 ? 0 : sign * 0.02) }
        #expect(slight.isEmpty, "\(slight)")
    }

    @Test func oneOddDayIsNoDrift() {
        let found = alarms(days: 300, seed: 5) { day, random in random.normal() + (day == 150 ? 1e9 : 0) }
        #expect(found.isEmpty)
    }

    /// Few outcomes or little time make no batch.
    @Test func batches() {
        var monitor = PageHinkley()
        for _ in 0..<31 { monitor.add(5) }
        #expect(!monitor.advance(days: 3, tolerance: 0, threshold: 0) && monitor.mean == 0)
        monitor.add(5)
        monitor.add(.nan)
        #expect(!monitor.advance(days: 0, tolerance: 0, threshold: 0) && monitor.mean == 5)
        for _ in 0..<50 { monitor.add(9) }
        #expect(!monitor.advance(days: 0.4, tolerance: 0, threshold: 0) && monitor.mean == 5)
        #expect(!monitor.advance(days: 0.7, tolerance: 0, threshold: .infinity) && monitor.mean == 7)
    }

    /// What was predicted until adapting ends is no news to the monitor that raised the alarm; the other goes on.
    @Test func anAlarmIsRaisedOnce() throws {
        var c = Self.learning
        c.driftDays = 10
        var detector = DriftDetector(monitors: 2)
        var random = RandomNumbers(seed: 6)
        var found: [(day: Int64, monitor: Int)] = []
        for d in 0..<100 as Range<Int64> {
            for i in 0..<2 {
                let shift = d >= 40 && i == 1 ? 3.0 : d >= 44 && i == 0 ? -3 : 0
                for _ in 0..<50 { detector.observe(i, loss: random.normal() + shift, instant: d * day) }
            }
            for i in detector.advance(to: d * day, days: 1, c, name: { ("target-\($0)", "amount") }) {
                found.append((d, i))
            }
            #expect(detector.isAdapting(at: d * day) == found.contains { d < $0.day + 10 })
        }
        try #require(found.map(\.monitor) == [1, 0] && detector.alarms.count == 2, "\(found)")
        #expect(detector.count == 2)
        #expect((41...44).contains(found[0].day) && (45...48).contains(found[1].day), "\(found)")
        #expect(detector.alarms.map(\.target) == ["target-1", "target-0"])
        #expect(detector.alarms.map(\.timeMs) == found.map { $0.day * day })
        #expect(detector.alarms[0].excess > detector.alarms[0].usual + 1)
        #expect(detector.alarms[1].excess < detector.alarms[1].usual - 1)
    }

    /// After an alarm, outcomes of predictions made before adapting ends leave the monitor as new, however long they
    /// keep coming and whatever they are; those of predictions made at that instant or later count.
    @Test func predictionsFromBeforeTheEndOfAdaptingDoNotCount() throws {
        var c = Self.learning
        c.driftDays = 10
        var detector = DriftDetector(monitors: 1)
        var random = RandomNumbers(seed: 7)
        func advance(to d: Int64) -> Bool {
            !detector.advance(to: d * day, days: 1, c, name: { _ in ("a", nil) }).isEmpty
        }
        var alarm: Int64?
        for d in 0..<60 as Range<Int64> where alarm == nil {
            for _ in 0..<50 { detector.observe(0, loss: random.normal() + (d < 40 ? 0 : 3), instant: d * day) }
            if advance(to: d) { alarm = d }
        }
        let raised = try #require(alarm)
        let end = (raised + 10) * day
        // Labels of long horizons: for 100 days they tell of predictions made just before the end.
        for d in raised + 1..<raised + 101 {
            for _ in 0..<50 {
                detector.observe(0, loss: random.normal() + (d < raised + 50 ? 0 : 9), instant: end - 1)
            }
            #expect(!advance(to: d))
        }
        #expect(detector.count == 1 && detector.monitors[0].mean == 0 && detector.monitors[0].latest == 0)
        for _ in 0..<32 { detector.observe(0, loss: 0.25, instant: end) }
        #expect(!advance(to: raised + 101))
        #expect(detector.monitors[0].mean == 0.25)
    }

    @Test func lossesAreInExcessOfWhatWasExpected() {
        for p in [0.01, 0.2, 0.5, 0.9] {
            let mean = p * ExcessLoss.probability(p, true) + (1 - p) * ExcessLoss.probability(p, false)
            #expect(abs(mean) < 1e-12)
        }
        #expect(ExcessLoss.probability(0.1, true) > 1 && ExcessLoss.probability(0.1, false) < 0)
        var random = RandomNumbers(seed: 8)
        let d = SpendDistribution(zero: 0.5, location: 2, scale: 0.7)
        let mean = (0..<20_000).reduce(0.0) { sum, _ in
            sum + ExcessLoss.amount(d, exp(2 + 0.7 * random.normal())) / 20_000
        }
        #expect(abs(mean) < 0.02)
        #expect(ExcessLoss.amount(d, 1e300) == 7.5)
    }

    // MARK: The engine

    private static var configuration: EngineConfiguration {
        var c = EngineConfiguration.small
        c.targets = [
            .init(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [2, 7, 20]),
            .init(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [2]),
        ]
        c.learning.batchSize = 128
        c.learning.learningRate = 2e-3
        c.learning.stepsPerThousandEvents = 25
        c.learning.drawsPerLandmark = 2
        c.learning.minimumSteps = 40
        c.learning.landmarkIntervalDays = 1
        c.learning.maxLandmarks = 60_000
        c.state.retentionDays = 30
        c.learning.earlyStoppingInterval = 1000
        c.alerts.enabled = false
        return c
    }

    /// Spending falls to two fifths in the middle: learning notices within days, adapts for the time it was told to,
    /// and says so; what was predicted right goes on without an alarm.
    @Test func theEngineNoticesAShiftOfSpending() throws {
        let stream = OnlineLearningTests.shop(users: 700, days: 110, seed: 9) { $0 < 80 ? 1 : 0.4 }
        let shift = epoch + 80 * day
        let middle = try #require(stream.events.firstIndex { $0.time_ms >= shift })
        var c = Self.configuration
        c.learning.driftThreshold = Self.learning.driftThreshold
        let engine = Engine.make(c)
        engine.run(stream, 0..<middle)
        let before = engine.report(prequential: false).learning
        #expect(before.drifts == 0 && !before.adapting && before.steps > 60, "\(before)")
        engine.run(stream, middle..<stream.events.count)
        let after = engine.report(prequential: false).learning
        let alarm = try #require(after.driftAlarms.first)
        #expect(after.drifts == Int64(after.driftAlarms.count))
        #expect(alarm.target == "clv" && alarm.part == "amount" && alarm.excess > alarm.usual)
        #expect((shift + 2 * day..<shift + 20 * day).contains(alarm.timeMs), "\((alarm.timeMs - shift) / day) days")

        var off = Self.configuration
        off.learning.driftThreshold = 0
        let other = Engine.make(off)
        other.run(stream)
        let without = other.report(prequential: false).learning
        #expect(without.drifts == 0 && !without.adapting)
        func bias(_ engine: Engine) throws -> Double {
            try #require(engine.report().prequential.first { $0.target == "clv" && $0.horizonDays == 2 }?.model.bias)
        }
        #expect(try bias(engine) < bias(other), "what is said after the shift is nearer the truth")
    }

    /// Chances raise none. Amounts may raise one, late, when the network takes over from the base forecast: what it says
    /// of money is worse for some days.
    @Test func aStationaryStreamRaisesNoAlarm() {
        let engine = Engine.make(Self.configuration)
        engine.run(OnlineLearningTests.shop(users: 700, days: 110, seed: 10))
        let learning = engine.report(prequential: false).learning
        #expect(learning.drifts <= 1 && learning.steps > 60, "\(learning)")
        #expect(learning.driftAlarms.allSatisfy { $0.part == "amount" && $0.timeMs > epoch + 90 * day })
    }
}
