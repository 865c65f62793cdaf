import ArgumentParser
import Engine
import EventInput
import Foundation
import Kafka
import Logging
import Runtime
import Settings
import Simulation
import Terminal

/// `clvd demo`
struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Watch the daemon learn from a purchase log, through a Kafka cluster inside this process.",
        discussion: """
            Replays an event file through Kafka (the embedded cluster speaks the real protocol) while the daemon learns \
            from it, and ends with a summary and the customers of highest value. State and settings live in a temporary \
            folder that is removed at the end. A file whose events come too late is sorted by time first.

            Exit codes: 0; 1 when something could not be read or done; 64 for arguments, 78 for settings that cannot be \
            used; 65 when no event of the file can be used.

            EXAMPLES
              clvd demo --events data/CDNOW_master.txt
              clvd demo --events my-shop.csv.gz --format native
              clvd demo --simulate --json
              clvd demo --events my-shop.jsonl --bootstrap localhost:9092 --cleanup
            """)

    @Option(
        help: ArgumentHelp("CDNOW_master.txt, or an event file as `clvd replay` takes it.", valueName: "file"))
    var events: String?

    @Flag(help: "Show simulated customers instead.")
    var simulate = false

    @Option(
        help: ArgumentHelp(
            "Built-in format (\(EventFormat.builtInNames.joined(separator: ", "))) or path of a YAML file with one.",
            valueName: "name"))
    var format = "native"

    @Option(help: ArgumentHelp("A real cluster, host:port. (default: the embedded one)", valueName: "servers"))
    var bootstrap: String?

    @Flag(help: "With --bootstrap: delete the demo's topics at the end. Without, they stay and are named.")
    var cleanup = false

    @Option(
        help: ArgumentHelp("Settings for the daemon. (default: config/demo.yaml as built in)", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Keep the snapshots in this folder.", valueName: "folder"))
    var snapshots: String?

    @Flag(help: "Print the summary as JSON and nothing else.")
    var json = false

    func validate() throws {
        guard simulate != (events != nil) else {
            throw ValidationError("Give an event file with --events, or --simulate.")
        }
        guard !cleanup || (bootstrap != nil && config == nil) else {
            throw ValidationError(
                "--cleanup goes with --bootstrap, and not with --config: it deletes only its own topics.")
        }
    }

    func run() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "clvd-demo-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        StopSignal.install()
        let input = try prepareEvents(folder)
        var settings = try prepareSettings(folder)
        let format = input.isOurs ? "native" : format
        let file = try EventFile.open(input.path, format: format, settings)
        try file.putInOrder(settings, showsProgress: !json)
        // The daemon reads what the file holds.
        settings.input.format = file.isOfOtherFormat ? file.format.name : format
        let demo = try Demo(
            settings: settings, embedded: bootstrap == nil, isQuiet: json, title: "clvd demo — \(input.title)")
        // Also after a failure.
        defer { if bootstrap != nil { leave(settings) } }
        let result = try demo.run(file)
        if json { try Report.json(result.summary) } else { tell(result) }
        try Report.judge(
            result.refusals, result.unknownTypes, accepted: result.summary.accepted, of: result.summary.eventsIn,
            in: events ?? input.path)
    }

    // MARK: Preparation

    private struct Input {
        var path: String
        var title: String
        var isOurs: Bool
    }

    private func prepareEvents(_ folder: URL) throws -> Input {
        let path = folder.appending(path: "events.csv").path()
        guard let events else {
            var simulation = try ClickstreamSimulation(users: 5_000, days: 400, seed: 1)
            try simulation.writeCSV(to: path, truth: folder.appending(path: "truth.csv").path()) { _ in
                if StopSignal.isRequested { throw CommandFailure("stopped") }
            }
            return Input(path: path, title: "5,000 simulated customers", isOurs: true)
        }
        let name = (events as NSString).lastPathComponent
        guard name.hasPrefix("CDNOW_master") else { return Input(path: events, title: name, isOurs: false) }
        try CDNOW(path: events).writeCSV(to: path)
        return Input(path: path, title: "CDNOW, 18 months of purchases", isOurs: true)
    }

    private func prepareSettings(_ folder: URL) throws -> Settings {
        let path = folder.appending(path: "demo.yaml")
        try Data(PackageResources.demo_yaml).write(to: path)
        var settings = try Settings.load(
            path: config ?? path.path(), environment: ProcessInfo.processInfo.environment)
        settings.snapshots.directory = snapshots ?? folder.appending(path: "snapshots").path()
        settings.kafka.groupId += "-demo-\(UUID().uuidString.prefix(8))"
        guard let bootstrap else { return settings }
        settings.kafka.bootstrapServers = bootstrap
        guard config == nil else { return settings }
        // A demo must not read what another one has left.
        let suffix = settings.kafka.groupId.suffix(9)
        settings.input.topics = settings.input.topics.map { $0 + suffix }
        settings.output.updatesTopic += suffix
        settings.output.alertsTopic += suffix
        settings.output.deadLetterTopic += suffix
        return settings
    }

    /// Says what stays on the cluster, or deletes it.
    private func leave(_ settings: Settings) {
        let (kafka, output) = (settings.kafka, settings.output)
        let topics = settings.input.topics + [output.updatesTopic, output.alertsTopic, output.deadLetterTopic]
        let names = topics.joined(separator: ", ")
        guard cleanup else {
            Report.note(
                "These topics stay on \(kafka.bootstrapServers): \(names). So does the group \(kafka.groupId). "
                    + (config == nil ? "With --cleanup they are deleted at the end." : ""))
            return
        }
        do {
            var logger = Logger(label: "clvd") { StreamLogHandler.standardError(label: $0) }
            logger.logLevel = .error
            try Admin(bootstrap: kafka.bootstrapServers, properties: kafka.properties, logger: logger).delete(topics)
            Report.note("Deleted from \(kafka.bootstrapServers): \(names).")
        } catch {
            Report.note("\(error); these topics stay on \(kafka.bootstrapServers): \(names).")
        }
    }

    // MARK: The end

    private func tell(_ result: Demo.Result) {
        let s = result.summary
        func number(_ value: Double?) -> String { value.map { Human.number($0, decimals: 3) } ?? Human.missing }
        func percent(_ share: Double?) -> String { share.map(Human.percent) ?? Human.missing }
        Report.line()
        Report.facts(
            [
                (
                    "top tenth, 30 days",
                    "\(percent(s.topTenth30D)) of the money came from the 10 % that were named   by their own rate: "
                        + percent(s.topTenth30DNaive)
                ),
                ("events", "\(Human.count(s.eventsIn))   in \(Human.duration(s.seconds))"),
                (
                    "accepted",
                    "\(Human.count(s.accepted))   \(Human.count(s.duplicates)) duplicates, \(Human.count(s.ignored)) "
                        + "ignored, \(Human.count(s.deadLetters)) dead letters"
                ),
            ] + Report.facts(of: result.refusals) + Report.facts(of: result.unknownTypes) + [
                ("updates published", Human.count(s.updatesOut)),
                (
                    "alerts raised",
                    "\(Human.count(s.alertsRaised))   \(Human.count(s.alertsForSilence)) of them for silence"
                ),
                ("customers", Human.count(Int64(s.users))),
                ("learning steps", Human.count(s.learningSteps)),
                (
                    "Gini, 30 days",
                    "\(number(s.gini30D))   the customer's own rate drawn on: \(number(s.gini30DNaive))"
                ),
            ])
        Report.line()
        Report.line("The ten customers of highest expected value over \(result.horizonDays) days:")
        Report.line()
        var table = TextTable(columns: [
            .init("customer"), .init("expected", .right), .init("80 % between", .right), .init("churn", .right),
            .init("orders", .right),
            .init("value to date", .right), .init("last seen"),
        ])
        for user in result.top {
            let seen = Date(timeIntervalSince1970: Double(user.lastEventMs) / 1000)
            table.addRow([
                user.user, Human.money(user.value), Self.interval(user),
                user.churnProbability.map(Human.percent) ?? Human.missing,
                Human.count(Int64(user.orders)), Human.money(user.valueToDate),
                String(seen.formatted(.iso8601).prefix(10)),
            ])
        }
        Report.line(table.render(width: 110))
    }

    private static func interval(_ user: RankedUser) -> String {
        guard let lower = user.lower, let upper = user.upper else { return Human.missing }
        return "\(Human.money(lower)) and \(Human.money(upper))"
    }
}
