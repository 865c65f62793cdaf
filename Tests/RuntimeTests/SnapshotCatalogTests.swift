import Foundation
import Kafka
import SnapshotStore
import Testing

@testable import Runtime

/// Which snapshot of whom is taken, and which may go.
@Suite struct SnapshotCatalogTests {
    private typealias Entry = SnapshotCatalog.Entry

    private static func p(_ n: Int32) -> TopicPartition { TopicPartition("events", n) }

    /// - Parameter offsets: by partition.
    private static func entry(
        _ instance: String, _ position: Int64, _ offsets: [Int32: Int64], learnedTo: Int64? = nil, version: Int64 = 0,
        part: Int? = nil
    ) -> Entry {
        let name = "snapshot-" + String(format: "%020lld", position) + (part.map { "-part-\($0)" } ?? "")
        return Entry(
            listing: SnapshotListing(instance: instance, name: name, position: position, metadata: Data()),
            offsets: Dictionary(uniqueKeysWithValues: offsets.map { (p($0), $1) }), learnedTo: learnedTo,
            modelVersion: version)
    }

    private static func names(_ entries: [Entry]) -> [String] {
        entries.map { "\($0.listing.instance)@\($0.listing.position)" }
    }

    @Test func theFurthestThatIsCommittedComesFirst() {
        let entries = [
            Self.entry("a", 10, [0: 5]), Self.entry("a", 20, [0: 9, 1: 3]), Self.entry("b", 15, [0: 7]),
            Self.entry("b", 30, [0: 12]), Self.entry("c", 99, [1: 50]),
        ]
        func order(_ committed: Int64?) -> [String] {
            // The order in which they are listed is nothing.
            let orders = [entries, entries.reversed()].map {
                Self.names(SnapshotCatalog(instance: "a", entries: $0).states(of: Self.p(0), committed: committed))
            }
            #expect(orders[0] == orders[1])
            return orders[0]
        }
        #expect(order(12) == ["b@30", "a@20", "b@15", "a@10"])
        #expect(order(11) == ["a@20", "b@15", "a@10"])
        #expect(order(8) == ["b@15", "a@10"])
        #expect(order(7) == ["b@15", "a@10"])
        #expect(order(0).isEmpty, "nothing that is beyond what is committed")
        #expect(order(nil) == ["b@30", "a@20", "b@15", "a@10"])
        let catalog = SnapshotCatalog(instance: "a", entries: entries)
        #expect(catalog.states(of: Self.p(2), committed: 9).isEmpty)
        #expect(catalog.furthest(Self.p(0)) == 12 && catalog.furthest(Self.p(1)) == 50)
        #expect(catalog.furthest(Self.p(2)) == nil)
    }

    @Test func ofEqualOnesTheOwnAndThenTheNewest() {
        let entries = [
            Self.entry("a", 10, [0: 5]), Self.entry("b", 20, [0: 5]), Self.entry("b", 30, [0: 5]),
            Self.entry("c", 5, [0: 5]),
        ]
        func order(_ instance: String) -> [String] {
            Self.names(SnapshotCatalog(instance: instance, entries: entries).states(of: Self.p(0), committed: 5))
        }
        #expect(order("b") == ["b@30", "b@20", "c@5", "a@10"])
        #expect(order("a") == ["a@10", "c@5", "b@30", "b@20"])
        #expect(order("z") == ["c@5", "b@30", "b@20", "a@10"])
    }

    @Test func theModelThatLearnedLast() {
        let entries = [
            Self.entry("a", 900, [:], learnedTo: 70, version: 500), Self.entry("b", 10, [:], learnedTo: 80, version: 3),
            Self.entry("c", 999, [:]), Self.entry("d", 11, [:], learnedTo: 80, version: 4),
        ]
        func order(_ instance: String) -> [String] {
            Self.names(SnapshotCatalog(instance: instance, entries: entries).models())
        }
        #expect(order("z") == ["d@11", "b@10", "a@900", "c@999"])
        #expect(order("d") == ["b@10", "a@900", "c@999"], "that of others")
        let late = entries + [Self.entry("e", 12, [:], learnedTo: 90, version: 0)]
        let first = SnapshotCatalog(instance: "z", entries: late).models().first?.listing.instance
        #expect(first == "d", "no step was taken by e, however late it is there")
    }

    @Test func aloneTheNewestStay() {
        let entries = (1...5).map { Self.entry("a", Int64($0), [0: Int64(10 * $0), 1: 7]) }
        func gone(_ keep: Int) -> [String] {
            Self.names(SnapshotCatalog(instance: "a", entries: entries).dispensable(keep: keep)).sorted()
        }
        #expect(gone(3) == ["a@1", "a@2"] && gone(1) == ["a@1", "a@2", "a@3", "a@4"] && gone(5) == [])
    }

    /// What is the last to hold a partition stays, however many newer ones there are without it.
    @Test func theLastOfAPartitionStays() {
        var entries =
            [Self.entry("a", 1, [0: 10, 1: 10])] + (2...9).map { Self.entry("a", Int64($0), [0: 10 + Int64($0)]) }
        func gone() -> [String] {
            Self.names(SnapshotCatalog(instance: "a", entries: entries).dispensable(keep: 2)).sorted()
        }
        #expect(gone() == (2...7).map { "a@\($0)" })
        // Others hold it, further: enough of them.
        entries.append(Self.entry("b", 1, [1: 11]))
        #expect(gone() == (2...7).map { "a@\($0)" })
        entries.append(Self.entry("b", 2, [1: 12]))
        #expect(gone() == (1...7).map { "a@\($0)" })
        // Another's are not ours to remove.
        #expect(SnapshotCatalog(instance: "c", entries: entries).dispensable(keep: 1).isEmpty)
    }

    /// Whatever instances hold, and in whichever order they remove what each finds dispensable at some moment, the
    /// furthest state of every partition is kept, by `keep` snapshots where there were as many.
    @Test(arguments: 1...40 as ClosedRange<UInt64>) func removingNeverGoesTooFar(seed: UInt64) {
        var random = Shop(seed: seed)
        let instances = ["a", "b", "c"]
        var entries: [Entry] = []
        for instance in instances {
            for position in 1...(3 + random.random(5)) {
                var offsets: [Int32: Int64] = [:]
                for n in 0..<Int32(3) where random.random(3) > 0 { offsets[n] = Int64(random.random(4)) }
                entries.append(Self.entry(instance, Int64(position), offsets))
            }
        }
        let keep = 1 + random.random(2)
        func best(_ entries: [Entry], _ n: Int32) -> [Int64] {
            Array(entries.compactMap { $0.offsets[Self.p(n)] }.sorted(by: >).prefix(keep))
        }
        let before = (0..<Int32(3)).map { best(entries, $0) }
        // Each looks at what there was before any removed anything.
        let views = instances.map { SnapshotCatalog(instance: $0, entries: entries).dispensable(keep: keep) }
        for gone in views.joined() { entries.removeAll { $0 == gone } }
        #expect((0..<Int32(3)).map { best(entries, $0) } == before)
        for instance in instances { #expect(entries.count { $0.listing.instance == instance } >= keep) }
    }
}
