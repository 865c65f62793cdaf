import Engine
import EventInput
import Foundation
import Testing

/// What the documents say about the program, beside what the program says.
@Suite struct Documents {
    /// README and the pages of `docs`, by name.
    private static let pages: [(name: String, text: String)] = {
        let docs = repository.appending(path: "docs")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: docs.path)) ?? []
        let files =
            [repository.appending(path: "README.md")]
            + names.sorted().filter { $0.hasSuffix(".md") }.map { docs.appending(path: $0) }
        return files.compactMap { file in
            (try? String(contentsOf: file, encoding: .utf8)).map { (file.lastPathComponent, $0) }
        }
    }()

    @Test func settingsTableIsTheProgrammes() throws {
        let page = try String(contentsOf: repository.appending(path: "docs/settings.md"), encoding: .utf8)
        let (begin, end) = ("<!-- settings:begin -->\n", "<!-- settings:end -->")
        let from = try #require(page.range(of: begin)?.upperBound, "docs/settings.md has no marker \(begin)")
        let to = try #require(page.range(of: end)?.lowerBound, "docs/settings.md has no marker \(end)")
        let isTheSame = try page[from..<to] == clvd("config", "print", "--table").output
        #expect(isTheSame, "the table of docs/settings.md is not what the program prints; `make docs` writes it")
    }

    /// A command that a document shows: its words, and where it stands.
    struct Command: Sendable, CustomTestStringConvertible {
        var page: String
        var words: [String]
        var testDescription: String { "\(page): \(words.joined(separator: " "))" }
    }

    /// Lines of shell blocks and inline code that begin with `clvd `; lines that end in a backslash are joined.
    static let commands: [Command] = pages.flatMap { page in
        var found: [String] = []
        var isShell = false
        var isCode = false
        for line in page.text.replacing("\\\n", with: " ").split(separator: "\n", omittingEmptySubsequences: false) {
            let text = line.trimmingCharacters(in: .whitespaces)
            if text.hasPrefix("```") {
                isCode.toggle()
                isShell = isCode && ["```sh", "```bash", "```shell", "```console"].contains(text)
            } else if isShell {
                found.append(text.hasPrefix("$ ") ? String(text.dropFirst(2)) : text)
            } else if !isCode {
                let parts = text.split(separator: "`", omittingEmptySubsequences: false)
                found += parts.indices.filter { $0 % 2 == 1 && $0 + 1 < parts.count }.map { String(parts[$0]) }
            }
        }
        return found.filter { $0.hasPrefix("clvd ") }.map { line in
            let command = line.prefix { !"#|><&;".contains($0) }
            return Command(page: page.name, words: command.split(separator: " ").dropFirst().map(String.init))
        }
    }

    /// Sub-command and options exist.
    @Test(arguments: commands) func shownCommandsExist(_ command: Command) throws {
        let isWord = { (word: String) in word.wholeMatch(of: /[a-z]+(-[a-z]+)*/) != nil }
        var path = Array(command.words.prefix(while: isWord).prefix(2))
        var help = try clvd(path + ["--help"])
        // A second word may be a value.
        if help.status != 0, path.count == 2 {
            path.removeLast()
            help = try clvd(path + ["--help"])
        }
        try #require(help.status == 0, "\(help.errors)")
        // An unknown sub-command shows the help of its parent.
        #expect(help.output.contains("USAGE: clvd \(path.joined(separator: " "))"), "\(help.output.prefix(300))")
        let known = Set(help.output.matches(of: /--[a-z][a-z0-9-]*/).map { String($0.output) })
        for word in command.words where word.hasPrefix("--") {
            let option = String(word.prefix { $0 != "=" })
            #expect(known.contains(option), "clvd \(path.joined(separator: " ")) has no \(option)")
        }
    }

    @Test func documentsShowCommands() { #expect(Self.commands.count >= 5) }

    // MARK: Samples

    /// The contents of the code blocks of a page that hold some text.
    private static func blocks(of text: String, with part: String) -> [String] {
        let pieces = text.components(separatedBy: "\n```")
        return pieces.indices.filter { $0 % 2 == 1 && pieces[$0].contains(part) }
            .map { String(pieces[$0].drop { $0 != "\n" }) }
    }

    /// Updates and alerts that the documents show have the fields that the engine writes, in its order.
    @Test func samplesHaveTheFieldsThatAreWritten() throws {
        let (update, alert) = try EngineSample.make()
        var shown: [String: Int] = [:]
        for page in Self.pages {
            for sample in Self.blocks(of: page.text, with: #""model_version":"#) {
                let isAlert = sample.contains(#""alert_id""#)
                shown[isAlert ? "alert" : "update", default: 0] += 1
                #expect(jsonFields(sample) == jsonFields(isAlert ? alert : update), "\(page.name): \(sample)")
            }
        }
        #expect(shown["update"] ?? 0 >= 1 && shown["alert"] ?? 0 >= 1)
    }

    /// The tables of fields name every field at the top of an update and of an alert, and no other.
    @Test(arguments: [("## Updates", "update"), ("## Alerts", "alert")])
    func tablesOfFieldsAreComplete(heading: String, kind: String) throws {
        let (update, alert) = try EngineSample.make()
        let page = try #require(Self.pages.first { $0.name == "outputs.md" }).text
        let section = try #require(page.components(separatedBy: "\n## ").first { "## \($0)".hasPrefix(heading) })
        let rows = section.split(separator: "\n").filter { $0.hasPrefix("| `") }
        let named = rows.flatMap { row in
            row.split(separator: "|")[0].matches(of: /`([a-z_]+)`/).map { String($0.output.1) }
        }
        let written = jsonFields(kind == "alert" ? alert : update).filter { !$0.contains(".") }
        #expect(Set(named) == Set(written))
    }

    /// The end of `clvd demo` as README shows it has the lines and columns that the program prints.
    @Test func demoBlockIsTheProgrammes() throws {
        let folder = try Folder()
        let events = try folder.write(EngineSample.csv(users: 3), to: "events.csv")
        let run = try clvd("demo", "--events", events)
        try #require(run.status == 0, "\(run.errors)")
        let readme = try #require(Self.pages.first { $0.name == "README.md" }).text
        let block = try #require(Self.blocks(of: readme, with: "updates published").first)
        func labels(_ text: String) -> [String] {
            text.split(separator: "\n").filter { $0.hasPrefix("  ") }
                .map { $0.trimmingCharacters(in: .whitespaces).components(separatedBy: "  ")[0] }
        }
        func columns(_ text: String) -> [String] {
            let header = text.split(separator: "\n").first { $0.hasPrefix("customer ") } ?? ""
            return header.components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }
                .filter { !$0.isEmpty }
        }
        let summary = try #require(run.output.range(of: "\n  top tenth, 30 days "))
        let printed = String(run.output[summary.lowerBound...])
        #expect(labels(block) == labels(printed))
        #expect(columns(block) == columns(printed) && !columns(block).isEmpty)
        // What follows a number, and the heading of the table.
        for phrase in block.matches(of: /of them for silence|the customer's own rate[^\d\n]*|The ten customers[^\n]*/) {
            #expect(printed.contains(phrase.output), "README: \(phrase.output)")
        }
    }
}

/// Paths of the fields of a JSON text (`change.value`) in its order, each once. Its strings have no escapes.
private func jsonFields(_ text: String) -> [String] {
    var (open, fields): ([String], [String]) = ([], [])
    for match in text.matches(of: /"([^"]*)"\s*(:)?|[{}]/) {
        switch match.output.0.first {
        case "{": open.append("")
        case "}": open.removeLast()
        default:
            guard match.output.2 != nil, !open.isEmpty else { continue }
            open[open.count - 1] = String(match.output.1 ?? "")
            let path = open.joined(separator: ".")
            if !fields.contains(path) { fields.append(path) }
        }
    }
    return fields
}

/// What a small engine with the targets of the demo writes.
private enum EngineSample {
    /// Customers who buy every ten days, a third of them only for the first 100 of 200 days.
    static func csv(users: Int) -> String {
        var lines = ["event_id,event_time_ms,user_id,event_type,amount"]
        for day in 0..<200 {
            for user in 0..<users where day % 10 == user % 10 && (user % 3 > 0 || day < 100) {
                let time = (20_000 + day) * 86_400_000 + user
                lines.append("e\(day)-\(user),\(time),user-\(user),purchase,\(20 + user)")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// - Returns: the last update, and the first alert with factors.
    static func make() throws -> (update: String, alert: String) {
        var c = EngineConfiguration()
        c.targets = [
            .init(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [30, 90]),
            .init(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [30, 90]),
            .init(name: "churn", kind: .absence, events: [], horizonsDays: [90]),
        ]
        c.binEdgesDays = [30, 90]
        (c.model.units, c.model.hidden, c.model.categoryBuckets, c.model.crossBuckets) = (16, 16, 32, 32)
        (c.learning.batchSize, c.learning.intervalRecords, c.learning.minimumSteps) = (64, 64, 1)
        (c.learning.maxLandmarks, c.alerts.raiseThreshold, c.alerts.clearThreshold) = (2048, 0.02, 0.01)
        let engine = Engine(configuration: c, topics: ["events"], partitions: 1, executor: SerialExecutor())
        engine.addTask(TaskID(topic: 0, partition: 0))
        let folder = try Folder()
        let file = try EventFile(
            path: folder.write(csv(users: 40), to: "events.csv"), format: #require(EventFormat.builtIn("native")),
            limits: InputLimits(), currency: CurrencyTable())
        var (update, alert): (String?, String?)
        while case let events = try file.next(maximum: 100), !events.isEmpty {
            engine.step(events)
            engine.forEachOutput { entry in
                let text = String(decoding: entry.value, as: UTF8.self)
                if entry.kind == .update { update = text }
                if entry.kind == .alert, alert == nil, text.contains("contribution") { alert = text }
            }
        }
        return (try #require(update), try #require(alert))
    }
}
