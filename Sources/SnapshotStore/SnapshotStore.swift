internal import CSnapshot
import Dispatch
import Foundation
public import Logging

/// How a write ended.
public enum SnapshotOutcome: Sendable {
    /// It is on disk durably. `seconds` is the time since the fork.
    case written(SnapshotInfo, seconds: Double)
    /// There is no new snapshot; the old ones are as they were.
    case failed(SnapshotError)
}

/// The folder of snapshots. While this object exists, no other process can write there. One thread uses it at a time.
public final class SnapshotStore {
    private let directory: String
    private let keep: Int?
    private let logger: Logger
    private let descriptor: Int32
    private let lock: Int32
    private let disk: (any Disk)?
    private let calls: UnsafePointer<clvd_file_calls>
    private(set) var running: Write?
    private var ended: SnapshotOutcome?
    /// Deletes renamed folders in the background: gigabytes take time, and the stream should not wait for it.
    private let remover = DispatchQueue(label: "clvd.snapshots.remove", qos: .utility)
    private var removed = 0

    /// A write in progress.
    struct Write {
        var child: clvd_snapshot_child
        /// How it ends on a simulated disk, where there is no child.
        var simulated: clvd_snapshot_result?
        let path: String
        let position: Int64
        let createdAt: Date
        let fileNames: [String]
        /// Snapshots of later positions that were there when it began.
        let later: [String]
    }

    /// Creates the folder when missing, takes its exclusive lock and removes what interrupted writes left.
    /// - Parameter keep: how many of the newest snapshots stay, at least 1; nil: all, until `remove`.
    /// - Throws: `SnapshotError`: `locked` (names the process), `notWritable`, `noSpace`, `io`.
    public convenience init(directory: String, keep: Int?, logger: Logger) throws {
        try self.init(directory: directory, keep: keep, logger: logger, disk: nil)
    }

    /// - Parameter disk: a simulated one.
    package init(directory: String, keep: Int?, logger: Logger, disk: (any Disk)?) throws {
        precondition(keep ?? 1 >= 1, "at least one snapshot has to stay")
        self.directory = Self.absolute(directory)
        self.keep = keep
        self.logger = logger
        self.disk = disk
        calls = disk?.calls ?? SystemCalls.pointer
        (descriptor, lock) = try Self.open(self.directory, logger)
        for name in try Self.names(in: self.directory)
        where [SnapshotName.writing, SnapshotName.removing].contains(where: { name.hasPrefix($0 + SnapshotName.prefix) }
        ) {
            logger.info("removing what an interrupted write left", metadata: ["name": "\(name)"])
            discard(name)
        }
        settle()
    }

    deinit {
        cancel()
        settle()
        // Closing is not enough: a forked process that has not closed its copy yet would keep the lock.
        flock(lock, LOCK_UN)
        close(lock)
        close(descriptor)
    }

    // MARK: Writing

    /// Starts writing in a forked child and returns at once. No write may be in progress.
    /// - Throws: `SnapshotError` of kind `io` when the fork fails.
    public func begin(_ content: SnapshotContent) throws {
        precondition(running == nil, "a snapshot is being written")
        ended = nil
        let createdAt = Self.now()
        let later = later(than: content.position)
        var child = clvd_snapshot_child()
        var simulated: clvd_snapshot_result?
        let error = withPlan(content, createdAt) { plan in
            guard let disk else { return clvd_snapshot_fork(plan, &child) }
            var result = clvd_snapshot_result()
            disk.inBackground { _ = clvd_snapshot_write(plan, &result) }
            simulated = result
            return 0
        }
        let path = "\(directory)/\(content.name)"
        guard error == 0 else { throw SnapshotError("start a process to write", path, errno: error) }
        running = Write(
            child: child, simulated: simulated, path: path, position: content.position, createdAt: createdAt,
            fileNames: content.fileNames, later: later)
    }

    /// Whether a write has begun whose outcome has not been asked for.
    public var isWriting: Bool { running != nil }

    /// The outcome of the write in progress when it has ended, after which snapshots beyond `keep` are removed; nil
    /// while it runs or when none was begun.
    public func poll() -> SnapshotOutcome? { collect(wait: false) }

    /// Waits for a write in progress; nil when none was begun.
    public func finish() -> SnapshotOutcome? { collect(wait: true) }

    /// Writes in this process and waits for the end. No write may be in progress, unless this snapshot is a part.
    /// - Throws: `SnapshotError`; the old snapshots are then as they were.
    public func write(_ content: SnapshotContent) throws -> SnapshotInfo {
        precondition(running == nil || content.isPart, "a snapshot is being written")
        if running == nil { ended = nil }
        var content = content
        if content.isPart { content.part = freePart(content.position) }
        let createdAt = Self.now()
        var result = clvd_snapshot_result()
        withPlan(content, createdAt) { _ = clvd_snapshot_write($0, &result) }
        let write = Write(
            child: clvd_snapshot_child(), path: "\(directory)/\(content.name)", position: content.position,
            createdAt: createdAt, fileNames: content.fileNames, later: later(than: content.position))
        let outcome = conclude(write, result)
        settle()
        switch outcome {
        case .written(let info, _): return info
        case .failed(let error): throw error
        }
    }

    /// Stops a write in progress, whose outcome is then a failure of kind `cancelled`.
    public func cancel() {
        guard var write = running else { return }
        running = nil
        if let disk { disk.cancel() } else { clvd_snapshot_kill(&write.child) }
        ended = fail(
            write,
            SnapshotError(.cancelled, "write", write.path, "it was stopped on request", advice: "write another one"))
    }

    private func withPlan<R>(
        _ content: SnapshotContent, _ createdAt: Date, _ body: (UnsafePointer<clvd_snapshot_plan>) -> R
    ) -> R {
        let temporaryName = SnapshotName.writing + content.name
        discard(temporaryName)
        return content.withPlan(
            createdAt: createdAt, calls: calls, directory: descriptor, lock: lock, temporaryName: temporaryName, body)
    }

    private func collect(wait: Bool) -> SnapshotOutcome? {
        guard var write = running else {
            defer { ended = nil }
            return ended
        }
        if let disk, let result = write.simulated {
            guard disk.isIdle(wait: wait) else { return nil }
            running = nil
            return conclude(write, result)
        }
        var result = clvd_snapshot_result()
        var signal: Int32 = 0
        let state = clvd_snapshot_poll(&write.child, wait ? 1 : 0, &result, &signal)
        guard state != clvd_snapshot_running else { return nil }
        running = nil
        defer { if wait { settle() } }
        guard state == clvd_snapshot_reported else {
            let cause = signal == 0 ? "" : " by signal \(signal) (\(String(cString: strsignal(signal))))"
            return fail(
                write,
                SnapshotError(
                    .io, "write", write.path, "the process that wrote it was ended\(cause)",
                    advice: "the next one may succeed; if not, look for want of memory in the kernel's log"))
        }
        return conclude(write, result)
    }

    private func conclude(_ write: Write, _ result: clvd_snapshot_result) -> SnapshotOutcome {
        let index = Int(result.file)
        let file = index < 0 ? "" : "/" + (index < write.fileNames.count ? write.fileNames[index] : Manifest.name)
        let operation: String
        switch clvd_snapshot_step(UInt32(result.step)) {
        case clvd_snapshot_done:
            let info = SnapshotInfo(
                position: write.position, path: write.path, bytes: Int64(result.bytes), createdAt: write.createdAt)
            discard(SnapshotName.writing + info.name)  // an older one of this position
            retain(info, later: write.later)
            return .written(info, seconds: Double(result.nanoseconds) / 1e9)
        case clvd_snapshot_make_folder: operation = "create the folder"
        case clvd_snapshot_create: operation = "create"
        case clvd_snapshot_write_bytes: operation = "write"
        case clvd_snapshot_rename: operation = "move into place"
        default: operation = "sync"
        }
        return fail(write, SnapshotError(operation, write.path + file, errno: result.error))
    }

    private func fail(_ write: Write, _ error: SnapshotError) -> SnapshotOutcome {
        discard(SnapshotName.writing + (write.path as NSString).lastPathComponent)
        return .failed(error)
    }

    /// A part number that is free at this position.
    private func freePart(_ position: Int64) -> Int {
        let names = (try? Self.snapshotNames(in: directory)) ?? []
        return 1 + (names.filter { SnapshotName.position(of: $0) == position }.compactMap(SnapshotName.part).max() ?? 0)
    }

    // MARK: Removing

    /// Removes snapshots beyond `keep`, never the one just written. Also removes snapshots of later positions that existed
    /// when its writing began: they were damaged, or the stream restarted from an earlier position, and a restart must not
    /// read them. Other snapshots of later positions are parts that were written meanwhile; they stay.
    private func retain(_ written: SnapshotInfo, later: [String]) {
        for name in later {
            logger.notice(
                "removing a snapshot of a later position than the one just written",
                metadata: ["name": "\(name)", "written": "\(written.name)"])
            discard(name)
        }
        guard let keep else { return }
        let names = (try? Self.snapshotNames(in: directory)) ?? []
        let earlier = names.filter { SnapshotName.position(of: $0) ?? 0 <= written.position }
        for name in earlier.dropFirst(keep) { discard(name) }
    }

    private func later(than position: Int64) -> [String] {
        ((try? Self.snapshotNames(in: directory)) ?? []).filter { SnapshotName.position(of: $0) ?? 0 > position }
    }

    /// Removes a snapshot. Sections that readers have already read stay valid.
    public func remove(_ name: String) {
        precondition(SnapshotName.position(of: name) != nil, "\(name) is no snapshot")
        discard(name)
    }

    /// Renames a folder to a hidden name, which is atomic, then deletes it in the background.
    private func discard(_ name: String) {
        removed += 1
        // The prefix `snapshot-` marks it as ours, whatever its name was before.
        let hidden = "\(SnapshotName.removing)\(name.drop { $0 != "s" })-\(removed)"
        let error = calls.pointee.rename(calls.pointee.context, descriptor, name, hidden, 0)
        guard error == 0 else {
            if error != ENOENT {
                logger.warning(
                    "cannot remove a snapshot",
                    metadata: ["name": "\(name)", "reason": "\(String(cString: strerror(error)))"])
            }
            return
        }
        if let disk { return disk.remove(folder: hidden) }
        let path = "\(directory)/\(hidden)"
        remover.async { [logger] in
            do { try FileManager.default.removeItem(atPath: path) } catch {
                logger.warning("cannot remove a snapshot", metadata: ["path": "\(path)", "reason": "\(error)"])
            }
        }
    }

    /// Waits until all discarded folders are deleted.
    private func settle() { remover.sync {} }

    // MARK: Reading

    /// All snapshots in the folder, newest first, damaged ones included.
    /// - Throws: `SnapshotError` when the folder cannot be read.
    public func snapshots() throws -> [SnapshotInfo] { try Self.snapshots(in: directory) }

    /// The newest undamaged snapshot; damaged newer ones are logged as warnings. nil when there is none at all.
    /// - Throws: `SnapshotError`: `corrupt` when there are snapshots but none is whole, or the error that prevents
    ///   reading.
    public func newest() throws -> Snapshot? {
        let names = try Self.snapshotNames(in: directory)
        for name in names {
            do { return try Snapshot(path: "\(directory)/\(name)") } catch let error as SnapshotError
                where error.kind == .corrupt
            {
                logger.warning(
                    "snapshot is damaged, trying the one before",
                    metadata: ["name": "\(name)", "reason": "\(error.reason)"])
            }
        }
        if names.isEmpty { return nil }
        throw SnapshotError(
            .corrupt, "read", directory, "none of the \(names.count) snapshots is whole",
            advice: "put one back from a backup, or move them away to begin without")
    }

    /// All snapshots in a folder, newest first, damaged ones included; needs no lock.
    /// - Throws: `SnapshotError` when the folder cannot be read.
    public static func snapshots(in directory: String) throws -> [SnapshotInfo] {
        let directory = absolute(directory)
        return try snapshotNames(in: directory).compactMap { name in
            // Snapshots that were removed meanwhile are left out.
            SnapshotName.position(of: name).flatMap {
                try? SnapshotInfo(unverified: "\(directory)/\(name)", position: $0)
            }
        }
    }

    /// Opens the snapshot in a folder and verifies all of it; needs no lock.
    /// - Throws: `SnapshotError`: `corrupt`, `missing` or `io`.
    public static func open(path: String) throws -> Snapshot { try Snapshot(path: absolute(path)) }

    /// Newest first.
    static func snapshotNames(in directory: String) throws -> [String] {
        try names(in: directory).filter { SnapshotName.position(of: $0) != nil }
            .sorted { SnapshotName.precedes($1, $0) }
    }

    static func names(in directory: String) throws -> [String] {
        guard let folder = opendir(directory) else { throw SnapshotError("list", directory, errno: errno) }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            names.append(
                withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        return names
    }

    static func absolute(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }

    /// To the second, as the manifest has it.
    private static func now() -> Date { Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded(.down)) }

    private static func open(_ directory: String, _ logger: Logger) throws -> (directory: Int32, lock: Int32) {
        do { try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true) } catch {
            throw SnapshotError(
                .notWritable, "create", directory, error.localizedDescription,
                advice: "give this user access to it, or choose another folder")
        }
        let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SnapshotError("open", directory, errno: errno) }
        let path = "\(directory)/.lock"
        var code: Int32 = 0
        var holder: pid_t = 0
        var lock = clvd_snapshot_lock(path, &code, &holder)
        // A daemon that was killed may leave a child that is about to notice, once the disk has answered; it holds the
        // lock until then.
        var tries = 0
        while lock < 0, code == EWOULDBLOCK, tries < 600, kill(holder, 0) != 0, errno == ESRCH {
            if tries == 0 {
                logger.notice(
                    "waiting for what an ended process still writes",
                    metadata: ["directory": "\(directory)", "process": "\(holder)"])
            }
            tries += 1
            usleep(50_000)
            lock = clvd_snapshot_lock(path, &code, &holder)
        }
        guard lock >= 0 else {
            close(descriptor)
            guard code == EWOULDBLOCK else { throw SnapshotError("lock", path, errno: code) }
            throw SnapshotError(
                .locked, "lock", directory, holder == 0 ? "another process uses it" : "process \(holder) uses it",
                advice: "this one stops and leaves it alone. Give each instance its own kafka.instanceId, or stop that "
                    + "process first; with the same name in another folder this one would take its place")
        }
        return (descriptor, lock)
    }
}
