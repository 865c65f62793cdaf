import Foundation
import Testing

@testable import Engine

/// Snapshots of other instances are adopted: one whose checksums are right and whose content cannot be is refused, with
/// a word of what is wrong. Each field is damaged in an image that is otherwise whole.
@Suite struct StateCheckTests {
    private static let users = "task-0-0-users"
    private static let landmarks = "task-0-0-landmarks"

    /// An engine whose users have full event rings, long keys, and landmarks; some have left.
    private static func lived() throws -> (engine: Engine, image: Written) {
        var configuration = EngineConfiguration.small
        configuration.learning.eventLandmarkShare = 1
        let engine = Engine.make(configuration)
        engine.run(RandomStream(users: 40, events: 1500).make(seed: 61))
        #expect(engine.task.users.userCount > 30 && engine.task.pool.count > 100)
        return (engine, try Written(engine))
    }

    /// The refusal of an image, nil when it is taken.
    private static func refusal(_ image: Written) -> String? {
        do { _ = try image.restored() } catch { return "\(error)" }
        return nil
    }

    private static func put<T>(_ value: T, at offset: Int, in image: inout Written, _ section: String) {
        withUnsafeBytes(of: value) { bytes in
            let data = image.sections[section]!
            let start = data.startIndex + offset
            image.sections[section]!.replaceSubrange(start..<start + bytes.count, with: bytes)
        }
    }

    private static func offset<T>(_ path: PartialKeyPath<T>) -> Int { MemoryLayout<T>.offset(of: path)! }

    @Test func fieldsOfUsers() throws {
        let (engine, image) = try Self.lived()
        #expect(Self.refusal(image) == nil)
        let layout = engine.settings.userLayout
        // A user with a full ring.
        let found = (0..<engine.task.users.slotCount).first {
            engine.task.users.slot(UInt32($0)).header.pointee.ringCount == 16
        }
        let slot = try #require(found) * layout.size
        let h = engine.task.users.slot(UInt32(slot / layout.size)).header.pointee
        let category = UInt16(engine.configuration.model.categoryBuckets)
        let half = UInt16(0x7C00)
        let cases: [(String, (inout Written) -> Void)] = [
            (
                "ring of event ids",
                { Self.put(UInt8(8), at: slot + Self.offset(\UserHeader.places), in: &$0, Self.users) }
            ),
            (
                "start of the event ring",
                { Self.put(UInt8(16), at: slot + Self.offset(\UserHeader.ringStart), in: &$0, Self.users) }
            ),
            (
                "count of the event ring",
                { Self.put(UInt8(17), at: slot + Self.offset(\UserHeader.ringCount), in: &$0, Self.users) }
            ),
            (
                "boundary",
                { Self.put(UInt8(17), at: slot + Self.offset(\UserHeader.sinceBoundary), in: &$0, Self.users) }
            ),
            (
                "pending",
                {
                    Self.put(
                        h.flags | UserHeader.pending, at: slot + Self.offset(\UserHeader.flags), in: &$0, Self.users)
                }
            ),
            (
                "slots in use",
                {
                    Self.put(
                        h.flags & ~UserHeader.inUse, at: slot + Self.offset(\UserHeader.flags), in: &$0, Self.users)
                }
            ),
            (
                "last event",
                { Self.put(Int64.max, at: slot + Self.offset(\UserHeader.lastEventMs), in: &$0, Self.users) }
            ),
            ("money", { Self.put(Double.nan, at: slot + Self.offset(\UserHeader.valueToDate), in: &$0, Self.users) }),
            (
                "ring of orders",
                { Self.put(UInt8(0x80), at: slot + Self.offset(\UserHeader.places), in: &$0, Self.users) }
            ),
            ("prediction", { Self.put(Float.nan, at: slot + Self.offset(\UserHeader.lastChurn), in: &$0, Self.users) }),
            ("pane", { Self.put(Float.nan, at: slot + layout.panes + 4 * 17, in: &$0, Self.users) }),
            ("category", { Self.put(category, at: slot + layout.ringCode + 2 * 15, in: &$0, Self.users) }),
            ("amount", { Self.put(half, at: slot + layout.ringAmount, in: &$0, Self.users) }),
            ("amount", { Self.put(UInt16(0x8001), at: slot + layout.ringAmount, in: &$0, Self.users) }),
            ("recurrent state", { Self.put(half, at: slot + layout.rolling + layout.units, in: &$0, Self.users) }),
            (
                "recurrent state",
                { Self.put(half, at: slot + layout.boundary + layout.stateBytes - 2, in: &$0, Self.users) }
            ),
            (
                "newest landmark",
                { Self.put(UInt32(100_000), at: slot + Self.offset(\UserHeader.landmark), in: &$0, Self.users) }
            ),
            (
                "newest landmark",
                { Self.put(UInt32(0), at: slot + Self.offset(\UserHeader.landmark), in: &$0, Self.users) }
            ),
        ]
        for (i, (what, damage)) in cases.enumerated() {
            var damaged = image
            damage(&damaged)
            let refusal = Self.refusal(damaged)
            #expect(refusal?.contains(what) == true, "case \(i), \(what): \(refusal ?? "taken")")
        }
    }

    @Test func longKeys() throws {
        let (engine, image) = try Self.lived()
        let layout = engine.settings.userLayout
        var long: [Int] = []
        for i in 0..<engine.task.users.slotCount {
            let h = engine.task.users.slot(UInt32(i)).header.pointee
            if h.flags & UserHeader.inUse != 0, Int(h.keyLength) > UserLayout.keyBytes { long.append(i) }
        }
        #expect(long.count > 2)
        let total = UInt64(engine.task.users.longKeyBytes.count)
        let second = engine.task.users.slot(UInt32(long[1])) + layout.key
        // Beyond the bytes there are; a part of another's key.
        for at in [total, .max, second.loadUnaligned(as: UInt64.self), second.loadUnaligned(as: UInt64.self) + 1] {
            var damaged = image
            Self.put(at, at: long[0] * layout.size + layout.key, in: &damaged, Self.users)
            #expect(Self.refusal(damaged)?.contains("the long keys") == true, "\(at)")
        }
    }

    @Test func fieldsOfLandmarks() throws {
        let (engine, image) = try Self.lived()
        let (pool, layout) = (engine.task.pool.image, engine.settings.landmarkLayout)
        // A landmark with events whose user has an older one that is held.
        func header(_ s: Int64) -> LandmarkHeader { LandmarkPool.header(engine.task.pool.at(s)).pointee }
        let found = (pool.head..<pool.tail).first { s in
            let user = header(s).user
            return user != UserTable.none && header(s).steps > 0 && (pool.head..<s).contains { header($0).user == user }
        }
        let sequence = try #require(found)
        let at = Int(sequence - pool.head) * layout.size
        let slots = UInt32(engine.task.users.slotCount)
        let other = (0..<slots).first {
            $0 != header(sequence).user && engine.task.users.slot($0).header.pointee.landmark != 0
        }
        let category = UInt16(engine.configuration.model.categoryBuckets)
        let cases: [(String, (inout Written) -> Void)] = [
            ("its user", { Self.put(slots, at: at + Self.offset(\LandmarkHeader.user), in: &$0, Self.landmarks) }),
            ("landmark", { Self.put(other!, at: at + Self.offset(\LandmarkHeader.user), in: &$0, Self.landmarks) }),
            (
                "its previous",
                { Self.put(UInt32.max, at: at + Self.offset(\LandmarkHeader.previous), in: &$0, Self.landmarks) }
            ),
            (
                "its previous",
                { Self.put(UInt32(0), at: at + Self.offset(\LandmarkHeader.previous), in: &$0, Self.landmarks) }
            ),
            (
                "its sequence",
                { Self.put(Int64.max, at: at + Self.offset(\LandmarkHeader.sequence), in: &$0, Self.landmarks) }
            ),
            (
                "its instant",
                { Self.put(Int64.max, at: at + Self.offset(\LandmarkHeader.instant), in: &$0, Self.landmarks) }
            ),
            (
                "stored events",
                { Self.put(UInt8(17), at: at + Self.offset(\LandmarkHeader.steps), in: &$0, Self.landmarks) }
            ),
            (
                "naive",
                {
                    Self.put(
                        Float.nan, at: at + Self.offset(\LandmarkHeader.naiveOrdersPerDay), in: &$0, Self.landmarks)
                }
            ),
            ("category", { Self.put(category, at: at + layout.events + 4, in: &$0, Self.landmarks) }),
            ("amount", { Self.put(UInt16(0x7E00), at: at + layout.events + 6, in: &$0, Self.landmarks) }),
            (
                "state",
                {
                    Self.put(
                        UInt16(0xFC00), at: at + layout.state + engine.settings.userLayout.units, in: &$0,
                        Self.landmarks)
                }
            ),
            ("features", { Self.put(UInt16(0x7C00), at: at + layout.featureRow + 2, in: &$0, Self.landmarks) }),
            ("labels", { Self.put(Float.nan, at: at + layout.labels, in: &$0, Self.landmarks) }),
            ("predictions", { Self.put(Float.infinity, at: at + layout.predictions + 4, in: &$0, Self.landmarks) }),
            ("distributions", { Self.put(Float.nan, at: at + layout.spreads, in: &$0, Self.landmarks) }),
        ]
        for (i, (what, damage)) in cases.enumerated() {
            var damaged = image
            damage(&damaged)
            let refusal = Self.refusal(damaged)
            #expect(refusal?.contains(what) == true, "case \(i), \(what): \(refusal ?? "taken")")
        }
    }

    /// Numbers of the description, by their names in its JSON.
    @Test func descriptions() throws {
        let (_, image) = try Self.lived()
        let text = String(decoding: image.metadata, as: UTF8.self)
        func refusal(_ field: String, _ value: String) throws -> String? {
            let pattern = try Regex("\"\(field)\":(-?[0-9]+|\\[[0-9,]*\\])")
            let general = ["position", "last", "next"].contains(field)
            let part = try #require(text.firstRange(of: general ? "\"position\":" : "\"tasks\":")).lowerBound
            let match = try #require(text[part...].firstMatch(of: pattern), "\(field)")
            var damaged = image
            damaged.metadata = Data(text.replacingCharacters(in: match.range, with: "\"\(field)\":\(value)").utf8)
            return Self.refusal(damaged)
        }
        let largest = "9223372036854775807"
        let cases = [
            ("timerHour", "0", "hour of the timers"), ("scoredHour", largest, "hour of the idle ticks"),
            ("scoredHour", "-5", "hour of the idle ticks"), ("watermark", largest, "watermark"),
            ("nextOffset", largest, "next offset"), ("accepted", largest, "counters"), ("reasons", "[]", "counters"),
            ("alertsWithheld", largest, "counters"), ("position", largest, "position"), ("next", "0", "position"),
            ("last", largest, "position"), ("frontier", "[0,0,0]", "landmarks"), ("partition", "-1", "partition"),
        ]
        for (field, value, what) in cases {
            let refusal = try refusal(field, value)
            #expect(refusal?.contains(what) == true, "\(field) \(value): \(refusal ?? "taken")")
        }
        // Free slots: one twice, one in use, one that is not there.
        let free = try #require(text.firstMatch(of: /"freeSlots":\[([0-9,]*)\]/)).1.split(separator: ",").map(
            String.init)
        for other in [["5000000"], [free.isEmpty ? "0" : free[0]]] {
            let list = "[" + (free.dropFirst(other.count) + other).joined(separator: ",") + "]"
            if free.count > 1 { #expect(try refusal("freeSlots", list)?.contains("free slots") == true, "\(list)") }
        }
    }

    /// The arena of long keys has the same bytes for a table that goes on and for its restored copy.
    @Test func aRestoredTableCompactsWhenTheOriginalDoes() throws {
        let layout = UserLayout(units: 16, hasCell: true)
        func key(_ i: Int) -> [UInt8] { Array("\(i)-".utf8) + [UInt8](repeating: 120, count: 200) }
        var table = UserTable(layout: layout, seed: 3)
        var slots = (0..<60).map { table.insert(key($0), key($0).count, hash: table.hash(key($0), key($0).count)) }
        for _ in 0..<15 { table.remove(slots.removeFirst()) }
        var again = try UserTable(
            layout: layout, image: table.image, slots: table.slotBytes, longKeys: table.longKeyBytes,
            former: table.former.bytes)
        // 15 keys of 202 or 203 bytes are gone; with 16 more, over half of the bytes are.
        let before = table.longKeyBytes.count
        for _ in 0..<16 {
            let slot = slots.removeFirst()
            table.remove(slot)
            again.remove(slot)
            #expect(firstDifferences(table.longKeyBytes, again.longKeyBytes) == [])
        }
        #expect(table.longKeyBytes.count < before)
    }
}
