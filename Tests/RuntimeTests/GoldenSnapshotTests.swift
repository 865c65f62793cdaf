import CEventParser
import Engine
import EventInput
import Foundation
import Logging
import SnapshotStore
import TestSupport
import Testing

@testable import Runtime

/// Snapshots as each state format had them, with what came next: `Tests/Fixtures/snapshots`. This version goes on from
/// those that it reads, and says of the others what reads them.
@Suite struct GoldenSnapshotTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../Fixtures/snapshots").standardized
    private static let id = TaskID(topic: 0, partition: 0)
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// The formats that are kept.
    static let formats: [Int] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.compactMap { $0.hasPrefix("format-") ? Int($0.dropFirst(7)) : nil }.sorted()
    }()

    private static func path(_ format: Int, _ name: String = "") -> String {
        folder.appending(path: "format-\(format)/\(name)").path
    }

    // MARK: What came next

    /// What followed the snapshot when its format was the current one.
    private struct Expected: Codable, Equatable {
        /// The kernel variant that forecast.
        var kernels: String
        var outputs: [Output]
        /// Users afterwards, by name.
        var views: [UserView]

        struct Output: Codable, Equatable {
            var kind: String
            var key: String
            var value: String
        }
    }

    /// Takes in the records of a file after what the engine has.
    private static func goOn(_ engine: Engine, _ path: String, users: [String]) throws -> Expected {
        let format = try EventFormat.load("native")
        let file = try EventFile(path: path, format: format, limits: InputLimits(), currency: CurrencyTable())
        var outputs: [Expected.Output] = []
        var next = try #require(engine.nextOffset(id))
        // In steps of uneven sizes: they decide nothing.
        while case let rows = try file.next(maximum: 37), !rows.isEmpty {
            var events = Array(rows)
            for i in events.indices {
                events[i].offset = next
                next += 1
            }
            events.withUnsafeBufferPointer { engine.step($0) }
            engine.forEachOutput { entry in
                outputs.append(
                    .init(
                        kind: "\(entry.kind)", key: String(decoding: entry.key, as: UTF8.self),
                        value: String(decoding: entry.value, as: UTF8.self)))
            }
        }
        return Expected(
            kernels: engine.kernels, outputs: outputs, views: users.compactMap { engine.view(of: $0) })
    }

    private static func engine(_ configuration: EngineConfiguration) -> Engine {
        Engine(configuration: configuration, topics: ["events"], partitions: 1, executor: WorkerPool(threads: 1))
    }

    /// Whole numbers and texts are the same; numbers that a model has had a hand in are alike, since kernels differ in
    /// their last bits.
    private static func expectAlike(_ found: String, _ expected: String, _ what: String) throws {
        func flat(_ text: String) throws -> [(path: String, value: Any)] {
            var flat: [(String, Any)] = []
            func add(_ path: String, _ value: Any) {
                switch value {
                case let object as [String: Any]:
                    for (key, value) in object.sorted(by: { $0.key < $1.key }) { add("\(path).\(key)", value) }
                case let list as [Any]: for (i, value) in list.enumerated() { add("\(path)[\(i)]", value) }
                default: flat.append((path, value))
                }
            }
            add(what, try JSONSerialization.jsonObject(with: Data(text.utf8)))
            return flat
        }
        let (a, b) = (try flat(found), try flat(expected))
        #expect(a.map(\.path) == b.map(\.path))
        let learned = /clv|probability|confidence|change|contribution|forecasts|value_at_risk|expected/
        for (x, y) in zip(a, b) {
            if let p = x.value as? Double, let q = y.value as? Double, x.path.contains(learned) {
                #expect(abs(p - q) <= 0.002 * max(abs(q), 1), "\(x.path): \(p) instead of \(q)")
            } else {
                #expect("\(x.value)" == "\(y.value)", "\(x.path)")
            }
        }
    }

    // MARK: Tests

    @Test func theCurrentFormatIsKept() {
        #expect(
            Self.formats.contains(StateFormat.current),
            "no Tests/Fixtures/snapshots/format-\(StateFormat.current); the README there says how to make it")
    }

    @Test(arguments: formats) func aSnapshotOfEachFormatIsReadOrExplained(format: Int) throws {
        let info = try #require(try SharedSnapshotFolder.snapshots(in: Self.path(format)).first?.info)
        let snapshot = try SnapshotStore.open(path: info.path)
        #expect(SnapshotShelf.format(snapshot.metadata) == format)
        guard StateFormat.isRead(format) else {
            let refused = #expect(throws: SnapshotMismatch.self) { try EngineSnapshot.metadata(snapshot) }
            #expect(refused?.description.contains("state format \(format)") == true)
            return
        }
        let metadata = try EngineSnapshot.metadata(snapshot)
        let engine = Self.engine(metadata.configuration)
        try engine.restore(metadata) { try snapshot.section($0) }
        let text = try Data(contentsOf: URL(filePath: Self.path(format, "expected.json")))
        let expected = try JSONDecoder().decode(Expected.self, from: text)
        #expect(expected.outputs.count >= 60 && expected.views.count == 4)
        let found = try Self.goOn(engine, Self.path(format, "next.jsonl"), users: expected.views.map(\.user))
        #expect(found.outputs.map(\.kind) == expected.outputs.map(\.kind))
        for (i, (a, b)) in zip(found.outputs, expected.outputs).enumerated() {
            #expect(a.key == b.key)
            try Self.expectAlike(a.value, b.value, "output \(i)")
        }
        for (a, b) in zip(found.views, expected.views) {
            func json(_ view: UserView) throws -> String {
                String(decoding: try JSONEncoder().encode(view), as: UTF8.self)
            }
            try Self.expectAlike(json(a), json(b), "user \(b.user)")
        }
    }

    /// Makes the snapshot of the current format, with what comes next. It is made once and never again.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["CLVD_WRITE_GOLDEN"] != nil, "CLVD_WRITE_GOLDEN is not set"))
    func writeTheCurrentFormat() throws {
        let format = StateFormat.current
        try #require(!FileManager.default.fileExists(atPath: Self.path(format)), "format \(format) is kept already")
        var configuration = EngineConfiguration.smallModel
        (configuration.model.hidden, configuration.model.typeEmbedding) = (16, 2)
        (configuration.model.categoryEmbedding, configuration.model.categoryBuckets) = (2, 8)
        (configuration.model.crossEmbedding, configuration.model.crossBuckets) = (2, 8)
        (configuration.learning.maxLandmarks, configuration.learning.batchSize) = (1024, 16)
        configuration.learning.drawsPerLandmark = 4
        (configuration.learning.intervalRecords, configuration.learning.stepsPerThousandEvents) = (64, 40)
        (configuration.learning.landmarkIntervalDays, configuration.learning.eventLandmarkShare) = (7, 0.05)
        configuration.alerts.raiseThreshold = 0.3
        configuration.alerts.clearThreshold = 0.2
        let engine = Self.engine(configuration)
        engine.addTask(Self.id)
        engine.resume(Self.id, at: 0, firstUnpublishedOffset: 0)
        var shop = Shop(seed: 5, users: 8, gapMs: 3 * 3_600_000)
        let scratch = try Folder()
        func lines(_ n: Int) -> String {
            shop.events(n).map { String(decoding: $0.value ?? [], as: UTF8.self) + "\n" }.joined()
        }
        _ = try Self.goOn(engine, scratch.write(lines(420), to: "first.jsonl"), users: [])
        try #require(engine.report().learning.steps >= 5, "the model has to have learned")
        try FileManager.default.createDirectory(atPath: Self.path(format), withIntermediateDirectories: true)
        let store = try SnapshotStore(directory: Self.path(format, "0"), keep: nil, logger: Self.quiet)
        _ = try EngineSnapshot.withContent(of: engine.image()) { try store.write($0) }
        // 60 records, with a round of learning among them.
        let next = Self.path(format, "next.jsonl")
        try lines(60).write(toFile: next, atomically: false, encoding: .utf8)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let expected = try Self.goOn(engine, next, users: (0..<4).map { "user-\($0)" })
        try encoder.encode(expected).write(to: URL(filePath: Self.path(format, "expected.json")))
        try FileManager.default.removeItem(atPath: Self.path(format, "0/.lock"))
    }
}
