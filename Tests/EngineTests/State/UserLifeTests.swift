import Foundation
import Testing

@testable import Engine

/// Edges of what the engine keeps of a user: who leaves and when, when a session begins, what is remembered between two
/// scores. Every expected value is counted by hand.
@Suite struct UserLifeTests {
    // MARK: Leaving

    /// The cap evicts by the last activity. Even users came first and act again; odd ones do not.
    @Test func theCapEvictsWhoHasBeenIdleLongest() throws {
        var configuration = EngineConfiguration.small
        configuration.state.maxUsers = 1024
        configuration.learning.enabled = false
        let stream = TestStream()
        for i in 0..<1024 { stream.add("user-\(i)", .view, at: epoch + Int64(i) * 1000) }
        for i in stride(from: 0, to: 1024, by: 2) {
            stream.add("user-\(i)", .view, at: epoch + Int64(2000 + i) * 1000)
        }
        for i in 0..<300 { stream.add("new-\(i)", .view, at: epoch + Int64(4000 + i) * 1000) }
        let engine = Engine.make(configuration)
        engine.run(stream)
        #expect(engine.report(prequential: false).counters.evictedByCap == 300)
        #expect(stride(from: 0, to: 1024, by: 2).allSatisfy { engine.slot("user-\($0)") != nil })
        #expect(stride(from: 1, to: 1024, by: 2).count { engine.slot("user-\($0)") != nil } == 512 - 300)
    }

    /// A user leaves in the first hour of its turn at which it has been idle for longer than the retention, with the
    /// event that moves the watermark to that hour: neither a millisecond earlier nor one event later.
    @Test func retentionFollowsTheNewWatermark() throws {
        var configuration = EngineConfiguration.small
        configuration.state.retentionDays = 5
        configuration.learning.enabled = false
        configuration.time.allowedLatenessSeconds = 3600
        configuration.time.clockSkewSeconds = 0
        let engine = Engine.make(configuration)
        let stream = TestStream()
        // The first slot's turn is at midnight, and `epoch` is one.
        stream.add("idle", .view, at: epoch)
        stream.add("busy", .view, at: epoch + 5 * day + hour)
        engine.run(stream, 0..<2)
        #expect(engine.task.watermark == epoch + 5 * day)
        #expect(engine.slot("idle") != nil, "idle for exactly the retention")
        stream.add("busy", .view, at: epoch + 6 * day + hour - 1)
        engine.run(stream, 2..<3)
        #expect(engine.slot("idle") != nil, "its next turn is in a millisecond")
        stream.add("busy", .view, at: epoch + 6 * day + hour)
        engine.run(stream, 3..<4)
        #expect(engine.slot("idle") == nil)
        #expect(engine.report(prequential: false).counters.evictedIdle == 1)
    }

    /// One event may bring many hours: who has been idle for too long at one of them leaves with this very event.
    @Test func retentionFollowsAJumpOfTheWatermark() throws {
        var configuration = EngineConfiguration.small
        configuration.state.retentionDays = 5
        configuration.learning.enabled = false
        configuration.time.allowedLatenessSeconds = 3600
        configuration.time.clockSkewSeconds = 0
        let engine = Engine.make(configuration)
        let stream = TestStream()
        stream.add("idle", .view, at: epoch)
        stream.add("busy", .view, at: epoch + day)
        // From 23 hours to six days after the beginning, the turn of the first slot; the second has its an hour later.
        stream.add("busy", .view, at: epoch + 6 * day + hour)
        engine.run(stream, 0..<2)
        #expect(engine.slot("idle") != nil)
        engine.run(stream, 2..<3)
        #expect(engine.slot("idle") == nil)
        #expect(engine.slot("busy") != nil && engine.report(prequential: false).counters.evictedIdle == 1)
    }

    // MARK: Duplicates

    /// The ids of a user's last eight events are known: the first comes again after seven others and is a duplicate,
    /// and after eight others it is not.
    @Test(arguments: [(others: 7, duplicates: 1), (8, 0)])
    func eightEventIdsAreKnown(others: Int, duplicates: Int) throws {
        var configuration = EngineConfiguration.small
        configuration.learning.enabled = false
        let engine = Engine.make(configuration)
        let stream = TestStream()
        for i in 0...others { stream.add("a", .view, at: epoch + Int64(i), id: "id-\(i)") }
        stream.add("a", .view, at: epoch + 100, id: "id-0")
        engine.run(stream)
        let counters = engine.report(prequential: false).counters
        #expect(counters.duplicates == Int64(duplicates))
        #expect(counters.accepted == Int64(others + 2 - duplicates))
    }

    // MARK: Windows

    /// An event that comes late counts at its own time. Windows of a day are the last four panes of six hours: at 18
    /// hours after a boundary they hold what came after it and not what came before.
    @Test func aLateEventCountsAtItsOwnTime() throws {
        var configuration = EngineConfiguration.small
        configuration.learning.enabled = false
        configuration.time.allowedLatenessSeconds = 3600
        configuration.time.clockSkewSeconds = 0
        let engine = Engine.make(configuration)
        let minute: Int64 = 60_000
        let stream = TestStream()
        stream.add("a", .view, at: epoch + 10 * minute)
        stream.add("a", .view, at: epoch - 10 * minute)
        engine.run(stream)
        let slot = try #require(engine.slot("a"))
        func views(at instant: Int64) throws -> Float {
            var row = [Float](repeating: 0, count: SnapshotFeatures.count)
            SnapshotFeatures.write(slot, engine.settings.userLayout, now: instant, into: &row)
            SnapshotFeatures.finish(&row, count: 1)
            return row[try #require(SnapshotFeatures.definitions.firstIndex { $0.name == "views_1d" })]
        }
        // log 3 for two views, log 2 for one.
        #expect(abs(try views(at: epoch + 18 * hour - 1) - 1.098612) < 1e-5)
        #expect(abs(try views(at: epoch + 18 * hour) - 0.693147) < 1e-5)
    }

    // MARK: Sessions

    private static func sessionStarts(_ add: (TestStream) -> Void) throws -> [Bool] {
        var configuration = EngineConfiguration.small
        configuration.state.sessionGapMinutes = 30
        configuration.learning.enabled = false
        let engine = Engine.make(configuration)
        let stream = TestStream()
        add(stream)
        return try stream.events.indices.map { i in
            engine.run(stream, i..<i + 1)
            let slot = try #require(engine.slot("a"))
            let h = slot.header.pointee
            let newest = (Int(h.ringStart) + Int(h.ringCount) - 1) % EventRing.capacity
            return EventRing(slot, engine.settings.userLayout).code[newest] & EventRing.sessionBit != 0
        }
    }

    @Test func aSessionEndsAfterItsGap() throws {
        let minute: Int64 = 60_000
        let starts = try Self.sessionStarts { stream in
            stream.add("a", .view, at: epoch)
            stream.add("a", .view, at: epoch + 30 * minute)
            stream.add("a", .view, at: epoch + 60 * minute + 1)
            stream.add("a", .view, at: epoch + 61 * minute)
        }
        #expect(starts == [true, false, true, false])
    }

    /// Where events name their session, pauses do not matter.
    @Test func sessionsThatAreNamed() throws {
        let starts = try Self.sessionStarts { stream in
            stream.add("a", .view, at: epoch, session: "one")
            stream.add("a", .view, at: epoch + 5 * hour, session: "one")
            stream.add("a", .view, at: epoch + 5 * hour + 1, session: "two")
            stream.add("a", .view, at: epoch + 5 * hour + 2, session: "two")
        }
        #expect(starts == [true, false, true, false])
    }

    // MARK: Scores

    /// The change of an update is against the latest score, also when that was made in silence.
    /// `KnownModel`: P(no event in the two first bins) after d silent days is (1 - 1/(1 + e^-(2 - 3·log(1 + d))))².
    @Test func aSilentScoreIsTheOneToCompareWith() throws {
        func churn(_ days: Double) -> Double {
            let hazard = 1 / (1 + exp(-(2 - 3 * log(1 + days))))
            return (1 - hazard) * (1 - hazard)
        }
        let engine = try KnownModel.engine { $0.alerts.raiseThreshold = 0.999 }
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 40)
        // Another user's event brings the watermark to four days later: the last silent score of "a", every six hours
        // from its slot's hour (the first) on, is of that instant.
        stream.add("b", .view, at: epoch + 4 * day + hour)
        stream.add("a", .view, at: epoch + 4 * day + 2 * hour)
        let said = engine.run(stream)
        #expect(try abs(#require(said[0].json()["churn_probability"] as? Double) - churn(0)) < 1e-4)
        let last = try #require(said.last { $0.key == "a" && $0.kind == .update }).json()
        let change = try #require(last["change"] as? [String: Double])["churn_probability"]!
        #expect(abs(change - (churn(0) - churn(4))) < 1e-3, "\(change)")
        #expect(churn(4) > 0.85 && churn(0) < 0.1, "silence matters")
    }

    // MARK: Landmarks

    /// The naive forecast of a landmark is the user's own past, drawn on: money, orders and events per day of the time
    /// since the first event and 14 days.
    @Test func theNaiveRates() throws {
        var configuration = EngineConfiguration.small
        configuration.learning.eventLandmarkShare = 1
        configuration.learning.intervalRecords = 1_000_000
        configuration.learning.landmarkIntervalDays = 1000
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("a", .purchase, at: epoch + day, amount: 30, order: "one")
        stream.add("a", .purchase, at: epoch + day, amount: 12, order: "one")
        stream.add("a", .purchase, at: epoch + 2 * day, amount: 18, order: "two")
        stream.add("a", .view, at: epoch + 6 * day)
        let engine = Engine.make(configuration)
        engine.run(stream)
        let pool = engine.task.pool.image
        let landmark = LandmarkPool.header(engine.task.pool.at(pool.tail - 1)).pointee
        #expect(landmark.instant == epoch + 6 * day)
        // 60 of money, two orders and five events in 6 + 14 days.
        #expect(abs(landmark.naiveValuePerDay - 3) < 1e-6)
        #expect(abs(landmark.naiveOrdersPerDay - 0.1) < 1e-6)
        #expect(abs(landmark.naiveEventsPerDay - 0.25) < 1e-6)
    }

    /// The ring holds 16 events. After 32 the landmark stores the last 16 of them, and the inputs of the first of these
    /// depend on the 16th, which has left the ring.
    @Test func theEventThatLeftTheRingIsRemembered() throws {
        var configuration = EngineConfiguration.small
        configuration.learning.eventLandmarkShare = 1
        configuration.learning.intervalRecords = 1_000_000
        configuration.learning.intervalHours = 0
        configuration.learning.landmarkIntervalDays = 1000
        let engine = Engine.make(configuration)
        let stream = TestStream()
        for i in 1...32 as ClosedRange<Int64> {
            stream.add(
                "a", i == 16 ? .purchase : i == 15 ? .search : .view, at: epoch + i * day, amount: i == 16 ? 5 : 0)
        }
        engine.run(stream)
        let landmark = LandmarkPool.header(engine.task.pool.at(engine.task.pool.tail - 1)).pointee
        #expect(landmark.instant == epoch + 32 * day && landmark.steps == 16)
        let left = UInt32((epoch + 16 * day) / 1000)
        #expect(landmark.contextTime == left && landmark.contextPurchase == left)
        #expect(landmark.contextCode >> EventRing.typeShift == UInt16(EventType.purchase.rawValue))
    }

    /// What happens at the very instant of a landmark is its past, whatever comes later in the sequence; what happens
    /// at the end of a bin is in it.
    @Test func outcomesBeginAfterTheInstantAndEndWithTheBin() throws {
        var configuration = EngineConfiguration.small
        configuration.learning.eventLandmarkShare = 1
        configuration.learning.intervalRecords = 1_000_000
        configuration.learning.landmarkIntervalDays = 1000
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("a", .purchase, at: epoch, amount: 100, order: "at the instant")
        stream.add("a", .purchase, at: epoch + 1, amount: 1, order: "after it")
        stream.add("a", .purchase, at: epoch + 2 * day, amount: 10, order: "at the end of the first bin")
        stream.add("a", .purchase, at: epoch + 2 * day + 1, amount: 20, order: "in the second")
        stream.add("a", .purchase, at: epoch + 20 * day, amount: 40, order: "at the end of the last")
        stream.add("a", .purchase, at: epoch + 20 * day + 1, amount: 1000, order: "after all")
        let engine = Engine.make(configuration)
        engine.run(stream)
        let first = engine.task.pool.at(engine.task.pool.image.head)
        #expect(LandmarkPool.header(first).pointee.instant == epoch)
        let labels = first.at(engine.settings.landmarkLayout.labels, as: Float.self)
        #expect((0..<3).map { labels[$0] } == [11, 20, 40])
        #expect((3..<6).map { labels[$0] } == [2, 1, 1])
    }
}
