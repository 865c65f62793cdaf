public import Foundation

/// A snapshot that an instance keeps in a store, as its description has it: nothing else of it was read.
public struct SnapshotListing: Sendable, Equatable {
    /// Whose it is.
    public let instance: String
    /// Tells it from others of the instance.
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
/// What is asked of an implementation, `SharedSnapshotFolder` or one over an object store: a snapshot is listed when all
/// of it is there, and not before; one that its owner removes while it is being read is `missing`, never half read.
public protocol SnapshotRepository: AnyObject {
    /// What this instance is called in the store.
    var instance: String { get }

    /// What there is of all instances, in no order. What cannot be told by its description is logged and left out.
    /// - Throws: `SnapshotError` when the store cannot be read.
    func list() throws -> [SnapshotListing]

    /// Opens a snapshot whose sections are verified when they are read.
    /// - Throws: `SnapshotError`: `missing` when its owner has removed it meanwhile, `corrupt`, `io`.
    func open(_ listing: SnapshotListing) throws -> Snapshot

    /// The newest snapshot of this instance that is whole, all of it verified. nil when it has none at all.
    /// - Throws: `SnapshotError`: `corrupt` when there are some but none is whole, or what keeps one from being read.
    func newestOwn() throws -> Snapshot?

    /// Removes a snapshot of this instance.
    func removeOwn(name: String)

    /// See `SnapshotStore`, which does the writing.
    func begin(_ content: SnapshotContent) throws
    func write(_ content: SnapshotContent) throws -> SnapshotInfo
    var isWriting: Bool { get }
    func poll() -> SnapshotOutcome?
    func finish() -> SnapshotOutcome?
    func cancel()
}

extension SnapshotListing {
    /// Of two snapshots of one instance, whether the first was taken before.
    public static func isOlder(_ a: SnapshotListing, _ b: SnapshotListing) -> Bool {
        SnapshotName.precedes(a.name, b.name)
    }
}
