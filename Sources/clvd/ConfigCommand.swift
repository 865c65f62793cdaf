import ArgumentParser
import Engine
import EventInput
import Foundation
import Settings
import Terminal

/// `clvd config`
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check the settings, or print them.", subcommands: [Check.self, Print.self])

    private static func load(_ path: String?) throws -> Settings {
        try Settings.load(path: path, environment: ProcessInfo.processInfo.environment)
    }

    /// `clvd config check`
    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say whether a settings file can be used, or everything that is wrong with it.",
            discussion: """
                Reads the file, the CLVD_… variables of the environment, which go before it, and the input format that \
                they name. No broker is asked.

                Exit codes: 0; 78 when there are problems; 64 for arguments that cannot be used.

                EXAMPLES
                  clvd config check --config config/clvd.yaml
                  clvd config check --config clvd.yaml --json | jq -r '.problems[].path'
                  envsubst < clvd.template.yaml | clvd config check --config /dev/stdin
                """)

        @Option(help: ArgumentHelp("The settings.", valueName: "file"))
        var config: String

        @Flag(help: "Print the result as JSON.")
        var json = false

        private struct Result: Encodable {
            struct Problem: Encodable {
                var path: String
                var problem: String
                var value, source, remedy: String?
            }
            var ok: Bool
            var problems: [Problem]
        }

        func run() throws {
            do {
                let settings = try load(config)
                let format = try EventFormat.load(settings.input.format)
                try settings.requireRegistry(for: format)
                if json { return try Report.json(Result(ok: true, problems: [])) }
                Report.line("ok: \(config)")
                Report.facts(summary(settings, format))
            } catch let error as SettingsError {
                try report(
                    error,
                    error.problems.map {
                        .init(
                            path: $0.path, problem: $0.problem, value: $0.value, source: $0.source, remedy: $0.remedy)
                    })
            } catch let error as FormatError {
                try report(
                    error,
                    error.problems.map {
                        let place = $0.line.map { "line \($0)" }
                        return .init(
                            path: "input.format", problem: $0.message, value: $0.key,
                            source: [error.source, place].compactMap(\.self).joined(separator: " "))
                    })
            }
        }

        private func report(_ error: any Error, _ problems: [Result.Problem]) throws {
            if json { try Report.json(Result(ok: false, problems: problems)) } else { Report.error(error) }
            throw ExitCode.configuration
        }

        private func summary(_ settings: Settings, _ format: EventFormat) -> [(String, String)] {
            let model = settings.engine.model
            let targets = settings.engine.targets.map {
                "\($0.name) (\($0.horizonsDays.map(Human.days).joined(separator: ", ")) days)"
            }
            return [
                ("kafka", "\(settings.kafka.bootstrapServers), group \(settings.kafka.groupId)"),
                ("input", "\(settings.input.topics.joined(separator: ", ")), format \(format.name)"),
                (
                    "output",
                    "\(settings.output.updatesTopic), \(settings.output.alertsTopic), "
                        + settings.output.deadLetterTopic
                ),
                ("delivery", settings.delivery.rawValue),
                ("targets", targets.joined(separator: ", ")),
                ("model", "\(model.recurrent.rawValue), \(model.units) units"),
                (
                    "snapshots",
                    "\(settings.snapshots.directory), every \(settings.snapshots.intervalSeconds) s, "
                        + "\(settings.snapshots.keep) kept"
                ),
            ]
        }
    }

    /// `clvd config print`
    struct Print: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the settings in effect, or what there is to set.",
            discussion: """
                Without --reference and --table: the settings in effect as YAML, from the defaults, the file and the \
                CLVD_… variables of the environment. Secrets are masked.

                EXAMPLES
                  clvd config print --config clvd.yaml
                  clvd config print --reference > clvd.yaml
                """)

        @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
        var config: String?

        @Flag(help: "Print every key with its default and what it means, as YAML.")
        var reference = false

        @Flag(help: "Print the same as a Markdown table.")
        var table = false

        func validate() throws {
            guard [config != nil, reference, table].count(where: \.self) <= 1 else {
                throw ValidationError("Give one of --config, --reference and --table.")
            }
        }

        func run() throws {
            let text =
                if reference {
                    Settings.reference()
                } else if table {
                    Settings.referenceTable()
                } else {
                    try load(config).rendered()
                }
            // The settings' own YAML is free of control characters.
            try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
        }
    }
}
