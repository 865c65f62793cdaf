import Foundation
import Testing

@Suite struct Config {
    private let folder: Folder
    init() throws { folder = try Folder() }

    @Test(arguments: ["clvd.yaml", "demo.yaml"])
    func ownFilesAreSound(name: String) throws {
        let path = repository.appending(path: "config/\(name)").path
        let run = try clvd("config", "check", "--config", path)
        #expect(run.status == 0 && run.output.hasPrefix("ok: ") && run.errors.isEmpty)
        // Days are written in one way, without a fraction that says nothing.
        #expect(run.output.contains("30 days)") || run.output.contains("30, 90 days)"), "\(run.output)")
        #expect(try clvd("config", "check", "--config", path, "--json").json["ok"] as? Bool == true)
    }

    @Test func allProblemsAtOnce() throws {
        let path = try folder.write(
            """
            kafka:
              groupID: x
            learning:
              batchSize: many
            model:
              units: 17
            input:
              topics: ["\\e[2J"]
            """, to: "bad.yaml")
        let environment = ["CLVD_RUNTIME_THREADS": "-3"]
        let run = try clvd("config", "check", "--config", path, environment: environment)
        #expect(run.status == 78 && run.output.isEmpty)
        for part in [
            "kafka.groupID: there is no such key", "learning.batchSize: is not a whole number", "model.units: must be",
            "input.topics", "runtime.threads", "bad.yaml line 4", "CLVD_RUNTIME_THREADS",
        ] { #expect(run.errors.contains(part), "\(part) is not in \(run.errors)") }
        #expect(!run.errors.contains("\u{1b}"))

        let machine = try clvd("config", "check", "--config", path, "--json", environment: environment)
        #expect(machine.status == 78)
        let problems = try #require(try machine.json["problems"] as? [[String: String]])
        #expect(
            Set(problems.compactMap { $0["path"] }).isSuperset(of: [
                "kafka.groupID", "learning.batchSize", "model.units", "runtime.threads",
            ]))
    }

    @Test func formatIsPartOfIt() throws {
        let format = try folder.write("name: own\nfields: {user: [/u]}\n", to: "own.yaml")
        let path = try folder.write("input: {format: \(format)}", to: "clvd.yaml")
        let run = try clvd("config", "check", "--config", path)
        #expect(run.status == 78 && run.errors.contains("own.yaml") && run.errors.contains("fields"), "\(run.errors)")
        let machine = try clvd("config", "check", "--config", path, "--json")
        #expect(machine.status == 78)
        #expect(try machine.json["ok"] as? Bool == false)
    }

    @Test func printedSettingsReadBack() throws {
        let path = try folder.write(
            """
            kafka:
              bootstrapServers: "broker:9093"
              properties: {sasl.username: me, sasl.password: hunter2}
            model: {units: 32}
            """, to: "clvd.yaml")
        let run = try clvd("config", "print", "--config", path, environment: ["CLVD_OUTPUT_UPDATES_TOPIC": "out"])
        #expect(run.status == 0 && run.output.contains("units: 32") && run.output.contains("updatesTopic: out"))
        #expect(run.output.contains("sasl.username: me") && !run.output.contains("hunter2"))
        let again = try clvd("config", "print", "--config", try folder.write(run.output, to: "again.yaml"))
        #expect(again.output == run.output)
    }

    @Test func referenceIsTheFile() throws {
        let file = try String(contentsOf: repository.appending(path: "config/clvd.yaml"), encoding: .utf8)
        #expect(try clvd("config", "print", "--reference").output == file)
        #expect(try clvd("config", "print", "--table").output.contains("| `model.units` | `64` |"))
        #expect(try clvd("config", "print", "--table", "--reference").status == 64)
    }

    @Test func missingFile() throws {
        let run = try clvd("config", "check", "--config", "/nowhere/clvd.yaml")
        #expect(run.status == 78 && run.errors.contains("/nowhere/clvd.yaml: there is no such file"))
    }
}
