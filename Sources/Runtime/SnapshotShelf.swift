internal import Engine
import Foundation
internal import Kafka
internal import SnapshotStore

/// All snapshots of a group as an operator may have to deal with them.
struct SnapshotShelf {
    /// A snapshot of a newer version of clvd.
    struct Newer {
        var listing: SnapshotListing
        var format: Int
        /// Next offset of each partition that it holds; nil: its description cannot be read.
        var offsets: [TopicPartition: Int64]?

        /// nil: it is of this version, or of an older one.
        init?(_ listing: SnapshotListing) {
            guard let format = SnapshotShelf.format(listing.metadata), format > StateFormat.current else { return nil }
            (self.listing, self.format) = (listing, format)
            offsets = SnapshotCatalog.Entry(reading: listing)?.offsets
        }

        /// Whether it holds a partition, as far as can be told.
        func mayHold(_ p: TopicPartition) -> Bool { offsets.map { $0[p] != nil } ?? true }
    }

    /// Those that the daemon would consider. They are of no instance in particular.
    var catalog = SnapshotCatalog(instance: "", entries: [])
    var newer: [Newer] = []
    /// A snapshot of another group or cluster, and what differs.
    var foreign: (listing: SnapshotListing, difference: String)?

    /// - Parameter origin: that of this group; nil: all are taken.
    init(_ listings: [SnapshotListing], origin: SnapshotOrigin?) {
        for listing in listings {
            if let other = Newer(listing) {
                newer.append(other)
            } else if let entry = SnapshotCatalog.Entry(reading: listing) {
                if let origin, let difference = entry.origin.flatMap(origin.difference) {
                    foreign = (listing, difference)
                } else {
                    catalog.entries.append(entry)
                }
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
        rest.newer.removeAll { moved.contains($0.listing) }
        return rest
    }
}

extension SnapshotListing {
    /// As an operator finds it in the folder.
    var place: String { "\(instance)/\(name)" }
}

extension SnapshotCatalog.Entry {
    /// nil: its description cannot be read.
    init?(reading listing: SnapshotListing) {
        guard let summary = try? JSONDecoder().decode(EngineImage.Summary.self, from: listing.metadata) else {
            return nil
        }
        let offsets = summary.partitions.map { (TopicPartition($0.topic, $0.partition), $0.offset) }
        self.init(
            listing: listing, offsets: Dictionary(offsets) { $1 },
            origin: SnapshotOrigin.read(from: listing.metadata), learnedTo: summary.learnedTo,
            modelVersion: summary.modelVersion)
    }
}
