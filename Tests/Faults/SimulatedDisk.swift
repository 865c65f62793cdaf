import CSnapshot
import Foundation
import Kafka
import SnapshotStore

/// The folder of an instance in the store. It records what was synced. After a crash it keeps what a disk may keep: of a
/// file the synced bytes and perhaps a part of the rest; of a folder the synced entries and perhaps the first few later
/// changes, each folder on its own. A real folder has the contents that processes see, so reading is not simulated.
final class SimulatedFolder {
    let path: String
    /// Whether other machines read it too. A file server does not forget a name that it has shown to a machine, so names are
    /// durable at once; the contents of files are not.
    private let isShared: Bool
    fileprivate var root = Entries<Folder>() { didSet { if isShared { root.sync() } } }

    /// The description of a snapshot.
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

    /// Names in a folder: as processes see them, and as they are durable on the disk.
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

    /// - Parameter path: a real folder, which is created.
    init(path: String, isShared: Bool) {
        self.path = path
        self.isShared = isShared
        mkdir(path, 0o755)
    }

    // MARK: Faults

    /// Loses data that was not synced, by chance.
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
        // The length may be durable before the bytes are.
        if dice.chance(0.3) { for i in file.synced..<kept { file.bytes[i] = 0 } }
        file.synced = file.bytes.count
    }

    var names: [String] { root.seen.keys.filter { $0.hasPrefix("snapshot-") }.sorted() }

    /// The descriptions of its snapshots, damaged ones included.
    var descriptions: [Description] { names.compactMap { root.seen[$0]?.description } }

    /// A snapshot has been damaged, and nobody has moved the snapshots away since. All processes of the name share them.
    private(set) var isDamaged = false

    /// The newest snapshot loses bytes, a file, or all of them.
    func damage(_ dice: inout Dice) {
        guard let name = names.last, let folder = root.seen[name] else { return }
        isDamaged = true
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
        isDamaged = false
        root.change { _ in [:] }
        root.sync()
        show()
    }

    /// The lock against a second process is lost together with the connection of the first one.
    func breakLock() { unlink("\(path)/.lock") }

    /// Gives the real folder the contents that processes see.
    fileprivate func show() {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] where name != ".lock" {
            try? FileManager.default.removeItem(atPath: "\(path)/\(name)")
        }
        for (name, folder) in root.seen {
            mkdir("\(path)/\(name)", 0o755)
            for (file, content) in folder.files.seen { Self.write(content.bytes, to: "\(path)/\(name)/\(file)") }
        }
    }

    /// Puts a written file into the real folder, unless that folder was renamed meanwhile.
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

/// A process's access to the folder of its instance.
final class SimulatedDisk: Disk {
    let folder: SimulatedFolder
    let calls: UnsafePointer<clvd_file_calls>
    /// All calls pass through it.
    let gate: Gate
    /// Share of the calls that fail.
    var failing = 0.0
    /// Called with the manifest of a snapshot before the snapshot gets its final name.
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
    /// Smaller descriptors belong to the system: that of the folder of snapshots.
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

    /// Drops the calls that have not taken effect.
    func crash() {
        pending = []
        handles = [:]
    }

    // MARK: Calls

    /// Runs a call; returns 0 or an errno.
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
    /// Folders as the calling process sees them; calls that have not taken effect yet are included.
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
            // Another process of this name may have removed it, or replaced it with its own.
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
