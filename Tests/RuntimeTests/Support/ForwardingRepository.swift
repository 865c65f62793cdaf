import SnapshotStore

/// A store that does what another does, but for what a subclass changes.
class ForwardingRepository: SnapshotRepository {
    let base: SharedSnapshotFolder

    init(_ base: SharedSnapshotFolder) { self.base = base }

    var instance: String { base.instance }
    func list() throws -> [SnapshotListing] { try base.list() }
    func open(_ listing: SnapshotListing) throws -> Snapshot { try base.open(listing) }
    func claim(_ owner: StoreOwner) throws -> StoreOwner { try base.claim(owner) }
    func setOwner(_ owner: StoreOwner) throws { try base.setOwner(owner) }
    func newestOwn() throws -> Snapshot? { try base.newestOwn() }
    func removeOwn(name: String) { base.removeOwn(name: name) }
    func begin(_ content: SnapshotContent) throws { try base.begin(content) }
    func write(_ content: SnapshotContent) throws -> SnapshotInfo { try base.write(content) }
    var isWriting: Bool { base.isWriting }
    func poll() -> SnapshotOutcome? { base.poll() }
    func finish() -> SnapshotOutcome? { base.finish() }
    func cancel() { base.cancel() }
}
