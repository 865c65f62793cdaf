import Kafka
import Logging

extension Verification {
    /// The offsets of each input partition that are to have outputs.
    func ranges(of input: TopicReader) throws -> [TopicPartition: Range<Int64>] {
        let log = try input.offsets()
        let ends: [TopicPartition: Int64]
        switch to {
        case .log: ends = log.mapValues(\.upperBound)
        case .offset(let offset): ends = log.mapValues { min(offset, $0.upperBound) }
        case .committed(let group):
            let committed = try committed(log.keys.sorted(), by: group)
            guard !committed.isEmpty else {
                throw VerificationError(
                    "group \(group) has committed nothing of \(inputs.joined(separator: ", ")); check the group, "
                        + "or verify to the end of the log")
            }
            ends = committed
        }
        return log.reduce(into: [:]) { ranges, entry in
            let low = entry.value.lowerBound
            ranges[entry.key] = low..<max(low, ends[entry.key] ?? low)
        }
    }

    private func committed(_ list: [TopicPartition], by group: String) throws -> [TopicPartition: Int64] {
        let consumer = try Consumer(
            bootstrap: cluster.bootstrap, groupId: group, instanceId: nil, topics: inputs, batchRecords: 1,
            properties: cluster.properties,
            logger: Logger(label: "clvd.verify") { _ in SwiftLogNoOpLogHandler() })
        defer { consumer.close() }
        return try consumer.committed(list, milliseconds: Int(patience * 1000)).mapValues(\.offset)
    }
}
