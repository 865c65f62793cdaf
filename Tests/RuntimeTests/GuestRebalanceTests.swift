import Engine
import Foundation
import Settings
import Testing

@testable import Runtime

/// Guests become customers while partitions go from instance to instance (`CLVD_REBALANCES` times).
@Suite(.serialized, .enabled(if: Cluster.isReal, "the mock takes no offsets while a group forms"))
struct GuestRebalanceTests {
    @Test func manyRebalancesOfGuests() async throws {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["CLVD_REBALANCES"].flatMap { Int($0) } ?? 3
        let site = try Site.repartitioned(Cluster(), .exactlyOnce) {
            $0.snapshots.intervalSeconds = 2
            // Two first stages that read different partitions have no order between them. What is late counts at its own
            // time.
            $0.engine.time.allowedLatenessSeconds = 0
            $0.engine.time.lateEvents = .accept
            $0.engine.time.lateEventDays = 300
            $0.kafka.properties["transaction.timeout.ms"] = "10000"
        }
        let (told, known) = try Guests.events(60 * (count + 1), seed: 25, users: 50)
        let inputs = Site.spread(told)
        var random = Shop(seed: 2500 + (environment["CLVD_SEED"].flatMap { UInt64($0) } ?? 1))
        let producer = try site.cluster.producer()
        var running: [String: RunningProgram] = ["0": try RunningProgram(site)]
        var (sent, moves) = (0, 0)
        func logs() -> String { running.map { "instance \($0)\n\($1.errors)" }.sorted().joined(separator: "\n---\n") }
        func feed(_ n: Int) throws {
            let end = min(inputs.count, sent + n)
            if end > sent { try site.feed(inputs[sent..<end], by: producer) }
            sent = end
        }
        try feed(40)
        while moves < count {
            let names = running.keys.sorted()
            let chosen = names[random.random(names.count)]
            try feed(20)
            if names.count == 1 {
                let name = names == ["0"] ? "1" : "0"
                running[name] = try RunningProgram(site.instance(name))
                try feed(20)
                try await eventually(60, "partitions of \(name)\n\(logs())") {
                    running[name]!.errors.contains("partition begins")
                }
            } else if random.random(2) == 0 {
                running[chosen]!.terminate()
                #expect(try await running[chosen]!.status() == 0, "\(running[chosen]!.errors)")
                running[chosen] = nil
            } else {
                try await Task.sleep(for: .milliseconds(random.random(400)))
                running[chosen]!.kill()
                _ = try await running[chosen]!.status()
                running[chosen] = nil
            }
            moves += 1
            try feed(20)
            try await Task.sleep(for: .milliseconds(300 + random.random(1500)))
        }
        try feed(inputs.count)
        try await site.throughBothStages(inputs.count, logs())
        for (name, program) in running {
            program.terminate()
            #expect(try await program.status() == 0, "instance \(name)\n\(program.errors)")
        }
        let found = try await site.verifiedGuests(records: inputs.count)
        try await site.expectFigures(of: known)
        print(
            "guests, both stages of two instances: \(moves) rebalances, \(inputs.count) records, \(found.messages) "
                + "messages, \(found.passedOn) passed on, double \(found.double); totals, orders and windows of 50 "
                + "customers as of one partition that knew them all")
    }
}
