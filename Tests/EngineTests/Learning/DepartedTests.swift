import Testing

@testable import Engine

/// Landmarks of users who have left teach nothing: neither rates nor scaling nor weights nor corrections.
@Suite struct DepartedTests {
    /// Twelve users view three things each in the first hours, and each view is a landmark. Four of them are erased a
    /// day later, among them the first and the last: 24 landmarks of 36 are left. A month later another user acts, all
    /// have matured, and the engine learns for the first time.
    private static func engine() -> Engine {
        var c = EngineConfiguration.small
        c.learning.batchSize = 36
        c.learning.eventLandmarkShare = 1
        c.learning.landmarkIntervalDays = 1_000_000
        c.learning.holdOutShare = 0
        c.learning.intervalHours = 0
        c.learning.intervalRecords = 41
        c.learning.frontierShare = 0
        c.learning.stepsPerThousandEvents = 0
        c.state.retentionDays = 1000
        let stream = TestStream()
        for view in 0..<3 {
            for user in 0..<12 { stream.add("user-\(user)", .view, at: epoch + Int64(12 * view + user) * 60_000) }
        }
        for user in [0, 4, 7, 11] { stream.add("user-\(user)", .userDeleted, at: epoch + day) }
        stream.add("another", .view, at: epoch + 30 * day)
        let engine = Engine.make(c)
        engine.run(stream)
        return engine
    }

    @Test func theyAreNoOutcomes() {
        let engine = Self.engine()
        #expect(engine.task.pool.frontier == [37, 37, 37] && engine.task.pool.count == 37)
        let learner = engine.learner
        #expect(learner.report.matured == 24)
        // `clv`, `purchase`: nobody bought. `churn`: after the first and the second view of eight users comes another.
        #expect(learner.rates.cells.map(\.atRisk) == [24, 24, 24, 24, 24, 24, 24, 8, 8])
        #expect(learner.rates.cells.map(\.hits) == [0, 0, 0, 0, 0, 0, 16, 0, 0])
        // Two draws a landmark, by default.
        #expect(learner.credit == 48)
    }

    /// The landmark that the last event made has not matured, but its features are known.
    @Test func theyDoNotMoveTheScaling() {
        let observations = Self.engine().learner.standardizer.observations
        #expect(firstDifferences(observations, Array(repeating: 25, count: SnapshotFeatures.count) + [0]) == [])
    }

    @Test func theyAreNotDrawn() {
        let engine = Self.engine()
        func users(_ picks: [LandmarkPick]) -> [UInt32] {
            picks.map { LandmarkPool.header(engine.task.pool.at($0.sequence)).pointee.user }
        }
        let isWhole = engine.learner.sampler.draw(engine.ordered, heldOut: false)
        #expect(isWhole)
        let drawn = users(engine.learner.sampler.picks)
        #expect(drawn.count == 36 && !drawn.contains(UserTable.none))
        engine.learner.sampler.pickFresh(engine.ordered, bin: 0, since: [[1, 1, 1]])
        let fresh = users(engine.learner.sampler.picks)
        #expect(fresh.count == 24 && !fresh.contains(UserTable.none))
    }
}
