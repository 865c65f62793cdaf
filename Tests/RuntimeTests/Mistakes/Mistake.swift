import Foundation
import Kafka
import Settings
import Synchronization
import Testing

/// A mistake of a person, another program or a broker, committed against the program itself on a real broker, and what
/// came of it: a row of the table that `make mistakes` prints. A case that cannot be brought about is not all right.
final class Mistake {
    private static let environment = ProcessInfo.processInfo.environment
    /// Where the rows and the logs go.
    private static let folder = environment["CLVD_TEST_MISTAKES"]
    /// `CLVD_TEST_MISTAKES` is set, and there is a broker.
    static var areAsked: Bool { folder != nil && Cluster.isReal }

    /// A row of the table.
    private struct Row: Encodable {
        var id: String
        var mistake: String
        /// What the program did: exit codes, in their order.
        var did: [String] = []
        /// What an operator reads.
        var line = ""
        var missing: Int?
        var double: Int?
        var strange: Int?
        var seconds = 0.0
        /// What is not as it should be.
        var faults: [String] = []
    }

    private var row: Row
    private var log = ""

    private init(_ id: String, _ mistake: String) { row = Row(id: id, mistake: mistake) }

    /// Commits it and writes its row.
    static func commit(_ id: String, _ what: String, _ body: (Mistake) async throws -> Void) async throws {
        let mistake = Mistake(id, what)
        let start = ContinuousClock.now
        do { try await body(mistake) } catch { mistake.fault("\(error)".split(separator: "\n").first ?? "") }
        mistake.row.seconds = Double((ContinuousClock.now - start).components.seconds)
        try mistake.write()
        #expect(mistake.row.faults.isEmpty, "\(id) \(what)\n\(mistake.row.did.joined(separator: ", "))")
    }

    private static let file = Mutex(())

    private func write() throws {
        guard let folder = Self.folder else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let line = try encoder.encode(row) + Data("\n".utf8)
        try Self.file.withLock { _ in
            try log.write(toFile: "\(folder)/\(row.id).log", atomically: false, encoding: .utf8)
            let path = "\(folder)/rows.jsonl"
            if !FileManager.default.fileExists(atPath: path) {
                _ = FileManager.default.createFile(atPath: path, contents: nil)
            }
            let handle = try #require(FileHandle(forWritingAtPath: path))
            try handle.seekToEnd()
            try handle.write(contentsOf: line)
            try handle.close()
        }
    }

    // MARK: What came of it

    func did(_ what: String) { row.did.append(what) }
    func fault(_ what: some StringProtocol) { row.faults.append(String(what)) }
    func expect(_ condition: Bool, _ otherwise: @autoclosure () -> String) { if !condition { fault(otherwise()) } }
    func note(_ text: String) { log += text + "\n" }

    /// Keeps the last line of a log with all these words as the one that an operator reads.
    /// - Returns: whether there is one.
    @discardableResult
    func reads(_ program: RunningProgram, _ words: [String], _ missing: String? = nil) -> Bool {
        let lines = program.errors.split(separator: "\n").map(String.init)
        func has(_ text: String) -> Int { words.count { text.localizedCaseInsensitiveContains($0) } }
        // A message may have several lines.
        let isThere = has(program.errors) == words.count
        let found = isThere ? lines.max { has($0) < has($1) } : nil
        if let line = found ?? (row.line.isEmpty ? lines.last { $0.contains(#/error|critical|warning|clvd: /#) } : nil)
        {
            row.line = line.replacing(#/^\S*\d\d:\d\d:\d\d\S* /#, with: "")
        }
        if found == nil { fault(missing ?? "no line with \(words.joined(separator: ", "))") }
        return found != nil
    }

    /// - Parameters:
    ///   - missing, double, strange: what was asked for by the remedy, and so is no fault.
    func counts(_ found: Site.Outcome, missing: Int = 0, double: Int = 0, strange: Int = 0) {
        (row.missing, row.double, row.strange) = (found.missing, found.double, found.strange)
        expect(found.missing == missing, "\(found.missing) missing instead of \(missing)")
        expect(found.double == double, "\(found.double) double instead of \(double)")
        expect(found.strange == strange, "\(found.strange) strange instead of \(strange)")
        expect(found.wrong == 0, "\(found.wrong) customers with a wrong value to date")
    }

    // MARK: The program

    func start(_ site: Site, _ environment: [String: String] = [:]) throws -> RunningProgram {
        try RunningProgram(site, environment: environment)
    }

    /// Waits until the group has committed so many records.
    func reaches(_ records: Int, _ site: Site, _ program: RunningProgram, seconds: Double = 40) async throws {
        var sum = -1
        do {
            try await eventually(seconds, "") {
                sum = (try? site.committedRecords()) ?? sum
                return sum == records || !program.isRunning
            }
        } catch {}
        guard sum != records else { return }
        note(program.errors)
        _ = reads(program, ["error"], "nothing was said")
        throw Late(
            description: program.isRunning
                ? "\(sum) of \(records) committed within \(seconds) s"
                : "it ended with \(try await program.status()) when \(sum) of \(records) were committed")
    }

    /// Drains it.
    func stops(_ program: RunningProgram, _ expected: Int32 = 0) async throws {
        program.terminate()
        let status = try await program.status(seconds: 40)
        note(program.errors)
        did("exit \(status)")
        expect(status == expected, "ended with \(status) when it was stopped")
    }

    /// Whether it ends by itself with a code and a line that has these words. If not, it is drained.
    func refuses(
        _ program: RunningProgram, code: Int32 = 3, _ words: [String], seconds: Double = 20
    ) async throws -> Bool {
        let ended = (try? await program.status(seconds: seconds)) != nil
        guard ended else {
            fault("it went on without a word")
            try await stops(program)
            return false
        }
        note(program.errors)
        let status = try await program.status()
        did("exit \(status)")
        expect(status == code, "exit \(status) instead of \(code)")
        reads(program, words)
        return status == code
    }

    /// Runs another command over a site's settings.
    @discardableResult
    func command(_ site: Site, _ arguments: [String], _ environment: [String: String] = [:]) async throws -> String {
        let config = try site.folder.write(site.settings.rendered(), to: "command.yaml")
        let command = try RunningProgram(site, arguments + ["--config", config], environment: environment)
        let status = try await command.status(seconds: 60)
        note("$ clvd \(arguments.joined(separator: " "))\n\(command.output)\(command.errors)")
        did("\(arguments.prefix { !$0.hasPrefix("--") }.joined(separator: " ")) \(status)")
        if arguments[0] != "verify" {
            expect(status == 0, "clvd \(arguments.joined(separator: " ")): exit \(status)")
        }
        return command.output
    }

    /// What `clvd verify` counts.
    @discardableResult
    func verify(
        _ site: Site, _ environment: [String: String] = [:], to end: String = "committed"
    ) async throws -> [String: Int] {
        let text = try await command(site, ["verify", "--json", "--to", end], environment)
        let json = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any] ?? [:]
        return json.compactMapValues { $0 as? Int }
    }

    /// Counts by `clvd verify` and by a reader of this test, which have to agree.
    func countsBoth(_ site: Site, missing: Int = 0, double: Int = 0, _ environment: [String: String] = [:]) async throws
    {
        let found = try await site.outcome()
        counts(found, missing: missing, double: double)
        let verified = try await verify(site, environment)
        expect(
            verified["missing"] == found.missing && verified["double"] == found.double,
            "clvd verify counts \(verified["missing"] ?? -1) missing, \(verified["double"] ?? -1) double")
    }
}
