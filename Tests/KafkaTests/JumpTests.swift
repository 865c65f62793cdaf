import Foundation
import Testing

@testable import Kafka

/// Offsets of a partition that do not follow one another.
@Suite struct JumpTests {
    let cluster: TestCluster
    init() throws { cluster = try TestCluster() }

    /// Reads until there are so many records.
    /// - Returns: the jumps of all polls.
    private func read(
        _ name: String, _ records: Int, from start: Int64, properties: [String: String] = [:]
    ) throws -> [Consumer.Jumps] {
        let consumer = try cluster.consumer([name], group: "g-\(UUID().uuidString)", properties: properties)
        defer { consumer.close() }
        var jumps: [Consumer.Jumps] = []
        var count = 0
        try consume(consumer, start: PartitionOffset(offset: start)) { poll in
            count += poll.records.count
            if let more = poll.jumps { jumps.append(more) }
            return count >= records
        }
        #expect(count == records)
        return jumps
    }

    @Test func recordsInARowAreNoJump() throws {
        let name = try cluster.topic("row", partitions: 1)
        try cluster.produce((0..<500).map { "\($0)" }, to: name)
        #expect(try read(name, 400, from: 100) == [])
        // No offset is expected at a name.
        #expect(try read(name, 500, from: PartitionOffset.beginning.offset) == [])
    }

    /// A client that is told to go back by itself, as this daemon's is not.
    @Test func aRecordFromBeforeIsAJumpBackwards() throws {
        let name = try cluster.topic("back", partitions: 1)
        try cluster.produce((0..<5).map { "\($0)" }, to: name)
        let jumps = try read(name, 5, from: 1000, properties: ["auto.offset.reset": "earliest"])
        let partition = TopicPartition(name, 0)
        #expect(jumps == [Consumer.Jumps(count: 1, skipped: 0, partition: partition, expected: 1000, found: 0)])
    }

    /// Offsets 0 to 4 are aborted and 5 is the marker of it, 6 a record, 7 the marker of its transaction, 8 a record.
    @Test(.enabled(if: TestCluster.isReal, "needs a real broker (CLVD_TEST_BOOTSTRAP)"))
    func abortedRecordsAndMarkersAreCounted() throws {
        let name = try cluster.topic("aborted", partitions: 1)
        let producer = try cluster.producer(transactionalId: "t-\(name)")
        let topic = try producer.topic(name)
        try producer.initTransactions(milliseconds: 30_000)
        let bytes = UnsafeRawBufferPointer(start: ("x" as StaticString).utf8Start, count: 1)
        for (count, commits) in [(5, false), (1, true)] {
            try producer.beginTransaction()
            try producer.produce(Array(repeating: .init(topic: topic, key: bytes, value: bytes), count: count))
            try producer.flush()
            if commits {
                try producer.commitTransaction(milliseconds: 10_000)
            } else {
                try producer.abortTransaction(milliseconds: 10_000)
            }
        }
        try cluster.produce(["last"], to: name)
        let jumps = try read(name, 2, from: 0)
        #expect(jumps.reduce(0) { $0 + $1.count } == 2 && jumps.reduce(0) { $0 + $1.skipped } == 7)
        #expect(jumps.first?.expected == 0 && jumps.first?.found == 6)
    }

    /// A topic that takes less than the producer's batches says so by name.
    @Test(.enabled(if: TestCluster.isReal, "needs a real broker (CLVD_TEST_BOOTSTRAP)"))
    func theTopicThatRefusesABatchIsNamed() throws {
        let name = "small-\(UUID().uuidString.prefix(8))"
        try Admin(bootstrap: cluster.bootstrap, properties: [:], logger: cluster.logger)
            .ensure(
                [TopicSpec(name: name, partitions: 1, configuration: ["max.message.bytes": "1000"])], mayCreate: true)
        // Bytes that cannot be compressed.
        var generator = SystemRandomNumberGenerator()
        let value = (0..<4000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let producer = try cluster.producer()
        let topic = try producer.topic(name)
        let error = value.withUnsafeBytes { bytes in
            #expect(throws: KafkaError.self) {
                let none = UnsafeRawBufferPointer(start: nil, count: 0)
                try producer.produce([.init(topic: topic, key: none, value: bytes)])
                try producer.flush()
            }
        }
        #expect(error?.isTooLarge == true && error?.refusal?.topic == name && error?.refusal?.bytes == 4000)
        #expect(error?.description.contains("1 records to \(name)") == true, "\(String(describing: error))")
    }

    /// The client itself does not send it.
    @Test func aRecordTooLargeForTheClientIsNamed() throws {
        let name = try cluster.topic("large", partitions: 1)
        let producer = try cluster.producer()
        let topic = try producer.topic(name)
        let value = [UInt8](repeating: 1, count: 1_000_001)
        let error = value.withUnsafeBytes { bytes in
            #expect(throws: KafkaError.self) {
                let none = UnsafeRawBufferPointer(start: nil, count: 0)
                try producer.produce([.init(topic: topic, key: none, value: bytes)])
            }
        }
        #expect(error?.isTooLarge == true && error?.refusal?.topic == name && error?.refusal?.bytes == 1_000_001)
    }

    // MARK: Settings

    @Test func theSettingsOfTopicsAndOfABrokerAreTold() throws {
        let name = try cluster.topic("told", partitions: 1)
        let admin = try Admin(bootstrap: cluster.bootstrap, properties: [:], logger: cluster.logger)
        guard TestCluster.isReal else {
            // The mock does not know the question.
            let error = #expect(throws: KafkaError.self) { try admin.settings(ofTopics: [name]) }
            #expect(error?.isUnsupported == true)
            return
        }
        let (settings, refusal) = try admin.settings(ofTopics: [name, "no-such-\(name)"])
        #expect(settings.topics[name]?["cleanup.policy"] == "delete" && settings.topics.count == 1)
        #expect(settings.broker["transaction.max.timeout.ms"] == "900000")
        #expect(refusal?.description.contains("no-such-\(name)") == true)
        #expect(try admin.setting("max.message.bytes", ofTopic: name) == "1048588")
    }

    @Test func versionsAreCompared() {
        #expect(
            LibraryVersion(2, 0, 2) < LibraryVersion(2, 6, 1) && LibraryVersion(2, 10, 0) < LibraryVersion(2, 10, 1))
        #expect(LibraryVersion(1, 9, 9) < LibraryVersion(2, 0, 0) && !(LibraryVersion.racks < LibraryVersion.racks))
        #expect(LibraryVersion.current >= LibraryVersion(2, 0, 2))
    }
}
