import Foundation
import Testing

@testable import Engine

/// How a landmark is scored once its labels are known: with what was published at its instant.
@Suite struct OutcomeScorerTests {
    /// The landmark's distribution of spend: everybody spends, log-normal around 100 with σ = ½.
    private static let distribution = SpendDistribution(zero: 0, location: logf(100), scale: 0.5)

    private static var settings: EngineSettings { EngineSettings(.small, topics: ["events"], partitions: 1) }

    /// A landmark of `clv`, `purchase` and `churn` in bins of 2, 7 and 20 days, with the outcome of its first bin.
    /// - Parameter level: of the interval that was published.
    private static func score(
        money: Float, level: Float, fromModel: Bool = true, _ scorer: inout OutcomeScorer
    ) {
        let settings = Self.settings
        let layout = settings.landmarkLayout
        let landmark = UnsafeMutableRawPointer.allocate(byteCount: layout.size, alignment: 16)
        defer { landmark.deallocate() }
        landmark.initializeMemory(as: UInt8.self, repeating: 0, count: layout.size)
        var h = LandmarkHeader(instant: epoch, sequence: 1, user: 1)
        h.flags = fromModel ? LandmarkHeader.fromModel : 0
        (h.naiveValuePerDay, h.naiveOrdersPerDay, h.naiveEventsPerDay) = (3, 0.1, 0.5)
        LandmarkPool.header(landmark).initialize(to: h)
        let labels = landmark.at(layout.labels, as: Float.self)
        (labels[0], labels[3], labels[6]) = (money, money > 0 ? 1 : 0, 0)
        let spreads = landmark.at(layout.spreads, as: LandmarkSpread.self)
        for i in settings.valueReadings.indices {
            spreads[i] = LandmarkSpread(distribution: distribution, level: level)
        }
        var drift = DriftMonitor(settings, metrics: scorer.metrics)
        for bin in 0..<3 { scorer.observe(landmark, bin: bin, drift: &drift) }
    }

    /// The interval of that day counts. At level 0.5 it is 100 · e^(±½ · 0.6745), 71 to 140; at today's 0.8 it would be
    /// 100 · e^(±½ · 1.2816), 53 to 190.
    @Test func coverageIsThatOfThePublishedInterval() throws {
        var scorer = OutcomeScorer(Self.settings)
        for money in [60, 72, 120, 139, 141, 180, 200] as [Float] { Self.score(money: money, level: 0.5, &scorer) }
        let samples = scorer.windows[0].samples
        #expect(samples.map(\.label) == [60, 72, 120, 139, 141, 180, 200])
        #expect(samples.map(\.covered) == [0, 1, 1, 1, 0, 0, 0])
        #expect(samples.map(\.inside) == [0, 1, 1, 1, 0, 0, 0])
        let report = try #require(scorer.reports().first)
        #expect(report.target == "clv" && report.horizonDays == 2)
        #expect(abs(try #require(report.coverage) - 3.0 / 7) < 1e-6)
        #expect(abs(try #require(report.coverageEver) - 3.0 / 7) < 1e-6)
    }

    /// The level itself learns from what it would cover now: at 0.8, 180 is inside and 200 is not. A step is 0.002
    /// times the distance from 0.8.
    @Test func theLevelLearnsFromWhatItWouldCoverNow() {
        for (money, next) in [(180 as Float, 0.7996), (200, 0.8016)] {
            var scorer = OutcomeScorer(Self.settings)
            Self.score(money: money, level: 0.5, &scorer)
            #expect(abs(scorer.levels.values[0] - next) < 1e-9)
        }
    }

    /// What population rates predicted is not scored.
    @Test func predictionsOfTheModelAlone() {
        var scorer = OutcomeScorer(Self.settings)
        Self.score(money: 100, level: 0.5, fromModel: false, &scorer)
        #expect(scorer.windows.allSatisfy { $0.samples.isEmpty } && scorer.levels.values[0] == 0.8)
        Self.score(money: 100, level: 0.5, &scorer)
        #expect(scorer.windows.map(\.samples.count) == scorer.metrics.map { _ in 1 })
    }

    /// 3 of money, 0.1 orders and 0.5 events a day: in two days 6 of money and an order with 1 - e^(-0.2); in seven
    /// days no event with e^(-3.5).
    @Test func theUsersOwnPastDrawnOn() throws {
        var scorer = OutcomeScorer(Self.settings)
        Self.score(money: 100, level: 0.5, &scorer)
        func naive(_ target: Int, _ days: Double) throws -> Float {
            let i = try #require(scorer.metrics.firstIndex { $0.target == target && $0.horizon == days })
            return try #require(scorer.windows[i].samples.first).naive
        }
        #expect(abs(try naive(0, 2) - 6) < 1e-5)
        #expect(abs(try naive(0, 20) - 60) < 1e-4)
        #expect(abs(try naive(1, 2) - 0.181269) < 1e-5)
        #expect(abs(try naive(2, 7) - 0.0301974) < 1e-5)
    }
}
