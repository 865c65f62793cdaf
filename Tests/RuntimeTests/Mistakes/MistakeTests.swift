import Engine
import EventInput
import Foundation
import Kafka
import Settings
import SnapshotStore
import Testing

/// Mistakes of people and of other programs, each committed on a real broker while the program runs or rests. A refusal is
/// followed by the remedy that it names. `make mistakes` runs them and prints what came of each.
@Suite(.enabled(if: Mistake.areAsked, "CLVD_TEST_MISTAKES is not set; make mistakes"))
struct MistakeTests {
    static func site(
        _ delivery: Settings.Delivery = .exactlyOnce, _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        try Site(Cluster(), delivery) {
            $0.learning(false)
            $0.snapshots.intervalSeconds = 1
            $0.runtime.reportIntervalSeconds = 1
            // Its group is empty as soon as it has stopped.
            $0.kafka.staticMembership = false
            change(&$0)
        }
    }

    /// Feeds so many records in two parts, with a snapshot between them, and stops.
    static func live(_ m: Mistake, _ site: Site, _ shop: inout Shop, _ records: Int) async throws {
        let program = try m.start(site)
        let first = records / 4
        try site.produce(site.events(&shop, first))
        try await m.reaches(first, site, program)
        try await eventually(20, "a snapshot") { try site.snapshots().first?.position == Int64(first) }
        try site.produce(site.events(&shop, records - first))
        try await m.reaches(records, site, program)
        try await m.stops(program)
    }

    // MARK: Topics made anew

    @Test func aTopicMadeAnewWhileItRests() async throws {
        try await Mistake.commit("1a", "input topic deleted and made anew, longer, while clvd is down") { m in
            let site = try Self.site()
            var shop = Shop(seed: 1)
            try await Self.live(m, site, &shop, 2000)
            try await Administration(site.cluster).makeAnew(site.input[0], partitions: 1, in: site.cluster)
            let since = try await site.updateEnds()
            var other = Shop(seed: 77)
            try site.produce(site.events(&other, 4000))
            if try await m.refuses(m.start(site), [site.input[0], "made anew", "clvd offsets rewind --to earliest"]) {
                #expect(try await site.updateEnds() == since, "nothing is published")
                try await m.command(site, ["offsets", "rewind", "--to", "earliest"])
                let program = try m.start(site)
                try await m.reaches(4000, site, program)
                try await m.stops(program)
            }
            m.counts(try await site.outcome(since: since))
        }
    }

    @Test func aTopicMadeAnewUnderIt() async throws {
        try await Mistake.commit("1b", "input topic deleted and made anew, longer, while clvd stands still") { m in
            let site = try Self.site()
            var shop = Shop(seed: 2)
            let program = try m.start(site)
            try site.produce(site.events(&shop, 2000))
            try await m.reaches(2000, site, program)
            program.send(SIGSTOP)
            let since = try await site.updateEnds()
            var other = Shop(seed: 78)
            do {
                try await Administration(site.cluster).makeAnew(site.input[0], partitions: 1, in: site.cluster)
                try site.produce(site.events(&other, 4000))
                // A standstill after which it looks at the log before it goes on.
                try await Task.sleep(for: .seconds(5))
            } catch {
                program.send(SIGCONT)
                throw error
            }
            program.send(SIGCONT)
            let refused = try await m.refuses(
                program, [site.input[0], "made anew", "clvd offsets rewind --to earliest"])
            // Whatever it has published of the other topic is said again below, and what it published of the old one is of
            // records that are no more.
            let published = (try await site.updateEnds()[0] ?? 0) - (since[0] ?? 0)
            m.expect(published == 0, "\(published) updates of the other topic were published before it stopped")
            // With the topic went what the group had committed of it.
            let strange = try await m.verify(site, to: "end")["strange"]
            m.expect(strange ?? 0 > 0, "clvd verify sees nothing strange")
            if refused {
                try await m.command(site, ["offsets", "rewind", "--to", "earliest"])
                let program = try m.start(site)
                try await m.reaches(4000, site, program)
                try await m.stops(program)
            }
            m.counts(try await site.outcome(since: since))
        }
    }

    // MARK: Another group

    @Test func anotherGroupOnTheFolder() async throws {
        try await Mistake.commit("2", "another groupId on the folder of snapshots") { m in
            var site = try Self.site()
            var shop = Shop(seed: 3)
            try await Self.live(m, site, &shop, 2000)
            site.settings.kafka.groupId += "-typo"
            // The other group has committed nothing, which is to be accepted as well.
            let option = ["CLVD_SNAPSHOTS_ACCEPT_ORIGIN": "true", "CLVD_SNAPSHOTS_ACCEPT_MISSING_OFFSETS": "true"]
            if try await m.refuses(m.start(site), ["snapshots.acceptOrigin"]) {
                let program = try m.start(site, option)
                try site.produce(site.events(&shop, 500))
                try await m.reaches(2500, site, program)
                try await m.stops(program)
            }
            try await m.countsBoth(site)
        }
    }

    // MARK: Compacted input

    @Test func compactedInput() async throws {
        try await Mistake.commit("3", "input topic is compacted; kill before a snapshot") { m in
            let site = try Self.site { $0.snapshots.intervalSeconds = 3600 }
            let topic = site.input[0]
            let administration = try Administration(site.cluster)
            // Not before it has read them once.
            try administration.configure(
                topic, ["cleanup.policy": "compact", "min.compaction.lag.ms": "3153600000000", "retention.ms": "-1"])
            var shop = Shop(seed: 4)
            try site.produce(site.events(&shop, 2000))
            var option: [String: String] = [:]
            if try await m.refuses(m.start(site), code: 78, [topic, "compacted", "input.acceptCompacted"]) {
                option = ["CLVD_INPUT_ACCEPT_COMPACTED": "true"]
                var program = try m.start(site, option)
                try await m.reaches(2000, site, program)
                program.kill()
                _ = try await program.status()
                try await Self.compact(site, &shop, administration)
                program = try m.start(site, option)
                try await m.reaches(Int(try site.cluster.end(of: topic)), site, program)
                try await m.stops(program)
                m.reads(program, ["records", "compact"], "that the replay lacks records is not told")
                return m.counts(Self.withoutValues(try await site.outcome()))
            }
            // What it does without a refusal: the state is made again from what compaction leaves.
            try FileManager.default.removeItem(atPath: site.ownFolder)
            try await Self.compact(site, &shop, administration)
            let program = try m.start(site, option)
            try await m.reaches(Int(try site.cluster.end(of: topic)), site, program)
            try await m.stops(program)
            m.counts(Self.withoutValues(try await site.outcome()))
        }
    }

    /// Updates of what compaction removed, and sums without it, are what the option accepts.
    private static func withoutValues(_ found: Site.Outcome) -> Site.Outcome {
        .init(missing: found.missing, double: found.double)
    }

    /// Has the broker compact a topic.
    private static func compact(_ site: Site, _ shop: inout Shop, _ administration: Administration) async throws {
        let topic = site.input[0]
        try administration.configure(
            topic,
            [
                "cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.001",
                "retention.ms": "-1",
            ])
        let end = ContinuousClock.now + .seconds(60)
        // Only segments that are full are compacted.
        while try await site.cluster.read(topic).count > 1500 {
            try #require(ContinuousClock.now < end, "\(topic) is not compacted")
            try site.produce(site.events(&shop, 1))
            try await Task.sleep(for: .milliseconds(500))
        }
        try site.produce(site.events(&shop, 200))
    }

    // MARK: A batch that cannot be read

    @Test func aBatchThatExplodes() async throws {
        try await Mistake.commit("4", "a zstd batch that becomes larger than the client takes") { m in
            let site = try Self.site {
                $0.kafka.properties["fetch.max.bytes"] = "10000000"
                $0.kafka.properties["max.partition.fetch.bytes"] = "10000000"
                $0.kafka.properties["receive.message.max.bytes"] = "20000000"
            }
            var shop = Shop(seed: 5)
            try site.produce(site.events(&shop, 500))
            try Administration(site.cluster).bomb(site.input[0], bytes: 30_000_000)
            try site.produce(site.events(&shop, 500))
            let program = try m.start(site)
            let place = "\(site.input[0])/0/500"
            try await eventually(30, "the records before it\n\(program.errors)") {
                (try? site.committedRecords()) ?? 0 >= 500 || !program.isRunning
            }
            var isTold = false
            try? await eventually(20, "") {
                isTold = program.errors.contains("input.skip") && program.errors.contains("receive.message.max.bytes")
                return isTold || !program.isRunning
            }
            m.reads(program, [site.input[0], "500", "receive.message.max.bytes", "input.skip"])
            if program.isRunning { try await m.stops(program) } else { m.did("exit \(try await program.status())") }
            m.note(program.errors)
            guard isTold else {
                return m.fault("the partition stands still for good: \(try site.committedRecords()) of 1001")
            }
            let option = ["CLVD_INPUT_SKIP": place]
            let next = try m.start(site, option)
            try await m.reaches(1001, site, next)
            try await m.stops(next)
            m.counts(try await site.outcome())
            let letters = try await site.deadLetters()
            m.expect(
                letters.count == 1 && letters[0].headers["__connect.errors.offset"] == "500",
                "\(letters.count) dead letters")
        }
    }

    // MARK: Offsets from elsewhere

    private static func reset(
        _ id: String, _ what: String, to offset: Int64?, remedy: [String], missing: Int = 0, double: Int = 0
    ) async throws {
        try await Mistake.commit(id, what) { m in
            let site = try Self.site()
            var shop = Shop(seed: 6)
            try await Self.live(m, site, &shop, 2000)
            try site.produce(site.events(&shop, 1000))
            let administration = try Administration(site.cluster)
            if let offset {
                try await administration.reset(site.settings.kafka.groupId, site.input[0], to: offset)
            } else {
                try await administration.consume(site.settings.kafka.groupId, site.input[0], to: 2600)
            }
            if try await m.refuses(m.start(site), [site.input[0], "offsets accept", "offsets rewind"]) {
                try await m.command(site, remedy)
                let program = try m.start(site)
                try await m.reaches(3000, site, program)
                try await m.stops(program)
            }
            // What is asked for is no fault: the values to date lack what was skipped.
            let found = try await site.outcome(values: missing == 0 || remedy[1] != "accept")
            m.counts(found, missing: missing, double: double)
        }
    }

    @Test func aResetBackwardsThatIsUndone() async throws {
        try await Self.reset(
            "5a-rewind", "offsets reset backwards, to before the state; undone", to: 800,
            remedy: ["offsets", "rewind", "--to", "published"])
    }

    @Test func aResetBackwardsThatIsMeant() async throws {
        try await Self.reset(
            "5a-accept", "offsets reset backwards, to before the state; meant", to: 800,
            remedy: ["offsets", "accept"], double: 1200)
    }

    @Test func aResetForwardsThatIsUndone() async throws {
        try await Self.reset(
            "5b-rewind", "offsets reset forwards; undone", to: 2600, remedy: ["offsets", "rewind", "--to", "published"])
    }

    @Test func aResetForwardsThatIsMeant() async throws {
        try await Self.reset(
            "5b-accept", "offsets reset forwards; meant", to: 2600, remedy: ["offsets", "accept"], missing: 600)
    }

    @Test func aForeignConsumerThatIsUndone() async throws {
        try await Self.reset(
            "5c-rewind", "another consumer of the group commits; undone", to: nil,
            remedy: ["offsets", "rewind", "--to", "published"])
    }

    // MARK: Settings of brokers and clients

    @Test(arguments: Settings.Delivery.allCases) func anUpdatesTopicOfSmallBatches(delivery: Settings.Delivery)
        async throws
    {
        let id = delivery == .exactlyOnce ? "7" : "7-alo"
        try await Mistake.commit(id, "updates topic takes 65,536 bytes a batch, \(delivery.rawValue)") { m in
            let site = try Self.site(delivery) {
                $0.output.commitIntervalMs = 1000
                $0.runtime.batchRecords = 8192
                // Compressed, they would be smaller.
                $0.kafka.properties["compression.codec"] = "none"
            }
            let topic = site.settings.output.updatesTopic
            try Administration(site.cluster).configure(topic, ["max.message.bytes": "65536"])
            var shop = Shop(seed: 7)
            try site.produce(site.events(&shop, 3000))
            let program = try m.start(site)
            try await m.reaches(3000, site, program, seconds: 60)
            m.reads(program, [topic, "65536"], "the topic's limit is not told")
            try await m.stops(program)
            try await m.countsBoth(site)
        }
    }

    @Test func aTransactionTimeoutAboveTheMaximum() async throws {
        try await Mistake.commit("10a", "transaction.timeout.ms above the broker's maximum") { m in
            var site = try Self.site { $0.kafka.properties["transaction.timeout.ms"] = "3600000" }
            var shop = Shop(seed: 8)
            try site.produce(site.events(&shop, 500))
            let words = ["kafka.properties.transaction.timeout.ms", "transaction.max.timeout.ms"]
            _ = try await m.refuses(m.start(site), code: 78, words)
            site.settings.kafka.properties["transaction.timeout.ms"] = nil
            let next = try m.start(site)
            try await m.reaches(500, site, next)
            try await m.stops(next)
            try await m.countsBoth(site)
        }
    }

    @Test func aHangingTransactionOfAnotherProducer() async throws {
        try await Mistake.commit("10b", "a transaction of another producer hangs on the input") { m in
            let site = try Self.site()
            var shop = Shop(seed: 9)
            try site.produce(site.events(&shop, 500))
            let other = try Administration(site.cluster).openTransaction(
                on: site.input[0], site.events(&shop, 10), in: site.cluster)
            try site.produce(site.events(&shop, 490))
            let program = try m.start(site)
            try await m.reaches(500, site, program)
            try? await eventually(100, "") { Self.tellsOfTransaction(program) }
            m.expect(Self.tellsOfTransaction(program), "nothing was said of it in 100 s")
            m.reads(program, [site.input[0], "transaction"])
            try other.abortTransaction(milliseconds: 20_000)
            // The marker has an offset.
            try await eventually(30, "what is behind it\n\(program.errors)") { try site.committedRecords() >= 1000 }
            try await m.stops(program)
            try await m.countsBoth(site)
        }
    }

    private static func tellsOfTransaction(_ program: RunningProgram) -> Bool {
        program.errors.split(separator: "\n").contains {
            $0.contains("transaction") && $0.contains("events-") && $0.contains(/stable|open|hang|hold/)
        }
    }

    // MARK: The log

    @Test func whatItHasYetToReadIsGone() async throws {
        try await Mistake.commit("8", "retention removes what was not read yet, while clvd stands still") { m in
            let site = try Self.site()
            var shop = Shop(seed: 10)
            try site.produce(site.events(&shop, 1000))
            let program = try m.start(site)
            try await m.reaches(1000, site, program)
            program.send(SIGSTOP)
            // A fetch that waits for records at the broker would be answered with them: it waits for half a second.
            try? await Task.sleep(for: .milliseconds(1500))
            do {
                try site.produce(site.events(&shop, 1000))
                try Administration(site.cluster).truncate(site.input[0], before: 1500)
            } catch {
                program.send(SIGCONT)
                throw error
            }
            program.send(SIGCONT)
            if try await m.refuses(program, [site.input[0], "1000", "1500", "snapshots.acceptGap"]) {
                let next = try m.start(site, ["CLVD_SNAPSHOTS_ACCEPT_GAP": "true"])
                try await m.reaches(2000, site, next)
                try await m.stops(next)
            }
            // Those before 1,500 are gone, and so are their sums and the records of their updates.
            var found = try await site.outcome(values: false)
            m.expect(found.strange == 1000, "\(found.strange) updates of records that are gone")
            found.strange = 0
            m.counts(found)
        }
    }

    @Test func startsWithTheLatestAndIsKilled() async throws {
        try await Mistake.commit("9", "input.start: latest, killed before the first snapshot") { m in
            let site = try Self.site {
                $0.input.start = .latest
                $0.snapshots.intervalSeconds = 3600
            }
            var shop = Shop(seed: 11)
            try site.produce(site.events(&shop, 1000))
            var program = try m.start(site)
            try await eventually(30, "a beginning\n\(program.errors)") { program.errors.contains("partition begins") }
            try site.produce(site.events(&shop, 500))
            try await m.reaches(1500, site, program)
            program.kill()
            _ = try await program.status()
            m.note(program.errors)
            program = try m.start(site)
            try site.produce(site.events(&shop, 500))
            try await m.reaches(2000, site, program)
            try await m.stops(program)
            m.reads(program, ["partition begins"])
            m.counts(try await site.outcome(from: 1000))
        }
    }
}
