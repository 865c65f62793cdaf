import CEventParser
import Foundation
import Testing

@testable import Engine

/// When alerts rise and clear: the policy alone, and through an engine whose model is known.
@Suite struct AlertTests {
    // MARK: Policy

    private static func policy(_ change: (inout EngineConfiguration.Alerts) -> Void = { _ in }) -> AlertPolicy {
        var c = EngineConfiguration()
        c.alerts.raiseThreshold = 0.8
        c.alerts.clearThreshold = 0.6
        c.alerts.coolDownDays = 10
        change(&c.alerts)
        return EngineSettings(c, topics: ["events"], partitions: 1).alerts
    }

    /// A user's alert state that follows the transitions as a task has it follow.
    private struct Watched {
        var h = UserHeader()
        let policy: AlertPolicy

        init(_ policy: AlertPolicy, purchases: UInt32 = 1, lastChurn: Float? = nil) {
            self.policy = policy
            h.purchases = purchases
            guard let lastChurn else { return }
            h.lastChurn = lastChurn
            h.flags |= UserHeader.scored
        }

        mutating func score(
            _ p: Float, at days: Double, silent: Bool = true, value: Float = 50
        ) -> AlertPolicy.Transition {
            let now = epoch + Int64(days * Double(day))
            let transition = policy.transition(&h, probability: p, value: value, now: now, silent: silent)
            switch transition {
            case .raised:
                h.flags |= UserHeader.alertRaised
                h.alertRaisedAt = UInt32(now / 1000)
            case .cleared: h.flags &= ~UserHeader.alertRaised
            case .none: break
            }
            h.lastChurn = p
            h.flags |= UserHeader.scored
            return transition
        }
    }

    @Test func raisesOnceAndClearsBelowTheLowerThreshold() {
        var user = Watched(Self.policy())
        #expect(user.score(0.79, at: 0) == .none)
        #expect(user.score(0.8, at: 1) == .raised)
        #expect(user.score(0.99, at: 2) == .none, "no repeat")
        #expect(user.score(0.61, at: 3) == .none, "between the thresholds it stands")
        #expect(user.score(0.85, at: 4) == .none)
        #expect(user.score(0.6, at: 5) == .cleared)
        #expect(user.score(0.5, at: 6) == .none)
        #expect(user.score(0.7, at: 7) == .none, "between the thresholds it stays clear")
        #expect(user.score(0.9, at: 10.9) == .none, "cool-down")
        #expect(user.score(0.9, at: 11) == .raised)
    }

    /// An event raises an alert only when it moves the probability over the threshold.
    @Test func eventsRaiseByCrossing() {
        var new = Watched(Self.policy())
        #expect(new.score(0.9, at: 0, silent: false) == .none, "a first score crosses nothing")
        #expect(new.score(0.9, at: 1, silent: false) == .none)
        #expect(new.score(0.9, at: 1, silent: true) == .raised)
        var known = Watched(Self.policy(), lastChurn: 0.5)
        #expect(known.score(0.9, at: 0, silent: false) == .raised)
        #expect(known.score(0.3, at: 1, silent: false) == .cleared)
    }

    @Test func conditions() {
        var browsing = Watched(Self.policy(), purchases: 0)
        #expect(browsing.score(0.9, at: 0) == .none)
        #expect(!browsing.policy.watches(&browsing.h))
        var poor = Watched(Self.policy { $0.minimumValueAtRisk = 60 })
        #expect(poor.score(0.9, at: 0, value: 59) == .none)
        #expect(poor.score(0.9, at: 1, value: 60) == .raised)
        #expect(poor.score(0.1, at: 2, value: 0) == .cleared, "clearing asks for no value")
        var off = Watched(Self.policy { $0.enabled = false })
        #expect(off.score(0.9, at: 0) == .none && !off.policy.watches(&off.h))
        var unknown = Watched(Self.policy { $0.target = "no such target" })
        #expect(unknown.score(0.9, at: 0) == .none)
    }

    // MARK: Through the engine

    private static func alerts(_ said: [Said]) throws -> [(key: String, json: [String: Any], record: Int)] {
        try said.filter { $0.kind == .alert }.map { ($0.key, try $0.json(), $0.record) }
    }

    /// One buyer goes silent while another user's events carry the time on.
    private static func silence() -> TestStream {
        let stream = TestStream()
        stream.add("silent", .purchase, at: epoch, amount: 40, id: "p")
        stream.add("browser", .view, at: epoch)
        for i in 1..<200 { stream.add("busy", .view, at: epoch + Int64(i) * 3 * hour) }
        return stream
    }

    @Test func silenceRaisesAnAlertAsTimePasses() throws {
        let engine = try KnownModel.engine()
        let stream = Self.silence()
        let said = engine.run(stream, cut: 16)
        let alerts = try Self.alerts(said)
        #expect(alerts.count == 1, "once, and not for who never bought")
        let alert = try #require(alerts.first)
        #expect(alert.key == "silent")
        #expect(alert.json["state"] as? String == "raised")
        #expect(alert.json["reason"] as? String == "silence")
        #expect(alert.json["user_id"] as? String == "silent")
        #expect(alert.json["last_event_time"] as? String == "2021-01-04T00:00:00.000Z")
        let at = try #require(alert.json["at"] as? String)
        // The first turn of the user at which the probability of silence is over the threshold.
        let probability = { (days: Double) -> Double in
            let hazard = 1 / (1 + exp(-(2 - 3 * log(1 + days))))
            return (1 - hazard) * (1 - hazard)
        }
        let raised = try #require(ISO8601DateFormatter.withMilliseconds.date(from: at)).timeIntervalSince1970
        let days = (raised - Double(epoch / 1000)) / 86_400
        #expect(probability(days) >= 0.5 && probability(days - 0.25) < 0.5)
        #expect(abs((alert.json["churn_probability"] as? Double ?? 0) - probability(days)) < 1e-3)
        let factors = try #require(alert.json["factors"] as? [[String: Any]])
        #expect(factors.first?["name"] as? String == "recency")
        let whole = Int(days.rounded(.down))
        let text = try #require(factors.first?["text"] as? String)
        #expect(text.hasPrefix("silent for \(whole)") && text.hasSuffix(" days"), "\(text)")
        let summary = try #require(alert.json["summary"] as? String)
        let silence = "Silent for \(whole) day\(whole == 1 ? "" : "s")"
        #expect(summary.hasPrefix("\(silence); 1 order, 40.00 USD so far. Stays away for the next "), "\(summary)")
        #expect(alert.json["backlog"] as? Bool == false)
        #expect(alert.json["orders"] as? Int == 1 && alert.json["currency"] as? String == "USD")
        #expect(alert.json["last_purchase_time"] as? String == "2021-01-04T00:00:00.000Z")
        // It comes with the record that moves the clock over that hour.
        #expect(Double(stream.events[alert.record].time_ms - hour) / 1000 >= raised)
        #expect(Double(stream.events[alert.record - 1].time_ms - hour) / 1000 < raised)
        #expect(engine.report(prequential: false).counters.alertsForSilence == 1)
    }

    /// Ten buyers have been silent for a month when a model begins to serve; one buys after that.
    private static func backlog(_ change: (inout EngineConfiguration.Alerts) -> Void) throws -> (
        engine: Engine, alerts: [(key: String, json: [String: Any], record: Int)]
    ) {
        let engine = KnownModel.untaughtEngine {
            change(&$0.alerts)
            $0.alerts.coolDownDays = 1
        }
        let stream = TestStream()
        for i in 0..<10 { stream.add("old-\(i)", .purchase, at: epoch, amount: 40, id: "p\(i)") }
        for i in 1...30 { stream.add("busy", .view, at: epoch + Int64(i) * day) }
        let taught = stream.events.count
        let before = engine.run(stream)
        #expect(try alerts(before).isEmpty, "population rates raise nothing")
        try KnownModel.install(engine)
        stream.add("new", .purchase, at: epoch + 30 * day, amount: 40, id: "n")
        for i in 1..<200 { stream.add("busy", .view, at: epoch + 30 * day + Int64(i) * 3 * hour) }
        for i in 0..<10 { stream.add("old-\(i)", .view, at: epoch + 60 * day) }
        return (engine, try alerts(engine.run(stream, taught..<stream.events.count)))
    }

    @Test func alertsThatWereDueBeforeTheModelServedAreMarkedAndCapped() throws {
        let (engine, alerts) = try Self.backlog { $0.backlogLimit = 4 }
        let raised = alerts.filter { $0.json["state"] as? String == "raised" }
        let old = raised.filter { $0.key.hasPrefix("old") }
        #expect(old.count == 4 && old.allSatisfy { $0.json["backlog"] as? Bool == true })
        #expect(raised.filter { $0.key == "new" }.map { $0.json["backlog"] as? Bool } == [false])
        let cleared = alerts.filter { $0.json["state"] as? String == "cleared" && $0.key.hasPrefix("old") }
        #expect(Set(cleared.map(\.key)) == Set(old.map(\.key)), "what was not said is not taken back")
        let counters = engine.report(prequential: false).counters
        #expect(counters.alertsOfBacklog == 4 && counters.alertsWithheld == 6)
        #expect(Int(counters.alertsRaised) == raised.count)
    }

    @Test func aBacklogCanBeDropped() throws {
        let (engine, alerts) = try Self.backlog { $0.backlog = .drop }
        #expect(alerts.allSatisfy { $0.key == "new" })
        #expect(alerts.first?.json["state"] as? String == "raised")
        #expect(engine.report(prequential: false).counters.alertsWithheld == 10)
    }

    @Test func activityClearsAndTheCoolDownHolds() throws {
        let engine = try KnownModel.engine()
        let stream = Self.silence()
        let first = try #require(try Self.alerts(engine.run(stream)).first)
        let n = stream.events.count
        stream.add("silent", .view, at: epoch + 25 * day)
        for i in 0..<200 { stream.add("busy", .view, at: epoch + 25 * day + Int64(i) * 3 * hour) }
        let alerts = try Self.alerts(engine.run(stream, n..<stream.events.count))
        try #require(alerts.map { $0.json["state"] as? String } == ["cleared", "raised"])
        #expect(alerts[0].record == n && alerts[0].json["reason"] as? String == "activity")
        #expect(alerts[1].json["reason"] as? String == "silence")
        #expect(alerts[0].json["alert_id"] as? String == first.json["alert_id"] as? String, "it names what it clears")
        #expect(alerts[0].json["alert_id"] as? String != alerts[1].json["alert_id"] as? String)
        // With a longer cool-down the second silence stays unsaid.
        let patient = try KnownModel.engine { $0.alerts.coolDownDays = 60 }
        let states = try Self.alerts(patient.run(stream)).map { $0.json["state"] as? String }
        #expect(states == ["raised", "cleared"])
    }

    @Test func idTellsTheCause() throws {
        var ids: [String] = []
        for cut in [1, 50] {
            let alerts = try Self.alerts(try KnownModel.engine().run(Self.silence(), cut: cut))
            ids += alerts.compactMap { $0.json["alert_id"] as? String }
        }
        try #require(ids.count == 2 && ids[0] == ids[1], "the same cause, the same id")
        // Another user, or another time, is another cause.
        let engine = try KnownModel.engine()
        let stream = TestStream()
        for (i, user) in ["a", "b", "silent"].enumerated() {
            stream.add(user, .purchase, at: epoch + Int64(i) * day, amount: 40)
        }
        for i in 1..<200 { stream.add("busy", .view, at: epoch + 3 * day + Int64(i) * 3 * hour) }
        let others = try Self.alerts(engine.run(stream)).compactMap { $0.json["alert_id"] as? String }
        #expect(others.count == 3 && Set(others + [ids[0]]).count == 4)
        #expect(others.allSatisfy { $0.count == 16 })
    }

    @Test func ticksRaiseOnAnIdleStream() throws {
        let engine = try KnownModel.engine()
        let stream = TestStream()
        stream.add("silent", .purchase, at: epoch, amount: 40)
        engine.run(stream)
        #expect(engine.idle(until: epoch + day / 2).isEmpty)
        let said = engine.idle(until: epoch + 5 * day)
        let alerts = try Self.alerts(said)
        try #require(alerts.count == 1 && alerts[0].key == "silent" && alerts[0].record == -1)
        #expect(engine.idle(until: epoch + 5 * day).isEmpty, "the same tick again")
        #expect(engine.idle(until: epoch + 9 * day).isEmpty, "no repeat")
        // Ticks move neither windows nor event time: an event of before is still welcome.
        #expect(engine.task.watermark == epoch - 2 * hour)
        stream.add("silent", .view, at: epoch + hour)
        let after = engine.run(stream, 1..<2)
        try #require(after.map(\.kind) == [.update, .alert])
        #expect(try Self.alerts(after)[0].json["state"] as? String == "cleared")
        // The hours that ticks have scored are not scored again when event time gets there; the alert's cause is
        // that of the tick.
        let byTime = try KnownModel.engine()
        let timed = try Self.alerts(byTime.run(Self.silence()))
        #expect(timed.first?.json["alert_id"] as? String == alerts[0].json["alert_id"] as? String)
    }

    @Test func noAlertsBeforeTheModelServes() throws {
        let engine = try KnownModel.engine()
        engine.serving.parameters.version = 0
        #expect(try Self.alerts(engine.run(Self.silence())).isEmpty)
    }

    // MARK: Erasure

    @Test func erasureLeavesNoByteOfTheKey() throws {
        let keys = ["short-\u{e9}-key", "a-key-that-is-longer-than-a-slot-holds-by-some-bytes"]
        let stream = RandomStream(users: 30, events: 1500, troubles: false).make(seed: 51)
        let now = stream.events.last!.time_ms
        for i in 0..<40 {
            for key in keys {
                stream.add(
                    key, i % 4 == 0 ? .purchase : .view, at: now + Int64(i) * hour, amount: i % 4 == 0 ? 5 : 0,
                    id: "\(key)-\(i)")
            }
        }
        let engine = Engine.make()
        engine.run(stream)
        func held(_ key: String) throws -> Bool {
            let image = try Written(engine)
            return image.sections.values.contains { $0.range(of: Data(key.utf8)) != nil }
                || image.metadata.range(of: Data(key.utf8)) != nil
        }
        for key in keys { #expect(try held(key)) }
        let users = engine.report(prequential: false).users
        let owned = try keys.map { key -> UInt32 in try #require(engine.slot(key)).header.pointee.identity }
        #expect(owned[0] != owned[1])
        // Whoever has the id can make its hashes: nothing of them may stay either.
        let layout = engine.settings.userLayout
        func hashes(_ key: String) throws -> [UInt32] {
            let slot = try #require(engine.slot(key))
            let lows = slot.at(layout.dedupLow, as: UInt32.self)
            return [slot.header.pointee.identity, Orders(slot, layout).id[0]]
                + (0..<UserLayout.dedupCount).map { lows[$0] }
        }
        let theirs = try Set(keys.flatMap(hashes)).subtracting([0])
        #expect(theirs.count > 2 * UserLayout.dedupCount)
        func remaining() throws -> Int {
            let image = try Written(engine)
            return theirs.count { hash in
                let bytes = withUnsafeBytes(of: hash) { Data($0) }
                return image.sections.values.contains { $0.range(of: bytes) != nil }
            }
        }
        #expect(try remaining() == theirs.count)
        let n = stream.events.count
        for key in keys { stream.add(key, .userDeleted, at: now + 2 * day) }
        stream.add("nobody", .userDeleted, at: now + 2 * day)
        let said = engine.run(stream, n..<n + 3)
        #expect(said.map(\.key) == keys + ["nobody"])
        for s in said { #expect(s.kind == .update && s.value.isEmpty, "a tombstone of the update") }
        for key in keys {
            #expect(try !held(key))
            #expect(engine.slot(key) == nil)
        }
        #expect(try remaining() == 0)
        let report = engine.report(prequential: false)
        #expect(report.users == users - 2 && report.counters.erased == 3)
        // No landmark of theirs is left to learn from.
        let pool = engine.task.pool.image
        var forgotten = 0
        for sequence in pool.head..<pool.tail {
            let user = LandmarkPool.header(engine.task.pool.at(sequence)).pointee.user
            guard user != UserTable.none else {
                forgotten += 1
                continue
            }
            #expect(engine.task.users.slot(user).header.pointee.flags & UserHeader.inUse != 0)
        }
        #expect(forgotten > 4)
        // Learning goes on, and who comes back is new.
        for key in keys { stream.add(key, .view, at: now + 3 * day) }
        let again = engine.run(stream, n + 3..<n + 5)
        #expect(try again.allSatisfy { try $0.json()["value_to_date"] as? Double == 0 })
    }
}

extension ISO8601DateFormatter {
    static var withMilliseconds: ISO8601DateFormatter {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        return formatter
    }
}
