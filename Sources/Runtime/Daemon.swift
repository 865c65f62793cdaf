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
    private let logger: Logger
    private let shared = SharedState()
    /// Remarks that were logged by an earlier life.
    private let told = Mutex<[Preflight.Remark]>([])
    /// A life of this length, s, has kept its name in the group: the next refusal is the first again.
    private static let settledSeconds = 600.0

    /// - Parameter settings: valid ones.
    public init(settings: Settings, logger: Logger) {
        self.settings = settings
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
        let store = try SharedSnapshotFolder(
            directory: settings.snapshots.directory, instance: settings.kafka.instanceId, logger: logger)
        let registry = settings.input.registry
        try settings.requireRegistry(for: .load(settings.input.format))
        let schemas = SchemaRegistry.source(registry.url, auth: registry.auth)?()
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
                RuntimeMetrics.restarted()
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
            settings, partitionCount: partitionCount, store: store, shared: shared, logger: logger,
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
            alignmentWaitMs: settings.input.alignmentWaitMs,
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
        while !shared.isStopping {
            do {
                let counts = try admin.partitionCounts(settings.input.topics, milliseconds: 5_000)
                let missing = settings.input.topics.filter { counts[$0] == nil }
                if missing.isEmpty {
                    let total = counts.values.reduce(0, +)
                    try admin.ensure(outputTopics(partitions: total), mayCreate: output.createTopics)
                    return (total, try preflight(admin))
                }
                logger.warning(
                    "waiting for the input topics", metadata: ["missing": "\(missing.joined(separator: ", "))"])
            } catch let error as KafkaError {
                logger.warning(
                    "waiting for the cluster",
                    metadata: ["bootstrap": "\(kafka.bootstrapServers)", "error": "\(error)"])
            }
            sleep(2)
        }
        return nil
    }

    /// Brokers that do not tell their settings do not hold anything up.
    /// - Returns: what the producer needs.
    private func preflight(_ admin: Admin) throws -> [String: String] {
        let output = settings.output
        let topics = settings.input.topics + [output.updatesTopic, output.alertsTopic, output.deadLetterTopic]
        var cluster = ClusterSettings()
        var refusal: KafkaError?
        do { (cluster, refusal) = try admin.settings(ofTopics: topics) } catch { refusal = error }
        let preflight = Preflight(settings, cluster, refusal: refusal?.description)
        for remark in preflight.remarks where told.withLock({ !$0.contains(remark) }) {
            told.withLock { $0.append(remark) }
            let metadata = remark.metadata.mapValues { Logger.MetadataValue.string($0) }
            logger.log(level: remark.level, "\(remark.text)", metadata: metadata)
        }
        guard preflight.problems.isEmpty else { throw SettingsError(problems: preflight.problems) }
        return preflight.producerProperties
    }

    private func outputTopics(partitions: Int) -> [TopicSpec] {
        let output = settings.output
        let count = output.partitions > 0 ? output.partitions : partitions
        func spec(_ name: String, _ configuration: [String: String]) -> TopicSpec {
            TopicSpec(
                name: name, partitions: count, replicationFactor: output.replicationFactor,
                configuration: configuration)
        }
        return [
            spec(output.updatesTopic, ["cleanup.policy": "compact"]),
            spec(output.alertsTopic, ["cleanup.policy": "delete"]),
            spec(output.deadLetterTopic, ["cleanup.policy": "delete"]),
        ]
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
