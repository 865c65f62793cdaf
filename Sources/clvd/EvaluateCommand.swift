import ArgumentParser
import Engine
import EventInput
import Foundation
import Runtime
import Settings
import Simulation
import Terminal

/// `clvd evaluate`
struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Say what the model would have said at given instants, learning as the events come.",
        discussion: """
            Streams an event file through the engine of the daemon, without Kafka, and writes what its serving weights \
            predict at each landmark (user, instant): landmark_id, horizon_days, expected_value, purchase_probability. \
            At a landmark the events up to its instant are known and nothing after it; the model was taught only by \
            outcomes that had come to pass. Users who have no event yet get the rates of the population.

            Landmarks are CSV with the columns landmark_id, user_id, time_ms and horizons (days, as 30|90). The targets \
            are clv and purchase at these horizons and churn at the longest; shorter bins are added below the first \
            horizon and in wide gaps. All else is as in the settings. Events must be in the order of their time. Files \
            are gzip where their names end in .gz. The same arguments give the same bytes, with any number of threads.

            Exit codes: 0; 1 when a file cannot be read or written; 64 for arguments, 78 for settings that cannot be used.

            EXAMPLES
              clvd evaluate --events cdnow.csv.gz --landmarks cdnow.landmarks.csv.gz --out predictions.csv.gz
              clvd evaluate --events e.csv --landmarks l.csv --out p.csv --config clvd.yaml --seed 7 --json
            """)

    @Option(help: ArgumentHelp("The event file, as `clvd replay` takes it.", valueName: "file"))
    var events: String

    @Option(help: ArgumentHelp("The landmarks.", valueName: "file"))
    var landmarks: String

    @Option(help: ArgumentHelp("File for the predictions.", valueName: "file"))
    var out: String

    @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "Built-in format (\(EventFormat.builtInNames.joined(separator: ", "))) or path of a YAML file with one. "
                + "(default: input.format of the settings)", valueName: "name"))
    var format: String?

    @Option(help: "Seed of weights, sampling and dropout. (default: those of the settings)")
    var seed: UInt64?

    @Option(help: "Threads. (default: runtime.threads of the settings)")
    var threads: Int?

    @Flag(inversion: .prefixedNo, help: "Show the progress, on standard error.")
    var progress = true

    @Flag(help: "Print the summary as JSON.")
    var json = false

    func validate() throws {
        if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be from 1 to 1024.") }
        guard Set([events, landmarks, out]).count == 3 else {
            throw ValidationError("--events, --landmarks and --out must be three files.")
        }
    }

    func run() throws {
        let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
        let landmarks = try LandmarkFile(path: landmarks)
        guard !landmarks.landmarks.isEmpty else { throw CommandFailure("\(self.landmarks): no landmarks") }
        var engine = Self.adapt(settings.engine, horizons: landmarks.horizons)
        if let seed { (engine.model.seed, engine.learning.seed) = (seed, seed) }
        let processors = ProcessInfo.processInfo.activeProcessorCount
        let count = threads ?? (settings.runtime.threads > 0 ? settings.runtime.threads : processors)
        StopSignal.install()
        let evaluation = try Evaluation(
            events: EventFile(
                path: events, format: EventFormat.load(format ?? settings.input.format), limits: settings.input.limits,
                currency: settings.input.currency),
            landmarks: landmarks, out: out,
            engine: Engine(
                configuration: engine, topics: [events], partitions: 1, executor: WorkerPool(threads: count)))
        let reporter = progress ? ProgressReporter(label: "Evaluate", total: evaluation.bytes, unit: .bytes) : nil
        do {
            try evaluation.run { reporter?.update(done: $0) }
        } catch {
            reporter?.finish("Failed.")
            throw error
        }
        reporter?.finish()
        let summary = evaluation.summary()
        if json { return try Report.json(summary) }
        tell(summary)
    }

    // MARK: Horizons

    /// The configuration with the horizons that are asked for.
    static func adapt(_ configuration: EngineConfiguration, horizons: [Double]) -> EngineConfiguration {
        var c = configuration
        c.binEdgesDays = binEdges(horizons)
        c.targets = [
            .init(name: "clv", kind: .value, events: ["purchase"], horizonsDays: horizons),
            .init(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: horizons),
            .init(name: "churn", kind: .absence, events: [], horizonsDays: [horizons[horizons.count - 1]]),
        ]
        c.segments.target = "clv"
        c.alerts.target = "churn"
        // They change no prediction, and nobody hears them here.
        c.alerts.enabled = false
        return c
    }

    /// Horizons and shorter bins, so that labels mature soon: a quarter of the first horizon, and of that again until it
    /// is at most a week; and quarters in every gap of more than six to one. Whole days where they are four or more.
    static func binEdges(_ horizons: [Double]) -> [Double] {
        func quarter(_ days: Double) -> Double { days >= 4 ? (days / 4).rounded(.toNearestOrAwayFromZero) : days / 4 }
        var edges = horizons
        var least = horizons[0]
        repeat {
            // 7 of 30 and 2 of 7: halves go down.
            least = least >= 4 ? (least / 4 - 1e-9).rounded() : quarter(least)
            edges.append(least)
        } while least > 7
        for (a, b) in zip(horizons, horizons.dropFirst()) {
            var edge = b
            while edge / a > 6 {
                edge = quarter(edge)
                edges.append(edge)
            }
        }
        return Array(Set(edges)).sorted()
    }

    // MARK: The end

    private func tell(_ s: Evaluation.Summary) {
        Report.line(
            "\(Human.count(s.predictions)) predictions for \(Human.count(Int64(s.landmarks))) landmarks in \(out) "
                + "(\(Human.duration(s.seconds)))")
        Report.line()
        Report.facts([
            ("events", "\(Human.count(s.events))   \(Human.count(s.deadLetters)) of them cannot be used"),
            ("users", Human.count(Int64(s.users))),
            (
                "bins",
                s.binEdgesDays.map { "\(Human.number($0, decimals: $0 == $0.rounded() ? 0 : 2))" }
                    .joined(separator: ", ") + " days"
            ),
            ("before the first model", "\(Human.count(s.fromRates)) landmarks   population rates predicted"),
            ("learning steps", Human.count(s.learningSteps)),
        ])
        Report.line()
        Report.line("Prequential, the latest matured landmarks of the engine's own (naive in brackets):")
        Report.line()
        var table = TextTable(columns: [
            .init("target"), .init("days", .right), .init("landmarks", .right), .init("Gini", .right),
            .init("MAE", .right), .init("bias", .right), .init("AUC", .right), .init("log-loss", .right),
            .init("calibration", .right),
        ])
        func pair(_ a: Double?, _ b: Double?) -> String {
            guard let a else { return Human.missing }
            return Human.number(a, decimals: 3) + (b.map { " (\(Human.number($0, decimals: 3)))" } ?? "")
        }
        for p in s.prequential {
            table.addRow([
                p.target, Human.number(p.horizonDays, decimals: p.horizonDays == p.horizonDays.rounded() ? 0 : 2),
                Human.count(Int64(p.landmarks)), pair(p.model.gini, p.naive.gini), pair(p.model.mae, p.naive.mae),
                pair(p.model.bias, p.naive.bias), pair(p.model.auc, p.naive.auc),
                pair(p.model.logLoss, p.naive.logLoss), pair(p.model.calibrationError, p.naive.calibrationError),
            ])
        }
        Report.line(table.render(width: 120))
    }
}
