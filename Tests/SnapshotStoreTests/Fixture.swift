import Foundation
import Logging
import SnapshotStore
import Synchronization
import Testing

/// A folder of its own for one test, and memory that becomes sections of snapshots.
final class Fixture {
    let folder: String
    private var memory: [UnsafeMutableRawBufferPointer] = []

    init() {
        folder = NSTemporaryDirectory() + "clvd-snapshots-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit {
        for piece in memory { piece.deallocate() }
        try? FileManager.default.removeItem(atPath: folder)
    }

    var directory: String { folder + "/snapshots" }

    func store(keep: Int = 3, log: LogLines = LogLines()) throws -> SnapshotStore {
        try SnapshotStore(directory: directory, keep: keep, logger: log.logger)
    }

    /// Memory with bytes that depend on the seed.
    func bytes(_ count: Int, seed: Int = 1) -> UnsafeMutableRawBufferPointer {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        memory.append(piece)
        for i in 0..<count / 8 {
            piece.storeBytes(of: UInt64(i &+ seed) &* 0x9E37_79B9_7F4A_7C15, toByteOffset: i * 8, as: UInt64.self)
        }
        for i in count / 8 * 8..<count { piece[i] = UInt8(truncatingIfNeeded: i &* 31 &+ seed) }
        return piece
    }

    func floats(_ values: [Float]) -> UnsafeBufferPointer<Float> {
        let piece = bytes(values.count * 4)
        values.withUnsafeBytes { piece.copyMemory(from: $0) }
        return UnsafeBufferPointer(piece.bindMemory(to: Float.self))
    }

    /// One small section.
    func content(position: Int64, count: Int = 100) -> SnapshotContent {
        content(position: position, bytes(count, seed: Int(position)))
    }

    func content(position: Int64, _ bytes: UnsafeMutableRawBufferPointer) -> SnapshotContent {
        SnapshotContent(
            position: position, metadata: Data(#"{"users":1}"#.utf8),
            sections: [SnapshotSection(name: "users", regions: [UnsafeRawBufferPointer(bytes)])], weights: [])
    }

    /// Names in the folder, sorted, without the lock.
    var names: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).filter { $0 != ".lock" }.sorted()
    }

    func path(of position: Int64, _ file: String? = nil) -> String {
        directory + "/" + name(of: position) + (file.map { "/" + $0 } ?? "")
    }

    func name(of position: Int64) -> String { "snapshot-" + String(format: "%020lld", position) }

    /// Changes one byte of a file in place.
    func flip(_ path: String, at offset: Int, by mask: UInt8 = 1) throws {
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try file.seek(toOffset: UInt64(offset))
        let byte = try #require(try file.read(upToCount: 1))[0]
        try file.seek(toOffset: UInt64(offset))
        try file.write(contentsOf: Data([byte ^ mask]))
        try file.close()
    }
}

/// What was logged, `level message name reason`.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    var logger: Logger { Logger(label: "test") { _ in Handler(log: self) } }

    struct Handler: LogHandler {
        let log: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            let details = ["name", "reason"].compactMap { event.metadata?[$0]?.description }
            log.lines.withLock { $0.append((["\(event.level)", "\(event.message)"] + details).joined(separator: " ")) }
        }
    }
}

/// The error of a kind that a call throws.
func error(_ kind: SnapshotError.Kind, _ body: () throws -> Void, at location: SourceLocation = #_sourceLocation)
    -> SnapshotError?
{
    let error = #expect(throws: SnapshotError.self, sourceLocation: location) { try body() }
    #expect(error?.kind == kind, "\(error.map(String.init(describing:)) ?? "none")", sourceLocation: location)
    return error
}
