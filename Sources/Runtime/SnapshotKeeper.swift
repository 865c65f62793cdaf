internal import Engine
import Foundation
internal import Kafka
internal import Logging
internal import Settings
internal import SnapshotStore

/// Carries state between an engine and the store that the instances of a group share, for one life of the pipeline.
final class SnapshotKeeper {
    /// A partition that was taken from the store.
    struct Adoption {
        /// Whose snapshot it was, and its name.
        var instance: String
        var snapshot: String
        var bytes: Int
        var seconds: Double
        /// What the snapshot says of the partition's log; nil: it is of a version that said nothing.
        var origin: SnapshotOrigin.Partition?
    }

    private let repository: any SnapshotRepository
    private let settings: Settings
    private let logger: Logger
    private let clock: any LoopClock
    /// Where the state of partitions comes from.
    private let origin: (Set<TaskID>) -> SnapshotOrigin
    /// Own snapshots that were not restored, as they are damaged or of another configuration.
    private var passedOver: Set<String> = []
    /// The own snapshot that this life began with; closed once partitions were taken from it.
    private var base: (metadata: EngineImage.Metadata, snapshot: Snapshot)?
    private var hasModel = false
    /// Position and partitions of the newest own snapshot that is complete.
    private var newest: (position: Int64, partitions: Set<TaskID>)?
    /// Position of the newest own whole snapshot.
    var newestPosition: Int64? { newest?.position }
    private var pending: (position: Int64, partitions: Set<TaskID>)?

    /// - Parameter origin: where the state of partitions comes from.
    init(
        _ repository: any SnapshotRepository, _ settings: Settings, logger: Logger, clock: any LoopClock,
        origin: @escaping (Set<TaskID>) -> SnapshotOrigin
    ) {
        self.clock = clock
        self.origin = origin
        self.repository = repository
        self.settings = settings
        self.logger = logger
    }

    // MARK: From the store

    /// Gives a fresh engine the model of the newest snapshot of this instance. Its partitions come with `adopt`.
    /// - Returns: position of the snapshot; nil when there is none.
    func restoreOwn(_ engine: Engine) throws -> Int64? {
        let start = clock.now
        guard let snapshot = try repository.newestOwn() else {
            logger.notice("no snapshot of this instance")
            return nil
        }
        if let difference = difference(snapshot.metadata) {
            throw RecoveryError.otherOrigin(snapshot.info.path, difference)
        }
        let list = try repository.list().filter { $0.instance == repository.instance }
        let found = list.first { $0.name == snapshot.info.name }
        passedOver = Set(list.filter { l in found.map { SnapshotListing.isOlder($0, l) } ?? false }.map(\.name))
        do {
            let metadata = try EngineSnapshot.metadata(snapshot)
            try engine.restoreModel(metadata) { try snapshot.section($0) }
            hasModel = true
            base = (metadata, snapshot)
            newest = (metadata.position, Set(metadata.partitionIDs))
            log(metadata, snapshot, of: repository.instance, engine, since: start)
            return metadata.position
        } catch let mismatch as SnapshotMismatch {
            try refuse(snapshot.info.path, mismatch)
            passedOver = Set(list.map(\.name))
            return nil
        }
    }

    /// Gives an instance without a model, before its first record, the newest one in the store instead of random
    /// weights. From here on each instance learns by itself.
    func restoreModel(_ engine: Engine) throws {
        guard !hasModel, engine.position == 0 else { return }
        let start = clock.now
        try tryEach({ $0.models() }) { listing in
            let snapshot = try repository.open(listing)
            let metadata = try EngineSnapshot.metadata(snapshot)
            try engine.restoreModel(metadata) { try snapshot.section($0) }
            hasModel = true
            log(metadata, snapshot, of: listing.instance, engine, since: start)
        }
    }

    /// How the origin of a snapshot differs from what this instance reads; nil: it does not, or that is accepted.
    private func difference(_ metadata: Data) -> String? {
        guard !settings.snapshots.acceptOrigin, let theirs = SnapshotOrigin.read(from: metadata) else { return nil }
        return origin([]).difference(from: theirs)
    }

    /// The furthest offset of a partition that any snapshot in the store holds.
    /// - Throws: `RecoveryError` when a newer version has had the partition: its state cannot be read here, and one that
    ///   is made anew would not be the same.
    func furthest(_ p: TopicPartition) throws -> Int64? {
        let catalog = try catalog()
        if let other = newer.first(where: { $0.mayHold(p) }), !settings.snapshots.discardIncompatible {
            throw RecoveryError.newerSnapshot(
                "\(settings.snapshots.directory)/\(other.listing.place)", format: other.format)
        }
        return catalog.furthest(p)
    }

    /// Gives an engine the newest state of a partition in the store, of whatever instance, that is not ahead of what
    /// the group has committed.
    /// - Returns: nil when the store has none.
    func adopt(_ id: TaskID, _ p: TopicPartition, committed: Int64?, into engine: Engine) throws -> Adoption? {
        let start = clock.now
        var adoption: Adoption?
        try tryEach({ $0.states(of: p, committed: committed) }) { listing in
            let isBase = listing.instance == repository.instance && listing.name == base?.snapshot.info.name
            let snapshot = isBase ? base!.snapshot : try repository.open(listing)
            let metadata = isBase ? base!.metadata : try describe(snapshot, listing)
            var bytes = 0
            let isHeld = try engine.adopt(id, from: metadata) { name in
                let section = try snapshot.section(name)
                bytes += section.count
                return section
            }
            guard isHeld else { throw SnapshotMismatch("\(listing.name) does not hold \(p), as it says") }
            adoption = Adoption(
                instance: listing.instance, snapshot: listing.name, bytes: bytes, seconds: clock.now - start,
                origin: SnapshotOrigin.read(from: listing.metadata)?[p])
        }
        return adoption
    }

    /// The description of a snapshot. It is read once for all partitions that come from that snapshot.
    private func describe(_ snapshot: Snapshot, _ listing: SnapshotListing) throws -> EngineImage.Metadata {
        if let described, described.listing == listing, snapshot.metadata == listing.metadata {
            return described.metadata
        }
        let metadata = try EngineSnapshot.metadata(snapshot)
        described = (listing, metadata)
        return metadata
    }
    private var described: (listing: SnapshotListing, metadata: EngineImage.Metadata)?

    /// Closes what is open. To be called at the end of an assignment.
    func closeBase() {
        base = nil
        described = nil
    }

    /// Whether no instance has any snapshot.
    func isStoreEmpty() throws -> Bool { try catalog().entries.isEmpty }

    /// Tries snapshots in turn until one serves. One that its owner has removed since it was listed is looked for anew.
    private func tryEach(
        _ choose: (SnapshotCatalog) -> [SnapshotCatalog.Entry], _ body: (SnapshotListing) throws -> Void
    ) throws {
        var useless: Set<String> = []
        for _ in 0..<20 {
            var isGone = false
            for entry in choose(try catalog()) {
                let listing = entry.listing
                let path = "\(listing.instance)/\(listing.name)"
                if useless.contains(path) { continue }
                do {
                    return try body(listing)
                } catch let error as SnapshotError where error.kind == .missing {
                    logger.info("a snapshot was removed by its owner meanwhile", metadata: ["snapshot": "\(path)"])
                    isGone = true
                    break
                } catch let error as SnapshotError where error.kind == .corrupt {
                    logger.warning(
                        "snapshot is damaged, trying the one before",
                        metadata: ["snapshot": "\(path)", "reason": "\(error.reason)"])
                } catch let mismatch as SnapshotMismatch {
                    try refuse(path, mismatch)
                }
                useless.insert(path)
            }
            if !isGone { return }
        }
        throw RecoveryError(
            description: "\(settings.snapshots.directory): snapshots are listed there but cannot be opened; check that "
                + "all instances see the same files")
    }

    private func refuse(_ path: String, _ mismatch: SnapshotMismatch) throws {
        guard settings.snapshots.discardIncompatible else {
            if mismatch.isOfNewerFormat { throw RecoveryError(description: "\(path): \(mismatch)") }
            throw RecoveryError(
                description: "\(path): \(mismatch). Start with the settings it was made with, move it away, or set "
                    + "snapshots.discardIncompatible: true to learn anew from the log")
        }
        logger.warning("the snapshot is left aside", metadata: ["snapshot": "\(path)", "reason": "\(mismatch)"])
    }

    private func log(
        _ metadata: EngineImage.Metadata, _ snapshot: Snapshot, of instance: String, _ engine: Engine,
        since start: Double
    ) {
        logger.notice(
            "snapshot restored",
            metadata: [
                "snapshot": "\(snapshot.info.name)", "instance": "\(instance)", "users": "\(metadata.users)",
                "model_version": "\(metadata.modelVersion)", "bytes": "\(snapshot.info.bytes)",
                "seconds": "\(rounded(clock.now - start))",
            ])
        if metadata.kernels != engine.kernels {
            logger.warning(
                "the snapshot was made with other kernels; results may differ in the last bits",
                metadata: ["snapshot": "\(metadata.kernels)", "here": "\(engine.kernels)"])
        }
    }

    /// What is in the store, except for what is of another origin.
    /// - Throws: `RecoveryError` when there is nothing else.
    private func catalog() throws -> SnapshotCatalog {
        var read: [SnapshotCatalog.Entry] = []
        newer = []
        for listing in try repository.list() {
            if listing.instance == repository.instance && passedOver.contains(listing.name) { continue }
            if let entry = known.first(where: { $0.listing == listing }) ?? describe(listing) { read.append(entry) }
        }
        known = read
        if settings.snapshots.acceptOrigin { return SnapshotCatalog(instance: repository.instance, entries: read) }
        let here = origin([])
        let differences = read.map { $0.origin.flatMap(here.difference) }
        let others = zip(read, differences).compactMap { entry, difference in
            difference.map { ("\(settings.snapshots.directory)/\(entry.listing.instance)/\(entry.listing.name)", $0) }
        }
        let own = zip(read, differences).filter { $1 == nil }.map(\.0)
        if own.isEmpty, let (path, difference) = others.first { throw RecoveryError.otherOrigin(path, difference) }
        for (path, difference) in others where foreign.insert(path).inserted {
            logger.warning(
                "a snapshot of another origin is left aside",
                metadata: ["snapshot": "\(path)", "origin": "\(difference)"])
        }
        return SnapshotCatalog(instance: repository.instance, entries: own)
    }

    private func describe(_ listing: SnapshotListing) -> SnapshotCatalog.Entry? {
        if let other = SnapshotShelf.Newer(listing) {
            newer.append(other)
        } else if let entry = SnapshotCatalog.Entry(reading: listing) {
            return entry
        }
        if foreign.insert(listing.place).inserted {
            logger.warning(
                "a snapshot of another version of clvd is left aside", metadata: ["snapshot": "\(listing.place)"])
        }
        return nil
    }

    /// Snapshots of newer versions, as they were listed last.
    private var newer: [SnapshotShelf.Newer] = []

    /// The descriptions that were read last, as reading them takes time.
    private var known: [SnapshotCatalog.Entry] = []
    /// Snapshots of another version or origin that were logged.
    private var foreign: Set<String> = []

    // MARK: To the store

    var isWriting: Bool { repository.isWriting }

    /// Starts writing the whole state beside the stream.
    func begin(_ engine: Engine) throws {
        let ids = Set(engine.taskIDs)
        try EngineSnapshot.withContent(of: engine.image(), from: origin(ids)) { try repository.begin($0) }
        pending = (engine.position, ids)
    }

    /// Writes the whole state and waits.
    func write(_ engine: Engine) throws -> SnapshotInfo {
        let ids = Set(engine.taskIDs)
        let info = try EngineSnapshot.withContent(of: engine.image(), from: origin(ids)) { try repository.write($0) }
        newest = (engine.position, ids)
        prune()
        return info
    }

    /// Writes the state of partitions that are about to move to another instance, unless the newest snapshot has it.
    /// - Returns: nil when that has it.
    func handOver(_ ids: Set<TaskID>, of engine: Engine) throws -> SnapshotInfo? {
        if let newest, newest.position == engine.position, ids.isSubset(of: newest.partitions) { return nil }
        return try EngineSnapshot.withContent(of: engine.image(of: ids), from: origin(ids), isPart: true) {
            try repository.write($0)
        }
    }

    /// The outcome of a write that has ended.
    func poll() -> SnapshotOutcome? { note(repository.poll()) }

    /// Waits for a write on its way.
    func finish() -> SnapshotOutcome? { note(repository.finish()) }

    func cancel() { repository.cancel() }

    private func note(_ outcome: SnapshotOutcome?) -> SnapshotOutcome? {
        if case .written? = outcome {
            newest = pending
            prune()
        }
        if outcome != nil { pending = nil }
        return outcome
    }

    /// Removes snapshots of this instance that are not needed any more.
    private func prune() {
        do {
            for entry in try catalog().dispensable(keep: settings.snapshots.keep) {
                repository.removeOwn(name: entry.listing.name)
            }
        } catch {
            logger.warning("old snapshots stay", metadata: ["reason": "\(error)"])
        }
    }
}
