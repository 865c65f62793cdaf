import Foundation
import Testing

@Suite struct Evaluate {
    private let folder: Folder
    private let events: [String]
    private let landmarks: [(id: Int, user: String, timeMs: Int64)]
    private static let start: Int64 = 1_704_067_200_000
    private static let day: Int64 = 86_400_000
    /// What was to come is another after it; landmarks lie close before it.
    private static let turn = start + 70 * day + day / 2

    /// A small shop, and landmarks of every user (and of one who never comes) every week.
    init() throws {
        folder = try Folder()
        let run = try clvd(
            "simulate", "--users", "90", "--days", "100", "--seed", "3", "--out", folder.path("events.csv"),
            "--truth", folder.path("truth.csv"), "--no-progress")
        try #require(run.status == 0, "\(run.errors)")
        events = try folder.read("events.csv").split(separator: "\n").map(String.init)
        let users = Set(events.dropFirst().map { Self.field(2, $0) }).sorted() + ["nobody"]
        var all: [(id: Int, user: String, timeMs: Int64)] = []
        for (u, user) in users.enumerated() {
            for week in 1..<15 {
                all.append((all.count, user, Self.start + Int64(week * 7) * Self.day + Int64(u) * 977_531))
            }
        }
        landmarks = all
        // A model that fits a debug build and learns early.
        _ = try folder.write(
            """
            model: {units: 16, hidden: 16, categoryBuckets: 32, crossBuckets: 32}
            learning:
              batchSize: 96
              minimumSteps: 5
              warmupSteps: 5
              earlyStoppingInterval: 5
              maxLandmarks: 4096
            """, to: "clvd.yaml")
        let rows = landmarks.map { "\($0.id),\($0.user),\($0.timeMs),7|14" }
        _ = try folder.write((["landmark_id,user_id,time_ms,horizons"] + rows).joined(separator: "\n"), to: "l.csv")
    }

    private static func field(_ i: Int, _ row: String) -> String {
        String(row.split(separator: ",", omittingEmptySubsequences: false)[i])
    }

    private func evaluate(_ name: String, events: String = "events.csv", _ more: String...) throws -> Run {
        let run = try clvd(
            [
                "evaluate", "--events", folder.path(events), "--landmarks", folder.path("l.csv"), "--out",
                folder.path(name), "--config", folder.path("clvd.yaml"), "--no-progress",
            ] + more)
        try #require(run.status == 0, "\(run.errors)")
        return run
    }

    @Test func sameBytesOnAnyThreads() throws {
        let json = try evaluate("a.csv", "--threads", "1", "--json").json
        #expect(try #require(json["learning_steps"] as? Int) > 20, "\(json)")
        #expect(try evaluate("b.csv", "--threads", "1").output.contains("Prequential"))
        _ = try evaluate("c.csv", "--threads", "3")
        _ = try evaluate("d.csv", "--threads", "3", "--seed", "9")
        let first = try folder.read("a.csv")
        #expect(try first == folder.read("b.csv") && first == folder.read("c.csv"))
        #expect(try first != folder.read("d.csv"))
        let rows = first.split(separator: "\n").dropFirst().map { $0.split(separator: ",").map { Double($0)! } }
        #expect(rows.count == 2 * landmarks.count)
        #expect(rows.allSatisfy { $0[2] >= 0 && $0[2].isFinite && (0...1).contains($0[3]) })
        for pair in stride(from: 0, to: rows.count, by: 2) {
            let (near, far) = (rows[pair], rows[pair + 1])
            #expect(near[0] == far[0] && near[1] == 7 && far[1] == 14 && near[2] <= far[2] && near[3] <= far[3])
        }
        // Nobody knows the last user: everybody's rate, the same for all landmarks between two lessons.
        let strangers = rows.filter { landmarks[Int($0[0])].user == "nobody" }
        #expect(strangers.count == 28 && strangers.dropFirst(6).allSatisfy { $0[3] > 0 })
    }

    /// All that happens after an instant is made another story; what was said before it must stay, to the last bit.
    @Test func nothingIsKnownOfTheFuture() throws {
        let later = events.dropFirst().filter { Int64(Self.field(1, $0))! > Self.turn }
        let times = later.map { Self.field(1, $0) }
        let other = zip(times, later.reversed()).map { time, row in
            var fields = row.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            fields[1] = time
            fields[3] = fields[3] == "purchase" ? "view" : "purchase"
            fields[8] = fields[3] == "purchase" ? "99" : ""
            return fields.joined(separator: ",")
        }
        let known = events.filter { $0 == events[0] || Int64(Self.field(1, $0))! <= Self.turn }
        _ = try folder.write((known + other).joined(separator: "\n"), to: "other.csv")
        _ = try evaluate("a.csv")
        _ = try evaluate("b.csv", events: "other.csv")
        func rows(_ name: String, before: Bool) throws -> [Substring] {
            try folder.read(name).split(separator: "\n").dropFirst().filter {
                let id = Int($0.split(separator: ",")[0])!
                return (landmarks[id].timeMs <= Self.turn) == before
            }
        }
        #expect(try rows("a.csv", before: true).count > 1000)
        #expect(try rows("a.csv", before: true) == rows("b.csv", before: true))
        #expect(try rows("a.csv", before: false) != rows("b.csv", before: false))
    }

    /// A landmark at the millisecond of an event sees it, one a millisecond earlier does not, and neither sees more.
    @Test func aLandmarkSeesTheEventsUpToItsMillisecond() throws {
        let all = events.dropFirst().map { (time: Int64(Self.field(1, $0))!, row: $0) }
        let after = Self.start + 70 * Self.day
        let turn = try #require(all.first { $0.time > after && Self.field(3, $0.row) == "purchase" })
        let user = Self.field(2, turn.row)
        let next = try #require(all.first { $0.time > turn.time && Self.field(2, $0.row) == user })
        let instants = [turn.time - 1, turn.time, next.time - 1, next.time]
        let rows = instants.enumerated().map { "\($0),\(user),\($1),7" }
        _ = try folder.write((["landmark_id,user_id,time_ms,horizons"] + rows).joined(separator: "\n"), to: "ties.csv")
        /// What is said at the four landmarks when of the user's events only those up to `last` are in the file.
        func said(_ name: String, upTo last: Int64) throws -> [Substring] {
            let kept = all.filter { $0.time <= last || Self.field(2, $0.row) != user }.map(\.row)
            _ = try folder.write(([events[0]] + kept).joined(separator: "\n"), to: "kept.csv")
            let run = try clvd(
                "evaluate", "--events", folder.path("kept.csv"), "--landmarks", folder.path("ties.csv"), "--out",
                folder.path(name), "--config", folder.path("clvd.yaml"), "--no-progress")
            try #require(run.status == 0, "\(run.errors)")
            return try folder.read(name).split(separator: "\n").dropFirst().map { $0 }
        }
        let whole = try said("whole.csv", upTo: .max)
        try #require(whole.count == 4)
        let before = try said("before.csv", upTo: turn.time - 1)
        #expect(before[0] == whole[0] && before[1] != whole[1])
        let with = try said("with.csv", upTo: turn.time)
        #expect(with[1] == whole[1] && with[2] == whole[2] && with[3] != whole[3])
    }

    @Test(arguments: [
        ("landmark_id,user,time_ms,horizons\n", "no column user_id"),
        ("landmark_id,user_id,time_ms,horizons\n1,a,soon,7\n", "row 2: time_ms"),
        ("landmark_id,user_id,time_ms,horizons\n1,a,5,7|x\n", "row 2: horizons"),
        ("landmark_id,user_id,time_ms,horizons\n1,a,5\n", "row 2: 3 columns"),
        ("landmark_id,user_id,time_ms,horizons\n", "no landmarks"),
    ])
    func refuses(text: String, reason: String) throws {
        let path = try folder.write(text, to: "bad.csv")
        let run = try clvd("evaluate", "--events", folder.path("events.csv"), "--landmarks", path, "--out", "/dev/null")
        #expect(run.status == 1 && run.output.isEmpty && run.errors.contains(reason), "\(run.errors)")
    }
}
