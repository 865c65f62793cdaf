internal import Kafka

/// The group took partitions away without asking. Another member may have them: the state in memory may be ahead of
/// what is committed, so it is discarded.
struct LostPartitions: Error, CustomStringConvertible {
    let description: String

    init(_ list: [TopicPartition]) {
        description =
            "the group took \(list.map(\.description).sorted().joined(separator: ", ")) away; "
            + "was this instance paused for longer than session.timeout.ms?"
    }
}
