import Foundation
import Testing

@testable import Engine

/// Users as state format 6 kept them, written by hand at its offsets.
@Suite struct FormatSixTests {
    @Test func twoOrdersAreAmongTheEight() throws {
        var configuration = EngineConfiguration.small
        configuration.targets.append(
            .init(name: "hats", kind: .occurrence, events: ["purchase"], horizonsDays: [20], category: "hats"))
        let settings = EngineSettings(configuration, topics: ["events"], partitions: 1)
        let states = 2 * settings.userLayout.stateBytes
        let size = (128 + 36 + 48 + 128 + 216 + states + 7) / 8 * 8
        var bytes = Data(count: 2 * size)
        func put<T>(_ value: T, at offset: Int) {
            withUnsafeBytes(of: value) { bytes.replaceSubrange(size + offset..<size + offset + $0.count, with: $0) }
        }
        put(Int64(1_700_000_000_123), at: 0)  // last event
        put(99.5, at: 8)  // value to date
        put(UInt32(19_675 * 86_400 + 5), at: 24)  // last purchase
        put(UInt32(4), at: 44)  // orders
        put(UInt32(0xA), at: 72)
        put(UInt32(0xB), at: 76)
        put(Float(510.93), at: 80)
        put(Float(20), at: 84)
        put(UInt32(0b1001), at: 88)  // rules of both: `clv`, and `hats` for the first
        put(UInt32(0b0001), at: 92)
        put(UInt16(3), at: 120)  // bytes of the key
        put(UInt8(1), at: 126)  // in use
        put(UInt8(7), at: 127)  // alerts
        put(UInt8(ascii: "k"), at: 128)
        put(Float(99.5), at: 128 + 36 + 48 + 128)  // money of the first pane
        put(UInt8(42), at: 128 + 36 + 48 + 128 + 216 + states - 1)
        var image = UserTable.Image(
            slotCount: 2, userCount: 1, freeSlots: [0], seed: 1, slotBytes: size, indexCapacity: 128)
        let slots = try bytes.withUnsafeBytes { try Format6.slots($0, &image, settings) }
        defer { slots.deallocate() }
        let layout = settings.userLayout
        #expect(image.slotBytes == layout.size && slots.count == 2 * layout.size)
        #expect(slots[..<layout.size].allSatisfy { $0 == 0 })
        let slot = slots.baseAddress! + layout.size
        let h = slot.header.pointee
        #expect(h.lastEventMs == 1_700_000_000_123 && h.valueToDate == 99.5 && h.purchases == 4 && h.keyLength == 3)
        #expect(h.flags == 1 && h.alerts == 7 && h.paneClock == Panes.index(1_700_000_000_123))
        #expect(slot.at(layout.key, as: UInt8.self)[0] == UInt8(ascii: "k"))
        #expect(slot.at(layout.panes, as: Float.self)[0] == 99.5)
        #expect(slot.at(layout.boundary, as: UInt8.self)[layout.stateBytes - 1] == 42)
        let orders = Orders(slot, layout)
        let (a, b) = (try #require(orders.find(0xA)), try #require(orders.find(0xB)))
        #expect(orders.remaining(a) == 510.93 && orders.remaining(b) == 20)
        #expect(orders.day[a] == 19_675 && h.orderNext == 2)
        #expect(orders.rules?[a] == 0b1000 && orders.rules?[b] == 0)
        image.slotBytes = size + 8
        #expect(throws: SnapshotMismatch.self) {
            _ = try bytes.withUnsafeBytes { try Format6.slots($0, &image, settings) }
        }
    }

    /// What the description did not have is at its default; what it had stays.
    @Test func settingsAndCountersAreCompleted() throws {
        var configuration = EngineConfiguration.small
        configuration.state.sessionGapMinutes = 77
        let engine = Engine.make(configuration)
        engine.run(RandomStream(users: 10, events: 200).make(seed: 5))
        let written = try Written(engine)
        var json = try #require(try JSONSerialization.jsonObject(with: written.metadata) as? [String: Any])
        func remove(_ key: String, from object: Any?) -> Any? {
            var members = object as? [String: Any]
            members?[key] = nil
            return members
        }
        var saved = try #require(json["configuration"] as? [String: Any])
        saved["state"] = remove("orderGapDays", from: saved["state"])
        json["configuration"] = saved
        json["tasks"] = (json["tasks"] as? [[String: Any]])?.map { task in
            var task = task
            task["counters"] = remove("purchasesWithoutMoney", from: task["counters"])
            return task
        }
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        let former = try JSONSerialization.data(withJSONObject: json)
        #expect(throws: DecodingError.self) { try decoder.decode(EngineImage.Metadata.self, from: former) }
        let completed = try decoder.decode(EngineImage.Metadata.self, from: StateFormat.completed(former))
        #expect(completed == engine.image().metadata)
    }
}
