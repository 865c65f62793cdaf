internal import Engine
internal import Kafka
internal import SnapshotStore

/// What the instances of a group have in their store, and what follows from it: decisions without I/O.
struct SnapshotCatalog {
    /// A snapshot by its description.
    struct Entry: Equatable {
        var listing: SnapshotListing
        /// Next offset of each partition that it holds.
        var offsets: [TopicPartition: Int64]
        /// Where its state comes from; nil: it is of a version that did not say.
        var origin: SnapshotOrigin?
        /// Event time its model has learned up to, ms; nil: nothing yet.
        var learnedTo: Int64?
        var modelVersion: Int64
    }

    let instance: String
    var entries: [Entry]

    /// Snapshots that hold a partition and are not beyond the committed offset, in the order in which they are to be
    /// tried: the largest offset first, so that little is read again. Of equal ones this instance's own, then by name.
    /// - Parameter committed: nil: all.
    func states(of p: TopicPartition, committed: Int64?) -> [Entry] {
        let holding = entries.compactMap { e in e.offsets[p].map { (entry: e, offset: $0) } }
        func rank(_ e: (entry: Entry, offset: Int64)) -> (Int64, Int) {
            (-e.offset, e.entry.listing.instance == instance ? 0 : 1)
        }
        return holding.filter { $0.offset <= committed ?? .max }.sorted { a, b in
            let (x, y) = (rank(a), rank(b))
            return x != y ? x < y : Self.precedes(b.entry, a.entry)
        }.map(\.entry)
    }

    /// The furthest offset of a partition that any snapshot holds.
    func furthest(_ p: TopicPartition) -> Int64? { entries.compactMap { $0.offsets[p] }.max() }

    /// Snapshots of other instances by their models: the one that has learned from the latest outcomes first. Those
    /// that have taken no step yet come last, whatever their time.
    func models() -> [Entry] {
        func rank(_ e: Entry) -> (Int, Int64, Int64, Int64) {
            (e.modelVersion > 0 ? 1 : 0, e.learnedTo ?? .min, e.modelVersion, e.listing.position)
        }
        return entries.filter { $0.listing.instance != instance }.sorted { a, b in
            let (x, y) = (rank(a), rank(b))
            return x != y ? x > y : Self.precedes(b, a)
        }
    }

    /// Snapshots of this instance that are not needed any more: it has `keep` newer ones, and each partition in them is
    /// in `keep` other snapshots of the store that are further.
    ///
    /// All instances order the snapshots of a partition in the same way, also those that are equally far, so that none
    /// removes the furthest.
    func dispensable(keep: Int) -> [Entry] {
        let own = entries.filter { $0.listing.instance == instance }
        return own.filter { e in
            own.count { Self.precedes(e, $0) } >= keep
                && e.offsets.allSatisfy { p, offset in
                    entries.count { other in
                        guard let further = other.offsets[p], further >= offset, other != e else { return false }
                        return further > offset || Self.precedes(e, other)
                    } >= keep
                }
        }
    }

    /// An order of all snapshots that does not depend on any clock: by instance, then by age.
    private static func precedes(_ a: Entry, _ b: Entry) -> Bool {
        if a.listing.instance != b.listing.instance { return a.listing.instance < b.listing.instance }
        return SnapshotListing.isOlder(a.listing, b.listing)
    }
}
