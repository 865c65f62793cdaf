import Engine

extension Settings {
    /// The settings in effect as YAML, secrets masked. Without secrets `load` reads back the same settings.
    public func rendered() -> String { yaml(commented: false) }

    /// All keys with their defaults and what they mean, as YAML: the text of `config/clvd.yaml`.
    public static func reference() -> String {
        let head = """
            clvd's settings. Every key is here with its default; keep the lines that you change.
            Any key can be set in the environment as well, which goes before the file: CLVD_ and the path in upper \
            snake case, CLVD_KAFKA_BOOTSTRAP_SERVERS. Any value may contain ${NAME}, a variable of the environment \
            ($${ for the characters).
            """
        return comment(head, indentation: "") + "\n" + Settings().yaml(commented: true)
    }

    /// A Markdown table of all keys: key, default, meaning.
    public static func referenceTable() -> String {
        func row(_ key: String, _ value: String, _ meaning: String) -> String {
            "| `\(key)` | \(value) | \(meaning.replacing("|", with: "\\|")) |\n"
        }
        let defaults = Settings()
        var table = "| Key | Default | Meaning |\n| --- | --- | --- |\n"
        for key in keys {
            let isTargets = key.path == "targets"
            let value = isTargets ? defaults.engine.targets.map(\.name).joined(separator: ", ") : key.inline(defaults)
            table += row(key.path, isTargets ? value : "`\(value)`", key.fullDocumentation)
            guard isTargets else { continue }
            for part in EngineConfiguration.Target.keys {
                let value = part.isRequired ? "required" : "`\(part.inline(blankTarget))`"
                table += row("targets[].\(part.path)", value, part.fullDocumentation)
            }
        }
        return table
    }

    /// Shows the defaults of a target's optional keys.
    private static let blankTarget = EngineConfiguration.Target(name: "", kind: .value, events: [], horizonsDays: [])

    private func yaml(commented: Bool) -> String {
        var text = ""
        var open: [Substring] = []
        for key in Settings.keys {
            var sections = key.path.split(separator: ".")
            let name = sections.removeLast()
            for depth in sections.indices where open.count <= depth || open[...depth] != sections[...depth] {
                let path = sections[...depth].joined(separator: ".")
                let indentation = String(repeating: "  ", count: depth)
                if commented {
                    if depth == 0, !text.isEmpty { text += "\n" }
                    text += Settings.comment(Settings.sectionTitles[path] ?? "", indentation: indentation)
                }
                text += "\(indentation)\(sections[depth]):\n"
                open = Array(sections[...depth])
            }
            if commented, sections.isEmpty { text += "\n" }
            open = sections
            let indentation = String(repeating: "  ", count: sections.count)
            if commented {
                text += Settings.comment(key.fullDocumentation, indentation: indentation)
                if key.path == "targets" {
                    for part in EngineConfiguration.Target.keys {
                        text += Settings.comment("  \(part.path): \(part.fullDocumentation)", indentation: indentation)
                    }
                }
            }
            if let lines = key.lines(self) {
                text += "\(indentation)\(name):\n" + lines.map { "\(indentation)  \($0)\n" }.joined()
            } else {
                text += "\(indentation)\(name): \(key.inline(self))\n"
            }
        }
        return text
    }

    /// A comment of lines of at most 100 columns; continued lines are indented like their first.
    private static func comment(_ paragraphs: String, indentation: String) -> String {
        var text = ""
        for paragraph in paragraphs.split(separator: "\n") {
            let start = indentation + "# " + paragraph.prefix { $0 == " " }
            var line = start
            for word in paragraph.split(separator: " ") {
                if line.count + word.count >= 100, line != start {
                    text += line.dropLast() + "\n"
                    line = start
                }
                line += word + " "
            }
            text += line.dropLast() + "\n"
        }
        return text
    }
}
