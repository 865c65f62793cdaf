import Foundation
import Synchronization
import Testing

@testable import SnapshotStore

@Suite("Whose folder it is, and what is moved out of it")
struct OwnerTests {
    let fixture = Fixture()

    private func folder(_ instance: String) throws -> SharedSnapshotFolder {
        try SharedSnapshotFolder(directory: fixture.directory, instance: instance, logger: LogLines().logger)
    }

    private func owner(_ group: String) -> StoreOwner { StoreOwner(group: group, cluster: "c", topics: ["events"]) }

    /// A person can read it, and nothing else is left.
    @Test func theFileSaysIt() throws {
        let a = try folder("a")
        _ = try a.claim(owner("g"))
        let text = try String(contentsOfFile: fixture.directory + "/origin.json", encoding: .utf8)
        #expect(text == #"{"cluster":"c","group":"g","topics":["events"]}"# + "\n")
        try a.setOwner(owner("h"))
        #expect(fixture.names == ["a", "origin.json"])
        let own = try FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/a")
        #expect(own == [".lock"])
        #expect(try a.list().isEmpty)
    }

    /// Instances that begin at once agree on one, and no one ever sees half a file.
    @Test func manyAtOnceAgree() throws {
        for round in 0..<20 {
            let files = (0..<8).map { OwnerFile(directory: fixture.directory + "/\(round)", instance: "\($0)") }
            for i in 0..<8 {
                try FileManager.default.createDirectory(
                    atPath: fixture.directory + "/\(round)/\(i)", withIntermediateDirectories: true)
            }
            let said = Mutex<[String]>([])
            let owners = (0..<8).map { owner("g\($0)") }
            DispatchQueue.concurrentPerform(iterations: 8) { i in
                let group = (try? files[i].claim(owners[i]).group) ?? "none"
                said.withLock { $0.append(group) }
            }
            let groups = said.withLock { $0 }
            #expect(Set(groups).count == 1 && groups.count == 8 && groups[0] != "none", "\(groups)")
        }
    }

    @Test func whatIsNoOwnerIsRefused() throws {
        let a = try folder("a")
        try Data("{".utf8).write(to: URL(fileURLWithPath: fixture.directory + "/origin.json"))
        let found = error(.corrupt) { _ = try a.claim(owner("g")) }
        #expect(found?.path.hasSuffix("origin.json") == true && found?.advice.contains("remove it") == true)
    }

    // MARK: Aside

    @Test func whatIsMovedAsideIsNotReadAnyMore() throws {
        var (a, b): (SharedSnapshotFolder?, SharedSnapshotFolder?) = (try folder("a"), try folder("b"))
        for position in [3, 5] { _ = try a?.write(fixture.content(position: Int64(position))) }
        _ = try b?.write(fixture.content(position: 4))
        let all = try SharedSnapshotFolder.listings(in: fixture.directory)
        #expect(Set(all.map { "\($0.instance)@\($0.position)" }) == ["a@3", "a@5", "b@4"])
        #expect(Set(all.map(\.metadata)) == [Data(#"{"users":1}"#.utf8)])

        let locked = error(.locked) { _ = try SnapshotAside(directory: fixture.directory, logger: LogLines().logger) }
        #expect(locked?.reason.contains("process \(getpid())") == true)
        (a, b) = (nil, nil)
        let time = Date(timeIntervalSince1970: 1_764_240_305)  // 2025-11-27 10:45:05 UTC
        var aside: SnapshotAside? = try SnapshotAside(directory: fixture.directory, logger: LogLines().logger)
        _ = error(.locked) { _ = try folder("a") }
        let path = try aside?.move(all.filter { $0.position > 3 }, at: time)
        aside = nil
        #expect(path == fixture.directory + "/aside-20251127T104505Z")
        let left = try folder("a")
        #expect(try left.list().map(\.position) == [3] && left.newestOwn()?.info.position == 3)
        #expect(try SharedSnapshotFolder.snapshots(in: fixture.directory).map(\.info.position) == [3])
        // They are whole, and at their place in a folder of their own.
        let moved = try SharedSnapshotFolder.snapshots(in: path ?? "")
        #expect(moved.map { "\($0.instance)@\($0.info.position)" } == ["a@5", "b@4"])
        for snapshot in moved { _ = try SnapshotStore.open(path: snapshot.info.path) }
    }

    @Test func twiceInASecond() throws {
        for position in [3, 5] { _ = try folder("a").write(fixture.content(position: Int64(position))) }
        let aside = try SnapshotAside(directory: fixture.directory, logger: LogLines().logger)
        let paths = try SharedSnapshotFolder.listings(in: fixture.directory).sorted { $0.position < $1.position }
            .map { try aside.move([$0], at: Date(timeIntervalSince1970: 0)) }
        #expect(paths == ["", "-2"].map { fixture.directory + "/aside-19700101T000000Z" + $0 })
    }

    @Test func noFolderHasNoSnapshots() throws {
        #expect(try SharedSnapshotFolder.listings(in: fixture.directory + "/none").isEmpty)
    }
}
