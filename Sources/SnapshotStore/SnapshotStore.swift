/// The folder of snapshots.
public final class SnapshotStore {}
