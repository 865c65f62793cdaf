import Kafka
import Logging
import Testing

@testable import Runtime
@testable import Settings

/// What the daemon makes of what the brokers say, before anything flows.
@Suite struct PreflightTests {
    /// Topics and brokers with Kafka 3.8's defaults, as this daemon makes them.
    private static let usual = ClusterSettings(
        topics: [
            "events": [
                "cleanup.policy": "delete", "retention.ms": "604800000", "message.timestamp.type": "CreateTime",
                "max.message.bytes": "1048588",
            ],
            "clv-updates": ["cleanup.policy": "compact", "retention.ms": "604800000", "max.message.bytes": "1048588"],
            "churn-alerts": ["cleanup.policy": "delete", "max.message.bytes": "1048588"],
            "clvd-dead-letters": ["cleanup.policy": "delete", "max.message.bytes": "1048588"],
        ],
        broker: ["transaction.max.timeout.ms": "900000", "transactional.id.expiration.ms": "604800000"])

    private static func make(
        library: LibraryVersion = .recommended, refusal: String? = nil, _ change: (inout Settings) -> Void = { _ in },
        cluster: (inout ClusterSettings) -> Void = { _ in }
    ) -> Preflight {
        var (settings, said) = (Settings(), usual)
        change(&settings)
        cluster(&said)
        return Preflight(settings, said, refusal: refusal, library: library)
    }

    @Test func nothingIsSaidOfWhatIsAsItShouldBe() {
        let preflight = Self.make()
        #expect(preflight.problems == [] && preflight.remarks == [] && preflight.producerProperties == [:])
        // Nor of what is not known.
        let unknown = Preflight(Settings(), ClusterSettings(), library: .recommended)
        #expect(unknown.problems == [] && unknown.remarks == [] && unknown.producerProperties == [:])
    }

    @Test func whatTheBrokersDoNotTellIsNotChecked() {
        let preflight = Self.make(refusal: "Cluster authorization failed") { _ in
        } cluster: {
            $0 = ClusterSettings()
        }
        #expect(preflight.problems == [] && preflight.remarks.count == 1)
        #expect(preflight.remarks.first?.level == .warning)
        #expect(preflight.remarks.first?.text.contains("DescribeConfigs") == true)
        #expect(preflight.remarks.first?.metadata == ["error": "Cluster authorization failed"])
    }

    // MARK: Input

    @Test(arguments: ["compact", "compact,delete", "delete,compact"])
    func compactedInputIsRefusedUnlessItIsAccepted(policy: String) {
        func compact(_ cluster: inout ClusterSettings) { cluster.topics["events"]?["cleanup.policy"] = policy }
        let refused = Self.make(cluster: compact)
        #expect(refused.problems.map(\.path) == ["input.topics"])
        let text = refused.problems.first?.description ?? ""
        #expect(text.hasPrefix("input.topics: events is compacted: after a crash the state is made again"), "\(text)")
        #expect(text.contains("cleanup.policy=\(policy)") && text.contains("input.acceptCompacted: true"))
        let accepted = Self.make({ $0.input.acceptCompacted = true }, cluster: compact)
        #expect(accepted.problems == [] && accepted.remarks.map(\.metadata) == [["topic": "events"]])
    }

    /// Twice the interval of 60 s and a minute are 180 s.
    @Test(arguments: [(179_999, true), (180_000, false), (0, true), (-1, false)])
    func retentionHasToReachBackToTheSnapshotBeforeTheLast(milliseconds: Int, warns: Bool) {
        let remarks = Self.make {
            $0.snapshots.intervalSeconds = 60
        } cluster: {
            $0.topics["events"]?["retention.ms"] = "\(milliseconds)"
        }.remarks
        #expect(remarks.count == (warns ? 1 : 0))
        guard warns else { return }
        #expect(
            remarks.first?.metadata == [
                "topic": "events", "retention_ms": "\(milliseconds)", "needed_ms": "180000",
                "counted_from": "its timestamp", "snapshots_interval_seconds": "60",
            ])
    }

    @Test func retentionByBytesIsTold() {
        let remarks = Self.make(cluster: { $0.topics["events"]?["retention.bytes"] = "1073741824" }).remarks
        #expect(remarks.map(\.level) == [.notice] && remarks.first?.metadata["retention_bytes"] == "1073741824")
        #expect(Self.make(cluster: { $0.topics["events"]?["retention.bytes"] = "-1" }).remarks == [])
    }

    @Test func whatIsOnlyCompactedHasNoRetention() {
        let preflight = Self.make {
            $0.input.acceptCompacted = true
        } cluster: {
            $0.topics["events"]?["cleanup.policy"] = "compact"
            $0.topics["events"]?["retention.ms"] = "1"
        }
        #expect(!preflight.remarks.contains { $0.text.contains("retention") })
    }

    // MARK: Output

    @Test(arguments: [("clv-updates", "delete"), ("churn-alerts", "compact"), ("clvd-dead-letters", "compact,delete")])
    func outputTopicsHaveTheirPolicy(topic: String, policy: String) {
        let remarks = Self.make(cluster: { $0.topics[topic]?["cleanup.policy"] = policy }).remarks
        #expect(remarks.count == 1 && remarks.first?.level == .warning)
        #expect(remarks.first?.metadata["topic"] == topic && remarks.first?.metadata["cleanup_policy"] == policy)
        #expect(remarks.first?.text.contains("Set cleanup.policy=\(policy == "delete" ? "compact" : "delete")") == true)
    }

    /// A topic refuses a batch as a whole; by default the client makes them of 1,000,000 bytes.
    @Test(arguments: ["clv-updates", "churn-alerts", "clvd-dead-letters"])
    func batchesFitTheSmallestTopic(topic: String) throws {
        let preflight = Self.make(cluster: { $0.topics[topic]?["max.message.bytes"] = "65536" })
        let bytes = try #require(preflight.producerProperties["batch.size"].flatMap { Int($0) })
        #expect(bytes > 60_000 && bytes <= 65_536 - 512)
        #expect(preflight.remarks.map(\.level) == [.notice] && preflight.remarks.first?.metadata["topic"] == topic)
        #expect(preflight.remarks.first?.metadata["max_message_bytes"] == "65536")
        // What a person has set stays.
        let own = Self.make {
            $0.kafka.properties["batch.size"] = "65536"
        } cluster: {
            $0.topics[topic]?["max.message.bytes"] = "65536"
        }
        #expect(own.producerProperties == [:] && own.remarks.map(\.level) == [.warning])
        #expect(own.remarks.first?.metadata["batch_size"] == "65536")
        let small = Self.make {
            $0.kafka.properties["batch.size"] = "60000"
        } cluster: {
            $0.topics[topic]?["max.message.bytes"] = "65536"
        }
        #expect(small.producerProperties == [:] && small.remarks == [])
    }

    @Test func theTiniestLimitLeavesABatchOfOne() {
        let preflight = Self.make(cluster: { $0.topics["clv-updates"]?["max.message.bytes"] = "0" })
        #expect(preflight.producerProperties == ["batch.size": "1"])
    }

    // MARK: Transactions and the client

    @Test(arguments: [(nil, 59_999, true), (nil, 60_000, false), ("900001", 900_000, true), ("900000", 900_000, false)])
    func transactionsMayNotLastLongerThanTheBrokersAllow(own: String?, most: Int, isRefused: Bool) {
        func make(_ delivery: Settings.Delivery) -> Preflight {
            Self.make {
                $0.delivery = delivery
                $0.kafka.properties["transaction.timeout.ms"] = own
            } cluster: {
                $0.broker["transaction.max.timeout.ms"] = "\(most)"
            }
        }
        let problems = make(.exactlyOnce).problems
        #expect(problems.map(\.path) == (isRefused ? ["kafka.properties.transaction.timeout.ms"] : []))
        let text = problems.first?.description ?? ""
        #expect(
            !isRefused
                || (text.contains(own ?? "60000")
                    && text.contains("transaction.max.timeout.ms of the brokers, \(most)"))
        )
        #expect(make(.atLeastOnce).problems == [])
    }

    @Test func withoutIdleTicksTheTransactionalIdExpires() {
        let remarks = Self.make({ $0.runtime.idleTickSeconds = 0 }).remarks
        #expect(remarks.map(\.metadata) == [["transactional_id_expiration_ms": "604800000"]])
        let plain = Self.make {
            $0.runtime.idleTickSeconds = 0
            $0.delivery = .atLeastOnce
        }
        #expect(plain.remarks == [])
    }

    /// Numbers of librdkafka's issues and pull requests, from its CHANGELOG.
    @Test(arguments: [
        (LibraryVersion(2, 0, 2), ["#4312", "#4800", "#4908", "#4970", "#5066"]),
        (LibraryVersion(2, 3, 0), ["#4800", "#4908", "#4970", "#5066"]),
        (LibraryVersion(2, 6, 1), ["#4908", "#4970", "#5066"]), (LibraryVersion(2, 10, 0), ["#5066"]),
        (LibraryVersion(2, 10, 1), []), (LibraryVersion(3, 0, 0), []),
    ])
    func anOldLibraryIsToldWithWhatWasMendedSince(library: LibraryVersion, mended: [String]) {
        let remarks = Self.make(library: library).remarks
        #expect(remarks.map(\.level) == (mended.isEmpty ? [] : [.notice]))
        let reasons = remarks.first?.metadata["reasons"] ?? ""
        for number in ["#4312", "#4800", "#4908", "#4970", "#5066"] {
            #expect(reasons.contains(number) == mended.contains(number), "\(number)")
        }
    }
}
