import Testing

@testable import Engine

/// The ring of landmarks, and the chains of its users through it, against plain lists.
@Suite struct LandmarkPoolTests {
    private static let user = UserLayout(units: 16, hasCell: false)
    private static let layout = LandmarkLayout(user: user, features: 64, cells: 4)

    struct Held: Equatable {
        var user: UInt32
        var instant: Int64
    }

    /// What the pool holds, in order; nil for landmarks of users who left.
    private static func held(_ pool: borrowing LandmarkPool) -> [Held?] {
        var all: [Held?] = []
        for sequence in pool.head..<pool.tail {
            let h = LandmarkPool.header(pool.at(sequence)).pointee
            #expect(h.sequence == sequence)
            all.append(h.user == UserTable.none ? nil : Held(user: h.user, instant: h.instant))
            // A mark of the owner travels with the landmark.
            if h.user != UserTable.none {
                #expect(
                    pool.at(sequence).at(layout.labels, as: Float.self)[0] == Float(h.user) + Float(h.instant % 977))
            }
        }
        return all
    }

    private static func checkChains(_ pool: borrowing LandmarkPool, _ users: borrowing UserTable, _ slots: [UInt32]) {
        let held = held(pool)
        for slot in slots {
            var chain: [Int64] = []
            pool.forEachOpen(of: slot, newest: users.slot(slot).header.pointee.landmark, at: .min) {
                chain.append(LandmarkPool.header($0).pointee.instant)
            }
            let expected = held.compactMap { $0?.user == slot ? $0?.instant : nil }
            #expect(firstDifferences(chain, expected.reversed()) == [])
        }
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func chainsThroughThinningAndLeaving(seed: UInt64) throws {
        var random = RandomNumbers(seed: seed)
        var users = UserTable(layout: Self.user, seed: 1)
        var slots: [UInt32] = []
        for i in 0..<12 { slots.append(users.insert([UInt8(i)], 1, hash: users.hash([UInt8(i)], 1))) }
        var pool = LandmarkPool(layout: Self.layout, capacity: 100, binEnds: [7 * day, 60 * day])
        var now = epoch
        var (thinned, appended) = (0, 0)
        var faults = FirstFaults()
        var all: [Held] = []
        for step in 0..<4000 {
            // Dense at first, so that all are open when the ring is full; then sparse.
            now += Int64(random.uniform() * (step < 2000 ? 0.2 : 3) * Double(day))
            let slot = slots[random.below(slots.count)]
            let priority = UInt32(truncatingIfNeeded: random.next())
            if pool.admits(priority) {
                let before = pool.threshold
                if let place = pool.append(user: slot, instant: now, priority: priority, users: users) {
                    place.at(Self.layout.labels, as: Float.self)[0] = Float(slot) + Float(now % 977)
                    all.append(Held(user: slot, instant: now))
                    appended += 1
                }
                if pool.threshold < before { thinned += 1 }
            }
            #expect(pool.count <= 100)
            if step % 50 == 0 {
                for bin in 0..<2 {
                    let from = pool.frontier[bin]
                    var seen: [Int64] = []
                    pool.mature(bin: bin, watermark: now) { seen.append(LandmarkPool.header($0).pointee.sequence) }
                    #expect(seen == Array(from..<pool.frontier[bin]))
                }
                #expect(pool.frontier[1] <= pool.frontier[0] && pool.frontier[1] >= pool.head)
                for sequence in pool.head..<pool.tail {
                    let instant = LandmarkPool.header(pool.at(sequence)).pointee.instant
                    for (bin, end) in pool.binEnds.enumerated() {
                        faults.expect(
                            (sequence < pool.frontier[bin]) == (instant + end < now),
                            "step \(step): landmark \(sequence), bin \(bin), frontier \(pool.frontier[bin])")
                    }
                }
            }
            if random.uniform() < 0.01 {
                pool.forget(user: slot, newest: users.slot(slot).header.pointee.landmark)
                users.slot(slot).header.pointee.landmark = 0
                all.removeAll { $0.user == slot }
            }
            if step % 101 == 0 { Self.checkChains(pool, users, slots) }
        }
        Self.checkChains(pool, users, slots)
        #expect(faults.found == [])
        #expect(thinned >= 2 && appended > 500)
        // What is held is a part of what was appended, in its order.
        var rest = all[...]
        for landmark in Self.held(pool).compactMap({ $0 }) {
            let at = rest.firstIndex(of: landmark)
            #expect(at != nil)
            if let at { rest = rest[(at + 1)...] }
        }

        // The image: the same ring again.
        let bytes = pool.regions.flatMap { Array($0) }
        try bytes.withUnsafeBytes { bytes in
            let again = try LandmarkPool(
                layout: Self.layout, most: 100, binEnds: pool.binEnds, image: pool.image, bytes: bytes)
            #expect(again.image == pool.image)
            #expect(throws: SnapshotMismatch.self) {
                _ = try LandmarkPool(
                    layout: Self.layout, most: 99, binEnds: pool.binEnds, image: pool.image, bytes: bytes)
            }
            #expect(firstDifferences(Self.held(again), Self.held(pool)) == [])
            Self.checkChains(again, users, slots)
        }
    }

    /// Thinning keeps a uniform sample: what stays is what has the lowest hashes, whenever it came.
    @Test func thinningKeepsTheLowestPriorities() {
        var random = RandomNumbers(seed: 9)
        var users = UserTable(layout: Self.user, seed: 1)
        let slot = users.insert([1], 1, hash: users.hash([1], 1))
        var pool = LandmarkPool(layout: Self.layout, capacity: 400, binEnds: [day, 1000 * day])
        var offered: [(instant: Int64, priority: UInt32)] = []
        for i in 0..<5000 {
            let (instant, priority) = (epoch + Int64(i) * hour, UInt32(truncatingIfNeeded: random.next()))
            offered.append((instant, priority))
            guard pool.admits(priority) else { continue }
            _ = pool.append(user: slot, instant: instant, priority: priority, users: users)
        }
        #expect(pool.threshold < 1 << 30)
        var instants: [Int64] = []
        for sequence in pool.head..<pool.tail {
            instants.append(LandmarkPool.header(pool.at(sequence)).pointee.instant)
        }
        let threshold = pool.threshold
        #expect(firstDifferences(instants, offered.filter { UInt64($0.priority) < threshold }.map(\.instant)) == [])
        #expect(instants.count > 150)
    }

    /// The frontiers mark the same landmarks after thinning as before.
    @Test func frontiersSurviveThinning() {
        var random = RandomNumbers(seed: 10)
        var users = UserTable(layout: Self.user, seed: 1)
        let slot = users.insert([1], 1, hash: users.hash([1], 1))
        var pool = LandmarkPool(layout: Self.layout, capacity: 64, binEnds: [day, 1000 * day])
        for i in 0..<64 {
            _ = pool.append(
                user: slot, instant: epoch + Int64(i) * hour, priority: UInt32(truncatingIfNeeded: random.next()),
                users: users)
        }
        pool.mature(bin: 0, watermark: epoch + day + 30 * hour) { _ in }
        #expect(pool.frontier[0] == 1 + 30)
        pool.standardised = 41
        _ = pool.append(user: slot, instant: epoch + 64 * hour, priority: 1, users: users)
        #expect(pool.count < 64)
        #expect(pool.threshold == 1 << 31, "once is enough: half of all priorities go")
        for sequence in pool.head..<pool.tail {
            let i = (LandmarkPool.header(pool.at(sequence)).pointee.instant - epoch) / hour
            #expect((sequence < pool.frontier[0]) == (i < 30))
            #expect((sequence < pool.standardised) == (i < 40))
            #expect(sequence >= pool.frontier[1])
        }
    }

    /// The threshold falls while open landmarks fill the ring. It doubles once a turn of the ring when what is held
    /// reaches further back than four times the longest horizon, and never beyond all.
    @Test func theThresholdRisesAgain() {
        var random = RandomNumbers(seed: 11)
        var users = UserTable(layout: Self.user, seed: 1)
        let slot = users.insert([1], 1, hash: users.hash([1], 1))
        var pool = LandmarkPool(layout: Self.layout, capacity: 64, binEnds: [day / 2, day])
        var now = epoch
        for _ in 0..<500 {
            now += 60_000
            Self.offer(&pool, users, slot, at: now, priority: UInt32(truncatingIfNeeded: random.next()))
        }
        // 500 candidates for 64 places within a day: thinned to an eighth, or to a sixteenth.
        let low = pool.threshold
        #expect(low == 1 << 29 || low == 1 << 28)
        // All have matured; with 64 landmarks 48 minutes apart they reach back less than four days.
        now += day + hour
        for _ in 0..<300 {
            now += day / 30
            Self.offer(&pool, users, slot, at: now, priority: 0)
        }
        #expect(pool.threshold == low)
        // Ten hours apart they reach back 26 days.
        for _ in 0..<64 {
            now += 10 * hour
            Self.offer(&pool, users, slot, at: now, priority: 0)
        }
        var turns = 0
        let before = pool.threshold
        #expect(before == low || before == 2 * low)
        var faults = FirstFaults()
        for _ in 0..<64 * 6 {
            if pool.count == 64 && pool.head % 64 == 0 { turns += 1 }
            now += 10 * hour
            Self.offer(&pool, users, slot, at: now, priority: 0)
            faults.expect(
                pool.threshold == min(1 << 32, before << UInt64(turns)), "\(pool.threshold) after \(turns) turns")
        }
        #expect(faults.found == [])
        #expect(turns == 6 && pool.threshold == 1 << 32)
    }

    private static func offer(
        _ pool: inout LandmarkPool, _ users: borrowing UserTable, _ slot: UInt32, at now: Int64, priority: UInt32
    ) {
        for bin in 0..<2 { pool.mature(bin: bin, watermark: now) { _ in } }
        guard pool.admits(priority) else { return }
        _ = pool.append(user: slot, instant: now, priority: priority, users: users)
    }

    /// Landmarks of who has left make room first: a thinned ring holds none of them.
    @Test func landmarksOfTheDepartedGo() {
        var random = RandomNumbers(seed: 12)
        var users = UserTable(layout: Self.user, seed: 1)
        let slots = (0..<2).map { users.insert([UInt8($0)], 1, hash: users.hash([UInt8($0)], 1)) }
        var pool = LandmarkPool(layout: Self.layout, capacity: 64, binEnds: [day, 1000 * day])
        for i in 0..<64 {
            _ = pool.append(
                user: slots[i % 2], instant: epoch + Int64(i) * hour,
                priority: UInt32(truncatingIfNeeded: random.next()), users: users)
        }
        pool.forget(user: slots[1], newest: users.slot(slots[1]).header.pointee.landmark)
        users.remove(slots[1])
        var departed = 0
        for sequence in pool.head..<pool.tail {
            let landmark = pool.at(sequence)
            guard LandmarkPool.header(landmark).pointee.user == UserTable.none else { continue }
            departed += 1
            #expect(landmark.at(Self.layout.events, as: UInt8.self)[0] == 0)
        }
        #expect(departed == 32)
        // Another customer takes the slot; what was held of the first is not taken for the newcomer's.
        let next = users.insert([9], 1, hash: users.hash([9], 1))
        #expect(next == slots[1])
        _ = pool.append(user: next, instant: epoch + 64 * hour, priority: 0, users: users)
        var chain = 0
        pool.forEachOpen(of: next, newest: users.slot(next).header.pointee.landmark, at: .min) { _ in chain += 1 }
        #expect(chain == 1)
        for held in Self.users(pool) { #expect(held == slots[0] || held == next) }
    }

    private static func users(_ pool: borrowing LandmarkPool) -> [UInt32] {
        var all: [UInt32] = []
        for sequence in pool.head..<pool.tail { all.append(LandmarkPool.header(pool.at(sequence)).pointee.user) }
        return all
    }
}
