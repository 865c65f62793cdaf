import Engine
import Foundation
import Kafka
import Logging
import Settings
import SnapshotStore
import Testing

@testable import Runtime

/// State from the store and back, while others change it.
@Suite struct SnapshotKeeperTests {
    private let folder: Folder
    private let log = Log()
    private static let id = TaskID(topic: 0, partition: 0)
    private static let partition = TopicPartition("events", 0)

    init() throws { folder = try Folder() }

    private func repository(_ instance: String) throws -> SharedSnapshotFolder {
        try SharedSnapshotFolder(directory: folder.path, instance: instance, logger: log.logger)
    }

    private func keeper(
        _ repository: any SnapshotRepository, group: String = "clvd", cluster: String? = "k1",
        _ change: (inout Settings) -> Void = { _ in }
    ) -> SnapshotKeeper {
        var settings = Settings()
        settings.snapshots.directory = folder.path
        settings.snapshots.keep = 2
        change(&settings)
        return SnapshotKeeper(repository, settings, logger: log.logger, clock: StepClock()) { _ in
            SnapshotOrigin(
                group: group, cluster: cluster, topics: ["events"], partitions: ["events[0]": Self.origin])
        }
    }

    private static let origin = SnapshotOrigin.Partition(
        anchor: RecordFingerprint(offset: 3, timestampMs: 1_700_000_000_000, hash: .max), begin: 2)

    private func engine(at offset: Int64? = nil, units: Int = 16) -> Engine {
        var configuration = EngineConfiguration.small
        configuration.model.units = units
        let engine = Engine(
            configuration: configuration, topics: ["events"], partitions: 1, executor: WorkerPool(threads: 1))
        if let offset {
            engine.addTask(Self.id)
            engine.resume(Self.id, at: offset, firstUnpublishedOffset: offset)
        }
        return engine
    }

    /// A store whose first snapshot to be opened was removed by its owner just before.
    private final class Racing: ForwardingRepository {
        let owner: SharedSnapshotFolder
        var raced = 0

        init(_ base: SharedSnapshotFolder, owner: SharedSnapshotFolder) {
            self.owner = owner
            super.init(base)
        }

        override func open(_ listing: SnapshotListing) throws -> Snapshot {
            if listing.instance == owner.instance {
                owner.removeOwn(name: listing.name)
                raced += 1
            }
            return try super.open(listing)
        }
    }

    @Test func whatWasRemovedMeanwhileIsLookedForAnew() throws {
        let (a, c) = (try repository("a"), try repository("c"))
        _ = try keeper(a).write(engine(at: 5))
        _ = try keeper(c).write(engine(at: 9))
        let racing = Racing(try repository("b"), owner: c)
        let engine = engine()
        let adoption = try keeper(racing).adopt(Self.id, Self.partition, committed: 10, into: engine)
        #expect(racing.raced == 1 && adoption?.instance == "a" && engine.nextOffset(Self.id) == 5)
        // And when it was the only one.
        let again = Racing(try repository("d"), owner: a)
        #expect(try keeper(again).adopt(Self.id, Self.partition, committed: 10, into: self.engine()) == nil)
    }

    @Test func whatIsOfAnotherModelIsRefusedUnlessToldOtherwise() throws {
        _ = try keeper(try repository("a")).write(engine(at: 5, units: 32))
        let b = try repository("b")
        let refused = #expect(throws: RecoveryError.self) {
            _ = try keeper(b).adopt(Self.id, Self.partition, committed: 5, into: engine())
        }
        #expect(refused?.description.contains("a/snapshot-") == true)
        #expect(refused?.description.contains("snapshots.discardIncompatible: true") == true)
        let lenient = keeper(b) { $0.snapshots.discardIncompatible = true }
        #expect(try lenient.adopt(Self.id, Self.partition, committed: 5, into: engine()) == nil)
        try lenient.restoreModel(engine())
        #expect(log.count("left aside") == 2)
    }

    /// What is handed over is written once: what is in a snapshot is there.
    @Test func handingOver() throws {
        let a = try repository("a")
        let (keeper, engine) = (keeper(a), engine(at: 5))
        let part = try keeper.handOver([Self.id], of: engine)
        #expect(part?.name.hasSuffix("-part-1") == true)
        _ = try keeper.write(engine)
        #expect(try keeper.handOver([Self.id], of: engine) == nil)
        #expect(try a.list().count == 2)
        let other = self.engine()
        let adoption = try self.keeper(try repository("b")).adopt(Self.id, Self.partition, committed: 5, into: other)
        #expect(adoption?.instance == "a" && other.nextOffset(Self.id) == 5)
    }

    // MARK: Origin

    /// What is known of the log comes back with the state, to the last bit.
    @Test func theOriginComesBackWithTheState() throws {
        _ = try keeper(try repository("a")).write(engine(at: 5))
        let adoption = try keeper(try repository("b")).adopt(Self.id, Self.partition, committed: 5, into: engine())
        #expect(adoption?.origin == Self.origin)
    }

    /// A folder belongs to one group in one cluster: nothing of another one is taken, neither state nor model.
    @Test(arguments: [("clvd", "k2", "cluster k1, not k2"), ("other", "k1", "group clvd, not other")])
    func whatIsOfAnotherOriginIsRefusedUnlessAccepted(group: String, cluster: String, says: String) throws {
        let a = try repository("a")
        _ = try keeper(a).write(engine(at: 5))
        let b = try repository("b")
        let other = keeper(b, group: group, cluster: cluster)
        let refusals = [
            #expect(throws: RecoveryError.self) { try other.restoreModel(engine()) },
            #expect(throws: RecoveryError.self) {
                _ = try other.adopt(Self.id, Self.partition, committed: 5, into: engine())
            },
            // Its own folder.
            #expect(throws: RecoveryError.self) {
                _ = try keeper(a, group: group, cluster: cluster).restoreOwn(engine())
            },
        ]
        for refusal in refusals {
            let text = refusal?.description ?? ""
            #expect(text.contains(says) && text.contains("a/snapshot-"), "\(text)")
            #expect(text.contains("snapshots.acceptOrigin: true"), "\(text)")
        }
        let accepting = keeper(b, group: group, cluster: cluster) { $0.snapshots.acceptOrigin = true }
        #expect(try accepting.adopt(Self.id, Self.partition, committed: 5, into: engine()) != nil)
        // Once there is something of its own, that is taken, and the other left aside.
        _ = try accepting.write(engine(at: 4))
        let later = keeper(try repository("c"), group: group, cluster: cluster)
        let taken = engine()
        #expect(try later.adopt(Self.id, Self.partition, committed: 5, into: taken)?.instance == "b")
        #expect(taken.nextOffset(Self.id) == 4 && log.count("another origin is left aside") == 1)
        #expect(try later.furthest(Self.partition) == 4)
    }

    /// Neither an unknown cluster nor a snapshot of an earlier version is evidence of anything.
    @Test func whatIsNotKnownIsNoOtherOrigin() throws {
        _ = try keeper(try repository("a"), cluster: nil).write(engine(at: 5))
        let known = try keeper(try repository("b")).adopt(Self.id, Self.partition, committed: 5, into: engine())
        #expect(known != nil)
        let a = try repository("old")
        let old = engine(at: 6)
        _ = try EngineSnapshot.withContent(of: old.image()) { try a.write($0) }
        let adoption = try keeper(try repository("c")).adopt(Self.id, Self.partition, committed: 6, into: engine())
        #expect(adoption?.instance == "old" && adoption?.origin == nil)
    }
}
