import ArgumentParser
import Engine
import Foundation
import Synchronization

/// Runs the daemon's loop on a simulated cluster, disk and clock. The seed decides which faults happen. The result is
/// compared with a run without faults.
@main
struct Faults: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Break the daemon in simulations and see that nothing is lost and nothing comes twice.")

    @Option(help: "How many seeds to run.")
    var seeds = 2000
    @Option(help: "The first of them.")
    var first: UInt64 = 1
    @Option(help: "Run one seed and tell what happens in it.")
    var seed: UInt64?
    @Option(help: "Seeds to run at a time; 0: one per processor.")
    var jobs = 0
    @Flag(help: "Stop at the first seed that fails.")
    var failFast = false

    /// The order of hashed collections decides, for example, which partition the last call before a crash concerns. It must
    /// be equal in every process, which needs an environment variable that is read at the start.
    private static func fixHashing() {
        let name = "SWIFT_DETERMINISTIC_HASHING"
        guard getenv(name) == nil else { return }
        setenv(name, "1", 1)
        execv("/proc/self/exe", CommandLine.unsafeArgv)
    }

    func run() throws {
        Self.fixHashing()
        let bench = try Bench()
        if let seed {
            if let violation = bench.run(seed, trace: { say($0) }) {
                say("seed \(seed): \(violation)")
                throw ExitCode.failure
            }
            return say("seed \(seed): passes")
        }
        let start = ProcessInfo.processInfo.systemUptime
        let (failed, done) = bench.run(first..<first + UInt64(seeds), jobs: jobs, failFast: failFast) {
            seed, violation in
            say("seed \(seed): \(violation)\n  again: .build/release/faults --seed \(seed)")
        }
        let seconds = ProcessInfo.processInfo.systemUptime - start
        say("\(done) seeds, \(failed) failed, \(Int(seconds)) s")
        if failed > 0 { throw ExitCode.failure }
    }
}

/// Where runs take place.
final class Bench: Sendable {
    private let folder: String
    private let format: String
    private let teachers: [Teacher]

    init() throws {
        let root = FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        folder = root + "/clvd-faults-\(UUID().uuidString)"
        format = folder + "/format.yaml"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Self.format.write(toFile: format, atomically: true, encoding: .utf8)
        teachers = try [EngineConfiguration.Model.Recurrent.lstm, .gru, .rnn].map { [folder, format] in
            try Teacher($0, format: format, store: "\(folder)/\($0)")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// - Returns: what is wrong; nil when nothing is.
    func run(_ seed: UInt64, trace: @escaping (String) -> Void = { _ in }) -> String? {
        let scenario = Scenario(seed: seed, format: format, teachers: teachers)
        defer { scenario.free() }
        trace("\(scenario.settings)\n\(scenario.faults)")
        do {
            let world = World(scenario, seed: seed, folder: "\(folder)/\(seed)", trace: trace)
            let engines = try world.run()
            try Checks(scenario, world, engines).check()
            return nil
        } catch { return "\(error)" }
    }

    /// Runs many, several at a time.
    func run(
        _ seeds: Range<UInt64>, jobs: Int, failFast: Bool, _ report: @Sendable (UInt64, String) -> Void
    ) -> (failed: Int, done: Int) {
        let jobs = jobs > 0 ? jobs : ProcessInfo.processInfo.activeProcessorCount
        let state = Mutex((next: seeds.lowerBound, failed: 0, done: 0))
        let traps = Traps(jobs: jobs)
        DispatchQueue.concurrentPerform(iterations: jobs) { job in
            while true {
                let seed: UInt64? = state.withLock { state in
                    guard state.next < seeds.upperBound, !(failFast && state.failed > 0) else { return nil }
                    state.next += 1
                    return state.next - 1
                }
                guard let seed else { return }
                traps.note(seed, job: job)
                let violation = run(seed)
                state.withLock {
                    $0.done += 1
                    if let violation {
                        $0.failed += 1
                        report(seed, violation)
                    }
                }
            }
        }
        return state.withLock { ($0.failed, $0.done) }
    }

    private static let format = """
        name: faults
        summary: events of simulated faults
        fields:
          event_id: [/event_id]
          event_time: [{ pointer: /event_time_ms, unit: ms }]
          user_id: [/user_id]
          event_type: [/event_type]
          category: [/category]
          amount: [/amount]
        types:
          view: view
          add_to_cart: add_to_cart
          purchase: purchase
          user_deleted: user_deleted
          heartbeat: ignore
        unknown_types: other
        """
}

/// Prints one line and flushes it, so that a file or a pipe shows it at once.
private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
