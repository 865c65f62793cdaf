import Engine
import Foundation
import Kafka
import Settings
import SnapshotStore
import Testing
import Verification

private let kills = ProcessInfo.processInfo.environment["CLVD_TEST_KILLS"].flatMap { Int($0) } ?? 0

/// `kill -9` at random moments, as often as `CLVD_TEST_KILLS` says (`make kills N=200`): while it starts, joins, restores,
/// reads again, learns, publishes, commits and writes snapshots. The records come in all along.
@Suite(.enabled(if: kills > 0, "CLVD_TEST_KILLS is not set; RestartTests kill a few times"))
struct KillTests {
    private static let records = 4000

    /// Feeds all records while the program is killed and started again, then lets it come to the end.
    private static func endure(_ site: Site, _ inputs: [Input], seed: UInt64) async throws {
        let producer = try site.cluster.producer()
        let topic = try producer.topic(site.input[0])
        var random = Shop(seed: seed)
        var sent = 0
        var begun = 0
        for kill in 0..<kills {
            // Some at once, so that every life has something to do; the rest while it lives.
            let share = inputs.count * (kill + 1) / (kills + 1)
            let program = try RunningProgram(site)
            let end = ContinuousClock.now + .milliseconds(1 + random.random(2000))
            let living = random.random(4) > 0
            if living {
                // Three of four die after they have begun, at once or some time later.
                let patience = ContinuousClock.now + .seconds(60)
                while !program.errors.contains("partition begins"), program.isRunning, ContinuousClock.now < patience {
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(program.errors.contains("partition begins"), "\(program.errors)")
                begun += 1
            }
            let last = living ? ContinuousClock.now + .milliseconds(random.random(1200)) : end
            while ContinuousClock.now < last || sent < share {
                let next = min(share, sent + 20)
                if next > sent { try site.cluster.produce(inputs[sent..<next], to: topic, by: producer) }
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
        try site.cluster.produce(inputs[sent...], to: topic, by: producer)
        let program = try RunningProgram(site)
        try await eventually(120, "the end\n\(program.errors)") {
            !program.isRunning || program.errors.contains(" records=\(inputs.count) ")
        }
        program.terminate()
        #expect(try await program.status() == 0, "\(program.errors)")
        #expect(try site.snapshots().first?.position == Int64(inputs.count))
    }

    private static func site(_ delivery: Settings.Delivery, partitions: Int) throws -> Site {
        // The mock keeps 5 MB of a partition; what is said again in a transaction that it forgets takes its room, too.
        try Site(Cluster(), delivery, partitions: partitions, outputPartitions: 8) {
            $0.snapshots.intervalSeconds = 1
            $0.runtime.batchRecords = 64
            $0.runtime.reportIntervalSeconds = 1
            // Who was killed is missed soon.
            if !Cluster.isReal { $0.kafka.properties["session.timeout.ms"] = "2500" }
        }
    }

    /// The same records without a kill.
    private static func reference(_ site: Site, _ inputs: [Input]) async throws -> Site {
        let other = try Site(site.cluster, site.settings.delivery, outputPartitions: 8, reading: site) {
            $0.engine = site.settings.engine
        }
        let daemon = RunningDaemon(other)
        try await daemon.taken(inputs.count)
        try await daemon.stop()
        return other
    }

    @Test(arguments: Settings.Delivery.allCases)
    func onePartitionEndsBitForBitAsIfNothingHadHappened(delivery: Settings.Delivery) async throws {
        let site = try Self.site(delivery, partitions: 1)
        var shop = Shop(seed: 31)
        let inputs = shop.events(Self.records)
        try await Self.endure(site, inputs, seed: 311)
        let report = try site.verified(records: inputs.count)
        let reference = try await Self.reference(site, inputs)
        let (state, expected) = (try site.state(), try reference.state())
        #expect(state.metadata == expected.metadata)
        #expect(state.files == expected.files && state.files.count > 4)
        print(
            "\(delivery.rawValue), 1 partition: \(kills) kills, \(report.records) records, \(report.updates) "
                + "updates, \(report.missing) missing, \(report.double) double; state and weights as without")
    }

    /// Records of partitions mix otherwise each time, and so learning differs: what is counted is equal, what is learned
    /// alike.
    @Test func sixteenPartitionsAreCompleteAndAlike() async throws {
        let site = try Self.site(.atLeastOnce, partitions: 16)
        var shop = Shop(seed: 32, users: 120)
        let inputs = shop.events(Self.records).map { input in
            var input = input
            input.partition = Int32(input.key!.reduce(0) { ($0 &* 31 &+ Int($1)) % 16 })
            return input
        }
        try await Self.endure(site, inputs, seed: 321)
        let report = try site.verified(records: inputs.count)
        // Fed at a pace as well: partitions that are read one after the other are another stream to learn from.
        let reference = try Self.site(.atLeastOnce, partitions: 16)
        let daemon = RunningDaemon(reference)
        for start in stride(from: 0, to: inputs.count, by: 20) {
            try reference.produce(inputs[start..<min(start + 20, inputs.count)])
        }
        try await daemon.taken(inputs.count, seconds: 120)
        try await daemon.stop()
        let (here, there) = (try await Self.summary(of: site), try await Self.summary(of: reference))
        #expect(here.users == there.users && !here.users.isEmpty)
        #expect(abs(here.clv - there.clv) < 0.4 * there.clv, "\(here.clv) beside \(there.clv)")
        print(
            "at-least-once, 16 partitions: \(kills) kills, \(report.records) records, \(report.updates) updates, "
                + "\(report.missing) missing, \(report.double) double; expected value of all \(here.clv), without kills "
                + "\(there.clv)")
    }

    /// What is known of users at the end of the stream.
    private static func summary(of site: Site) async throws -> (users: [String: Double], clv: Double) {
        struct Update: Decodable {
            var source: Site.Source
            var userId: String
            var valueToDate: Double
            var clv: [String: Double]
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        var newest: [String: Update] = [:]
        for record in try await site.cluster.read(site.settings.output.updatesTopic, partitions: 8) {
            let update = try decoder.decode(Update.self, from: Data(record.value ?? []))
            if let before = newest[update.userId], before.source.offset > update.source.offset { continue }
            newest[update.userId] = update
        }
        return (newest.mapValues(\.valueToDate), newest.values.reduce(0) { $0 + ($1.clv["20"] ?? .nan) })
    }
}
