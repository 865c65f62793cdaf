import Foundation
import Kafka
import Settings
import Testing

/// A shell command that somebody gives to have a broker stopped, started or killed.
enum Command {
    static func isGiven(_ name: String) -> Bool { ProcessInfo.processInfo.environment[name] != nil }

    static func run(_ name: String, _ arguments: String = "") async throws {
        let command = ProcessInfo.processInfo.environment[name] ?? "false"
        // Not by Foundation's `Process`, which would wait for the broker that stays behind.
        let status = try await onThread { system("(\(command) \(arguments)) </dev/null >/dev/null 2>&1") }
        try #require(status == 0, "\(name): \(command) \(arguments)")
    }
}

/// The broker of `CLVD_TEST_BOOTSTRAP` is killed. Nothing else may use it.
@Suite(
    .serialized,
    .enabled(
        if: Mistake.areAsked && Command.isGiven("CLVD_TEST_BROKER_KILL") && Command.isGiven("CLVD_TEST_BROKER_START"),
        "CLVD_TEST_BROKER_KILL and _START are not set"))
struct BrokerMistakeTests {
    private static let kills = 6

    @Test(arguments: Settings.Delivery.allCases) func aStaticMemberAlone(delivery: Settings.Delivery) async throws {
        let id = delivery == .exactlyOnce ? "6" : "6-alo"
        let what = "broker killed -9 \(Self.kills) times under one static member, \(delivery.rawValue)"
        try await Mistake.commit(id, what) { m in
            let site = try Site(Cluster(), delivery, partitions: 2) {
                $0.learning(false)
                $0.snapshots.intervalSeconds = 1
                $0.runtime.reportIntervalSeconds = 1
            }
            let program = try m.start(site)
            let feeder = Feeder(site, seed: 21, perSecond: 100)
            var random = Shop(seed: 22)
            for kill in 1...Self.kills where program.isRunning {
                let before = try site.committedRecords()
                try await eventually(60, "kill \(kill): nothing is committed\n\(program.errors)") {
                    (try? site.committedRecords()) ?? 0 > before || !program.isRunning
                }
                try await Task.sleep(for: .milliseconds(random.random(2000)))
                try await Command.run("CLVD_TEST_BROKER_KILL")
                // Within a session and beyond.
                try? await Task.sleep(for: .milliseconds(kill % 3 == 0 ? 8000 : 500))
                try await Command.run("CLVD_TEST_BROKER_START")
            }
            let sent = try await feeder.stop()
            try await m.reaches(sent, site, program, seconds: 60)
            m.reads(program, ["begins again"], "nothing was said of it")
            m.did("\(program.count("the pipeline ends and begins again")) new lives")
            try await m.stops(program)
            let found = try await site.outcome()
            m.counts(found, double: delivery == .exactlyOnce ? 0 : found.double)
            try await m.verify(site)
        }
    }
}

/// Three brokers, replication 3, `min.insync.replicas` 2, under two instances and a stream that never stops.
@Suite(
    .serialized,
    .enabled(
        if: Mistake.areAsked && Command.isGiven("CLVD_TEST_CLUSTER") && Command.isGiven("CLVD_TEST_CLUSTER_CONTROL"),
        "CLVD_TEST_CLUSTER and CLVD_TEST_CLUSTER_CONTROL are not set"))
struct ClusterMistakeTests {
    private static let control = "CLVD_TEST_CLUSTER_CONTROL"

    /// Two instances, what they are fed, and what is done to the brokers under them.
    private final class Scene {
        let m: Mistake
        let site: Site
        private(set) var programs: [RunningProgram]
        let feeder: Feeder
        let administration: Administration

        init(_ m: Mistake, _ site: Site) throws {
            (self.m, self.site) = (m, site)
            programs = [try m.start(site), try m.start(site.instance("1"))]
            feeder = Feeder(site, seed: 31, perSecond: 200)
            administration = try Administration(site.cluster)
        }

        var logs: String { programs.map(\.errors).joined(separator: "\n") }

        /// Waits until all that was sent before is committed.
        func commits(_ what: String) async throws {
            let start = ContinuousClock.now
            let sent = feeder.sent
            try await eventually(150, "\(what): \(sent) records are not committed\n\(logs.suffix(4000))") {
                try? startAborted()
                return (try? site.committedRecords()) ?? 0 >= sent || programs.contains { !$0.isRunning }
            }
            m.note(
                "\(what): \((ContinuousClock.now - start).components.seconds) s until all sent by then was committed")
            guard programs.contains(where: { !$0.isRunning }) else { return }
            throw Late(description: "\(what): an instance has ended")
        }

        /// librdkafka before 2.3.0 ends the process when a member that never was assigned leaves a cooperative group
        /// (confluentinc/librdkafka#4312); a supervisor starts it again.
        private func startAborted() throws {
            for i in programs.indices where !programs[i].isRunning {
                guard programs[i].errors.contains("rd_kafka_sticky_assignor_state_destroy") else { continue }
                m.did("started again after an abort of librdkafka")
                m.note(programs[i].errors)
                programs[i] = try m.start(i == 0 ? site : site.instance("\(i)"))
            }
        }

        func healed() async throws {
            try await eventually(60, "all replicas are in sync") { administration.leastInSync() == 3 }
        }
    }

    @Test(arguments: Settings.Delivery.allCases) func threeBrokers(delivery: Settings.Delivery) async throws {
        let id = delivery == .exactlyOnce ? "12" : "12-alo"
        let what =
            "three brokers: leader killed, one cut off, rolling restart, coordinators killed, \(delivery.rawValue)"
        try await Mistake.commit(id, what) { m in
            let servers = try #require(ProcessInfo.processInfo.environment["CLVD_TEST_CLUSTER"])
            let site = try Site(Cluster(brokers: servers), delivery, partitions: 4, outputPartitions: 4) {
                $0.learning(false)
                $0.snapshots.intervalSeconds = 2
                $0.runtime.reportIntervalSeconds = 1
                $0.kafka.properties = ["session.timeout.ms": "10000"]
            }
            let scene = try Scene(m, site)
            try await eventually(60, "both have partitions\n\(scene.logs)") {
                scene.programs.allSatisfy { $0.errors.contains("partition begins") }
            }
            do { try await Self.play(scene) } catch {
                _ = try? await scene.feeder.stop()
                for program in scene.programs {
                    m.note(program.errors)
                    if !program.isRunning { m.did("exit \(try await program.status())") }
                }
                m.reads(scene.programs.first { !$0.isRunning } ?? scene.programs[0], ["error"])
                throw error
            }
            let sent = try await scene.feeder.stop()
            try await m.reaches(sent, site, scene.programs[0], seconds: 60)
            let lives = scene.programs.reduce(0) { $0 + $1.count("the pipeline ends and begins again") }
            m.did("\(lives) new lives")
            m.reads(scene.programs.first { $0.errors.contains("begins again") } ?? scene.programs[0], ["begins"])
            for program in scene.programs { try await m.stops(program) }
            let found = try await site.outcome()
            m.counts(found, double: delivery == .exactlyOnce ? 0 : found.double)
            try await m.verify(site)
        }
    }

    private static func play(_ scene: Scene) async throws {
        let (site, administration) = (scene.site, scene.administration)
        func kill(_ what: String, _ broker: Int32?) async throws {
            let broker = try #require(broker)
            try await Command.run(control, "kill1 \(broker)")
            try await scene.commits("\(what) killed")
            try await Command.run(control, "start1 \(broker)")
            try await scene.healed()
        }
        try await scene.healed()
        try await kill("leader", administration.leader(site.input[0], 0))
        let broker = try #require(administration.leader(site.input[0], 1))
        try await Command.run(control, "pause1 \(broker)")
        do { try await scene.commits("leader cut off") } catch {
            try await Command.run(control, "resume1 \(broker)")
            throw error
        }
        try await Command.run(control, "resume1 \(broker)")
        try await scene.commits("leader back")
        try await scene.healed()
        for broker in 1...3 {
            try await Command.run(control, "stop1 \(broker)")
            try await Command.run(control, "start1 \(broker)")
            try await scene.commits("broker \(broker) restarted")
            try await scene.healed()
        }
        let group = site.settings.kafka.groupId
        try await kill("coordinator of the group", administration.coordinator("__consumer_offsets", of: group))
        guard site.settings.delivery == .exactlyOnce else { return }
        let id = "clvd-\(group)-\(site.settings.kafka.instanceId)"
        try await kill("coordinator of a producer", administration.coordinator("__transaction_state", of: id))
    }
}
