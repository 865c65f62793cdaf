import Foundation
import Testing

@testable import SnapshotStore

@Suite("The folder of snapshots")
struct StoreTests {
    let fixture = Fixture()

    @Test func oneStoreToAFolder() throws {
        var store: SnapshotStore? = try fixture.store()
        let locked = error(.locked) { _ = try fixture.store() }
        #expect(locked?.reason == "process \(getpid()) uses it")
        #expect(locked?.description.contains(fixture.directory) == true)
        // What README says of a second process of the same name.
        #expect(locked?.advice.contains("kafka.instanceId") == true)
        try store?.begin(fixture.endless(position: 1))
        _ = error(.locked) { _ = try fixture.store() }
        // Its child goes with it, else the child would hold the lock.
        withExtendedLifetime(store) {}
        store = nil
        _ = try fixture.store()
        #expect(fixture.names.isEmpty)
    }

    @Test func theNewestAreKept() throws {
        let store = try fixture.store(keep: 2)
        for position: Int64 in [1, 2, 10] { _ = try store.write(fixture.content(position: position)) }
        #expect(fixture.names == [2, 10].map(fixture.name))
        try store.begin(fixture.content(position: 11))
        #expect(fixture.names.contains(fixture.name(of: 2)), "removed before the new one was there")
        #expect(store.finish().info?.position == 11)
        #expect(fixture.names == [10, 11].map(fixture.name))
        // A failed write removes nothing; it fails on a file that bears the name.
        try Data().write(to: URL(fileURLWithPath: fixture.path(of: 12)))
        try store.begin(fixture.content(position: 12))
        #expect(store.finish().error?.operation == "move into place")
        #expect(fixture.names == [10, 11, 12].map(fixture.name))
    }

    /// The stream began anew before snapshots that are of no use to it: a restart must take the one of the new stream.
    @Test func laterPositionsGo() throws {
        let log = LogLines()
        let store = try fixture.store(keep: 1, log: log)
        _ = try store.write(fixture.content(position: 100))
        try fixture.flip(fixture.path(of: 100, "users.bin"), at: 0)
        let info = try store.write(fixture.content(position: 3))
        #expect(try store.snapshots() == [info])
        #expect(log.all.count == 1 && log.all[0].hasSuffix(fixture.name(of: 100)))
    }

    @Test(arguments: [true, false]) func anOlderOneOfTheSamePositionIsReplaced(forked: Bool) throws {
        let store = try fixture.store()
        _ = try store.write(fixture.content(position: 8))
        let old = try SnapshotStore.open(path: fixture.path(of: 8))
        let before = try old.data("users")
        let bytes = fixture.bytes(200_000, seed: 99)
        if forked {
            try store.begin(fixture.content(position: 8, bytes))
            #expect(store.finish().info?.position == 8)
        } else {
            _ = try store.write(fixture.content(position: 8, bytes))
        }
        #expect(fixture.names == [fixture.name(of: 8)])
        #expect(try store.newest()?.data("users") == Data(bytes))
        #expect(try old.data("users") == before, "what is open stays")
    }

    @Test func leftoversAreSwept() throws {
        for name in [
            ".writing-snapshot-00000000000000000005/a.bin", ".removing-snapshot-00000000000000000005-1/b.bin",
            "notes/a",
            ".writing-else/a",
        ] {
            let path = URL(fileURLWithPath: fixture.directory + "/" + name)
            try FileManager.default.createDirectory(
                at: path.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data([1]).write(to: path)
        }
        let store = try fixture.store()
        #expect(fixture.names == [".writing-else", "notes"])
        withExtendedLifetime(store) {}
    }

    @Test func aFolderThatCannotBe() throws {
        try Data().write(to: URL(fileURLWithPath: fixture.directory))
        _ = error(.notWritable) {
            _ = try SnapshotStore(directory: fixture.directory, keep: 1, logger: LogLines().logger)
        }
        let below = fixture.directory + "/below"
        let e = error(.notWritable) { _ = try SnapshotStore(directory: below, keep: 1, logger: LogLines().logger) }
        #expect(e?.path == below)
    }
}
