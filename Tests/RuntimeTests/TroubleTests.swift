import Engine
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing
import Verification

/// Brokers that are away, disks that are full, and ends that are asked for.
@Suite struct TroubleTests {
    private static let onMock = Comment("needs the faults of the mock cluster")

    // MARK: The cluster

    @Test(.enabled(if: !Cluster.isReal, onMock)) func waitsForABrokerThatIsDownAtTheStart() async throws {
        let site = try Site(Cluster())
        var shop = Shop()
        try site.produce(shop.events(50))
        try site.cluster.mock?.setBroker(1, up: false)
        let daemon = RunningDaemon(site)
        try await eventually(20, "a word about the cluster") { daemon.log.count("waiting for the cluster") > 0 }
        #expect(daemon.result == nil && daemon.daemon.status.phase == .starting)
        try site.cluster.mock?.setBroker(1, up: true)
        try await daemon.taken(50)
        try await daemon.stop()
        #expect(try await site.updates().count == 50)
    }

    @Test func waitsForItsInputTopicsAndCanBeStopped() async throws {
        var site = try Site(Cluster())
        site.settings.input.topics = ["missing-\(site.cluster.name)"]
        let daemon = RunningDaemon(site)
        try await eventually(20, "a word about the topic") { daemon.log.count("waiting for the input topics") > 0 }
        #expect(daemon.log.count("--create --topic") == 1, "it says how to create it")
        #expect(daemon.log.text.contains("missing-\(site.cluster.name)"))
        try await daemon.stop(seconds: 5)
        #expect(try site.snapshots().isEmpty)
    }

    @Test func missingOutputTopicsAreNamedWithTheCommandThatCreatesThem() async throws {
        var site = try Site(Cluster())
        site.settings.output.alertsTopic = "none-\(site.cluster.name)"
        site.settings.output.createTopics = false
        let outcome = try await RunningDaemon(site).ended()
        let error = #expect(throws: TopicCreationError.self) { try outcome.get() }
        #expect(error?.description.contains("--create --topic none-\(site.cluster.name) --partitions 1") == true)
    }

    @Test(.enabled(if: !Cluster.isReal, onMock), arguments: Settings.Delivery.allCases)
    func aBrokerThatIsAwayForSomeSecondsCostsNothing(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) {
            $0.kafka.properties["session.timeout.ms"] = "20000"
            $0.runtime.batchRecords = 50
            $0.learning(false)
        }
        let daemon = try await Self.outage(of: 3, site)
        #expect(daemon.log.count("trouble with Kafka") + daemon.log.count("Kafka answers slowly") > 0)
        #expect(daemon.daemon.status.restarts == 0, "\(daemon.log.text)")
        // An idempotent producer repeats nothing that the broker has; nor does the reader.
        #expect(try await site.updates().count == 2000 && daemon.counters.records == 2000)
    }

    /// The group takes the partitions away, and gives them back. What was not committed then is made and said again.
    @Test(.enabled(if: !Cluster.isReal, onMock), arguments: Settings.Delivery.allCases)
    func aBrokerThatIsAwayForLongerThanASessionCostsARestart(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) {
            $0.runtime.batchRecords = 50
            $0.learning(false)
        }
        let daemon = try await Self.outage(of: 6, site)
        #expect(daemon.daemon.status.restarts > 0, "\(daemon.log.text)")
        #expect(daemon.log.count("the pipeline ends and begins again") > 0)
        #expect(daemon.counters.records == 2000)
        let updates = try await site.updates()
        // The same words each time.
        #expect(Set(updates.map(\.record.value)).count == 2000)
        guard delivery == .atLeastOnce else { return }  // The mock forgets what was committed in transactions.
        let begins = daemon.log.text.matches(of: /publish_from=(\d+)/).compactMap { Int64($0.1) }
        let repeated = Dictionary(grouping: updates, by: \.source.offset).filter { $1.count > 1 }.keys
        #expect(begins.count > 1 && repeated.allSatisfy { $0 >= begins[1] }, "only what was not committed is repeated")
    }

    /// Runs a daemon over 2,000 records, in the middle of which the broker goes away for some seconds.
    private static func outage(of seconds: Int, _ site: Site) async throws -> RunningDaemon {
        var shop = Shop()
        let inputs = shop.events(2000)
        try site.produce(inputs[..<1000])
        let daemon = RunningDaemon(site)
        try await daemon.taken(200)
        try site.cluster.mock?.setBroker(1, up: false)
        try await Task.sleep(for: .seconds(seconds))
        try site.cluster.mock?.setBroker(1, up: true)
        try site.produce(inputs[1000...])
        try await eventually(40, "all records\n\(daemon.log.text)") {
            if let result = daemon.result { try result.get() }
            return daemon.counters.records == 2000 && daemon.daemon.status.phase == .live
        }
        try await daemon.stop()
        #expect(try await Set(site.updates().map(\.source.offset)) == Set(0..<2000), "nothing is missing")
        try site.verified(records: 2000)
        return daemon
    }

    /// What a broker refuses in a transaction is made again, from the same bytes.
    @Test(
        .enabled(if: !Cluster.isReal, onMock),
        arguments: [MockCluster.Request.addPartitionsToTransaction, .transactionalOffsetCommit])
    func aTransactionThatIsRefusedIsMadeAgain(request: MockCluster.Request) async throws {
        let site = try Site(Cluster(), .exactlyOnce) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(400))
        site.cluster.mock?.refuseNext(
            request,
            with: [request == .transactionalOffsetCommit ? .groupAuthorizationFailed : .topicAuthorizationFailed])
        let daemon = RunningDaemon(site)
        try await daemon.taken(400)
        try await daemon.stop()
        #expect(daemon.log.count("a transaction is made again") == 1, "\(daemon.log.text)")
        #expect(daemon.daemon.status.restarts == 0)
        // The mock does not hide what was aborted.
        let updates = try await site.updates()
        #expect(Set(updates.map(\.source.offset)) == Set(0..<400))
        try site.verified(records: 400)
        #expect(Set(updates.map(\.record.value)).count == 400)
    }

    /// While a group shares its partitions out anew it takes no offsets. Nothing is lost by it, and nothing begins anew.
    @Test(.enabled(if: !Cluster.isReal, onMock), arguments: Settings.Delivery.allCases)
    func aGroupThatTakesNoOffsetsForAWhileIsWaitedFor(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(400))
        site.cluster.mock?.refuseNext(
            delivery == .exactlyOnce ? .transactionalOffsetCommit : .offsetCommit,
            with: [.rebalanceInProgress])
        let daemon = RunningDaemon(site)
        try await daemon.taken(400)
        try await daemon.stop()
        #expect(daemon.daemon.status.restarts == 0, "\(daemon.log.text)")
        let updates = try await site.updates()
        #expect(Set(updates.map(\.source.offset)) == Set(0..<400))
        try site.verified(records: 400)
        #expect(Set(updates.map(\.record.value)).count == 400)
        if delivery == .atLeastOnce {
            #expect(updates.count == 400, "outputs are not said again for want of a commit")
            let committed = try site.cluster.committed(site.input[0], group: site.settings.kafka.groupId)
            #expect(committed[0]?.offset == 400)
        }
    }

    @Test(.enabled(if: !Cluster.isReal, onMock)) func aFencedDaemonEndsAndSaysWhy() async throws {
        let site = try Site(Cluster(), .exactlyOnce) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(100))
        site.cluster.mock?.refuseNext(.endTransaction, with: [.producerFenced])
        let program = try RunningProgram(site)
        #expect(try await program.status() == 4)
        #expect(program.errors.contains("another instance with kafka.instanceId 0"), "\(program.errors)")
        #expect(try site.snapshots().isEmpty, "the folder is another's")
    }

    /// A broker that crashed may fence a member that nobody has replaced.
    @Test(.enabled(if: !Cluster.isReal, onMock), arguments: Settings.Delivery.allCases)
    func aFenceWithoutAnotherInstanceCostsARestart(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(100))
        let daemon = RunningDaemon(site)
        try await daemon.taken(100)
        site.cluster.mock?.refuseNext(.heartbeat, with: [.instanceFenced])
        try await eventually(40, "the second life\n\(daemon.log.text)") {
            if let result = daemon.result { try result.get() }
            return daemon.daemon.status.restarts == 1 && daemon.log.count("partition begins") == 2
        }
        try site.produce(shop.events(100))
        // From the first one on: the mock forgets what is committed in transactions, and the state is made again.
        try await eventually(20, "the rest\n\(daemon.log.text)") { daemon.counters.records >= 200 }
        try await daemon.stop()
        #expect(daemon.log.count("it seems that no other instance has taken over") == 1, "\(daemon.log.text)")
        let evidence = delivery == .exactlyOnce ? "the producer was not fenced" : "the group does not answer"
        #expect(daemon.log.count(evidence) == 1, "\(daemon.log.text)")
        // What was published exactly once, only a real broker shows: the mock has no transactions to speak of.
        if delivery == .atLeastOnce {
            #expect(try await Set(site.updates().map(\.source.offset)) == Set(0..<200))
        }
    }

    /// A leader that was behind may say that it does not have an offset. It has it when it is asked again.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func anOffsetThatIsThereAfterAllIsRead() async throws {
        let site = try Site(Cluster()) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(200))
        let daemon = RunningDaemon(site)
        try await daemon.taken(200)
        try await site.settled(200, daemon.log.text)
        site.cluster.mock?.refuseNext(.fetch, with: [.offsetOutOfRange])
        try await eventually(20, "the second life\n\(daemon.log.text)") { daemon.daemon.status.restarts == 1 }
        try site.produce(shop.events(100))
        try await site.settled(300, daemon.log.text)
        try await daemon.stop()
        let accounts = try await site.accounts(300)
        #expect(accounts.missing == 0 && accounts.double == 0)
    }

    /// A broker bars a producer whose transaction was open for too long as if another had taken over. Nobody has.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func aTransactionThatExpiredCostsARestart() async throws {
        let site = try Site(Cluster(), .exactlyOnce) {
            $0.kafka.properties["transaction.timeout.ms"] = "1000"
            $0.output.commitIntervalMs = 2000
            $0.learning(false)
        }
        var shop = Shop()
        try site.produce(shop.events(100))
        site.cluster.mock?.refuseNext(.endTransaction, with: [.producerFenced])
        let daemon = RunningDaemon(site)
        try await eventually(40, "the second life\n\(daemon.log.text)") {
            if let result = daemon.result { try result.get() }
            return daemon.daemon.status.restarts == 1 && daemon.daemon.status.commits > 0
        }
        try await daemon.stop()
        #expect(daemon.log.count("transaction.timeout.ms") == 1, "\(daemon.log.text)")
        #expect(try await Set(site.updates().map(\.source.offset)) == Set(0..<100))
    }

    // MARK: The end

    @Test(arguments: Settings.Delivery.allCases) func aTermSignalDrains(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) { $0.runtime.batchRecords = 16 }
        var shop = Shop()
        let inputs = shop.events(1500)
        try site.produce(inputs)
        let program = try RunningProgram(site)
        try await eventually(30, "a first update\n\(program.errors)") {
            try site.cluster.end(of: site.settings.output.updatesTopic) > 0
        }
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        // Everything taken in was published and committed, and is in the snapshot: the three agree.
        let position = try #require(try site.snapshots().first?.position)
        #expect(try await site.updates().map(\.source.offset) == Array(0..<position))
        #expect(position > 0)
        if delivery == .atLeastOnce || Cluster.isReal {
            let committed = try site.cluster.committed(site.input[0], group: site.settings.kafka.groupId)
            #expect(committed[0]?.offset == position)
        }
    }

    // MARK: The disk

    /// A state that is ahead of what is committed would go on after a crash without what it never said.
    @Test(arguments: Cluster.isReal ? Settings.Delivery.allCases : [.atLeastOnce])
    func aSnapshotHoldsNothingThatIsNotCommitted(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) {
            $0.snapshots.intervalSeconds = 1
            $0.output.commitIntervalMs = 30_000
            $0.learning(false)
        }
        var shop = Shop()
        let daemon = RunningDaemon(site)
        for round in 1...2 {
            try site.produce(shop.events(100))
            try await eventually(20, "a snapshot\n\(daemon.log.text)") {
                daemon.daemon.status.snapshot?.position == Int64(100 * round)
            }
            let committed = try site.cluster.committed(site.input[0], group: site.settings.kafka.groupId)
            #expect(committed[0]?.offset == Int64(100 * round))
        }
        try await daemon.stop()
    }

    @Test func theStreamGoesOnWithoutItsSnapshotFolder() async throws {
        let site = try Site(Cluster()) {
            $0.snapshots.intervalSeconds = 1
            $0.learning(false)
        }
        var shop = Shop()
        let inputs = shop.events(600)
        try site.produce(inputs[..<200])
        let daemon = RunningDaemon(site)
        try await daemon.taken(200)
        try await eventually(10, "a snapshot") { daemon.daemon.status.snapshot?.position == 200 }
        try FileManager.default.removeItem(atPath: site.settings.snapshots.directory)
        try site.produce(inputs[200..<400])
        try await eventually(15, "a failure that is counted\n\(daemon.log.text)") {
            daemon.daemon.status.snapshotFailures > 0
        }
        #expect(daemon.log.count("no snapshot was taken; the stream goes on") > 0)
        #expect(daemon.log.text.contains(site.settings.snapshots.directory))
        try site.produce(inputs[400...])
        try await daemon.taken(600)
        try await daemon.stop()
        #expect(daemon.daemon.status.restarts == 0)
        #expect(try await site.updates().map(\.source.offset) == Array(0..<600))
        // The next start has the log.
        let again = RunningDaemon(site)
        try await again.taken(600)
        try await again.stop()
        #expect(try await site.updates().count == 600 && site.snapshots().first?.position == 600)
    }
}
