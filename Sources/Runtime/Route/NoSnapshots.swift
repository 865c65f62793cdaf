internal import SnapshotStore

/// The store of a stage that keeps no state: it is empty, and nothing is written to it.
final class NoSnapshots: SnapshotRepository {
    let instance: String

    init(instance: String) { self.instance = instance }

    func list() -> [SnapshotListing] { [] }
    func claim(_ owner: StoreOwner) -> StoreOwner { owner }
    func setOwner(_ owner: StoreOwner) {}
    func open(_ listing: SnapshotListing) -> Snapshot { preconditionFailure("there is no snapshot") }
    func newestOwn() -> Snapshot? { nil }
    func removeOwn(name: String) {}
    func begin(_ content: SnapshotContent) { preconditionFailure("there is no state to keep") }
    func write(_ content: SnapshotContent) -> SnapshotInfo { preconditionFailure("there is no state to keep") }
    var isWriting: Bool { false }
    func poll() -> SnapshotOutcome? { nil }
    func finish() -> SnapshotOutcome? { nil }
    func cancel() {}
}
