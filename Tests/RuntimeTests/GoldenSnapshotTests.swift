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
    private struct Expected: Encodable {
        /// The kernel variant that forecast.
        var kernels: String
        var outputs: [Output]
        /// Users afterwards, by name.
        var views: [UserView]

        struct Output: Encodable {
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

    /// What was written then is what is written now, and perhaps more. Whole numbers and texts are the same; numbers that a
    /// model has had a hand in are alike, since kernels differ in their last bits. Ranks
    /// are not compared: segments rank customers since format 7.
    /// What is forecast is not compared before format 8: base forecast and network have shared it since.
    private static func expectAlike(_ found: Any, _ expected: Any, _ path: String, format: Int) {
        switch expected {
        case let expected as [String: Any]:
            let found = found as? [String: Any] ?? [:]
            for (key, value) in expected
            where key != "segment" && key != "percentile" && (format >= 8 || key != "summary") {
                guard let now = found[key] else {
                    Issue.record("\(path).\(key) is missing")
                    continue
                }
                expectAlike(now, value, "\(path).\(key)", format: format)
            }
        case let expected as [Any]:
            let found = found as? [Any] ?? []
            #expect(found.count == expected.count, "\(path)")
            for (i, (x, y)) in zip(found, expected).enumerated() {
                expectAlike(x, y, "\(path)[\(i)]", format: format)
            }
        default:
            let learned = /clv|probability|confidence|change|contribution|forecasts|value_at_risk|expected/
            if let p = found as? Double, let q = expected as? Double, path.contains(learned) {
                #expect(format < 8 || abs(p - q) <= 0.002 * max(abs(q), 1), "\(path): \(p) instead of \(q)")
            } else {
                #expect("\(found)" == "\(expected)", "\(path)")
            }
        }
    }

    private static func json(_ text: String) throws -> Any { try JSONSerialization.jsonObject(with: Data(text.utf8)) }

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
        var configuration = metadata.configuration
        // Up to format 7, time was that of the latest event.
        if format < 8 { configuration.time.clockSkewSeconds = 0 }
        let engine = Self.engine(configuration)
        try engine.restore(metadata) { try snapshot.section($0) }
        let text = try Data(contentsOf: URL(filePath: Self.path(format, "expected.json")))
        let expected = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
        let outputs = try #require(expected["outputs"] as? [[String: String]])
        let views = try #require(expected["views"] as? [[String: Any]])
        #expect(outputs.count >= 60 && views.count == 4)
        let found = try Self.goOn(
            engine, Self.path(format, "next.jsonl"), users: views.compactMap { $0["user"] as? String })
        #expect(found.outputs.map(\.kind) == outputs.map { $0["kind"] })
        for (i, (a, b)) in zip(found.outputs, outputs).enumerated() {
            #expect(a.key == b["key"])
            Self.expectAlike(
                try Self.json(a.value), try Self.json(b["value"] ?? ""), "output \(i)",
                format: format)
        }
        #expect(found.views.count == 4)
        for (a, b) in zip(found.views, views) {
            let text = String(decoding: try JSONEncoder().encode(a), as: UTF8.self)
            Self.expectAlike(try Self.json(text), b, "user \(a.user)", format: format)
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
