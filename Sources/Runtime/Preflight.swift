internal import Kafka
internal import Logging
internal import Settings

/// What follows, before anything flows, from what the brokers say of their settings: decisions without I/O.
struct Preflight: Equatable {
    /// Why the daemon cannot start.
    private(set) var problems: [SettingsProblem] = []
    /// What an operator should know.
    private(set) var remarks: [Remark] = []
    /// Properties that make the producer's batches fit the output topics.
    private(set) var producerProperties: [String: String] = [:]

    /// A line of the log.
    struct Remark: Equatable {
        var level = Logger.Level.warning
        var text: String
        var metadata: [String: String] = [:]
    }

    private let settings: Settings
    private let stage: Stage?
    private let cluster: ClusterSettings

    /// How long a start may take beyond the snapshots: state is read, and what came after it is replayed.
    private static let restoreSeconds: Int64 = 60
    /// librdkafka's defaults.
    private static let batchBytes = 1_000_000
    private static let transactionMs = 60_000
    /// Kafka's default of `transactional.id.expiration.ms`.
    private static let idExpirationMs = "604800000"

    /// - Parameters:
    ///   - settings: those of the stage.
    ///   - stage: nil: there is but one.
    ///   - cluster: what the brokers tell; what they do not tell is not checked.
    ///   - refusal: why they do not tell all; nil: they do.
    init(
        _ settings: Settings, stage: Stage? = nil, _ cluster: ClusterSettings, refusal: String? = nil,
        library: LibraryVersion = .current
    ) {
        (self.settings, self.stage, self.cluster) = (settings, stage, cluster)
        checkLibrary(library)
        if let refusal { noteRefusal(refusal) }
        for topic in settings.input.topics { if let values = cluster.topics[topic] { checkInput(topic, values) } }
        if stage == .route { fitRecords() } else { checkOutputs() }
        if stage != nil { checkEvents() }
        fitBatches()
        if settings.delivery == .exactlyOnce { checkTransactions() }
    }

    // MARK: The client

    /// What was mended in librdkafka that can stop or delay an instance.
    private static let mends: [(in: LibraryVersion, what: String)] = [
        (LibraryVersion(2, 3, 0), "the cooperative-sticky assignor can abort the process (#4312)"),
        (LibraryVersion(2, 6, 1), "the cooperative-sticky assignor can loop without end (#4800)"),
        (LibraryVersion(2, 10, 0), "a commit during a cooperative rebalance can cost the assignment (#4908)"),
        (LibraryVersion(2, 10, 0), "a broker that is away can hide that the coordinator has changed (#4970)"),
        (LibraryVersion(2, 10, 1), "memory can be overwritten while no broker is connected (#5066)"),
    ]

    private mutating func checkLibrary(_ library: LibraryVersion) {
        guard library < .recommended else { return }
        let reasons = Self.mends.filter { library < $0.in }.map(\.what)
        remarks.append(
            Remark(
                level: .notice, text: "a later librdkafka is recommended",
                metadata: [
                    "here": "\(library)", "recommended": "\(LibraryVersion.recommended)",
                    "reasons": reasons.joined(separator: "; "),
                ]))
    }

    private mutating func noteRefusal(_ refusal: String) {
        remarks.append(
            Remark(
                text: "the brokers do not tell all their settings: compaction, retention, largest records and longest "
                    + "transactions are not all checked. Allow DescribeConfigs of the topics and of the cluster",
                metadata: ["error": refusal]))
    }

    // MARK: Input

    private mutating func checkInput(_ topic: String, _ values: [String: String]) {
        if Self.isCompacted(values) {
            if settings.input.acceptCompacted {
                remarks.append(
                    Remark(
                        text:
                            "an input topic is compacted, which input.acceptCompacted accepts: after a crash the state "
                            + "is made again of what compaction left, and values to date may be wrong",
                        metadata: ["topic": topic]))
            } else {
                problems.append(
                    SettingsProblem(
                        path: "input.topics",
                        problem: "\(topic) is compacted: after a crash the state is made again from the log, where "
                            + "compaction leaves only the last record of each key, so that values to date would be wrong",
                        value: "cleanup.policy=\(values["cleanup.policy"] ?? "")",
                        remedy: "read a topic with cleanup.policy=delete, or set input.acceptCompacted: true"))
            }
        }
        // The first stage goes on from where its group is, and needs nothing from before.
        guard values["cleanup.policy"]?.contains("delete") != false, stage != .route else { return }
        checkRetention(topic, values)
    }

    /// After a crash the newest snapshot may be damaged: the one before it is two intervals old.
    private mutating func checkRetention(_ topic: String, _ values: [String: String]) {
        let interval = Int64(settings.snapshots.intervalSeconds)
        let needed = 1000 * (2 * interval + Self.restoreSeconds)
        if let bytes = values["retention.bytes"], bytes != "-1" {
            remarks.append(
                Remark(
                    level: .notice,
                    text: "an input topic keeps a number of bytes of each partition: they have to last for twice "
                        + "snapshots.intervalSeconds and a minute",
                    metadata: ["topic": topic, "retention_bytes": bytes, "needed_ms": "\(needed)"]))
        }
        guard let text = values["retention.ms"], let retention = Int64(text), (0..<needed).contains(retention) else {
            return
        }
        let time = values["message.timestamp.type"] == "LogAppendTime" ? "it was written" : "its timestamp"
        remarks.append(
            Remark(
                text: "an input topic may lose records before a snapshot has them, and a restart would refuse: keep "
                    + "them for twice snapshots.intervalSeconds and a minute, by a longer retention.ms or a shorter "
                    + "interval",
                metadata: [
                    "topic": topic, "retention_ms": text, "needed_ms": "\(needed)", "counted_from": time,
                    "snapshots_interval_seconds": "\(interval)",
                ]))
    }

    private static func isCompacted(_ values: [String: String]) -> Bool {
        values["cleanup.policy"]?.contains("compact") ?? false
    }

    // MARK: Between the stages

    /// A record keeps its time on the way, by which partitions are aligned and times in the future are told.
    private mutating func checkEvents() {
        let topic = stage == .route ? settings.output.updatesTopic : settings.input.topics[0]
        guard let values = cluster.topics[topic] else { return }
        if let type = values["message.timestamp.type"], type != "CreateTime" {
            problems.append(
                SettingsProblem(
                    path: "input.eventsTopic", problem: "\(topic) does not keep the timestamps of records",
                    value: "message.timestamp.type=\(type)", remedy: "set message.timestamp.type=CreateTime on it"))
        }
        guard stage == .route, Self.isCompacted(values) else { return }
        problems.append(
            SettingsProblem(
                path: "input.eventsTopic",
                problem: "\(topic) is compacted: of each customer only the last record would be left",
                value: "cleanup.policy=\(values["cleanup.policy"] ?? "")", remedy: "set cleanup.policy=delete on it"))
    }

    /// Makes the producer and the topic of events take the largest records of the inputs.
    private mutating func fitRecords() {
        guard let largest = EventsTopic.largest(settings.input.topics.compactMap { cluster.topics[$0] }) else { return }
        let needed = largest + EventsTopic.headroom
        if settings.kafka.properties["message.max.bytes"] == nil, needed > Self.batchBytes {
            producerProperties["message.max.bytes"] = "\(min(needed, 1_000_000_000))"
        }
        let topic = settings.output.updatesTopic
        guard let limit = cluster.topics[topic]?["max.message.bytes"].flatMap({ Int($0) }), limit < largest else {
            return
        }
        remarks.append(
            Remark(
                text: "the topic of events takes smaller records than an input topic: one that does not fit stops the "
                    + "stream. Raise its max.message.bytes",
                metadata: ["topic": topic, "max_message_bytes": "\(limit)", "needed": "\(needed)"]))
    }

    // MARK: Output

    private mutating func checkOutputs() {
        let output = settings.output
        let expected = [
            (
                output.updatesTopic, isCompacted: true,
                "the topic of updates is not compacted: the newest forecast of a customer who does nothing goes with "
                    + "retention, and without retention the topic grows. Set cleanup.policy=compact on it"
            ),
            (
                output.alertsTopic, isCompacted: false,
                "the topic of alerts is compacted: it keeps only the last alert of a customer. Set "
                    + "cleanup.policy=delete on it"
            ),
            (
                output.deadLetterTopic, isCompacted: false,
                "the topic of dead letters is compacted: it keeps only the last one of a key, and refuses those "
                    + "without a key, which stops the stream. Set cleanup.policy=delete on it"
            ),
        ]
        for (topic, isCompacted, text) in expected {
            guard let values = cluster.topics[topic], Self.isCompacted(values) != isCompacted else { continue }
            remarks.append(Remark(text: text, metadata: Self.policy(topic, values)))
        }
    }

    private static func policy(_ topic: String, _ values: [String: String]) -> [String: String] {
        [
            "topic": topic, "cleanup_policy": values["cleanup.policy"] ?? "-",
            "retention_ms": values["retention.ms"] ?? "-",
        ]
    }

    /// Makes batches that every output topic takes: a topic refuses a batch as a whole. What the client counts against
    /// `batch.size` is the batch before compression. A record by itself may be larger than that.
    private mutating func fitBatches() {
        let output = settings.output
        let limits = [output.updatesTopic, output.alertsTopic, output.deadLetterTopic].compactMap { topic in
            cluster.topics[topic]?["max.message.bytes"].flatMap { Int($0) }.map { (topic: topic, bytes: $0) }
        }
        guard let (topic, limit) = limits.min(by: { $0.bytes < $1.bytes }) else { return }
        let properties = settings.kafka.properties
        let own = properties["batch.size"].flatMap { Int($0) }
        let bytes = min(own ?? Self.batchBytes, properties["message.max.bytes"].flatMap { Int($0) } ?? .max)
        // What compression may add to records that cannot be compressed.
        let fitting = max(1, limit - max(512, limit / 64))
        guard bytes > fitting else { return }
        let metadata = ["topic": topic, "max_message_bytes": "\(limit)"]
        guard own == nil else {
            remarks.append(
                Remark(
                    text:
                        "kafka.properties.batch.size is larger than an output topic takes, which refuses full batches: "
                        + "remove it, or raise max.message.bytes of the topic",
                    metadata: metadata.merging(["batch_size": "\(bytes)"]) { $1 }))
            return
        }
        producerProperties["batch.size"] = "\(fitting)"
        remarks.append(
            Remark(
                level: .notice, text: "output batches are smaller than usual, so that an output topic takes them",
                metadata: metadata.merging(["batch_size": "\(fitting)"]) { $1 }))
    }

    // MARK: Transactions

    private mutating func checkTransactions() {
        let own = settings.kafka.properties["transaction.timeout.ms"]
        if let text = cluster.broker["transaction.max.timeout.ms"], let most = Int(text),
            let timeout = own.map({ Int($0) }) ?? Self.transactionMs, timeout > most
        {
            problems.append(
                SettingsProblem(
                    path: "kafka.properties.transaction.timeout.ms",
                    problem: "is above transaction.max.timeout.ms of the brokers, \(most)",
                    value: own ?? "\(timeout) by default",
                    remedy: "set it to \(most) or less, or raise transaction.max.timeout.ms of the brokers"))
        }
        if settings.runtime.idleTickSeconds == 0, stage != .route {
            remarks.append(
                Remark(
                    text: "runtime.idleTickSeconds is 0: a stream that is idle raises no alert for silence, and after "
                        + "transactional.id.expiration.ms without a transaction the brokers forget this instance's "
                        + "transactional id, which costs a restart of the pipeline",
                    metadata: [
                        "transactional_id_expiration_ms": cluster.broker["transactional.id.expiration.ms"]
                            ?? Self.idExpirationMs
                    ]))
        }
    }
}
