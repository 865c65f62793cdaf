import Foundation
import Kafka
import Logging
import Settings
import SnapshotStore
import Testing
import Verification

@testable import Runtime

/// `clvd offsets` beside a daemon: after somebody else has moved the offsets, nothing is lost and nothing said twice but
/// what an operator has agreed to. Outside of transactions the mock cluster keeps offsets, too.
@Suite struct OffsetsCommandTests {
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private struct Run {
        var status: Int32
        var output: String
        var errors: String
        var json: [String: Any] {
            get throws { try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any]) }
        }
        var partitions: [[String: Any]] { get throws { try #require(try json["partitions"] as? [[String: Any]]) } }
    }

    /// A group that has taken in 60 records of each of two partitions, in two lives: its snapshots are at 30 and 60.
    private final class Shopping {
        var site: Site
        var shop = Shop(seed: 61, users: 30)
        var sent = 0

        init() async throws {
            site = try Site(Cluster(), Cluster.isReal ? .exactlyOnce : .atLeastOnce, partitions: 2) {
                $0.learning(false)
                $0.input.keying = .asIs
                // The mock waits for the session of a static member that has ended, and cannot say that it does.
                $0.kafka.staticMembership = Cluster.isReal
            }
            for _ in 0..<2 {
                try send(60)
                try await live()
            }
            try inherit()
        }

        /// The mock takes no offsets from outside once a group has had a member. So what the group has goes to one of
        /// another name, which has had none.
        private func inherit() throws {
            if Cluster.isReal { return }
            let offsets = try committed
            site.settings.kafka.groupId = "heir-\(site.settings.kafka.groupId)"
            site.settings.snapshots.acceptOrigin = true
            try commit(offsets)
        }

        func send(_ records: Int) throws {
            let events = shop.events(records).enumerated().map { i, event in
                var event = event
                event.partition = Int32(i % 2)
                return event
            }
            try site.produce(events)
            sent += records
        }

        /// A daemon takes in what there is and leaves a snapshot.
        func live() async throws {
            let daemon = RunningDaemon(site)
            try await eventually(60, "the end of the log\n\(daemon.log.text)") {
                if let result = daemon.result { try result.get() }
                let offsets = try site.cluster.committed(
                    site.input[0], partitions: 2, group: site.settings.kafka.groupId)
                return (0..<2).allSatisfy { offsets[$0]?.offset ?? 0 >= sent / 2 }
            }
            try await daemon.stop()
            if Cluster.isReal { try await forgotten() }
        }

        /// A static member stays in the group until its session is over.
        func forgotten() async throws {
            let admin = try Admin(bootstrap: site.cluster.bootstrap, properties: [:], logger: quiet)
            try await eventually(20, "an empty group") {
                try admin.members(ofGroup: site.settings.kafka.groupId).isEmpty
            }
        }

        /// As another program does it.
        func commit(_ offsets: [Int32: Int64]) throws {
            try commit(offsets.mapValues { PartitionOffset(offset: $0) })
        }

        private func commit(_ offsets: [Int32: PartitionOffset]) throws {
            let consumer = try Consumer(
                bootstrap: site.cluster.bootstrap, groupId: site.settings.kafka.groupId, instanceId: nil,
                topics: site.input, batchRecords: 1, properties: [:], logger: quiet)
            defer { consumer.close() }
            try consumer.commit(
                Dictionary(uniqueKeysWithValues: offsets.map { (TopicPartition(site.input[0], $0), $1) }))
        }

        var committed: [Int32: PartitionOffset] {
            get throws {
                try site.cluster.committed(site.input[0], partitions: 2, group: site.settings.kafka.groupId)
            }
        }

        func offsets(_ name: String, _ arguments: String...) async throws -> Run {
            try await offsets(name, arguments)
        }

        func offsets(_ name: String, _ arguments: [String]) async throws -> Run {
            let config = try site.folder.write(site.settings.rendered(), to: "clvd.yaml")
            let program = try RunningProgram(site, ["offsets", name, "--config", config] + arguments)
            let status = try await program.status(seconds: 60)
            return Run(status: status, output: program.output, errors: program.errors)
        }

        /// By instance, where they are now.
        func positions(_ folder: String? = nil) throws -> [Int64] {
            try SharedSnapshotFolder.snapshots(in: folder ?? site.settings.snapshots.directory)
                .map(\.info.position).sorted()
        }

        /// What was said twice in all, and nothing is missing.
        func doubles() throws -> Int64 {
            // An operator may agree to some whatever the delivery.
            var site = site
            site.settings.delivery = .atLeastOnce
            return try site.verified(records: sent).double
        }
    }

    @Test func whatIsThereIsShown() async throws {
        let shopping = try await Shopping()
        let run = try await shopping.offsets("show", "--published", "--json")
        #expect(run.status == 0, "\(run.errors)")
        for (n, partition) in try run.partitions.enumerated() {
            #expect(partition["partition"] as? Int == n && partition["topic"] as? String == shopping.site.input[0])
            #expect(partition["begin"] as? Int == 0 && partition["end"] as? Int == 60)
            #expect(partition["by"] as? String == "clvd" && partition["published"] as? Int == 59)
            #expect(partition["beyond"] == nil)
            let outlook = try #require(partition["outlook"] as? String)
            #expect(outlook.hasPrefix("The daemon goes on from 0/snapshot-00000000000000000120 at "), "\(outlook)")
            #expect(outlook.hasSuffix(" and publishes from \(try #require(partition["committed"] as? Int))."))
        }
        let text = try await shopping.offsets("show")
        #expect(text.output.contains("\n  committed           60 by clvd\n"), "\(text.output)")
        #expect(text.output.contains("\n  snapshot beyond it  none\nThe daemon goes on from"), "\(text.output)")
        try shopping.commit([1: 20])
        let moved = try await shopping.offsets("show")
        #expect(moved.output.contains("\n  committed           20 by another program or a person\n"))
        #expect(moved.output.contains("\n  snapshot beyond it  60 in 0/snapshot-00000000000000000120\n"))
    }

    /// Set back by somebody else, to before all snapshots of one partition.
    @Test func aResetIsAccepted() async throws {
        let shopping = try await Shopping()
        try shopping.commit([1: 20])
        let dry = try await shopping.offsets("accept", "--dry-run")
        #expect(dry.status == 0 && dry.output.contains("Nothing was changed (--dry-run)."), "\(dry.errors)")
        #expect(try shopping.committed[1]?.metadata.isEmpty == true && shopping.positions() == [60, 120])
        let run = try await shopping.offsets("accept")
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output.contains("\(shopping.site.input[0])[1]      20     20  2: 0/snapshot-"))
        #expect(run.output.contains(": 1 offset committed, 2 snapshots moved to "))
        #expect(try shopping.committed[1]?.offset == 20)
        #expect(CommitMetadata(text: try #require(try shopping.committed[1]).metadata).offset == 20)
        #expect(try shopping.positions().isEmpty)
        let aside = try #require(run.output.split(separator: "moved to ").last?.split(separator: "\n").first)
        #expect(try shopping.positions(String(aside)) == [60, 120])
        try shopping.send(20)
        try await shopping.live()
        // From 20 to 60 once more, as the command said.
        #expect(try shopping.doubles() == 40)
    }

    /// Set forwards by somebody else: what lies between would never be published.
    @Test func whatWasSkippedIsPublishedAfterAll() async throws {
        let shopping = try await Shopping()
        try shopping.send(40)
        try shopping.commit([0: 80, 1: 70])
        let run = try await shopping.offsets("rewind", "--to", "published", "--json")
        #expect(run.status == 0, "\(run.errors)")
        #expect(try run.partitions.map { $0["before"] as? Int } == [80, 70])
        #expect(try run.partitions.map { $0["after"] as? Int } == [60, 60])
        #expect(try run.json["aside"] == nil && shopping.positions() == [60, 120])
        try await shopping.live()
        #expect(try shopping.doubles() == 0)
    }

    @Test func everyTargetIsSet() async throws {
        let shopping = try await Shopping()
        let snapshot = try await shopping.offsets("rewind", "--to", "snapshot", "--json")
        #expect(try snapshot.partitions.map { $0["after"] as? Int } == [60, 60], "\(snapshot.errors)")
        let part = "\(shopping.site.input[0])/1"
        let back = try await shopping.offsets("rewind", "--to", "40", "--partition", part)
        #expect(back.status == 0, "\(back.errors)")
        #expect(try shopping.committed.mapValues(\.offset) == [0: 60, 1: 40] && shopping.positions() == [60])
        if Cluster.isReal {
            let begin = Date(timeIntervalSince1970: Double(Shop.begin) / 1000)
            let time = try await shopping.offsets("rewind", "--to", begin.formatted(.iso8601), "--dry-run", "--json")
            #expect(try time.partitions.map { $0["after"] as? Int } == [0, 0], "\(time.errors)")
        }
        for (arguments, message) in [
            (["--to", "61"], "offset 61 is not in the log, which has 0 to 60"),
            (["--to", "5", "--partition", "none/1"], "none[1]: the group does not read it"),
        ] {
            let run = try await shopping.offsets("rewind", arguments)
            #expect(run.status == 1 && run.errors.contains(message), "\(run.errors)")
        }
        for wrong in ["yesterday", "-1"] {
            #expect(try await shopping.offsets("rewind", "--to", wrong).status == 64)
        }
        let all = try await shopping.offsets("rewind", "--to", "earliest", "--json")
        #expect(try all.partitions.map { $0["after"] as? Int } == [0, 0], "\(all.errors)")
        #expect(try shopping.positions().isEmpty)
        try await shopping.live()
        // Once more from the beginning.
        #expect(try shopping.doubles() == 120)
    }

    /// While an instance runs, its offsets are its own.
    @Test func aGroupWithMembersIsLeftAlone() async throws {
        let shopping = try await Shopping()
        let daemon = RunningDaemon(shopping.site)
        try await eventually(60, "partitions\n\(daemon.log.text)") { daemon.log.count("partition begins") == 2 }
        for arguments in [["accept"], ["rewind", "--to", "earliest"]] {
            let run = try await shopping.offsets(arguments[0], Array(arguments.dropFirst()))
            #expect(run.status == 1 && run.errors.contains("Nothing was changed. Stop all instances first"))
            let who =
                Cluster.isReal ? "has 1 member (\(shopping.site.settings.kafka.groupId)-0-" : "an instance runs"
            #expect(run.errors.contains(who), "\(run.errors)")
        }
        let show = try await shopping.offsets("show")
        #expect(show.status == 0 && show.output.contains("active, so that offsets may move on") == Cluster.isReal)
        try await daemon.stop()
        #expect(try shopping.positions().max() == 120 && shopping.doubles() == 0)
    }
}
