import Engine
import Foundation
import Kafka
import Runtime
import Settings
import Testing

/// Whose log, whose offsets and whose snapshots these are: what people and other programs do to them is noticed.
@Suite struct LineageTests {
    private static let onMock = Comment("needs the mock cluster")
    private static let onReal = Comment("needs a real broker (CLVD_TEST_BOOTSTRAP)")
    /// One whose offsets the cluster keeps.
    private static let delivery: Settings.Delivery = Cluster.isReal ? .exactlyOnce : .atLeastOnce

    private static func site(
        _ delivery: Settings.Delivery = delivery, _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        try Site(Cluster(), delivery) {
            $0.learning(false)
            change(&$0)
        }
    }

    /// Sends records, has a daemon take them in, and stops it.
    @discardableResult
    private func run(_ site: Site, _ inputs: [Input], taking records: Int? = nil) async throws -> RunningDaemon {
        try site.produce(inputs)
        let daemon = RunningDaemon(site)
        try await daemon.taken(records ?? inputs.count)
        try await daemon.stop()
        return daemon
    }

    /// Starts a daemon, which has to refuse.
    private func refused(_ site: Site, _ parts: String...) async throws {
        let daemon = RunningDaemon(site)
        let outcome = try await daemon.ended(seconds: 60)
        let error = #expect(throws: RecoveryError.self) { try outcome.get() }
        for part in parts { #expect(error?.description.contains(part) == true, "\(part) is not in \(error!)") }
    }

    /// Commits an offset as another program of the group does, once the daemon's place in it is free.
    private func commit(_ site: Site, _ offset: Int64, _ metadata: String = "") async throws {
        let consumer = try Consumer(
            bootstrap: site.cluster.bootstrap, groupId: site.settings.kafka.groupId, instanceId: nil,
            topics: site.input, batchRecords: 100, properties: site.settings.kafka.properties, logger: Log().logger)
        defer { consumer.close() }
        try consumer.subscribe()
        let target = PartitionOffset(offset: offset, metadata: metadata)
        try await eventually(40, "a partition for the other program") {
            let poll = consumer.poll(milliseconds: 10)
            consumer.release()
            guard case .assign(let list)? = poll.rebalance else { return false }
            try consumer.assign(Dictionary(uniqueKeysWithValues: list.map { ($0, target) }))
            if list.isEmpty { return false }
            try consumer.commit([list[0]: target])
            return true
        }
    }

    private func accept(_ site: Site, _ offset: Int64) async throws {
        try await commit(site, offset, CommitMetadata(offset: offset, clock: nil).text)
    }

    /// Offsets of records with an update, those with two of them twice.
    private func published(_ site: Site) async throws -> [Int64] {
        try await site.updates().map(\.source.offset).sorted()
    }

    // MARK: Offsets

    /// A consumer of another program, or `--reset-offsets --shift-by`.
    @Test func anOffsetMovedForwards() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 81)
        try await run(site, shop.events(200))
        try site.produce(shop.events(100))
        try await commit(site, 260)
        try await refused(
            site, "\(site.input[0])[0]: the group is at offset 260, which clvd did not commit (its metadata is \"\")",
            "the newest snapshot is at 200", "moved forwards", "`clvd offsets rewind --to published`",
            "`clvd offsets accept`")
        #expect(try await published(site) == Array(0..<200))
        try await accept(site, 260)
        try await run(site, [], taking: 100)
        #expect(try await published(site) == Array(0..<200) + Array(260..<300))
        try await run(site, shop.events(10))
    }

    /// `--reset-offsets`: an older snapshot would be taken, and what was published published again.
    @Test func anOffsetMovedBackwards() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 82)
        try await run(site, shop.events(100))
        try await run(site, shop.events(100))
        try await commit(site, 150)
        try await refused(
            site, "the group is at offset 150", "the newest snapshot is at 200", "moved backwards",
            "the records from 150 on will be published again")
        try await accept(site, 150)
        try site.produce(shop.events(10))
        // It is killed before a snapshot: what is beyond is no surprise at the next start either.
        let program = try RunningProgram(site)
        try await site.published(through: 209, program)
        try await site.settled(210, program.errors)
        program.kill()
        _ = try await program.status()
        try await run(site, shop.events(10), taking: 10)
        #expect(try await published(site) == (Array(0..<220) + Array(150..<200)).sorted())
    }

    /// The mock forgets what is committed in transactions, as a group that was deleted does.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func nothingIsCommitted() async throws {
        let site = try Self.site(.exactlyOnce) { $0.snapshots.acceptMissingOffsets = false }
        var shop = Shop(seed: 83)
        try await run(site, shop.events(100))
        try await refused(
            site,
            "the newest snapshot is at offset 100, but the group \"\(site.settings.kafka.groupId)\" has committed "
                + "nothing", "snapshots.acceptMissingOffsets: true")
        var settings = site.settings
        settings.snapshots.acceptMissingOffsets = true
        try await run(site.with(settings), shop.events(10))
        #expect(try await published(site) == Array(0..<110))
    }

    /// The snapshots are lost after a start at the end of the log: the state is not made of what was not wanted.
    @Test func whereTheGroupBeganIsRemembered() async throws {
        let site = try Self.site { $0.input.start = .latest }
        var shop = Shop(seed: 84)
        try site.produce(shop.events(80))
        let first = try RunningProgram(site)
        try await site.settled(80, first.errors)
        try site.produce(shop.events(40))
        try await site.published(through: 119, first)
        try await site.settled(120, first.errors)
        first.kill()
        _ = try await first.status()
        let second = try await run(site, shop.events(10), taking: 50)
        #expect(second.counters.records == 50)
        #expect(second.log.count("the state is made again from 80 to the committed 120") == 1, "\(second.log.text)")
        #expect(try await published(site) == Array(80..<130))
    }

    // MARK: Snapshots

    @Test func aFolderBelongsToOneGroup() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 85)
        try await run(site, shop.events(100))
        var settings = site.settings
        settings.kafka.groupId += "-other"
        try await refused(
            site.with(settings), "group \(site.settings.kafka.groupId), not \(settings.kafka.groupId)",
            "snapshots.acceptOrigin: true")
        #expect(try await published(site) == Array(0..<100))
        settings.snapshots.acceptOrigin = true
        try await refused(site.with(settings), "has committed nothing", "snapshots.acceptMissingOffsets: true")
        settings.snapshots.acceptMissingOffsets = true
        try await run(site.with(settings), shop.events(10))
        #expect(try await published(site) == Array(0..<110))
        // What it has written itself is its own.
        settings.snapshots.acceptOrigin = false
        settings.snapshots.acceptMissingOffsets = false
        if Cluster.isReal || site.settings.delivery == .atLeastOnce {
            try await run(site.with(settings), shop.events(10))
            #expect(try await published(site) == Array(0..<120))
        }
    }

    /// Another cluster, in which the topic is longer than the state.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func anotherCluster() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 86)
        try await run(site, shop.events(100))
        let other = try Cluster()
        let output = site.settings.output
        try other.createTopics(
            site.input + [output.updatesTopic, output.alertsTopic, output.deadLetterTopic], partitions: 1)
        try other.produce(shop.events(300), to: site.input[0])
        var settings = site.settings
        settings.kafka.bootstrapServers = other.bootstrap
        try await refused(site.with(settings), "cluster mockCluster", "snapshots.acceptOrigin: true")
        settings.snapshots.acceptOrigin = true
        try await refused(site.with(settings), "[0]: the record at offset 99", "made anew", "snapshots.acceptGap: true")
        settings.snapshots.acceptGap = true
        let daemon = RunningDaemon(site.with(settings))
        try await daemon.taken(300)
        try await daemon.stop()
        #expect(try await other.read(output.updatesTopic).count == 300)
        #expect(daemon.counters.records == 400, "the state was kept")
    }

    // MARK: Topics made anew

    @Test(.enabled(if: Cluster.isReal, onReal)) func aTopicMadeAnewWhileDown() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 87)
        try await run(site, shop.events(200))
        try await site.cluster.makeAnew(site.input[0])
        try site.produce(shop.events(600))
        try await refused(
            site, "\(site.input[0])[0]: the record at offset 199 that the state was made of", "made anew",
            "snapshots.acceptGap: true")
        #expect(try await published(site).count == 200)
    }

    /// It stands still meanwhile, or just does not see it; for longer or for less than its session.
    @Test(.enabled(if: Cluster.isReal, onReal), arguments: [0, 1, 9])
    func aTopicMadeAnewWhileAlive(pausedSeconds: Int) async throws {
        let site = try Self.site { $0.snapshots.intervalSeconds = 1 }
        var shop = Shop(seed: 88)
        try site.produce(shop.events(200))
        let program = try RunningProgram(site)
        try await site.settled(200, program.errors)
        try await eventually(20, "a snapshot\n\(program.errors)") { program.count("snapshot taken") > 0 }
        if pausedSeconds > 0 { program.send(SIGSTOP) }
        try await site.cluster.makeAnew(site.input[0])
        try site.produce(shop.events(600))
        try await Task.sleep(for: .seconds(pausedSeconds))
        if pausedSeconds > 0 { program.send(SIGCONT) }
        #expect(try await program.status(seconds: 120) == 3, "\(program.errors)")
        // Before the new topic is filled, the client may find its offset out of range, which ends it as well.
        let isTold = ["[0]: the record at offset 199 that the state was made of", "out of range"].contains {
            program.errors.contains($0)
        }
        #expect(isTold, "\(program.errors)")
        if pausedSeconds > 6 { #expect(try await published(site).count == 200) }
        // A start by hand does not get over it.
        try await refused(site, "made anew")
    }
}
