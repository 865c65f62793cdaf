import CEventParser
import Foundation
import Logging
import Testing

@testable import Kafka

/// Where tests find a cluster: the mock in this process, or a real broker when `CLVD_TEST_BOOTSTRAP` names one.
final class TestCluster {
    let mock: MockCluster?
    let bootstrap: String
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// A broker that this process did not make.
    private static var external: String? { ProcessInfo.processInfo.environment["CLVD_TEST_BOOTSTRAP"] }
    static var isReal: Bool { external != nil }

    init(brokers: Int = 1) throws {
        if let external = Self.external {
            mock = nil
            bootstrap = external
        } else {
            let cluster = try MockCluster(brokers: brokers)
            mock = cluster
            bootstrap = cluster.bootstrap
        }
    }

    func topic(_ stem: String, partitions: Int) throws -> String {
        let name = "\(stem)-\(UUID().uuidString.prefix(8))"
        if let mock {
            try mock.createTopic(name, partitions: partitions)
        } else {
            try Admin(bootstrap: bootstrap, properties: [:], logger: logger)
                .ensure([TopicSpec(name: name, partitions: partitions)], mayCreate: true)
        }
        return name
    }

    func consumer(
        _ topics: [String], group: String, batchRecords: Int = 1000, alignmentWaitMs: Int = 0,
        holdsBack: Bool = false, properties: [String: String] = [:]
    ) throws -> Consumer {
        let consumer = try Consumer(
            bootstrap: bootstrap, groupId: group, instanceId: nil, topics: topics, batchRecords: batchRecords,
            alignmentWaitMs: alignmentWaitMs, holdsBack: holdsBack, properties: properties, logger: logger)
        try consumer.subscribe()
        return consumer
    }

    func producer(transactionalId: String? = nil) throws -> Producer {
        try Producer(bootstrap: bootstrap, transactionalId: transactionalId, properties: [:], logger: logger)
    }

    /// - Parameter time: of the record of an index, ms.
    func produce(
        _ values: [String], to name: String, partition: Int32 = 0, at time: (Int) -> Int64 = { _ in 1_000 }
    ) throws {
        let producer = try producer()
        let topic = try producer.topic(name)
        for (i, value) in values.enumerated() {
            try Array("k".utf8).withUnsafeBytes { key in
                try Array(value.utf8).withUnsafeBytes { bytes in
                    try producer.produce(
                        .init(topic: topic, key: key, value: bytes), partition: partition, timestampMs: time(i))
                }
            }
        }
        try producer.flush()
    }
}

/// Polls until `done` says so, answering rebalances from the beginning.
@discardableResult
func consume(
    _ consumer: Consumer, seconds: Double = 30, start: PartitionOffset = .beginning,
    until done: (Consumer.Poll) throws -> Bool
) throws -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while Date() < deadline {
        let poll = consumer.poll(milliseconds: 100)
        let finished = try done(poll)
        consumer.release()
        switch poll.rebalance {
        case .assign(let partitions):
            try consumer.assign(Dictionary(uniqueKeysWithValues: partitions.map { ($0, start) }))
        case .revoke(let partitions), .lost(let partitions): try consumer.unassign(partitions)
        case nil: break
        }
        if finished { return true }
    }
    return false
}

/// Polls until so many partitions were read to their end: the member is assigned then.
func consume(_ consumer: Consumer, ends: Int) throws {
    var seen: Set<TopicPartition> = []
    try consume(consumer) { poll in
        seen.formUnion(poll.ends.keys)
        return seen.count == ends
    }
    #expect(seen.count == ends)
}

func text(_ record: clvd_record) -> String {
    String(decoding: UnsafeBufferPointer(start: record.value, count: Int(record.value_length)), as: UTF8.self)
}

@Suite struct KafkaTests {
    let cluster: TestCluster
    init() throws { cluster = try TestCluster() }

    /// Tests with another library than the system's would pass with the system's as well.
    @Test(.enabled(if: wantedLibrary != nil, "needs CLVD_TEST_LIBRDKAFKA"))
    func theLibraryIsTheOneThatWasAskedFor() {
        #expect(LibraryVersion.current.description == Self.wantedLibrary)
    }
    private static let wantedLibrary = ProcessInfo.processInfo.environment["CLVD_TEST_LIBRDKAFKA"]

    @Test func recordsComeInOrderWithKeyTimestampAndEnd() throws {
        let name = try cluster.topic("in", partitions: 1)
        let values = (0..<2500).map { "v\($0)" }
        try cluster.produce(values, to: name)
        let consumer = try cluster.consumer([name], group: name)
        var seen: [String] = []
        var ended = false
        try consume(consumer) { poll in
            for r in poll.records {
                #expect(r.offset == Int64(seen.count) && r.topic == 0 && r.partition == 0 && r.timestamp_ms == 1_000)
                #expect(r.key_length == 1)
                seen.append(text(r))
            }
            ended = ended || poll.ends[TopicPartition(name, 0)] == 2500
            return seen.count >= values.count && ended
        }
        #expect(seen == values)
        #expect(consumer.knownEnd(TopicPartition(name, 0)) == 2500)
        #expect(try consumer.watermarks(TopicPartition(name, 0)).high == 2500)
        consumer.close()
    }

    @Test func headersEmptyValuesAndTombstonesArrive() throws {
        let name = try cluster.topic("headers", partitions: 1)
        let producer = try cluster.producer()
        let topic = try producer.topic(name)
        try Array("key".utf8).withUnsafeBytes { key in
            try producer.produce(.init(topic: topic, key: key, value: nil), headers: [("ce_id", "7"), ("x", "ü")])
            try producer.produce([
                .init(topic: topic, key: key, value: nil),
                .init(topic: topic, key: key, value: UnsafeRawBufferPointer(start: nil, count: 0)),
            ])
            try producer.flush()
        }
        let consumer = try cluster.consumer([name], group: name)
        var count = 0
        try consume(consumer) { poll in
            for r in poll.records {
                if count == 0 {
                    var length: UInt32 = 0
                    let value = Consumer.headerLookup(r.headers, "ce_id", &length)
                    #expect(length == 1 && value?.pointee == 0x37)
                    #expect(Consumer.headerLookup(r.headers, "none", &length) == nil)
                }
                #expect((r.value == nil) == (count < 2))
                count += 1
            }
            return count == 3
        }
        #expect(count == 3)
        consumer.close()
    }

    /// Produces a record and adds offset 2 of `source` to a transaction, which stays open.
    private func open(
        _ producer: Producer, writing target: String, offsetsOf consumer: Consumer, _ source: String
    ) throws {
        let topic = try producer.topic(target)
        try producer.beginTransaction()
        // An address of static memory: the record is not copied.
        let bytes = UnsafeRawBufferPointer(start: ("out" as StaticString).utf8Start, count: 3)
        try producer.produce([.init(topic: topic, key: bytes, value: bytes)])
        try producer.send(
            [TopicPartition(source, 0): PartitionOffset(offset: 2, metadata: "clock=5")], of: consumer,
            milliseconds: 10_000)
    }

    /// The mock cluster answers transactional offset commits and forgets them: only a real broker shows this.
    @Test(.enabled(if: TestCluster.isReal, "needs a real broker (CLVD_TEST_BOOTSTRAP)"))
    func aTransactionCarriesOffsetsAndMetadata() throws {
        let (source, target) = (try cluster.topic("source", partitions: 2), try cluster.topic("target", partitions: 1))
        let consumer = try cluster.consumer([source], group: source)
        try consume(consumer, ends: 2)
        let producer = try cluster.producer(transactionalId: "t-\(source)")
        try producer.initTransactions(milliseconds: 30_000)
        let both = [TopicPartition(source, 0), TopicPartition(source, 1)]
        try open(producer, writing: target, offsetsOf: consumer, source)
        try producer.abortTransaction(milliseconds: 10_000)
        #expect(try consumer.committed(both).isEmpty)
        try open(producer, writing: target, offsetsOf: consumer, source)
        try producer.commitTransaction(milliseconds: 10_000)
        #expect(try consumer.committed(both) == [both[0]: PartitionOffset(offset: 2, metadata: "clock=5")])
        consumer.close()
        #expect(try records(of: target) == 1)
    }

    @Test(.enabled(if: !TestCluster.isReal, "needs the mock cluster"))
    func offsetsGoToTheBrokerWithTheTransaction() throws {
        let (source, target) = (try cluster.topic("source", partitions: 1), try cluster.topic("target", partitions: 1))
        let consumer = try cluster.consumer([source], group: source)
        try consume(consumer, ends: 1)
        let producer = try cluster.producer(transactionalId: "t-\(source)")
        try producer.initTransactions(milliseconds: 30_000)
        // What the broker answers to the offsets is what the caller hears.
        cluster.mock?.refuseNext(.transactionalOffsetCommit, with: [.groupAuthorizationFailed])
        let error = #expect(throws: KafkaError.self) {
            try open(producer, writing: target, offsetsOf: consumer, source)
        }
        #expect(error?.name == "GROUP_AUTHORIZATION_FAILED" && error?.requiresAbort == true)
        try producer.abortTransaction(milliseconds: 10_000)
        try open(producer, writing: target, offsetsOf: consumer, source)
        try producer.commitTransaction(milliseconds: 10_000)
        #expect(producer.delivered >= 1 && producer.queued == 0)
        consumer.close()
        #expect(try records(of: target) >= 1)
    }

    /// Records of the only partition of a topic.
    private func records(of name: String) throws -> Int {
        let consumer = try cluster.consumer([name], group: "\(name)-reader")
        defer { consumer.close() }
        var count = 0
        try consume(consumer) { poll in
            count += poll.records.count
            return !poll.ends.isEmpty
        }
        return count
    }

    /// Also of partitions that are empty, and of several in one poll.
    @Test func theEndOfEachPartitionIsSaid() throws {
        let name = try cluster.topic("ends", partitions: 8)
        for p in 0..<4 { try cluster.produce((0..<p * 3).map { "\($0)" }, to: name, partition: Int32(2 * p)) }
        for _ in 0..<4 {
            let consumer = try Consumer(
                bootstrap: cluster.bootstrap, groupId: name, instanceId: nil, topics: [name], batchRecords: 1000,
                properties: ["fetch.wait.max.ms": "10"], logger: cluster.logger)
            try consumer.assign(
                Dictionary(uniqueKeysWithValues: (0..<8).map { (TopicPartition(name, $0), .beginning) }))
            var ends: [TopicPartition: Int64] = [:]
            let deadline = Date(timeIntervalSinceNow: 10)
            while ends.count < 8 && Date() < deadline {
                // What comes together is read in one poll.
                Thread.sleep(forTimeInterval: 0.05)
                ends.merge(consumer.poll(milliseconds: 100).ends) { $1 }
                consumer.release()
            }
            for p in 0..<Int32(8) {
                #expect(ends[TopicPartition(name, p)] == (p % 2 == 0 ? Int64(p / 2 * 3) : 0), "\(p)")
            }
            consumer.close()
        }
    }

    @Test func leavesWhileRecordsAreWaiting() throws {
        let name = try cluster.topic("waiting", partitions: 1)
        try cluster.produce((0..<3000).map { "v\($0)" }, to: name)
        let consumer = try cluster.consumer([name], group: name)
        var count = 0
        try consume(consumer) { poll in
            count += poll.records.count
            return count > 0
        }
        #expect(count < 3000)
        consumer.close()
    }

    @Test func committedOffsetsKeepTheirMetadata() throws {
        let source = try cluster.topic("committed", partitions: 2)
        let consumer = try cluster.consumer([source], group: source)
        try consume(consumer, ends: 2)
        let both = [TopicPartition(source, 0), TopicPartition(source, 1)]
        #expect(try consumer.committed(both).isEmpty)
        try consumer.commit([both[0]: PartitionOffset(offset: 1, metadata: "clock=5")])
        #expect(try consumer.committed(both) == [both[0]: PartitionOffset(offset: 1, metadata: "clock=5")])
        try consumer.commit([both[0]: PartitionOffset(offset: 3), both[1]: PartitionOffset(offset: 2, metadata: "ü")])
        #expect(
            try consumer.committed(both) == [
                both[0]: PartitionOffset(offset: 3), both[1]: PartitionOffset(offset: 2, metadata: "ü"),
            ])
        consumer.close()
    }

    @Test func aSecondMemberTakesPartitionsOverWithoutLoss() throws {
        let name = try cluster.topic("rebalance", partitions: 4)
        let total = 4 * 500
        for p in 0..<4 { try cluster.produce((0..<500).map { "\(p)-\($0)" }, to: name, partition: Int32(p)) }
        // The mock keeps a joining member waiting for as long as a session, less a second (three seconds in an empty
        // group): with the default of 45 seconds nothing would be seen to happen. Brokers refuse less than six.
        let properties = [
            "session.timeout.ms": TestCluster.isReal ? "6000" : "4000", "heartbeat.interval.ms": "300",
        ]
        let first = try cluster.consumer([name], group: name, properties: properties)
        var seen: Set<String> = []
        var positions: [TopicPartition: Int64] = [:]
        var revoked: Set<TopicPartition> = []
        var assignedToSecond: Set<TopicPartition> = []
        func turn(_ consumer: Consumer, _ isFirst: Bool) throws {
            let poll = consumer.poll(milliseconds: 50)
            for r in poll.records {
                seen.insert(text(r))
                positions[TopicPartition(name, r.partition)] = r.offset + 1
            }
            consumer.release()
            switch poll.rebalance {
            case .assign(let partitions):
                if !isFirst { assignedToSecond.formUnion(partitions) }
                try consumer.assign(
                    Dictionary(
                        uniqueKeysWithValues: partitions.map { ($0, PartitionOffset(offset: positions[$0] ?? 0)) }))
            case .revoke(let partitions):
                if isFirst { revoked.formUnion(partitions) }
                try consumer.unassign(partitions)
            case .lost(let partitions):
                Issue.record("\(partitions) were lost")
                try consumer.unassign(partitions)
            case nil: break
            }
        }
        let deadline = Date(timeIntervalSinceNow: 40)
        while positions.count < 4 && Date() < deadline { try turn(first, true) }
        let second = try cluster.consumer([name], group: name, properties: properties)
        while assignedToSecond.count < 2 && Date() < deadline {
            try turn(first, true)
            try turn(second, false)
        }
        for p in 0..<4 { try cluster.produce((500..<600).map { "\(p)-\($0)" }, to: name, partition: Int32(p)) }
        while seen.count < total + 400 && Date() < deadline {
            try turn(first, true)
            try turn(second, false)
        }
        // Cooperatively: only what goes to the second is taken from the first.
        #expect(revoked.count == 2 && assignedToSecond == revoked)
        #expect(seen.count == total + 400)
        second.close()
        first.close()
    }

    @Test func missingTopicsAreRefusedWithTheCommandThatCreatesThem() throws {
        let admin = try Admin(bootstrap: cluster.bootstrap, properties: [:], logger: cluster.logger)
        let spec = TopicSpec(
            name: "never-\(UUID().uuidString.prefix(8))", partitions: 3, configuration: ["cleanup.policy": "compact"])
        let error = #expect(throws: TopicCreationError.self) { try admin.ensure([spec], mayCreate: false) }
        #expect(
            error?.description.contains(
                "kafka-topics.sh --bootstrap-server \(cluster.bootstrap) --create --topic \(spec.name) --partitions 3"
                    + " --config cleanup.policy=compact") == true)
    }

    @Test func refusedPropertiesAreNamedAndSecretsAreNot() {
        let logger = cluster.logger
        func message(_ properties: [String: String]) -> String {
            do {
                _ = try Producer(bootstrap: "localhost:1", transactionalId: nil, properties: properties, logger: logger)
                return ""
            } catch { return "\(error)" }
        }
        #expect(message(["no.such.property": "1"]).contains("no.such.property"))
        // What is in it is looked at only when it is used.
        let secret = message(["security.protocol": "ssl", "ssl.key.pem": "hunter2"])
        #expect(secret.contains("ssl.key.pem") && !secret.contains("hunter2"))
    }

    @Test(.enabled(if: !TestCluster.isReal, "needs the mock cluster"))
    func aBrokerThatIsDownForAWhileDelaysDeliveryOnly() throws {
        let name = try cluster.topic("down", partitions: 1)
        let producer = try cluster.producer()
        let topic = try producer.topic(name)
        try cluster.mock?.setBroker(1, up: false)
        try Array("x".utf8).withUnsafeBytes { bytes in
            try producer.produce([.init(topic: topic, key: bytes, value: bytes)])
            #expect(throws: KafkaError.self) { try producer.flush(milliseconds: 500) }
            try cluster.mock?.setBroker(1, up: true)
            try producer.flush(milliseconds: 30_000)
        }
        #expect(producer.delivered == 1)
    }
}
