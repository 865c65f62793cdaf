import Foundation
import SnapshotStore
import Testing

@Suite("What was written is read")
struct RoundTripTests {
    let fixture = Fixture()

    /// More regions than one, of sizes around those at which the writer gathers and cuts; empty ones among them.
    @Test(arguments: [true, false])
    func sectionsOfManyRegions(forked: Bool) throws {
        let sizes = [0, 1, 7, 65_535, 65_536, 65_537, 0, 3, 1 << 20, (1 << 20) + 1, 40_000, 40_000, 3_000_000, 5]
        let regions = sizes.enumerated().map { UnsafeRawBufferPointer(fixture.bytes($1, seed: $0)) }
        let metadata = Data(
            #"{"text":"quotes \" and ,\"files\":[ ,\"metadata\":{ \u00e9 / é","n":18446744073709551615,"files":[1]}"#
                .utf8)
        let odd = String(repeating: "task-/../\"\n", count: 40)
        let content = SnapshotContent(
            position: 42, metadata: metadata,
            sections: [
                SnapshotSection(name: "many", regions: regions), SnapshotSection(name: "none", regions: []),
                SnapshotSection(name: "empty", regions: [regions[0]]),
                SnapshotSection(name: "small", regions: [regions[1], regions[2], regions[0], regions[7]]),
                SnapshotSection(name: odd, regions: [regions[2]]), SnapshotSection(name: "..", regions: [regions[1]]),
                SnapshotSection(name: ",\"metadata\":", regions: []),
            ], weights: [])
        let store = try fixture.store()
        let before = Date()
        let info: SnapshotInfo
        if forked {
            try store.begin(content)
            #expect(store.isWriting)
            guard case .written(let written, let seconds)? = store.finish() else {
                Issue.record("not written")
                return
            }
            #expect(seconds > 0 && seconds < 60)
            #expect(!store.isWriting && store.poll() == nil)
            info = written
        } else {
            info = try store.write(content)
        }
        #expect(info.position == 42 && info.name == fixture.name(of: 42) && info.path == fixture.path(of: 42))
        #expect(abs(info.createdAt.timeIntervalSince(before)) < 60)

        let snapshot = try SnapshotStore.open(path: fixture.path(of: 42))
        #expect(snapshot.info == info)
        #expect(snapshot.metadata == metadata)
        #expect(snapshot.sectionNames == ["many", "none", "empty", "small", odd, "..", ",\"metadata\":"])
        #expect(try Data(snapshot.section("many")) == regions.reduce(Data()) { $0 + Data($1) })
        #expect(try snapshot.section("none").isEmpty && snapshot.section("empty").isEmpty)
        #expect(try Data(snapshot.section("small")) == Data(regions[1]) + Data(regions[2]) + Data(regions[7]))
        #expect(try Data(snapshot.section(odd)) == Data(regions[2]))
        #expect(try snapshot.section("many").baseAddress.map { UInt(bitPattern: $0) % 4096 } == 0)
        #expect(error(.missing) { _ = try snapshot.section("many.bin") }?.reason.contains("many.bin") == true)
        let total = try FileManager.default.contentsOfDirectory(atPath: info.path).reduce(Int64(0)) {
            $0 + Int64(try Data(contentsOf: URL(fileURLWithPath: info.path + "/" + $1)).count)
        }
        #expect(info.bytes == total)
        #expect(try store.snapshots() == [info])
        #expect(try store.newest()?.info == info)
        #expect(fixture.names == [info.name])
    }
}
