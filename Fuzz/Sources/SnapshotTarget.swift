import CEventParser
import CSnapshot
import Engine
import Foundation
import Logging
import SnapshotStore

/// Snapshots as they lie on disk. The first byte says what is done with the rest:
/// 0: it is the manifest; 1: it is the manifest, whose checksum is made right; 2: it replaces the engine's description,
/// with everything else right; 3: it replaces a part of a section, with its checksum right.
/// What is damaged is refused; what is whole is restored, or refused by the engine.
struct SnapshotTarget {
    private let folder = Scratch()
    private let name: String
    private let manifest: [UInt8]
    private let sections: [(name: String, bytes: [UInt8])]
    private let metadata: Data
    private let store: SnapshotStore
    private let configuration: EngineConfiguration

    init() {
        var c = EngineConfiguration()
        (c.model.units, c.model.hidden, c.model.categoryBuckets, c.model.crossBuckets) = (16, 16, 2, 2)
        (c.model.typeEmbedding, c.model.categoryEmbedding, c.model.crossEmbedding) = (1, 1, 1)
        (c.learning.maxLandmarks, c.learning.prequentialWindow) = (1024, 8)
        configuration = c
        store = try! SnapshotStore(
            directory: folder.path, keep: 3, logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() })
        let engine = Self.engine(c)
        engine.addTask(TaskID(topic: 0, partition: 0))
        Self.live(engine)
        let image = engine.image()
        metadata = try! JSONEncoder.lenient.encode(image.metadata)
        sections = image.sections.map { s in (s.name, s.regions.flatMap { Array($0) }) }
        let info = try! Self.write(image.metadata.position, metadata, sections, to: store)
        name = info.path
        manifest = Array(FileManager.default.contents(atPath: "\(info.path)/manifest.json")!)
    }

    private static func engine(_ c: EngineConfiguration) -> Engine {
        Engine(configuration: c, topics: ["events"], partitions: 1, executor: SerialExecutor())
    }

    /// Some users, one of them with a long name, and their landmarks: the events of a range.
    private static func live(_ engine: Engine, _ range: Range<Int> = 0..<60) {
        let users = ["a", "b", String(repeating: "long", count: 20), "later"].map { Array($0.utf8) }
        for i in range {
            users[i < 60 ? i % 3 : i % 4].withUnsafeBufferPointer { user in
                var e = clvd_event()
                e.offset = Int64(i)
                e.time_ms = 1_704_067_200_000 + Int64(i) * 43_200_000
                (e.user, e.user_length) = (user.baseAddress, UInt32(user.count))
                e.type = UInt8((i % 4 == 0 ? clvd_type_purchase : clvd_type_view).rawValue)
                e.amount = i % 4 == 0 ? 10 : 0
                e.event_id_hash = UInt64(i + 1)
                withUnsafePointer(to: e) { engine.step(UnsafeBufferPointer(start: $0, count: 1)) }
            }
        }
    }

    private static func write(
        _ position: Int64, _ metadata: Data, _ sections: [(name: String, bytes: [UInt8])], to store: SnapshotStore
    ) throws -> SnapshotInfo {
        let copies = sections.map { s in
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, s.bytes.count), alignment: 16)
            copy.copyBytes(from: s.bytes)
            return (name: s.name, all: copy, bytes: UnsafeRawBufferPointer(rebasing: copy[..<s.bytes.count]))
        }
        defer { for c in copies { c.all.deallocate() } }
        return try store.write(
            SnapshotContent(
                position: position, metadata: metadata,
                sections: copies.map { SnapshotSection(name: $0.name, regions: [$0.bytes]) }, weights: []))
    }

    func run(_ input: UnsafeRawBufferPointer) {
        guard input.count > 1 else { return }
        let rest = UnsafeRawBufferPointer(rebasing: input[1...])
        switch input[0] % 4 {
        case 0: open(rest)
        case 1:
            var text = [CChar](repeating: 0, count: Int(CLVD_CHECKSUM_LENGTH) + 1)
            clvd_snapshot_checksum(rest.baseAddress, rest.count, &text)
            let checksum = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            (Array(rest) + checksum + Array("\"}\n".utf8)).withUnsafeBytes(open)
        case 2: restore(Data(rest), sections)
        default: replace(rest)
        }
    }

    /// The manifest as it is.
    private func open(_ bytes: UnsafeRawBufferPointer) {
        let file = "\((name as NSString).lastPathComponent)/manifest.json"
        _ = folder.write(bytes, to: file)
        defer { _ = manifest.withUnsafeBytes { folder.write($0, to: file) } }
        do { _ = try SnapshotStore.open(path: name).metadata } catch let error as SnapshotError {
            precondition(!error.description.isEmpty)
        } catch { fatalError("\(error)") }
    }

    private func replace(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 3 else { return }
        var changed = sections
        let i = Int(bytes[0]) % changed.count
        guard !changed[i].bytes.isEmpty else { return }
        let at = (Int(bytes[1]) << 8 | Int(bytes[2])) % changed[i].bytes.count
        for (k, byte) in bytes.dropFirst(3).enumerated() where at + k < changed[i].bytes.count {
            changed[i].bytes[at + k] = byte
        }
        restore(metadata, changed)
    }

    /// Whole on disk, whatever it says.
    private func restore(_ metadata: Data, _ sections: [(name: String, bytes: [UInt8])]) {
        do {
            let description = try JSONDecoder.lenient.decode(EngineImage.Metadata.self, from: metadata)
            let byName = Dictionary(uniqueKeysWithValues: sections.map { ($0.name, $0.bytes) })
            var held: [UnsafeMutableRawBufferPointer] = []
            defer { for h in held { h.deallocate() } }
            let engine = Self.engine(configuration)
            try engine.restore(description) { name in
                guard let bytes = byName[name] else { throw SnapshotMismatch("no section \(name)") }
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
                copy.copyBytes(from: bytes)
                held.append(copy)
                return UnsafeRawBufferPointer(copy)
            }
            // It goes on: events half a day apart for weeks, with their timers, and then silence.
            guard engine.taskIDs == [TaskID(topic: 0, partition: 0)] else { return }
            Self.live(engine, 60..<130)
            engine.tick(to: 1_704_067_200_000 + 150 * 43_200_000)
            _ = engine.report()
            _ = engine.image()
        } catch is SnapshotMismatch, is DecodingError {
            return
        } catch { fatalError("\(error)") }
    }
}

extension JSONDecoder {
    /// As `EngineSnapshot` reads.
    fileprivate static var lenient: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return decoder
    }
}

extension JSONEncoder {
    fileprivate static var lenient: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return encoder
    }
}
