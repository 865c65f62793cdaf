import Testing

@testable import Engine

@Suite struct EarlyStoppingTests {
    private static var configuration: EngineConfiguration.Learning {
        var c = EngineConfiguration.Learning()
        c.earlyStoppingInterval = 10
        c.earlyStoppingPatience = 3
        c.earlyStoppingRateFactor = 0.5
        c.minimumRateFactor = 0.2
        return c
    }

    /// The third strike in a row stops; what is as good as the best starts serving again.
    @Test func stopsAndGoesOn() {
        var stopping = EarlyStopping(Self.configuration)
        func decide(_ averaged: Float, adapting: Bool = false) -> EarlyStopping.Decision {
            stopping.decide(averaged: averaged, best: 1, step: 20, adapting: adapting)
        }
        #expect(decide(2) == .wait && decide(2) == .wait && stopping.rateFactor == 1)
        #expect(decide(1) == .improved && stopping.strikes == 0, "an improvement forgives the strikes")
        #expect(decide(2) == .wait && decide(2) == .wait && !stopping.isHolding)
        #expect(decide(2) == .stopped && stopping.isHolding && stopping.rateFactor == 0.5)
        #expect(decide(2) == .wait && stopping.isHolding, "the best weights go on serving")
        #expect(decide(0.5) == .improved && !stopping.isHolding)
        #expect(stopping.rateFactor == 0.5, "the rate stays low")
        let more = (0..<9).map { _ in decide(2) }
        #expect(
            more.count { $0 == .stopped } == 3 && stopping.rateFactor == 0.2, "a quarter, an eighth: at least a fifth")
    }

    /// The weights of the first evaluation are the best there are, whatever the initial ones would lose.
    @Test func theFirstEvaluationCounts() {
        var stopping = EarlyStopping(Self.configuration)
        #expect(!stopping.isDue(step: 9) && stopping.isDue(step: 10) && stopping.isDue(step: 20))
        #expect(stopping.decide(averaged: 9, best: 1, step: 10, adapting: true) == .improved)
        #expect(stopping.decide(averaged: 9, best: 1, step: 20, adapting: false) == .wait)
    }

    /// While learning adapts to a drift there are no strikes, but improvements count.
    @Test func noStrikesWhileAdapting() {
        var stopping = EarlyStopping(Self.configuration)
        for _ in 0..<20 {
            #expect(stopping.decide(averaged: 2, best: 1, step: 20, adapting: true) == .wait)
        }
        #expect(stopping.strikes == 0 && !stopping.isHolding && stopping.rateFactor == 1)
        #expect(stopping.decide(averaged: 1, best: 1, step: 20, adapting: true) == .improved)
    }
}
