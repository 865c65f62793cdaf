import Engine
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing

/// What happens around the daemon and is none of its doing: brokers, topics, disks, clocks, people at a terminal.
@Suite struct OutsideFaultTests {
    private static let onMock = Comment("needs the faults of the mock cluster")

    // MARK: Brokers

    /// Leaders of partitions and the group's coordinator move from broker to broker in the middle of the stream.
    @Test(.enabled(if: !Cluster.isReal, onMock), arguments: Settings.Delivery.allCases)
    func leadersChange(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(brokers: 3), delivery, partitions: 2) {
            $0.kafka.properties["session.timeout.ms"] = "20000"
            $0.runtime.batchRecords = 50
            $0.learning(false)
        }
        let mock = try #require(site.cluster.mock)
        var shop = Shop(seed: 21)
        let daemon = RunningDaemon(site)
        for round in 0..<6 {
            try site.produce(site.events(&shop, 200))
            let broker = 1 + round % 3
            try mock.setLeader(of: site.input[0], Int32(round % 2), to: broker)
            try mock.setLeader(of: site.settings.output.updatesTopic, 0, to: 1 + (round + 1) % 3)
            try mock.setCoordinator(ofGroup: site.settings.kafka.groupId, to: broker)
            try await Task.sleep(for: .milliseconds(100))
        }
        try await daemon.taken(1200, seconds: 60)
        try await daemon.stop()
        let accounts = try await site.accounts(1200)
        #expect(accounts.missing == 0 && daemon.counters.records == 1200)
        // The mock does not hide what was aborted.
        if delivery == .atLeastOnce { #expect(accounts.double == 0) }
        #expect(daemon.daemon.status.restarts == 0, "\(daemon.log.text)")
    }

    // MARK: Topics

    /// The client would never read on, not even when it is back.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func aTopicThatVanishesIsWaitedFor() async throws {
        let site = try Site(Cluster()) {
            $0.kafka.properties["topic.metadata.refresh.interval.ms"] = "200"
            $0.learning(false)
        }
        let mock = try #require(site.cluster.mock)
        var shop = Shop(seed: 22)
        try site.produce(shop.events(200))
        let daemon = RunningDaemon(site)
        try await daemon.taken(200)
        try await site.settled(200, daemon.log.text)
        mock.setTopic(site.input[0], exists: false)
        try await eventually(40, "a word about the topic\n\(daemon.log.text)") {
            daemon.log.count("waiting for the input topics missing=\(site.input[0])") > 0
        }
        #expect(daemon.result == nil)
        mock.setTopic(site.input[0], exists: true)
        try site.produce(shop.events(200))
        try await eventually(60, "the rest\n\(daemon.log.text)") {
            if let result = daemon.result { try result.get() }
            return daemon.counters.records == 400
        }
        try await daemon.stop()
        let accounts = try await site.accounts(400)
        #expect(accounts.missing == 0 && accounts.double == 0)
    }

    /// A topic of the same name that was made anew is not the one whose records are in the state.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func aTopicMadeAnewIsRefused() async throws {
        let site = try Site(Cluster()) { $0.learning(false) }
        var shop = Shop(seed: 23)
        try site.produce(shop.events(200))
        let first = RunningDaemon(site)
        try await first.taken(200)
        try await first.stop()
        let (anew, grown) = try Self.madeAnew(site, partitions: 1)
        try anew.produce(shop.events(50), to: site.input[0])
        let outcome = try await RunningDaemon(grown).ended()
        let error = #expect(throws: RecoveryError.self) { try outcome.get() }
        #expect(error?.description.contains("the topic was made anew") == true)
        #expect(error?.description.contains("snapshots.acceptGap: true") == true)
    }

    /// The same topics in another cluster, and the settings that name it.
    private static func madeAnew(_ site: Site, partitions: Int) throws -> (Cluster, Site) {
        let cluster = try Cluster()
        try cluster.createTopics(site.input, partitions: partitions)
        let output = site.settings.output
        try cluster.createTopics([output.updatesTopic, output.alertsTopic, output.deadLetterTopic], partitions: 1)
        var settings = site.settings
        settings.kafka.bootstrapServers = cluster.bootstrap
        // Of the other cluster only the log matters here.
        settings.snapshots.acceptOrigin = true
        settings.snapshots.acceptMissingOffsets = true
        return (cluster, site.with(settings))
    }

    /// The mock cannot add partitions to a topic: another of the same name has the same records, and more partitions.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func aTopicMayHaveGotMorePartitions() async throws {
        let site = try Site(Cluster()) {
            $0.kafka.properties["session.timeout.ms"] = "3000"
            // Customers who move to the new partition leave their states behind.
            $0.input.keying = .asIs
        }
        var shop = Shop(seed: 24)
        let inputs = shop.events(1500)
        try site.produce(inputs)
        let first = RunningDaemon(site)
        try await first.taken(1500)
        try await first.stop()
        let (cluster, grown) = try Self.madeAnew(site, partitions: 3)
        try cluster.produce(inputs, to: site.input[0])
        var more = shop.events(30)
        for i in more.indices { more[i].partition = i < 20 ? 2 : 0 }
        try cluster.produce(more, to: site.input[0])
        let second = RunningDaemon(grown)
        try await second.taken(30)
        try await second.stop()
        #expect(second.log.count("customers are in more than one partition") == 1)
        #expect(second.counters.records == 1530 && second.log.count(" from=0 ") == 1, "\(second.log.text)")
        let updates = try await cluster.read(site.settings.output.updatesTopic)
        #expect(updates.count == 30)
    }

    /// `latest` is for the first start. A partition that comes later than that was never seen: it begins at its first
    /// record. Where the first start began is committed at once.
    @Test func partitionsThatComeLaterAreReadFromTheirBeginning() async throws {
        func site() throws -> Site {
            try Site(Cluster(), partitions: 2) {
                $0.input.start = .latest
                $0.learning(false)
            }
        }
        var shop = Shop(seed: 25)
        let group = try site()
        try group.produce(group.events(&shop, 80))
        let first = RunningDaemon(group)
        try await group.settled(80, first.log.text)
        try await first.stop()
        #expect(try await group.updates().isEmpty, "what was there before is not wanted")
        try group.produce(group.events(&shop, 40))
        let second = RunningDaemon(group)
        try await second.taken(40)
        try await second.stop()
        #expect(try await group.updates().count == 40)

        // Of the other partition nothing is known, while the group has been at work.
        let other = try site()
        let events = other.events(&shop, 60)
        try other.produce(events)
        let count = events.count { $0.partition == 0 }
        try #require(count > 10 && count < 50)
        let member = try Consumer(
            bootstrap: other.cluster.bootstrap, groupId: other.settings.kafka.groupId, instanceId: nil,
            topics: other.input, batchRecords: 1, properties: [:], logger: first.log.logger)
        let accepted = CommitMetadata(offset: Int64(count), clock: nil).text
        try member.commit([
            TopicPartition(other.input[0], 0): PartitionOffset(offset: Int64(count), metadata: accepted)
        ])
        member.close()
        let third = RunningDaemon(other)
        try await third.taken(60)
        try await third.stop()
        let updates = try await other.updates()
        #expect(updates.count == 60 - count && updates.allSatisfy { $0.source.partition == 1 })
    }

    // MARK: The disk

    /// The stream goes on, the failure is counted and told, the last good snapshot stays; with room, the next succeeds.
    @Test(.enabled(if: Disk.isPermitted, "needs the right to mount")) func aFullDisk() async throws {
        let folder = try Folder()
        let disk = try Disk(folder.path, megabytes: 8)
        defer { disk.end() }
        let site = try Site(Cluster()) {
            $0.snapshots.directory = "\(folder.path)/snapshots"
            $0.snapshots.intervalSeconds = 1
            $0.learning(false)
        }
        var shop = Shop(seed: 26)
        try site.produce(shop.events(200))
        let daemon = RunningDaemon(site)
        try await eventually(20, "a snapshot\n\(daemon.log.text)") { daemon.daemon.status.snapshot?.position == 200 }
        let filler = try disk.fill()
        try site.produce(shop.events(200))
        try await eventually(20, "a failure that is counted\n\(daemon.log.text)") {
            daemon.daemon.status.snapshotFailures > 0
        }
        #expect(daemon.log.text.contains("error no snapshot was taken; the stream goes on and the last one stays"))
        #expect(daemon.log.text.contains("No space left on device"), "\(daemon.log.text)")
        let left = try site.snapshots()
        #expect(left.map(\.position) == [200])
        #expect(try SnapshotStore.open(path: try #require(left.first).path).info.position == 200, "it is whole")
        try await daemon.taken(400)
        try FileManager.default.removeItem(atPath: filler)
        try site.produce(shop.events(200))
        try await eventually(20, "a snapshot\n\(daemon.log.text)") { daemon.daemon.status.snapshot?.position == 600 }
        try await daemon.stop()
        #expect(daemon.daemon.status.restarts == 0)
        let accounts = try await site.accounts(600)
        #expect(accounts.missing == 0 && accounts.double == 0)
    }

    // MARK: The clock

    /// The loop measures time by a clock that only goes forward. The wall's may jump: nobody falls silent by it, and
    /// commits go on. (Snapshots are left to the end: a process that is forked may hang in libfaketime.)
    @Test(.enabled(if: Clock.isThere, "needs faketime")) func aClockThatJumps() async throws {
        let site = try Site(Cluster()) {
            $0.kafka.properties["session.timeout.ms"] = "30000"
            $0.runtime.idleTickSeconds = 1
            $0.engine.time.allowedLatenessSeconds = 0
            $0.engine.alerts.rescoreHours = 1
            $0.engine.alerts.raiseThreshold = 1e-6
            $0.engine.alerts.clearThreshold = 1e-7
        }
        var shop = Shop(seed: 27)
        var inputs = shop.events(2500)
        // Just after a full hour: no other is full within the time of the test.
        let time = (shop.now / 3_600_000 + 1) * 3_600_000 + 1000
        inputs.append(
            Input(
                key: Array("last".utf8), value: Shop.json(user: "last", type: "view", at: time, id: "last"),
                timestampMs: time))
        try site.produce(inputs)
        let clock = try Clock(site.folder)
        let program = try RunningProgram(site, environment: clock.environment)
        try await site.settled(inputs.count, program.errors)
        let alerts = try await site.alerts().count
        for (round, jump) in ["+30d", "-30d", "+0"].enumerated() {
            try clock.set(jump)
            // Some ticks of the idle stream.
            try await Task.sleep(for: .seconds(3))
            #expect(try await site.alerts().count == alerts, "nobody has been silent for longer, \(jump)")
            let value = Shop.json(user: "last", type: "view", at: time + Int64(round) + 1, id: "last-\(round)")
            try site.produce([Input(key: Array("last".utf8), value: value, timestampMs: time)])
            try await site.settled(inputs.count + round + 1, program.errors)
        }
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        #expect(try site.snapshots().first?.position == Int64(inputs.count + 3))
    }

    // MARK: People

    /// The first asks it to drain, which it cannot while the broker is away; the second ends it, and the next start recovers.
    @Test(.enabled(if: !Cluster.isReal, onMock), arguments: [SIGINT, SIGTERM])
    func whoeverAsksTwiceMeansIt(signal: Int32) async throws {
        let site = try Site(Cluster()) {
            // No commit of its own before the broker is gone, however slow the machine.
            $0.output.commitIntervalMs = 30_000
            $0.learning(false)
        }
        var shop = Shop(seed: 28)
        try site.produce(shop.events(100))
        let program = try RunningProgram(site)
        try await eventually(30, "its partition\n\(program.errors)") { program.count("partition begins") > 0 }
        // What is taken in shows only when it is committed, which is not to be.
        try await Task.sleep(for: .seconds(5))
        try site.cluster.mock?.setBroker(1, up: false)
        program.send(signal)
        try await eventually(10, "the drain\n\(program.errors)") { program.count("draining") > 0 }
        try await Task.sleep(for: .seconds(1))
        #expect(program.isRunning, "it waits for the broker")
        program.send(signal)
        #expect(try await program.status(seconds: 5) == signal)
        try site.cluster.mock?.setBroker(1, up: true)
        var settings = site.settings
        settings.output.commitIntervalMs = 50
        let again = RunningDaemon(site.with(settings))
        try await again.taken(100)
        try await again.stop()
        // It had not committed them.
        let updates = try await site.updates()
        #expect(Set(updates.map(\.source.offset)) == Set(0..<100) && Set(updates.map(\.record.value)).count == 100)
        #expect(again.counters.records == 100)
    }

    // MARK: Users

    /// More users than there is room for: those idle longest go, memory stays, every record has its update.
    @Test func theUserCapHolds() async throws {
        let site = try Site(Cluster()) {
            $0.engine.state.maxUsers = 1024
            $0.learning(false)
        }
        var shop = Shop(seed: 29, users: 5000)
        try site.produce(shop.events(3000))
        let daemon = RunningDaemon(site)
        try await daemon.taken(3000)
        try await daemon.stop()
        let report = try #require(daemon.daemon.status.report)
        #expect(report.users <= 1024 && report.users > 900)
        #expect(report.counters.evictedByCap > 1000 && report.counters.accepted == 3000)
        #expect(report.userBytes < 4 << 20)
        #expect(try await site.accounts(3000).missing == 0)
    }
}

/// A disk of some megabytes, in memory.
private struct Disk {
    static let isPermitted: Bool = {
        guard let folder = try? Folder(), let disk = try? Disk(folder.path, megabytes: 1) else { return false }
        disk.end()
        return true
    }()

    let path: String

    init(_ path: String, megabytes: Int) throws {
        self.path = path
        try #require(mount("tmpfs", path, "tmpfs", 0, "size=\(megabytes)m") == 0)
    }

    /// Leaves no room at all.
    func fill() throws -> String {
        let filler = "\(path)/filler"
        _ = FileManager.default.createFile(atPath: filler, contents: nil)
        let file = try #require(FileHandle(forWritingAtPath: filler))
        defer { try? file.close() }
        for size in [1 << 20, 1 << 12] { while (try? file.write(contentsOf: Data(count: size))) != nil {} }
        return filler
    }

    func end() { umount2(path, Int32(MNT_DETACH)) }
}

/// A wall clock that a test sets, for a program (libfaketime). What goes forward only is left alone.
private struct Clock {
    private static let library = "/usr/lib/\(architecture)-linux-gnu/faketime/libfaketime.so.1"
    static var isThere: Bool { FileManager.default.fileExists(atPath: library) }

    #if arch(arm64)
        private static let architecture = "aarch64"
    #else
        private static let architecture = "x86_64"
    #endif

    private let file: String

    init(_ folder: Folder) throws { file = try folder.write("+0", to: "clock") }

    var environment: [String: String] {
        [
            "LD_PRELOAD": Self.library, "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        ]
    }

    func set(_ offset: String) throws { try offset.write(toFile: file, atomically: true, encoding: .utf8) }
}
