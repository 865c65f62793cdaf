import Foundation
import Testing

@testable import SnapshotStore

@Suite("The folder that instances share")
struct SharedFolderTests {
    let fixture = Fixture()

    private func folder(_ instance: String, log: LogLines = LogLines()) throws -> SharedSnapshotFolder {
        try SharedSnapshotFolder(directory: fixture.directory, instance: instance, logger: log.logger)
    }

    private func names(_ repository: any SnapshotRepository) throws -> [String] {
        try repository.list().map { "\($0.instance)/\($0.name)" }.sorted()
    }

    @Test func eachSeesWhatAllHave() throws {
        let (a, b) = (try folder("a"), try folder("b"))
        _ = try a.write(fixture.content(position: 5))
        _ = try b.write(fixture.content(position: 3))
        for each in [a, b] {
            #expect(try names(each) == ["a/\(fixture.name(of: 5))", "b/\(fixture.name(of: 3))"])
            let listing = try #require(try each.list().first { $0.instance == "b" })
            #expect(listing.position == 3 && listing.metadata == Data(#"{"users":1}"#.utf8))
            #expect(try each.open(listing).data("users") == Data(fixture.bytes(100, seed: 3)))
        }
        #expect(try a.newestOwn()?.info.position == 5 && b.newestOwn()?.info.position == 3)
        #expect(try folder("c").newestOwn() == nil)
        _ = error(.locked) { _ = try folder("a") }
        // One that is gone is read like the others; what is no snapshot is no trouble.
        try Data().write(to: URL(fileURLWithPath: fixture.directory + "/notes"))
        try FileManager.default.createDirectory(
            atPath: fixture.directory + "/lost+found", withIntermediateDirectories: true)
        a.removeOwn(name: fixture.name(of: 5))
        #expect(try names(b) == ["b/\(fixture.name(of: 3))"])
        #expect(try SharedSnapshotFolder.snapshots(in: fixture.directory).map(\.instance) == ["b"])
        #expect(try SharedSnapshotFolder.snapshots(in: fixture.directory + "/b").map(\.info.position) == [3])
    }

    /// Parts stand beside one another and beside a whole one of the same position, which is the newest.
    @Test func partsOfOnePosition() throws {
        let a = try folder("a")
        func part(_ seed: Int) -> SnapshotContent {
            SnapshotContent(
                position: 8, metadata: Data("{}".utf8),
                sections: [
                    SnapshotSection(
                        name: "users", regions: [UnsafeRawBufferPointer(fixture.bytes(50, seed: seed))])
                ], weights: [], isPart: true)
        }
        // A whole one that is on its way is not waited for.
        try a.begin(fixture.endless(position: 7))
        let written = try [21, 22, 23].map { try a.write(part($0)).name }
        #expect(a.isWriting)
        a.cancel()
        _ = a.poll()
        let name = fixture.name(of: 8)
        let parts = (1...3).map { "\(name)-part-\($0)" }
        #expect(written == parts)
        #expect(try a.newestOwn()?.data("users") == Data(fixture.bytes(50, seed: 23)))
        _ = try a.write(fixture.content(position: 8))
        #expect(try names(a) == ([name] + parts).map { "a/\($0)" })
        #expect(try a.newestOwn()?.info.name == name)
        let first = try #require(try a.list().first { $0.name.hasSuffix("-1") })
        #expect(try a.open(first).data("users") == Data(fixture.bytes(50, seed: 21)))
        for odd in ["\(name)-part-0", "\(name)-part-", "\(name)-part-01", "\(name)-part-1-part-2"] {
            #expect(SnapshotName.position(of: odd) == nil, "\(odd)")
        }
    }

    /// A part that is handed over while a whole one of an earlier position is on its way is not what had been given up.
    @Test func partsWrittenMeanwhileStay() throws {
        let a = try folder("a")
        _ = try a.write(fixture.content(position: 9))
        try a.begin(fixture.content(position: 7))
        let part = SnapshotContent(
            position: 8, metadata: Data("{}".utf8),
            sections: [SnapshotSection(name: "users", regions: [UnsafeRawBufferPointer(fixture.bytes(50))])],
            weights: [], isPart: true)
        let name = try a.write(part).name
        #expect(a.finish().info?.position == 7)
        #expect(try names(a) == ["a/\(fixture.name(of: 7))", "a/\(name)"], "9 had been given up when 7 was begun")
    }

    /// Another instance removes its snapshot while it is read: it is missing, not damaged.
    @Test func removedWhileItIsRead() throws {
        let (a, b) = (try folder("a"), try folder("b"))
        _ = try a.write(fixture.content(position: 1))
        let listing = try #require(try b.list().first)
        let open = try b.open(listing)
        let early = try b.open(listing)
        let copy = try early.data("users")
        a.removeOwn(name: listing.name)
        try waitUntil { (try? FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/a"))?.count == 1 }
        _ = error(.missing) { _ = try open.data("users") }
        _ = error(.missing) { _ = try b.open(listing) }
        #expect(try early.data("users") == copy && copy.count == 100, "what was read stays")
    }

    /// What is damaged is found when it is read, and not before.
    @Test func sectionsAreVerifiedWhenTheyAreRead() throws {
        let (log, a) = (LogLines(), try folder("a"))
        _ = try a.write(fixture.content(position: 1))
        _ = try a.write(fixture.content(position: 2))
        let b = try folder("b", log: log)
        let path = "\(fixture.directory)/a/\(fixture.name(of: 1))"
        try fixture.flip("\(path)/users.bin", at: 7)
        let listing = try #require(try b.list().first { $0.position == 1 })
        _ = error(.corrupt) { _ = try b.open(listing).data("users") }
        _ = error(.missing) { _ = try b.open(listing).data("nothing") }
        try fixture.flip("\(fixture.directory)/a/\(fixture.name(of: 2))/manifest.json", at: 30)
        let c = try folder("c", log: log)
        #expect(try c.list().map(\.position) == [1] && c.list().count == 1)
        #expect(log.all.count == 1 && log.all[0].contains("damaged"), "said once: \(log.all)")
    }

    /// A snapshot under the name of an older one is another.
    @Test func whatTookAnothersPlaceIsReadAnew() throws {
        let a = try folder("a")
        _ = try a.write(fixture.content(position: 4))
        #expect(try a.list().map(\.metadata) == [Data(#"{"users":1}"#.utf8)])
        _ = try a.write(SnapshotContent(position: 4, metadata: Data(#"{"users":2}"#.utf8), sections: [], weights: []))
        #expect(try a.list().map(\.metadata) == [Data(#"{"users":2}"#.utf8)])
    }

    @Test func snapshotsOfEarlierVersionsAreNotOverlooked() throws {
        _ = try fixture.store().write(fixture.content(position: 6))
        let found = error(.corrupt) { _ = try folder("a") }
        #expect(found?.advice.contains("\(fixture.directory)/a/\(fixture.name(of: 6))") == true)
    }
}
