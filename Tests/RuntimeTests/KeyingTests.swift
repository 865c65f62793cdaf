import Foundation
import Settings
import Testing
import Verification

@testable import Runtime

/// Customers whose records are in more than one partition.
@Suite struct KeyingTests {
    private static func site(_ change: (inout Settings) -> Void = { _ in }) throws -> Site {
        try Site(Cluster(), partitions: 4) {
            $0.learning(false)
            $0.runtime.reportIntervalSeconds = 1
            change(&$0)
        }
    }

    /// Records of customers who are in the partition of their name, but for every so manieth.
    private static func events(_ n: Int, users: Int, strayEvery: Int) -> [Input] {
        (0..<n).map { i in
            let user = i % users
            let isStray = i % strayEvery == strayEvery - 1
            let time = Shop.begin + Int64(i) * 60_000
            return Input(
                key: Array("k\(i)".utf8), value: Shop.json(user: "user-\(user)", type: "view", at: time, id: "e\(i)"),
                timestampMs: time, partition: Int32((user + (isStray ? 1 : 0)) % 4))
        }
    }

    @Test func inputThatIsNotKeyedByCustomerIsRefused() async throws {
        let site = try Self.site()
        try site.produce(Self.events(400, users: 40, strayEvery: 3))
        let daemon = RunningDaemon(site)
        let outcome = try await daemon.ended()
        let error = #expect(throws: SettingsError.self) { try outcome.get() }
        let problem = try #require(error?.problems.first)
        #expect(problem.path == "input.keying" && problem.value == "strict")
        let places = problem.problem.matches(of: /(events-0-[^ ]*)\[(\d)\] at offset (\d+)/)
        #expect(places.count == 2 && places.first?.2 != places.last?.2, "\(problem)")
        #expect(!problem.description.contains("user-"), "customers are not named")
        #expect(problem.remedy.contains("as-is"))
        #expect(try await site.updates().isEmpty, "nothing is published")
        #expect(try site.snapshots().isEmpty, "nothing is kept")
    }

    /// One of 400 has strayed: that is told, and counted.
    @Test func singleOnesAreToldAndTakenIn() async throws {
        let site = try Self.site()
        var events = Self.events(800, users: 400, strayEvery: 1000)
        events[799].partition = (events[799].partition + 1) % 4
        try site.produce(events)
        let daemon = RunningDaemon(site)
        try await daemon.taken(800)
        try await daemon.stop()
        #expect(daemon.log.count("customers are in more than one partition") == 1, "\(daemon.log.text)")
        #expect(daemon.log.count("customers=400 ") == 1 && daemon.log.count("split=1") == 1)
        #expect(daemon.daemon.status.splitCustomers.count == 1)
        #expect(daemon.daemon.status.splitCustomers.share == 1.0 / 400)
        try site.verified(records: 800)
    }

    @Test func inputCanBeTakenAsItIs() async throws {
        let site = try Self.site { $0.input.keying = .asIs }
        try site.produce(Self.events(400, users: 40, strayEvery: 3))
        let daemon = RunningDaemon(site)
        try await daemon.taken(400)
        try await daemon.stop()
        #expect(daemon.log.count("customers are in more than one partition") == 1, "\(daemon.log.text)")
        #expect(daemon.daemon.status.splitCustomers.share > 0.9)
        let report = try site.verified(records: 400)
        #expect(report.keying.customers == 40 && report.keying.splitCustomers == 40)
        #expect(report.keying.example.count == 2)

        // Who is strict again finds them in the state, before a record comes.
        var strict = site
        strict.settings.input.keying = .strict
        let outcome = try await RunningDaemon(strict).ended()
        let error = #expect(throws: SettingsError.self) { try outcome.get() }
        #expect(error?.problems.first?.problem.contains("before offset") == true, "\(String(describing: error))")
    }

    /// An erasure that comes to another partition than the customer's is a split, too: it erases nothing there.
    @Test func anErasureInAnotherPartitionIsNoticed() async throws {
        let site = try Self.site()
        var events = Self.events(40, users: 40, strayEvery: 1000)
        let time = Shop.begin + 3_600_000
        events.append(
            Input(
                key: nil, value: Shop.json(user: "user-2", type: "user_deleted", at: time), timestampMs: time,
                partition: 3))
        try site.produce(events)
        let outcome = try await RunningDaemon(site).ended()
        #expect(throws: SettingsError.self) { try outcome.get() }
    }

    @Test func inOnePartitionThereIsNothingToLookAt() async throws {
        let site = try Site(Cluster(), partitions: 1) { $0.learning(false) }
        try site.produce(
            Self.events(100, users: 10, strayEvery: 3).map {
                var event = $0
                event.partition = 0
                return event
            })
        let daemon = RunningDaemon(site)
        try await daemon.taken(100)
        try await daemon.stop()
        #expect(daemon.daemon.status.splitCustomers.count == 0)
    }
}
