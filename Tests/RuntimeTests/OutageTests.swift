import Engine
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing
import Verification

/// A real broker that goes and comes back with its data, by the commands `CLVD_TEST_BROKER_STOP` and
/// `CLVD_TEST_BROKER_START` (`make outages`). All who use it are without it meanwhile: nothing else may run beside these.
@Suite(.serialized, .enabled(if: Cluster.isReal && Broker.canBeStopped, "CLVD_TEST_BROKER_STOP and _START are not set"))
struct OutageTests {
    private static func site(
        _ delivery: Settings.Delivery, _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        try Site(Cluster(), delivery, partitions: 2) {
            $0.runtime.batchRecords = 50
            $0.snapshots.intervalSeconds = 1
            $0.learning(false)
            change(&$0)
        }
    }

    /// Sends at the pace of a stream that lives.
    private static func feed(_ site: Site, _ inputs: some Collection<Input>) async throws {
        let producer = try site.cluster.producer()
        let topic = try producer.topic(site.input[0])
        var rest = Array(inputs)[...]
        while !rest.isEmpty {
            try site.cluster.produce(rest.prefix(20), to: topic, by: producer)
            rest = rest.dropFirst(20)
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Feeds 2,000 records, in the middle of which the broker goes for some seconds, and does something meanwhile.
    private static func outage(
        of seconds: Double, _ site: Site, seed: UInt64, drains: Bool = false,
        meanwhile: (RunningProgram) async throws -> RunningProgram
    ) async throws {
        var shop = Shop(seed: seed, users: 40)
        let inputs = site.events(&shop, 2000)
        var program = try RunningProgram(site)
        try await feed(site, inputs[..<1000])
        try await eventually(40, "a beginning\n\(program.errors)") { program.count("partition begins") == 2 }
        try await Broker.stop()
        let stopped = ContinuousClock.now
        do {
            program = try await meanwhile(program)
        } catch {
            // Others need it.
            try await Broker.start()
            throw error
        }
        try await Task.sleep(for: .seconds(seconds) - (ContinuousClock.now - stopped))
        try await Broker.start()
        if drains {
            #expect(try await program.status() == 0, "\(program.errors)")
            #expect(program.count("draining") == 1, "\(program.errors)")
            // What was taken in is committed and kept.
            try await site.settled(Int(try #require(try site.snapshots().first?.position)), program.errors)
            program = try RunningProgram(site)
        }
        try await feed(site, inputs[1000...])
        try await site.settled(2000, program.errors)
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        let report = try site.verified(records: 2000)
        print(
            "\(site.settings.delivery.rawValue), \(seconds) s without the broker: \(report.records) records, "
                + "\(report.missing) missing, \(report.double) double, "
                + "\(program.count("the pipeline ends and begins again")) restarts")
        if site.settings.delivery == .exactlyOnce { #expect(report.double == 0) }
        try await site.expectSame(as: site.uninterrupted(records: 2000), records: 2000)
    }

    @Test(arguments: Settings.Delivery.allCases, [3.0, 15.0])
    func aBrokerThatIsAwayCostsNothing(delivery: Settings.Delivery, seconds: Double) async throws {
        // The shorter one is within a session, the longer one is not.
        let session = seconds < 10 ? "30000" : "6000"
        let site = try Self.site(delivery) { $0.kafka.properties["session.timeout.ms"] = session }
        try await Self.outage(of: seconds, site, seed: 51) { $0 }
    }

    /// It waits for the broker to finish, which comes back in time.
    @Test func aTermSignalWhileTheBrokerIsAwayDrains() async throws {
        let site = try Self.site(.exactlyOnce) {
            $0.kafka.properties["session.timeout.ms"] = "30000"
            // Something is always waiting to be committed.
            $0.output.commitIntervalMs = 2000
        }
        try await Self.outage(of: 3, site, seed: 52, drains: true) { program in
            program.terminate()
            return program
        }
    }

    /// The next one starts before the broker does.
    @Test func killedWhileTheBrokerIsAway() async throws {
        let site = try Self.site(.exactlyOnce) { $0.output.commitIntervalMs = 2000 }
        try await Self.outage(of: 3, site, seed: 53) { program in
            program.kill()
            _ = try await program.status()
            return try RunningProgram(site)
        }
    }

    // MARK: Crashes

    struct Membership: Sendable, CustomTestStringConvertible {
        let delivery: Settings.Delivery
        let isStatic: Bool
        var testDescription: String { "\(delivery.rawValue), \(isStatic ? "static" : "not static")" }
        static let all = Settings.Delivery.allCases.flatMap { delivery in
            [true, false].map { Membership(delivery: delivery, isStatic: $0) }
        }
    }

    /// The broker is killed again and again, often before the members have come back from the time before: it may lose
    /// the answer to a join, and then fences the only member of a name. The daemon is up at the end.
    @Test(.enabled(if: Broker.canBeKilled, "CLVD_TEST_BROKER_KILL is not set"), arguments: Membership.all)
    func aBrokerThatCrashesAgainAndAgain(_ member: Membership) async throws {
        let site = try Self.site(member.delivery) { $0.kafka.staticMembership = member.isStatic }
        var shop = Shop(seed: member.isStatic ? 54 : 55, users: 40)
        let program = try RunningProgram(site)
        var sent = 0
        func feed(_ records: Int) async throws {
            try await Self.feed(site, site.events(&shop, records))
            sent += records
        }
        try await feed(200)
        try await eventually(40, "a beginning\n\(program.errors)") { program.count("partition begins") == 2 }
        for _ in 0..<(Broker.kills + 3) / 4 {
            try await feed(20 + shop.random(200))
            try await Broker.kill()
            try await Task.sleep(for: .milliseconds(shop.random(2000)))
            try await Broker.start()
            try await Task.sleep(for: .milliseconds(shop.random(3000)))
            try #require(program.isRunning, "\(program.errors)")
        }
        try await feed(200)
        try await site.settled(sent, seconds: 120, program.errors)
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        let report = try site.verified(records: sent)
        print(
            "\(member.testDescription): \((Broker.kills + 3) / 4) kills, \(report.records) records, "
                + "\(report.missing) missing, \(report.double) double, "
                + "\(program.count("the pipeline ends and begins again")) restarts, "
                + "\(program.count("no other instance has taken over")) of them refused its name")
        if member.delivery == .exactlyOnce { #expect(report.double == 0) }
    }
}

private enum Broker {
    private static let environment = ProcessInfo.processInfo.environment
    static let canBeStopped =
        environment["CLVD_TEST_BROKER_STOP"] != nil && environment["CLVD_TEST_BROKER_START"] != nil

    static let canBeKilled = environment["CLVD_TEST_BROKER_KILL"] != nil
    /// How often it is killed, over all tests together.
    static let kills = environment["CLVD_TEST_BROKER_KILLS"].flatMap { Int($0) } ?? 30

    static func kill() async throws { try await run("CLVD_TEST_BROKER_KILL") }
    static func stop() async throws { try await run("CLVD_TEST_BROKER_STOP") }
    static func start() async throws { try await run("CLVD_TEST_BROKER_START") }

    private static func run(_ name: String) async throws {
        let command = environment[name] ?? "false"
        // Not by Foundation's `Process`, which would wait for the broker that stays behind.
        let status = try await onThread { system("(\(command)) </dev/null >/dev/null 2>&1") }
        try #require(status == 0, "\(name): \(command)")
    }
}
