import CEventParser
import TestSupport
import Testing

@testable import Engine

/// What becomes of every record, against a plain account of the rules.
@Suite struct AccountingTests {
    /// The rules of event time, duplicates and rejection, one record at a time.
    struct Account {
        enum Fate: Equatable { case update, erased, tombstone, ignored, duplicate, deadLetter(UInt8) }
        var clock = TimeAccount(skewMs: hour)
        var watermark: Int64 { clock.watermark(latenessMs: hour) }
        var recent: [String: [UInt64]] = [:]

        mutating func fate(_ e: clvd_event) -> Fate {
            switch clvd_status(UInt32(e.status)) {
            case clvd_status_ok: break
            case clvd_status_tombstone: return .tombstone
            case clvd_status_ignored_type: return .ignored
            default: return .deadLetter(e.status)
            }
            if e.time_ms < watermark { return .deadLetter(UInt8(clvd_status_too_late.rawValue)) }
            let user = String(decoding: UnsafeBufferPointer(start: e.user, count: Int(e.user_length)), as: UTF8.self)
            if recent[user, default: []].suffix(8).contains(e.event_id_hash) { return .duplicate }
            clock.note(user, at: e.time_ms)
            if e.type == EventType.userDeleted.rawValue {
                recent[user] = nil
                clock.forget(user)
                return .erased
            }
            recent[user, default: []].append(e.event_id_hash)
            return .update
        }
    }

    @Test(arguments: [31, 32, 33] as [UInt64])
    func everyRecordHasOneFate(seed: UInt64) throws {
        let stream = RandomStream(users: 15, events: 2500, partitions: 2).make(seed: seed)
        var configuration = EngineConfiguration.small
        configuration.learning.stepsPerThousandEvents = 0
        let engine = Engine.make(configuration, partitions: 2)
        let said = engine.run(stream, cut: 97)
        var accounts = [Account(), Account()]
        let fates = stream.events.map { accounts[Int($0.partition)].fate($0) }
        func count(_ fate: Account.Fate) -> Int64 { Int64(fates.count { $0 == fate }) }
        let counters = engine.report(prequential: false).counters
        #expect(counters.records == Int64(stream.events.count))
        #expect(counters.accepted == count(.update))
        #expect(counters.updates == count(.update))
        #expect(counters.duplicates == count(.duplicate))
        #expect(counters.ignored == count(.ignored))
        #expect(counters.tombstones == count(.tombstone))
        #expect(counters.erased == count(.erased))
        #expect(
            counters.records == counters.accepted + counters.duplicates + counters.ignored + counters.tombstones
                + counters.erased + counters.deadLetters)
        #expect(counters.deadLetters == counters.reasons.reduce(0, +))
        for reason in 0..<32 { #expect(counters.reasons[reason] == count(.deadLetter(UInt8(reason)))) }
        for fate in [Account.Fate.update, .duplicate, .ignored, .tombstone, .erased, .deadLetter(30), .deadLetter(16)] {
            #expect(count(fate) > 0, "\(fate) occurs in the stream")
        }
        for (p, account) in accounts.enumerated() {
            let task = try #require(engine.tasks[TaskID(topic: 0, partition: Int32(p))])
            #expect(task.watermark == account.watermark)
            #expect(engine.nextOffset(task.id) == Int64(stream.events.count { $0.partition == p }))
        }
        // One update, tombstone or dead letter of each record that has one, in the order of the records.
        let expected = fates.enumerated().compactMap { i, fate -> [String]? in
            switch fate {
            case .update: ["\(i)", "update"]
            case .erased: ["\(i)", "erasure"]
            case .deadLetter(let reason): ["\(i)", "dead letter \(reason)"]
            default: nil
            }
        }
        let actual = said.compactMap { s -> [String]? in
            switch s.kind {
            case .update: ["\(s.record)", s.value.isEmpty ? "erasure" : "update"]
            case .deadLetter: ["\(s.record)", "dead letter \(s.reason)"]
            case .alert, .joined, .forward, .message: nil
            }
        }
        #expect(actual == expected)
    }

    @Test func rejectedAndDuplicateEventsMoveNothing() throws {
        let stream = TestStream()
        stream.add("a", .view, at: epoch, id: "1")
        stream.add("a", .view, at: epoch + 300 * day, id: "2", status: clvd_status_future_time)
        stream.add("a", .view, at: epoch + 300 * day, id: "1")
        stream.add("a", .view, at: epoch + 300 * day, status: clvd_status_tombstone)
        stream.add("a", .view, at: epoch + 300 * day, status: clvd_status_ignored_type)
        stream.add("a", .purchase, at: epoch + 300 * day, amount: 1e300, id: "3")
        var c = EngineConfiguration.small
        c.time.clockSkewSeconds = 0
        let engine = Engine.make(c)
        engine.run(stream, 0..<1)
        let before = try Written(engine)
        engine.run(stream, 1..<6)
        #expect(engine.clock(TaskID(topic: 0, partition: 0)) == epoch - hour)
        let after = try Written(engine)
        #expect(after.sections == before.sections, "users and landmarks are as they were")
        // Just within the lateness, and one millisecond beyond it.
        stream.add("a", .view, at: epoch - hour, id: "4")
        stream.add("a", .view, at: epoch - hour - 1, id: "5")
        let said = engine.run(stream, 6..<8)
        try #require(said.map(\.kind) == [.update, .deadLetter])
        #expect(said[1].reason == UInt8(clvd_status_too_late.rawValue))
    }

    @Test func offsetsThatWereTakenInAreRepeats() {
        let stream = TestStream()
        for offset in [5, 6, 5, 9, 6, 9, 10] as [Int64] { stream.add("a", .view, at: epoch, offset: offset) }
        let engine = Engine.make()
        #expect(engine.nextOffset(TaskID(topic: 0, partition: 0)) == nil)
        let said = engine.run(stream)
        #expect(said.map(\.record) == [0, 1, 3, 6])
        let report = engine.report(prequential: false)
        #expect(report.counters.repeated == 3 && report.counters.records == 4 && report.position == 4)
        #expect(engine.nextOffset(TaskID(topic: 0, partition: 0)) == 11)
    }

    @Test func eventsWithoutIdsAreNeverDuplicates() {
        let stream = TestStream()
        for _ in 0..<4 { stream.add("a", .view, at: epoch) }
        let engine = Engine.make()
        #expect(engine.run(stream).count == 4)
    }

    /// An idle partition's clock, and partitions that come and go.
    @Test func partitionsComeAndGo() {
        let stream = RandomStream(users: 20, events: 200, partitions: 2, troubles: false).make(seed: 34)
        let engine = Engine.make(partitions: 2)
        let (a, b) = (TaskID(topic: 0, partition: 0), TaskID(topic: 0, partition: 1))
        #expect(engine.taskIDs == [a, b] && engine.clock(a) == nil)
        engine.run(stream)
        let later = epoch + 500 * day
        engine.tick(to: later)
        #expect(engine.clock(a) == later && engine.clock(b) == later)
        engine.removeTask(a)
        #expect(engine.taskIDs == [b] && engine.nextOffset(a) == nil && engine.clock(a) == nil)
        engine.addTask(a)
        #expect(engine.taskIDs == [a, b] && engine.nextOffset(a) == nil)
        let more = TestStream()
        more.add("new", .view, at: epoch, partition: 0)
        #expect(engine.run(more).count == 1)
    }

    /// The calendar of timers has a place for times before 1970.
    @Test func timesBefore1970() {
        let stream = TestStream()
        for i in 0..<300 { stream.add("u\(i % 9)", .view, at: -40 * day + Int64(i) * 5 * hour) }
        let engine = Engine.make()
        #expect(engine.run(stream).count == 300)
        #expect(engine.report(prequential: false).counters.accepted == 300)
    }
}
