import Engine
import EventInput
import Foundation
import Kafka
import Logging
import Settings
import SnapshotStore
import Synchronization
import TestSupport
import Testing
import Verification

@testable import Runtime

/// Topics, group and snapshots of one daemon, whichever process it runs in.
struct Site {
    let cluster: Cluster
    let folder: Folder
    let input: [String]
    let partitions: Int
    let outputPartitions: Int
    var settings: Settings

    /// - Parameter of: a site whose input topics this one reads as well, for another group.
    init(
        _ cluster: Cluster, _ delivery: Settings.Delivery = .atLeastOnce, topics: Int = 1, partitions: Int = 1,
        outputPartitions: Int = 1, reading other: Site? = nil, _ change: (inout Settings) -> Void = { _ in }
    ) throws {
        self.cluster = cluster
        self.partitions = other?.partitions ?? partitions
        self.outputPartitions = outputPartitions
        folder = try Folder()
        let name = "\(other == nil ? "" : "other-")\(cluster.name)"
        input = other?.input ?? (0..<topics).map { "events-\($0)-\(name)" }
        var s = Settings()
        s.kafka.bootstrapServers = cluster.bootstrap
        s.kafka.groupId = "clvd-\(name)"
        // The mock lets a member that was killed, or that left without a word as static members do, wait for its
        // session; it makes every group wait for three seconds. Brokers refuse sessions of less than six.
        s.kafka.properties = [
            "session.timeout.ms": Cluster.isReal ? "6000" : "4000", "heartbeat.interval.ms": "300",
        ]
        s.input.topics = input
        s.output.updatesTopic = "updates-\(name)"
        s.output.alertsTopic = "alerts-\(name)"
        s.output.deadLetterTopic = "dead-\(name)"
        s.output.commitIntervalMs = 50
        s.delivery = delivery
        s.snapshots.directory = "\(folder.path)/snapshots"
        s.snapshots.intervalSeconds = 3600
        // The mock forgets what is committed in transactions.
        s.snapshots.acceptMissingOffsets = delivery == .exactlyOnce && !Cluster.isReal
        s.runtime.threads = 1
        s.runtime.batchRecords = 256
        s.runtime.idleTickSeconds = 0
        s.engine = .small
        change(&s)
        settings = s
        // Brokers count the age of a record from its timestamp, and take 1 MB unless told otherwise.
        if other == nil {
            try cluster.createTopics(
                input, partitions: partitions, configuration: ["retention.ms": "-1", "max.message.bytes": "8000000"])
        }
        try cluster.createTopics(
            [s.output.updatesTopic, s.output.alertsTopic, s.output.deadLetterTopic], partitions: outputPartitions)
    }

    func produce(_ records: some Collection<Input>, to topic: Int = 0) throws {
        try cluster.produce(records, to: input[topic])
    }

    /// The updates, with the place of the record that each is of.
    func updates() async throws -> [(source: Source, record: Cluster.Record)] {
        try await cluster.read(settings.output.updatesTopic, partitions: outputPartitions).map { record in
            struct Update: Decodable { var source: Source }
            return (try JSONDecoder().decode(Update.self, from: Data(record.value ?? [])).source, record)
        }
    }

    func alerts() async throws -> [Cluster.Record] { try await cluster.read(settings.output.alertsTopic) }
    func deadLetters() async throws -> [Cluster.Record] { try await cluster.read(settings.output.deadLetterTopic) }

    /// This instance's part of the store.
    var ownFolder: String { "\(settings.snapshots.directory)/\(settings.kafka.instanceId)" }

    func snapshots() throws -> [SnapshotInfo] { try SnapshotStore.snapshots(in: ownFolder) }

    /// Another instance of the group, over the same store.
    func instance(_ id: String, _ change: (inout Settings) -> Void = { _ in }) -> Site {
        var site = self
        site.settings.kafka.instanceId = id
        change(&site.settings)
        return site
    }

    /// Runs a daemon over everything that this one reads, for another group and to other topics, without a break.
    func uninterrupted(records: Int) async throws -> Site {
        let other = try Site(cluster, settings.delivery, reading: self) { s in
            s.engine = settings.engine
            // The topic's name is part of the state.
            s.input.topics = settings.input.topics
        }
        let daemon = RunningDaemon(other)
        try await daemon.taken(records)
        try await daemon.stop()
        return other
    }

    /// Whether every record has exactly one output, as `clvd verify` finds from outside. What was said twice is counted
    /// in the report; nothing may be missing.
    @discardableResult
    func verified(records: Int, toTheEnd: Bool = false) throws -> Verification.Report {
        let s = settings
        var task = Verification(
            cluster: .init(bootstrap: s.kafka.bootstrapServers, properties: s.kafka.properties),
            inputs: s.input.topics, updates: s.output.updatesTopic, deadLetters: s.output.deadLetterTopic,
            format: try EventFormat.load(s.input.format), limits: s.input.limits, currency: s.input.currency,
            // The mock forgets what is committed in transactions.
            to: !toTheEnd && (s.delivery == .atLeastOnce || Cluster.isReal)
                ? .committed(group: s.kafka.groupId) : .log)
        task.skips = SkippedOffsets(s.input.skip)
        task.isRouted = s.input.keying == .repartition
        let report = try Verifier(task).run()
        #expect(report.records == Int64(records))
        #expect(report.missing == 0 && report.orphans == 0 && report.foreign == 0, "\(report)")
        #expect(report.updates + report.deadLetters + report.accounted == report.records)
        if s.delivery == .exactlyOnce, Cluster.isReal { #expect(report.double == 0, "\(report)") }
        return report
    }

    /// What the newest snapshot holds: checksums of all files, and the engine's description.
    func state() throws -> State {
        let newest = try #require(try snapshots().first, "there is no snapshot")
        let snapshot = try SnapshotStore.open(path: newest.path)
        // The group and when the log was looked at are not those of another run.
        var metadata = try #require(try JSONSerialization.jsonObject(with: snapshot.metadata) as? [String: Any])
        metadata["origin"] = nil
        return State(
            files: Dictionary(uniqueKeysWithValues: snapshot.files.map { ($0.name, $0.checksum) }),
            metadata: String(
                decoding: try JSONSerialization.data(withJSONObject: metadata, options: .sortedKeys), as: UTF8.self))
    }

    struct State: Equatable {
        var files: [String: String]
        var metadata: String
    }

    struct Source: Decodable, Hashable {
        var topic: String
        var partition: Int32
        var offset: Int64
    }
}

extension EngineConfiguration {
    /// Fast in debug builds, learning early and enough to tell who is silent.
    static var small: EngineConfiguration {
        var c = EngineConfiguration.smallModel
        c.learning.batchSize = 32
        c.learning.stepsPerThousandEvents = 40
        c.learning.learningRate = 0.01
        c.alerts.coolDownDays = 5
        c.alerts.raiseThreshold = 0.3
        c.alerts.clearThreshold = 0.2
        return c
    }
}

/// A daemon in this process, on a thread of its own.
final class RunningDaemon: Sendable {
    let daemon: Daemon
    let log = Log()
    private let outcome = Mutex<Result<Void, any Error>?>(nil)

    /// - Parameter stage: where there are two.
    init(_ site: Site, stage: Stage? = nil) {
        daemon = Daemon(settings: site.settings, stage: stage, logger: log.logger)
        let thread = Thread { [self] in
            let result = Result { try daemon.run() }
            outcome.withLock { $0 = result }
        }
        thread.stackSize = 16 << 20
        thread.start()
    }

    var result: Result<Void, any Error>? { outcome.withLock { $0 } }
    var counters: TaskCounters { daemon.status.report?.counters ?? TaskCounters() }

    /// Waits until so many records were taken in by this daemon.
    func taken(_ records: Int, seconds: Double = 40) async throws {
        try await eventually(seconds, "\(records) records, but \(daemon.status.records)\n\(log.text)") {
            if let result { try result.get() }
            return daemon.status.records >= records
        }
    }

    /// Asks it to drain, and waits.
    func stop(seconds: Double = 30) async throws {
        daemon.stop()
        try await ended(seconds: seconds).get()
    }

    func ended(seconds: Double = 30) async throws -> Result<Void, any Error> {
        try await eventually(seconds, "the end\n\(log.text)") { result != nil }
        return try #require(result)
    }
}

/// Keeps what was logged.
final class Log: Sendable {
    private let lines = Mutex<[String]>([])
    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    func count(_ part: String) -> Int { lines.withLock { $0.count { $0.contains(part) } } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(log: self) }
        logger.logLevel = .info
        return logger
    }

    private struct Handler: LogHandler {
        let log: Log
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let more = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
            log.lines.withLock { $0.append("\(event.level) \(event.message)\(more)") }
        }
    }
}

/// The program itself.
final class RunningProgram {
    /// Next to the tests, or the one that `CLVD_TEST_PROGRAM` names.
    private static let program =
        ProcessInfo.processInfo.environment["CLVD_TEST_PROGRAM"].map { URL(filePath: $0) }
        ?? URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "clvd")
    private let process = Process()
    private let errorPath: String
    private let outputPath: String

    /// `clvd run` with the settings of a site.
    convenience init(_ site: Site, environment: [String: String] = [:]) throws {
        let config = try site.folder.write(site.settings.rendered(), to: "clvd-\(site.settings.kafka.instanceId).yaml")
        try self.init(site, ["run", "--config", config], environment: environment)
    }

    /// - Parameter path: of another program than that of this tree.
    init(
        _ site: Site, _ arguments: [String], environment: [String: String] = [:], program path: String? = nil
    ) throws {
        errorPath = "\(site.folder.path)/err-\(UUID().uuidString)"
        outputPath = "\(site.folder.path)/out-\(UUID().uuidString)"
        for path in [errorPath, outputPath] { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        // `env` becomes the program. What is preloaded into both may change the environment of the first, next to which
        // Swift looks for its arguments.
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [path ?? Self.program.path] + arguments
        process.environment = environment.merging(["PATH": "/usr/bin:/bin"]) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(forWritingAtPath: outputPath)
        process.standardError = FileHandle(forWritingAtPath: errorPath)
        try process.run()
    }

    deinit { if process.isRunning { kill() } }

    var errors: String { (try? String(contentsOfFile: errorPath, encoding: .utf8)) ?? "" }
    var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.isRunning }

    func kill() { Foundation.kill(process.processIdentifier, SIGKILL) }
    func terminate() { process.terminate() }
    func send(_ signal: Int32) { Foundation.kill(process.processIdentifier, signal) }

    /// Waits for its end.
    func status(seconds: Double = 30) async throws -> Int32 {
        try await eventually(seconds, "the end of the program\n\(errors)") { !process.isRunning }
        return process.terminationStatus
    }
}
