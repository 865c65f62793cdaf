public import Foundation
public import Logging

/// Moves snapshots out of the folders of instances, into one beside them that nothing reads. While this object exists,
/// none of the instances can start.
public final class SnapshotAside {
    private let directory: String
    /// Each holds the lock of an instance's folder.
    private let locks: [SnapshotStore]

    /// Takes the locks of all instances that have a folder.
    /// - Throws: `SnapshotError`: `locked` when one of them runs.
    public init(directory: String, logger: Logger) throws {
        self.directory = SnapshotStore.absolute(directory)
        locks = try SharedSnapshotFolder.instances(in: self.directory)
            .filter { access("\(directory)/\($0)/.lock", F_OK) == 0 }
            .map { try SnapshotStore(directory: "\(directory)/\($0)", keep: nil, logger: logger) }
    }

    /// Moves snapshots into a new folder, whose layout is that of the shared one.
    /// - Returns: the path of that folder.
    /// - Throws: `SnapshotError`; those before the one that it is about have been moved.
    public func move(_ snapshots: [SnapshotListing], at time: Date) throws -> String {
        let parts = Calendar(identifier: .gregorian).dateComponents(in: .gmt, from: time)
        func digits(_ value: Int?, _ count: Int) -> String {
            let text = String(value ?? 0)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let day = digits(parts.year, 4) + digits(parts.month, 2) + digits(parts.day, 2)
        let stamp = "aside-\(day)T\(digits(parts.hour, 2))\(digits(parts.minute, 2))\(digits(parts.second, 2))Z"
        var aside = "\(directory)/\(stamp)"
        var number = 1
        while access(aside, F_OK) == 0 {
            number += 1
            aside = "\(directory)/\(stamp)-\(number)"
        }
        for snapshot in snapshots {
            let from = "\(directory)/\(snapshot.instance)/\(snapshot.name)"
            let folder = "\(aside)/\(snapshot.instance)"
            do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
                throw SnapshotError(
                    .notWritable, "create", folder, error.localizedDescription, advice: "give this user access to it")
            }
            guard rename(from, "\(folder)/\(snapshot.name)") == 0 else {
                throw SnapshotError("move aside", from, errno: errno)
            }
        }
        return aside
    }
}
