import Foundation
import Testing

@testable import SnapshotStore

@Suite("Disks that are full, read-only or gone")
struct DiskTests {
    let fixture = Fixture()

    /// Needs no rights: the file may not grow, which is an errno of its own but the same to whoever has to act.
    @Test func aFileThatMayNotGrow() throws {
        let store = try fixture.store()
        let old = try store.write(fixture.content(position: 1))
        try store.begin(fixture.endless(position: 2))
        var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
        let setLimit = try #require(
            function(
                "prlimit",
                as: (@convention(c) (pid_t, UInt32, UnsafeMutablePointer<rlimit>, UnsafeRawPointer?) -> Int32).self))
        #expect(setLimit(try fixture.midway(store), UInt32(RLIMIT_FSIZE.rawValue), &limit, nil) == 0)
        let error = store.finish().error
        #expect(error?.kind == .noSpace && error?.operation == "write", "\(String(describing: error))")
        #expect(error?.path == fixture.path(of: 2, "zeros.bin"))
        #expect(fixture.names == [old.name])
    }

    @Test(.enabled(if: Mount.isPermitted, "needs the right to mount"), arguments: [true, false])
    func aFullDisk(forked: Bool) throws {
        let mount = try Mount(fixture.directory, "size=1m")
        defer { mount.end() }
        try {
            let store = try fixture.store(keep: 1)
            let old = try store.write(fixture.content(position: 1, count: 200_000))
            let large = fixture.content(position: 2, count: 2_000_000)
            let found: SnapshotError?
            if forked {
                try store.begin(large)
                found = store.finish().error
                #expect(found?.kind == .noSpace)
            } else {
                found = error(.noSpace) { _ = try store.write(large) }
            }
            #expect(found?.reason == "No space left on device")
            #expect(found?.path == fixture.path(of: 2, "users.bin"))
            #expect(fixture.names == [old.name])
            #expect(try store.newest()?.info == old)
            // Once there is room for it, all goes on.
            #expect(try store.write(fixture.content(position: 3, count: 200_000)).position == 3)
            #expect(fixture.names == [fixture.name(of: 3)])
        }()
    }

    @Test(.enabled(if: Mount.isPermitted, "needs the right to mount"))
    func aReadOnlyDisk() throws {
        let mount = try Mount(fixture.directory, "size=1m")
        defer { mount.end() }
        let info = try fixture.store().write(fixture.content(position: 1))
        try mount.makeReadOnly()
        #expect(error(.notWritable) { _ = try fixture.store() }?.path == fixture.directory + "/.lock")
        #expect(try SnapshotStore.snapshots(in: fixture.directory) == [info])
        #expect(try SnapshotStore.open(path: info.path).info == info)
    }

    @Test func aFolderWithoutPermission() throws {
        let store = try fixture.store()
        let old = try store.write(fixture.content(position: 1))
        chmod(fixture.directory, 0o555)
        // Root may write regardless; this thread, and a child of it, gives that up for a moment.
        let become = try #require(function("setfsuid", as: (@convention(c) (uid_t) -> Int32).self))
        _ = become(65534)
        defer {
            _ = become(geteuid())
            chmod(fixture.directory, 0o755)
        }
        try store.begin(fixture.content(position: 2))
        let failed = store.finish().error
        #expect(failed?.kind == .notWritable && failed?.path == fixture.path(of: 2))
        _ = error(.notWritable) { _ = try store.write(fixture.content(position: 2)) }
        #expect(fixture.names == [old.name])
    }

    @Test func aFolderThatIsRemoved() throws {
        let store = try fixture.store()
        // Midway: the first file goes on into nowhere, the second cannot be created.
        try store.begin(fixture.zeros(position: 1, count: 512 << 20))
        let child = try fixture.midway(store)
        kill(child, SIGSTOP)
        try FileManager.default.removeItem(atPath: fixture.directory)
        kill(child, SIGCONT)
        let error = store.finish().error
        #expect(error?.kind == .missing && error?.path == fixture.path(of: 1, "small.bin"), "\(error as Any)")
        // And before.
        try store.begin(fixture.content(position: 1))
        #expect(store.finish().error?.kind == .missing)
    }
}

/// A function of libc that Swift's module of it leaves out.
private func function<T>(_ name: String, as type: T.Type) -> T? { dlsym(nil, name).map { unsafeBitCast($0, to: type) } }

/// A file system in memory, mounted for one test.
private struct Mount {
    static let isPermitted: Bool = {
        let fixture = Fixture()
        return (try? Mount(fixture.folder, "size=1m").end()) != nil
    }()

    let path: String

    init(_ path: String, _ options: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        self.path = path
        try #require(mount("tmpfs", path, "tmpfs", 0, options) == 0)
    }

    func makeReadOnly() throws {
        // Busy while a child of another test has not yet closed its copies of our files.
        try waitUntil { mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 }
    }

    func end() { umount2(path, Int32(MNT_DETACH)) }
}
