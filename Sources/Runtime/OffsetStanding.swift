package import Kafka

/// What is known of a partition that the group reads.
package struct OffsetStanding: Equatable, Sendable {
    /// A snapshot that holds the partition.
    package struct Held: Equatable, Sendable {
        /// Instance and name.
        package var snapshot: String
        /// Offset after the last record that its state has taken in.
        package var offset: Int64
    }

    package var partition: TopicPartition
    /// The offsets that the log has.
    package var log: Range<Int64>
    /// What the group has committed; nil: nothing.
    package var committed: PartitionOffset?
    /// The furthest snapshot that is not beyond the committed offset.
    package var snapshot: Held?
    /// The furthest one beyond it.
    package var beyond: Held?
    /// The last record that has an output; nil: none was found, or nobody has looked.
    package var published: Int64?

    /// Who committed the offset, as its metadata says.
    package enum Author: Equatable, Sendable {
        case thisVersion
        case older
        case newer(Int)
        /// Another program.
        case foreign
        /// clvd has committed this one; somebody else has moved the offset and kept the text.
        case moved(from: Int64)
    }

    /// nil: the group has committed nothing.
    package var author: Author? {
        guard let committed else { return nil }
        switch CommitMetadata.author(of: committed.metadata) {
        case .newer(let version): return .newer(version)
        case .foreign: return .foreign
        case .thisVersion, .older:
            let metadata = CommitMetadata(text: committed.metadata)
            if let own = metadata.offset, own != committed.offset { return .moved(from: own) }
            return metadata.offset == nil ? .older : .thisVersion
        }
    }
}

extension OffsetStanding.Author: CustomStringConvertible {
    package var description: String {
        switch self {
        case .thisVersion: "clvd"
        case .older: "an older clvd"
        case .newer(let version): "a newer clvd (metadata clvd\(version), this one reads clvd\(CommitMetadata.version))"
        case .foreign: "another program or a person"
        case .moved(let own): "somebody who moved it from clvd's \(own)"
        }
    }
}

/// What an operator asked for and cannot have: where, why, and what to do.
package struct OffsetRefusal: Error, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// Where the offsets of a group are to go.
package enum OffsetTarget: Equatable, Sendable {
    /// After the last record that has an output.
    case published
    /// To the furthest snapshot.
    case snapshot
    /// To where the log begins.
    case earliest
    /// To where it ends.
    case latest
    case offset(Int64)
    /// To the first record of this time or later, ms since 1970.
    case time(Int64)
}
