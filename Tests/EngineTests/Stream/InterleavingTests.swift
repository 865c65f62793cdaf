import CEventParser
import Testing

@testable import Engine

/// Several partitions: what comes of their records does not depend on how they interleave.
@Suite struct InterleavingTests {
    private static let partitions = 3

    /// Places of the records, each partition up to `ahead` ms of event time behind the others.
    private static func order(_ stream: TestStream, _ range: Range<Int>, ahead: Int64, seed: UInt64) -> [Int] {
        var random = RandomNumbers(seed: seed)
        var lag = (0..<partitions).map { _ in Int64(0) }
        var latest = lag.map { _ in Int64.min }
        var clock = Int64.min
        let keys = range.map { i in
            let e = stream.events[i]
            let p = Int(e.partition)
            if e.status == UInt8(clvd_status_ok.rawValue) { clock = max(clock, e.time_ms) }
            if ahead > 0 && i % 5 == 0 { lag[p] = Int64(random.below(Int(ahead))) }
            latest[p] = max(latest[p], clock + lag[p])
            return (latest[p], i)
        }
        return keys.sorted { $0 < $1 }.map(\.1)
    }

    /// An erasure is at once, so it may come before or after a learning that is due.
    private static func withoutErasure(_ event: clvd_event) -> clvd_event {
        var event = event
        if event.type == EventType.userDeleted.rawValue { event.status = UInt8(clvd_status_ignored_type.rawValue) }
        return event
    }

    /// - Returns: what the engine said, sorted.
    private static func run(_ engine: Engine, _ stream: TestStream, _ order: [Int], cut: Int = 64) -> [String] {
        var all: [String] = []
        for at in stride(from: 0, to: order.count, by: cut) {
            let batch = order[at..<min(order.count, at + cut)].map { withoutErasure(stream.events[$0]) }
            batch.withUnsafeBufferPointer { engine.step($0) }
            engine.forEachOutput { entry in
                let text = String(decoding: entry.value, as: UTF8.self)
                all.append("\(entry.kind) \(text)")
            }
        }
        return all.sorted()
    }

    private static func stream(seed: UInt64) -> TestStream {
        RandomStream(users: 60, events: 2500, partitions: Int32(partitions)).make(seed: seed)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func theOrderOfPartitionsDoesNotMatter(seed: UInt64) throws {
        let stream = Self.stream(seed: seed)
        let all = 0..<stream.events.count
        var c = EngineConfiguration.small
        if seed == 3 { (c.time.lateEvents, c.state.maxEventsPerDay) = (.accept, 5) }
        let engine = Engine.make(c, partitions: Self.partitions)
        let expected = Self.run(engine, stream, Self.order(stream, all, ahead: 0, seed: 0))
        let report = engine.report(prequential: false)
        #expect(report.learning.steps >= 10 && report.modelVersion > 0 && report.counters.alertsRaised > 10)
        for other in 1...3 as ClosedRange<UInt64> {
            let order = Self.order(stream, all, ahead: 11 * hour, seed: 10 * seed + other)
            #expect(order != Array(all), "another order")
            let again = Engine.make(c, partitions: Self.partitions)
            let said = Self.run(again, stream, order, cut: [1, 50, 1000][Int(other) - 1])
            #expect(firstDifferences(said, expected) == [])
            #expect(try Written(again).differences(from: Written(engine)) == [])
        }
    }

    /// After a restart the records come in another order.
    @Test func aSnapshotBetween() throws {
        let stream = Self.stream(seed: 4)
        let n = stream.events.count
        let engine = Engine.make(partitions: Self.partitions)
        _ = Self.run(engine, stream, Array(0..<n))
        for at in [700, 1600, 2300] {
            let first = Engine.make(partitions: Self.partitions)
            _ = Self.run(first, stream, Self.order(stream, 0..<at, ahead: 11 * hour, seed: 5))
            let second = try Written(first).restored(partitions: Self.partitions)
            _ = Self.run(second, stream, Self.order(stream, at..<n, ahead: 11 * hour, seed: 6))
            #expect(try Written(second).differences(from: Written(engine)) == [])
        }
    }

    /// A partition that is days behind teaches and is served all the same, and nothing is lost.
    @Test func aPartitionFarBehind() throws {
        let stream = Self.stream(seed: 7)
        let engine = Engine.make(partitions: Self.partitions)
        let said = Self.run(
            engine, stream, Self.order(stream, 0..<stream.events.count, ahead: 20 * day, seed: 8))
        let counters = engine.report(prequential: false).counters
        #expect(counters.records == Int64(stream.events.count))
        let updates = said.count { $0.hasPrefix("update") }
        #expect(Int64(updates) == counters.updates + counters.erased)
        #expect(engine.report(prequential: false).learning.steps >= 10)
        for task in engine.ordered { #expect(task.pool.image.cuts.count <= 4) }
    }

    /// A record that is rejected brings no learning, however late its time.
    @Test func aDuplicateDoesNotTeach() throws {
        let stream = Self.stream(seed: 9)
        let engine = Engine.make(partitions: Self.partitions)
        _ = Self.run(engine, stream, Array(0..<stream.events.count))
        let first = TaskID(topic: 0, partition: 0)
        let (time, offset) = (engine.clock(first)! + 2 * hour, engine.nextOffset(first)!)
        let more = TestStream()
        more.add("user-3", .view, at: time, id: "once", offset: offset)
        more.add("user-3", .view, at: time + 300 * day, id: "once", offset: offset + 1)
        more.add("user-3", .view, at: time + 300 * day, id: "another", offset: offset + 2)
        engine.run(more, 0..<1)
        let before = (engine.schedule, engine.report(prequential: false).counters.duplicates)
        engine.run(more, 1..<2)
        #expect(engine.report(prequential: false).counters.duplicates == before.1 + 1)
        #expect(engine.schedule == before.0)
        engine.run(more, 2..<3)
        #expect(engine.schedule != before.0)
    }

    @Test func marksAreMultiplesOfTheirInterval() {
        var c = EngineConfiguration.Learning()
        (c.intervalRecords, c.intervalHours) = (512, 24)
        func intervals(perHour: Double, _ n: Int = 12) -> [Int64] {
            var marks = LearningMarks(after: epoch + 5 * hour)
            #expect(marks.due == epoch + day && marks.following == epoch + 2 * day)
            #expect(marks.trigger == epoch + 36 * hour)
            var last = marks.following
            return (0..<n).map { _ in
                let passed = marks.times.count > 2 ? marks.due - marks.times[marks.times.count - 3] : day
                marks.advance(records: Int64(perHour * Double(passed) / Double(hour)), c)
                defer { last = marks.following }
                return (marks.following - last) / hour
            }
        }
        #expect(intervals(perHour: 1000).suffix(8).allSatisfy { $0 == 1 })
        #expect(intervals(perHour: 100).suffix(8).allSatisfy { $0 == 4 })
        #expect(intervals(perHour: 5).suffix(8).allSatisfy { $0 == 24 })
        #expect(intervals(perHour: 0.25).suffix(8).allSatisfy { $0 == 48 }, "16 records at least")
        #expect(intervals(perHour: 0).last == 192)
    }
}
