import ArgumentParser
import Engine
import Evaluation
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
            horizon and in wide gaps. All else is as in the settings. Without a file of landmarks, every known customer \
            is asked about once in --every-days days, with the targets of the settings. A file whose events come too late \
            is sorted by time first. Files are gzip where their names end in .gz. The same arguments give the same bytes, with any \
            number of threads.

            --baselines compares with other models' forecasts at the same landmarks; the intervals of the differences \
            come from resampling the users. A model that expects nothing at more than half of the landmarks is shown, \
            but is no reference. --truth compares forecasts and alerts with what `clvd simulate` knows of its users; \
            --alerts judges alerts without it: who is silent for the rest of the file has left, and the last part of the \
            file, in which this cannot be known, is not judged. Rules of silence that are as precise as the alerts \
            stand beside them, and with --truth the Bayes limit: who knows every rate of a user, and infers from the \
            visits alone whether the user has left. \
            --change says how long forecasts took to become as good as before the day that something changed, with \
            drift detection and, in a second pass, without. --report writes a page with charts.

            Exit codes: 0; 1 when a file cannot be read or written; 64 for arguments, 78 for settings that cannot be used; \
            65 when no event of the file can be used.

            EXAMPLES
              clvd evaluate --events cdnow.csv.gz --landmarks cdnow.landmarks.csv.gz --out predictions.csv.gz
              clvd evaluate --events e.csv --landmarks l.csv --baselines b.csv --report report
              clvd evaluate --events e.csv --truth t.csv --config clvd.yaml --seed 7 --json
              clvd evaluate --events e.csv --alerts
              clvd evaluate --events e.csv --change 182.5
            """)

    @OptionGroup var input: EventFileOptions
    private var events: String { input.events }

    @Option(help: ArgumentHelp("The landmarks. (default: every customer, regularly)", valueName: "file"))
    var landmarks: String?

    @Option(help: ArgumentHelp("File for the predictions at the landmarks.", valueName: "file"))
    var out: String?

    @Option(help: ArgumentHelp("Forecasts of other models at the landmarks, to compare with.", valueName: "file"))
    var baselines: String?

    @Option(help: ArgumentHelp("What is true of the users, as `clvd simulate` writes it.", valueName: "file"))
    var truth: String?

    @Flag(help: "Judge alerts, by the truth where it is given, else by who stays silent to the end of the file.")
    var alerts = false

    @Option(help: ArgumentHelp("Day of the stream on which something changed, from 0.", valueName: "day"))
    var change: Double?

    @Option(help: ArgumentHelp("Folder for a report, index.html.", valueName: "folder"))
    var report: String?

    @Option(help: "Without landmarks: days between two questions about a customer.")
    var everyDays = 7

    @Option(help: "Resamplings of the users behind intervals of differences.")
    var resamples = 1000

    @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
    var config: String?

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
        guard (1...365).contains(everyDays) else { throw ValidationError("--every-days must be from 1 to 365.") }
        guard (1...100_000).contains(resamples) else { throw ValidationError("--resamples must be from 1 to 100000.") }
        let files = [events, landmarks, out, baselines, truth].compactMap { $0 }
        guard Set(files).count == files.count else { throw ValidationError("Every option needs a file of its own.") }
        if landmarks == nil {
            if out != nil { throw ValidationError("--out needs --landmarks: the rows are named after them.") }
            if baselines != nil { throw ValidationError("--baselines needs the --landmarks they are for.") }
        } else if out == nil && baselines == nil && report == nil && !alerts {
            throw ValidationError("--landmarks needs --out, --baselines, --alerts or --report.")
        }
        if let change, !(change > 0 && change <= 36_500) { throw ValidationError("--change is a day after the first.") }
    }

    func run() throws {
        let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
        let instants: Evaluation.Instants
        var configuration = settings.engine
        if let landmarks {
            let file = try LandmarkFile(path: landmarks)
            guard !file.landmarks.isEmpty else { throw CommandFailure("\(landmarks): no landmarks") }
            instants = .file(file)
            configuration = EvaluationTargets.adapt(settings.engine, horizons: file.horizons)
        } else {
            instants = .grid(days: everyDays, horizons: try Self.horizons(settings.engine))
        }
        // Alerts change no prediction, and cost time.
        configuration.alerts.enabled = (truth != nil || alerts) && configuration.alerts.enabled
        if let seed { (configuration.model.seed, configuration.learning.seed) = (seed, seed) }
        let pool = WorkerPool(threads: threads ?? settings.runtime.threadCount)
        let known = try truth.map(TruthFile.init)
        var others: Baselines?
        if let baselines, case .file(let file) = instants {
            others = try Baselines(path: baselines, landmarks: file.landmarks)
        }
        StopSignal.install()
        let evaluation = try pass(settings, configuration, instants, pool, out: out, label: "Evaluate")
        var result = EvaluationResult(summary: evaluation.summary())
        result.quality = try Quality(evaluation, others)
        if configuration.alerts.enabled { result.alerts = AlertReport(evaluation, known) }
        if let known { result.truth = TruthReport(evaluation, known) }
        if let others {
            result.comparison = try Comparison(
                evaluation.forecasts, evaluation.log, others, resamples: resamples, seed: 1, pool: pool)
        }
        if let change {
            configuration.learning.driftThreshold = 0
            let without = try pass(settings, configuration, instants, pool, out: nil, label: "Without drift detection")
            result.recovery = RecoveryPair.byHorizon(evaluation, without, day: change)
        }
        if let report {
            try ReportPage(evaluation, result, events: events).write(to: report)
        }
        if json { try Report.json(result) } else { tell(result, evaluation.unknownTypes) }
        let summary = result.summary
        try Report.judge(
            summary.refusals, evaluation.unknownTypes, accepted: summary.accepted, of: summary.events, in: events)
    }

    private func pass(
        _ settings: Settings, _ configuration: EngineConfiguration, _ instants: Evaluation.Instants,
        _ pool: WorkerPool, out: String?, label: String
    ) throws -> Evaluation {
        let file = try EventFile.open(events, format: input.format, settings)
        try file.putInOrder(settings, showsProgress: progress)
        let evaluation = try Evaluation(
            events: file, instants: instants, out: out,
            engine: Engine(configuration: configuration, topics: [events], partitions: 1, executor: pool))
        let reporter = progress ? ProgressReporter(label: label, total: evaluation.bytes, unit: .bytes) : nil
        do {
            try evaluation.run(shouldStop: { StopSignal.isRequested }) { reporter?.update(done: $0) }
        } catch {
            reporter?.finish("Failed.")
            throw error
        }
        reporter?.finish()
        return evaluation
    }

    // MARK: Horizons

    /// Horizons of the settings' own targets, which must be there to be asked about.
    private static func horizons(_ configuration: EngineConfiguration) throws -> [Double] {
        guard let value = configuration.targets.first(where: { $0.name == "clv" && $0.kind == .value }),
            configuration.targets.contains(where: {
                $0.name == "purchase" && $0.kind == .occurrence && $0.horizonsDays == value.horizonsDays
            })
        else {
            throw CommandFailure(
                "targets: without landmarks, clv (value) and purchase (occurrence) with the same horizons are needed",
                code: .configuration)
        }
        return value.horizonsDays
    }

    // MARK: The end

    private func tell(_ result: EvaluationResult, _ unknown: UnknownTypeNames) {
        let s = result.summary
        let place = out.map { " in \($0)" } ?? ""
        Report.line(
            "\(Human.count(s.predictions)) predictions for \(Human.count(Int64(s.landmarks))) landmarks\(place) "
                + "(\(Human.duration(s.seconds)))")
        Report.line()
        Report.facts(
            [
                ("events", "\(Human.count(s.events))   \(Human.count(s.deadLetters)) of them cannot be used")
            ] + Report.facts(of: s.refusals) + Report.facts(of: unknown) + [
                ("users", Human.count(Int64(s.users))),
                ("bins", s.binEdgesDays.map(Human.days).joined(separator: ", ") + " days"),
                ("before the first model", "\(Human.count(s.fromRates)) landmarks   counts and times alone predicted"),
                ("learning steps", Human.count(s.learningSteps)),
                ("drifts noticed", s.drifts.isEmpty ? "none" : s.drifts.map(Self.text).joined(separator: "; ")),
            ])
        Report.line()
        Report.line("Prequential, the latest matured landmarks of the engine's own (naive in brackets):")
        Report.line()
        Report.line(Self.table(s.prequential).render(width: 130))
        if let comparison = result.comparison { tell(comparison) }
        if let quality = result.quality { tell(quality) }
        if let truth = result.truth { tell(truth) }
        if let alerts = result.alerts { tell(alerts) }
        if let recovery = result.recovery { tell(recovery) }
        if let report {
            Report.line()
            Report.line("The report is \(report)/index.html.")
        }
    }

    private static func text(_ alarm: DriftAlarm) -> String {
        let day = Date(timeIntervalSince1970: Double(alarm.timeMs) / 1000).formatted(.iso8601).prefix(10)
        return "\(day) \(alarm.target)" + (alarm.part.map { " (\($0))" } ?? "")
    }

    private static func table(_ prequential: [PrequentialReport]) -> TextTable {
        var table = TextTable(columns: [
            .init("target"), .init("days", .right), .init("landmarks", .right), .init("Gini", .right),
            .init("MAE", .right), .init("bias", .right), .init("AUC", .right), .init("log-loss", .right),
            .init("calibration", .right), .init("coverage", .right), .init("ever", .right),
            .init("inside", .right),
        ])
        func pair(_ a: Double?, _ b: Double?) -> String {
            guard let a else { return Human.missing }
            return Human.number(a, decimals: 3) + (b.map { " (\(Human.number($0, decimals: 3)))" } ?? "")
        }
        for p in prequential {
            table.addRow([
                p.target, Human.days(p.horizonDays),
                Human.count(Int64(p.landmarks)), pair(p.model.gini, p.naive.gini), pair(p.model.mae, p.naive.mae),
                pair(p.model.bias, p.naive.bias), pair(p.model.auc, p.naive.auc),
                pair(p.model.logLoss, p.naive.logLoss), pair(p.model.calibrationError, p.naive.calibrationError),
                pair(p.coverage, nil), pair(p.coverageEver, nil), pair(p.inside, nil),
            ])
        }
        return table
    }

    private func tell(_ comparison: Comparison) {
        for horizon in comparison.horizons {
            Report.line()
            Report.line(
                "\(Human.days(horizon.horizonDays)) days, \(Human.count(Int64(horizon.landmarks))) landmarks; differences to "
                    + "the better reference, 95 % intervals from \(Human.count(Int64(comparison.resamples))) resamplings "
                    + "of the users:")
            for name in horizon.silent {
                Report.line("(\(name) expects nothing at more than half of the landmarks: no reference.)")
            }
            Report.line()
            let models = horizon.rows.first.map { $0.values.keys.filter { $0 != Comparison.own }.sorted() } ?? []
            var table = TextTable(
                columns: [.init("")] + models.map { .init($0, .right) }
                    + [
                        .init(Comparison.own, .right), .init("difference", .right), .init("95 % interval", .right),
                        .init(""),
                    ])
            for (row, metric) in horizon.rows.map({ row in (row, Scores.metrics.first { $0.name == row.metric }) }) {
                let decimals = metric?.decimals ?? 4
                func number(_ x: Double?, signed: Bool = false) -> String {
                    x.map { Human.number($0, decimals: decimals, signed: signed) } ?? Human.missing
                }
                table.addRow(
                    [metric?.title ?? row.metric] + models.map { number(row.values[$0]) }
                        + [
                            number(row.values[Comparison.own]), number(row.difference, signed: true),
                            "\(number(row.low, signed: true)) to \(number(row.high, signed: true))",
                            row.verdict == .open ? "" : row.verdict.rawValue,
                        ])
            }
            Report.line(table.render(width: 130))
        }
    }

    private func tell(_ truth: TruthReport) {
        if truth.correlations.isEmpty { return }
        Report.line()
        Report.line("Correlation of expected with truly expected money (the customer's own rate in brackets):")
        Report.line()
        var values = TextTable(columns: [
            .init("days", .right), .init("landmarks", .right), .init("Pearson", .right), .init("Spearman", .right),
        ])
        func pair(_ a: Double, _ b: Double) -> String {
            "\(Human.number(a, decimals: 3)) (\(Human.number(b, decimals: 3)))"
        }
        for c in truth.correlations {
            values.addRow([
                Human.days(c.horizonDays), Human.count(Int64(c.landmarks)), pair(c.pearson, c.ownRatePearson),
                pair(c.spearman, c.ownRateSpearman),
            ])
        }
        Report.line(values.render(width: 100))
    }

    private func tell(_ recovery: [RecoveryPair]) {
        Report.line()
        Report.line(
            "Days until the error was back within 10 % of its earlier level after day \(Human.days(change ?? 0)):")
        Report.line()
        var table = TextTable(columns: [
            .init("horizon", .right), .init("earlier error", .right), .init("worst", .right),
            .init("with drift detection", .right), .init("without", .right), .init("share", .right),
        ])
        func text(_ days: Double?) -> String { days.map { Human.number($0, decimals: 0) } ?? "never" }
        for pair in recovery {
            var share = Human.missing
            if let a = pair.with.days, let b = pair.without.days, b > 0 { share = Human.percent(a / b) }
            table.addRow([
                Human.days(pair.with.horizonDays), Human.number(pair.with.earlierError, decimals: 3),
                Human.number(pair.with.worstError, decimals: 3), text(pair.with.days), text(pair.without.days), share,
            ])
        }
        Report.line(table.render(width: 110))
    }
}
