public import Engine
public import EventInput
import Foundation

/// Everything that can be configured. A default-initialised `Settings` is what a file without keys means.
public struct Settings: Sendable, Equatable {
    public var kafka = KafkaSettings()
    public var input = InputSettings()
    public var output = OutputSettings()
    /// How updates and offsets are committed.
    public var delivery = Delivery.exactlyOnce
    public var snapshots = SnapshotSettings()
    public var runtime = RuntimeSettings()
    /// What the engine computes: `targets`, `binEdgesDays`, `time`, `state`, `model`, `learning`, `segments`, `alerts`.
    public var engine = EngineConfiguration()

    public init() {}

    /// How far ahead clocks of devices may be: decoder and engine have to know.
    public var futureSkewSeconds: Int {
        get { input.limits.futureSkewSeconds }
        set {
            input.limits.futureSkewSeconds = newValue
            engine.time.clockSkewSeconds = min(newValue, EngineConfiguration.EventTime.mostSkewSeconds)
        }
    }

    public enum Delivery: String, Sendable, Equatable, CaseIterable {
        /// Updates, alerts, dead letters and offsets in one Kafka transaction.
        case exactlyOnce = "exactly-once"
        /// Offsets are committed after the outputs were acknowledged; a crash repeats some outputs.
        case atLeastOnce = "at-least-once"
    }

    public struct KafkaSettings: Sendable, Equatable {
        /// `host:port,host:port`.
        public var bootstrapServers: String = "localhost:9092"
        public var groupId: String = "clvd"
        /// How partitions are shared among the instances of a group: Kafka's names.
        public enum Assignment: String, Sendable, Equatable, CaseIterable {
            /// Only partitions that move are stopped.
            case cooperativeSticky = "cooperative-sticky"
            /// All partitions are stopped, and shared out anew.
            case range, roundrobin
        }

        /// Names this instance among those of the group: static membership, the transactional id and its folder of
        /// snapshots depend on it.
        public var instanceId: String = "0"
        /// Whether its partitions wait for an instance that is restarted within `session.timeout.ms`.
        public var staticMembership: Bool = true
        public var assignment = Assignment.cooperativeSticky
        /// Further librdkafka properties for all clients (`security.protocol`, `sasl.username`, …).
        public var properties: [String: String] = [:]
        public init() {}
    }

    public struct InputSettings: Sendable, Equatable {
        public enum Start: String, Sendable, Equatable, CaseIterable { case earliest, latest }
        public var topics: [String] = ["events"]
        /// Name of a built-in format (`native`, `segment`, `ga4`, `rees46`) or path of a YAML file.
        public var format: String = "native"
        /// Where to begin when the group has committed nothing and there is no snapshot.
        public var start: Start = .earliest
        /// What of customers whose records are in more than one partition.
        public enum Keying: String, Sendable, Equatable, CaseIterable {
            /// The daemon refuses them, but for single ones.
            case strict
            /// They have several states.
            case asIs = "as-is"
            /// A first stage writes all records to a topic of their own, keyed by customer.
            case repartition
        }
        public var keying: Keying = .strict
        /// The topic that the first stage writes, for `repartition`; empty: the group's name and `-events`.
        public var eventsTopic: String = ""
        /// Its partitions when it is created; 0: as many as the input topics have.
        public var eventsPartitions: Int = 0
        /// Read compacted topics, from which the state cannot be made again after a crash.
        public var acceptCompacted: Bool = false
        /// How long partitions that are ahead wait for one that has delivered no records yet, ms; 0: not aligned.
        public var alignmentWaitMs: Int = 500
        /// Records and unreadable batches that are stepped over, each with a dead letter: `topic/partition/offset`, or
        /// `topic/partition/from-to`.
        public var skip: [String] = []
        /// Where the schemas of Avro and Protobuf records are.
        public var registry = RegistrySettings()
        public var limits = InputLimits()
        public var currency = CurrencyTable()
        public init() {}
    }

    /// The topic between the two stages of `input.keying: repartition`.
    public var eventsTopic: String { input.eventsTopic.isEmpty ? "\(kafka.groupId)-events" : input.eventsTopic }

    public struct RegistrySettings: Sendable, Equatable {
        /// Empty: there is none.
        public var url: String = ""
        /// `name:password`, `Bearer TOKEN`, or empty.
        public var auth: String = ""
        /// A folder that keeps schemas; empty: none does.
        public var cache: String = ""
        public init() {}
    }

    public struct OutputSettings: Sendable, Equatable {
        public var updatesTopic: String = "clv-updates"
        public var alertsTopic: String = "churn-alerts"
        public var deadLetterTopic: String = "clvd-dead-letters"
        /// Create output topics that are missing.
        public var createTopics: Bool = true
        /// Partitions of created topics; 0: as many as the input topics have.
        public var partitions: Int = 0
        /// Replicas of created topics; -1: the broker's default.
        public var replicationFactor: Int = -1
        /// A transaction is committed after this many milliseconds …
        public var commitIntervalMs: Int = 200
        /// … or this many records, whichever comes first.
        public var commitRecords: Int = 50_000
        public init() {}
    }

    public struct SnapshotSettings: Sendable, Equatable {
        /// Shared by all instances of the group, each of which has a folder of its own in it.
        public var directory: String = "snapshots"
        /// Seconds of wall clock between snapshots.
        public var intervalSeconds: Int = 60
        /// Newest snapshots of each partition that are kept, over all instances.
        public var keep: Int = 3
        /// Start although the log no longer reaches back to the snapshot; the records between are lost to the state.
        public var acceptGap: Bool = false
        /// Go on from the snapshots although the group has committed nothing.
        public var acceptMissingOffsets: Bool = false
        /// Take snapshots and offsets of another group or cluster as they are.
        public var acceptOrigin: Bool = false
        /// Start empty although the snapshot does not belong to this configuration.
        public var discardIncompatible: Bool = false
        public init() {}
    }

    public struct RuntimeSettings: Sendable, Equatable {
        /// Threads of the engine; 0: one per processor.
        public var threads: Int = 0
        /// Most records of one micro-batch.
        public var batchRecords: Int = 8192
        /// Wall-clock seconds without records after which the event clock follows the wall clock; 0: never.
        public var idleTickSeconds: Int = 60
        /// Seconds between progress lines in the log.
        public var reportIntervalSeconds: Int = 10
        public var logLevel: LogLevel = .info
        public init() {}

        /// Threads that the engine gets: `threads`, or one per processor.
        public var threadCount: Int { threads > 0 ? threads : ProcessInfo.processInfo.activeProcessorCount }
    }

    public enum LogLevel: String, Sendable, Equatable, CaseIterable { case debug, info, notice, warning, error }
}
