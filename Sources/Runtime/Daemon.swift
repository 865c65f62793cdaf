public import Engine
internal import EventInput
import Foundation
internal import Kafka
public import Logging
internal import SchemaRegistry
public import Settings
internal import SnapshotStore
import Synchronization

/// The daemon: keeps a pipeline alive between a cluster and a folder of snapshots.
public final class Daemon: Sendable {
    private let settings: Settings
    private let stage: Stage?
    private let logger: Logger
    private let shared = SharedState()
    /// Remarks that were logged by an earlier life.
    private let told = Mutex<[Preflight.Remark]>([])
    /// How often it is said what is waited for, s.
    private static let reminderSeconds = 30.0
    /// A life of this length, s, has kept its name in the group: the next refusal is the first again.
    private static let settledSeconds = 600.0

    /// - Parameters:
    ///   - settings: valid ones.
    ///   - stage: the one that this daemon is, where there are two (`input.keying: repartition`); nil: it is all.
    public init(settings: Settings, stage: Stage? = nil, logger: Logger) {
        self.settings = stage.map { settings.settings(of: $0) } ?? settings
        self.stage = stage
        self.logger = logger
    }

    public var status: DaemonStatus { shared.status }

    /// Takes questions to the engine from any thread. The loop answers them once a turn, as long as it runs.
    public var requests: EngineRequests { shared.requests }

    /// Asks the daemon to drain and leave; returns at once. From any thread or signal source.
    public func stop() { shared.stop() }

    /// Runs on the caller's thread until `stop`. Passing failures of the cluster begin a new life of the pipeline,
    /// from the newest snapshot.
    /// - Throws: errors that only an operator can resolve: `RecoveryError`, `SnapshotError`, `TopicCreationError`, an error
    ///   of the settings, or a `KafkaError` that is fatal or says that another instance has taken over (`isFenced`).
    public func run() throws {
        defer { shared.update { $0.phase = .stopped } }
        let store: any SnapshotRepository =
            stage == .route
            ? NoSnapshots(instance: settings.kafka.instanceId)
            : try SharedSnapshotFolder(
                directory: settings.snapshots.directory, instance: settings.kafka.instanceId, logger: logger)
        let registry = settings.input.registry
        try settings.requireRegistry(for: .load(settings.input.format))
        let schemas = SchemaRegistry.source(registry.url, auth: registry.auth, cache: registry.cache) { [logger] text in
            logger.warning("\(text)")
        }?()
        var delay = 0.5
        while !shared.isStopping {
            let began = monotonic()
            do {
                try live(store, schemas)
                return
            } catch let error where Self.isPassing(error) {
                // It could not drain, though it was asked to.
                if shared.isStopping { throw error }
                if monotonic() - began > 60 { delay = 0.5 }
                if monotonic() - began > Self.settledSeconds { shared.refusals = 0 }
                if error is NameRefused { shared.refusals += 1 }
                RuntimeMetrics.restarted(stage)
                shared.update { $0.restarts += 1 }
                logger.error(
                    "the pipeline ends and begins again from the newest snapshot",
                    metadata: ["error": "\(error)", "delay_seconds": "\(delay)"])
                sleep(delay)
                delay = min(30, delay * 2)
            }
        }
    }

    private func live(_ store: any SnapshotRepository, _ schemas: (any SchemaSource)?) throws {
        shared.update { $0.phase = .starting }
        guard let (partitionCount, producerProperties) = try prepareTopics() else { return }
        let pipeline = try Pipeline(
            settings, stage: stage, partitionCount: partitionCount, store: store, shared: shared, logger: logger,
            connections: try connect(producerProperties, schemas))
        try pipeline.run()
    }

    private func connect(
        _ producerProperties: [String: String], _ schemas: (any SchemaSource)?
    ) throws -> Connections {
        let kafka = settings.kafka
        let consumer = try Consumer(
            bootstrap: kafka.bootstrapServers, groupId: kafka.groupId,
            instanceId: kafka.staticMembership ? "\(kafka.groupId)-\(kafka.instanceId)" : nil,
            topics: settings.input.topics, batchRecords: settings.runtime.batchRecords,
            alignmentWaitMs: settings.input.alignmentWaitMs, holdsBack: stage == .route,
            properties: kafka.properties.merging(["partition.assignment.strategy": kafka.assignment.rawValue]) { $1 },
            logger: logger)
        consumer.skips = SkippedOffsets(settings.input.skip)
        let producer = try Producer(
            bootstrap: kafka.bootstrapServers,
            transactionalId: settings.delivery == .exactlyOnce ? "clvd-\(kafka.groupId)-\(kafka.instanceId)" : nil,
            properties: kafka.properties.merging(producerProperties) { $1 }, logger: logger)
        return Connections(source: consumer, sink: producer, clock: SystemClock(), schemas: schemas)
    }

    /// Waits for the cluster and the input topics, makes sure that the output topics exist, and looks at the settings of
    /// all of them.
    /// - Returns: partitions of the input topics together, and what the producer needs for these output topics; nil when
    ///   the daemon was stopped while waiting.
    /// - Throws: `SettingsError` when the settings cannot be used with these topics.
    private func prepareTopics() throws -> (partitions: Int, producerProperties: [String: String])? {
        let (kafka, output) = (settings.kafka, settings.output)
        let admin = try Admin(bootstrap: kafka.bootstrapServers, properties: kafka.properties, logger: logger)
        var toldAt = -Double.infinity
        func tell(_ text: String, _ metadata: Logger.Metadata) {
            guard monotonic() - toldAt >= Self.reminderSeconds else { return }
            toldAt = monotonic()
            logger.warning("\(text)", metadata: metadata)
        }
        while !shared.isStopping {
            do {
                let counts = try admin.partitionCounts(settings.input.topics, milliseconds: 5_000)
                let missing = settings.input.topics.filter { counts[$0] == nil }
                if missing.isEmpty {
                    let total = counts.values.reduce(0, +)
                    let outputs =
                        stage == .route
                        ? [deadLetterTopic(partitions: total), eventsTopic(partitions: total, inputSettings(admin))]
                        : outputTopics(partitions: total)
                    try admin.ensure(outputs, mayCreate: output.createTopics)
                    return (total, try preflight(admin))
                }
                tell(
                    "waiting for the input topics",
                    ["missing": "\(missing.joined(separator: ", "))", "remedy": "\(remedy(missing))"])
            } catch let error as KafkaError {
                tell(
                    "waiting for the cluster",
                    ["bootstrap": "\(kafka.bootstrapServers)", "error": "\(error)"])
            }
            sleep(2)
        }
        return nil
    }

    /// How topics that are not there come to be.
    private func remedy(_ missing: [String]) -> String {
        guard stage != .score else { return "the stage route creates it; start an instance with --stage route or all" }
        return missing.map {
            TopicSpec(name: $0, partitions: 8).command(bootstrap: settings.kafka.bootstrapServers)
        }.joined(separator: "; ")
    }

    /// Brokers that do not tell their settings do not hold anything up.
    /// - Returns: what the producer needs.
    private func preflight(_ admin: Admin) throws -> [String: String] {
        let output = settings.output
        let outputs = [output.updatesTopic, output.deadLetterTopic] + (stage == .route ? [] : [output.alertsTopic])
        let topics = settings.input.topics + outputs
        var cluster = ClusterSettings()
        var refusal: KafkaError?
        do { (cluster, refusal) = try admin.settings(ofTopics: topics) } catch { refusal = error }
        let preflight = Preflight(settings, stage: stage, cluster, refusal: refusal?.description)
        for remark in preflight.remarks where told.withLock({ !$0.contains(remark) }) {
            told.withLock { $0.append(remark) }
            let metadata = remark.metadata.mapValues { Logger.MetadataValue.string($0) }
            logger.log(level: remark.level, "\(remark.text)", metadata: metadata)
        }
        guard preflight.problems.isEmpty else { throw SettingsError(problems: preflight.problems) }
        return preflight.producerProperties
    }

    private func topic(_ name: String, partitions: Int, _ configuration: [String: String]) -> TopicSpec {
        TopicSpec(
            name: name, partitions: partitions, replicationFactor: settings.output.replicationFactor,
            configuration: configuration)
    }

    private func outputTopics(partitions: Int) -> [TopicSpec] {
        let output = settings.output
        let count = output.partitions > 0 ? output.partitions : partitions
        return [
            topic(output.updatesTopic, partitions: count, ["cleanup.policy": "compact"]),
            topic(output.alertsTopic, partitions: count, ["cleanup.policy": "delete"]),
            deadLetterTopic(partitions: partitions),
        ]
    }

    private func deadLetterTopic(partitions: Int) -> TopicSpec {
        let output = settings.output
        return topic(
            output.deadLetterTopic, partitions: output.partitions > 0 ? output.partitions : partitions,
            ["cleanup.policy": "delete"])
    }

    // MARK: The topic between the stages

    /// What the brokers say of the input topics; nothing when they say nothing.
    private func inputSettings(_ admin: Admin) -> [[String: String]] {
        guard let told = try? admin.settings(ofTopics: settings.input.topics).settings else { return [] }
        return settings.input.topics.compactMap { told.topics[$0] }
    }

    /// It keeps records as long as the inputs do, and takes the largest of theirs.
    private func eventsTopic(partitions: Int, _ inputs: [[String: String]]) -> TopicSpec {
        let configured = settings.input.eventsPartitions
        return topic(
            settings.output.updatesTopic, partitions: configured > 0 ? configured : partitions,
            EventsTopic.configuration(inputs, count: settings.input.topics.count))
    }

    /// Sleeps, at most until a stop.
    private func sleep(_ seconds: Double) {
        let end = monotonic() + seconds
        while monotonic() < end && !shared.isStopping { usleep(50_000) }
    }

    /// Whether a new life may continue after an error.
    package static func isPassing(_ error: any Error) -> Bool {
        if let error = error as? KafkaError { return !error.isFatal && !error.isFenced && !error.isUnsupported }
        return error is LostPartitions || error is TransactionExpired || error is ProducerForgotten
            || error is NameRefused || error is BrokenContinuity
    }
}
