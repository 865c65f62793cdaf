public import CEventParser

/// Offsets that are stepped over because an operator says so. A record there becomes a dead letter and nothing else; a
/// batch that cannot be read does not stop its partition.
public struct SkippedOffsets: Sendable, Equatable {
    private var ranges: [TopicPartition: [ClosedRange<Int64>]] = [:]

    public init() {}

    /// - Parameter entries: `topic/partition/offset` or `topic/partition/from-to`; others are left out.
    public init(_ entries: [String]) {
        for entry in entries {
            if let (p, range) = Self.parse(entry) { ranges[p, default: []].append(range) }
        }
    }

    /// Whether an entry names offsets of one of the topics.
    public static func isSound(_ entry: String, topics: [String]) -> Bool {
        parse(entry).map { topics.contains($0.0.topic) } ?? false
    }

    private static func parse(_ entry: String) -> (TopicPartition, ClosedRange<Int64>)? {
        let parts = entry.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, let partition = Int32(parts[1]), partition >= 0 else { return nil }
        let ends = parts[2].split(separator: "-", omittingEmptySubsequences: false).map { Int64($0) }
        guard ends.count <= 2, let from = ends.first ?? nil, let to = ends.last ?? nil, from >= 0, to >= from else {
            return nil
        }
        return (TopicPartition(String(parts[0]), partition), from...to)
    }

    public func contains(_ offset: Int64, of p: TopicPartition) -> Bool {
        ranges[p]?.contains { $0.contains(offset) } ?? false
    }

    /// Rejects the records that are stepped over, whatever they are.
    /// - Parameters:
    ///   - events: one of each record.
    ///   - topics: which the records' topics are indices of.
    public func mark(
        _ records: UnsafeBufferPointer<clvd_record>, _ events: UnsafeMutablePointer<clvd_event>, topics: [String]
    ) {
        guard !ranges.isEmpty else { return }
        for (i, r) in records.enumerated() {
            if r.unreadable > 0 {
                events[i].status = UInt8(clvd_status_unreadable.rawValue)
            } else if contains(r.offset, of: TopicPartition(topics[Int(r.topic)], r.partition)) {
                events[i].status = UInt8(clvd_status_skipped.rawValue)
            }
        }
    }

    /// What a dead letter says of a record that is stepped over; nil for any other.
    public static func explanation(_ r: clvd_record, status: UInt8) -> String? {
        switch status {
        case UInt8(clvd_status_skipped.rawValue): return "input.skip names offset \(r.offset)"
        case UInt8(clvd_status_unreadable.rawValue):
            return "\(r.unreadable) offsets from \(r.offset - Int64(r.unreadable) + 1) to \(r.offset) cannot be read; "
                + "input.skip steps over them"
        default: return nil
        }
    }
}
