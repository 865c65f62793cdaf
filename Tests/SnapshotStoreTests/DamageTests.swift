import Foundation
import Testing

@testable import SnapshotStore

@Suite("What was damaged is refused")
struct DamageTests {
    let fixture = Fixture()

    /// A snapshot of every kind of file, small enough to damage each of its bytes.
    func small(position: Int64 = 7) throws -> SnapshotInfo {
        let a = fixture.bytes(40)
        let b = fixture.bytes(33, seed: 2)
        return try fixture.store().write(
            SnapshotContent(
                position: position, metadata: Data(#"{"offsets":{"events/0":12},"text":"a\"b"}"#.utf8),
                sections: [
                    SnapshotSection(name: "a", regions: [UnsafeRawBufferPointer(a), UnsafeRawBufferPointer(b)]),
                    SnapshotSection(name: "empty", regions: []),
                ],
                weights: [SnapshotTensor(name: "w", shape: [2, 1], values: fixture.floats([1, -2]))]))
    }

    static let names = ["manifest.json", "a.bin", "empty.bin", "weights.safetensors"]

    @Test(arguments: names) func everyChangedByte(name: String) throws {
        let info = try small()
        let path = "\(info.path)/\(name)"
        let count = try Data(contentsOf: URL(fileURLWithPath: path)).count
        #expect((count == 0) == (name == "empty.bin"))
        for offset in 0..<count {
            for mask: UInt8 in [0x01, 0x20, 0x80] {
                try fixture.flip(path, at: offset, by: mask)
                let found = #expect(throws: SnapshotError.self, "byte \(offset)") {
                    try SnapshotStore.open(path: info.path)
                }
                #expect(found?.kind == .corrupt)
                try fixture.flip(path, at: offset, by: mask)
            }
        }
        #expect(try SnapshotStore.open(path: info.path).info == info)
    }

    @Test(arguments: names) func everyOtherLengthAndNoFileAtAll(name: String) throws {
        let info = try small()
        let path = "\(info.path)/\(name)"
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        let cut = (0..<whole.count).map { whole.prefix($0) }
        for damaged in cut + [whole + [0], whole + Data("\n".utf8), whole + whole + [1]] {
            try damaged.write(to: URL(fileURLWithPath: path))
            _ = error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }
        }
        try FileManager.default.removeItem(atPath: path)
        let missing = error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }
        #expect(missing?.reason == "\(name) is missing")
        // Things that are no file: a link to the right bytes, a pipe that would block, a folder.
        let aside = fixture.folder + "/aside"
        try whole.write(to: URL(fileURLWithPath: aside))
        symlink(aside, path)
        _ = error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }
        unlink(path)
        mkfifo(path, 0o600)
        _ = error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }
        unlink(path)
        mkdir(path, 0o700)
        _ = error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }
        rmdir(path)
        try whole.write(to: URL(fileURLWithPath: path))
        #expect(try SnapshotStore.open(path: info.path).info == info)
    }

    /// Manifests whose checksum fits, yet which say what cannot be.
    @Test func hostileManifests() throws {
        let info = try small()
        let path = URL(fileURLWithPath: "\(info.path)/manifest.json")
        let whole = String(decoding: try Data(contentsOf: path), as: UTF8.self)
        func attempt(_ text: String) throws {
            let covered = Data(text.utf8)
            try (covered + Data("\(Manifest.checksum(covered))\"}\n".utf8)).write(to: path)
            _ = try SnapshotStore.open(path: info.path)
        }
        let head = String(whole.dropLast(35))
        try attempt(head)  // the checksum is as the writer makes it
        let file = #"{"name":"a.bin","bytes":73"#
        for (old, new) in [
            (#""format":1"#, #""format":2"#), (#""format":1"#, #""format":"1""#), (#"{"format":1,"#, "{"),
            (#""position":7"#, #""position":8"#), (#""position":7"#, #""position":-7"#),
            (#""position":7"#, #""position":9999999999999999999"#), (#""position":7"#, #""position":7.5"#),
            (#""createdAt":"2"#, #""createdAt":"x2"#), (#"["a","empty"]"#, #"["a"]"#),
            (#"["a","empty"]"#, #"["a","a"]"#),
            (#"["a","empty"]"#, #"["a","empty","b"]"#), (#"["a","empty"]"#, #"["a","../a"]"#),
            (#"["a","empty"]"#, "null"),
            (file, #"{"name":"../a.bin","bytes":73"#), (file, #"{"name":"/etc/passwd","bytes":73"#),
            (file, #"{"name":"empty.bin","bytes":73"#), (file, #"{"name":"..","bytes":73"#),
            (file, #"{"name":"","bytes":73"#), (file, #"{"name":"a.bin","bytes":-73"#),
            (file, #"{"name":"a.bin","bytes":9223372036854775807"#), (file, #"{"name":"a.bin","bytes":74"#),
            (file, #"{"name":"a.bin","bytes":1e400"#), (#","metadata":{"#, #","metadatum":{"#),
            (#""metadata":{"offsets":{"events/0":12},"text":"a\"b"}"#, #""metadata":[]"#),
            (#""metadata":{"#, #""metadata":\#(String(repeating: "[", count: 100_000))"#),
            (#","files":["#, #","files":{"#), (#","files":["#, #","files":[{},"#),
            (#","checksum":""#, #","checksum":"x"#),
            ("{", ""), ("{", "["), ("{", "\0{"),
        ] {
            let range = try #require(head.range(of: old), "\(old)")
            let found = #expect(throws: SnapshotError.self, "\(new.prefix(60))") {
                try attempt(head.replacingCharacters(in: range, with: new))
            }
            #expect(found?.kind == .corrupt)
        }
        try Data(whole.utf8).write(to: path)
        truncate(path.path, off_t(Manifest.maxBytes) + 1)
        #expect(error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }?.reason.contains("too large") == true)
        truncate(path.path, 1 << 40)
        _ = error(.corrupt) { _ = try SnapshotStore.open(path: info.path) }
    }

    @Test func theNewestWholeOneIsTaken() throws {
        let log = LogLines()
        let store = try fixture.store(keep: 5, log: log)
        #expect(try store.newest() == nil)
        #expect(try store.snapshots().isEmpty)
        for position: Int64 in [1, 20, 300] { _ = try store.write(fixture.content(position: position)) }
        #expect(try store.newest()?.info.position == 300)
        #expect(log.all.isEmpty)
        try fixture.flip(fixture.path(of: 300, "users.bin"), at: 5)
        #expect(try store.newest()?.info.position == 20)
        let line = "warning snapshot is damaged, trying the one before \(fixture.name(of: 300)) "
        #expect(log.all == [line + "the checksum of users.bin does not fit its content"])
        try FileManager.default.removeItem(atPath: fixture.path(of: 20, "manifest.json"))
        #expect(try store.newest()?.info.position == 1)
        // All of them are listed all the same.
        #expect(try store.snapshots().map(\.position) == [300, 20, 1])
        #expect(try SnapshotStore.snapshots(in: fixture.directory + "/") == store.snapshots())
        try fixture.flip(fixture.path(of: 1, "manifest.json"), at: 0)
        let none = error(.corrupt) { _ = try store.newest() }
        #expect(none?.path == fixture.directory && none?.reason == "none of the 3 snapshots is whole")
    }

    @Test func otherNamesAreNoSnapshots() throws {
        let store = try fixture.store()
        _ = try store.write(fixture.content(position: 5))
        for name in ["snapshot-6", "snapshot-+0000000000000000006", "snapshot-99999999999999999999", "Snapshot-", "x"] {
            mkdir(fixture.directory + "/" + name, 0o700)
        }
        #expect(try store.snapshots().map(\.position) == [5])
        // A copy under another name is one, under the name of another position it is not.
        try FileManager.default.copyItem(atPath: fixture.path(of: 5), toPath: fixture.folder + "/copy")
        #expect(try SnapshotStore.open(path: fixture.folder + "/copy").info.position == 5)
        try FileManager.default.moveItem(atPath: fixture.path(of: 5), toPath: fixture.path(of: 6))
        _ = error(.corrupt) { _ = try SnapshotStore.open(path: fixture.path(of: 6)) }
        _ = error(.missing) { _ = try SnapshotStore.open(path: fixture.path(of: 5)) }
        _ = error(.missing) { _ = try SnapshotStore.snapshots(in: fixture.folder + "/nowhere") }
    }
}
