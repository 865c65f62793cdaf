import CRdKafka
public import Logging

/// A topic that has to exist.
public struct TopicSpec: Sendable, Equatable {
    public var name: String
    public var partitions: Int
    /// -1: the broker's default.
    public var replicationFactor: Int
    public var configuration: [String: String]

    public init(name: String, partitions: Int, replicationFactor: Int = -1, configuration: [String: String] = [:]) {
        self.name = name
        self.partitions = partitions
        self.replicationFactor = replicationFactor
        self.configuration = configuration
    }

    /// The command that creates it with Kafka's own tools.
    public func command(bootstrap: String) -> String {
        var words = [
            "kafka-topics.sh --bootstrap-server \(bootstrap) --create --topic \(name) --partitions \(partitions)"
        ]
        if replicationFactor > 0 { words.append("--replication-factor \(replicationFactor)") }
        words += configuration.sorted { $0.key < $1.key }.map { "--config \($0.key)=\($0.value)" }
        return words.joined(separator: " ")
    }
}

/// A topic is missing and could not be created.
public struct TopicCreationError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

extension Client {
    /// Partitions of topics; topics that do not exist are absent. Nothing is created by asking.
    func partitionCounts(_ names: [String], milliseconds: Int) throws(KafkaError) -> [String: Int] {
        var counts: [String: Int] = [:]
        var metadata: UnsafePointer<rd_kafka_metadata>?
        try check(
            "ask the brokers for their topics", rd_kafka_metadata(handle, 1, nil, &metadata, Int32(milliseconds)))
        guard let metadata else { return counts }
        defer { rd_kafka_metadata_destroy(metadata) }
        for i in 0..<Int(metadata.pointee.topic_cnt) {
            let t = metadata.pointee.topics[i]
            let name = String(cString: t.topic)
            if t.err == RD_KAFKA_RESP_ERR_NO_ERROR, names.contains(name) { counts[name] = Int(t.partition_cnt) }
        }
        return counts
    }

    func create(_ topics: [TopicSpec], milliseconds: Int) throws {
        var text = [CChar](repeating: 0, count: 256)
        var news: [OpaquePointer?] = []
        defer { for n in news { rd_kafka_NewTopic_destroy(n) } }
        for spec in topics {
            guard
                let new = rd_kafka_NewTopic_new(
                    spec.name, Int32(spec.partitions), Int32(spec.replicationFactor), &text, text.count)
            else { throw TopicCreationError(description: "topic \(spec.name): \(CText.string(text))") }
            news.append(new)
            for (name, value) in spec.configuration { rd_kafka_NewTopic_set_config(new, name, value) }
        }
        try ask("create topics", RD_KAFKA_ADMIN_OP_CREATETOPICS, milliseconds: milliseconds) { options, queue in
            rd_kafka_AdminOptions_set_operation_timeout(options, Int32(milliseconds), nil, 0)
            rd_kafka_CreateTopics(handle, &news, news.count, options, queue)
        } _: { (event) throws(KafkaError) in
            var count = 0
            guard let result = rd_kafka_event_CreateTopics_result(event) else { return }
            let results = rd_kafka_CreateTopics_result_topics(result, &count)
            try checkTopics("create", results, count, unless: RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        }
    }

    /// Sends an administrative request and waits for its answer.
    /// - Parameters:
    ///   - operation: what it is, for errors.
    ///   - send: gets options and queue of the request.
    ///   - read: gets the answer.
    /// - Throws: when the request as a whole is refused or not answered, and what `read` throws.
    private func ask<Answer>(
        _ operation: String, _ code: rd_kafka_admin_op_t, milliseconds: Int,
        _ send: (OpaquePointer?, OpaquePointer?) -> Void, _ read: (OpaquePointer) throws(KafkaError) -> Answer
    ) throws(KafkaError) -> Answer {
        let queue = rd_kafka_queue_new(handle)
        defer { rd_kafka_queue_destroy(queue) }
        let options = rd_kafka_AdminOptions_new(handle, code)
        defer { rd_kafka_AdminOptions_destroy(options) }
        rd_kafka_AdminOptions_set_request_timeout(options, Int32(milliseconds), nil, 0)
        send(options, queue)
        guard let event = rd_kafka_queue_poll(queue, Int32(milliseconds) + 5000) else {
            throw KafkaError(operation, RD_KAFKA_RESP_ERR__TIMED_OUT)
        }
        defer { rd_kafka_event_destroy(event) }
        let error = rd_kafka_event_error(event)
        if error != RD_KAFKA_RESP_ERR_NO_ERROR {
            throw KafkaError(operation, error, reason: String(cString: rd_kafka_event_error_string(event)))
        }
        return try read(event)
    }

    /// - Throws: the first error of a topic but `accepted`.
    private func checkTopics(
        _ verb: String, _ results: UnsafeMutablePointer<OpaquePointer?>?, _ count: Int,
        unless accepted: rd_kafka_resp_err_t
    ) throws(KafkaError) {
        for result in UnsafeBufferPointer(start: results, count: count) {
            let error = rd_kafka_topic_result_error(result)
            if error == accepted || error == RD_KAFKA_RESP_ERR_NO_ERROR { continue }
            let name = String(cString: rd_kafka_topic_result_name(result))
            let reason = rd_kafka_topic_result_error_string(result).map { String(cString: $0) }
            throw KafkaError("\(verb) topic \(name)", error, reason: reason)
        }
    }
}

extension Client {
    func delete(_ topics: [String], milliseconds: Int) throws(KafkaError) {
        var requests: [OpaquePointer?] = topics.map { rd_kafka_DeleteTopic_new($0) }
        defer { for r in requests { rd_kafka_DeleteTopic_destroy(r) } }
        try ask("delete topics", RD_KAFKA_ADMIN_OP_DELETETOPICS, milliseconds: milliseconds) { options, queue in
            rd_kafka_DeleteTopics(handle, &requests, requests.count, options, queue)
        } _: { (event) throws(KafkaError) in
            var count = 0
            guard let result = rd_kafka_event_DeleteTopics_result(event) else { return }
            let results = rd_kafka_DeleteTopics_result_topics(result, &count)
            try checkTopics("delete", results, count, unless: RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        }
    }
}

/// What brokers say of their settings.
public struct ClusterSettings: Sendable, Equatable {
    /// Settings by topic; those of a topic that were refused are absent.
    public var topics: [String: [String: String]]
    /// Those of one broker.
    public var broker: [String: String]

    public init(topics: [String: [String: String]] = [:], broker: [String: String] = [:]) {
        (self.topics, self.broker) = (topics, broker)
    }
}

extension Client {
    /// The settings of topics and of a broker, in one request.
    /// - Returns: what the brokers tell, and the first refusal of a part of it.
    func describe(
        topics: [String], broker: Int32?, milliseconds: Int
    ) throws(KafkaError) -> (settings: ClusterSettings, refusal: KafkaError?) {
        let operation = "ask for the settings of \(topics.joined(separator: ", "))"
        var resources: [OpaquePointer?] = topics.map { rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, $0) }
        if let broker { resources.append(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, "\(broker)")) }
        defer { for r in resources { rd_kafka_ConfigResource_destroy(r) } }
        return try ask(operation, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, milliseconds: milliseconds) { options, queue in
            rd_kafka_DescribeConfigs(handle, &resources, resources.count, options, queue)
        } _: {
            settings(in: $0)
        }
    }

    /// What is told in an answer, and the first refusal of a part of it.
    private func settings(in event: OpaquePointer) -> (settings: ClusterSettings, refusal: KafkaError?) {
        var settings = ClusterSettings()
        var refusal: KafkaError?
        var count = 0
        guard let result = rd_kafka_event_DescribeConfigs_result(event),
            let found = rd_kafka_DescribeConfigs_result_resources(result, &count)
        else { return (settings, nil) }
        for resource in UnsafeBufferPointer(start: found, count: count) {
            let name = String(cString: rd_kafka_ConfigResource_name(resource))
            let isTopic = rd_kafka_ConfigResource_type(resource) == RD_KAFKA_RESOURCE_TOPIC
            let error = rd_kafka_ConfigResource_error(resource)
            if error != RD_KAFKA_RESP_ERR_NO_ERROR {
                let what = isTopic ? "topic" : "broker"
                refusal = refusal ?? KafkaError("ask for the settings of \(what) \(name)", error)
            } else if isTopic {
                settings.topics[name] = entries(resource)
            } else {
                settings.broker = entries(resource)
            }
        }
        return (settings, refusal)
    }

    private func entries(_ resource: OpaquePointer?) -> [String: String] {
        var count = 0
        guard let entries = rd_kafka_ConfigResource_configs(resource, &count) else { return [:] }
        var values: [String: String] = [:]
        for entry in UnsafeBufferPointer(start: entries, count: count) {
            guard let value = rd_kafka_ConfigEntry_value(entry) else { continue }
            values[String(cString: rd_kafka_ConfigEntry_name(entry))] = String(cString: value)
        }
        return values
    }

    /// The brokers that the cluster names.
    func brokers(milliseconds: Int) throws(KafkaError) -> [Int32] {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        try check("ask for the brokers", rd_kafka_metadata(handle, 0, nil, &metadata, Int32(milliseconds)))
        guard let metadata else { return [] }
        defer { rd_kafka_metadata_destroy(metadata) }
        return UnsafeBufferPointer(start: metadata.pointee.brokers, count: Int(metadata.pointee.broker_cnt)).map(\.id)
    }
}

/// Looks after topics before anything flows.
public final class Admin {
    let client: Client
    private let bootstrap: String

    public init(bootstrap: String, properties: [String: String], logger: Logger) throws {
        self.bootstrap = bootstrap
        client = try Client(
            RD_KAFKA_PRODUCER,
            properties: [("bootstrap.servers", bootstrap)]
                + properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) },
            logger: logger)
    }

    /// Partitions of topics; topics that do not exist are absent.
    public func partitionCounts(_ names: [String], milliseconds: Int = 10_000) throws(KafkaError) -> [String: Int] {
        rd_kafka_poll(client.handle, 0)
        return try client.partitionCounts(names, milliseconds: milliseconds)
    }

    /// The value of a topic's setting, such as `cleanup.policy`; nil when the topic has none of that name.
    public func setting(
        _ name: String, ofTopic topic: String, milliseconds: Int = 10_000
    ) throws(KafkaError) -> String? {
        let (settings, refusal) = try client.describe(topics: [topic], broker: nil, milliseconds: milliseconds)
        if let refusal { throw refusal }
        return settings.topics[topic]?[name]
    }

    /// The settings of topics and of one broker.
    /// - Returns: what is told, and the first refusal of a part of it.
    public func settings(
        ofTopics names: [String], milliseconds: Int = 5_000
    ) throws(KafkaError) -> (settings: ClusterSettings, refusal: KafkaError?) {
        let broker = try client.brokers(milliseconds: milliseconds).first
        do {
            return try client.describe(topics: names, broker: broker, milliseconds: milliseconds)
        } catch  where error.isPassing && broker != nil {
            // That broker may be away; topics can be asked of any.
            return try client.describe(topics: names, broker: nil, milliseconds: milliseconds)
        }
    }

    /// The latest error of the client as a whole and how many there were.
    public var lastError: ClientError? {
        rd_kafka_poll(client.handle, 0)
        return client.lastError
    }

    /// Deletes topics. One that is not there is no error.
    public func delete(_ topics: [String], milliseconds: Int = 15_000) throws(KafkaError) {
        try client.delete(topics, milliseconds: milliseconds)
    }

    /// Creates those of `topics` that are missing.
    /// - Throws: `TopicCreationError` with the command that creates them, when that is refused or not allowed.
    public func ensure(_ topics: [TopicSpec], mayCreate: Bool, milliseconds: Int = 15_000) throws {
        let present = try partitionCounts(topics.map(\.name))
        let missing = topics.filter { present[$0.name] == nil }
        guard !missing.isEmpty else { return }
        let commands = missing.map { $0.command(bootstrap: bootstrap) }.joined(separator: "\n  ")
        guard mayCreate else {
            throw TopicCreationError(
                description: "missing topics: \(missing.map(\.name).joined(separator: ", ")). "
                    + "Set output.createTopics: true, or create them:\n  \(commands)")
        }
        do {
            try client.create(missing, milliseconds: milliseconds)
        } catch let error as KafkaError {
            throw TopicCreationError(description: "\(error). Create the missing topics yourself:\n  \(commands)")
        }
    }
}
