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
        let isWord = { (word: String) in word.wholeMatch(of: /[a-z]+/) != nil }
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
}
