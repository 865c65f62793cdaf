internal import Logging
internal import Settings
internal import SnapshotStore

/// A store belongs to one group on one cluster. Another group on it would take states of what it has never read.
enum StoreClaim {
    /// Claims the store for this group, or makes sure that it is this group's already.
    /// - Parameter cluster: its own id; nil: unknown, which is as good as any.
    /// - Throws: `RecoveryError` when it is another's, unless the settings accept that; `SnapshotError`.
    static func make(
        _ store: any SnapshotRepository, _ settings: Settings, cluster: String?, logger: Logger
    ) throws {
        let mine = StoreOwner(group: settings.kafka.groupId, cluster: cluster, topics: settings.input.topics)
        let stored = try store.claim(mine)
        let origins = [mine, stored].map { SnapshotOrigin(group: $0.group, cluster: $0.cluster, topics: $0.topics) }
        guard let difference = origins[0].difference(from: origins[1]) else {
            var known = mine
            known.cluster = cluster ?? stored.cluster
            if known != stored { try store.setOwner(known) }
            return
        }
        let directory = settings.snapshots.directory
        guard settings.snapshots.acceptOrigin else { throw RecoveryError.otherOwner(ofFolder: directory, difference) }
        logger.warning(
            "the folder of snapshots is that of another origin, which is accepted",
            metadata: ["directory": "\(directory)", "origin": "\(difference)"])
        try store.setOwner(mine)
    }
}
