import Testing

@testable import Engine

/// The user table against a dictionary.
@Suite struct UserTableTests {
    private static let layout = UserLayout(units: 16, hasCell: true)

    private static func key(_ i: Int) -> [UInt8] {
        // Short, exactly what a slot holds, one more, and long.
        let length = [5, UserLayout.keyBytes, UserLayout.keyBytes + 1, 200][i % 4]
        let name = Array("\(i)-".utf8)
        return (0..<max(length, name.count)).map { $0 < name.count ? name[$0] : UInt8(97 + (i + $0) % 26) }
    }

    private static func find(_ table: borrowing UserTable, _ key: [UInt8]) -> UInt32 {
        table.find(key, key.count, hash: table.hash(key, key.count))
    }

    private static func check(_ table: borrowing UserTable, _ oracle: [Int: UInt32], keys: Int) {
        #expect(table.userCount == oracle.count)
        var faults = FirstFaults()
        for i in 0..<keys {
            let found = find(table, key(i))
            faults.expect(found == oracle[i] ?? UserTable.none, "key \(i): found in \(found)")
            guard found != UserTable.none else { continue }
            let slot = table.slot(found)
            faults.expect(Array(table.key(of: slot)) == key(i), "key \(i): another key in its slot")
            // What was written into the slot is still there: slots never move while their user lives.
            let mark = slot.at(layout.boundary + layout.stateBytes - 1, as: UInt8.self)[0]
            faults.expect(
                slot.header.pointee.events == UInt32(i) && mark == UInt8(i & 255), "key \(i): its slot has changed")
        }
        #expect(faults.found == [])
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func insertRemoveFind(seed: UInt64) throws {
        var random = RandomNumbers(seed: seed)
        var table = UserTable(layout: Self.layout, seed: seed)
        var oracle: [Int: UInt32] = [:]
        let keys = 900
        for step in 0..<6000 {
            let i = random.below(keys)
            // Waves: the table fills, empties, fills again.
            let insert = random.uniform() < (step / 1500 % 2 == 0 ? 0.8 : 0.25)
            let key = Self.key(i)
            if insert, oracle[i] == nil {
                let slot = table.insert(key, key.count, hash: table.hash(key, key.count))
                let h = table.slot(slot).header
                #expect(h.pointee.events == 0 && h.pointee.flags == UserHeader.inUse && h.pointee.landmark == 0)
                h.pointee.events = UInt32(i)
                table.slot(slot).at(Self.layout.boundary + Self.layout.stateBytes - 1, as: UInt8.self)[0] = UInt8(
                    i & 255)
                #expect(!oracle.values.contains(slot), "the slot of a living user")
                oracle[i] = slot
            } else if !insert, let slot = oracle.removeValue(forKey: i) {
                table.remove(slot)
                #expect((0..<Self.layout.size).allSatisfy { table.slot(slot).at($0, as: UInt8.self)[0] == 0 })
            }
            if step % 997 == 0 { Self.check(table, oracle, keys: keys) }
        }
        Self.check(table, oracle, keys: keys)
        // Removed long keys leave no bytes behind, and not much room.
        let long = oracle.keys.filter { $0 % 4 > 1 }.reduce(0) { $0 + Self.key($1).count }
        #expect(table.longKeyBytes.count <= max(2 * long, long + 4096) + 200)
        #expect(table.longKeyBytes.count { $0 != 0 } == long)

        let bytes = Array(table.slotBytes)
        let longKeys = Array(table.longKeyBytes)
        try bytes.withUnsafeBytes { slots in
            try longKeys.withUnsafeBytes { long in
                var again = try UserTable(
                    layout: Self.layout, image: table.image, slots: slots, longKeys: long, former: table.former.bytes)
                Self.check(again, oracle, keys: keys)
                #expect(again.image == table.image)
                // The free slots are taken in the same order.
                let key = Self.key(keys + 2)
                let a = again.insert(key, key.count, hash: again.hash(key, key.count))
                #expect(a == table.insert(key, key.count, hash: table.hash(key, key.count)))
            }
        }
    }

    /// Long keys come and go while the table grows: a key lies still while others are looked up, and what is read
    /// through its address is the key.
    @Test func longKeysUnderChurn() {
        var random = RandomNumbers(seed: 6)
        var table = UserTable(layout: Self.layout, seed: 6)
        func long(_ i: Int) -> [UInt8] {
            Array("\(i)/".utf8) + [UInt8](repeating: UInt8(65 + i % 26), count: 40 + i % 300)
        }
        var living: [Int: UInt32] = [:]
        var largest = 0
        for i in 0..<3000 {
            living[i] = table.insert(long(i), long(i).count, hash: table.hash(long(i), long(i).count))
            // Up to 600 users, then about 40.
            while living.count > (i % 1000 < 600 ? 600 : 40) {
                let leaving = living.keys.sorted()[random.below(living.count)]
                table.remove(living.removeValue(forKey: leaving)!)
            }
            largest = max(largest, table.longKeyBytes.count)
            guard i % 37 == 0, living[i] != nil else { continue }
            let key = table.key(of: table.slot(living[i]!))
            var faults = FirstFaults()
            for (other, slot) in living {
                let found = Self.find(table, long(other))
                faults.expect(found == slot, "user \(other) in \(found), not in \(slot)")
            }
            #expect(faults.found == [], "after \(i)")
            #expect(Array(key) == long(i) && key.baseAddress == table.key(of: table.slot(living[i]!)).baseAddress)
        }
        #expect(table.longKeyBytes.count < largest / 3)
    }

    /// Every key in one place of the index: probing, growing and closing the gaps still find each.
    @Test func collisions() {
        var table = UserTable(layout: Self.layout, seed: 0)
        var slots: [UInt32] = []
        for i in 0..<60 { slots.append(table.insert(Self.key(i), Self.key(i).count, hash: 42)) }
        for i in 0..<60 { #expect(table.find(Self.key(i), Self.key(i).count, hash: 42) == slots[i]) }
        #expect(table.find(Self.key(60), Self.key(60).count, hash: 42) == UserTable.none)
    }

    /// The budget of memory: a kibibyte a user, and an eighth of that for a former customer with all that finds both.
    @Test func aUserOfTheDefaultModelFitsAKibibyte() {
        let model = EngineConfiguration().model
        let layout = UserLayout(units: model.units, hasCell: model.recurrent == .lstm)
        #expect(layout.size <= 1024, "\(layout.size)")
        // As many records of former customers as users, and indexes of both: 8 and 4 bytes an entry, at least 57 % and 37 %
        // full.
        let record = MemoryLayout<FormerCustomer>.stride
        #expect(record == 56 && Double(record) + 8 / 0.57 + 4 / 0.37 <= 128)
        #expect(layout.size % 8 == 0)
    }

    // MARK: Eviction

    @Test func idleUsersLeave() throws {
        var configuration = EngineConfiguration.small
        configuration.state.retentionDays = 5
        configuration.learning.eventLandmarkShare = 1
        let stream = TestStream()
        stream.add("idle", .purchase, at: epoch, amount: 5)
        for i in 0..<30 { stream.add("busy", .view, at: epoch + Int64(i) * 12 * hour) }
        let engine = Engine.make(configuration)
        engine.run(stream, 0..<10)
        #expect(engine.slot("idle") != nil)
        engine.run(stream, 10..<31)
        #expect(engine.slot("idle") == nil && engine.slot("busy") != nil)
        let report = engine.report(prequential: false)
        #expect(report.counters.evictedIdle == 1 && report.users == 1)
        // A user who comes back goes on from what was kept.
        stream.add("idle", .view, at: epoch + 16 * day)
        let said = engine.run(stream, 31..<32)
        #expect(try said.last?.json()["value_to_date"] as? Double == 5)
    }

    @Test func theCapHolds() throws {
        var configuration = EngineConfiguration.small
        configuration.state.maxUsers = 1024
        configuration.learning.enabled = false
        let stream = TestStream()
        for i in 0..<3000 { stream.add("user-\(i)", .view, at: epoch + Int64(i) * 1000) }
        let engine = Engine.make(configuration)
        engine.run(stream)
        let report = engine.report(prequential: false)
        #expect(report.users == 1024 && report.counters.evictedByCap == 3000 - 1024)
        // Those idle longest went first, up to the sample they are chosen from.
        #expect((2900..<3000).allSatisfy { engine.slot("user-\($0)") != nil })
        #expect((0..<500).count { engine.slot("user-\($0)") != nil } < 60)
        #expect(engine.task.users.slotCount == 1024)
    }
}
