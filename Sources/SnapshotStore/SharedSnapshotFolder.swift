import Foundation
public import Logging

/// A folder that all instances of a group can read and write. It contains one folder of snapshots per instance, named
/// after the instance. Folders of instances that have ended stay and are read like the others.
public final class SharedSnapshotFolder: SnapshotRepository {
    public let instance: String
    private let directory: String
    private let own: SnapshotStore
    private let ownerFile: OwnerFile
    private let logger: Logger
    /// Descriptions that were read. A snapshot never changes; another one may replace it under the same name.
    private var known: [String: (mark: [Int], listing: SnapshotListing)] = [:]
    /// Damaged snapshots that were logged, so that each is logged once.
    private var damaged: Set<String> = []

    /// Takes the exclusive lock on this instance's folder, which is created when missing.
    /// - Parameter instance: a valid name for a folder.
    /// - Throws: `SnapshotError`: as `SnapshotStore.init`; `corrupt` when snapshots lie in the shared folder itself.
    public convenience init(directory: String, instance: String, logger: Logger) throws {
        try self.init(directory: directory, instance: instance, logger: logger, disk: nil)
    }

    /// - Parameter disk: a simulated one below this instance's folder.
    package init(directory: String, instance: String, logger: Logger, disk: (any Disk)?) throws {
        self.directory = SnapshotStore.absolute(directory)
        self.instance = instance
        self.logger = logger
        own = try SnapshotStore(directory: "\(directory)/\(instance)", keep: nil, logger: logger, disk: disk)
        ownerFile = OwnerFile(directory: self.directory, instance: instance)
        if let stray = try SnapshotStore.snapshotNames(in: self.directory).first {
            throw SnapshotError(
                .corrupt, "read", "\(self.directory)/\(stray)",
                "it is in no instance's folder, as earlier versions had it",
                advice: "move it to \(self.directory)/\(instance)/\(stray) to go on from it, or move it away")
        }
    }

    public func list() throws -> [SnapshotListing] {
        var seen: [String: (mark: [Int], listing: SnapshotListing)] = [:]
        var listings: [SnapshotListing] = []
        for instance in try Self.instances(in: directory) {
            let folder = "\(directory)/\(instance)"
            for name in (try? SnapshotStore.snapshotNames(in: folder)) ?? [] {
                let path = "\(folder)/\(name)"
                guard let mark = Self.mark(path) else { continue }
                if let entry = known[path], entry.mark == mark {
                    seen[path] = entry
                    listings.append(entry.listing)
                    continue
                }
                guard let listing = try describe(instance, name, path) else { continue }
                seen[path] = (mark, listing)
                listings.append(listing)
            }
        }
        known = seen
        return listings
    }

    private func describe(_ instance: String, _ name: String, _ path: String) throws -> SnapshotListing? {
        do {
            let snapshot = try Snapshot(path: path, wholly: false)
            return SnapshotListing(
                instance: instance, name: name, position: snapshot.info.position, metadata: snapshot.metadata)
        } catch let error as SnapshotError where error.kind == .missing {
            return nil
        } catch let error as SnapshotError where error.kind == .corrupt {
            if damaged.insert(path).inserted {
                logger.warning(
                    "snapshot is damaged, leaving it aside",
                    metadata: ["path": "\(path)", "reason": "\(error.reason)"])
            }
            return nil
        }
    }

    public func open(_ listing: SnapshotListing) throws -> Snapshot {
        try Snapshot(path: "\(directory)/\(listing.instance)/\(listing.name)", wholly: false)
    }

    public func claim(_ owner: StoreOwner) throws -> StoreOwner { try ownerFile.claim(owner) }
    public func setOwner(_ owner: StoreOwner) throws { try ownerFile.replace(owner) }
    public func newestOwn() throws -> Snapshot? { try own.newest() }
    public func removeOwn(name: String) { own.remove(name) }
    public func begin(_ content: SnapshotContent) throws { try own.begin(content) }
    public func write(_ content: SnapshotContent) throws -> SnapshotInfo { try own.write(content) }
    public var isWriting: Bool { own.isWriting }
    public func poll() -> SnapshotOutcome? { own.poll() }
    public func finish() -> SnapshotOutcome? { own.finish() }
    public func cancel() { own.cancel() }

    /// What is in a shared folder, by instance, newest first; or in the folder of an instance. Damaged snapshots are
    /// included; needs no lock.
    /// - Throws: `SnapshotError` when the folder cannot be read.
    public static func snapshots(in directory: String) throws -> [(instance: String, info: SnapshotInfo)] {
        let directory = SnapshotStore.absolute(directory)
        let instance = (directory as NSString).lastPathComponent
        let here = try SnapshotStore.snapshots(in: directory).map { (instance, $0) }
        return try here
            + instances(in: directory).flatMap { instance in
                ((try? SnapshotStore.snapshots(in: "\(directory)/\(instance)")) ?? []).map { (instance, $0) }
            }
    }

    /// The snapshots of all instances, in no order, without those whose description cannot be read; needs no lock. None
    /// when there is no such folder.
    /// - Throws: `SnapshotError` when the folder cannot be read.
    public static func listings(in directory: String) throws -> [SnapshotListing] {
        let directory = SnapshotStore.absolute(directory)
        guard access(directory, F_OK) == 0 else { return [] }
        return try instances(in: directory).flatMap { instance in
            ((try? SnapshotStore.snapshotNames(in: "\(directory)/\(instance)")) ?? []).compactMap { name in
                (try? Snapshot(path: "\(directory)/\(instance)/\(name)", wholly: false)).map {
                    SnapshotListing(
                        instance: instance, name: name, position: $0.info.position, metadata: $0.metadata)
                }
            }
        }
    }

    /// Folders that may be those of instances, by name. What was moved aside has its snapshots one level deeper.
    static func instances(in directory: String) throws -> [String] {
        try SnapshotStore.names(in: directory)
            .filter { !$0.hasPrefix(".") && SnapshotName.position(of: $0) == nil }
            .sorted()
            .filter {
                var isFolder: ObjCBool = false
                return FileManager.default.fileExists(atPath: "\(directory)/\($0)", isDirectory: &isFolder)
                    && isFolder.boolValue
            }
    }

    /// Distinguishes the file at a path from earlier ones at the same path; nil when there is no file.
    private static func mark(_ path: String) -> [Int]? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return [Int(status.st_ino), status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    }
}
