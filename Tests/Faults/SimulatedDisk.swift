import CSnapshot
import Foundation
import Kafka
import SnapshotStore

/// The folder that an instance has in the store. It knows what has been synced, and after a crash leaves what a disk is
/// allowed to leave: of a file what was synced and perhaps a part of the rest, of the entries of a folder those that were
/// synced and perhaps the first few of later changes, each folder by itself. A real folder shows what processes see, so
/// that reading is not simulated: the instance's own, and those of others that share the store.
final class SimulatedFolder {
    let path: String
    /// Whether others read it too. What serves files to several machines does not forget a name that one of them was
    /// shown, so names are there for good at once; what is in the files is not.
    private let isShared: Bool
    fileprivate var root = Entries<Folder>() { didSet { if isShared { root.sync() } } }

    /// What a snapshot says of itself.
    struct Description {
        var position: Int64
        var modelVersion: Int64
        var offsets: [TopicPartition: Int64]
        /// Clocks of the partitions, ms.
        var clocks: [TopicPartition: Int64]
    }

    fileprivate final class File {
        var bytes: [UInt8] = []
        var synced = 0
    }

    fileprivate final class Folder {
        var files = Entries<File>()
        /// nil: it is no snapshot, or not yet.
        var description: Description?
    }

    /// Names in a folder: as processes see them and as they are on the disk for good.
    fileprivate struct Entries<Node: AnyObject> {
        private(set) var seen: [String: Node] = [:]
        private var durable: [String: Node] = [:]
        private var changes: [([String: Node]) -> [String: Node]] = []

        mutating func change(_ change: @escaping ([String: Node]) -> [String: Node]) {
            seen = change(seen)
            changes.append(change)
        }

        mutating func sync() {
            durable = seen
            changes = []
        }

        /// Power is lost.
        mutating func settle(_ dice: inout Dice) {
            for change in changes.prefix(dice.pick(0..<changes.count + 1)) { durable = change(durable) }
            seen = durable
            changes = []
        }
    }

    /// - Parameter path: a real folder, which is made.
    init(path: String, isShared: Bool) {
        self.path = path
        self.isShared = isShared
        mkdir(path, 0o755)
    }

    // MARK: Faults

    /// What was not synced may go.
    func losePower(_ dice: inout Dice) {
        root.settle(&dice)
        for name in root.seen.keys.sorted() {
            let folder = root.seen[name]!
            folder.files.settle(&dice)
            for file in folder.files.seen.sorted(by: { $0.key < $1.key }).map(\.value) { Self.tear(file, &dice) }
        }
        show()
    }

    private static func tear(_ file: File, _ dice: inout Dice) {
        guard file.synced < file.bytes.count else { return }
        let kept = file.synced + dice.pick(0..<file.bytes.count - file.synced + 1)
        file.bytes.removeSubrange(kept...)
        // The length may be there before the bytes are.
        if dice.chance(0.3) { for i in file.synced..<kept { file.bytes[i] = 0 } }
        file.synced = file.bytes.count
    }

    var names: [String] { root.seen.keys.filter { $0.hasPrefix("snapshot-") }.sorted() }

    /// What its snapshots say of themselves, whole or not.
    var descriptions: [Description] { names.compactMap { root.seen[$0]?.description } }

    /// The newest snapshot loses bytes, a file, or all of them.
    func damage(_ dice: inout Dice) {
        guard let name = names.last, let folder = root.seen[name] else { return }
        let file = dice.pick(folder.files.seen.keys.sorted())
        switch dice.pick(0..<4) {
        case 0: root.change { $0.filter { $0.key != name } }
        case 1: folder.files.change { $0.filter { $0.key != file } }
        case 2: if let f = folder.files.seen[file], !f.bytes.isEmpty { f.bytes.removeLast() }
        default:
            guard let f = folder.files.seen[file], !f.bytes.isEmpty else { break }
            f.bytes[dice.pick(0..<f.bytes.count)] ^= 0x10
        }
        root.sync()
        show()
    }

    /// An operator moves all snapshots away.
    func clear() {
        root.change { _ in [:] }
        root.sync()
        show()
    }

    /// What keeps a second process out is lost with the connection of the first one.
    func breakLock() { unlink("\(path)/.lock") }

    /// Makes the real folder what processes see.
    fileprivate func show() {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] where name != ".lock" {
            try? FileManager.default.removeItem(atPath: "\(path)/\(name)")
        }
        for (name, folder) in root.seen {
            mkdir("\(path)/\(name)", 0o755)
            for (file, content) in folder.files.seen { Self.write(content.bytes, to: "\(path)/\(name)/\(file)") }
        }
    }

    /// Shows a file that has been written, unless its folder has been moved away from under the writer.
    fileprivate func show(_ file: File, of folder: Folder, as name: String, in folderName: String) {
        guard root.seen[folderName] === folder else { return }
        Self.write(file.bytes, to: "\(path)/\(folderName)/\(name)")
    }

    fileprivate func renameShown(_ from: String, _ to: String, exchange: Bool) {
        let error = clvd_system_file_calls.rename(nil, AT_FDCWD, "\(path)/\(from)", "\(path)/\(to)", exchange ? 1 : 0)
        precondition(error == 0, "cannot rename \(path)/\(from) to \(to): \(error)")
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        precondition(file >= 0, "cannot write \(path): \(String(cString: strerror(errno)))")
        defer { Glibc.close(file) }
        var done = 0
        while done < bytes.count {
            let n = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + done, bytes.count - done) }
            precondition(n > 0, "cannot write \(path): \(String(cString: strerror(errno)))")
            done += n
        }
    }
}

/// A process's way to the folder of its instance.
final class SimulatedDisk: Disk {
    let folder: SimulatedFolder
    let calls: UnsafePointer<clvd_file_calls>
    /// What the calls go through.
    let gate: Gate
    /// Share of the calls that fail.
    var failing = 0.0
    /// Told of a snapshot's manifest when the snapshot is about to take its name.
    /// - Returns: what it says.
    var onSnapshot: (_ name: String, _ manifest: [UInt8]) -> SimulatedFolder.Description? = { _, _ in nil }

    private typealias File = SimulatedFolder.File
    private typealias Folder = SimulatedFolder.Folder

    private enum Handle {
        case folder(Folder, String)
        case file(File, of: Folder, folder: String, name: String)
    }

    private var handles: [Int32: Handle] = [:]
    private var nextHandle = SimulatedDisk.firstHandle
    /// Descriptors below it are the system's, of the folder of snapshots itself.
    private static let firstHandle: Int32 = 1 << 24
    /// Effects of calls made in the background; nil: calls take effect at once.
    private var recording: [() -> Void]?
    private var pending: ArraySlice<() -> Void> = []

    init(_ folder: SimulatedFolder, gate: Gate) {
        self.folder = folder
        self.gate = gate
        let calls = UnsafeMutablePointer<clvd_file_calls>.allocate(capacity: 1)
        self.calls = UnsafePointer(calls)
        calls.initialize(to: table())
    }

    deinit { calls.deallocate() }

    // MARK: Background

    func inBackground(_ write: () -> Void) {
        recording = []
        write()
        pending = ArraySlice(recording ?? [])
        recording = nil
    }

    func isIdle(wait: Bool) -> Bool {
        if wait { advance(pending.count) }
        return pending.isEmpty
    }

    func cancel() { pending = [] }

    /// Lets some of the calls made in the background take effect.
    func advance(_ count: Int) {
        for effect in pending.prefix(count) { effect() }
        pending = pending.dropFirst(count)
    }

    /// Nothing that was begun goes on.
    func crash() {
        pending = []
        handles = [:]
    }

    // MARK: Calls

    /// A call: 0 or an errno.
    private func call(_ error: Int32 = EIO, _ effect: @escaping () -> Void) -> Int32 {
        if recording == nil && !gate.mayPass() { return EIO }
        if gate.fails(failing) { return error }
        if recording == nil { effect() } else { recording?.append(effect) }
        return 0
    }

    private func handle(_ handle: Handle) -> Int32 {
        nextHandle += 1
        handles[nextHandle] = handle
        return nextHandle
    }

    fileprivate func makeFolder(_ name: String) -> Int32 {
        let made = Folder()
        self.made[name] = made
        return call(ENOSPC) { [folder] in
            folder.root.change { $0.merging([name: made]) { $1 } }
            mkdir("\(folder.path)/\(name)", 0o755)
        }
    }
    /// Folders as the process that makes the calls sees them, which may be ahead of their taking effect.
    private var made: [String: Folder] = [:]
    /// Of the snapshot being written.
    private var manifest: [UInt8] = []

    fileprivate func openFolder(_ name: String, _ descriptor: inout Int32) -> Int32 {
        guard let found = made[name] else { return ENOENT }
        descriptor = handle(.folder(found, name))
        return call {}
    }

    fileprivate func create(_ directory: Int32, _ name: String, _ descriptor: inout Int32) -> Int32 {
        guard case .folder(let found, let folderName)? = handles[directory] else { return EBADF }
        let file = File()
        manifest = []
        descriptor = handle(.file(file, of: found, folder: folderName, name: name))
        return call(ENOSPC) { found.files.change { $0.merging([name: file]) { $1 } } }
    }

    fileprivate func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ written: inout Int) -> Int32 {
        guard case .file(let file, _, _, let name)? = handles[descriptor] else { return EBADF }
        let copy = Array(bytes)
        if name == "manifest.json" { manifest += copy }
        let error = call(ENOSPC) { file.bytes += copy }
        written = error == 0 ? copy.count : 0
        return error
    }

    fileprivate func sync(_ descriptor: Int32) -> Int32 {
        switch handles[descriptor] {
        case .file(let file, _, _, _)?: call { file.synced = file.bytes.count }
        case .folder(let found, _)?: call { found.files.sync() }
        case nil: descriptor < Self.firstHandle ? call { [folder] in folder.root.sync() } : EBADF
        }
    }

    fileprivate func close(_ descriptor: Int32) -> Int32 {
        guard case .file(let file, let found, let folderName, let name)? = handles.removeValue(forKey: descriptor)
        else { return 0 }
        return call { [folder] in folder.show(file, of: found, as: name, in: folderName) }
    }

    fileprivate func rename(_ from: String, _ to: String, exchange: Bool) -> Int32 {
        guard let found = recording == nil ? folder.root.seen[from] : made[from] else { return ENOENT }
        if !exchange && folder.root.seen[to] != nil { return EEXIST }
        let description = to.hasPrefix("snapshot-") ? onSnapshot(to, manifest) : nil
        return call { [folder] in
            // Another process of this name may have swept it away, or put its own in the place.
            let old = folder.root.seen[to]
            guard folder.root.seen[from] === found, exchange == (old != nil) else { return }
            if let description { found.description = description }
            folder.root.change {
                var entries = $0
                entries[to] = found
                entries[from] = old
                return entries
            }
            folder.renameShown(from, to, exchange: exchange)
        }
    }

    fileprivate func remove(_ directory: Int32, _ name: String) -> Int32 {
        if case .folder(let found, let folderName)? = handles[directory] {
            return call { [folder] in
                found.files.change { $0.filter { $0.key != name } }
                guard folder.root.seen[folderName] === found else { return }
                unlink("\(folder.path)/\(folderName)/\(name)")
            }
        }
        return call { [folder] in
            folder.root.change { $0.filter { $0.key != name } }
            rmdir("\(folder.path)/\(name)")
        }
    }

    func remove(folder name: String) {
        _ = call { [folder] in
            folder.root.change { $0.filter { $0.key != name } }
            try? FileManager.default.removeItem(atPath: "\(folder.path)/\(name)")
        }
    }
}

// MARK: - Table

extension SimulatedDisk {
    fileprivate func table() -> clvd_file_calls {
        clvd_file_calls(
            context: Unmanaged.passUnretained(self).toOpaque(),
            make_folder: { disk($0).makeFolder(text($2)) },
            open_folder: { disk($0).openFolder(text($2), &$3!.pointee) },
            create: { disk($0).create($1, text($2), &$3!.pointee) },
            write: { disk($0).write($1, UnsafeRawBufferPointer(start: $2, count: $3), &$4!.pointee) },
            sync: { disk($0).sync($1) },
            close: { disk($0).close($1) },
            rename: { disk($0).rename(text($2), text($3), exchange: $4 != 0) },
            remove: { context, directory, name, _ in disk(context).remove(directory, text(name)) })
    }
}

private func disk(_ context: UnsafeMutableRawPointer?) -> SimulatedDisk {
    Unmanaged<SimulatedDisk>.fromOpaque(context!).takeUnretainedValue()
}

private func text(_ name: UnsafePointer<CChar>?) -> String { name.map { String(cString: $0) } ?? "" }
