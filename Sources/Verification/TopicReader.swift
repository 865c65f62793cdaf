import CEventParser
import Foundation
import Kafka
import Logging

/// Reads committed records of topics, as a member of no group.
final class TopicReader {
    private let consumer: Consumer
    let topics: [String]
    private let patience: Double

    /// - Parameters:
    ///   - patience: how long brokers may say nothing, seconds.
    ///   - seesAll: whether the ends count what is in transactions that are open, too.
    ///   - skips: where batches that cannot be read are stepped over.
    init(
        _ cluster: Verification.Cluster, topics: [String], patience: Double, seesAll: Bool = false,
        skips: SkippedOffsets = SkippedOffsets()
    ) throws {
        self.topics = topics
        self.patience = patience
        let properties = seesAll ? ["isolation.level": "read_uncommitted"] : [:]
        let logger = Logger(label: "clvd.verify") { _ in SwiftLogNoOpLogHandler() }
        consumer = try Consumer(
            bootstrap: cluster.bootstrap, groupId: "clvd-verify-\(UUID().uuidString)", instanceId: nil, topics: topics,
            batchRecords: 8192, properties: cluster.properties.merging(properties) { $1 }, logger: logger)
        consumer.skips = skips
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

    /// Reads each range to its end. A transaction that is open is waited for: its records may be committed yet, and hide
    /// those after them.
    /// - Parameters:
    ///   - transactionPatience: how long a transaction may stay open, seconds.
    ///   - body: gets records in the order of each partition, some beyond the ranges; `topic` is an index of `topics`.
    func read(
        _ ranges: [TopicPartition: Range<Int64>], transactionPatience: Double = 0,
        _ body: (UnsafeBufferPointer<clvd_record>) throws -> Void
    ) throws {
        var open = ranges.filter { !$0.value.isEmpty }
        guard !open.isEmpty else { return }
        try consumer.assign(open.mapValues { PartitionOffset(offset: $0.lowerBound) })
        defer { try? consumer.assign([:]) }
        var heardAt = Self.now
        // Those read as far as can be seen, which is not all there is.
        var hidden: Set<TopicPartition> = []
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
            for (p, end) in poll.ends {
                guard let range = open[p] else { continue }
                if end >= range.upperBound { open[p] = nil } else { hidden.insert(p) }
            }
            if let batch = poll.unreadable.first {
                throw VerificationError(
                    "\(batch.error), at offset \(batch.offset). Verify with the settings that the daemon has: "
                        + batch.remedy)
            }
            if let error = poll.error, error.isOutOfRange || error.isFatal { throw error }
            if open.isEmpty { return }
            if !poll.records.isEmpty || !poll.ends.isEmpty {
                heardAt = Self.now
            } else if Self.now - heardAt > patience {
                let names = open.keys.sorted().map(\.description).joined(separator: ", ")
                guard open.keys.allSatisfy(hidden.contains) else {
                    let cause = poll.error.map { "\($0)" } ?? consumer.lastError?.text ?? "no reason was given"
                    throw VerificationError("nothing came of \(names) for \(Int(patience)) s: \(cause)")
                }
                guard Self.now - heardAt > transactionPatience else { continue }
                throw VerificationError(
                    "a transaction is open in \(names), which hides what comes after it. The broker ends it after its "
                        + "producer's transaction.timeout.ms; verify again then")
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
