import Foundation
import Testing

@Suite struct Simulate {
    private let folder: Folder
    init() throws { folder = try Folder() }

    private func simulate(_ name: String, _ more: String..., seed: Int = 5) throws -> (events: String, truth: String) {
        let arguments = ["--users", "60", "--days", "90", "--seed", "\(seed)"] + more
        let run = try clvd(
            ["simulate", "--out", folder.path(name), "--truth", folder.path("t-" + name)] + arguments)
        try #require(run.status == 0, "\(run.errors)")
        return (folder.path(name), folder.path("t-" + name))
    }

    private func bytes(_ path: String) -> Data? { FileManager.default.contents(atPath: path) }

    @Test func sameSeedSameFiles() throws {
        let first = try simulate("a.csv")
        let again = try simulate("b.csv", "--json", "--no-progress")
        #expect(bytes(first.events) == bytes(again.events) && bytes(first.truth) == bytes(again.truth))
        let other = try simulate("c.csv", seed: 6)
        #expect(bytes(first.events) != bytes(other.events) && bytes(first.truth) != bytes(other.truth))
        #expect(try bytes(simulate("d.csv", "--median-order-value", "80").events) != bytes(first.events))
    }

    @Test func truthIsWhatTheEventsSay() throws {
        let files = try simulate("a.csv", "--spend-shift", "2")
        func rows(_ path: String) throws -> [[Substring]] {
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").dropFirst()
                .map { $0.split(separator: ",", omittingEmptySubsequences: false) }
        }
        var purchases: [Substring: Int] = [:]
        var spend: [Substring: Double] = [:]
        for row in try rows(files.events) where row[3] == "purchase" {
            purchases[row[2], default: 0] += 1
            spend[row[2], default: 0] += Double(row[8])!
        }
        let truth = try rows(files.truth)
        #expect(truth.count == 60 && purchases.count > 10)
        for row in truth {
            #expect(Int(row[6]) == purchases[row[0], default: 0])
            #expect(abs(Double(row[7])! - spend[row[0], default: 0]) < 0.005)
        }
    }

    @Test func gzipByName() throws {
        let plain = try simulate("plain.csv")
        let packed = try simulate("packed.csv.gz")
        for (path, original) in [(packed.events, plain.events), (packed.truth, plain.truth)] {
            let process = Process()
            process.executableURL = URL(filePath: "/bin/gzip")
            process.arguments = ["-d", path]
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
            #expect(bytes(String(path.dropLast(3))) == bytes(original))
        }
    }

    @Test(arguments: ["subscription", "seasonal", "one-time", "heavy-tailed", "tiny", "bursty"])
    func charactersAreDeterministic(character: String) throws {
        func run(_ name: String, seed: String) throws -> [Data?] {
            let files = ["e", "t", "l", "o"].map { folder.path("\($0)-\(name).csv") }
            let run = try clvd(
                "simulate", "--character", character, "--users", "30", "--days", "100", "--seed", seed, "--out",
                files[0],
                "--truth", files[1], "--landmarks", files[2], "--oracle", files[3], "--horizons", "7,21", "--json")
            try #require(run.status == 0, "\(run.errors)")
            #expect(try run.json["character"] as? String == character)
            return files.map(bytes)
        }
        let first = try run("a", seed: "1")
        #expect(first.allSatisfy { $0 != nil } && first[2]!.count > 100)
        #expect(try run("b", seed: "1") == first)
        #expect(try zip(run("c", seed: "2"), first).allSatisfy { $0 != $1 })
        #expect(
            String(decoding: first[2]!, as: UTF8.self).hasPrefix(
                "landmark_id,user_id,time_ms,horizons,money,purchases\n"))
    }

    /// What landmarks say of the outcomes is what the events say.
    @Test func landmarksHaveTheirOutcomes() throws {
        let files = try simulate(
            "a.csv", "--landmarks", folder.path("l.csv"), "--horizons", "5,20", "--landmark-days", "9")
        func rows(_ path: String) throws -> [[Substring]] {
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").dropFirst()
                .map { $0.split(separator: ",", omittingEmptySubsequences: false) }
        }
        let bought = try rows(files.events).filter { $0[3] == "purchase" }
        let landmarks = try rows(folder.path("l.csv"))
        #expect(landmarks.count > 50)
        for l in landmarks {
            let at = Int64(l[2])!
            for (h, days) in [5, 20].enumerated() {
                let mine = bought.filter {
                    $0[2] == l[1] && Int64($0[1])! > at && Int64($0[1])! <= at + Int64(days) * 86_400_000
                }
                #expect(Int(l[5].split(separator: "|")[h]) == mine.count)
                #expect(abs(Double(l[4].split(separator: "|")[h])! - mine.reduce(0) { $0 + Double($1[8])! }) < 0.006)
            }
        }
    }

    @Test(arguments: [
        (["--out", "/dev/full", "--truth", "/dev/null"], Int32(1), "/dev/full: cannot write"),
        (["--out", "/nowhere/e.csv", "--truth", "/dev/null"], 1, "/nowhere/e.csv: cannot write"),
        (["--out", "/dev/null", "--truth", "/dev/null"], 64, "same file"),
        (["--out", "/dev/null", "--truth", "/dev/zero", "--oracle", "/tmp/o"], 64, "--oracle needs --landmarks"),
        (["--out", "/dev/null", "--truth", "/dev/zero", "--landmarks", "/tmp/l"], 64, "do not fit"),
        (
            ["--out", "/dev/null", "--truth", "/dev/zero", "--landmarks", "/tmp/l", "--horizons", "x"], 64,
            "--horizons are"
        ),
        (["--out", "/dev/null", "--truth", "/dev/zero", "--character", "odd"], 64, "--character"),
        (["--out", "/dev/null", "--truth", "/dev/zero", "--churn-scale-days", "0"], 64, "churnScaleDays is 0.0"),
    ])
    func refuses(arguments: [String], status: Int32, reason: String) throws {
        let run = try clvd(["simulate", "--users", "500", "--days", "9"] + arguments)
        #expect(run.status == status && run.output.isEmpty)
        #expect(run.errors.contains(reason), "\(run.errors)")
    }
}
