import ArgumentParser
import Engine
import EventInput
import Foundation
import Kafka
import Logging
import Runtime
import SchemaRegistry
import Settings
import Terminal
import Verification

/// `clvd verify`
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check from outside that every input record has exactly one update or dead letter.",
        discussion: """
            Reads the input topics, the updates and the dead letters (committed records only) as any consumer may, \
            joins no group and believes nothing that the daemon counted. Every input record must have one update, one \
            tombstone of an erased user or one dead letter that names it; or be a tombstone, of a type that the format \
            ignores, or the repeat of an event id that the same user had before in the same partition, or, with \
            state.excessEvents: ignore, above state.maxEventsPerDay. What has none of these is missing; what has more than one output is double. An output whose customer or event is not that of \
            the record it names is strange: the input topic was made anew since. So is a dead letter of other bytes.

            With input.keying: repartition in --config, it follows records through both stages: from the input topics to \
            the topic of events, and from there to the outputs.

            By default it looks at what the group has committed, which a running daemon may go on adding to. \
            It takes four and a quarter bytes of memory a record, and 60 bytes for each of up to a million repeats at a \
            time; --from and --to look at a part.

            Where the topic of updates is compacted (the brokers are asked), an update may be gone because a later one \
            of the same customer replaced it: such records count as superseded. To tell this from an update that never \
            was, verify before the log cleaner comes, with --no-compacted. Compacted topics take 40 bytes a customer.

            Customers with records in more than one partition are told as well. They are a fault of the input, not of the \
            outputs, and do not change the exit code.

            Delivery at least once repeats outputs after a crash: --allow-double (or delivery in --config) counts them \
            without complaint.

            Exit codes: 0; 1 when it could not be carried out; 2 when something is missing, double or strange; 64 for \
            arguments, 78 for settings that cannot be used.

            EXAMPLES
              clvd verify --config /etc/clvd/clvd.yaml
              clvd verify --bootstrap kafka:9092 --group clvd --input events --updates clv-updates
              clvd verify --config clvd.yaml --from 1000000 --to 2000000 --json | jq .missing
              clvd verify --config clvd.yaml --to end      # a daemon that has stopped, whatever it committed
            """)

    @Option(help: ArgumentHelp("Brokers to start from, host:port,host:port.", valueName: "servers"))
    var bootstrap: String?

    @Option(help: ArgumentHelp("The group whose committed offsets say how far to look.", valueName: "name"))
    var group: String?

    @Option(
        help: ArgumentHelp(
            "Take brokers, group, topics, format, limits, currencies, delivery and Kafka properties from these settings, "
                + "where no option says otherwise. (default: none, the defaults of clvd)", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("An input topic, may be repeated. (default: input.topics)", valueName: "topic"))
    var input: [String] = []

    @Option(help: ArgumentHelp("The topic of updates. (default: output.updatesTopic)", valueName: "topic"))
    var updates: String?

    @Option(help: ArgumentHelp("The topic of dead letters. (default: output.deadLetterTopic)", valueName: "topic"))
    var deadLetters: String?

    @Option(help: ArgumentHelp("Format of the input, by name or path. (default: input.format)", valueName: "name"))
    var format: String?

    @Option(help: ArgumentHelp("First offset of each partition. (default: where the log begins)", valueName: "offset"))
    var from: Int64?

    @Option(
        help: ArgumentHelp(
            "Up to here: committed, what the group has committed; end, the end of the log; or an offset of each "
                + "partition, which is not looked at any more.", valueName: "end"))
    var to = To.committed

    @Flag(
        inversion: .prefixedNo,
        help: "Whether updates may have been compacted away. (default: as the topic's cleanup.policy says)")
    var compacted: Bool?

    @Flag(help: "Repeated outputs are counted, but are no fault.")
    var allowDouble = false

    @Option(help: ArgumentHelp("How long brokers may say nothing.", valueName: "seconds"))
    var timeout = 30.0

    @Option(
        name: .customLong("property"),
        help: ArgumentHelp("A librdkafka property, may be repeated: security.protocol=SSL.", valueName: "name=value"))
    var properties: [KafkaProperty] = []

    @Flag(inversion: .prefixedNo, help: "Show the progress, on standard error.")
    var progress = true

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard config != nil || bootstrap != nil else {
            throw ValidationError("Give the brokers: --bootstrap host:9092, or --config.")
        }
        if config == nil, group == nil, to == .committed {
            throw ValidationError("Give the group: --group clvd, or --config; or an end: --to end.")
        }
        guard from ?? 0 >= 0 else { throw ValidationError("--from must be 0 or more.") }
        guard (0.1...3600).contains(timeout) else {
            throw ValidationError("--timeout must be from 0.1 to 3600 seconds.")
        }
    }

    func run() throws {
        let settings =
            try config.map { try Settings.load(path: $0, environment: ProcessInfo.processInfo.environment) }
            ?? Settings()
        let isRouted = settings.input.keying == .repartition && input.isEmpty
        var task = try task(isRouted ? settings.settings(of: .score) : settings)
        task.isRouted = isRouted
        var report: Verification.Report
        do {
            let route = try routeTask(settings).map(verifyRoute)
            report = try verify(task)
            report.route = route
        } catch let error as KafkaError {
            throw CommandFailure(
                "\(task.cluster.bootstrap): \(error). Check --bootstrap, that the brokers can be reached, and this "
                    + "client's rights.")
        } catch let error as VerificationError {
            throw CommandFailure("\(task.cluster.bootstrap): \(error).")
        }
        if json { try Report.json(report) } else { tell(report) }
        let mayRepeat = allowDouble || (config != nil && settings.delivery == .atLeastOnce)
        let (missing, double, strange) =
            report.route.map {
                (report.missing + $0.missing, report.double + $0.double, report.strange + $0.strange)
            } ?? (report.missing, report.double, report.strange)
        if missing > 0 || strange > 0 || (double > 0 && !mayRepeat) { throw ExitCode(2) }
    }

    /// The first stage, where the settings have one and no option names other topics.
    private func routeTask(_ settings: Settings) throws -> Verification? {
        guard settings.input.keying == .repartition, input.isEmpty else { return nil }
        let route = settings.settings(of: .route)
        var task = try task(route)
        (task.inputs, task.updates, task.from) = (route.input.topics, route.output.updatesTopic, nil)
        task.to = to == .log ? .log : .committed(group: route.kafka.groupId)
        return task
    }

    private func verifyRoute(_ task: Verification) throws -> RouteReport {
        try withProgress { try RouteVerifier(task).run(progress: $0) }
    }

    private func task(_ settings: Settings) throws -> Verification {
        let cluster = Verification.Cluster(
            bootstrap: bootstrap ?? settings.kafka.bootstrapServers,
            properties: settings.kafka.properties.merging(properties.map { ($0.name, $0.value) }) { $1 })
        var task = Verification(
            cluster: cluster, inputs: input.isEmpty ? settings.input.topics : input,
            updates: updates ?? settings.output.updatesTopic,
            deadLetters: deadLetters ?? settings.output.deadLetterTopic,
            format: try EventFormat.load(format ?? settings.input.format), limits: settings.input.limits,
            currency: settings.input.currency, from: from, to: to.end(group: group ?? settings.kafka.groupId))
        try settings.requireRegistry(for: task.format)
        let registry = settings.input.registry
        task.schemas = SchemaRegistry.source(registry.url, auth: registry.auth, cache: registry.cache) { _ in }
        task.patience = timeout
        if settings.engine.state.excessEvents == .ignore {
            task.mostEventsPerDay = settings.engine.state.maxEventsPerDay
        }
        task.skips = SkippedOffsets(settings.input.skip)
        task.compacted = try compacted ?? isCompacted(task)
        return task
    }

    /// Whether the brokers say so; those that cannot be asked have not compacted anything.
    private func isCompacted(_ task: Verification) throws -> Bool {
        let quiet = Logger(label: "clvd.verify") { _ in SwiftLogNoOpLogHandler() }
        let admin = try Admin(bootstrap: task.cluster.bootstrap, properties: task.cluster.properties, logger: quiet)
        let policy = try? admin.setting(
            "cleanup.policy", ofTopic: task.updates, milliseconds: Int(min(timeout, 10) * 1000))
        return policy?.contains("compact") ?? false
    }

    private func verify(_ task: Verification) throws -> Verification.Report {
        try withProgress { try Verifier(task).run(progress: $0) }
    }

    /// Runs `body`, which tells its progress.
    private func withProgress<T>(
        _ body: ((Verification.Phase, Int64, Int64) -> Void) throws -> T
    ) throws -> T {
        var phase: Verification.Phase?
        var reporter: ProgressReporter?
        defer { reporter?.finish() }
        return try body { now, done, total in
            guard progress else { return }
            if now != phase {
                reporter?.finish()
                reporter = ProgressReporter(label: now.rawValue, total: total, unit: "records")
                phase = now
            }
            reporter?.update(done: done)
        }
    }

    private func tell(_ route: RouteReport) {
        Report.line("input topics to the topic of events")
        Report.facts([
            ("records", Human.count(route.records)),
            (
                "routed",
                Human.count(route.routed)
                    + (route.split == 0
                        ? ""
                        : "   \(Human.count(route.split)) of them as \(Human.count(route.splitEvents)) events")
            ),
            ("dead letters", Human.count(route.deadLetters)), ("missing", Human.count(route.missing)),
            ("double", Human.count(route.double)), ("strange", Human.count(route.strange)),
        ])
        tell(route.findings, of: route.missing + route.double + route.strange)
        Report.line()
        Report.line("topic of events to outputs")
    }

    private func tell(_ findings: [Verification.Report.Finding], of count: Int64) {
        guard !findings.isEmpty else { return }
        Report.line()
        for f in findings {
            Report.line("\(f.kind.rawValue)  \(f.topic)[\(f.partition)] offset \(f.offset): \(f.remark)")
        }
        let rest = count - Int64(findings.count)
        if rest > 0 { Report.line("… and \(Human.count(rest)) more") }
    }

    private func tell(_ report: Verification.Report) {
        if let route = report.route { tell(route) }
        let reasons = report.reasons
        var parts = [
            "\(Human.count(reasons.duplicates)) duplicates", "\(Human.count(reasons.ignored)) ignored",
            "\(Human.count(reasons.tombstones)) tombstones",
        ]
        if reasons.identifies > 0 { parts.append("\(Human.count(reasons.identifies)) identifies") }
        if reasons.passedOn > 0 { parts.append("\(Human.count(reasons.passedOn)) passed on") }
        if reasons.messages > 0 { parts.append("\(Human.count(reasons.messages)) messages") }
        if report.compacted { parts.append("\(Human.count(reasons.superseded)) superseded") }
        Report.facts([
            ("records", Human.count(report.records)), ("updates", Human.count(report.updates)),
            ("dead letters", Human.count(report.deadLetters)),
            ("accounted", "\(Human.count(report.accounted))   \(parts.joined(separator: ", "))"),
            ("missing", Human.count(report.missing)), ("double", Human.count(report.double)),
            ("strange", Human.count(report.strange)),
        ])
        if report.orphans > 0 {
            Report.note("\(Human.count(report.orphans)) outputs are of records that are not in the log.")
        }
        if report.foreign > 0 {
            Report.note("\(Human.count(report.foreign)) records of the output topics name no source.")
        }
        if report.keying.splitCustomers > 0 {
            let (keying, places) = (report.keying, report.keying.example)
            Report.note(
                "\(Human.count(Int64(keying.splitCustomers))) of \(Human.count(Int64(keying.customers))) customers"
                    + (keying.oneIn > 1 ? " of a sample (1 in \(keying.oneIn))" : "")
                    + " are in more than one partition, one of them in "
                    + places.map { "\($0.topic)[\($0.partition)] at offset \($0.offset)" }.joined(separator: " and in ")
                    + ": each partition has a state of its own of such a customer. Use the customer's id as the key.")
        }
        tell(report.findings, of: report.missing + report.double + report.strange)
    }

    /// Up to where to look.
    enum To: ExpressibleByArgument, Equatable {
        case committed, log
        case offset(Int64)

        init?(argument: String) {
            switch argument {
            case "committed": self = .committed
            case "end": self = .log
            default:
                guard let offset = Int64(argument), offset >= 0 else { return nil }
                self = .offset(offset)
            }
        }

        var defaultValueDescription: String {
            switch self {
            case .committed: "committed"
            case .log: "end"
            case .offset(let offset): "\(offset)"
            }
        }

        func end(group: String) -> Verification.End {
            switch self {
            case .committed: .committed(group: group)
            case .log: .log
            case .offset(let offset): .offset(offset)
            }
        }
    }
}
