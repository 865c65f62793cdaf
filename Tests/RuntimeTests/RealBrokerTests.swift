import Engine
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing
import Verification

/// What the mock cluster cannot do: bar those who were replaced, end transactions that take too long, keep offsets that
/// were committed with a transaction, and hide what was aborted.
@Suite(.enabled(if: Cluster.isReal, "needs a real broker (CLVD_TEST_BOOTSTRAP)"))
struct RealBrokerTests {
    /// Sends records for as long as it is there, and counts them.
    private final class Feed {
        private let site: Site
        private let producer: Producer
        private let topic: Producer.Topic
        private var shop: Shop
        private(set) var sent = 0

        init(_ site: Site, seed: UInt64) throws {
            self.site = site
            producer = try site.cluster.producer()
            topic = try producer.topic(site.input[0])
            shop = Shop(seed: seed, users: 40)
        }

        func send(_ records: Int) throws {
            try site.cluster.produce(site.events(&shop, records), to: topic, by: producer)
            sent += records
        }

        /// Sends until the condition holds.
        func until(_ seconds: Double, _ what: @autoclosure () -> String, _ condition: () throws -> Bool) async throws {
            try await eventually(seconds, what()) {
                if try condition() { return true }
                try send(5)
                return false
            }
        }
    }

    private static func site(_ change: (inout Settings) -> Void = { _ in }) throws -> Site {
        try Site(Cluster(), .exactlyOnce, partitions: 2) {
            $0.learning(false)
            $0.runtime.batchRecords = 16
            $0.snapshots.intervalSeconds = 1
            change(&$0)
        }
    }

    /// Everything that was sent has its one output, and state and words are those of an instance by itself.
    private static func expectWhole(_ site: Site, _ feed: Feed) async throws {
        let report = try site.verified(records: feed.sent)
        #expect(report.double == 0)
        try await site.expectSame(as: site.uninterrupted(records: feed.sent), records: feed.sent)
    }

    // MARK: Aborted

    /// What comes last was aborted: nobody waits for it, neither here nor in the eyes of the group.
    @Test func abortedRecordsAtTheEndAreNoLag() async throws {
        let site = try Site(Cluster(), .exactlyOnce) { $0.learning(false) }
        var shop = Shop(seed: 81)
        try site.produce(shop.events(100))
        let daemon = RunningDaemon(site)
        try await daemon.taken(100)
        try await site.settled(100, daemon.log.text)
        let producer = try Producer(
            bootstrap: site.cluster.bootstrap, transactionalId: "aborts-\(site.cluster.name)", properties: [:],
            logger: Log().logger)
        try producer.initTransactions(milliseconds: 30_000)
        try producer.beginTransaction()
        try site.cluster.produce(shop.events(120), to: producer.topic(site.input[0]), by: producer)
        try producer.abortTransaction(milliseconds: 30_000)
        // 120 records and the marker.
        try await site.settled(221, daemon.log.text)
        try await eventually(10, "no lag\n\(daemon.log.text)") { daemon.daemon.status.lag == 0 }
        try await daemon.stop()

        let next = RunningDaemon(site)
        try await eventually(20, "the end\n\(next.log.text)") { next.daemon.status.phase == .live }
        try site.produce(shop.events(10))
        try await next.taken(10)
        try await next.stop()
        #expect(next.counters.records == 110 && next.daemon.status.lag == 0)
        try site.verified(records: 110)
    }

    // MARK: Replaced

    enum Moment: String, CaseIterable {
        /// In the middle of the stream.
        case busy
        /// Without any transaction that could tell it.
        case idle
        /// While it stood still, with a transaction open.
        case paused
        /// The same, for so long that the transaction would have ended by itself.
        case expired
    }

    /// The one that was there before ends with its own exit code, whatever it is doing, and says nothing more.
    @Test(arguments: [true, false], Moment.allCases)
    func whoeverIsReplacedStopsAtOnce(isStatic: Bool, moment: Moment) async throws {
        // Two members of one name in the group, of whom nobody knows which came first.
        if moment == .idle || moment == .expired, !isStatic { return }
        let isPaused = moment == .paused || moment == .expired
        let site = try Self.site {
            $0.kafka.staticMembership = isStatic
            if isPaused { $0.output.commitIntervalMs = 2000 }
            if moment == .expired { $0.kafka.properties["transaction.timeout.ms"] = "3000" }
        }
        let feed = try Feed(site, seed: 41)
        let first = try RunningProgram(site)
        try await feed.until(40, "a beginning\n\(first.errors)") { first.count("partition begins") == 2 }
        if moment == .idle {
            try await site.settled(feed.sent, first.errors)
        } else {
            try feed.send(50)
            try await Task.sleep(for: .seconds(1))
        }
        if isPaused { first.send(SIGSTOP) }
        // On another machine: one folder is used by one process.
        let elsewhere = try Folder()
        let second = try RunningProgram(site.instance("0") { $0.snapshots.directory = "\(elsewhere.path)/snapshots" })
        func logs() -> String { "\(first.errors)\n---\n\(second.errors)" }
        let begun = ContinuousClock.now
        if moment == .idle {
            try await eventually(40, "the second\n\(logs())") { second.count("partition begins") == 2 }
        } else {
            try await feed.until(60, "the second\n\(logs())") {
                second.count("partition begins") == 2 || (!isStatic && moment == .busy && !first.isRunning)
            }
            try feed.send(100)
        }
        if moment == .expired { try await Task.sleep(for: .seconds(4)) }
        if isPaused {
            try await site.settled(feed.sent, logs())
            first.send(SIGCONT)
        }
        #expect(try await first.status(seconds: 20) == 4, "\(logs())")
        print("replaced while \(moment), static \(isStatic): ended \(ContinuousClock.now - begun) after the second")
        #expect(first.errors.contains("another instance with kafka.instanceId 0"), "\(first.errors)")
        #expect(first.count("the pipeline ends and begins again") == 0, "\(first.errors)")
        try feed.send(100)
        try await site.settled(feed.sent, logs())
        second.terminate()
        #expect(try await second.status() == 0, "\(second.errors)")
        #expect(second.count("the pipeline ends and begins again") == 0, "\(second.errors)")
        try await Self.expectWhole(site.instance("0") { $0.snapshots.directory = "\(elsewhere.path)/snapshots" }, feed)
    }

    /// Without transactions only the group knows: the one that was there before makes sure that the other stays.
    @Test func whoeverIsReplacedWithoutTransactionsMakesSureFirst() async throws {
        let site = try Site(Cluster(), .atLeastOnce, partitions: 2) { $0.learning(false) }
        let feed = try Feed(site, seed: 48)
        let first = try RunningProgram(site)
        try await feed.until(40, "a beginning\n\(first.errors)") { first.count("partition begins") == 2 }
        let elsewhere = try Folder()
        let second = try RunningProgram(site.instance("0") { $0.snapshots.directory = "\(elsewhere.path)/snapshots" })
        #expect(try await first.status(seconds: 40) == 4, "\(first.errors)")
        #expect(first.errors.contains("client rdkafka at /127.0.0.1"), "\(first.errors)")
        #expect(first.count("the pipeline ends and begins again") == 0, "\(first.errors)")
        print(first.errors.split(separator: "\n").suffix(2).joined(separator: "\n"))
        try feed.send(100)
        try await site.settled(feed.sent, second.errors)
        second.terminate()
        #expect(try await second.status() == 0, "\(second.errors)")
    }

    // MARK: Transactions

    /// A transaction that is open for too long is ended by the broker, and its producer barred as if it were replaced.
    /// Nobody has replaced it: it goes on with a new one.
    @Test func aTransactionThatRunsOutOfTimeCostsARestart() async throws {
        let site = try Self.site {
            $0.kafka.properties["transaction.timeout.ms"] = "2000"
            $0.kafka.properties["session.timeout.ms"] = "60000"
            $0.output.commitIntervalMs = 1500
            $0.snapshots.intervalSeconds = 3600
        }
        let feed = try Feed(site, seed: 42)
        let program = try RunningProgram(site)
        try await feed.until(40, "a beginning\n\(program.errors)") { program.count("partition begins") == 2 }
        try feed.send(50)
        try await Task.sleep(for: .seconds(1))
        try feed.send(50)
        try await Task.sleep(for: .milliseconds(300))
        program.send(SIGSTOP)
        // Brokers look every ten seconds which ones are over.
        try await Task.sleep(for: .seconds(15))
        program.send(SIGCONT)
        try feed.send(100)
        try await site.settled(feed.sent, program.errors)
        #expect(program.count("open for longer than transaction.timeout.ms") == 1, "\(program.errors)")
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        try await Self.expectWhole(site, feed)
    }

    /// The seconds after which the broker forgets a transactional id that is not used, with what it needs to notice.
    private static let idExpiration = ProcessInfo.processInfo.environment["CLVD_TEST_ID_EXPIRATION"].flatMap {
        Double($0)
    }

    /// A broker forgets ids that are idle: seven days unless told otherwise.
    @Test(.enabled(if: idExpiration != nil, "CLVD_TEST_ID_EXPIRATION is not set"), arguments: [true, false])
    func anIdThatExpiredCostsARestart(isStatic: Bool) async throws {
        let site = try Self.site { $0.kafka.staticMembership = isStatic }
        let feed = try Feed(site, seed: 46)
        let program = try RunningProgram(site)
        try await feed.until(40, "a beginning\n\(program.errors)") { program.count("partition begins") == 2 }
        for _ in 0..<2 {
            try await site.settled(feed.sent, program.errors)
            try await Task.sleep(for: .seconds(Self.idExpiration ?? 0))
            try feed.send(100)
        }
        try await site.settled(feed.sent, program.errors)
        #expect(program.count("the broker has forgotten this producer") == 2, "\(program.errors)")
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        try await Self.expectWhole(site, feed)
    }

    /// Records after the first one of an open transaction are in the log and are not delivered until it ends.
    @Test func anOpenTransactionOfAnotherProducerIsTold() async throws {
        let site = try Self.site()
        let feed = try Feed(site, seed: 47)
        let program = try RunningProgram(site)
        try await feed.until(40, "a beginning\n\(program.errors)") { program.count("partition begins") == 2 }
        try await site.settled(feed.sent, program.errors)
        let other = try Producer(
            bootstrap: site.cluster.bootstrap, transactionalId: "other-\(site.cluster.name)",
            properties: ["transaction.timeout.ms": "300000"], logger: Log().logger)
        try other.initTransactions(milliseconds: 20_000)
        try other.beginTransaction()
        try site.cluster.produce(
            [Input(timestampMs: Shop.begin, partition: 0)], to: other.topic(site.input[0]), by: other)
        try feed.send(100)
        try await eventually(100, "a warning\n\(program.errors)") { program.count("records wait behind an open") == 1 }
        try other.abortTransaction(milliseconds: 20_000)
        try await eventually(30, "the end\n\(program.errors)") {
            program.count("has ended, its partition goes on") == 1
        }
        print(program.errors.split(separator: "\n").filter { $0.contains("open transaction") }.joined(separator: "\n"))
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        #expect(try await Set(site.updates().map(\.source)).count == feed.sent)
    }

    /// A transaction of one that was killed ends by its timeout. Until then those who read outputs see nothing new.
    @Test func anHeirWaitsForTheTransactionOfOneThatWasKilled() async throws {
        let site = try Self.site {
            $0.output.commitIntervalMs = 3000
            $0.snapshots.intervalSeconds = 3600
            $0.kafka.properties["transaction.timeout.ms"] = "20000"
        }
        let feed = try Feed(site, seed: 43)
        let heir = try RunningProgram(site.instance("1"))
        let killed = try RunningProgram(site)
        func logs() -> String { "\(killed.errors)\n---\n\(heir.errors)" }
        // Whoever comes first may have both for a while.
        func held(_ program: RunningProgram) -> Int {
            program.count("partition begins") - program.count("partitions released")
        }
        try await feed.until(60, "one partition each\n\(logs())") { held(killed) == 1 && held(heir) == 1 }
        try feed.send(100)
        try await Task.sleep(for: .seconds(1))
        killed.kill()
        _ = try await killed.status()
        let begun = heir.count("partition begins")
        let began = ContinuousClock.now
        try await feed.until(120, "the inheritance\n\(logs())") { heir.count("partition begins") > begun }
        print("the heir of one that was killed with an open transaction began after \(ContinuousClock.now - began)")
        try await site.settled(feed.sent, logs())
        #expect(heir.count("the pipeline ends and begins again") == 0, "\(heir.errors)")
        heir.terminate()
        #expect(try await heir.status() == 0, "\(heir.errors)")
        try await Self.expectWhole(site, feed)
    }

    /// It commits nearly all the time, so that most kills come in the middle of a commit.
    @Test func killedInTheMiddleOfCommits() async throws {
        let site = try Self.site { $0.output.commitIntervalMs = 1 }
        let feed = try Feed(site, seed: 44)
        var random = Shop(seed: 441)
        for _ in 0..<10 {
            let program = try RunningProgram(site)
            try await feed.until(60, "a beginning\n\(program.errors)") {
                program.count("partition begins") == 2 || !program.isRunning
            }
            try feed.send(100)
            let end = ContinuousClock.now + .milliseconds(random.random(500))
            while ContinuousClock.now < end { try feed.send(5) }
            program.kill()
            _ = try await program.status()
        }
        let program = try RunningProgram(site)
        try await site.settled(feed.sent, program.errors)
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        try await Self.expectWhole(site, feed)
    }

    // MARK: The group

    /// Each rebalance takes all partitions from all: what is open then is committed before.
    @Test(arguments: Settings.KafkaSettings.Assignment.allCases)
    func joinsInTheMiddleOfTheStream(assignment: Settings.KafkaSettings.Assignment) async throws {
        let site = try Self.site { $0.kafka.assignment = assignment }
        let feed = try Feed(site, seed: 45)
        let first = RunningDaemon(site)
        try await feed.until(40, "a beginning\n\(first.log.text)") { first.log.count("partition begins") == 2 }
        for round in 1...2 {
            let second = RunningDaemon(site.instance("1"))
            func logs() -> String { "\(first.log.text)\n---\n\(second.log.text)" }
            try await feed.until(40, "a partition\n\(logs())") {
                for daemon in [first, second] { if let result = daemon.result { try result.get() } }
                return second.log.count("partition begins") > 0
            }
            try feed.send(50)
            try await second.stop()
            let begun = first.log.count("partition begins")
            try await feed.until(40, "what it had, round \(round)\n\(logs())") {
                first.log.count("partition begins") > begun || first.log.count("partition begins") == 2 + 2 * round
            }
            #expect(second.daemon.status.restarts == 0, "\(second.log.text)")
        }
        try await site.settled(feed.sent, first.log.text)
        try await first.stop()
        #expect(first.daemon.status.restarts == 0, "\(first.log.text)")
        try await Self.expectWhole(site, feed)
    }
}
