import Engine
import Foundation
import Kafka
import Settings
import SnapshotStore
import Testing
import Verification

@testable import Runtime

/// Instances that share the partitions of a topic: these move with their state, and no record is lost or taken twice.
@Suite struct RebalanceTests {
    private static let onMock = Comment("needs the faults of the mock cluster")
    /// The mock keeps no offsets of transactions, which those who inherit without a word need.
    private static let kept = Cluster.isReal ? Settings.Delivery.exactlyOnce : .atLeastOnce

    struct Way: CustomTestStringConvertible {
        var assignment: Settings.KafkaSettings.Assignment
        var delivery: Settings.Delivery
        var testDescription: String { "\(assignment.rawValue), \(delivery.rawValue)" }
    }

    private static func site(
        _ delivery: Settings.Delivery = .atLeastOnce, learning: Bool = false,
        _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        try Site(Cluster(), delivery, partitions: 4) {
            $0.learning(learning)
            change(&$0)
        }
    }

    /// Waits until running daemons hold all partitions among them, one or more each, up to date.
    private static func shared(_ records: Int, _ daemons: RunningDaemon...) async throws {
        try await eventually(
            60, "\(records) records shared\n" + daemons.map(\.log.text).joined(separator: "\n---\n")
        ) {
            for daemon in daemons { if let result = daemon.result { try result.get() } }
            return daemons.reduce(0) { $0 + $1.counters.records } == Int64(records)
                && daemons.allSatisfy { $0.counters.records > 0 && $0.daemon.status.phase == .live }
        }
    }

    // MARK: Joining and leaving

    /// Those that leave hand over, those that come go on from there: nothing is read again.
    @Test(arguments: [
        Way(assignment: .cooperativeSticky, delivery: .atLeastOnce),
        Way(assignment: .cooperativeSticky, delivery: .exactlyOnce),
        Way(assignment: .range, delivery: .atLeastOnce),
    ])
    func partitionsMoveWithTheirState(way: Way) async throws {
        let site = try Self.site(way.delivery) { $0.kafka.assignment = way.assignment }
        var shop = Shop(seed: 9, users: 40)
        try site.produce(site.events(&shop, 800))
        let first = RunningDaemon(site)
        try await first.taken(800)
        // What is not committed when the group begins to share anew the mock refuses, where brokers take it.
        if way.delivery == .atLeastOnce { try await site.settled(800, first.log.text) }
        let second = RunningDaemon(site.instance("1"))
        try await Self.shared(800, first, second)
        #expect(second.log.count(" from=0 ") == 2 && second.log.count(" from=- ") == 0, "\(second.log.text)")
        try site.produce(site.events(&shop, 800))
        try await Self.shared(1600, first, second)
        try await second.stop()
        try site.produce(site.events(&shop, 400))
        try await Self.shared(2000, first)
        try await first.stop()

        #expect(first.log.count(" from=1 ") == 2, "\(first.log.text)")
        #expect(first.daemon.status.restarts == 0 && second.daemon.status.restarts == 0)
        #expect(first.daemon.status.records + second.daemon.status.records == 2000, "each record was taken in once")
        let accounts = try await site.accounts(2000)
        #expect(accounts.missing == 0 && accounts.double == 0)
        #expect(try await site.deadLetters().isEmpty)
        try await site.expectSame(as: site.uninterrupted(records: 2000), records: 2000)
    }

    /// A static member's partitions wait for its return until its session is over; those of another go at once.
    @Test func withoutStaticMembershipPartitionsDoNotWait() async throws {
        // The mock makes a group wait for a session less one second at each rebalance.
        let site = try Self.site {
            $0.kafka.staticMembership = false
            $0.kafka.properties["session.timeout.ms"] = "8000"
        }
        var shop = Shop(seed: 16, users: 40)
        try site.produce(site.events(&shop, 200))
        let first = RunningDaemon(site)
        // What is not committed when the group begins to share anew the mock refuses, where brokers take it.
        try await site.settled(200, first.log.text)
        let second = RunningDaemon(site.instance("1"))
        try await Self.shared(200, first, second)
        try await second.stop()
        let left = ContinuousClock.now
        try await Self.shared(200, first)
        #expect(ContinuousClock.now - left < .seconds(11), "sooner than a session and a rebalance take")
        try await first.stop()
        let accounts = try await site.accounts(200)
        #expect(accounts.missing == 0 && accounts.double == 0)
    }

    /// A newcomer serves the newest model in the store from its first record on, and learns on by itself.
    @Test func aNewcomerStartsFromTheNewestModel() async throws {
        let site = try Self.site(learning: true)
        var shop = Shop(seed: 10)
        try site.produce(site.events(&shop, 3000))
        let first = RunningDaemon(site)
        // What is not committed when the group begins to share anew the mock refuses, where brokers take it.
        try await site.settled(3000, first.log.text)
        let second = RunningDaemon(site.instance("1"))
        try await Self.shared(3000, first, second)
        let version = try #require(first.daemon.status.report?.modelVersion)
        try #require(version > 0)
        #expect(second.daemon.status.report?.modelVersion == version)
        #expect(second.log.count("snapshot restored") == 1 && second.log.text.contains("instance=0"))
        try site.produce(site.events(&shop, 1200))
        try await Self.shared(4200, first, second)
        #expect(second.daemon.status.report?.learning.steps ?? 0 > version, "it goes on learning")
        try await second.stop()
        try await first.stop()
        let updates = try await site.updates()
        #expect(updates.count == 4200)
        let versions = try updates.suffix(1200).map { try $0.record.json["model_version"] as? Int ?? 0 }
        #expect(versions.min() ?? 0 >= version)
        try await site.expectSame(as: site.uninterrupted(records: 4200), records: 4200, learning: true)
    }

    // MARK: Without a word

    /// Its last snapshot is behind what it has committed: the heir reads that again in silence, beside what it has.
    @Test func oneThatIsKilledIsInherited() async throws {
        let site = try Self.site(Self.kept)
        var shop = Shop(seed: 11, users: 40)
        let heir = RunningDaemon(site)
        // Whoever comes second gets two that the first gives up.
        try await eventually(40, "all partitions\n\(heir.log.text)") { heir.log.count("partition begins") == 4 }
        let program = try RunningProgram(site.instance("1") { $0.snapshots.intervalSeconds = 1 })
        func logs() -> String { "\(program.errors)\n---\n\(heir.log.text)" }
        try await eventually(40, "two partitions each\n\(logs())") {
            program.count("partition begins") == 2 && heir.daemon.status.phase == .live
        }
        try site.produce(site.events(&shop, 600))
        try await site.settled(600, logs())
        // With all that it has: an earlier one may hold but one of the two.
        try await eventually(20, "a snapshot\n\(logs())") {
            let folder = "\(site.settings.snapshots.directory)/1"
            return try SnapshotStore.snapshots(in: folder).first?.position == 600 - heir.counters.records
        }
        try site.produce(site.events(&shop, 600))
        try await site.settled(1200, logs())
        program.kill()
        _ = try await program.status()
        try site.produce(site.events(&shop, 400))
        try await Self.shared(1600, heir)
        try await heir.stop()
        #expect(heir.log.count(" from=1 ") == 2, "\(heir.log.text)")
        let accounts = try await site.accounts(1600)
        #expect(accounts.missing == 0 && accounts.double == 0)
        try await site.expectSame(as: site.uninterrupted(records: 1600), records: 1600)
    }

    /// It wakes up believing that it still has what is another's by now.
    @Test func oneThatIsPausedPastItsSessionComesBack() async throws {
        let site = try Self.site(Self.kept)
        var shop = Shop(seed: 12, users: 40)
        let other = RunningDaemon(site)
        try await eventually(40, "all partitions\n\(other.log.text)") { other.log.count("partition begins") == 4 }
        let program = try RunningProgram(site.instance("1"))
        func logs() -> String { "\(program.errors)\n---\n\(other.log.text)" }
        try await eventually(40, "two partitions each\n\(logs())") {
            program.count("partition begins") == 2 && other.daemon.status.phase == .live
        }
        try site.produce(site.events(&shop, 600))
        try await site.settled(600, logs())
        program.send(SIGSTOP)
        try site.produce(site.events(&shop, 400))
        try await Self.shared(1000, other)
        program.send(SIGCONT)
        try await eventually(40, "its return\n\(logs())") { program.count("partition begins") == 4 }
        try site.produce(site.events(&shop, 400))
        try await site.settled(1400, logs())
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        try await other.stop()
        #expect(program.count("session.timeout.ms") > 0, "\(program.errors)")
        let accounts = try await site.accounts(1400)
        #expect(accounts.missing == 0 && accounts.double == 0)
        try await site.expectSame(as: site.uninterrupted(records: 1400), records: 1400)
    }

    /// At least once, what is said cannot be taken back: after a standstill it asks whether it is still a member first.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func afterAStandstillItAsksBeforeItSpeaks() async throws {
        let site = try Self.site { $0.kafka.properties["session.timeout.ms"] = "6000" }
        var shop = Shop(seed: 17, users: 40)
        try site.produce(site.events(&shop, 200))
        let program = try RunningProgram(site)
        try await site.settled(200, program.errors)
        program.send(SIGSTOP)
        // Longer than half a session, shorter than one: the broker alone knows.
        try await Task.sleep(for: .seconds(3.5))
        site.cluster.mock?.refuseNext(.offsetCommit, with: [.unknownMember])
        program.send(SIGCONT)
        try await eventually(20, "a new life\n\(program.errors)") { program.count("the group took") > 0 }
        try site.produce(site.events(&shop, 200))
        try await site.settled(400, program.errors)
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        let accounts = try await site.accounts(400)
        #expect(accounts.missing == 0 && accounts.double == 0)
    }

    // MARK: The store

    /// Of another's newest snapshot one partition cannot be read: that goes on from an older one, the rest from this.
    @Test func whatIsDamagedIsTakenFromAnOlderOne() async throws {
        let site = try Self.site(Cluster.isReal ? .exactlyOnce : .atLeastOnce)
        var shop = Shop(seed: 15, users: 40)
        for round in 1...2 {
            try site.produce(site.events(&shop, 400))
            let daemon = RunningDaemon(site)
            try await daemon.taken(400)
            try await daemon.stop()
            #expect(try site.snapshots().count == round)
        }
        let path = URL(filePath: "\(try site.snapshots()[0].path)/task-0-1-users.bin")
        var bytes = try Data(contentsOf: path)
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: path)
        let heir = RunningDaemon(site.instance("1"))
        try await Self.shared(800, heir)
        try site.produce(site.events(&shop, 200))
        try await Self.shared(1000, heir)
        try await heir.stop()
        #expect(heir.log.count("snapshot is damaged, trying the one before") == 1, "\(heir.log.text)")
        #expect(heir.log.count(" muted=0 ") == 3 && heir.log.count("partition is up to date") == 1)
        let accounts = try await site.accounts(1000)
        #expect(accounts.missing == 0 && accounts.double == 0)
        // The damaged one counts as well as the whole one; the heir's is further than both.
        try FileManager.default.removeItem(atPath: site.ownFolder)
        try await site.expectSame(as: site.uninterrupted(records: 1000), records: 1000)
    }

    /// The heir has no snapshot to go on from, and the log no longer reaches back.
    @Test(.enabled(if: !Cluster.isReal, onMock)) func aGapIsRefusedByTheHeir() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 13)
        let padding = [UInt8](repeating: 0x20, count: 100_000)
        var large = site.events(&shop, 300)
        for i in large.indices { large[i].value? += padding }
        let first = RunningDaemon(site)
        for i in stride(from: 0, to: 300, by: 10) {
            try site.produce(large[i..<i + 10])
            try await first.taken(i + 10)
        }
        try await first.stop()
        try FileManager.default.removeItem(atPath: site.settings.snapshots.directory)
        let heir = RunningDaemon(site.instance("1"))
        let outcome = try await heir.ended()
        let error = #expect(throws: RecoveryError.self) { try outcome.get() }
        #expect(error?.description.contains("the state needs the records from offset 0") == true)
        #expect(error?.description.contains("snapshots.acceptGap: true") == true)
    }

    /// `CLVD_REBALANCES` says how many (`make rebalances`); instances come, go, are killed and paused, in a random order:
    /// two, or on a real broker as many as `CLVD_INSTANCES` says. Not so on the mock, which takes no offsets from one
    /// that gives partitions up while another joins.
    @Test(arguments: Cluster.isReal ? [false, true] : [false]) func manyRebalances(learning: Bool) async throws {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["CLVD_REBALANCES"].flatMap { Int($0) } ?? 3
        let seed = environment["CLVD_SEED"].flatMap { UInt64($0) } ?? 1
        let most = Cluster.isReal ? environment["CLVD_INSTANCES"].flatMap { Int($0) } ?? 2 : 2
        let site = try Self.site(Self.kept, learning: learning) {
            $0.snapshots.intervalSeconds = 2
            // What one that was killed left open holds up its heir and those who read.
            if Cluster.isReal { $0.kafka.properties["transaction.timeout.ms"] = "10000" }
        }
        var shop = Shop(seed: 14, users: 60)
        var random = Shop(seed: 1000 + seed)
        var running: [String: RunningProgram] = ["0": try RunningProgram(site)]
        var produced = 0
        var done: [String: Int] = [:]
        func logs() -> String { running.map { "instance \($0)\n\($1.errors)" }.sorted().joined(separator: "\n---\n") }
        func produce(_ n: Int) throws {
            try site.produce(site.events(&shop, n))
            produced += n
        }
        try produce(60)
        try await site.settled(produced, logs())
        var moves = 0
        while moves < count {
            let names = running.keys.sorted()
            let free = (0..<most).map(String.init).filter { running[$0] == nil }
            let chosen = names[random.random(names.count)]
            let others = free.isEmpty ? ["stop", "kill", "pause"] : ["stop", "kill", "pause", "add"]
            let action = names.count == 1 ? "add" : others[random.random(others.count)]
            done[action, default: 0] += 1
            moves += 1
            switch action {
            case "add":
                let name = free[random.random(free.count)]
                // The mock takes no offsets while a group forms: what had been said would be said again, at least once.
                let isRepeated = site.settings.delivery == .atLeastOnce
                if isRepeated {
                    try produce(40)
                    try await site.settled(produced, logs())
                }
                running[name] = try RunningProgram(site.instance(name))
                if !isRepeated { try produce(40) }
                try await eventually(60, "partitions of \(name)\n\(logs())") {
                    running[name]!.count("partition begins") > 0
                }
            case "stop":
                try produce(40)
                try await site.settled(produced, logs())
                running[chosen]!.terminate()
                #expect(try await running[chosen]!.status() == 0, "\(running[chosen]!.errors)")
                running[chosen] = nil
            case "kill":
                // What it had said and not committed would be said again, at least once: it is quiet then.
                if site.settings.delivery == .exactlyOnce {
                    try produce(20)
                    try await Task.sleep(for: .milliseconds(random.random(200)))
                }
                running[chosen]!.kill()
                _ = try await running[chosen]!.status()
                running[chosen] = nil
                if site.settings.delivery == .atLeastOnce {
                    // A commit on its way when the group shares anew would be refused, and its outputs said again.
                    let begun = running.values.map { $0.count("partition begins") }.reduce(0, +)
                    try await eventually(60, "the partitions of \(chosen)\n\(logs())") {
                        running.values.map { $0.count("partition begins") }.reduce(0, +) > begun
                    }
                }
                try produce(40)
            default:
                // Away and back are two.
                moves += 1
                let begun = running[chosen]!.count("partition begins")
                running[chosen]!.send(SIGSTOP)
                try produce(40)
                try await site.settled(produced, logs())
                running[chosen]!.send(SIGCONT)
                try await eventually(60, "the return of \(chosen)\n\(logs())") {
                    running[chosen]!.count("partition begins") > begun
                }
            }
            try produce(20)
            try await site.settled(produced, logs())
        }
        for (name, program) in running {
            program.terminate()
            #expect(try await program.status() == 0, "instance \(name)\n\(program.errors)")
        }
        let (missing, double) = try await site.accounts(produced)
        #expect(missing == 0 && double == 0)
        try site.verified(records: produced)
        try await site.expectSame(as: site.uninterrupted(records: produced), records: produced, learning: learning)
        print(
            "rebalances: \(moves) (\(done.sorted { $0.key < $1.key }.map { "\($0) \($1)" }.joined(separator: ", "))), "
                + "\(site.settings.delivery.rawValue), \(learning ? "learning" : "not learning"), records: \(produced), "
                + "missing: \(missing), double: \(double), seed: \(seed)")
    }

    /// Both stages of two instances, input that is not keyed by customer. Two first stages that read different partitions
    /// have no order between them: a customer has one event between two looks, and none of them is too late.
    @Test(.enabled(if: Cluster.isReal, "the mock takes no offsets while a group forms"))
    func manyRebalancesOfBothStages() async throws {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["CLVD_REBALANCES"].flatMap { Int($0) } ?? 3
        let site = try Site.repartitioned(Cluster(), .exactlyOnce) {
            $0.snapshots.intervalSeconds = 2
            $0.engine.time.allowedLatenessSeconds = 30 * 86_400
            $0.kafka.properties["transaction.timeout.ms"] = "10000"
        }
        var shop = Shop(seed: 24, users: 400)
        var random = Shop(seed: 2000 + (environment["CLVD_SEED"].flatMap { UInt64($0) } ?? 1))
        let producer = try site.cluster.producer()
        var running: [String: RunningProgram] = ["0": try RunningProgram(site)]
        var (events, seen, moves): ([Input], Set<[UInt8]>, Int) = ([], [], 0)
        func logs() -> String { running.map { "instance \($0)\n\($1.errors)" }.sorted().joined(separator: "\n---\n") }
        func produce(_ n: Int) throws {
            var new: [Input] = []
            while new.count < n {
                let event = shop.next()
                if seen.insert(event.key!).inserted { new.append(event) }
            }
            try site.feed(Site.spread(new, seed: UInt64(events.count)), by: producer)
            events += new
        }
        func settle() async throws {
            try await site.throughBothStages(events.count, logs())
            seen = []
        }
        func begun(_ name: String) -> Int { running[name]!.count("partition begins") }
        try produce(40)
        try await settle()
        var done: [String: Int] = [:]
        while moves < count {
            let names = running.keys.sorted()
            let actions = names.count == 1 ? ["add"] : ["stop", "kill", "pause"]
            let (action, chosen) = (actions[random.random(actions.count)], names[random.random(names.count)])
            done[action, default: 0] += 1
            moves += 1
            try produce(20)
            switch action {
            case "add":
                let name = running["0"] == nil ? "0" : "1"
                running[name] = try RunningProgram(site.instance(name))
                try produce(20)
                try await eventually(60, "partitions of \(name)\n\(logs())") { begun(name) > 0 }
            case "stop":
                running[chosen]!.terminate()
                #expect(try await running[chosen]!.status() == 0, "\(running[chosen]!.errors)")
                running[chosen] = nil
            case "kill":
                try await Task.sleep(for: .milliseconds(random.random(400)))
                running[chosen]!.kill()
                _ = try await running[chosen]!.status()
                running[chosen] = nil
            default:
                moves += 1  // away and back are two
                let before = begun(chosen)
                running[chosen]!.send(SIGSTOP)
                try produce(20)
                try await settle()
                running[chosen]!.send(SIGCONT)
                try await eventually(60, "the return of \(chosen)\n\(logs())") { begun(chosen) > before }
            }
            try produce(20)
            try await settle()
        }
        for (name, program) in running {
            program.terminate()
            #expect(try await program.status() == 0, "instance \(name)\n\(program.errors)")
        }
        let route = try site.verifiedRoute(records: events.count)
        try site.settings(of: .score).verified(records: events.count)
        let own = try await site.stages(events.count)
        #expect(own == (0, 0))
        let (state, expected) = (
            try site.customers(), try await Site.inOnePartition(events, site.settings.engine)
        )
        print(
            "both stages, random keys, two topics: \(moves) rebalances (\(done.sorted { $0.key < $1.key })), "
                + "\(route.records) records, missing \(own.missing), double \(own.double); statistics of "
                + "\(state.intersection(expected).count) of \(expected.count) customers as of one partition, bit for bit"
        )
        #expect(state == expected && !expected.isEmpty)
    }
}
