import CEventParser
import Foundation
import Testing

@testable import Engine

/// Going on after a restart, when time had passed without records, and when partitions move.
@Suite struct ResumeTests {
    private static let first = TaskID(topic: 0, partition: 0)

    /// What was said of silence before a restart is not said again, and the state goes on as if there had been none.
    @Test func publishedSilenceIsNotRepeated() throws {
        let stream = TestStream()
        stream.add("silent", .purchase, at: epoch, amount: 40)
        for i in 1..<60 { stream.add("busy", .view, at: epoch + Int64(i) * hour / 2) }
        stream.add("silent", .view, at: epoch + 6 * day)
        let n = stream.events.count - 1

        let whole = try KnownModel.engine()
        whole.run(stream, 0..<20)
        let snapshot = try Written(whole)
        whole.run(stream, 20..<n)
        let clock = epoch + 5 * day
        let raised = whole.idle(until: clock)
        #expect(raised.map(\.kind) == [.alert] && raised.map(\.key) == ["silent"])
        #expect(whole.clock(Self.first) == clock)
        let expected = whole.run(stream, n..<n + 1)
        #expect(expected.map(\.kind) == [.update, .alert], "activity clears it")

        // Restart from the snapshot: the records up to n, and the silence up to the clock, are known to the world.
        let again = try KnownModel.restored(snapshot)
        again.resume(
            Self.first, at: 20, firstUnpublishedOffset: Int64(n), idleTicks: [IdleTick(before: Int64(n), clock: clock)])
        #expect(again.run(stream, 20..<40).isEmpty)
        #expect(again.idle(until: clock).isEmpty, "no ticks while committed records are read again")
        #expect(again.run(stream, 40..<n).isEmpty)
        var ticked = again.idle(until: clock)
        #expect(ticked.isEmpty)
        #expect(again.run(stream, n..<n + 1) == expected)
        #expect(try Written(again).differences(from: Written(whole)) == [])

        // The same when the next record comes before any tick.
        let third = try KnownModel.restored(snapshot)
        third.resume(
            Self.first, at: 20, firstUnpublishedOffset: Int64(n), idleTicks: [IdleTick(before: Int64(n), clock: clock)])
        #expect(third.run(stream, 20..<n + 1, cut: 7) == expected)
        #expect(try Written(third).differences(from: Written(whole)) == [])

        // Without the clock the alert is said twice, under the same id.
        let unaware = try KnownModel.restored(snapshot)
        unaware.resume(Self.first, at: 20, firstUnpublishedOffset: Int64(n))
        #expect(unaware.run(stream, 20..<n).isEmpty)
        ticked = unaware.idle(until: clock)
        #expect(ticked == raised)
    }

    /// Silence between records that are taken in again after a restart is scored where it was, and the clock is known
    /// before any of them is.
    @Test func silenceBetweenCommittedRecordsIsScoredWhereItWas() throws {
        let stream = TestStream()
        stream.add("silent", .purchase, at: epoch, amount: 40)
        for i in 1..<60 { stream.add("busy", .view, at: epoch + Int64(i) * hour / 2) }
        stream.add("silent", .view, at: epoch + 3 * hour + day)
        stream.add("silent", .view, at: epoch + 4 * hour + day)
        let n = stream.events.count

        let whole = try KnownModel.engine()
        whole.run(stream, 0..<20)
        let snapshot = try Written(whole)
        whole.run(stream, 20..<60)
        let clock = epoch + 5 * day
        #expect(whole.idle(until: clock).map(\.kind) == [.alert])
        let silence = IdleTick(before: 60, clock: clock)
        // The alert is cleared by the next record, before anything is committed again.
        whole.run(stream, 60..<n - 1)

        let again = try KnownModel.restored(snapshot)
        again.resume(Self.first, at: 20, firstUnpublishedOffset: Int64(n - 1), idleTicks: [silence])
        #expect(again.clock(Self.first) == clock, "what was committed is not to be taken back")
        #expect(again.run(stream, 20..<n - 1, cut: 7).isEmpty)
        #expect(try Written(again).differences(from: Written(whole)) == [])
        #expect(again.run(stream, n - 1..<n) == whole.run(stream, n - 1..<n))
    }

    @Test func ticksOfOnePartitionLeaveTheOthers() throws {
        let engine = try KnownModel.engine(partitions: 2)
        let stream = TestStream()
        for p in 0..<2 as Range<Int32> {
            stream.add("user-\(p)", .purchase, at: epoch, amount: 40, partition: p)
        }
        engine.run(stream)
        let second = TaskID(topic: 0, partition: 1)
        engine.tick([second: epoch + 5 * day])
        var keys: [String] = []
        engine.forEachOutput { keys.append(String(decoding: $0.key, as: UTF8.self)) }
        #expect(keys == ["user-1"])
        #expect(engine.clock(Self.first) == epoch - 2 * hour && engine.clock(second) == epoch + 5 * day)
    }

    /// A partition that moves here comes with its users; the model is this engine's own.
    @Test func adoptingAPartition() throws {
        let stream = RandomStream(users: 40, events: 1500, partitions: 2, troubles: false).make(seed: 81)
        let source = Engine.make(partitions: 2)
        source.run(stream)
        let written = try Written(source)
        let here = Engine.make(partitions: 2)
        here.removeTask(Self.first)
        let model = (0..<here.settings.model.count).map { here.serving.parameters.weights[$0] }
        #expect(try written.adopt(Self.first, into: here))
        #expect(here.holds(Self.first) && here.nextOffset(Self.first) == source.nextOffset(Self.first))
        let now = (0..<here.settings.model.count).map { here.serving.parameters.weights[$0] }
        #expect(firstDifferences(now, model) == [])
        let after = try Written(here)
        for part in ["users", "keys", "landmarks"] {
            #expect(after.sections["task-0-0-\(part)"] == written.sections["task-0-0-\(part)"])
        }
        #expect(try !written.adopt(TaskID(topic: 0, partition: 7), into: here))
    }

    @Test func topUsersAreThoseOfHighestValue() throws {
        let stream = RandomStream(users: 50, events: 1800, partitions: 2, troubles: false).make(seed: 82)
        let engine = Engine.make(partitions: 2)
        engine.run(stream)
        #expect(engine.report(prequential: false).modelVersion > 0)
        let before = try Written(engine)
        let users = engine.report(prequential: false).users
        let all = engine.topUsers(1000)
        #expect(all.count == users && Set(all.map(\.user)).count == users)
        #expect(zip(all, all.dropFirst()).allSatisfy { $0.value >= $1.value })
        #expect(Array(all.prefix(5)) == engine.topUsers(5) && engine.topUsers(0).isEmpty)
        #expect(try Written(engine) == before, "asking changes nothing")
    }
}
