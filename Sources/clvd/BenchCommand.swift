import ArgumentParser
import Engine
import Foundation
import Runtime
import Settings
import Terminal

/// `clvd bench`
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure what clvd costs on this machine.",
        subcommands: [Memory.self, BenchSnapshot.self, BenchLikeness.self])

    /// `clvd bench memory`
    struct Memory: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Measure the memory of a user, all in.",
            discussion: """
                Takes in four events of each user (page view, view, cart, purchase on four days) with everything on: \
                features, recurrent state, predictions, alerts, learning. Reports the growth of the resident memory per \
                user: state, keys and index; and beside it what does not grow with users: the pool of landmarks \
                (learning.maxLandmarks), the model, the program.

                EXAMPLE
                  clvd bench memory --users 1000000
                """)

        @Option(help: "Users.")
        var users = 1_000_000

        @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
        var config: String?

        @Flag(help: "Print the figures as JSON.")
        var json = false

        private struct Result: Encodable {
            var users: Int
            var events: Int
            var bytesPerUser: Double
            var tableBytesPerUser: Double
            var fixedBytes: Int
            var residentBytes: Int
            var eventsPerSecond: Double
        }

        func validate() throws {
            guard (1000...100_000_000).contains(users) else {
                throw ValidationError("--users must be from 1000 to 100000000.")
            }
        }

        func run() throws {
            let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
            let result = try measure(settings)
            if json { return try Report.json(result) }
            Report.facts([
                ("users", Human.count(Int64(result.users))),
                ("bytes per user", Human.number(result.bytesPerUser, decimals: 0) + "   growth of the resident memory"),
                ("of them the table", Human.number(result.tableBytesPerUser, decimals: 0) + "   slots, keys, index"),
                ("fixed", Human.bytes(Int64(result.fixedBytes)) + "   landmarks, model, program"),
                ("resident in all", Human.bytes(Int64(result.residentBytes))),
                ("events", "\(Human.count(Int64(result.events)))   at \(Human.rate(result.eventsPerSecond))"),
            ])
        }

        /// The pool of landmarks is filled by a first, small population; what grows after that grows with users.
        private func measure(_ settings: Settings) throws -> Result {
            let engine = Engine(
                configuration: settings.engine, topics: ["bench"], partitions: 1,
                executor: WorkerPool(threads: settings.runtime.threadCount))
            engine.addTask(TaskID(topic: 0, partition: 0))
            let population = Population(engine: engine)
            let few = max(1000, min(users / 4, 60_000))
            let days = (early: 0..<40, late: 40..<44)
            let total = Int64(few * days.early.count + users * days.late.count)
            let reporter = ProgressReporter(label: "Users", total: total, unit: "events")
            let start = ContinuousClock.now
            population.live(few, days: days.early) { reporter.update(done: Int64($0)) }
            let before = (resident: Self.resident, report: engine.report(prequential: false))
            population.live(users, days: days.late) { reporter.update(done: Int64($0)) }
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            let after = (resident: Self.resident, report: engine.report(prequential: false))
            reporter.finish()
            let grown = Double(after.report.users - before.report.users)
            let perUser = Double(after.resident - before.resident) / grown
            return Result(
                users: after.report.users, events: population.count, bytesPerUser: perUser,
                tableBytesPerUser: Double(after.report.usedUserBytes) / Double(after.report.users),
                fixedBytes: after.resident - Int(perUser * Double(after.report.users)),
                residentBytes: after.resident, eventsPerSecond: Double(population.count) / seconds)
        }

        /// Bytes of this process in memory.
        private static var resident: Int {
            let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
            let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            return pages * sysconf(Int32(_SC_PAGESIZE))
        }
    }
}
