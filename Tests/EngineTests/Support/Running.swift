import CEventParser
import Foundation
import Synchronization

@testable import Engine

extension EngineConfiguration {
    /// A model small enough for debug builds, and learning that starts early.
    static var small: EngineConfiguration {
        var c = EngineConfiguration()
        c.model.units = 16
        c.model.hidden = 16
        c.model.categoryBuckets = 32
        c.model.crossBuckets = 32
        c.binEdgesDays = [2, 7, 20]
        c.targets = [
            Target(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [2, 7, 20]),
            Target(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [2, 7, 20]),
            Target(name: "churn", kind: .absence, events: [], horizonsDays: [7]),
        ]
        c.learning.batchSize = 96
        c.learning.intervalRecords = 256
        c.learning.minimumSteps = 5
        c.learning.warmupSteps = 5
        c.learning.learningRate = 1e-3
        c.learning.schedule = .constant
        c.learning.weightDecay = 1e-3
        c.learning.dropoutHidden = 0.1
        c.learning.stepsPerThousandEvents = 8
        c.learning.stepsPerDay = 0
        c.learning.earlyStoppingInterval = 5
        c.learning.maxLandmarks = 2048
        c.learning.landmarkIntervalDays = 3
        c.learning.holdOutShare = 0.1
        c.alerts.raiseThreshold = 0.5
        c.alerts.clearThreshold = 0.3
        c.alerts.coolDownDays = 10
        return c
    }
}

/// What an engine said, with the position of the record in the whole stream.
struct Said: Equatable {
    var kind: OutboxEntry.Kind
    var reason: UInt8
    var record: Int
    var key: String
    var value: String

    /// The value as JSON.
    func json() throws -> [String: Any] {
        let object = try JSONSerialization.jsonObject(with: Data(value.utf8))
        guard let fields = object as? [String: Any] else { throw NotAnObject(value: value) }
        return fields
    }

    struct NotAnObject: Error { var value: String }
}

extension Engine {
    /// An engine for the topic `events` that holds its first `partitions` partitions.
    static func make(
        _ configuration: EngineConfiguration = .small, partitions: Int = 1,
        executor: any ParallelExecutor = SerialExecutor()
    ) -> Engine {
        let engine = Engine(
            configuration: configuration, topics: ["events"], partitions: partitions, executor: executor)
        for p in 0..<partitions { engine.addTask(TaskID(topic: 0, partition: Int32(p))) }
        return engine
    }

    private func said(base: Int) -> [Said] {
        var all: [Said] = []
        forEachOutput { entry in
            all.append(
                Said(
                    kind: entry.kind, reason: entry.reason,
                    record: entry.record == .max ? -1 : base + Int(entry.record),
                    key: String(decoding: entry.key, as: UTF8.self), value: String(decoding: entry.value, as: UTF8.self)
                ))
        }
        return all
    }

    /// Takes in a stretch of a stream in steps of `cut` records.
    @discardableResult
    func run(
        _ stream: TestStream, _ range: Range<Int>? = nil, cut: Int = 512, betweenSlices: () -> Void = {}
    ) -> [Said] {
        var all: [Said] = []
        let range = range ?? 0..<stream.events.count
        stream.events.withUnsafeBufferPointer { events in
            var at = range.lowerBound
            while at < range.upperBound {
                let end = min(range.upperBound, at + cut)
                step(UnsafeBufferPointer(rebasing: events[at..<end]), betweenSlices: betweenSlices)
                all += said(base: at)
                at = end
            }
        }
        return all
    }

    func idle(until time: Int64, betweenSlices: () -> Void = {}) -> [Said] {
        tick(Dictionary(uniqueKeysWithValues: taskIDs.map { ($0, time) }), betweenSlices: betweenSlices)
        return said(base: 0)
    }

    var task: PartitionTask { ordered[0] }

    /// The slot of a user of the first task, nil when there is none.
    func slot(_ user: String) -> UserSlot? {
        var user = user
        let found = user.withUTF8 { key in
            task.users.find(key.baseAddress!, key.count, hash: task.users.hash(key.baseAddress!, key.count))
        }
        return found == UserTable.none ? nil : task.users.slot(found)
    }
}

/// A written image: what a snapshot on disk would hold.
struct Written: Equatable {
    var metadata: Data
    var sections: [String: Data] = [:]

    init(_ engine: Engine, of part: Set<TaskID>? = nil) throws {
        let image = engine.image(of: part)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        metadata = try encoder.encode(image.metadata)
        for section in image.sections {
            precondition(sections[section.name] == nil, "two sections of one name")
            sections[section.name] = section.regions.reduce(into: Data()) { $0.append(contentsOf: $1) }
        }
    }

    /// A fresh engine in the state of the image.
    func restored(
        _ configuration: EngineConfiguration = .small, partitions: Int = 1,
        executor: any ParallelExecutor = SerialExecutor()
    ) throws -> Engine {
        let engine = Engine(
            configuration: configuration, topics: ["events"], partitions: partitions, executor: executor)
        try read { metadata, section in try engine.restore(metadata, section: section) }
        return engine
    }

    /// Gives a fresh engine the model of the image.
    func restoreModel(into engine: Engine) throws {
        try read { metadata, section in try engine.restoreModel(metadata, section: section) }
    }

    /// Gives an engine a partition of the image.
    func adopt(_ id: TaskID, into engine: Engine) throws -> Bool {
        try read { metadata, section in try engine.adopt(id, from: metadata, section: section) }
    }

    private func read<T>(
        _ body: (EngineImage.Metadata, (String) throws -> UnsafeRawBufferPointer) throws -> T
    ) throws -> T {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        let metadata = try decoder.decode(EngineImage.Metadata.self, from: metadata)
        var copies: [UnsafeMutableRawBufferPointer] = []
        defer { for copy in copies { copy.deallocate() } }
        return try body(metadata) { name in
            guard let data = sections[name] else { throw SnapshotMismatch("no section \(name)") }
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: data.count, alignment: 64)
            copy.copyBytes(from: data)
            copies.append(copy)
            return UnsafeRawBufferPointer(copy)
        }
    }

    /// Names of the parts that differ, for messages of failed tests.
    func differences(from other: Written) -> [String] {
        let names = Set(sections.keys).union(other.sections.keys).filter { sections[$0] != other.sections[$0] }
        return names.sorted() + (metadata == other.metadata ? [] : ["metadata"])
    }
}

/// Pieces on real threads, each thread taking the next piece that is left.
final class ThreadedExecutor: ParallelExecutor {
    let threads: Int
    init(threads: Int) { self.threads = threads }

    func run(count: Int, _ body: @Sendable (Int) -> Void) {
        let next = Atomic(0)
        DispatchQueue.concurrentPerform(iterations: threads) { _ in
            while true {
                let i = next.add(1, ordering: .relaxed).oldValue
                if i >= count { return }
                body(i)
            }
        }
    }
}

/// Pieces from the last to the first.
final class ReversedExecutor: ParallelExecutor {
    func run(count: Int, _ body: @Sendable (Int) -> Void) {
        for i in (0..<count).reversed() { body(i) }
    }
}
