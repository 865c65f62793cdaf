import EventInput
import Foundation
import Kafka
import Settings
import Testing
import Verification

@testable import Engine
@testable import Runtime

/// Customers of a shop who are known by ids of their devices until they log in.
enum Guests {
    /// Each user of a shop has two devices, whose ids its events have until the device is identified, and now and then
    /// afterwards. In the end all are identified.
    /// - Returns: the events as they come, and as they would if every customer had been known from the start.
    static func events(_ count: Int, seed: UInt64, users: Int) throws -> (told: [Input], known: [Input]) {
        var shop = Shop(seed: seed, users: users)
        var random = Shop(seed: seed &+ 1)
        let known = shop.events(count)
        var told: [Input] = []
        var joined: Set<String> = []
        func identify(_ device: String, _ user: String, at time: Int64) {
            told.append(
                Input(
                    key: Array(user.utf8),
                    value: Shop.json(user: user, type: "identify", at: time, more: #","anonymous_id":"\#(device)""#),
                    timestampMs: time))
        }
        for event in known {
            let user = String(decoding: event.key ?? [], as: UTF8.self)
            let device = "device-\(random.random(2))-of-\(user)"
            if !joined.contains(device), random.random(100) < 5 {
                joined.insert(device)
                identify(device, user, at: event.timestampMs)
            }
            var event = event
            if !joined.contains(device) || random.random(2) == 0 {
                let text = String(decoding: event.value ?? [], as: UTF8.self)
                event.value = Array(text.replacing(#""\#(user)""#, with: #""\#(device)""#).utf8)
            }
            told.append(event)
        }
        for user in 0..<users {
            for device in 0..<2 { identify("device-\(device)-of-user-\(user)", "user-\(user)", at: shop.now) }
        }
        return (told, known)
    }

    /// What is held of a customer: totals, and windows at an instant.
    struct Figures: Equatable, CustomStringConvertible {
        var counts: [UInt32]
        var cents: Int64
        var windows: [[UInt32]]
        var spend: [Int64]
        var description: String { "\(counts) \(cents) \(windows) \(spend)" }
    }
}

extension Site {
    /// What is held of each customer, by id, in the newest snapshots of all partitions.
    func figures(at time: Int64) throws -> [String: Guests.Figures] {
        let model = settings.engine.model
        let layout = UserLayout(units: model.units, hasCell: model.recurrent == .lstm)
        var figures: [String: Guests.Figures] = [:]
        for slot in try customers() {
            slot.withUnsafeBytes { bytes in
                let copy = UnsafeMutableRawPointer.allocate(byteCount: layout.size, alignment: 8)
                defer { copy.deallocate() }
                copy.copyMemory(from: bytes.baseAddress!, byteCount: layout.size)
                let h = copy.header.pointee
                var sums = [PaneSums](repeating: PaneSums(), count: Panes.windows)
                Panes(copy + layout.panes).windows(clock: h.paneClock, at: Panes.index(time), into: &sums)
                let key = UnsafeRawBufferPointer(start: copy + layout.key, count: Int(h.keyLength))
                let user = String(decoding: key, as: UTF8.self)
                #expect(figures[user] == nil, "\(user) is in two partitions")
                figures[user] = Guests.Figures(
                    counts: [
                        h.browses, h.views, h.carts, h.checkouts, h.purchases, h.events, h.firstSeen, h.firstPurchase,
                        h.lastPurchase, UInt32(h.lastEventMs / 1000),
                    ],
                    cents: Int64((h.valueToDate * 100).rounded()),
                    windows: sums.map { [$0.counts.0, $0.counts.1, $0.counts.2, $0.counts.3, $0.counts.4] },
                    spend: sums.map { Int64(($0.sum).rounded()) })
            }
        }
        return figures
    }

    /// Compares what is held with what one partition has made of events that all knew their customers.
    func expectFigures(of known: [Input]) async throws {
        let time = try #require(known.last).timestampMs
        let reference = try Site(Cluster(), .atLeastOnce, partitions: 1) { $0.engine = settings.engine }
        try reference.produce(
            known.map {
                var record = $0
                (record.partition, record.topic) = (0, 0)
                return record
            })
        let daemon = RunningDaemon(reference)
        try await daemon.taken(known.count, seconds: 120)
        try await daemon.stop()
        let (found, wanted) = (try figures(at: time), try reference.figures(at: time))
        #expect(Set(found.keys) == Set(wanted.keys))
        for (user, figures) in wanted { #expect(found[user] == figures, "\(user)") }
    }

    /// Whether each record has come through both stages once, as `clvd verify` finds.
    func verifiedGuests(records: Int) async throws -> (routed: Int64, passedOn: Int64, messages: Int64, double: Int64) {
        let route = try verifiedRoute(records: records)
        let events = try await cluster.read(settings.eventsTopic, partitions: Self.spread)
        let report = try settings(of: .score).verified(records: events.count)
        #expect(report.reasons.passedOn > 0 && report.reasons.messages > 0 && report.strange == 0, "\(report)")
        return (route.routed, report.reasons.passedOn, report.reasons.messages, route.double + report.double)
    }
}
