import ArgumentParser
import Engine
import Foundation
import Logging
import Runtime
import Settings
import SnapshotStore
import Terminal

/// `clvd bench snapshot`
struct BenchSnapshot: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Measure writing and restoring a snapshot, and what the stream notices of it.",
        discussion: """
            Makes users of four events each, then lets events arrive at a steady rate, measures the latency of each \
            (from its arrival to the end of its micro-batch, with features, model, learning and alerts, without Kafka) \
            for some seconds; has a snapshot written beside it by a forked child, as the daemon does, and measures the \
            same while that lasts. Then restores it into an empty engine, from the page cache and from the disk, \
            verifying every byte.

            EXAMPLES
              clvd bench snapshot
              clvd bench snapshot --users 100000 --rate 20000 --directory /var/lib/clvd/bench --json
            """)

    @Option(help: "Users.")
    var users = 1_000_000

    @Option(help: "Events that arrive in a second.")
    var rate = 5000.0

    @Option(help: ArgumentHelp("How long latencies are measured without a snapshot.", valueName: "seconds"))
    var seconds = 10.0

    @Option(help: ArgumentHelp("Where to write. (default: a temporary folder)", valueName: "folder"))
    var directory: String?

    @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
    var config: String?

    @Flag(help: "Print the figures as JSON.")
    var json = false

    private struct Latency: Encodable {
        var events: Int
        var p50Ms: Double
        var p99Ms: Double
        var maxMs: Double

        init(_ milliseconds: [Double]) {
            let sorted = milliseconds.sorted()
            func quantile(_ q: Double) -> Double { sorted[min(sorted.count - 1, Int(Double(sorted.count) * q))] }
            events = sorted.count
            (p50Ms, p99Ms, maxMs) = (quantile(0.5), quantile(0.99), sorted[sorted.count - 1])
        }
    }

    private struct Result: Encodable {
        var users: Int
        var rate: Double
        var bytes: Int64
        /// The stream stands still while memory is described and the process forked.
        var forkMs = 0.0
        var writeSeconds = 0.0
        var writeMegabytesPerSecond: Double { Double(bytes) / 1e6 / writeSeconds }
        var restoreSeconds = 0.0
        var restoreMegabytesPerSecond: Double { Double(bytes) / 1e6 / restoreSeconds }
        var restoreColdSeconds = 0.0
        var restoreColdMegabytesPerSecond: Double { Double(bytes) / 1e6 / restoreColdSeconds }
        var normal = Latency([0])
        var during = Latency([0])
        var p99AboveNormalMs: Double { during.p99Ms - normal.p99Ms }

        private enum CodingKeys: String, CodingKey {
            case users, rate, bytes, forkMs, writeSeconds, writeMegabytesPerSecond, restoreSeconds
            case restoreMegabytesPerSecond, restoreColdSeconds, restoreColdMegabytesPerSecond, normal, during
            case p99AboveNormalMs
        }

        func encode(to encoder: any Encoder) throws {
            var c = encoder.container(keyedBy: CodingKeys.self)
            try c.encode(users, forKey: .users)
            try c.encode(rate, forKey: .rate)
            try c.encode(bytes, forKey: .bytes)
            try c.encode(forkMs, forKey: .forkMs)
            try c.encode(writeSeconds, forKey: .writeSeconds)
            try c.encode(writeMegabytesPerSecond, forKey: .writeMegabytesPerSecond)
            try c.encode(restoreSeconds, forKey: .restoreSeconds)
            try c.encode(restoreMegabytesPerSecond, forKey: .restoreMegabytesPerSecond)
            try c.encode(restoreColdSeconds, forKey: .restoreColdSeconds)
            try c.encode(restoreColdMegabytesPerSecond, forKey: .restoreColdMegabytesPerSecond)
            try c.encode(normal, forKey: .normal)
            try c.encode(during, forKey: .during)
            try c.encode(p99AboveNormalMs, forKey: .p99AboveNormalMs)
        }
    }

    func validate() throws {
        guard (1000...100_000_000).contains(users) else {
            throw ValidationError("--users must be from 1000 to 100000000.")
        }
        guard (1...10_000_000).contains(rate) else { throw ValidationError("--rate must be from 1 to 10000000.") }
        guard (0.1...3600).contains(seconds) else {
            throw ValidationError("--seconds must be from 0.1 to 3600 seconds.")
        }
    }

    func run() throws {
        let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
        let folder = directory ?? FileManager.default.temporaryDirectory.appending(path: "clvd-bench-\(getpid())").path
        defer { if directory == nil { try? FileManager.default.removeItem(atPath: folder) } }
        let store = try SnapshotStore(
            directory: folder, keep: 1, logger: Logger(label: "clvd.bench") { _ in SwiftLogNoOpLogHandler() })
        var result = try write(settings, to: store)
        guard let path = try store.snapshots().first?.path else { throw CommandFailure("\(folder): no snapshot") }
        result.restoreSeconds = try restore(path, settings, users: result.users)
        try Self.forgetPages(below: path)
        result.restoreColdSeconds = try restore(path, settings, users: result.users)
        if json { return try Report.json(result) }
        tell(result)
    }

    private func tell(_ r: Result) {
        func number(_ value: Double, _ decimals: Int) -> String { Human.number(value, decimals: decimals) }
        func latency(_ l: Latency) -> String {
            "p50 \(number(l.p50Ms, 2)) ms, p99 \(number(l.p99Ms, 2)) ms, longest \(number(l.maxMs, 1)) ms"
        }
        Report.facts([
            ("users", Human.count(Int64(r.users))), ("snapshot", Human.bytes(r.bytes)),
            (
                "write",
                "\(number(r.writeSeconds, 2)) s, \(number(r.writeMegabytesPerSecond, 0)) MB/s, beside the stream"
            ),
            ("fork", "\(number(r.forkMs, 1)) ms"),
            ("restore", "\(number(r.restoreSeconds, 2)) s, \(number(r.restoreMegabytesPerSecond, 0)) MB/s, cached"),
            (
                "",
                "\(number(r.restoreColdSeconds, 2)) s, \(number(r.restoreColdMegabytesPerSecond, 0)) MB/s, from disk"
            ),
            ("latency", "\(latency(r.normal))   of \(Human.count(Int64(r.normal.events))) events"),
            ("while writing", "\(latency(r.during))   of \(Human.count(Int64(r.during.events)))"),
            ("p99 above normal", "\(number(r.p99AboveNormalMs, 2)) ms"),
        ])
    }

    // MARK: Measuring

    private static func engine(_ settings: Settings) -> Engine {
        Engine(
            configuration: settings.engine, topics: ["bench"], partitions: 1,
            executor: WorkerPool(threads: settings.runtime.threadCount))
    }

    private func write(_ settings: Settings, to store: SnapshotStore) throws -> Result {
        let engine = Self.engine(settings)
        engine.addTask(TaskID(topic: 0, partition: 0))
        let population = Population(engine: engine)
        let reporter = ProgressReporter(label: "Users", total: Int64(users * 4), unit: "events")
        population.live(users, days: 0..<4) { reporter.update(done: Int64($0)) }
        reporter.finish()
        var stream = Stream(rate: rate) { population.live(next: $0, of: users, from: 4) }
        // What the stream has to catch up with at its start is not measured.
        try stream.run(until: { $0 >= 1 })
        let normal = try stream.run(until: { $0 >= seconds })
        var forkMs = 0.0
        var outcome: SnapshotOutcome?
        let during = try stream.run(
            until: { _ in
                outcome = store.poll()
                return outcome != nil
            },
            after: {
                let start = Stream.now
                try EngineSnapshot.withContent(of: engine.image()) { try store.begin($0) }
                forkMs = (Stream.now - start) * 1000
            })
        switch outcome {
        case .written(let info, let seconds):
            return Result(
                users: engine.report(prequential: false).users, rate: rate, bytes: info.bytes, forkMs: forkMs,
                writeSeconds: seconds, normal: Latency(normal), during: Latency(during))
        case .failed(let error): throw error
        case nil: throw CommandFailure("the snapshot was not written")
        }
    }

    private func restore(_ path: String, _ settings: Settings, users: Int) throws -> Double {
        let engine = Self.engine(settings)
        let start = Stream.now
        let snapshot = try SnapshotStore.open(path: path)
        try withExtendedLifetime(snapshot) {
            try engine.restore(EngineSnapshot.metadata(snapshot)) { try snapshot.section($0) }
        }
        let seconds = Stream.now - start
        guard engine.report(prequential: false).users == users else {
            throw CommandFailure("\(path): not all users were restored")
        }
        return seconds
    }

    /// Has the system forget what it keeps of files in memory.
    private static func forgetPages(below path: String) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: path) {
            let file = open("\(path)/\(name)", O_RDONLY)
            guard file >= 0 else { continue }
            fsync(file)
            posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
            close(file)
        }
    }

    /// Events that arrive at a steady rate, whether the engine is ready for them or not.
    private struct Stream {
        let rate: Double
        let step: (Int) -> Void

        static var now: Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }

        /// Takes in what has arrived, over and over, until a time since the start says that it is enough.
        /// - Parameter after: done once, when the first event has arrived.
        /// - Returns: of each event the time from its arrival until it was taken in, ms.
        @discardableResult
        mutating func run(until isEnough: (Double) -> Bool, after work: () throws -> Void = {}) rethrows -> [Double] {
            var latencies: [Double] = []
            let start = Self.now
            try work()
            while true {
                let arrived = Int((Self.now - start) * rate)
                let count = min(arrived - latencies.count, Population.batchEvents)
                guard count > 0 else {
                    if isEnough(Self.now - start), !latencies.isEmpty { return latencies }
                    usleep(200)
                    continue
                }
                step(count)
                let done = Self.now
                for i in latencies.count..<latencies.count + count {
                    latencies.append((done - start - Double(i) / rate) * 1000)
                }
                if isEnough(done - start) { return latencies }
            }
        }
    }
}
