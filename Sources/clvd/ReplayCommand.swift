import ArgumentParser
import EventInput
import Foundation
import Kafka
import Logging
import Replay
import Settings
import Terminal

/// `clvd replay`
struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Send an event file to a topic, with its event times.",
        discussion: """
            Reads CSV with a header row or JSON, plain or gzip, and sends one record for each row: keyed by user, with the \
            event time as the record's timestamp. The daemon has to be set to the format of the file (input.format). JSON \
            is sent as it is; of a CSV row, the columns that the format knows become the members of a JSON object. Rows \
            that are no events are sent too, and the daemon refuses them for the same reasons; CSV rows of a type that \
            the format ignores are not sent.

            Rows are sent in the order of the file. When some of them would come too late for the daemon \
            (time.allowedLatenessSeconds), they are sorted by time first; --no-sort sends them as they are. --dry-run \
            sends nothing and says what `clvd check-events` says.

            A missing topic is created, with retention.ms=-1: brokers count a record's age from its timestamp, and \
            would soon delete what happened years ago. Look to the retention of a topic that exists.

            Interrupted (SIGINT, SIGTERM), it delivers what it has sent and says how much that was. Exit codes: 0; 1 \
            when something could not be read or delivered; 64 for arguments, 78 for settings that cannot be used, or that \
            name another format than the file's; 65 when no row is an event.

            EXAMPLES
              clvd replay --events events.csv.gz --bootstrap localhost:9092 --topic events
              clvd replay --events day.jsonl --format segment --bootstrap kafka:9092 --topic events --speed 60
              clvd replay --events events.csv --config /etc/clvd/clvd.yaml
            """)

    @OptionGroup var input: EventFileOptions
    private var events: String { input.events }

    @Option(help: ArgumentHelp("Brokers to start from, host:port,host:port.", valueName: "servers"))
    var bootstrap: String?

    @Option(help: "The topic.")
    var topic: String?

    @Option(
        help: ArgumentHelp(
            "Take brokers, topic, format, limits, currencies and Kafka properties from these settings, where no option "
                + "says otherwise.", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Times event time, or max: as fast as it goes.", valueName: "factor"))
    var speed = EventReplay.Speed.maximum

    @Option(help: "Partitions of the topic, if it is created.")
    var partitions = 1

    @Option(help: ArgumentHelp("Stop after this many records.", valueName: "records"))
    var limit: Int64?

    @Option(help: ArgumentHelp("How long to wait for the brokers.", valueName: "seconds"))
    var timeout = 10.0

    @Option(
        name: .customLong("property"),
        help: ArgumentHelp("A librdkafka property, may be repeated: security.protocol=SSL.", valueName: "name=value"))
    var properties: [KafkaProperty] = []

    @Flag(inversion: .prefixedNo, help: "Sort rows by time when some would come too late.")
    var sort = true

    @Flag(help: "Send nothing; check the file.")
    var dryRun = false

    @Flag(inversion: .prefixedNo, help: "Show the progress, on standard error.")
    var progress = true

    @Flag(help: "Print the counts as JSON.")
    var json = false

    func validate() throws {
        if config == nil, !dryRun {
            guard bootstrap != nil else {
                throw ValidationError("Give the brokers: --bootstrap host:9092, or --config.")
            }
            guard topic != nil else { throw ValidationError("Give the topic: --topic events, or --config.") }
        }
        guard (1...10_000).contains(partitions) else { throw ValidationError("--partitions must be from 1 to 10000.") }
        guard limit ?? 1 > 0 else { throw ValidationError("--limit must be 1 or more.") }
        guard (0.1...3600).contains(timeout) else {
            throw ValidationError("--timeout must be from 0.1 to 3600 seconds.")
        }
    }

    func run() throws {
        let target = try Target(self)
        StopSignal.install()
        // A file that cannot be read is not worth a connection.
        let file = try EventFile.open(events, format: input.format, target.settings)
        if dryRun {
            return try FileCheck(events, file, target.settings, showsProgress: progress).report(json: json)
        }
        try requireFormat(of: file, target)
        if sort { try file.putInOrder(target.settings, showsProgress: progress) }
        let producer = try Producer(
            bootstrap: target.bootstrap, transactionalId: nil, properties: target.properties, logger: Target.logger)
        let replay = EventReplay(file, producer: producer, topic: target.topic, limit: limit)
        let count = try target.ensureTopic(partitions: partitions, milliseconds: Int(timeout * 1000))
        if count != partitions, partitions != 1 {
            Report.note("Topic \(target.topic) exists with \(count) partitions; --partitions is for a new one.")
        }
        let summary = try send(replay, producer, target)
        if json { try Report.json(Result(summary, target)) } else { tell(summary, target) }
        guard summary.complete else { return }
        try Report.judge(
            summary.refusals, summary.unknownTypes, accepted: summary.rows - summary.rejected, of: summary.rows,
            in: events)
    }

    /// The daemon of these settings has to understand the rows.
    private func requireFormat(of file: EventFile, _ target: Target) throws {
        let name = (events as NSString).lastPathComponent
        if let config {
            guard try file.isOf(EventFormat.load(target.settings.input.format)) else {
                throw CommandFailure(
                    "\(events) is in the format \(file.format.name), but input.format of \(config) is "
                        + "\(target.settings.input.format): the daemon would refuse its rows. Set input.format, or leave "
                        + "--config out and give --bootstrap and --topic.", code: .configuration)
            }
        } else if file.isOfOtherFormat {
            Report.note(
                "The columns of \(name) are those of the format \(file.format.name): the daemon needs input.format: "
                    + "\(file.format.name).")
        }
    }

    private func send(_ replay: EventReplay, _ producer: Producer, _ target: Target) throws -> EventReplay.Summary {
        let total = replay.progress.bytesTotal
        let reporter = progress ? ProgressReporter(label: "Replay", total: total < 0 ? nil : total, unit: .bytes) : nil
        do {
            let summary = try replay.run(speed: speed, shouldStop: { StopSignal.isRequested }) {
                reporter?.update(done: $0.bytesRead)
            }
            let isWhole = summary.complete && (limit.map { summary.sent < $0 } ?? true)
            reporter?.finish(isWhole ? nil : summary.complete ? "Limit reached." : "Stopped.")
            return summary
        } catch let error as KafkaError {
            reporter?.finish("Failed.")
            let reason = producer.fatalError.map { "\($0.reason) (\($0.name))" } ?? "\(error.reason) (\(error.name))"
            let cause = producer.lastError.map { "; \($0.text)" } ?? ""
            throw CommandFailure(
                "\(target.topic) at \(target.bootstrap): \(producer.delivered) of \(replay.progress.records) records were "
                    + "delivered, then: \(reason)\(cause). Check the brokers and this client's rights, and replay again "
                    + "(the daemon leaves duplicates out by event id).")
        } catch {
            reporter?.finish("Failed.")
            let sent = Human.count(replay.progress.records)
            throw CommandFailure("\(error). \(sent) records before that were sent to \(target.topic).")
        }
    }

    private func tell(_ summary: EventReplay.Summary, _ target: Target) {
        let rate = summary.seconds > 0 ? Human.rate(Double(summary.sent) / summary.seconds) : ""
        Report.line(
            "\(summary.complete ? "Replayed" : "Stopped in") \(events) to topic \(target.topic) at \(target.bootstrap)")
        var facts =
            [
                ("rows read", Human.count(summary.rows)),
                ("records sent", "\(Human.count(summary.sent))   in \(Human.duration(summary.seconds)), \(rate)"),
                ("of them rejected", Human.count(summary.rejected)),
            ] + Report.facts(of: summary.refusals) + Report.facts(of: summary.unknownTypes) + [
                ("rows left out", "\(Human.count(summary.ignored))   of types that the format ignores")
            ]
        if let first = summary.firstEventMs, let last = summary.lastEventMs {
            facts.append(("event time", "\(time(first)) to \(time(last))"))
        }
        Report.facts(facts)
    }

    private func time(_ ms: Int64) -> String { Date(timeIntervalSince1970: Double(ms) / 1000).formatted(.iso8601) }

    private struct Result: Encodable {
        let rows, sent, rejected, ignored: Int64
        let firstRejection: String?
        let refusals: Refusals
        let unknownTypes: [String: Int64]
        let firstEventMs, lastEventMs: Int64?
        let complete: Bool
        let seconds: Double
        let topic: String

        init(_ summary: EventReplay.Summary, _ target: Target) {
            (rows, sent, rejected, ignored) = (summary.rows, summary.sent, summary.rejected, summary.ignored)
            (firstRejection, refusals) = (summary.firstRejection, summary.refusals)
            unknownTypes = summary.unknownTypes.counts
            (firstEventMs, lastEventMs) = (summary.firstEventMs, summary.lastEventMs)
            (complete, seconds, topic) = (summary.complete, summary.seconds, target.topic)
        }
    }
}

/// Where the records go.
private struct Target {
    let settings: Settings
    let bootstrap: String
    let topic: String
    let properties: [String: String]

    /// librdkafka's own log would say again, at length, what the command says in a sentence.
    static let logger = Logger(label: "clvd.replay") { _ in SwiftLogNoOpLogHandler() }

    init(_ command: ReplayCommand) throws {
        settings =
            try command.config.map { try Settings.load(path: $0, environment: ProcessInfo.processInfo.environment) }
            ?? Settings()
        bootstrap = command.bootstrap ?? settings.kafka.bootstrapServers
        topic = command.topic ?? settings.input.topics[0]
        // The daemon judges rows that are too long; a minute without an answer is a failure.
        properties = ["message.max.bytes": "8000000", "message.timeout.ms": "60000"]
            .merging(settings.kafka.properties) { $1 }
            .merging(command.properties.map { ($0.name, $0.value) }) { $1 }
    }

    /// Returns the number of its partitions.
    func ensureTopic(partitions: Int, milliseconds: Int) throws -> Int {
        let admin = try Admin(bootstrap: bootstrap, properties: properties, logger: Self.logger)
        do {
            if let count = try admin.partitionCounts([topic], milliseconds: milliseconds)[topic] { return count }
        } catch {
            let cause = admin.lastError.map { "\($0.text)" } ?? "\(error.reason) (\(error.name))"
            throw CommandFailure(
                "no Kafka broker answers at \(bootstrap) within \(Human.duration(Double(milliseconds) / 1000)): \(cause). "
                    + "Check --bootstrap, and that the brokers are up and reachable from here.")
        }
        let spec = TopicSpec(name: topic, partitions: partitions, configuration: ["retention.ms": "-1"])
        try admin.ensure([spec], mayCreate: true, milliseconds: milliseconds)
        Report.note("Created topic \(topic) with \(partitions) \(partitions == 1 ? "partition" : "partitions").")
        return partitions
    }
}

/// `name=value`
struct KafkaProperty: ExpressibleByArgument {
    let name: String
    let value: String

    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals != argument.startIndex else { return nil }
        name = String(argument[..<equals])
        value = String(argument[argument.index(after: equals)...])
    }
}

extension EventReplay.Speed: ExpressibleByArgument {
    package init?(argument: String) {
        if argument == "max" {
            self = .maximum
        } else if let factor = Double(argument), factor > 0, factor.isFinite {
            self = .times(factor)
        } else {
            return nil
        }
    }

    package var defaultValueDescription: String {
        switch self {
        case .maximum: "max"
        case .times(let factor): "\(factor)"
        }
    }
}
