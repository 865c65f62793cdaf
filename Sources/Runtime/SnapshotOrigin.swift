import Foundation
package import Kafka

/// Where the state of a snapshot comes from: which group read what of which cluster. It stands in the description of
/// the snapshot beside what the engine says of itself. Snapshots of versions before it have none.
package struct SnapshotOrigin: Codable, Equatable, Sendable {
    /// What is known of one partition's log.
    package struct Partition: Codable, Equatable, Sendable {
        /// A record that the state has taken in, to be found again where it was; nil: none yet.
        package var anchor: RecordFingerprint?
        /// The first offset that the group ever read; nil: unknown.
        package var begin: Int64?

        package init(anchor: RecordFingerprint?, begin: Int64?) { (self.anchor, self.begin) = (anchor, begin) }
    }

    package var group: String
    /// The cluster's own id; nil: unknown.
    package var cluster: String?
    /// The input topics.
    package var topics: [String]
    /// By name, as `events[0]`.
    package var partitions: [String: Partition]

    package init(group: String, cluster: String?, topics: [String], partitions: [String: Partition] = [:]) {
        (self.group, self.cluster, self.topics, self.partitions) = (group, cluster, topics, partitions)
    }

    package subscript(_ p: TopicPartition) -> Partition? { partitions[p.description] }

    // MARK: In the description of a snapshot

    private struct Holder: Decodable { var origin: SnapshotOrigin? }

    /// The origin in the description of a snapshot.
    /// - Returns: nil when it has none.
    package static func read(from metadata: Data) -> SnapshotOrigin? {
        (try? JSONDecoder().decode(Holder.self, from: metadata))?.origin
    }

    /// In what another origin is not this one, in words; nil when nothing is. What is not known does not differ; of the
    /// topics the engine judges.
    package func difference(from other: SnapshotOrigin) -> String? {
        var parts: [String] = []
        if group != other.group { parts.append("group \(other.group), not \(group)") }
        if let cluster, let theirs = other.cluster, cluster != theirs {
            parts.append("cluster \(theirs), not \(cluster)")
        }
        return parts.isEmpty ? nil : parts.joined(separator: " and ")
    }
}
