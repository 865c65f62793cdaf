import CEventParser
import Glibc
import Testing

@testable import Engine

/// What becomes of ids that turn out to be of one customer.
@Suite struct IdentityTests {
    /// Weights that stay what they are, so that states can be compared.
    static var still: EngineConfiguration {
        var c = EngineConfiguration.small
        c.learning.enabled = false
        return c
    }

    private static func engine(_ stream: TestStream, _ configuration: EngineConfiguration = still) -> (Engine, [Said]) {
        let engine = Engine.make(configuration)
        let said = engine.run(stream)
        return (engine, said)
    }

    // MARK: Brute force

    /// A stream of customers with two devices each, which are joined to them somewhere on the way, and the same stream as if
    /// all had been known from the start.
    static func streams(seed: UInt64, users: Int, events: Int) -> (told: TestStream, known: TestStream) {
        let stream = RandomStream(users: users, events: events, troubles: false).make(seed: seed)
        // Its events point into it.
        defer { withExtendedLifetime(stream) {} }
        let base = stream.events
        var random = RandomNumbers(seed: seed &+ 1)
        let (told, known) = (TestStream(), TestStream())
        var joined: Set<String> = []
        var device = 0
        for (i, e) in base.enumerated() {
            let user = String(decoding: UnsafeBufferPointer(start: e.user, count: Int(e.user_length)), as: UTF8.self)
            // Lines of an order come from one device.
            let continues = i > 0 && e.order_hash != 0 && e.order_hash == base[i - 1].order_hash
            if !continues { device = random.below(2) }
            let id = "anon-\(device)-\(user)"
            if !continues, !joined.contains(id), random.uniform() < 0.03 {
                joined.insert(id)
                told.add(user, .identify, at: e.time_ms, alias: id)
            }
            let isKnown = joined.contains(id) && random.uniform() < 0.5
            for (stream, name) in [(told, isKnown ? user : id), (known, user)] {
                stream.add(name, EventType(rawValue: e.type)!, at: e.time_ms, amount: e.amount)
                stream.copyHashes(of: e)
            }
        }
        for user in 0..<users {
            for device in 0..<2 {
                let name =
                    user % 7 == 0 ? "user-\(user)-with-a-name-that-is-longer-than-any-slot-can-hold" : "user-\(user)"
                told.add(name, .identify, at: base.last!.time_ms, alias: "anon-\(device)-\(name)")
            }
        }
        return (told, known)
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func joiningIsAsIfAllHadBeenKnown(seed: UInt64) throws {
        let users = 30
        let (told, known) = Self.streams(seed: seed, users: users, events: 2500)
        let (a, _) = Self.engine(told)
        let (b, _) = Self.engine(known)
        #expect(a.report().users == b.report().users && a.report().users == users)
        #expect(a.report().counters.joined > 40 && a.report().counters.accepted == b.report().counters.accepted)
        var overlaps = 0
        for i in 0..<UInt32(b.task.users.slotCount) {
            let expected = b.task.users.slot(i)
            let name = String(decoding: b.task.users.key(of: expected), as: UTF8.self)
            let found = try #require(a.slot(name))
            overlaps += try Self.expectEqual(found, expected, name, a, b)
        }
        #expect(a.task.ranks.count == UInt32(users))
        #expect(overlaps < users, "some of them have days that are counted once")
    }

    /// - Returns: 1 where days are counted twice.
    private static func expectEqual(
        _ found: UserSlot, _ expected: UserSlot, _ name: String, _ a: Engine, _ b: Engine
    ) throws -> Int {
        let (x, y) = (found.header.pointee, expected.header.pointee)
        #expect(abs(x.valueToDate - y.valueToDate) < 1e-6 && x.lastEventMs == y.lastEventMs, "\(name)")
        #expect([x.firstSeen, x.firstPurchase, x.lastPurchase] == [y.firstSeen, y.firstPurchase, y.lastPurchase])
        #expect([x.browses, x.views, x.carts, x.checkouts] == [y.browses, y.views, y.carts, y.checkouts])
        #expect([x.purchases, x.events, x.identity] == [y.purchases, y.events, y.identity], "\(name)")
        #expect([x.evictedTime, x.purchaseBeforeRing] == [y.evictedTime, y.purchaseBeforeRing], "\(name)")
        #expect(x.evictedCode & ~EventRing.sessionBit == y.evictedCode & ~EventRing.sessionBit)
        #expect(x.daysActive >= y.daysActive && x.purchaseDays >= y.purchaseDays)
        let (v, w) = (try #require(a.view(of: name)), try #require(b.view(of: name)))
        #expect(v.lastEvents.map(\.timeSeconds) == w.lastEvents.map(\.timeSeconds))
        #expect(v.lastEvents.map(\.type) == w.lastEvents.map(\.type), "\(name)")
        #expect(v.lastEvents.map(\.amount) == w.lastEvents.map(\.amount))
        for (s, t) in zip(v.windows, w.windows) {
            #expect(
                [s.browses, s.views, s.carts, s.checkouts, s.orders] == [
                    t.browses, t.views, t.carts, t.checkouts, t.orders,
                ])
            #expect(abs(s.spend - t.spend) < 0.01 + 1e-5 * abs(t.spend))
        }
        let (o, p) = (Orders(found, a.settings.userLayout), Orders(expected, b.settings.userLayout))
        // Of one day, which of two orders was first is not known.
        #expect(Set(o.all.map(\.day)) == Set(p.all.map(\.day)) && o.all.count == p.all.count, "\(name)")
        return x.daysActive == y.daysActive ? 0 : 1
    }

    /// As long as all events are among the latest 16, the recurrent state is that of one customer, to the bit.
    @Test func theStateIsSteppedAnew() throws {
        let (told, known) = Self.streams(seed: 9, users: 40, events: 240)
        let (a, _) = Self.engine(told)
        let (b, _) = Self.engine(known)
        var compared = 0
        for i in 0..<UInt32(b.task.users.slotCount) {
            let expected = b.task.users.slot(i)
            let name = String(decoding: b.task.users.key(of: expected), as: UTF8.self)
            let found = try #require(a.slot(name))
            let layout = a.settings.userLayout
            // Sessions are told by the pauses of each device.
            guard expected.header.pointee.events <= 16,
                EventRing(found, layout).codes == EventRing(expected, layout).codes
            else { continue }
            #expect(memcmp(found + layout.rolling, expected + layout.rolling, layout.stateBytes) == 0, "\(name)")
            #expect(found.header.pointee.daysActive == expected.header.pointee.daysActive)
            #expect(found.header.pointee.purchaseDays == expected.header.pointee.purchaseDays)
            compared += 1
        }
        #expect(compared > 10)
    }

    // MARK: Outputs

    /// One update of the customer with the figures of both, and a tombstone for the row of the guest.
    @Test func anIdentifySaysWhatCameOfIt() throws {
        let stream = TestStream()
        stream.add("anon", .purchase, at: epoch, amount: 70, id: "1", order: "A")
        stream.add("known", .purchase, at: epoch + hour, amount: 5, id: "2", order: "B")
        stream.add("known", .identify, at: epoch + 2 * hour, id: "3", alias: "anon")
        stream.add("known", .identify, at: epoch + 2 * hour, id: "4", alias: "anon")
        stream.add("anon", .purchase, at: epoch + 3 * hour, amount: 30, id: "5", order: "C")
        stream.add("anon", .userDeleted, at: epoch + 4 * hour, id: "6")
        let (engine, said) = Self.engine(stream)
        #expect(
            said.map { "\($0.record) \($0.kind) \($0.key)" } == [
                "0 update anon", "1 update known", "2 joined anon", "2 update known", "4 update known",
                "5 update known",
            ])
        #expect(said[2].value == "known" && said[5].value.isEmpty)
        let (joined, later) = (try said[3].json(), try said[4].json())
        #expect(joined["value_to_date"] as? Double == 75 && joined["orders"] as? Int == 2)
        #expect(later["value_to_date"] as? Double == 105 && later["user_id"] as? String == "known")
        #expect((later["source"] as? [String: Any])?["user_id"] as? String == "anon")
        #expect((joined["source"] as? [String: Any])?["user_id"] == nil)
        let c = engine.report().counters
        #expect(c.identifies == 2 && c.joined == 1 && c.accepted == 3 && c.erased == 1 && c.updates == 4)
        #expect(
            engine.report().users == 0 && engine.task.aliases.count == 0 && engine.task.aliases.nodes.userCount == 0)
    }

    /// An event with both ids joins them and has one update of its own.
    @Test func anEventWithBothIdsJoinsThem() throws {
        let stream = TestStream()
        stream.add("anon", .purchase, at: epoch, amount: 70, id: "1", order: "A")
        stream.add("known", .purchase, at: epoch + hour, amount: 30, id: "2", order: "B", alias: "anon")
        // The same once more is no further event.
        stream.add("known", .purchase, at: epoch + hour, amount: 30, id: "2", order: "B", alias: "anon")
        stream.add("known", .view, at: epoch - 30 * day, id: "3", alias: "other")
        let (engine, said) = Self.engine(stream)
        #expect(
            said.map { "\($0.record) \($0.kind) \($0.key)" } == [
                "0 update anon", "1 joined anon", "1 update known", "3 deadLetter ",
            ])
        #expect(try said[2].json()["value_to_date"] as? Double == 100)
        #expect(
            engine.report().counters.duplicates == 1 && engine.task.aliases.count == 1, "what is rejected joins nothing"
        )
    }

    /// Two customers never become one because both have used a device.
    @Test func aSharedDeviceFollowsWhoUsesIt() throws {
        let stream = TestStream()
        stream.add("device", .purchase, at: epoch, amount: 1, order: "A")
        stream.add("ann", .identify, at: epoch + hour, alias: "device")
        stream.add("device", .purchase, at: epoch + 2 * hour, amount: 2, order: "B")
        stream.add("bob", .identify, at: epoch + 3 * hour, alias: "device")
        stream.add("device", .purchase, at: epoch + 4 * hour, amount: 4, order: "C")
        // Not even when somebody sends a customer's id as the anonymous one.
        stream.add("eve", .identify, at: epoch + 5 * hour, alias: "bob")
        stream.add("bob", .purchase, at: epoch + 6 * hour, amount: 8, order: "D")
        let (engine, _) = Self.engine(stream)
        #expect(engine.view(of: "ann")?.valueToDate == 3 && engine.view(of: "bob")?.valueToDate == 12)
        #expect(engine.view(of: "device")?.user == "bob" && engine.view(of: "eve") == nil)
        #expect(engine.report().counters.aliasesRepointed == 1)
    }

    // MARK: Chains and cycles

    @Test(arguments: [false, true]) func chainsEndAtTheCustomer(isBackwards: Bool) throws {
        let stream = TestStream()
        for (i, user) in ["a", "b", "c", "u"].enumerated() {
            stream.add(user, .purchase, at: epoch + Int64(i), amount: Double(1 << i), order: user)
        }
        let joins = [("a", "b"), ("b", "c"), ("c", "u")]
        for (alias, user) in isBackwards ? joins.reversed() : joins {
            stream.add(user, .alias, at: epoch + hour, alias: alias)
        }
        for user in ["a", "b", "c", "u"] {
            stream.add(user, .purchase, at: epoch + 2 * hour, amount: 100, order: "2\(user)")
        }
        let (engine, said) = Self.engine(stream)
        #expect(engine.report().users == 1 && engine.view(of: "u")?.valueToDate == 415)
        #expect(engine.view(of: "a")?.orders == 8 && engine.task.aliases.count == 3)
        #expect(said.suffix(4).allSatisfy { $0.key == "u" })
    }

    /// The newest says who is whose.
    @Test func aCycleHasAnEnd() throws {
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 1, order: "A")
        stream.add("b", .purchase, at: epoch, amount: 2, order: "B")
        stream.add("b", .alias, at: epoch + hour, alias: "a")
        stream.add("a", .alias, at: epoch + 2 * hour, alias: "b")
        stream.add("b", .purchase, at: epoch + 3 * hour, amount: 4, order: "C")
        let (engine, said) = Self.engine(stream)
        #expect(engine.report().users == 1 && engine.view(of: "a")?.valueToDate == 7)
        #expect(said.last?.key == "a" && engine.task.aliases.count == 1)
        let again = TestStream()
        for (alias, user) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c"), ("b", "a"), ("a", "a2"), ("a2", "b")] {
            again.add(user, .alias, at: epoch, alias: alias)
            again.add(alias, .view, at: epoch)
        }
        let (cycles, _) = Self.engine(again)
        #expect(cycles.report().users == 1 && cycles.view(of: "a")?.events == 7)
    }

    // MARK: Leaving

    /// What an alias did before its customer was erased does not come back.
    @Test func anErasedCustomerTakesTheAliasesAlong() throws {
        let stream = TestStream()
        stream.add("anon", .purchase, at: epoch, amount: 1, order: "A")
        stream.add("known", .identify, at: epoch + hour, alias: "anon")
        stream.add("known", .userDeleted, at: epoch + 2 * hour)
        stream.add("anon", .purchase, at: epoch + 3 * hour, amount: 2, order: "B")
        stream.add("known", .identify, at: epoch + 4 * hour, alias: "anon")
        let (engine, _) = Self.engine(stream)
        #expect(engine.view(of: "known")?.valueToDate == 2 && engine.report().users == 1)
    }

    @Test func theOldestAliasesGo() throws {
        var table = AliasTable(capacity: 3, seed: 1)
        func id(_ text: StaticString) -> IDBytes { IDBytes(start: text.utf8Start, count: text.utf8CodeUnitCount) }
        for (alias, user) in [("a", "u"), ("b", "v"), ("c", "u")] as [(StaticString, StaticString)] {
            _ = table.join(id(alias), to: id(user), at: epoch, isExplicit: false)
        }
        #expect(table.join(id("a"), to: id("u"), at: epoch + 1, isExplicit: false) == .repeated)
        _ = table.join(id("d"), to: id("u"), at: epoch, isExplicit: false)
        var names: [String] = []
        table.forEachAlias(of: id("u")) { alias, _ in names.append(String(decoding: alias, as: UTF8.self)) }
        #expect(names.sorted() == ["a", "c", "d"] && table.count == 3 && table.dropped == 1)
        #expect(table.nodes.userCount == 4, "v has no alias any more")
        table.remove(alias: id("a"))
        table.remove(alias: id("c"))
        table.remove(alias: id("d"))
        #expect(table.count == 0 && table.nodes.userCount == 0)
    }

    /// Aliases go some time after their customer has gone for having done nothing.
    @Test func aliasesGoWithTheirCustomers() throws {
        var configuration = Self.still
        configuration.state.retentionDays = 30
        let stream = TestStream()
        stream.add("anon", .view, at: epoch)
        stream.add("known", .identify, at: epoch, alias: "anon")
        stream.add("other", .identify, at: epoch, alias: "never seen")
        for i in 0..<40 { stream.add("busy", .view, at: epoch + Int64(i) * day) }
        let (engine, _) = Self.engine(stream, configuration)
        #expect(engine.report().users == 1 && engine.task.aliases.nodes.userCount == 0)
        #expect(engine.report().counters.aliasesWithoutState == 1)
    }

    // MARK: Same bits

    /// Cut anywhere, restored anywhere.
    @Test func cutsAndSnapshotsChangeNothing() throws {
        let (stream, _) = Self.streams(seed: 5, users: 20, events: 1200)
        for user in 0..<6 {
            stream.add("user-\(user)", .userDeleted, at: stream.events.last!.time_ms + 1)
            stream.add("anon-0-user-\(user)", .view, at: stream.events.last!.time_ms + 1)
        }
        let whole = Engine.make()
        let said = whole.run(stream)
        let end = try Written(whole)
        for cut in [1, 7, 100] {
            let engine = Engine.make()
            #expect(engine.run(stream, cut: cut) == said)
            #expect(try Written(engine).differences(from: end) == [])
        }
        for at in [300, 700, stream.events.count - 5] {
            let first = Engine.make()
            let before = first.run(stream, 0..<at)
            let second = try Written(first).restored()
            #expect(before + second.run(stream, at..<stream.events.count) == said)
            #expect(try Written(second).differences(from: end) == [])
        }
    }
}

extension TestStream {
    /// Gives the newest event order, category and session of another.
    func copyHashes(of e: clvd_event) {
        amend {
            $0.order_hash = e.order_hash; $0.category_hash = e.category_hash; $0.session_hash = e.session_hash
        }
    }
}

extension EventRing {
    fileprivate var codes: [UInt16] { (0..<EventRing.capacity).map { code[$0] } }
}

extension Orders {
    fileprivate var all: [(id: UInt32, day: UInt16)] {
        (0..<Orders.capacity).filter { id[$0] != 0 }.map { (id[$0], day[$0]) }
    }
}
