internal import Engine
import Foundation
internal import Kafka
internal import SnapshotStore

/// All snapshots of a group, those that this version cannot read as well.
struct SnapshotShelf {
    /// A snapshot of another version of clvd.
    struct Other {
        var listing: SnapshotListing
        /// nil: its description says nothing of it.
        var format: Int?
        /// Next offset of each partition that it holds; nil: unknown.
        var offsets: [TopicPartition: Int64]?

        var isNewer: Bool { format ?? 0 > StateFormat.current }
        /// Whether it holds a partition, as far as can be told.
        func mayHold(_ p: TopicPartition) -> Bool { offsets.map { $0[p] != nil } ?? true }
    }

    /// Those that this version reads. They are of no instance in particular.
    var catalog: SnapshotCatalog
    var others: [Other] = []

    init(_ listings: [SnapshotListing]) {
        catalog = SnapshotCatalog(instance: "", entries: [])
        for listing in listings {
            let format = Self.format(listing.metadata)
            let summary = try? JSONDecoder().decode(EngineImage.Summary.self, from: listing.metadata)
            let offsets = summary.map { summary in
                Dictionary(summary.partitions.map { (TopicPartition($0.topic, $0.partition), $0.offset) }) { $1 }
            }
            if let format, StateFormat.isRead(format), let summary, let offsets {
                catalog.entries.append(
                    SnapshotCatalog.Entry(
                        listing: listing, offsets: offsets, learnedTo: summary.learnedTo,
                        modelVersion: summary.modelVersion))
            } else {
                others.append(Other(listing: listing, format: format, offsets: offsets))
            }
        }
    }

    /// The state format of a snapshot; nil when its description names none.
    static func format(_ metadata: Data) -> Int? {
        struct Head: Decodable { var format: Int }
        return (try? JSONDecoder().decode(Head.self, from: metadata))?.format
    }

    func without(_ moved: [SnapshotListing]) -> SnapshotShelf {
        var rest = self
        rest.catalog.entries.removeAll { moved.contains($0.listing) }
        rest.others.removeAll { moved.contains($0.listing) }
        return rest
    }
}

extension SnapshotListing {
    /// As an operator finds it in the folder.
    var place: String { "\(instance)/\(name)" }
}
