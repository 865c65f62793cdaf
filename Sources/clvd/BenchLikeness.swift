import ArgumentParser
import Engine
import Evaluation
import EventInput
import Foundation
import Runtime
import Settings
import Terminal

/// `clvd bench likeness`
struct BenchLikeness: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "likeness",
        abstract: "Measure how alike forecasts are when the partitions of a topic interleave differently.",
        discussion: """
            Deals the events of a file to partitions by customer and takes them in several times. Each time each \
            partition is in its own order, but some records before or behind the others, and now and then one is far \
            behind, as after a restart. Compares forecasts and alerts of all pairs of runs, over all customers.

            EXAMPLE
              clvd bench likeness --events cdnow.csv.gz --partitions 16 --ahead 100
            """)

    @Option(help: ArgumentHelp("The event file, as `clvd replay` takes it.", valueName: "file"))
    var events: String

    @Option(help: "Partitions.")
    var partitions = 8

    @Option(help: "Runs, each with an interleaving of its own.")
    var runs = 10

    @Option(help: "Most records of the whole stream that a partition is behind the others.")
    var ahead = 100

    @Option(help: "How often, in each third of the stream, a partition is eight times as far behind.")
    var interruptions = 1

    @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "Built-in format (\(EventFormat.builtInNames.joined(separator: ", "))) or path of a YAML file with one. "
                + "(default: input.format of the settings)", valueName: "name"))
    var format: String?

    @Flag(help: "Print the figures as JSON.")
    var json = false

    func validate() throws {
        guard (1...256).contains(partitions) else { throw ValidationError("--partitions must be from 1 to 256.") }
        guard (1...100).contains(runs) else { throw ValidationError("--runs must be from 1 to 100.") }
        guard (0...100_000).contains(ahead) else { throw ValidationError("--ahead must be from 0 to 100000.") }
        guard (0...100).contains(interruptions) else {
            throw ValidationError("--interruptions must be from 0 to 100.")
        }
    }

    func run() throws {
        let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
        let input = try PartitionedEvents(
            EventFile(
                path: events, format: EventFormat.load(format ?? settings.input.format), limits: settings.input.limits,
                currency: settings.input.currency),
            partitions: partitions)
        guard input.count >= 1000 else { throw CommandFailure("\(events): fewer than 1,000 events that can be used") }
        let pool = WorkerPool(threads: settings.runtime.threadCount)
        let reporter = ProgressReporter(label: "Runs", total: Int64(runs), unit: "runs")
        let all = (1...runs).map { seed in
            let engine = Engine(
                configuration: settings.engine, topics: [events], partitions: partitions, executor: pool)
            let run = LikenessRun(
                input, Interleaving(seed: UInt64(seed), ahead: ahead, interruptions: interruptions), engine: engine,
                shares: [1.0 / 3, 2.0 / 3, 1])
            reporter.update(done: Int64(seed))
            return run
        }
        reporter.finish()
        let likeness = Likeness(all, records: input.count)
        if json { return try Report.json(likeness) }
        tell(likeness)
    }

    private func tell(_ likeness: Likeness) {
        func text(_ x: Double, _ decimals: Int = 3) -> String { Human.number(x, decimals: decimals) }
        func text(_ s: Likeness.Spread) -> String {
            [s.p50, s.p90, s.p99, s.max].map { text($0) }.joined(separator: " / ")
        }
        Report.line(
            "\(Human.count(Int64(likeness.records))) records in \(partitions) partitions, \(likeness.runs) runs. "
                + "Differences of two runs over customers: half / 9 in 10 / 99 in 100 / all are within")
        for i in likeness.instants {
            Report.line()
            Report.facts([
                ("after", "\(text(100 * i.share, 0)) % of the records, \(Human.count(Int64(i.customers))) customers"),
                ("ln of expected money", text(i.money)),
                ("churn probability", text(i.churn)),
                ("rank correlation", "at least \(text(i.spearman, 4))"),
                ("mean expected money", "\(text(i.meanMoney[0])) to \(text(i.meanMoney[1]))"),
                ("mean churn probability", "\(text(i.meanChurn[0], 4)) to \(text(i.meanChurn[1], 4))"),
            ])
        }
        Report.line()
        Report.facts([
            ("alerts raised", likeness.alerts.map { Human.count(Int64($0)) }.joined(separator: " ")),
            (
                "of them in both",
                "\(text(likeness.alertOverlap[0])) on average, \(text(likeness.alertOverlap[1])) at least"
            ),
        ])
        Report.facts(likeness.scores.sorted { $0.key < $1.key }.map { ($0.key, text($0.value, 4)) })
    }
}
