import CEventParser
import EventInput
import Foundation
import Kafka
import Testing

@testable import Verification

/// Inputs and outputs are laid out by hand: what is planted has to be found, and nothing else.
@Suite struct VerifyTests {
    /// Topics of a daemon that never was.
    struct Site {
        let mock: MockCluster
        let producer: Producer
        private let log = InputLog()

        /// What was sent to the input, by partition.
        private final class InputLog {
            var records: [Int32: [(user: String, id: String?)]] = [:]
        }

        init(partitions: Int = 1) throws {
            mock = try MockCluster()
            producer = try Producer(
                bootstrap: mock.bootstrap, transactionalId: nil, properties: ["linger.ms": "0"], logger: quiet)
            for topic in ["events", "updates", "dead"] { try mock.createTopic(topic, partitions: partitions) }
        }

        func send(
            _ topic: String, _ value: String?, key: String = "k", partition: Int32 = 0,
            headers: [(name: String, text: String)] = []
        ) throws {
            try Array(key.utf8).withUnsafeBytes { k in
                try Array((value ?? "").utf8).withUnsafeBytes { v in
                    let record = Producer.Record(
                        topic: try producer.topic(topic), key: k, value: value == nil ? nil : v)
                    if headers.isEmpty {
                        try producer.produce(record, partition: partition, timestampMs: 1_704_067_200_000)
                    } else {
                        try producer.produce(record, headers: headers)
                    }
                }
            }
            // In the order of the calls, whichever way they are handed over.
            try producer.flush()
            if topic == "events" { log.records[partition, default: []].append((key, nil)) }
        }

        /// An input record.
        func event(user: String = "u", id: String? = nil, type: String = "view", partition: Int32 = 0) throws {
            let field = id.map { #""event_id":"\#($0)","# } ?? ""
            try send(
                "events", #"{\#(field)"event_time_ms":1704067200000,"user_id":"\#(user)","event_type":"\#(type)"}"#,
                partition: partition)
            log.records[partition]?.removeLast()
            log.records[partition]?.append((user, id))
        }

        /// The update of the record at an offset, or what is said to be one.
        func update(
            _ offset: Int, partition: Int32 = 0, topic: String = "events", user: String? = nil, id: String? = nil,
            time: String = "2024-01-01T00:00:00.000Z"
        ) throws {
            let records = log.records[partition] ?? []
            let record = offset < records.count ? records[offset] : (user: "k", id: nil)
            // A user that would be taken for the source by a search for its name alone.
            try send(
                "updates",
                #"{"user_id":"\"source\":{\"topic\":\"x","event_id":"#
                    + ((id ?? record.id).map { "\"\($0)\"" } ?? "null")
                    + #","event_time":"\#(time)","source":{"topic":"\#(topic)","partition":\#(partition),"#
                    + #""offset":\#(offset)},"clv":{"7":1}}"#,
                key: user ?? record.user)
        }

        func deadLetter(_ offset: Int, value: String = "{", cut: Bool = false) throws {
            try send(
                "dead", value,
                headers: headers("__connect.errors.", offset) + (cut ? [("clvd.cut.from", "key 1 bytes")] : []))
        }

        func erasure(_ offset: Int) throws {
            try send("updates", nil, key: "u", headers: headers("clvd.source.", offset))
        }

        private func headers(_ prefix: String, _ offset: Int) -> [(name: String, text: String)] {
            [(prefix + "topic", "events"), (prefix + "partition", "0"), (prefix + "offset", "\(offset)")]
        }

        func commit(_ offset: Int64) throws {
            let consumer = try Consumer(
                bootstrap: mock.bootstrap, groupId: "g", instanceId: nil, topics: ["events"], batchRecords: 1,
                properties: [:], logger: quiet)
            defer { consumer.close() }
            try consumer.commit([TopicPartition("events", 0): PartitionOffset(offset: offset)])
        }

        func verify(
            to end: Verification.End = .log, _ change: (inout Verification) -> Void = { _ in }
        ) throws -> Verification.Report {
            var task = Verification(
                cluster: .init(bootstrap: mock.bootstrap), inputs: ["events"], updates: "updates", deadLetters: "dead",
                format: try EventFormat.load("native"), to: end)
            task.patience = 20
            change(&task)
            return try Verifier(task).run()
        }
    }

    /// Where what is above the most of a day is ignored, it needs no output; but the day has to be full.
    @Test(arguments: [(2, 0), (3, 2), (0, 2)] as [(Int, Int64)])
    func eventsAboveTheMostOfADayNeedNoOutput(most: Int, missing: Int64) throws {
        let site = try Site()
        for _ in 0..<4 { try site.event() }
        try site.event(user: "other")
        for offset in [0, 1, 4] { try site.update(offset) }
        let report = try site.verify { $0.mostEventsPerDay = most }
        #expect(report.missing == missing && report.reasons.ignored == 2 - missing && report.updates == 3)
    }

    private func places(_ report: Verification.Report, _ kind: Verification.Report.Finding.Kind) -> [Int64] {
        report.findings.filter { $0.kind == kind }.map(\.offset)
    }

    @Test func everyFateIsTold() throws {
        let site = try Site()
        try site.event(id: "1")  // 0
        try site.update(0)
        try site.send("events", "{")  // 1
        try site.deadLetter(1)
        try site.event(id: "1")  // 2: a duplicate
        try site.send("events", nil)  // 3: a tombstone
        try site.event(id: "2", type: "user_deleted")  // 4
        try site.erasure(4)
        try site.event(id: "1")  // 5: not a duplicate any more, and it has its update
        try site.update(5)
        let report = try site.verify()
        #expect(report.records == 6 && report.updates == 3 && report.deadLetters == 1)
        #expect(report.reasons == .init(duplicates: 1, ignored: 0, tombstones: 1, superseded: 0))
        #expect(report.accounted == 2 && report.missing == 0 && report.double == 0)
        #expect(report.orphans == 0 && report.foreign == 0 && report.findings.isEmpty)
        #expect(report.partitions == [.init(topic: "events", partition: 0, from: 0, to: 6)])
    }

    @Test func whatIsMissingIsFound() throws {
        let site = try Site()
        try site.event(id: "a")  // 0: missing, with an id
        try site.event()  // 1: missing, without
        try site.send("events", "{")  // 2: no dead letter
        try site.event(id: "b")
        try site.update(3)
        try site.event(user: "v", id: "b")  // 4: another user's id is no excuse
        try site.event(id: "c", type: "user_deleted")  // 5: no tombstone
        try site.event(id: "c")  // 6: an erasure remembers no id
        try site.event(id: "a")  // 7: its original is missing as well
        let report = try site.verify()
        #expect(report.records == 8 && report.updates == 1 && report.missing == 7 && report.accounted == 0)
        #expect(places(report, .missing).sorted() == [0, 1, 2, 4, 5, 6, 7])
        #expect(report.findings.first { $0.offset == 2 }?.remark.contains("invalid_json") == true)
        // Memory for one suspect at a time changes nothing but the order.
        let again = try site.verify { $0.mostSuspects = 1 }
        #expect(places(again, .missing).sorted() == [0, 1, 2, 4, 5, 6, 7])
        #expect(again.records == 8 && again.updates == 1 && again.missing == 7)
    }

    /// An erasure forgets the event ids of its user, its own as well: an event that repeats it is no duplicate.
    @Test func aDeletionIsNotTheOriginalOfADuplicate() throws {
        let site = try Site()
        try site.event(id: "c", type: "user_deleted")  // 0
        try site.erasure(0)
        try site.event(id: "c")  // 1: its update is missing
        try site.event(id: "c")  // 2: so is that of this one, as its original has none
        let report = try site.verify()
        #expect(report.records == 3 && report.updates == 1 && report.reasons.duplicates == 0)
        #expect(places(report, .missing).sorted() == [1, 2])
    }

    @Test func duplicatesAreResolvedInRoundsOfAnySize() throws {
        let site = try Site()
        for i in 0..<6 {
            try site.event(id: "\(i)")
            try site.update(2 * i)
            try site.event(id: "\(i)")
        }
        for most in [1, 2, 100] {
            let report = try site.verify { $0.mostSuspects = most }
            #expect(report.reasons.duplicates == 6 && report.missing == 0 && report.records == 12)
        }
        // The original of the first lies before what is asked about.
        let rest = try site.verify { $0.from = 1 }
        #expect(rest.records == 11 && rest.updates == 5 && rest.reasons.duplicates == 6 && rest.missing == 0)
    }

    @Test func whatIsDoubleIsFound() throws {
        let site = try Site()
        for _ in 0..<4 { try site.event() }
        try site.send("events", "{")  // 4
        for i in 0..<4 { try site.update(i) }
        try site.update(1)
        try site.update(1)
        try site.deadLetter(2)
        try site.deadLetter(4)
        try site.deadLetter(4)
        let report = try site.verify()
        #expect(report.records == 5 && report.updates == 4 && report.deadLetters == 1 && report.missing == 0)
        #expect(report.double == 4 && places(report, .double).sorted() == [1, 1, 2, 4])
        let remarks = report.findings.map(\.remark)
        #expect(remarks.contains("an update and, at updates[0] offset 4, another update"))
        // Whichever topic is read first.
        #expect(
            remarks.contains("an update and, at dead[0] offset 0, a dead letter")
                || remarks.contains("a dead letter and, at updates[0] offset 2, an update"))
        // Only what is asked about.
        #expect(try site.verify(to: .offset(2)).double == 2)
        #expect(try site.verify { $0.from = 2 }.double == 2)
    }

    @Test func outputsOfOtherTopicsAndPartitionsAreOthers() throws {
        let site = try Site(partitions: 2)
        try site.event(partition: 0)
        try site.event(partition: 1)
        try site.update(0, partition: 1)
        try site.update(0, topic: "other")
        try site.update(7)  // beyond the log
        try site.send("updates", "no update")
        try site.send("updates", #"{ "source" : {"offset": 0, "partition": 0, "topic": "events"} }"#)
        let report = try site.verify()
        #expect(report.records == 2 && report.updates == 2 && report.missing == 0 && report.double == 0)
        #expect(report.foreign == 1)
    }

    @Test func whatCompactionReplacedIsToldOnlyWhereThereIsCompaction() throws {
        let site = try Site()
        try site.event(id: "1")  // 0: replaced by that of 2
        try site.event(user: "v", id: "1")  // 1: nothing later
        try site.event(id: "2")  // 2
        try site.update(2)
        try site.event(user: "w", id: "1", type: "user_deleted")  // 3: tombstones go, too
        let report = try site.verify { $0.compacted = true }
        #expect(report.reasons.superseded == 2 && report.compacted)
        #expect(places(report, .missing) == [1])
        #expect(places(try site.verify(), .missing).sorted() == [0, 1, 3])
    }

    // MARK: Strange outputs

    /// The input was made anew under outputs that were there already.
    @Test func whatIsOfAnotherRecordIsFound() throws {
        let site = try Site()
        for i in 0..<3 { try site.event(id: "\(i)") }
        try site.send("events", "{")  // 3
        try site.send("events", "}")  // 4
        try site.event(id: "5", type: "user_deleted")
        try site.event()  // 6
        try site.event()  // 7
        try site.event(id: "8", type: "user_deleted")
        try site.event(id: #"a\"b"#)  // 9
        try site.event(id: #"a\"b"#)  // 10
        try site.update(0)
        try site.update(1, user: "v")
        try site.update(2, id: "x")
        try site.update(3)
        try site.deadLetter(4)  // of "{"
        try site.update(5, id: "5")  // no tombstone
        try site.update(6)
        try site.update(7, time: "2024-01-01T00:00:00.001Z")
        try site.send(
            "updates", nil, key: "v",
            headers: [
                ("clvd.source.topic", "events"), ("clvd.source.partition", "0"), ("clvd.source.offset", "8"),
            ])
        try site.update(9)
        try site.update(10, id: #"a\\b"#)
        let report = try site.verify()
        let remarks = Dictionary(uniqueKeysWithValues: report.findings.map { ($0.offset, $0.remark) })
        #expect(
            remarks == [
                1: "its update is of another customer", 2: "its update is of another event of the customer",
                3: "an update, but the record is invalid_json", 4: "its dead letter has other bytes",
                5: "its update is of another event of the customer",
                7: "its update is of another event of the customer", 8: "its update is of another customer",
                10: "its update is of another event of the customer",
            ])
        #expect(report.strange == 8 && report.missing == 0 && report.double == 0 && report.records == 11)
        #expect(places(report, .strange).count == 8)
        // Only what is asked about, with whatever room for others.
        #expect(try site.verify { $0.from = 8 }.strange == 2)
        #expect(try site.verify(to: .offset(3)).strange == 2)
        #expect(try site.verify { ($0.compacted, $0.mostSuspects) = (true, 1) }.strange == 8)
    }

    @Test func ofTwoOutputsOneMayBeStrange() throws {
        let site = try Site()
        for i in 0..<3 { try site.event(id: "\(i)") }
        try site.update(0)
        try site.update(0)
        try site.update(1, id: "x")  // of the topic that was
        try site.update(1)
        try site.update(2)
        try site.deadLetter(2)
        let report = try site.verify()
        #expect(report.double == 3 && places(report, .strange) == [1] && report.strange == 1)
    }

    @Test func whatCannotBeComparedIsNotStrange() throws {
        let site = try Site()
        try site.event(id: "1")
        try site.send("events", "no JSON")
        // Of a version or a program that says less.
        try site.send("updates", #"{"source":{"topic":"events","partition":0,"offset":0}}"#, key: "u")
        try site.deadLetter(1, value: "no J", cut: true)
        let report = try site.verify()
        #expect(report.strange == 0 && report.updates == 1 && report.deadLetters == 1)
    }

    // MARK: The command

    @Test func theCommandSaysWhatIsWrongAndFails() throws {
        let site = try Site()
        for i in 0..<5 {
            try site.event(id: "\(i)")
            if i != 3 { try site.update(i) }
        }
        try site.commit(3)
        let names = [
            "--bootstrap", site.mock.bootstrap, "--group", "g", "--updates", "updates", "--dead-letters", "dead",
        ]
        let sound = try clvd(["verify"] + names + ["--json"])
        #expect(sound.status == 0, "\(sound.errors)")
        #expect(try sound.json["records"] as? Int == 3)
        #expect(
            try Set(sound.json.keys).isSuperset(of: [
                "records", "updates", "dead_letters", "accounted", "missing", "double",
            ]))
        let whole = try clvd(["verify", "--to", "end"] + names)
        #expect(whole.status == 2)
        #expect(whole.output.contains("missing  events[0] offset 3: no update and no dead letter"))
        #expect(try clvd(["verify", "--to", "end", "--json"] + names).json["missing"] as? Int == 1)
        #expect(try clvd(["verify", "--from", "4", "--to", "5"] + names).status == 0)

        // Twice is no fault where delivery is at least once.
        try site.update(1)
        #expect(try clvd(["verify"] + names).status == 2)
        #expect(try clvd(["verify", "--allow-double"] + names).status == 0)
        let folder = try Folder()
        let config = try folder.write(
            """
            kafka: {bootstrapServers: "\(site.mock.bootstrap)", groupId: g}
            output: {updatesTopic: updates, deadLetterTopic: dead}
            delivery: at-least-once
            """, to: "clvd.yaml")
        let configured = try clvd("verify", "--config", config, "--json")
        #expect(configured.status == 0, "\(configured.errors)")
        #expect(try configured.json["double"] as? Int == 1)
        #expect(try configured.json["strange"] as? Int == 0)

        // What is of another record is a fault in any case.
        try site.update(4, user: "other")
        let strange = try clvd(["verify", "--from", "4", "--to", "5", "--allow-double"] + names)
        #expect(strange.status == 2 && strange.output.contains("strange  events[0] offset 4: two outputs"))
    }

    @Test func whatCannotBeVerifiedIsSaid() throws {
        let site = try Site()
        let names = ["--bootstrap", site.mock.bootstrap, "--updates", "updates", "--dead-letters", "dead"]
        let nothing = try clvd(["verify", "--group", "nobody"] + names)
        #expect(nothing.status == 1 && nothing.errors.contains("group nobody has committed nothing of events"))
        let topic = try clvd(["verify", "--to", "end", "--input", "none"] + names)
        #expect(topic.status == 1 && topic.errors.contains("there is no topic none"))
        let broker = try clvd("verify", "--bootstrap", "127.0.0.1:1", "--to", "end", "--timeout", "1")
        #expect(broker.status == 1 && broker.errors.contains("127.0.0.1:1"))
        #expect(try clvd("verify").status == 64)
        #expect(try clvd("verify", "--bootstrap", "127.0.0.1:1").status == 64)
    }
}
