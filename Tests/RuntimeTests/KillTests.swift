import Engine
import EventInput
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing
import Verification

private let environment = ProcessInfo.processInfo.environment
private let kills = environment["CLVD_TEST_KILLS"].flatMap { Int($0) } ?? 0

/// `kill -9` at random moments, as often as `CLVD_TEST_KILLS` says (`make kills N=200`): while it starts, joins, restores,
/// reads again, learns, publishes, commits and writes snapshots. The records come in all along. They are those of a small
/// shop, or, on a broker that keeps more than the mock, rows of the file that `CLVD_TEST_EVENTS` names.
@Suite(.serialized, .enabled(if: kills > 0, "CLVD_TEST_KILLS is not set; RestartTests kill a few times"))
struct KillTests {
    // MARK: Records

    private static let file = environment["CLVD_TEST_EVENTS"]
    private static let records =
        environment["CLVD_TEST_RECORDS"].flatMap { Int($0) } ?? (file == nil ? 4000 : 100_000)

    private static func inputs(seed: UInt64, users: Int = 60, partitions: Int) throws -> [Input] {
        var inputs: [Input] = []
        if let file {
            let rows = try EventFile(
                path: file, format: EventFormat.load("native"), limits: InputLimits(), currency: CurrencyTable())
            while inputs.count < records {
                let messages = try rows.nextMessages(maximum: min(1000, records - inputs.count))
                if messages.isEmpty { break }
                inputs += messages.map { Input(key: Array($0.key), value: Array($0.value), timestampMs: $0.timeMs) }
            }
        } else {
            var shop = Shop(seed: seed, users: users)
            inputs = shop.events(records)
        }
        for i in inputs.indices {
            inputs[i].partition = Int32(inputs[i].key!.reduce(0) { ($0 &* 31 &+ Int($1)) % partitions })
        }
        return inputs
    }

    // MARK: Lives

    /// Feeds all records while the program is killed and started again, then lets it come to the end.
    /// - Returns: what the last life logged.
    private static func endure(
        _ site: Site, _ inputs: [Input], seed: UInt64, isPassedOn: Bool = false
    ) async throws -> String {
        let producer = try site.cluster.producer()
        var random = Shop(seed: seed)
        var sent = 0
        var begun = 0
        var slowest = Duration.zero
        let portion = max(20, inputs.count / (20 * kills))
        for kill in 0..<kills {
            // Some at once, so that every life has something to do; the rest while it lives.
            let share = inputs.count * (kill + 1) / (kills + 1)
            let born = ContinuousClock.now
            let program = try RunningProgram(site)
            let end = born + .milliseconds(1 + random.random(2000))
            let living = random.random(4) > 0
            if living {
                // Three of four die after they have begun, at once or some time later. What the one before left open
                // may hold it up, but not for good.
                let patience = born + .seconds(60)
                while !program.errors.contains("partition begins"), program.isRunning, ContinuousClock.now < patience {
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(program.errors.contains("partition begins"), "\(program.errors)")
                slowest = max(slowest, ContinuousClock.now - born)
                begun += 1
            }
            let last = living ? ContinuousClock.now + .milliseconds(random.random(1200)) : end
            while ContinuousClock.now < last || sent < share {
                let next = min(share, sent + portion)
                if next > sent { try site.feed(inputs[sent..<next], by: producer) }
                sent = next
                try await Task.sleep(for: .milliseconds(10))
            }
            program.kill()
            _ = try await program.status()
            if kill % 20 == 19 {
                print("\(site.partitions) partitions, \(site.settings.delivery): killed \(kill + 1) times")
            }
            #expect(!program.errors.contains("before the state's"), "a snapshot of what was not committed")
        }
        #expect(begun > 0 || kills < 10)
        print("the slowest start took \(slowest)")
        try site.feed(inputs[sent...], by: producer)
        return try await finish(site, records: inputs.count, isPassedOn: isPassedOn)
    }

    /// Runs the program until it has read everything, and has it drain.
    /// - Parameter isPassedOn: whether there are more records between the stages than inputs.
    private static func finish(_ site: Site, records: Int, isPassedOn: Bool = false) async throws -> String {
        let program = try RunningProgram(site)
        if isPassedOn {
            try await site.throughBothStages(records, seconds: 300, program.errors)
        } else {
            try await eventually(300, "the end\n\(program.errors)") {
                !program.isRunning || program.errors.contains(" records=\(records) ")
            }
        }
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        if !isPassedOn { #expect(try site.snapshots().first?.position == Int64(records)) }
        return program.errors
    }

    private static func change(_ settings: inout Settings, learning: Bool) {
        settings.snapshots.intervalSeconds = 1
        settings.runtime.batchRecords = 64
        settings.runtime.reportIntervalSeconds = 1
        settings.learning(learning)
        // Who was killed is missed soon.
        if !Cluster.isReal { settings.kafka.properties["session.timeout.ms"] = "2500" }
    }

    /// - Parameter other: a site whose records this one reads as well.
    private static func site(
        _ delivery: Settings.Delivery, partitions: Int, learning: Bool = true, reading other: Site? = nil
    ) throws -> Site {
        // The mock keeps 5 MB of a partition; what is said again in a transaction that it forgets takes its room, too.
        try Site(
            other?.cluster ?? Cluster(), delivery, partitions: partitions, outputPartitions: 8, reading: other
        ) { change(&$0, learning: learning) }
    }

    // MARK: Ends

    /// The mock shows nothing of exactly once, and a real broker nothing new of at least once.
    @Test(arguments: Cluster.isReal ? [.exactlyOnce] : Settings.Delivery.allCases)
    func onePartitionEndsBitForBitAsIfNothingHadHappened(delivery: Settings.Delivery) async throws {
        let site = try Self.site(delivery, partitions: 1)
        let inputs = try Self.inputs(seed: 31, partitions: 1)
        _ = try await Self.endure(site, inputs, seed: 311)
        let report = try site.verified(records: inputs.count)
        let reference = try Self.site(delivery, partitions: 1, reading: site)
        _ = try await Self.finish(reference, records: inputs.count)
        let (state, expected) = (try site.state(), try reference.state())
        #expect(state.metadata == expected.metadata)
        #expect(state.files == expected.files && state.files.count > 4)
        print(
            "\(delivery.rawValue), 1 partition: \(kills) kills, \(report.records) records, \(report.updates) "
                + "updates, \(report.missing) missing, \(report.double) double; state and weights as without")
    }

    /// Input that is not keyed by customer, through both stages in one process: what is known of each customer is what one
    /// partition would have made of the same records.
    @Test(.enabled(if: Cluster.isReal, "the mock forgets offsets in transactions"))
    func bothStagesAreCompleteAndEndAsOnePartitionWould() async throws {
        let site = try Site.repartitioned(Cluster(), .exactlyOnce) {
            Self.change(&$0, learning: false)
            // What one that was killed left open holds up its heir and those who read.
            $0.kafka.properties["transaction.timeout.ms"] = "10000"
        }
        var shop = Shop(seed: 33, users: 60)
        let events = shop.events(Self.records)
        _ = try await Self.endure(site, Site.spread(events), seed: 331)
        let route = try site.verifiedRoute(records: events.count)
        let report = try site.settings(of: .score).verified(records: events.count)
        let own = try await site.stages(events.count)
        #expect(own == (0, 0))
        let (state, expected) = (
            try site.customers(), try await Site.inOnePartition(events, site.settings.engine)
        )
        let same = state.intersection(expected).count
        print(
            "both stages, random keys, two topics: \(kills) kills, \(route.records) records, \(route.routed) routed, "
                + "\(report.updates) updates, missing \(own.missing), double \(own.double) (clvd verify: "
                + "\(route.missing + report.missing) and \(route.double + report.double)); statistics of \(same) of "
                + "\(expected.count) customers as of one partition, bit for bit")
        #expect(state == expected && expected.count > 40)
    }

    /// The same with guests who become customers: what is held of them goes from partition to partition, once.
    @Test(.enabled(if: Cluster.isReal, "the mock forgets offsets in transactions"))
    func guestsAreJoinedOnce() async throws {
        let site = try Site.repartitioned(Cluster(), .exactlyOnce) {
            Self.change(&$0, learning: false)
            $0.kafka.properties["transaction.timeout.ms"] = "10000"
        }
        let (told, known) = try Guests.events(Self.records, seed: 34, users: 60)
        _ = try await Self.endure(site, Site.spread(told), seed: 341, isPassedOn: true)
        let found = try await site.verifiedGuests(records: told.count)
        try await site.expectFigures(of: known)
        print(
            "guests, both stages, random keys, two topics: \(kills) kills, \(told.count) records, \(found.routed) "
                + "routed, \(found.messages) messages, \(found.passedOn) passed on, double \(found.double); totals, "
                + "orders and windows of 60 customers as of one partition that knew them all")
    }

    /// Records of partitions mix a little otherwise each time, and so learning differs: what is counted is equal, what is
    /// learned alike. Without learning everything is equal, bit for bit.
    @Test(arguments: [true, false]) func sixteenPartitionsAreCompleteAndAlike(learning: Bool) async throws {
        let delivery = Cluster.isReal ? Settings.Delivery.exactlyOnce : .atLeastOnce
        let site = try Self.site(delivery, partitions: 16, learning: learning)
        let inputs = try Self.inputs(seed: 32, users: 120, partitions: 16)
        let log = try await Self.endure(site, inputs, seed: 321)
        let report = try site.verified(records: inputs.count)
        print(
            "\(delivery.rawValue), 16 partitions, \(learning ? "learning" : "not learning"): \(kills) kills, "
                + "\(report.records) records, \(report.updates) updates, \(report.missing) missing, \(report.double) double"
        )
        guard learning else {
            let reference = try Self.site(delivery, partitions: 16, learning: false, reading: site)
            _ = try await Self.finish(reference, records: inputs.count)
            return try await site.expectSame(as: reference, records: inputs.count)
        }
        // As many lives without a break, with other draws of minibatches: what those differ by is chance.
        var others: [(summary: Summary, scores: [String: Double])] = []
        for seed in 1...Self.replicates {
            let other = try await Self.unbroken(inputs, delivery, seed: seed)
            try await site.expectSame(as: other.site, records: inputs.count, learning: true)
            others.append((try await Self.summary(of: other.site), Self.scores(other.log)))
        }
        let here = (summary: try await Self.summary(of: site), scores: Self.scores(log))
        let there = others[0].summary
        #expect(here.summary.users == there.users && there.users > 0)
        #expect(here.summary.valueToDate == there.valueToDate)
        #expect(!here.summary.means.isEmpty && !here.scores.isEmpty)
        for name in here.summary.means.keys.sorted() {
            Self.expectOneOfThem(name, here.summary.means[name], others.map { $0.summary.means[name] })
        }
        for name in here.scores.keys.sorted() {
            Self.expectOneOfThem(name, here.scores[name], others.map { $0.scores[name] })
        }
    }

    private static let replicates = 6

    /// A number is what one more of its kind might be: within the interval that a further draw from the normal
    /// distribution of the others falls into but once in a thousand (Student's t with 5 degrees of freedom, 6.869;
    /// Hahn and Meeker, Statistical Intervals, 1991, section 4.8). Counts that hardly differ may by one in a hundred.
    private static func expectOneOfThem(_ name: String, _ value: Double?, _ others: [Double?]) {
        let known = others.compactMap(\.self)
        guard let value, known.count == replicates else {
            Issue.record("\(name) is missing")
            return
        }
        let n = Double(known.count)
        let mean = known.reduce(0, +) / n
        let deviation = (known.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1) * (1 + 1 / n)).squareRoot()
        let t = abs(value - mean) / deviation
        func text(_ x: Double) -> String { x.formatted(.number.precision(.significantDigits(4))) }
        print(name, text(value), "beside", known.map(text).joined(separator: " "), "t", text(t))
        #expect(
            t <= 6.869 || name.hasSuffix("landmarks") && abs(value - mean) <= 0.01 * mean,
            "\(name): \(value) beside \(known)")
    }

    /// Another site that is fed the same records while its program lives on, and what that logged.
    private static func unbroken(
        _ inputs: [Input], _ delivery: Settings.Delivery, seed: Int
    ) async throws -> (site: Site, log: String) {
        var site = try Self.site(delivery, partitions: 16)
        site.settings.engine.learning.seed = UInt64(seed)
        let program = try RunningProgram(site)
        let producer = try site.cluster.producer()
        let topic = try producer.topic(site.input[0])
        // Some are fed at a pace, some all at once.
        let portion = seed % 2 == 0 ? inputs.count : 20
        for start in stride(from: 0, to: inputs.count, by: portion) {
            let end = min(start + portion, inputs.count)
            try site.cluster.produce(inputs[start..<end], to: topic, by: producer)
        }
        try await eventually(300, "the end\n\(program.errors)") { program.errors.contains(" records=\(inputs.count) ") }
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        return (site, program.errors)
    }

    /// What is known of users at the end of the stream.
    private static func summary(of site: Site) async throws -> Summary {
        struct Update: Decodable {
            var source: Site.Source
            var userId: String
            var valueToDate: Double
            var clv: [String: Double]
            var purchaseProbability: [String: Double]
            var churnProbability: Double
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        var newest: [String: Update] = [:]
        for (_, record) in try await site.updates() {
            let update = try decoder.decode(Update.self, from: Data(record.value ?? []))
            if let before = newest[update.userId], before.source.offset > update.source.offset { continue }
            newest[update.userId] = update
        }
        let all = newest.sorted { $0.key < $1.key }.map(\.value)
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        var means = ["churn": mean(all.map(\.churnProbability))]
        for days in ["2", "7", "20"] {
            means["clv \(days)"] = mean(all.map { $0.clv[days] ?? .nan })
            means["purchase \(days)"] = mean(all.map { $0.purchaseProbability[days] ?? .nan })
        }
        return Summary(users: all.count, valueToDate: all.reduce(0) { $0 + $1.valueToDate }, means: means)
    }

    private struct Summary {
        var users: Int
        var valueToDate: Double
        /// Of what is expected, over users.
        var means: [String: Double]
    }

    /// How the forecasts fared when their outcomes were known, from the last lines of a log that say it.
    private static func scores(_ log: String) -> [String: Double] {
        var scores: [String: Double] = [:]
        for line in log.split(separator: "\n") where line.contains("prequential") {
            var fields: [Substring: Substring] = [:]
            for match in line.matches(of: /(\w+)=([-\w.]+)/) { fields[match.1] = match.2 }
            guard let target = fields["target"], let days = fields["horizon_days"] else { continue }
            for name in ["landmarks", "auc", "log_loss"] {
                if let value = fields[Substring(name)].flatMap({ Double($0) }) {
                    scores["\(target) \(days) \(name)"] = value
                }
            }
        }
        return scores
    }
}
