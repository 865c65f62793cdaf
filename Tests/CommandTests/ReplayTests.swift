import EventInput
import Foundation
import Kafka
import Replay
import Testing

@Suite(.serialized) struct Replay {
    private let folder: Folder
    private let cluster: MockCluster

    init() throws {
        folder = try Folder()
        cluster = try MockCluster()
        try cluster.createTopic("events", partitions: 4)
    }

    private func replay(_ file: String, _ more: String..., interruptAfter: Double? = nil) throws -> Run {
        try clvd(
            ["replay", "--events", file, "--bootstrap", cluster.bootstrap, "--topic", "events"] + more,
            interruptAfter: interruptAfter)
    }

    /// `count` purchases of seven users, a second apart.
    private func purchases(_ count: Int) throws -> String {
        let rows = (0..<count).map { "\(1_700_000_000_000 + $0 * 1000),u\($0 % 7),purchase,\($0 + 1)\n" }
        return try folder.write("event_time_ms,user_id,event_type,amount\n" + rows.joined(), to: "purchases.csv")
    }

    @Test func everyRowOnceInOrderOfEachUserWithItsTime() throws {
        let run = try replay(try purchases(5000), "--json")
        try #require(run.status == 0, "\(run.errors)")
        let summary = try run.json
        #expect(summary["rows"] as? Int == 5000 && summary["sent"] as? Int == 5000)
        #expect(summary["rejected"] as? Int == 0 && summary["ignored"] as? Int == 0)
        #expect(summary["complete"] as? Bool == true)
        #expect(summary["last_event_ms"] as? Int == 1_700_004_999_000)

        let records = try contents(of: "events", partitions: 4, at: cluster.bootstrap)
        #expect(records.count == 5000 && Set(records.map(\.value)).count == 5000)
        for user in 0..<7 {
            let own = records.filter { $0.key == "u\(user)" }
            #expect(Set(own.map(\.partition)).count == 1)
            let times = stride(from: user, to: 5000, by: 7).map { Int64(1_700_000_000_000 + $0 * 1000) }
            #expect(own.map(\.timestampMs) == times)
        }
        let first = records.first { $0.timestampMs == 1_700_000_000_000 }?.value
        #expect(first == #"{"event_time_ms":1700000000000,"user_id":"u0","event_type":"purchase","amount":1}"#)
    }

    /// A line that is larger than the memory there is: it is skipped, told, and what comes after it is sent.
    @Test(arguments: ["jsonl", "csv"]) func aLineOfAGigabyteIsSkipped(kind: String) throws {
        let isCSV = kind == "csv"
        let row =
            isCSV
            ? "1700000000000,u,view\n" : #"{"user_id":"u","event_time_ms":1700000000000,"event_type":"view"}"# + "\n"
        let file = try folder.write((isCSV ? "event_time_ms,user_id,event_type\n" : "") + row, to: "huge.\(kind)")
        let handle = try #require(FileHandle(forWritingAtPath: file))
        let end = try handle.seekToEnd()
        try handle.truncate(atOffset: end + 1 << 30)  // a hole: nothing is written
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(("\n" + row).utf8))
        try handle.close()
        let run = try clvd(
            ["replay", "--events", file, "--bootstrap", cluster.bootstrap, "--topic", "events", "--json"],
            environment: ["MALLOC_ARENA_MAX": "2"], addressSpaceKiB: 900_000)
        try #require(run.status == 0, "\(run.errors)")
        let summary = try run.json
        #expect(summary["rows"] as? Int == 3 && summary["sent"] as? Int == 3 && summary["rejected"] as? Int == 1)
        let line = isCSV ? 3 : 2
        #expect(
            (summary["first_rejection"] as? String)?
                .hasPrefix("huge.\(kind), row \(line): record: 1073741824 bytes, the limit is 1048576") == true,
            "\(summary)")
        let sent = try contents(of: "events", partitions: 4, at: cluster.bootstrap)
        #expect(sent.count { $0.key == "u" } == 2 && sent.allSatisfy { $0.value.utf8.count < 1000 })
    }

    @Test func countsAddUp() throws {
        let format = try folder.write(
            """
            name: own
            summary: a test's
            fields:
              user_id: [/user]
              event_time: [{pointer: /at, unit: ms}]
              event_type: [/what]
              amount: [/sum]
            types: {buy: purchase, ping: ignore}
            """, to: "own.yaml")
        let file = try folder.write(
            """
            at,user,what,sum
            1700000000000,a,ping,
            1700000001000,a,buy,1
            1700000002000,b,ping,
            1700000003000,b,buy,\u{1b}[2J
            1700000004000,,buy,3

            1700000005000,c,buy,4
            1700000006000,c,ping,
            """, to: "own.csv")
        let run = try replay(file, "--format", format, "--json")
        try #require(run.status == 0, "\(run.errors)")
        let summary = try run.json
        #expect(summary["rows"] as? Int == 7 && summary["sent"] as? Int == 4)
        #expect(summary["rejected"] as? Int == 2 && summary["ignored"] as? Int == 3)
        #expect((summary["first_rejection"] as? String)?.hasPrefix("own.csv, row 5: ") == true)
        let records = try contents(of: "events", partitions: 4, at: cluster.bootstrap)
        #expect(records.count == 4)
        // A rejected one has its own time, or else that of the one before it.
        #expect(
            records.map(\.timestampMs).sorted() == [1_700_000_001_000, 1_700_000_003_000, 1_700_000_003_000]
                + [1_700_000_005_000])

        let limited = try replay(file, "--format", format, "--limit", "2")
        #expect(limited.status == 0 && limited.output.contains("row 5") && !limited.output.contains("\u{1b}"))
        #expect(try contents(of: "events", partitions: 4, at: cluster.bootstrap).count == 6)
    }

    @Test func linesOfJSONStayAsTheyAre() throws {
        let lines = [
            #"{"user_id":"a","event_time":"2024-01-01T00:00:00Z","event_type":"view","own":{"x":[1]}}"#,
            #"{"user_id":"a","event_time":"today","event_type":"view"}"#, "no JSON",
        ]
        let file = try folder.write(lines.joined(separator: "\n"), to: "events.jsonl")
        let run = try replay(file, "--json")
        #expect(try run.json["rejected"] as? Int == 2)
        let records = try contents(of: "events", partitions: 4, at: cluster.bootstrap)
        #expect(Set(records.map(\.value)) == Set(lines))
        #expect(records.allSatisfy { $0.timestampMs == 1_704_067_200_000 })
    }

    /// A daemon with the same settings reads what was sent.
    @Test func rowsAreSentInTheFormatOfTheFile() throws {
        let rees46 = try folder.write(
            """
            event_time,event_type,price,user_id,user_session
            2019-11-01 00:00:00 UTC,purchase,10.5,1,
            2019-11-01 00:00:01 UTC,purchase,"4,245.42",2,s
            2019-11-01 00:00:02 UTC,purchase,"1"x,3,s
            """, to: "rees46.csv")
        func config(_ format: String) throws -> String {
            try folder.write(
                "kafka: {bootstrapServers: \"\(cluster.bootstrap)\"}\ninput: {topics: [events], format: \(format)}",
                to: "\(format).yaml")
        }
        let run = try clvd("replay", "--events", rees46, "--config", config("rees46"), "--json", "--no-progress")
        #expect(try run.status == 0 && run.json["rejected"] as? Int == 2, "\(run)")
        let records = try contents(of: "events", partitions: 4, at: cluster.bootstrap)
        let first = records.first { $0.key == "1" }
        #expect(
            first?.value
                == #"{"event_time":"2019-11-01 00:00:00 UTC","event_type":"purchase","price":10.5,"user_id":"1"}"#)
        #expect(records.first { $0.key == "2" }?.timestampMs == 1_572_566_401_000)
        #expect(records.contains { $0.value == #"2019-11-01 00:00:02 UTC,purchase,"1"x,3,s"# })

        let other = try clvd("replay", "--events", rees46, "--config", config("native"))
        #expect(other.status == 78 && other.errors.contains("is in the format rees46, but input.format of"), "\(other)")
        let hinted = try replay(rees46, "--no-progress")
        #expect(hinted.status == 0 && hinted.errors.contains("the daemon needs input.format: rees46"))
    }

    @Test func rowsAreSortedUnlessToldNotTo() throws {
        let file = try folder.write(
            "event_time_ms,user_id,event_type,amount\n1700090000000,a,purchase,1\n1700000000000,b,purchase,2\n",
            to: "unsorted.csv")
        func sent() throws -> [Int64] {
            try contents(of: "one", partitions: 1, at: cluster.bootstrap).map(\.timestampMs)
        }
        try cluster.createTopic("one", partitions: 1)
        let sorted = try replay(file, "--topic", "one", "--no-progress")
        #expect(sorted.status == 0 && sorted.errors.contains("its rows were sorted by time"), "\(sorted)")
        #expect(try sent() == [1_700_000_000_000, 1_700_090_000_000])
        #expect(try replay(file, "--topic", "one", "--no-progress", "--no-sort").errors.isEmpty)
        #expect(try sent().suffix(2) == [1_700_090_000_000, 1_700_000_000_000])
    }

    @Test func nothingButRejectedRowsIsAFailure() throws {
        let file = try folder.write("event_time_ms,user_id,event_type\n1700090000000,,view\n", to: "bad.csv")
        let run = try replay(file, "--no-progress")
        #expect(run.status == 65 && run.errors.contains("none of 1 records can be used"), "\(run)")
        let dry = try clvd("replay", "--events", file, "--dry-run", "--json", "--no-progress")
        #expect(try dry.status == 65 && dry.json["refused"] as? [String: Int] == ["missing_user": 1], "\(dry)")
    }

    @Test func keepsPaceAndStopsWhenInterrupted() throws {
        // Ten rows a second of the clock.
        let run = try replay(try purchases(600), "--speed", "10", "--json", interruptAfter: 1.5)
        try #require(run.status == 0, "\(run.errors)")
        let sent = try #require(try run.json["sent"] as? Int)
        #expect(try run.json["complete"] as? Bool == false && run.json["rows"] as? Int == sent)
        #expect((2...17).contains(sent), "\(sent)")
        #expect(try contents(of: "events", partitions: 4, at: cluster.bootstrap).count == sent)
    }

    @Test func takesBrokersAndTopicFromTheSettings() throws {
        let config = try folder.write(
            "kafka: {bootstrapServers: \"\(cluster.bootstrap)\"}\ninput: {topics: [events]}", to: "clvd.yaml")
        let run = try clvd("replay", "--events", try purchases(3), "--config", config, "--json")
        #expect(try run.json["sent"] as? Int == 3 && run.json["topic"] as? String == "events")
    }

    @Test func saysWhatIsWrong() throws {
        let file = try purchases(3)
        func refusal(_ run: Run, _ status: Int32, _ reason: String) {
            #expect(run.status == status && run.output.isEmpty && run.errors.contains(reason), "\(run)")
        }
        refusal(try replay("/nowhere.csv"), 1, "/nowhere.csv: cannot open: No such file")
        refusal(try replay(try folder.write("a,b\n1,2\n", to: "x.csv")), 1, "no column user_id")
        refusal(try replay(file, "--format", "nativ"), 78, "did you mean \"native\"?")
        refusal(try replay(file, "--property", "no.such=1"), 78, "kafka property no.such")
        refusal(try replay(file, "--property", "acks"), 64, "--property")
        refusal(try replay(file, "--speed", "0"), 64, "--speed")
        refusal(try replay(file, "--limit", "0"), 64, "--limit")
        refusal(try clvd("replay", "--events", file, "--topic", "t"), 64, "--bootstrap")
        let begin = Date()
        refusal(
            try replay(file, "--bootstrap", "127.0.0.1:1", "--timeout", "1"), 1,
            "no Kafka broker answers at 127.0.0.1:1")
        #expect(Date().timeIntervalSince(begin) < 8)
        // The embedded cluster creates no topics.
        let missing = try replay(file, "--topic", "missing", "--timeout", "2")
        refusal(missing, 1, "--create --topic missing --partitions 1 --config retention.ms=-1")
    }

    @Test func failedDeliveryIsAFailure() throws {
        // Larger than the broker takes.
        let long = String(repeating: "x", count: 900_000)
        let file = try folder.write(
            #"{"user_id":"a","event_time":"2024-01-01T00:00:00Z","event_type":"view","x":"\#(long)"}"#, to: "e.jsonl")
        let run = try replay(file, "--property", "message.max.bytes=1000")
        #expect(run.status == 1 && run.output.isEmpty)
        #expect(run.errors.contains("0 of 0 records were delivered"), "\(run.errors)")
    }

    @Test func waitsForItsReader() throws {
        let producer = try Producer(
            bootstrap: cluster.bootstrap, transactionalId: nil, properties: [:], logger: quiet)
        let file = try EventFile(
            path: try purchases(3000), format: try EventFormat.load("native"), limits: InputLimits(),
            currency: CurrencyTable())
        let replay = EventReplay(file, producer: producer, topic: "events", partition: 2)
        var consumed: Int64 = 0
        var farthest: Int64 = 0
        let summary = try replay.run(
            flow: .init(maxAhead: 150) { consumed },
            onProgress: {
                farthest = max(farthest, $0.records - consumed)
                consumed = min(consumed + 60, $0.records)
            })
        #expect(summary.sent == 3000 && summary.complete && farthest <= 150 && farthest > 100)
        let records = try contents(of: "events", partitions: 4, at: cluster.bootstrap)
        #expect(records.count == 3000 && records.allSatisfy { $0.partition == 2 })
    }
}
