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

    @Test(arguments: [
        (["--out", "/dev/full", "--truth", "/dev/null"], Int32(1), "/dev/full: cannot write"),
        (["--out", "/nowhere/e.csv", "--truth", "/dev/null"], 1, "/nowhere/e.csv: cannot write"),
        (["--out", "/dev/null", "--truth", "/dev/null"], 64, "same file"),
        (["--out", "/dev/null", "--truth", "/dev/zero", "--churn-scale-days", "0"], 64, "churnScaleDays is 0.0"),
    ])
    func refuses(arguments: [String], status: Int32, reason: String) throws {
        let run = try clvd(["simulate", "--users", "500", "--days", "9"] + arguments)
        #expect(run.status == status && run.output.isEmpty)
        #expect(run.errors.contains(reason), "\(run.errors)")
    }
}
