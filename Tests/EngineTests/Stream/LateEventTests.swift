import CEventParser
import Testing

@testable import Engine

/// Events that are older than the watermark, where they are accepted. The skew of clocks and the lateness are an hour each,
/// so that one customer's event takes the watermark to two hours before it.
@Suite struct LateEventTests {
    private static var accepting: EngineConfiguration {
        var c = EngineConfiguration.small
        c.time.lateEvents = .accept
        return c
    }

    private static func windows(_ engine: Engine, _ user: String, at now: Int64) throws -> [PaneSums] {
        let slot = try #require(engine.slot(user))
        var w = [PaneSums](repeating: PaneSums(), count: Panes.windows)
        Panes(slot + engine.settings.userLayout.panes).windows(
            clock: slot.header.pointee.paneClock, at: Panes.index(now), into: &w)
        return w
    }

    // MARK: By hand

    @Test func theyCountAtTheirOwnTime() throws {
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 10, order: "1")
        stream.add("b", .view, at: epoch + 10 * day)
        stream.add("a", .purchase, at: epoch + 9 * day, amount: 20, order: "2")
        stream.add("a", .view, at: epoch + 10 * day)
        stream.add("a", .purchase, at: epoch + 2 * day, amount: 5, order: "3")
        stream.add("a", .purchase, at: epoch + 2 * day, amount: 7, order: "3")
        stream.add("a", .purchase, at: epoch - 20 * day, amount: 1, order: "4")
        let engine = Engine.make(Self.accepting)
        #expect(engine.run(stream, cut: 3).map(\.kind) == Array(repeating: .update, count: 7))
        let counters = engine.report(prequential: false).counters
        #expect(counters.accepted == 7 && counters.updates == 7 && counters.lateAccepted == 4)
        #expect(engine.task.watermark == epoch + 10 * day - 2 * hour, "what is late does not move time")
        let h = try #require(engine.slot("a")).header.pointee
        #expect(h.purchases == 4 && h.valueToDate == 43 && h.events == 6)
        #expect(h.firstSeen == UInt32((epoch - 20 * day) / 1000) && h.firstPurchase == h.firstSeen)
        #expect(h.lastPurchase == UInt32((epoch + 9 * day) / 1000) && h.lastEventMs == epoch + 10 * day)
        #expect(h.purchaseDays == 4)
        #expect(h.daysActive == 3, "of the days before the latest event is not known which had one")
        // Panes of 6 hours, 1 day, 6 days and 18 days: by the calendar from 2021-01-14 on.
        let w = try Self.windows(engine, "a", at: epoch + 10 * day)
        #expect(w.map(\.counts.4) == [0, 1, 3, 4] && w.map(\.sum) == [0, 20, 42, 43])
    }

    @Test func inTheSequenceTheyAreWhereTheyCame() throws {
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 10, order: "1")
        stream.add("b", .view, at: epoch + 10 * day)
        stream.add("a", .view, at: epoch + 10 * day)
        stream.add("a", .purchase, at: epoch + 2 * day, amount: 5, order: "3")
        let engine = Engine.make(Self.accepting)
        engine.run(stream)
        let slot = try #require(engine.slot("a"))
        #expect(slot.header.pointee.lastPurchase == UInt32((epoch + 2 * day) / 1000))
        #expect(engine.settings.activity.lastPurchase(slot) == UInt32((epoch + 10 * day) / 1000), "as training sees it")
        let more = TestStream()
        more.add("a", .purchase, at: epoch + 11 * day, amount: 5, order: "4", offset: 4)
        engine.run(more)
        #expect(slot.header.pointee.flags & UserHeader.latePurchase == 0)
        #expect(engine.settings.activity.lastPurchase(slot) == UInt32((epoch + 11 * day) / 1000))
    }

    @Test func maturedLabelsStay() throws {
        var c = Self.accepting
        c.learning.eventLandmarkShare = 1
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("b", .view, at: epoch + 2 * day + 2 * hour)
        stream.add("a", .purchase, at: epoch + day, amount: 2, order: "1")
        stream.add("b", .view, at: epoch + 2 * day + 2 * hour + 1)
        stream.add("a", .purchase, at: epoch + day, amount: 3, order: "2")
        stream.add("a", .purchase, at: epoch + 2 * day + 1, amount: 4, order: "3")
        stream.add("c", .view, at: epoch + day)
        let engine = Engine.make(c)
        #expect(engine.run(stream).allSatisfy { $0.kind == .update })
        let pool = engine.task.pool.image
        let landmarks = (pool.head..<pool.tail).map { engine.task.pool.at($0) }
        let labels = landmarks[0].at(engine.settings.landmarkLayout.labels, as: Float.self)
        let rule = engine.settings.rules[0]
        // At the end of the first bin, two days, it is open. A millisecond beyond it has matured.
        #expect(labels[rule.cell(bin: 0)] == 2 && labels[rule.cell(bin: 1)] == 4)
        // A forecast is from the present on: the watermark, for a customer who has not acted since.
        #expect(LandmarkPool.header(landmarks.last!).pointee.instant == epoch + 2 * day + 1)
    }

    @Test func duplicatesAndRefundsAreKnown() throws {
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 10, id: "1", order: "o")
        stream.add("b", .view, at: epoch + 10 * day)
        stream.add("a", .purchase, at: epoch, amount: 10, id: "1", order: "o")
        stream.add("a", .refund, at: epoch + day, amount: 4, id: "2", order: "o")
        stream.add("a", .userDeleted, at: epoch + day, id: "3")
        let engine = Engine.make(Self.accepting)
        engine.run(stream, 0..<4)
        let counters = engine.report(prequential: false).counters
        #expect(counters.duplicates == 1 && counters.accepted == 3 && counters.lateAccepted == 1)
        #expect(engine.slot("a")?.header.pointee.valueToDate == 6)
        engine.run(stream, 4..<5)
        #expect(engine.slot("a") == nil && engine.report(prequential: false).counters.erased == 1)
    }

    // MARK: What is too late

    /// What the first dead letter of an event says, if it is one.
    private static func explanation(_ c: EngineConfiguration, _ time: Int64) -> String? {
        let stream = TestStream()
        stream.add("b", .view, at: epoch + 20 * day)
        stream.add("a", .view, at: time)
        let engine = Engine.make(c)
        stream.events.withUnsafeBufferPointer { engine.step($0) }
        var text: String?
        engine.forEachOutput { if $0.kind == .deadLetter { text = c.explanation(of: $0) } }
        return text
    }

    @Test func whatIsTooLateSaysByHowMuch() {
        let watermark = epoch + 20 * day - 2 * hour
        var c = EngineConfiguration.small
        #expect(Self.explanation(c, watermark) == nil)
        #expect(
            Self.explanation(c, watermark - 70_500)
                == "field event_time: 70.5 s older than the watermark of its partition; time.allowedLatenessSeconds: "
                + "3671, which is 3600, or time.lateEvents: accept would have taken it")
        #expect(Self.explanation(c, watermark - 2 * hour)?.contains("2 h 0 min older") == true)
        #expect(Self.explanation(c, watermark - 3 * 60_000 - 4000)?.contains("3 min 4 s older") == true)
        c.time.allowedLatenessSeconds = 3671
        #expect(Self.explanation(c, watermark - 70_500) == nil, "as was said")
        c = Self.accepting
        c.time.lateEventDays = 10
        #expect(Self.explanation(c, watermark - 10 * day) == nil)
        #expect(
            Self.explanation(c, watermark - 10 * day - 1)
                == "field event_time: 10 d 0 h older than the watermark of its partition; time.lateEventDays: 11, "
                + "which is 10, would have taken it")
    }

    // MARK: Against the same in order

    @Test(arguments: [1, 2, 3] as [UInt64])
    func batchesThatComeDaysLateCountAsInOrder(seed: UInt64) throws {
        var random = RandomNumbers(seed: seed)
        var all: [(arrives: Int64, time: Int64, user: String, type: EventType, amount: Double)] = []
        for i in 0..<500 {
            let time = epoch + Int64(i) * 3 * hour + Int64(random.below(5000)) * 1000
            let late = random.below(3) == 0 ? Int64(random.below(5 * 24)) * hour : 0
            let type: EventType = [.purchase, .view, .view, .pageView, .addToCart, .view][random.below(6)]
            all.append((time + late, time, "u\(random.below(5))", type, type == .purchase ? Double(1 + i % 40) : 0))
        }
        func engine(_ order: [Int]) -> Engine {
            let stream = TestStream()
            for i in order {
                let e = all[i]
                stream.add(
                    e.user, e.type, at: e.time, amount: e.amount, order: e.type == .purchase ? "\(i)" : nil)
            }
            let engine = Engine.make(Self.accepting)
            engine.run(stream)
            return engine
        }
        let late = engine(all.indices.sorted { (all[$0].arrives, $0) < (all[$1].arrives, $1) })
        let inOrder = engine(Array(all.indices))
        #expect(late.report(prequential: false).counters.lateAccepted > 100)
        #expect(inOrder.report(prequential: false).counters.lateAccepted == 0)
        for u in 0..<5 {
            let (slot, other) = (try #require(late.slot("u\(u)")), try #require(inOrder.slot("u\(u)")))
            let (a, b) = (slot.header.pointee, other.header.pointee)
            #expect(a.purchases == b.purchases && a.valueToDate == b.valueToDate && a.events == b.events)
            #expect(a.views == b.views && a.browses == b.browses && a.carts == b.carts)
            #expect(a.firstSeen == b.firstSeen && a.firstPurchase == b.firstPurchase)
            #expect(a.lastPurchase == b.lastPurchase && a.lastEventMs == b.lastEventMs)
            #expect(abs(Int(a.purchaseDays) - Int(b.purchaseDays)) <= 1, "an order may be forgotten")
            #expect(a.daysActive <= b.daysActive)
            let now = a.lastEventMs + day
            for (x, y) in zip(
                try Self.windows(late, "u\(u)", at: now), try Self.windows(inOrder, "u\(u)", at: now))
            {
                #expect(x.counts.0 == y.counts.0 && x.counts.1 == y.counts.1 && x.counts.2 == y.counts.2)
                #expect(x.counts.4 == y.counts.4 && x.sum == y.sum)
            }
        }
    }

    // MARK: Determinism

    @Test(arguments: [1, 3])
    func cutsAndSnapshotsChangeNothing(partitions: Int) throws {
        var c = Self.accepting
        c.state.maxEventsPerDay = 2
        let stream = RandomStream(users: 30, events: 1300, days: 60, partitions: Int32(partitions)).make(seed: 41)
        let whole = Engine.make(c, partitions: partitions)
        let said = whole.run(stream, cut: .max)
        let counters = whole.report(prequential: false).counters
        #expect(counters.lateAccepted > 5 && counters.excessEvents > 5 && whole.report().learning.steps >= 5)
        #expect(
            counters.records == counters.accepted + counters.duplicates + counters.ignored + counters.tombstones
                + counters.erased + counters.deadLetters)
        for cut in [1, 13] {
            let engine = Engine.make(c, partitions: partitions, executor: ThreadedExecutor(threads: 2))
            #expect(firstDifferences(engine.run(stream, cut: cut), said) == [])
            #expect(try Written(engine).differences(from: Written(whole)) == [])
        }
        let first = Engine.make(c, partitions: partitions)
        let before = first.run(stream, 0..<700, cut: 64)
        let second = try Written(first).restored(c, partitions: partitions)
        let after = second.run(stream, 700..<stream.events.count, cut: 64)
        #expect(firstDifferences(before + after, said) == [])
        #expect(try Written(second).differences(from: Written(whole)) == [])
    }

    /// No landmark is made in the past, where its first bins might have matured.
    @Test func landmarksAreOfThePresent() {
        var c = Self.accepting
        c.learning.eventLandmarkShare = 1
        c.learning.landmarkIntervalDays = 100_000  // those of the grid are of hours that have passed
        let stream = RandomStream(users: 20, events: 600).make(seed: 42)
        let engine = Engine.make(c)
        var tail = Int64(1)
        for i in stream.events.indices {
            engine.run(stream, i..<(i + 1))
            let pool = engine.task.pool.image
            for s in max(tail, pool.head)..<max(tail, pool.tail) {
                let instant = LandmarkPool.header(engine.task.pool.at(s)).pointee.instant
                #expect(instant >= engine.task.watermark)
            }
            tail = pool.tail
        }
    }
}
