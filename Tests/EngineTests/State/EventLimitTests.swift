import CEventParser
import Testing

@testable import Engine

/// The most events of a customer on a day.
@Suite struct EventLimitTests {
    private static func configuration(_ most: Int, _ excess: EngineConfiguration.UserState.ExcessEvents = .reject)
        -> EngineConfiguration
    {
        var c = EngineConfiguration.small
        (c.state.maxEventsPerDay, c.state.excessEvents) = (most, excess)
        return c
    }

    private static func stream() -> TestStream {
        let stream = TestStream()
        for i in 0..<5 as Range<Int64> { stream.add("bot", .view, at: epoch + i * hour, id: "\(i)") }
        stream.add("bot", .view, at: epoch + 2 * hour, id: "2")
        stream.add("other", .view, at: epoch + 4 * hour)
        stream.add("bot", .view, at: epoch + 23 * hour + 3_599_999, id: "5")
        stream.add("bot", .view, at: epoch + day, id: "6")
        return stream
    }

    @Test func whatIsAboveIsADeadLetter() throws {
        let (stream, c) = (Self.stream(), Self.configuration(3))
        let engine = Engine.make(c)
        let said = engine.run(stream, cut: 4)
        #expect(
            said.map(\.kind)
                == [.update, .update, .update, .deadLetter, .deadLetter, .update, .deadLetter, .update])
        #expect(said.filter { $0.kind == .deadLetter }.allSatisfy { $0.reason == 14 })
        let counters = engine.report(prequential: false).counters
        #expect(counters.records == 9 && counters.accepted == 5 && counters.duplicates == 1)
        #expect(counters.deadLetters == 3 && counters.reasons[14] == 3 && counters.excessEvents == 3)
        #expect(String(cString: clvd_status_name(14)) == "too_many_events")
        let h = try #require(engine.slot("bot")).header.pointee
        #expect(h.events == 4 && h.dayEvents == 1)
        // What is rejected moves nothing: the last event of the first day is two hours before its end.
        let day1 = Engine.make(c)
        day1.run(stream, 0..<8)
        #expect(day1.task.watermark == epoch + 2 * hour)
    }

    @Test func itIsExplained() {
        let (stream, c) = (Self.stream(), Self.configuration(3))
        let engine = Engine.make(c)
        stream.events.withUnsafeBufferPointer { engine.step($0) }
        var texts: [String] = []
        engine.forEachOutput { if $0.kind == .deadLetter { texts.append(c.explanation(of: $0) ?? "-") } }
        #expect(
            texts.first
                == "the customer has had 3 events on this day (UTC), the most that state.maxEventsPerDay allows; is it a "
                + "person?")
    }

    @Test func itMayBeIgnored() {
        let engine = Engine.make(Self.configuration(3, .ignore))
        #expect(engine.run(Self.stream()).map(\.record) == [0, 1, 2, 6, 8])
        let counters = engine.report(prequential: false).counters
        #expect(counters.ignored == 3 && counters.excessEvents == 3 && counters.deadLetters == 0)
        #expect(counters.records == counters.accepted + counters.duplicates + counters.ignored)
    }

    @Test func anyNumberWithoutALimit() {
        let stream = TestStream()
        for i in 0..<6000 as Range<Int64> { stream.add("bot", .view, at: epoch + i * 1000) }
        let free = Engine.make(Self.configuration(0))
        free.run(stream)
        #expect(free.report(prequential: false).counters.accepted == 6000)
        let usual = Engine.make(.small)
        usual.run(stream)
        #expect(usual.report(prequential: false).counters.accepted == 5000)
    }

    @Test func deletionsAlwaysCount() {
        let stream = Self.stream()
        stream.add("bot", .userDeleted, at: epoch + day, id: "d")
        for i in 0..<3 as Range<Int64> { stream.add("bot", .view, at: epoch + day + i, id: "again-\(i)") }
        let engine = Engine.make(Self.configuration(1))
        let said = engine.run(stream)
        #expect(engine.report(prequential: false).counters.erased == 1)
        #expect(said.suffix(3).map(\.kind) == [.update, .deadLetter, .deadLetter], "a new customer begins anew")
    }

    /// A late event of an earlier day counts on the day of the latest: else a clock could evade the limit.
    @Test func lateEventsCountOnTheDay() {
        var c = Self.configuration(2)
        c.time.lateEvents = .accept
        let stream = TestStream()
        stream.add("a", .view, at: epoch + 5 * day)
        stream.add("a", .view, at: epoch + 4 * day)
        stream.add("a", .view, at: epoch + 3 * day)
        stream.add("a", .view, at: epoch + 6 * day)
        #expect(Engine.make(c).run(stream).map(\.kind) == [.update, .update, .deadLetter, .update])
    }

    /// A guest who becomes a customer brings the events of the day along.
    @Test(arguments: [0, 1] as [Int64]) func guestsAndCustomersAddUp(days: Int64) {
        let stream = TestStream()
        for i in 0..<2 as Range<Int64> {
            stream.add("guest", .view, at: epoch + i)
            stream.add("ann", .view, at: epoch + days * day + i)
        }
        stream.add("ann", .identify, at: epoch + days * day + 2, alias: "guest")
        stream.add("ann", .view, at: epoch + days * day + 3)
        let engine = Engine.make(Self.configuration(3))
        engine.run(stream)
        #expect(engine.slot("guest") == nil && engine.slot("ann")?.header.pointee.dayEvents == (days == 0 ? 4 : 3))
        #expect(engine.report(prequential: false).counters.excessEvents == (days == 0 ? 1 : 0))
    }

    /// The count is in the snapshot, and no byte was added for it.
    @Test func theCountIsKept() throws {
        #expect(UserLayout(units: 64, hasCell: true).size == 1024)
        let (stream, c) = (Self.stream(), Self.configuration(3))
        let engine = Engine.make(c)
        engine.run(stream, 0..<2)
        let restored = try Written(engine).restored(c)
        #expect(restored.run(stream, 2..<4).map(\.kind) == [.update, .deadLetter])
    }

    /// Others are as they would be, had the bot stopped at the limit.
    @Test func othersAreNotDistorted() throws {
        var c = Self.configuration(20)
        c.learning.enabled = false
        func run(_ events: Int) -> [String] {
            let stream = TestStream()
            for i in 0..<200 as Range<Int64> {
                let time = epoch + i * 300_000
                for k in 0..<Int64(events) { stream.add("bot", .purchase, at: time + k, amount: 1e6, id: "\(i)/\(k)") }
                stream.add("user-\(i % 30)", .purchase, at: time + 1000, amount: Double(i), id: "u\(i)")
            }
            return Engine.make(c).run(stream).filter { $0.kind == .update && $0.key != "bot" }.map(\.value)
        }
        func withoutOffset(_ all: [String]) -> [String] { all.map { $0.replacing(/"source":\{[^}]*\}/, with: "") } }
        let (bot, modest) = (withoutOffset(run(40)), withoutOffset(run(20)))
        #expect(bot.count == 200 && bot == modest)
    }

    @Test func placesOfFormatSeven() throws {
        let engine = Engine.make()
        let stream = TestStream()
        for i in 0..<5 as Range<Int64> {
            stream.add("a", .purchase, at: epoch + i, amount: 1, id: "\(i)", order: "\(i / 2)")
        }
        engine.run(stream)
        let slot = try #require(engine.slot("a"))
        #expect(slot.header.pointee.dedupNext == 5 && slot.header.pointee.orderNext == 3)
        slot.storeBytes(of: 6, toByteOffset: 95, as: UInt8.self)
        slot.storeBytes(of: 2, toByteOffset: 98, as: UInt8.self)
        slot.storeBytes(of: 0, toByteOffset: 99, as: UInt8.self)
        Format7.convert(engine.task.users)
        let h = slot.header.pointee
        #expect(
            h.dedupNext == 6 && h.orderNext == 2 && h.dayEvents == 0 && h.flags == UserHeader.inUse && h.alerts == 0)
        slot.storeBytes(of: 200, toByteOffset: 95, as: UInt8.self)
        Format7.convert(engine.task.users)
        #expect(slot.header.pointee.dedupNext == 15, "stays outside its ring")
    }
}
