import EventInput
import Foundation
import Testing

@testable import SchemaRegistry

/// Schemas that stay on disk.
@Suite struct Cache {
    private let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path

    private func files() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted().map { "\(folder)/\($0)" }
    }

    /// The registry gives each schema once; afterwards there is the folder, for a new client as well.
    @Test func aRestartNeedsNoRegistry() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let answer =
            #"{"schema": "a", "schemaType": "PROTOBUF", "references": [{"name": "n.proto", "subject": "b", "version": 1}]}"#
        let standIn = try StandIn([
            "/schemas/ids/7": (200, answer), "/subjects/b/versions/1": (200, #"{"schema": "b"}"#),
        ])
        let expected = WriterSchema(type: "PROTOBUF", text: "a", references: [.init(name: "n.proto", text: "b")])
        for _ in 0..<2 {
            #expect(try SchemaRegistry(url: standIn.url, auth: "", cache: folder).schema(id: 7) == expected)
        }
        #expect(throws: SchemaUnavailable.self) {
            try SchemaRegistry(url: standIn.url, auth: "", cache: folder).schema(id: 8)
        }
        // Another registry has other schemas.
        #expect(throws: SchemaUnavailable.self) {
            try SchemaRegistry(url: "http://127.0.0.1:1", auth: "", cache: folder).schema(id: 7)
        }
        #expect(try files().count == 1)
    }

    /// Every byte that is changed, and every length that is cut, is noticed.
    @Test func aDamagedFileIsFetchedAgain() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let schema = WriterSchema(type: "AVRO", text: "int", references: [])
        var warnings: [String] = []
        let cache = SchemaCache(folder: folder, url: "http://r") { warnings.append($0) }
        cache.keep(schema, id: 7)
        #expect(cache.schema(id: 7) == schema && cache.schema(id: 8) == nil && warnings.isEmpty)
        let path = try #require(try files().first)
        let sound = try #require(FileManager.default.contents(atPath: path))
        for at in sound.indices {
            var damaged = sound
            damaged[at] ^= 1
            try damaged.write(to: URL(fileURLWithPath: path))
            #expect(cache.schema(id: 7) == nil)
            try sound[..<at].write(to: URL(fileURLWithPath: path))
            #expect(cache.schema(id: 7) == nil)
        }
        #expect(warnings.count == 2 * sound.count && warnings[0].contains("is damaged; it is fetched again"))
        // The schema of another id in its place.
        try sound.write(to: URL(fileURLWithPath: path))
        try FileManager.default.copyItem(atPath: path, toPath: String(path.dropLast()) + "9")
        #expect(cache.schema(id: 9) == nil && cache.schema(id: 7) == schema)
        let standIn = try StandIn(["/schemas/ids/1": (200, #"{"schema": "x"}"#)])
        let other = SchemaCache(folder: folder, url: standIn.url) { _ in }
        other.keep(schema, id: 1)
        let file = try #require(try files().first { $0.hasSuffix("-1") })
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: file))
        #expect(try SchemaRegistry(url: standIn.url, auth: "", cache: folder).schema(id: 1).text == "x")
        #expect(SchemaCache(folder: folder, url: standIn.url) { _ in }.schema(id: 1)?.text == "x")
    }

    @Test func theOldestGo() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let cache = SchemaCache(folder: folder, url: "http://r") { _ in }
        for id in 0..<UInt32(SchemaCache.mostFiles + 5) {
            cache.keep(WriterSchema(type: "AVRO", text: "\(id)", references: []), id: id)
        }
        #expect(try files().count == SchemaCache.mostFiles)
        #expect(cache.schema(id: 4) == nil && cache.schema(id: 5) != nil)
        let large = String(repeating: "x", count: SchemaCache.mostBytes / 3)
        for id in 5000..<UInt32(5003) { cache.keep(WriterSchema(type: "AVRO", text: large, references: []), id: id) }
        #expect(try files().count == 2 && cache.schema(id: 5002)?.text == large)
    }

    @Test func aFolderThatCannotBeWrittenIsSaidOnce() throws {
        var warnings: [String] = []
        let cache = SchemaCache(folder: "/proc/none", url: "http://r") { warnings.append($0) }
        for id in 0..<UInt32(3) { cache.keep(WriterSchema(type: "AVRO", text: "", references: []), id: id) }
        #expect(warnings.count == 1 && warnings[0].contains("input.registry.cache"))
    }
}
