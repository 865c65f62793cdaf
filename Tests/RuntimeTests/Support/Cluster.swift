import CEventParser
import Foundation
import Kafka
import Logging
import Testing

/// A cluster of a test's own: the mock in this process, or a real broker when `CLVD_TEST_BOOTSTRAP` names one.
final class Cluster {
    private static var external: String? { ProcessInfo.processInfo.environment["CLVD_TEST_BOOTSTRAP"] }
    static var isReal: Bool { external != nil }

    let mock: MockCluster?
    let bootstrap: String
    /// Tells the topics of tests on one broker apart.
    let name = String(UUID().uuidString.prefix(8))
    private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// - Parameter brokers: of the mock.
    init(brokers: Int = 1) throws {
        mock = Self.isReal ? nil : try MockCluster(brokers: brokers)
        bootstrap = Self.external ?? mock?.bootstrap ?? ""
    }

    /// Another cluster of real brokers than the one of `CLVD_TEST_BOOTSTRAP`.
    init(brokers bootstrap: String) { (mock, self.bootstrap) = (nil, bootstrap) }

    /// - Parameter configuration: of topics of a real broker.
    func createTopics(_ topics: [String], partitions: Int, configuration: [String: String] = [:]) throws {
        guard let mock else {
            let admin = try Admin(bootstrap: bootstrap, properties: [:], logger: quiet)
            let specs = topics.map { TopicSpec(name: $0, partitions: partitions, configuration: configuration) }
            return try admin.ensure(specs, mayCreate: true)
        }
        for topic in topics { try mock.createTopic(topic, partitions: partitions) }
    }

    func producer() throws -> Producer {
        try Producer(
            bootstrap: bootstrap, transactionalId: nil,
            // The mock counts the bytes that it keeps as they are sent.
            properties: ["message.max.bytes": "8000000", "compression.codec": "none"], logger: quiet)
    }

    func produce(_ records: some Collection<Input>, to name: String) throws {
        let producer = try producer()
        let topic = try producer.topic(name)
        try produce(records, to: topic, by: producer)
    }

    func produce(_ records: some Collection<Input>, to topic: Producer.Topic, by producer: Producer) throws {
        try produce(records, by: producer) { _ in topic }
    }

    /// Produces records in their order, each to its topic.
    func produce(
        _ records: some Collection<Input>, by producer: Producer, to topic: (Input) -> Producer.Topic
    ) throws {
        for r in records {
            let (key, value) = (r.key ?? [], r.value ?? [])
            try key.withUnsafeBytes { k in
                try value.withUnsafeBytes { v in
                    let none = UnsafeRawBufferPointer(start: nil, count: 0)
                    try producer.produce(
                        .init(topic: topic(r), key: r.key == nil ? none : k, value: r.value == nil ? nil : v),
                        partition: r.partition, timestampMs: r.timestampMs)
                }
            }
        }
        try producer.flush()
    }

    /// A record as it was read back.
    struct Record: Equatable {
        var partition: Int32
        var offset: Int64
        var key: [UInt8]?
        var value: [UInt8]?
        var headers: [String: String] = [:]

        var keyText: String { String(decoding: key ?? [], as: UTF8.self) }

        /// The value as a JSON object.
        var json: [String: Any] {
            get throws {
                try #require(try JSONSerialization.jsonObject(with: Data(value ?? [])) as? [String: Any])
            }
        }
    }

    static let deadLetterHeaders = [
        "topic", "partition", "offset", "stage", "class.name", "exception.message",
    ].map { "__connect.errors.\($0)" }

    /// Everything that is in a topic now, by partition and offset. The reader is no member of any group.
    func read(_ topic: String, partitions: Int = 1) async throws -> [Record] {
        let consumer = try Consumer(
            bootstrap: bootstrap, groupId: UUID().uuidString, instanceId: nil, topics: [topic], batchRecords: 1000,
            properties: [:], logger: quiet)
        defer { consumer.close() }
        try consumer.assign(
            Dictionary(uniqueKeysWithValues: (0..<Int32(partitions)).map { (TopicPartition(topic, $0), .beginning) }))
        var records: [Record] = []
        var ended: Set<TopicPartition> = []
        try await eventually(60, "the end of \(topic)") {
            let poll = consumer.poll(milliseconds: 5)
            records += poll.records.map(Self.copy)
            ended.formUnion(poll.ends.keys)
            consumer.release()
            return ended.count == partitions
        }
        return records.sorted { ($0.partition, $0.offset) < ($1.partition, $1.offset) }
    }

    private static func copy(_ r: clvd_record) -> Record {
        func bytes(_ start: UnsafePointer<UInt8>?, _ count: UInt32) -> [UInt8]? {
            start.map { Array(UnsafeBufferPointer(start: $0, count: Int(count))) }
        }
        var record = Record(
            partition: r.partition, offset: r.offset, key: bytes(r.key, r.key_length),
            value: bytes(r.value, r.value_length))
        let others = [
            "clvd.cut.from", "clvd.source.topic", "clvd.source.offset", "clvd.origin", "clvd.key", "clvd.routed",
            "clvd.element",
        ]
        for name in deadLetterHeaders + others {
            var length: UInt32 = 0
            let value = Consumer.headerLookup(r.headers, name, &length)
            if let value = bytes(value, length) { record.headers[name] = String(decoding: value, as: UTF8.self) }
        }
        return record
    }

    /// Asks for offsets; no member of any group.
    private lazy var observer = try? Consumer(
        bootstrap: bootstrap, groupId: "observer-\(name)", instanceId: nil, topics: [], batchRecords: 1,
        properties: [:],
        logger: quiet)

    /// The offset after the last record of a topic's first partition.
    func end(of topic: String) throws -> Int64 {
        try #require(observer).watermarks(TopicPartition(topic, 0)).high
    }

    /// The first offset that is left of a topic's first partition.
    func begin(of topic: String) throws -> Int64 {
        try #require(observer).watermarks(TopicPartition(topic, 0)).low
    }

    /// What a group has committed of a topic's partitions.
    func committed(_ topic: String, partitions: Int = 1, group: String) throws -> [Int32: PartitionOffset] {
        let consumer = try Consumer(
            bootstrap: bootstrap, groupId: group, instanceId: nil, topics: [topic], batchRecords: 1,
            properties: [:], logger: quiet)
        defer { consumer.close() }
        let all = (0..<Int32(partitions)).map { TopicPartition(topic, $0) }
        // The coordinator may be a broker that has just started.
        for _ in 0..<40 {
            do throws(KafkaError) {
                return Dictionary(uniqueKeysWithValues: try consumer.committed(all).map { ($0.partition, $1) })
            } catch {
                guard error.isPassing else { throw error }
                usleep(250_000)
            }
        }
        return Dictionary(uniqueKeysWithValues: try consumer.committed(all).map { ($0.partition, $1) })
    }
}

/// Waits until `condition` holds, without holding up other tests.
/// - Throws: when it does not within so many seconds.
func eventually(
    _ seconds: Double, _ what: @autoclosure () -> String, _ condition: () throws -> Bool
) async throws {
    let end = ContinuousClock.now + .seconds(seconds)
    while try !condition() {
        guard ContinuousClock.now < end else { throw Late(description: "not within \(seconds) s: \(what())") }
        try await Task.sleep(for: .milliseconds(20))
    }
}

struct Late: Error, CustomStringConvertible { let description: String }

/// Runs what must not wait for other tests on a thread of its own.
func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Result { try body() }) }.start()
    }
}

/// A folder of the test's own, removed with this.
final class Folder {
    let path = FileManager.default.temporaryDirectory.appending(path: "clvd-\(UUID().uuidString)").path
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String, to name: String) throws -> String {
        try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
        return "\(path)/\(name)"
    }
}
