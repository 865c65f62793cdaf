import Foundation
import SnapshotStore
import Testing

/// What the loop relies on in a `SnapshotRepository`, whatever it is made of. A new kind of store passes `check()`.
struct SnapshotRepositoryConformance {
    /// Opens the store as an instance, at most once for each name. The store is empty at the first call.
    let open: (_ instance: String) throws -> any SnapshotRepository
    private let fixture = Fixture()

    init(open: @escaping (_ instance: String) throws -> any SnapshotRepository) { self.open = open }

    func check() throws {
        let (a, b) = (try open("a"), try open("b"))
        try nothingIsThereAtFirst(a)
        try theFirstSaysWhoseItIs(a, b)
        try whatIsWrittenIsReadByAll(a, b)
        try writesBesideTheStream(try open("c"))
        try partsStandBesideWholeOnes(try open("d"))
        try aWriteReplacesLaterPositions(try open("e"))
        try aCancelledWriteFails(try open("f"))
        try removedSnapshotsAreMissing(try open("g"), reader: a)
    }

    private func content(
        position: Int64, _ regions: [[UInt8]] = [[1, 2, 3]], metadata: String = "{}", isPart: Bool = false
    ) -> SnapshotContent {
        let regions = regions.map { region in
            let memory = fixture.bytes(region.count)
            memory.copyBytes(from: region)
            return UnsafeRawBufferPointer(memory)
        }
        return SnapshotContent(
            position: position, metadata: Data(metadata.utf8),
            sections: [SnapshotSection(name: "users", regions: regions), SnapshotSection(name: "none", regions: [])],
            weights: [SnapshotTensor(name: "w", shape: [2, 1], values: fixture.floats([1, 2]))], isPart: isPart)
    }

    private func own(_ repository: any SnapshotRepository) throws -> [SnapshotListing] {
        try repository.list().filter { $0.instance == repository.instance }.sorted(by: SnapshotListing.isOlder)
    }

    private func bytes(_ snapshot: Snapshot, _ section: String) throws -> [UInt8] {
        try withExtendedLifetime(snapshot) { try Array(snapshot.section(section)) }
    }

    private func nothingIsThereAtFirst(_ a: any SnapshotRepository) throws {
        #expect(a.instance == "a")
        #expect(try a.list().isEmpty && a.newestOwn() == nil)
        #expect(!a.isWriting && a.poll() == nil && a.finish() == nil)
    }

    private func theFirstSaysWhoseItIs(_ a: any SnapshotRepository, _ b: any SnapshotRepository) throws {
        let first = StoreOwner(group: "g", cluster: "c", topics: ["events", "ä/\""])
        #expect(try a.claim(first) == first)
        let second = StoreOwner(group: "h", cluster: nil, topics: [])
        #expect(try b.claim(second) == first && a.claim(second) == first)
        try b.setOwner(second)
        #expect(try a.claim(first) == second && b.claim(first) == second)
        #expect(try a.list().isEmpty)
    }

    private func whatIsWrittenIsReadByAll(_ a: any SnapshotRepository, _ b: any SnapshotRepository) throws {
        let metadata = #"{"b": [1,  2], "a":"ä"}"#
        let info = try a.write(content(position: 5, [[1, 2], [], [3]], metadata: metadata))
        _ = try b.write(content(position: 9, [[9]]))
        #expect(info.position == 5 && !a.isWriting)
        for each in [a, b] {
            #expect(try Set(each.list().map(\.instance)) == ["a", "b"])
            let listing = try #require(try each.list().first { $0.instance == "a" })
            #expect(listing.name == info.name && listing.position == 5 && listing.metadata == Data(metadata.utf8))
            let snapshot = try each.open(listing)
            #expect(snapshot.info.position == 5 && snapshot.info.name == info.name)
            #expect(snapshot.metadata == Data(metadata.utf8) && snapshot.sectionNames == ["users", "none"])
            #expect(try bytes(snapshot, "users") == [1, 2, 3] && bytes(snapshot, "none").isEmpty)
            let first = try snapshot.section("users").baseAddress
            #expect(try snapshot.section("users").baseAddress == first, "a section stays where it is")
            #expect(Int(bitPattern: first) % 4096 == 0, "a section is aligned to a page")
            _ = error(.missing) { _ = try snapshot.section("other") }
        }
        #expect(try bytes(#require(try a.newestOwn()), "users") == [1, 2, 3])
        #expect(try bytes(#require(try b.newestOwn()), "users") == [9])
        // A whole one replaces an older whole one of its position.
        _ = try a.write(content(position: 5, [[7]]))
        #expect(try own(a).count == 1)
        #expect(try bytes(#require(try a.newestOwn()), "users") == [7])
        _ = try a.write(content(position: 6))
        #expect(try own(a).map(\.position) == [5, 6] && a.newestOwn()?.info.position == 6)
    }

    private func writesBesideTheStream(_ c: any SnapshotRepository) throws {
        let memory = fixture.bytes(3)
        memory.copyBytes(from: [1, 2, 3])
        try c.begin(fixture.content(position: 4, memory))
        memory.copyBytes(from: [0, 0, 0])  // the memory is the caller's again
        #expect(c.isWriting)
        let outcome = c.finish()
        #expect(outcome.info?.position == 4)
        #expect(!c.isWriting && c.poll() == nil && c.finish() == nil)
        #expect(try bytes(#require(try c.newestOwn()), "users") == [1, 2, 3])
        try c.begin(fixture.content(position: 5, memory))
        var polled: SnapshotOutcome?
        try waitUntil {
            polled = c.poll()
            return polled != nil
        }
        #expect(polled.info?.position == 5 && !c.isWriting)
    }

    private func partsStandBesideWholeOnes(_ d: any SnapshotRepository) throws {
        try d.begin(content(position: 3))
        let names = try [21, 22].map { try d.write(content(position: 8, [[$0]], isPart: true)).name }
        #expect(d.finish().info?.position == 3)
        #expect(Set(names).count == 2)
        #expect(try bytes(#require(try d.newestOwn()), "users") == [22])
        let whole = try d.write(content(position: 8, [[23]])).name
        #expect(try own(d).map(\.name).suffix(3) == names + [whole], "the whole one is newer than its parts")
        #expect(try bytes(#require(try d.newestOwn()), "users") == [23])
    }

    /// The stream began anew before them, so that a restart must not find them.
    private func aWriteReplacesLaterPositions(_ e: any SnapshotRepository) throws {
        _ = try e.write(content(position: 9))
        _ = try e.write(content(position: 7))
        #expect(try own(e).map(\.position) == [7])
    }

    private func aCancelledWriteFails(_ f: any SnapshotRepository) throws {
        _ = try f.write(content(position: 1))
        f.cancel()
        #expect(f.poll() == nil, "there was nothing to cancel")
        try f.begin(content(position: 2))
        f.cancel()
        #expect(!f.isWriting)
        #expect(f.finish().error?.kind == .cancelled)
        #expect(f.poll() == nil)
        #expect(try own(f).contains { $0.position == 1 })
    }

    private func removedSnapshotsAreMissing(_ g: any SnapshotRepository, reader: any SnapshotRepository) throws {
        let info = try g.write(content(position: 1))
        let listing = try #require(try own(g).first)
        let early = try reader.open(listing)
        #expect(try bytes(early, "users") == [1, 2, 3])
        let late = try reader.open(listing)
        g.removeOwn(name: info.name)
        #expect(try own(g).isEmpty && reader.list().allSatisfy { $0.instance != "g" })
        #expect(try g.newestOwn() == nil)
        _ = error(.missing) { _ = try reader.open(listing) }
        #expect(try bytes(early, "users") == [1, 2, 3], "what was read stays")
        // What was not read is there or missing, never damaged.
        do { #expect(try bytes(late, "users") == [1, 2, 3]) } catch let error as SnapshotError {
            #expect(error.kind == .missing)
        }
    }
}

@Suite struct SnapshotRepositoryConformanceTests {
    @Test func theSharedFolderConforms() throws {
        let fixture = Fixture()
        try SnapshotRepositoryConformance {
            try SharedSnapshotFolder(directory: fixture.directory, instance: $0, logger: LogLines().logger)
        }.check()
    }

    @Test func aStoreInMemoryConforms() throws {
        let store = MemoryStore()
        try SnapshotRepositoryConformance { MemoryRepository(store, instance: $0) }.check()
    }
}
