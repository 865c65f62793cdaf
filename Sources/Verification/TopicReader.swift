import CEventParser
import Foundation
import Kafka
import Logging

/// Reads committed records of topics, as a member of no group.
final class TopicReader {
    private let consumer: Consumer
    let topics: [String]
    private let patience: Double

    /// - Parameter patience: how long brokers may say nothing, seconds.
    init(_ cluster: Verification.Cluster, topics: [String], patience: Double) throws {
        self.topics = topics
        self.patience = patience
        let logger = Logger(label: "clvd.verify") { _ in SwiftLogNoOpLogHandler() }
        consumer = try Consumer(
            bootstrap: cluster.bootstrap, groupId: "clvd-verify-\(UUID().uuidString)", instanceId: nil, topics: topics,
            batchRecords: 8192, properties: cluster.properties, logger: logger)
    }

    deinit { consumer.close() }

    /// The partitions of the topics with the offsets they have now.
    /// - Throws: `VerificationError` when a topic is missing, `KafkaError`.
    func offsets() throws -> [TopicPartition: Range<Int64>] {
        let counts = try consumer.partitionCounts(topics, milliseconds: Int(patience * 1000))
        var offsets: [TopicPartition: Range<Int64>] = [:]
        for topic in topics {
            guard let count = counts[topic] else { throw VerificationError("there is no topic \(topic)") }
            for p in (0..<Int32(count)).map({ TopicPartition(topic, $0) }) {
                let (low, high) = try consumer.watermarks(p, milliseconds: Int(patience * 1000))
                offsets[p] = low..<max(low, high)
            }
        }
        return offsets
    }

    /// Reads each range to its end, or to that of its partition if that comes first.
    /// - Parameters:
    ///   - lingering: how long to read on after the ends, seconds.
    ///   - body: gets records in the order of each partition, some beyond the ranges; `topic` is an index of `topics`.
    func read(
        _ ranges: [TopicPartition: Range<Int64>], lingering: Double = 0,
        _ body: (UnsafeBufferPointer<clvd_record>) throws -> Void
    ) throws {
        var open = ranges.filter { !$0.value.isEmpty }
        guard !open.isEmpty else { return }
        try consumer.assign(open.mapValues { PartitionOffset(offset: $0.lowerBound) })
        defer { try? consumer.assign([:]) }
        var heardAt = Self.now
        var endsAt: Double?
        while true {
            let poll = consumer.poll(milliseconds: 100)
            defer { consumer.release() }
            if !poll.records.isEmpty {
                try body(poll.records)
                for r in poll.records {
                    let p = TopicPartition(topics[Int(r.topic)], r.partition)
                    if let range = open[p], r.offset >= range.upperBound - 1 { open[p] = nil }
                }
            }
            for p in poll.ends.keys { open[p] = nil }
            if let error = poll.error, error.isOutOfRange || error.isFatal { throw error }
            if open.isEmpty {
                if endsAt == nil { endsAt = Self.now + lingering }
                if Self.now >= endsAt! { return }
            } else if !poll.records.isEmpty || !poll.ends.isEmpty {
                heardAt = Self.now
            } else if Self.now - heardAt > patience {
                let cause = poll.error.map { "\($0)" } ?? consumer.lastError?.text ?? "no reason was given"
                throw VerificationError(
                    "nothing came of \(open.keys.sorted().map(\.description).joined(separator: ", ")) for "
                        + "\(Int(patience)) s: \(cause)")
            }
        }
    }

    private static var now: Double { ProcessInfo.processInfo.systemUptime }
}

/// Why a verification cannot be carried out.
public struct VerificationError: Error, Sendable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
