public import Foundation

/// A snapshot of an instance in a store, by its description; nothing else of it was read.
public struct SnapshotListing: Sendable, Equatable {
    /// The instance that wrote it.
    public let instance: String
    /// Unique among the snapshots of the instance.
    public let name: String
    /// Position in the sequence of its instance.
    public let position: Int64
    /// The application's JSON object.
    public let metadata: Data

    public init(instance: String, name: String, position: Int64, metadata: Data) {
        self.instance = instance
        self.name = name
        self.position = position
        self.metadata = metadata
    }
}

/// A store that the instances of a group share: each writes and removes its own snapshots and reads those of all. It
/// belongs to one thread at a time.
///
/// An implementation, `SharedSnapshotFolder` or one over an object store, lists a snapshot when all of it is there, and
/// not before. A snapshot that its owner removes while it is being read is `missing`, never half read. Names are those of
/// `SnapshotListing.name(position:part:)`. `SnapshotRepositoryConformance` in the tests checks an implementation.
public protocol SnapshotRepository: AnyObject {
    /// What this instance is called in the store.
    var instance: String { get }

    /// The snapshots of all instances, in no order. Those whose description cannot be read are logged and left out.
    /// - Throws: `SnapshotError` when the store cannot be read.
    func list() throws -> [SnapshotListing]

    /// Says whose snapshots the store has. Where nothing has said so yet, it is stored; of several instances that do so
    /// at once one succeeds, and all get what that one said.
    /// - Returns: what is stored, for good or until `setOwner`.
    /// - Throws: `SnapshotError`.
    func claim(_ owner: StoreOwner) throws -> StoreOwner

    /// Gives the store to another owner.
    /// - Throws: `SnapshotError`.
    func setOwner(_ owner: StoreOwner) throws

    /// Opens a snapshot whose sections are verified when they are read.
    /// - Throws: `SnapshotError`: `missing` when its owner has removed it meanwhile, `corrupt`, `io`.
    func open(_ listing: SnapshotListing) throws -> Snapshot

    /// The newest undamaged snapshot of this instance, all of it verified. nil when the instance has none at all.
    /// - Throws: `SnapshotError`: `corrupt` when there are some but none is whole, or the error that prevents reading.
    func newestOwn() throws -> Snapshot?

    /// Removes a snapshot of this instance.
    func removeOwn(name: String)

    /// Starts writing in the background and returns at once; the caller may then change the memory. No write may be in
    /// progress.
    /// - Throws: `SnapshotError` when writing cannot start.
    func begin(_ content: SnapshotContent) throws

    /// Writes and waits for the end. No write may be in progress, unless this snapshot is a part. A whole snapshot
    /// replaces an older whole one of its position; every snapshot replaces those of this instance with later positions.
    /// - Throws: `SnapshotError`; the old snapshots are then as they were.
    func write(_ content: SnapshotContent) throws -> SnapshotInfo

    /// Whether a write has begun whose outcome has not been asked for.
    var isWriting: Bool { get }

    /// The outcome of the write in progress when it has ended, once; nil while it runs or when none was begun.
    func poll() -> SnapshotOutcome?

    /// Waits for a write in progress; nil when none was begun.
    func finish() -> SnapshotOutcome?

    /// Stops a write in progress, whose outcome is then a failure of kind `cancelled`.
    func cancel()
}

extension SnapshotListing {
    /// The name of a snapshot. The order of two names is the order of the snapshots.
    /// - Parameters:
    ///   - position: not negative.
    ///   - part: tells parts of the same position apart, from 1; nil: a whole snapshot.
    public static func name(position: Int64, part: Int? = nil) -> String { SnapshotName.text(of: position, part: part) }

    /// Of two snapshots of one instance, whether the first was taken before.
    public static func isOlder(_ a: SnapshotListing, _ b: SnapshotListing) -> Bool {
        SnapshotName.precedes(a.name, b.name)
    }
}
