import CEventParser
import CHash
import Testing

@testable import Engine

/// A topic of events in memory: what partitions tell each other comes to the end of the partition that it is for.
private final class EventsTopic {
    let engine: Engine
    let partitions: Int
    private var queues: [[clvd_event]]
    private var taken: [Int]
    private var memory: [UnsafeMutableBufferPointer<UInt8>] = []
    private(set) var said: [Said] = []
    private(set) var sent: [(message: IdentityMessage, key: [UInt8])] = []

    init(_ engine: Engine, partitions: Int) {
        (self.engine, self.partitions) = (engine, partitions)
        queues = Array(repeating: [], count: partitions)
        taken = Array(repeating: 0, count: partitions)
    }

    deinit { for m in memory { m.deallocate() } }

    private func keep(_ bytes: some Collection<UInt8>) -> UnsafeBufferPointer<UInt8> {
        let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, bytes.count))
        _ = copy.initialize(from: bytes)
        memory.append(copy)
        return UnsafeBufferPointer(rebasing: copy[..<bytes.count])
    }

    func partition(of key: some Collection<UInt8>) -> Int {
        Int(Array(key).withUnsafeBufferPointer { clvd_hash($0.baseAddress!, $0.count) } % UInt64(partitions))
    }

    func append(_ e: clvd_event, key: UnsafeBufferPointer<UInt8>) {
        var e = e
        let p = partition(of: key)
        (e.partition, e.offset) = (Int32(p), Int64(queues[p].count))
        queues[p].append(e)
    }

    func append(_ message: IdentityMessage, key: UnsafeBufferPointer<UInt8>) {
        var e = clvd_event()
        let (user, bytes) = (keep(key), keep(message.bytes))
        e.status = UInt8(clvd_status_message.rawValue)
        (e.user, e.user_length) = (user.baseAddress, UInt32(user.count))
        (e.alias, e.alias_length) = (bytes.baseAddress, UInt32(bytes.count))
        append(e, key: user)
    }

    /// What the first stage makes of an event.
    func route(_ e: clvd_event) {
        append(e, key: UnsafeBufferPointer(start: e.user, count: Int(e.user_length)))
        guard let alias = e.alias else { return }
        var message = IdentityMessage(kind: .alias)
        (message.time, message.isExplicit) = (e.time_ms, e.type == EventType.alias.rawValue)
        message.ids = [Array(UnsafeBufferPointer(start: e.user, count: Int(e.user_length)))]
        append(message, key: UnsafeBufferPointer(start: alias, count: Int(e.alias_length)))
    }

    /// Takes up to `count` records of a partition.
    func take(_ p: Int, _ count: Int) {
        let batch = Array(queues[p][taken[p]...].prefix(count))
        guard !batch.isEmpty else { return }
        taken[p] += batch.count
        batch.withUnsafeBufferPointer { engine.step($0) }
        var out: [(clvd_event?, IdentityMessage?, UnsafeBufferPointer<UInt8>)] = []
        engine.forEachOutput { entry in
            switch entry.kind {
            case .forward:
                var e = batch[Int(entry.record)]
                let key = keep(entry.key)
                e.flags |= UInt8(clvd_flag_passed_on.rawValue)
                e.hops += 1
                (e.alias, e.alias_length) = (key.baseAddress, UInt32(key.count))
                out.append((e, nil, key))
            case .message: out.append((nil, IdentityMessage(entry.value), keep(entry.key)))
            default:
                said.append(
                    Said(
                        kind: entry.kind, reason: entry.reason, record: 0,
                        key: String(decoding: entry.key, as: UTF8.self),
                        value: String(decoding: entry.value, as: UTF8.self)))
            }
        }
        for (event, message, key) in out {
            if let event { append(event, key: key) }
            guard let message else { continue }
            sent.append((message, Array(key)))
            append(message, key: key)
        }
    }

    /// Takes all there is, a few records at a time of partitions by chance.
    func drain(_ random: inout RandomNumbers, most: Int = 40) {
        while case let open = (0..<partitions).filter({ taken[$0] < queues[$0].count }), !open.isEmpty {
            take(open[random.below(open.count)], 1 + random.below(most))
        }
    }
}

@Suite struct HandoverTests {
    private static func engine(_ partitions: Int, learning: Bool = false) -> Engine {
        var c = EngineConfiguration.small
        c.learning.enabled = learning
        let engine = Engine(
            configuration: c, topics: ["events"], partitions: partitions, joinsByTopic: true, executor: SerialExecutor()
        )
        for p in 0..<partitions { engine.addTask(TaskID(topic: 0, partition: Int32(p))) }
        return engine
    }

    /// Totals, orders and windows of a customer.
    private struct Figures: Equatable, CustomStringConvertible {
        var counts: [UInt32]
        var money: Int64
        var windows: [[UInt32]]
        var spend: [Int64]
        var description: String { "\(counts) \(money) \(windows) \(spend)" }
    }

    private static func figures(_ engine: Engine, at time: Int64) -> [String: Figures] {
        var all: [String: Figures] = [:]
        for task in engine.ordered {
            for i in 0..<UInt32(task.users.slotCount) {
                let slot = task.users.slot(i)
                let h = slot.header.pointee
                guard h.flags & UserHeader.inUse != 0 else { continue }
                var sums = [PaneSums](repeating: PaneSums(), count: Panes.windows)
                Panes(slot + engine.settings.userLayout.panes).windows(
                    clock: h.paneClock, at: Panes.index(time), into: &sums)
                let name = String(decoding: task.users.key(of: slot), as: UTF8.self)
                #expect(all[name] == nil, "\(name) is in two partitions")
                all[name] = Figures(
                    counts: [
                        h.browses, h.views, h.carts, h.checkouts, h.purchases, h.events, h.firstSeen, h.firstPurchase,
                        h.lastPurchase, UInt32(h.lastEventMs / 1000),
                    ],
                    money: Int64((h.valueToDate * 100).rounded()),
                    windows: sums.map { [$0.counts.0, $0.counts.1, $0.counts.2, $0.counts.3, $0.counts.4] },
                    spend: sums.map { Int64(($0.sum).rounded()) })
            }
            #expect(task.ranks.count == UInt32(task.users.userCount))
        }
        return all
    }

    /// However far the partitions are apart, every customer ends with what one partition has that knew all from the start.
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64], [1, 4])
    func partitionsComeToTheSame(seed: UInt64, partitions: Int) throws {
        let (told, known) = IdentityTests.streams(seed: seed, users: 25, events: 1500)
        let expected = Engine.make(IdentityTests.still)
        expected.run(known)
        let end = try #require(known.events.last).time_ms
        var random = RandomNumbers(seed: seed)
        let topic = EventsTopic(Self.engine(partitions), partitions: partitions)
        for (i, e) in told.events.enumerated() {
            topic.route(e)
            // Sometimes all is taken at once, sometimes much waits.
            if i % 400 == 399 { topic.drain(&random) }
        }
        topic.drain(&random)
        let found = Self.figures(topic.engine, at: end)
        let wanted = Self.figures(expected, at: end)
        #expect(Set(found.keys) == Set(wanted.keys))
        for (name, figures) in wanted { #expect(found[name] == figures, "\(name)") }
        let c = topic.engine.report().counters
        #expect(c.accepted == Int64(known.events.count) && c.deadLetters == 0 && c.messagesRefused == 0)
        let sum = c.accepted + c.duplicates + c.ignored + c.tombstones + c.erased + c.identifies + c.forwarded
        #expect(sum + c.messages + c.deadLetters == c.records)
        #expect(c.joined == c.adopted && c.joined > 20 && c.forwarded > 50)
    }

    /// Two ids that are said to be each other's end as one, whatever comes first.
    @Test(arguments: 0..<20 as Range<UInt64>) func circlesEnd(seed: UInt64) throws {
        var random = RandomNumbers(seed: seed)
        let stream = TestStream()
        let names = ["a", "b", "c", "d"]
        for i in 0..<60 {
            let (x, y) = (names[random.below(4)], names[random.below(4)])
            if x != y, random.uniform() < 0.3 {
                stream.add(x, .alias, at: epoch + Int64(i), alias: y)
            } else {
                stream.add(x, .purchase, at: epoch + Int64(i), amount: 1, order: "o\(i)")
            }
        }
        let topic = EventsTopic(Self.engine(4), partitions: 4)
        for e in stream.events {
            topic.route(e)
            if random.uniform() < 0.2 { topic.drain(&random) }
        }
        topic.drain(&random)
        let found = Self.figures(topic.engine, at: epoch + 100)
        let bought = stream.events.count { $0.type == EventType.purchase.rawValue }
        #expect(found.values.reduce(0) { $0 + $1.money } == Int64(100 * bought), "\(found)")
        #expect(topic.engine.report().counters.deadLetters == 0)
    }

    /// Of an erased customer nothing comes back, also not what was on its way.
    @Test(arguments: 0..<10 as Range<UInt64>) func nothingOfAnErasedCustomerComesBack(seed: UInt64) throws {
        var random = RandomNumbers(seed: seed)
        let topic = EventsTopic(Self.engine(4), partitions: 4)
        let stream = TestStream()
        for i in 0..<8 { stream.add("device-\(i)", .purchase, at: epoch + Int64(i), amount: 1, order: "o\(i)") }
        for i in 0..<8 { stream.add("ann", .identify, at: epoch + hour, alias: "device-\(i)") }
        stream.add("ann", .userDeleted, at: epoch + 2 * hour)
        for e in stream.events { topic.route(e) }
        // The partition of the customer is first: the erasure overtakes what was held of the devices.
        let first = topic.partition(of: Array("ann".utf8))
        if seed % 2 == 0 { topic.take(first, 1000) }
        topic.drain(&random)
        #expect(Self.figures(topic.engine, at: epoch + 3 * hour).isEmpty)
        #expect(topic.engine.ordered.allSatisfy { $0.aliases.count == 0 && $0.aliases.nodes.userCount == 0 })
        // Whoever uses the devices now is nobody known, and may become a customer again.
        let later = TestStream()
        for i in 0..<8 { later.add("device-\(i)", .purchase, at: epoch + 3 * hour, amount: 2, order: "p\(i)") }
        for e in later.events { topic.route(e) }
        topic.drain(&random)
        #expect(Self.figures(topic.engine, at: epoch + 3 * hour).count == 8)
        let again = TestStream()
        for i in 0..<4 { again.add("ann", .identify, at: epoch + 4 * hour, alias: "device-\(i)") }
        for e in again.events { topic.route(e) }
        topic.drain(&random)
        let figures = Self.figures(topic.engine, at: epoch + 4 * hour)
        #expect(figures.count == 5 && figures["ann"]?.money == 800)
    }

    /// Messages that come again, are damaged or are of another layout change nothing.
    @Test func messagesAreNotTrusted() throws {
        var message = IdentityMessage(kind: .adopt)
        (message.time, message.ids, message.slot) = (epoch, [Array("anon".utf8)], [1, 2, 3])
        let bytes = message.bytes
        #expect(bytes.withUnsafeBufferPointer { IdentityMessage($0) } == message)
        for i in bytes.indices {
            var damaged = bytes
            damaged[i] ^= 0x40
            #expect(damaged.withUnsafeBufferPointer { IdentityMessage($0) } == nil)
            #expect(bytes[..<i].withUnsafeBufferPointer { IdentityMessage($0) } == nil)
        }
        let topic = EventsTopic(Self.engine(1), partitions: 1)
        var random = RandomNumbers(seed: 1)
        Array("known".utf8).withUnsafeBufferPointer { topic.append(message, key: $0) }
        topic.drain(&random)
        let c = topic.engine.report().counters
        #expect(c.messages == 1 && c.messagesRefused == 1 && topic.engine.report().users == 0)
    }

    /// At least once: an adoption that comes again adds nothing.
    @Test func anAdoptionThatComesAgainAddsNothing() throws {
        let stream = TestStream()
        stream.add("anon", .purchase, at: epoch, amount: 7, order: "A")
        stream.add("known", .identify, at: epoch + 1, alias: "anon")
        let topic = EventsTopic(Self.engine(4), partitions: 4)
        for e in stream.events { topic.route(e) }
        var random = RandomNumbers(seed: 2)
        topic.drain(&random)
        let before = Self.figures(topic.engine, at: epoch)
        let adoption = try #require(topic.sent.first { $0.message.kind == .adopt })
        adoption.key.withUnsafeBufferPointer { topic.append(adoption.message, key: $0) }
        topic.drain(&random)
        #expect(Self.figures(topic.engine, at: epoch) == before && before["known"]?.money == 700)
        #expect(topic.engine.report().counters.messagesRepeated == 1)
    }
}
