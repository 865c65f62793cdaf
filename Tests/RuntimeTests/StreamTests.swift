import Engine
import EventInput
import Foundation
import Kafka
import Runtime
import Settings
import Testing
import Verification

/// Records in, updates, alerts and dead letters out: the daemon in this process against a cluster.
@Suite struct StreamTests {
    // MARK: Every record is accounted for

    /// Events with all sorts of bad records between them.
    private static func mixed() -> [Input] {
        var shop = Shop(seed: 3)
        var inputs: [Input] = []
        func bad(_ reason: String, _ value: [UInt8], key: [UInt8]? = Array("bad".utf8)) {
            inputs.append(Input(key: key, value: value, timestampMs: shop.now, fate: .deadLetter(reason)))
        }
        func json(_ more: String, type: String = "purchase") -> [UInt8] {
            Shop.json(user: "bad", type: type, at: shop.now, more: more)
        }
        for i in 0..<1500 {
            let event = shop.next()
            inputs.append(event)
            if i % 50 == 10 {
                var again = event
                again.fate = .duplicate
                inputs.append(again)
            }
            if i == 700 {
                bad("invalid_json", Array("[".utf8), key: [UInt8](repeating: 0xFE, count: 200_000))
                var event = shop.next()
                event.key = [UInt8](repeating: 0, count: 100_000)
                inputs.append(event)
            }
            guard i % 100 == 99 else { continue }
            let now = shop.now
            inputs.append(
                Input(key: nil, value: Shop.json(user: "u", type: "ping", at: now), timestampMs: now, fate: .ignored))
            inputs.append(Input(key: Array("gone".utf8), value: nil, timestampMs: now, fate: .tombstone))
            bad("invalid_json", Array("{\"user_id\":".utf8))
            bad("invalid_json", [], key: [])
            bad("invalid_json", Array("\u{1b}[2Jnot JSON".utf8), key: nil)
            bad(
                "invalid_utf8", Array("{\"user_id\":\"".utf8) + [0xFF, 0xC0, 0x00] + Array("\"}".utf8), key: [0, 0xFF])
            bad("missing_user", Array(#"{"event_time_ms":\#(now),"event_type":"view"}"#.utf8))
            bad("invalid_user", Array(#"{"event_time_ms":\#(now),"event_type":"view","user_id":"a\u0000"}"#.utf8))
            bad("missing_time", Array(#"{"user_id":"bad","event_type":"view"}"#.utf8))
            bad("invalid_time", Array(#"{"user_id":"bad","event_type":"view","event_time":"yesterday"}"#.utf8))
            bad("time_out_of_range", Shop.json(user: "bad", type: "view", at: 0))
            bad("future_time", Shop.json(user: "bad", type: "view", at: now + 2 * 3_600_000))
            bad("too_late", Shop.json(user: "bad", type: "view", at: now - 2 * Shop.dayMs))
            bad("wrong_type", json(#","amount":true"#))
            bad("missing_type", Array(#"{"user_id":"bad","event_time_ms":\#(now)}"#.utf8))
            bad("negative_amount", json(#","amount":-0.01"#))
            bad("absurd_amount", json(#","amount":1e300"#))
            bad("unknown_currency", json(#","amount":1,"currency":"XXX""#))
            bad("too_large", json(#","padding":"\#(String(repeating: "x", count: 5000))""#))
        }
        return inputs
    }

    @Test(arguments: Settings.Delivery.allCases) func everyRecordHasItsFate(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) {
            $0.input.limits.maxRecordBytes = 4096
            $0.learning(false)
        }
        var settings = site.settings
        settings.input.format = try site.formatWithPing()
        let here = site.with(settings)
        let inputs = Self.mixed()
        try here.produce(inputs)
        let daemon = RunningDaemon(here)
        try await daemon.taken(inputs.count)
        try await daemon.stop()

        let fates = inputs.map(\.fate)
        let updates = try await here.updates()
        #expect(updates.map(\.source.offset) == fates.indices.filter { fates[$0] == .update }.map(Int64.init))
        #expect(updates.allSatisfy { $0.source.topic == here.input[0] && $0.source.partition == 0 })
        for (source, record) in updates.prefix(200) {
            #expect(try record.json["user_id"] as? String == record.keyText)
            #expect(record.key == inputs[Int(source.offset)].key)
        }

        let letters = try await here.deadLetters()
        let expected = inputs.enumerated().compactMap { i, input -> (Int, Input, String)? in
            guard case .deadLetter(let reason) = input.fate else { return nil }
            return (i, input, reason)
        }
        try #require(letters.count == expected.count)
        for (letter, (offset, input, reason)) in zip(letters, expected) {
            #expect(letter.key == input.key && letter.value == input.value, "\(reason) at \(offset)")
            let headers = Cluster.deadLetterHeaders.map { letter.headers[$0] }
            let stage = reason == "too_late" ? "event_time" : "decode"
            #expect(headers.dropLast() == [here.input[0], "0", "\(offset)", stage, reason])
            if reason == "too_late" {
                #expect(headers.last??.contains("time.allowedLatenessSeconds: ") == true, "\(headers)")
            }
            #expect(headers.last??.isEmpty == false && letter.headers.count == headers.count)
        }

        let c = daemon.counters
        func count(_ fate: Input.Fate) -> Int64 { Int64(fates.count { $0 == fate }) }
        #expect(c.accepted == count(.update) && c.updates == c.accepted && c.duplicates == count(.duplicate))
        #expect(c.ignored == count(.ignored) && c.tombstones == count(.tombstone))
        #expect(c.deadLetters == Int64(expected.count) && c.reasons.reduce(0, +) == c.deadLetters)
        #expect(
            c.accepted + c.duplicates + c.ignored + c.tombstones + c.erased + c.identifies + c.deadLetters == c.records)
        #expect(c.records == Int64(inputs.count) && c.repeated == 0)
        // Found from outside as well.
        let report = try here.verified(records: inputs.count)
        #expect(report.updates == c.updates && report.deadLetters == c.deadLetters && report.double == 0)
        #expect(report.reasons == .init(duplicates: c.duplicates, ignored: c.ignored, tombstones: c.tombstones))
        if delivery == .atLeastOnce || Cluster.isReal {
            let committed = try here.cluster.committed(
                here.input[0], group: here.settings.kafka.groupId)
            #expect(committed[0]?.offset == c.records)
            let metadata = CommitMetadata(text: committed[0]?.metadata ?? "")
            #expect(metadata.offset == c.records && metadata.clock != nil)
        }
    }

    @Test(arguments: Settings.Delivery.allCases)
    func aRecordTooLargeForTheDeadLettersDoesNotStopTheStream(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) { $0.learning(false) }
        var shop = Shop()
        var inputs = shop.events(20)
        let large = (0..<1_500_000).map { UInt8(truncatingIfNeeded: $0 % 251) }
        inputs.append(
            Input(key: Array("k".utf8), value: large, timestampMs: shop.now, fate: .deadLetter("too_large")))
        inputs += shop.events(20)
        try site.produce(inputs)
        let daemon = RunningDaemon(site)
        try await daemon.taken(inputs.count)
        try await daemon.stop()
        #expect(daemon.daemon.status.restarts == 0)
        #expect(try await site.updates().map(\.source.offset) == (0...40).filter { $0 != 20 }.map(Int64.init))
        let letters = try await site.deadLetters()
        let letter = try #require(letters.first)
        #expect(letters.count == 1 && letter.key == Array("k".utf8))
        let value = try #require(letter.value)
        #expect(value.count > 900_000 && value.count < 1_000_000 && value.elementsEqual(large.prefix(value.count)))
        #expect(letter.headers["clvd.cut.from"] == "key 1 bytes, value 1500000 bytes")
    }

    @Test func severalTopicsAndPartitions() async throws {
        let site = try Site(Cluster(), .exactlyOnce, topics: 2, partitions: 3) { $0.input.keying = .asIs }
        var shop = Shop(users: 30)
        var produced: [Site.Source: [UInt8]?] = [:]
        var next: [[Int64]] = [[0, 0, 0], [0, 0, 0]]
        var inputs: [[Input]] = [[], []]
        for i in 0..<1200 {
            var event = shop.next()
            let topic = i % 5 == 0 ? 1 : 0
            event.partition = Int32(event.key!.last!) % 3
            let offset = next[topic][Int(event.partition)]
            next[topic][Int(event.partition)] = offset + 1
            produced[.init(topic: site.input[topic], partition: event.partition, offset: offset)] = event.key
            inputs[topic].append(event)
        }
        for topic in 0..<2 { try site.produce(inputs[topic], to: topic) }
        let daemon = RunningDaemon(site)
        try await daemon.taken(1200)
        try await daemon.stop()
        let updates = try await site.updates()
        // The order among partitions is nobody's promise; a user's own events may come too late by it.
        let letters = try await site.deadLetters()
        let late = letters.map {
            Site.Source(
                topic: $0.headers["__connect.errors.topic"] ?? "",
                partition: Int32($0.headers["__connect.errors.partition"] ?? "") ?? -1,
                offset: Int64($0.headers["__connect.errors.offset"] ?? "") ?? -1)
        }
        #expect(letters.isEmpty, "each partition is in order by itself")
        #expect(updates.count + late.count == 1200)
        #expect(Set(updates.map(\.source) + late) == Set(produced.keys))
        #expect(updates.allSatisfy { produced[$0.source] == $0.record.key })
        #expect(daemon.counters.records == 1200 && daemon.daemon.status.lag == 0)
        try site.verified(records: 1200)
    }

    // MARK: Alerts

    @Test func alertsRiseAndClear() async throws {
        let site = try Site(Cluster()) {
            // So low that even a user who has just acted can cross it: a decline.
            $0.engine.alerts.raiseThreshold = 0.15
            $0.engine.alerts.clearThreshold = 0.1
        }
        var shop = Shop()
        let inputs = shop.events(3500)
        try site.produce(inputs)
        let daemon = RunningDaemon(site)
        try await daemon.taken(inputs.count)
        try await daemon.stop()
        let alerts = try await site.alerts()
        var standing: Set<String> = []
        var counts: [String: Int64] = [:]
        for alert in alerts {
            let json = try alert.json
            let user = try #require(json["user_id"] as? String)
            #expect(alert.keyText == user)
            let (state, reason) = (json["state"] as? String ?? "", json["reason"] as? String ?? "")
            counts[state, default: 0] += 1
            counts[reason, default: 0] += 1
            if state == "raised" {
                #expect(standing.insert(user).inserted, "\(user) twice")
                #expect(json["churn_probability"] as? Double ?? 0 >= 0.15)
            } else {
                #expect(state == "cleared" && standing.remove(user) != nil, "\(user) was not raised")
            }
        }
        let c = daemon.counters
        #expect(counts["raised"] == c.alertsRaised && counts["cleared"] == c.alertsCleared)
        #expect(counts["silence"] == c.alertsForSilence)
        for kind in ["silence", "decline", "activity"] { #expect(counts[kind] ?? 0 > 0, "\(counts)") }
        #expect(daemon.daemon.status.recentAlerts.first == alerts.last?.value.map { Data($0) })
    }

    /// The last event lies ten seconds before a full hour, at which a tick finds who has been silent since.
    @Test func idleTicksRaiseAlertsWithoutRecords() async throws {
        let site = try Site(Cluster()) {
            $0.kafka.properties["session.timeout.ms"] = "30000"
            $0.runtime.idleTickSeconds = 1
            $0.engine.time.allowedLatenessSeconds = 0
            // Few customers are left at the end: time is the latest event less this.
            $0.engine.time.clockSkewSeconds = 0
            $0.engine.alerts.rescoreHours = 1
            // Whoever is silent is worth an alert; an event raises none, as nothing is below this before it.
            $0.engine.alerts.raiseThreshold = 1e-6
            $0.engine.alerts.clearThreshold = 1e-7
        }
        var shop = Shop()
        var inputs = shop.events(2500)
        let hour = (shop.now / 3_600_000 + 2) * 3_600_000
        func add(_ user: String, _ type: String, _ time: Int64) {
            let value = Shop.json(user: user, type: type, at: time, amount: type == "purchase" ? "9" : nil)
            inputs.append(Input(key: Array(user.utf8), value: value, timestampMs: time))
        }
        for i in 0..<5 { add("late-\(i)", "purchase", hour - 600_000 + Int64(i)) }
        // The hour is full ten seconds after this: time enough to be there before.
        add("last", "view", hour - 10_000)
        try site.produce(inputs)
        let daemon = RunningDaemon(site)
        nonisolated(unsafe) let mock = site.cluster.mock
        let count = inputs.count
        // Tasks of all tests share two threads that some of them block: a thread of its own is there in time.
        let seen = try await onThread { () throws -> (before: Int64, during: Int64, spoke: (Bool, Bool)) in
            func alerts() -> (raised: Int64, spoke: Bool) {
                let recent = daemon.daemon.status.recentAlerts
                return (
                    daemon.counters.alertsRaised,
                    recent.contains { String(decoding: $0, as: UTF8.self).contains("late-") }
                )
            }
            let end = ContinuousClock.now + .seconds(40)
            while daemon.counters.records < Int64(count) {
                guard ContinuousClock.now < end else { throw Late(description: "not within 40 s: \(count) records") }
                Thread.sleep(forTimeInterval: 0.02)
            }
            // It has been read to its end before the broker goes.
            Thread.sleep(forTimeInterval: 0.4)
            let before = alerts()
            guard let mock else { return (before.raised, before.raised, (before.spoke, false)) }
            // While the broker is away, records may be waiting there: that is no silence. The hour becomes full meanwhile.
            try mock.setBroker(1, up: false)
            Thread.sleep(forTimeInterval: 13)
            let during = alerts()
            try mock.setBroker(1, up: true)
            return (before.raised, during.raised, (before.spoke, during.spoke))
        }
        try #require(!seen.spoke.0, "the silent hour was over before the test could look")
        #expect(!seen.spoke.1 && seen.during == seen.before)
        let late = Set((0..<5).map { "late-\($0)" })
        try await eventually(20, "alerts of a silent hour\n\(daemon.log.text)") {
            daemon.counters.alertsRaised >= seen.before + 5
        }
        // They are published and committed without another record.
        let commits = daemon.daemon.status.commits
        try await eventually(10, "a commit") { daemon.daemon.status.commits > commits || daemon.daemon.status.lag == 0 }
        try await daemon.stop()
        #expect(daemon.counters.records == Int64(inputs.count))
        let alerts = try await site.alerts().filter { late.contains($0.keyText) }
        #expect(Set(alerts.map(\.keyText)) == late && alerts.count == 5)
        for alert in alerts { #expect(try alert.json["reason"] as? String == "silence") }
        let committed = try site.cluster.committed(site.input[0], group: site.settings.kafka.groupId)
        #expect(committed[0]?.offset == Int64(inputs.count))
        let metadata = committed[0]?.metadata ?? ""
        #expect(metadata.contains(";clock=\(hour);idleTicks=\(inputs.count):\(hour / 3_600_000)"), "\(metadata)")
    }
}

extension Settings {
    /// The plainest engine, for tests of what surrounds it.
    mutating func learning(_ enabled: Bool) { engine.learning.enabled = enabled }
}

extension Site {
    func with(_ settings: Settings) -> Site {
        var site = self
        site.settings = settings
        return site
    }

    /// The native format, but `ping` is ignored.
    func formatWithPing() throws -> String {
        let native = URL(filePath: #filePath).appending(path: "../../../Sources/EventInput/Formats/native.yaml")
        let text = try String(contentsOf: native.standardized, encoding: .utf8)
        return try folder.write(
            text.replacing("  other: other\n", with: "  other: other\n  ping: ignore\n"), to: "format.yaml")
    }
}
