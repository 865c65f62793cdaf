import Foundation

/// Whose snapshots a store has: those of one group on one cluster.
public struct StoreOwner: Codable, Equatable, Sendable {
    /// The consumer group.
    public var group: String
    /// The cluster's own id; nil: it was not known.
    public var cluster: String?
    /// The input topics.
    public var topics: [String]

    public init(group: String, cluster: String?, topics: [String]) {
        (self.group, self.cluster, self.topics) = (group, cluster, topics)
    }
}

/// The file of a shared folder that says whose snapshots are in it. It is there as a whole or not at all.
struct OwnerFile: Sendable {
    static let name = "origin.json"
    private static let mostBytes = 1 << 20

    private let directory: String
    private var path: String { "\(directory)/\(Self.name)" }
    /// Where the file is written first. No other process has this name.
    private let temporary: String

    /// - Parameter instance: a folder of the directory that only this process writes to.
    init(directory: String, instance: String) {
        self.directory = directory
        temporary = "\(directory)/\(instance)/.\(Self.name)"
    }

    /// nil when there is no such file.
    func read() throws -> StoreOwner? {
        guard let file = FileHandle(forReadingAtPath: path) else {
            guard access(path, F_OK) == 0 else { return nil }
            throw SnapshotError("read", path, errno: errno)
        }
        let bytes = try? file.read(upToCount: Self.mostBytes)
        guard let bytes, let owner = try? JSONDecoder().decode(StoreOwner.self, from: bytes) else {
            throw SnapshotError(
                .corrupt, "read", path, "it does not say whose snapshots are in this folder",
                advice: "remove it if they are this group's; the next start writes it anew")
        }
        return owner
    }

    /// Writes the file unless there is one. Of several processes that do so at once one succeeds.
    /// - Returns: what the file says.
    func claim(_ owner: StoreOwner) throws -> StoreOwner {
        if let owner = try read() { return owner }
        try write(owner)
        defer { unlink(temporary) }
        if link(temporary, path) == 0 {
            try sync(directory, O_RDONLY | O_DIRECTORY)
            return owner
        }
        // Another process was first, or the file system knows no links.
        if let owner = try read() { return owner }
        try moveIntoPlace()
        return try read() ?? owner
    }

    func replace(_ owner: StoreOwner) throws {
        try write(owner)
        try moveIntoPlace()
    }

    private func write(_ owner: StoreOwner) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes = try encoder.encode(owner) + Data("\n".utf8)
        do { try bytes.write(to: URL(fileURLWithPath: temporary)) } catch {
            throw SnapshotError(
                .notWritable, "write", temporary, error.localizedDescription,
                advice: "give this user access to it, and free space there")
        }
        try sync(temporary, O_RDONLY)
    }

    private func moveIntoPlace() throws {
        guard rename(temporary, path) == 0 else { throw SnapshotError("move into place", path, errno: errno) }
        try sync(directory, O_RDONLY | O_DIRECTORY)
    }

    private func sync(_ path: String, _ flags: Int32) throws {
        let descriptor = open(path, flags | O_CLOEXEC)
        guard descriptor >= 0 else { throw SnapshotError("open", path, errno: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw SnapshotError("sync", path, errno: errno) }
    }
}
