import EventInput
import Foundation
import Kafka
import Settings
import Testing
import Verification

@testable import Runtime

/// Input that is not keyed by customer, by way of a topic that is.
@Suite struct RepartitionTests {
    /// Runs both stages until the second has taken in so many records.
    private static func run(_ site: Site, _ records: Int) async throws -> (route: RunningDaemon, score: RunningDaemon) {
        let route = RunningDaemon(site, stage: .route)
        let score = RunningDaemon(site, stage: .score)
        try await eventually(60, "\(records) records\n\(route.log.text)\n---\n\(score.log.text)") {
            if let result = route.result ?? score.result { try result.get() }
            return score.daemon.status.records >= records
        }
        return (route, score)
    }

    @Test func recordsOfACustomerComeTogether() async throws {
        let site = try Site.repartitioned(Cluster(), Cluster.isReal ? .exactlyOnce : .atLeastOnce)
        var shop = Shop(seed: 21, users: 40)
        let events = shop.events(1200)
        let inputs = Site.spread(events)
        let producer = try site.cluster.producer()
        try site.feed(inputs[..<600], by: producer)
        let (route, score) = try await Self.run(site, 600)
        for start in stride(from: 600, to: 1200, by: 50) { try site.feed(inputs[start..<start + 50], by: producer) }
        try await score.taken(1200)
        try await route.stop()
        try await score.stop()

        let read = try await site.cluster.read(site.settings.eventsTopic, partitions: Site.spread)
        #expect(read.count == 1200)
        for record in read {
            #expect(record.keyText == (try record.json["user_id"] as? String))
            let origin = try #require(record.headers["clvd.origin"].flatMap { RecordOrigin($0) })
            #expect(site.input.contains(origin.topic) && origin.element == nil)
            #expect(record.headers["clvd.key"]?.hasPrefix("k") == true, "the key that it came with")
        }
        #expect(Set(read.map(\.headers["clvd.origin"])).count == 1200)
        #expect(Dictionary(grouping: read, by: \.keyText).values.allSatisfy { Set($0.map(\.partition)).count == 1 })
        #expect(try await site.stages(1200) == (0, 0))
        #expect(try site.verifiedRoute(records: 1200).routed == 1200)
        let expected = try await Site.inOnePartition(events, site.settings.engine)
        #expect(expected.count == 40)
        #expect(try site.customers() == expected, "the same orders, value, windows and last events, bit for bit")
    }

    /// The second stage says of each what it would say without the first: with the original key and place.
    @Test func whatIsNoEventIsAccountedForOnce() async throws {
        let site = try Site.repartitioned(Cluster(), Cluster.isReal ? .exactlyOnce : .atLeastOnce) {
            $0.input.skip = ["\($0.input.topics[0])/2/1"]
        }
        func event(_ i: Int) -> [UInt8] { Shop.json(user: "user-\(i)", type: "view", at: Shop.begin, id: "e\(i)") }
        func input(_ key: String?, _ value: [UInt8]?, _ partition: Int32) -> Input {
            Input(key: key.map { Array($0.utf8) }, value: value, timestampMs: Shop.begin, partition: partition)
        }
        let inputs = [
            input("a", event(1), 0), input(nil, event(2), 0), input("user-3", event(3), 0), input("b", nil, 1),
            input("c", Array("no JSON".utf8), 1), input("e", event(4), 2), input("skipped", event(5), 2),
            // Too late: what is rejected by the second stage alone.
            input("late", Shop.json(user: "user-1", type: "view", at: Shop.begin - 400 * Shop.dayMs), 3),
        ]
        try site.feed(inputs[..<7], by: site.cluster.producer())
        let (route, score) = try await Self.run(site, 6)
        try site.feed(inputs[7...], by: site.cluster.producer())
        try await score.taken(7)
        try await route.stop()
        try await score.stop()
        let read = try await site.cluster.read(site.settings.eventsTopic, partitions: Site.spread)
        let keys = Dictionary(uniqueKeysWithValues: read.map { ($0.headers["clvd.origin"] ?? "", $0) })
        let topic = site.input[0]
        #expect(keys["\(topic)/0/0"]?.keyText == "user-1" && keys["\(topic)/0/0"]?.headers["clvd.key"] == "a")
        #expect(keys["\(topic)/0/1"]?.keyText == "user-2" && keys["\(topic)/0/2"]?.headers["clvd.key"] == nil)
        #expect(keys["\(topic)/1/0"]?.keyText == "b" && keys["\(topic)/1/0"]?.value == nil)
        #expect(keys["\(topic)/1/1"]?.keyText == "c" && read.count == 7)

        let dead = try await site.cluster.read(site.settings.output.deadLetterTopic, partitions: 4)
        let reasons = Dictionary(
            uniqueKeysWithValues: dead.map { ($0.headers["__connect.errors.class.name"] ?? "", $0) })
        #expect(reasons.keys.sorted() == ["invalid_json", "skipped"] || reasons.count == 3, "\(reasons)")
        let invalid = try #require(reasons["invalid_json"])
        #expect(invalid.keyText == "c" && invalid.value == Array("no JSON".utf8))
        #expect(invalid.headers["__connect.errors.topic"] == topic)
        #expect(invalid.headers["__connect.errors.partition"] == "1")
        #expect(invalid.headers["__connect.errors.offset"] == "1")
        #expect(invalid.headers["clvd.routed"]?.hasPrefix("\(site.settings.eventsTopic)/") == true)
        let skipped = try #require(reasons["skipped"])
        #expect(skipped.keyText == "skipped" && skipped.headers["__connect.errors.offset"] == "1")
        #expect(skipped.headers["clvd.routed"] == nil)
        if let late = reasons["too_late"] {
            #expect(late.keyText == "late" && late.headers["__connect.errors.partition"] == "3")
        }
        let report = try site.verifiedRoute(records: 8)
        #expect(report.routed == 7 && report.deadLetters == 1 && report.double == 0)
        let outputs = try site.settings(of: .score).verified(records: 7)
        #expect(outputs.strange == 0 && outputs.deadLetters == Int64(dead.count - 1) && outputs.reasons.tombstones == 1)
    }

    /// Events of one record are records of their own, each with its customer as key; what is no event among them is named.
    @Test func eventsOfOneRecordGoTheirOwnWays() async throws {
        let site = try Site.repartitioned(Cluster(), Cluster.isReal ? .exactlyOnce : .atLeastOnce)
        func event(_ i: Int) -> String {
            String(decoding: Shop.json(user: "user-\(i)", type: "view", at: Shop.begin, id: "e\(i)"), as: UTF8.self)
        }
        func input(_ value: String, _ partition: Int32) -> Input {
            Input(key: [0x6B], value: Array(value.utf8), timestampMs: Shop.begin, partition: partition)
        }
        let inputs = [
            input("[\(event(1)), \(event(2)),\(event(3))]", 0), input(event(4), 0),
            input(#"{"batch": [\#(event(5)), {"user_id": 7}, {"batch": [\#(event(6)), \#(event(7))]}]}"#, 1),
            input("[]", 1), input(#"[\#(event(8)), 9]"#, 2),
        ]
        try site.feed(inputs, by: site.cluster.producer())
        let (route, score) = try await Self.run(site, 10)
        try await route.stop()
        try await score.stop()
        let read = try await site.cluster.read(site.settings.eventsTopic, partitions: Site.spread)
        let topic = site.input[0]
        let keys = Dictionary(uniqueKeysWithValues: read.map { ($0.headers["clvd.origin"] ?? "", $0.keyText) })
        #expect(
            keys == [
                "\(topic)/0/0#0": "user-1", "\(topic)/0/0#1": "user-2", "\(topic)/0/0#2": "user-3",
                "\(topic)/0/1": "user-4", "\(topic)/1/0#0": "user-5", "\(topic)/1/0#1": "k",
                "\(topic)/1/0#2": "user-6", "\(topic)/1/0#3": "user-7", "\(topic)/1/1": "k", "\(topic)/2/0": "k",
            ])
        #expect(read.allSatisfy { $0.keyText == "k" || $0.headers["clvd.key"] == "k" })
        let dead = try await site.cluster.read(site.settings.output.deadLetterTopic, partitions: 4)
        let places = dead.map { d in
            ["partition", "offset"].map { d.headers["__connect.errors.\($0)"] ?? "" }.joined(separator: "/") + "#"
                + (d.headers["clvd.element"] ?? "")
        }
        #expect(places.sorted() == ["1/0#1", "1/1#", "2/0#"])
        #expect(dead.first { $0.headers["clvd.element"] == "1" }?.value == Array(#"{"user_id": 7}"#.utf8))
        let report = try site.verifiedRoute(records: 5)
        #expect(report.routed == 5 && report.split == 2 && report.splitEvents == 7 && report.double == 0)
        let outputs = try site.settings(of: .score).verified(records: 10)
        #expect(outputs.updates == 7 && outputs.deadLetters == 3 && outputs.strange == 0)
    }

    /// What `clvd verify` is to find between the input and the topic of events.
    @Test func whatDoesNotFitIsFound() throws {
        let site = try Site.repartitioned(Cluster())
        let texts = (0..<5).map { "v\($0)" } + (5..<9).map { #"[{"a":\#($0)},{"b":\#($0)}]"# }
        let inputs = texts.enumerated().map { i, text in
            Input(key: Array("k\(i)".utf8), value: Array(text.utf8), timestampMs: Shop.begin, partition: 1)
        }
        let producer = try site.cluster.producer()
        try site.feed(inputs, by: producer)
        let topic = try producer.topic(site.settings.eventsTopic)
        func route(_ key: String, _ value: String, _ headers: [(name: String, text: String)]) throws {
            let (key, value) = (Array(key.utf8), Array(value.utf8))
            try key.withUnsafeBytes { k in
                try value.withUnsafeBytes { v in
                    try producer.produce(Producer.Record(topic: topic, key: k, value: v), headers: headers)
                }
            }
        }
        func origin(_ offset: Int, _ element: String = "") -> (name: String, text: String) {
            ("clvd.origin", "\(site.input[0])/1/\(offset)\(element)")
        }
        try route("k0", "v0", [origin(0)])
        try route("user-1", "v1", [origin(1), ("clvd.key", "k1")])
        try route("user-1", "v1", [origin(1), ("clvd.key", "k1")])
        try route("user-2", "v2", [origin(2)])
        try route("k4", "other", [origin(4)])
        try route("k9", "v9", [origin(9)])
        // Split: all there, one of two, one twice, another one.
        for (i, elements) in [(5, "01"), (6, "0"), (7, "011"), (8, "0")] {
            for e in elements { try route("k\(i)", e == "0" ? #"{"a":\#(i)}"# : #"{"b":\#(i)}"#, [origin(i, "#\(e)")]) }
        }
        try route("k8", #"{"b":0}"#, [origin(8, "#1")])
        try route("stranger", "v", [])
        try producer.flush()

        let s = site.settings.settings(of: .route)
        let report = try RouteVerifier(
            Verification(
                cluster: .init(bootstrap: s.kafka.bootstrapServers), inputs: s.input.topics,
                updates: s.output.updatesTopic, deadLetters: s.output.deadLetterTopic,
                format: EventFormat.load(s.input.format), to: .log)
        ).run()
        #expect(report.records == 9 && report.routed == 7 && report.deadLetters == 0 && report.orphans == 0)
        #expect(report.missing == 2 && report.double == 2 && report.strange == 3 && report.foreign == 1)
        let found = report.findings.map { "\($0.kind.rawValue) \($0.partition) \($0.offset)" }.sorted()
        #expect(
            found == [
                "double 1 1", "double 1 7", "missing 1 3", "missing 1 6", "strange 1 2", "strange 1 4", "strange 1 8",
            ])
    }

    /// A first stage that is stopped goes on where it was; it keeps nothing in the folder of snapshots.
    @Test func theFirstStageGoesOnWhereItWas() async throws {
        let site = try Site.repartitioned(Cluster())
        var shop = Shop(seed: 22, users: 20)
        let inputs = Site.spread(shop.events(300))
        for part in [inputs[..<100], inputs[100..<300]] {
            try site.feed(part, by: site.cluster.producer())
            let route = RunningDaemon(site, stage: .route)
            try await route.taken(part.count)
            try await route.stop()
            #expect(route.daemon.status.records == part.count)
        }
        #expect(try site.verifiedRoute(records: 300).double == 0)
        #expect(!FileManager.default.fileExists(atPath: site.settings.snapshots.directory))
    }

    /// Offsets that another program has committed are refused by this stage, too; what the remedy says helps.
    @Test func offsetsOfOthersAreRefused() async throws {
        let site = try Site.repartitioned(Cluster())
        var shop = Shop(seed: 23, users: 20)
        try site.feed(Site.spread(shop.events(100)), by: site.cluster.producer())
        let p = TopicPartition(site.input[0], 0)
        let settings = site.settings.settings(of: .route)
        let other = try Consumer(
            bootstrap: site.cluster.bootstrap, groupId: settings.kafka.groupId, instanceId: nil, topics: site.input,
            batchRecords: 1, properties: [:], logger: Log().logger)
        try other.commit([p: PartitionOffset(offset: 3)])
        other.close()
        let outcome = try await RunningDaemon(site, stage: .route).ended()
        let error = #expect(throws: RecoveryError.self) { try outcome.get() }
        #expect(error?.description.contains("clvd did not commit") == true, "\(String(describing: error))")
        let client = try GroupOffsetsClient(settings, hasState: false, patience: 10, logger: Log().logger)
        let offsets = try client.read(published: [:], time: nil)
        let plan = try offsets.accept()
        let outlook = try offsets.outlook(after: plan).map(\.sentence)
        #expect(outlook.contains("The daemon goes on at 3 and publishes from 3."), "\(outlook)")
        // The mock takes no offsets from outside once a group has had a member.
        guard Cluster.isReal else { return }
        // The one that was refused is a member until its session ends.
        try await eventually(20, "the end of its session") {
            do {
                _ = try client.carryOut(plan)
                return true
            } catch let error as KafkaError where error.isOfGroup {
                return false
            }
        }
        let route = RunningDaemon(site, stage: .route)
        try await route.taken(97)
        try await route.stop()
    }
}
