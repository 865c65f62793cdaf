import Foundation
import Kafka
import Settings
import Testing
import Verification

@testable import Runtime

/// The daemon on topics with settings of their own.
@Suite(.enabled(if: Cluster.isReal, "needs a real broker (CLVD_TEST_BOOTSTRAP)"))
struct PreflightBrokerTests {
    /// A site, one topic of which was there before, with a configuration.
    private static func site(
        _ topic: String, _ configuration: [String: String], _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        let cluster = try Cluster()
        try cluster.createTopics(["\(topic)-\(cluster.name)"], partitions: 1, configuration: configuration)
        return try Site(cluster, .exactlyOnce) {
            $0.learning(false)
            change(&$0)
        }
    }

    @Test func compactedInputIsRefusedUnlessItIsAccepted() async throws {
        let site = try Self.site("events-0", ["cleanup.policy": "compact"])
        let refused = try RunningProgram(site)
        #expect(try await refused.status() == 78)
        #expect(refused.errors.contains("input.topics: \(site.input[0]) is compacted"), "\(refused.errors)")
        #expect(refused.errors.contains("input.acceptCompacted: true"))
        var shop = Shop()
        try site.produce(shop.events(50))
        let daemon = RunningDaemon(site.instance("0") { $0.input.acceptCompacted = true })
        try await daemon.taken(50)
        try await daemon.stop()
        #expect(daemon.log.count("which input.acceptCompacted accepts") == 1, "\(daemon.log.text)")
    }

    @Test func shortRetentionIsTold() async throws {
        let site = try Self.site("events-0", ["retention.ms": "60000"]) { $0.snapshots.intervalSeconds = 60 }
        let daemon = RunningDaemon(site)
        try await eventually(30, "a beginning\n\(daemon.log.text)") { daemon.log.count("partition begins") == 1 }
        try await daemon.stop()
        let line =
            daemon.log.text.split(separator: "\n").first { $0.contains("may lose records before a snapshot") } ?? ""
        #expect(line.contains("topic=\(site.input[0])") && line.contains("retention_ms=60000"), "\(daemon.log.text)")
        #expect(line.contains("needed_ms=180000"))
    }

    /// A batch of 5,000 updates has megabytes.
    @Test(arguments: Settings.Delivery.allCases)
    func aTopicThatTakesLittleGetsSmallBatches(delivery: Settings.Delivery) async throws {
        let site = try Self.site("updates", ["max.message.bytes": "65536", "cleanup.policy": "compact"]) {
            $0.delivery = delivery
            $0.output.commitIntervalMs = 2000
            $0.runtime.batchRecords = 8192
            // Compressed, they would fit more often than not.
            $0.kafka.properties["compression.codec"] = "none"
        }
        var shop = Shop()
        try site.produce(shop.events(5000))
        let daemon = RunningDaemon(site)
        try await daemon.taken(5000)
        try await daemon.stop()
        #expect(daemon.daemon.status.restarts == 0, "\(daemon.log.text)")
        #expect(daemon.log.count("output batches are smaller than usual") == 1)
        let report = try site.verified(records: 5000)
        #expect(report.updates > 4000 && report.deadLetters == 0)
    }

    /// An update by itself is larger than its topic takes: nothing can be cut of it.
    @Test(arguments: Settings.Delivery.allCases)
    func anUpdateThatIsTooLargeNamesItsTopic(delivery: Settings.Delivery) async throws {
        let site = try Self.site("updates", ["max.message.bytes": "200"]) { $0.delivery = delivery }
        var shop = Shop()
        try site.produce(shop.events(3) + [Input(key: nil, value: Array("poison".utf8), timestampMs: shop.now)])
        let daemon = RunningDaemon(site)
        let topic = site.settings.output.updatesTopic
        try await eventually(30, "a restart\n\(daemon.log.text)") { daemon.daemon.status.restarts > 0 }
        daemon.daemon.stop()
        _ = try await daemon.ended(seconds: 60)
        let line = daemon.log.text.split(separator: "\n").first { $0.contains("the pipeline ends") } ?? ""
        #expect(line.contains("to \(topic): the topic does not take a batch of them"), "\(daemon.log.text)")
        #expect(line.contains(try Regex("the largest has [0-9]+ bytes; raise the topic's max.message.bytes")))
        #expect(daemon.log.count("a dead letter is too large") == 0, "\(daemon.log.text)")
    }

    /// Offsets 0 to 4 are aborted, 5 is the marker of it, 6 to 25 are records.
    @Test func aMutedReplayTellsRecordsFromOffsets() async throws {
        let site = try Self.site("unused", [:])
        var shop = Shop()
        let producer = try Producer(
            bootstrap: site.cluster.bootstrap, transactionalId: "t-\(site.cluster.name)", properties: [:],
            logger: Log().logger)
        let topic = try producer.topic(site.input[0])
        try producer.initTransactions(milliseconds: 30_000)
        for (count, commits) in [(5, false), (20, true)] {
            try producer.beginTransaction()
            try site.cluster.produce(shop.events(count), to: topic, by: producer)
            if commits {
                try producer.commitTransaction(milliseconds: 10_000)
            } else {
                try producer.abortTransaction(milliseconds: 10_000)
            }
        }
        let first = RunningDaemon(site)
        try await first.taken(20)
        try await first.stop()
        try FileManager.default.removeItem(atPath: site.settings.snapshots.directory)
        let second = RunningDaemon(site)
        try await eventually(30, "the end of the replay\n\(second.log.text)") {
            second.log.count("partition is up to date") == 1
        }
        try await second.stop()
        let line = second.log.text.split(separator: "\n").first { $0.contains("partition is up to date") } ?? ""
        #expect(line.contains("markers of transactions or aborted records"), "\(line)")
        #expect(line.contains("offsets=26") && line.contains("records=20") && line.contains("others=6"), "\(line)")
        #expect(second.daemon.status.restarts == 0)
    }

    @Test func transactionsMayNotLastLongerThanTheBrokersAllow() async throws {
        let site = try Self.site("unused", [:]) { $0.kafka.properties["transaction.timeout.ms"] = "900001" }
        let program = try RunningProgram(site)
        #expect(try await program.status() == 78)
        #expect(
            program.errors.contains(
                "kafka.properties.transaction.timeout.ms: is above transaction.max.timeout.ms of the brokers, 900000"),
            "\(program.errors)")
    }
}

/// Brokers that do not tell their settings: the mock does not know the question.
@Suite(.enabled(if: !Cluster.isReal, "needs the mock cluster"))
struct PreflightMockTests {
    @Test func whoDoesNotTellHoldsNothingUp() async throws {
        let site = try Site(Cluster()) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(20))
        let daemon = RunningDaemon(site)
        try await daemon.taken(20)
        try await daemon.stop()
        #expect(daemon.log.count("the brokers do not tell all their settings") == 1, "\(daemon.log.text)")
    }
}
