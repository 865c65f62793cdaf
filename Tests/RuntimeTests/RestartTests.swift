import Engine
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing
import Verification

/// What happens when the daemon goes and comes back, by its own will or not.
@Suite struct RestartTests {
    /// The same state, bit for bit, and the same words about every record; then what was said twice is no other thing.
    private static func expectSame(_ site: Site, _ reference: Site, records: Int, once: Bool) async throws {
        let report = try site.verified(records: records)
        if once { #expect(report.double == 0) }
        let (state, expected) = (try site.state(), try reference.state())
        #expect(state.metadata == expected.metadata)
        #expect(state.files == expected.files)
        var said: [Int64: Set<[UInt8]>] = [:]
        let updates = try await site.updates()
        for (source, record) in updates { said[source.offset, default: []].insert(record.value ?? []) }
        let wanted = try await reference.updates()
        #expect(wanted.count == records)
        for (source, record) in wanted { #expect(said[source.offset] == [record.value ?? []], "\(source.offset)") }
        #expect(said.count == wanted.count, "nothing is missing")
        if once { #expect(updates.count == wanted.count, "nothing is repeated") }
        let (alerts, all) = (try await site.alerts(), try await reference.alerts())
        #expect(Set(alerts.map(\.value)) == Set(all.map(\.value)) && !all.isEmpty)
        if once { #expect(alerts.count == all.count) }
    }

    // MARK: By its own will

    @Test(arguments: Settings.Delivery.allCases)
    func stopsAndGoesOnAsIfItHadNot(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) { $0.snapshots.keep = 2 }
        var shop = Shop(seed: 5)
        let inputs = shop.events(3000)
        var taken = 0
        for part in [inputs[..<1100], inputs[1100..<1101], inputs[1101...]] {
            try site.produce(part)
            let daemon = RunningDaemon(site)
            try await daemon.taken(part.count)
            try await daemon.stop()
            taken += part.count
            #expect(try site.snapshots().first?.position == Int64(taken))
            #expect(daemon.counters.records == Int64(taken) && daemon.counters.repeated == 0)
        }
        #expect(try site.snapshots().map(\.position) == [3000, 1101])
        let reference = try await site.uninterrupted(records: inputs.count)
        try await Self.expectSame(site, reference, records: inputs.count, once: true)
    }

    /// Without snapshots the state is made again from the log, and what was published is not published again. The mock
    /// forgets offsets committed in transactions: there everything would be new.
    @Test(arguments: Cluster.isReal ? Settings.Delivery.allCases : [.atLeastOnce])
    func lostSnapshotsAreMadeAgainInSilence(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery)
        var shop = Shop(seed: 6)
        let inputs = shop.events(2500)
        try site.produce(inputs[..<2000])
        let first = RunningDaemon(site)
        try await first.taken(2000)
        try await first.stop()
        try FileManager.default.removeItem(atPath: site.settings.snapshots.directory)
        try site.produce(inputs[2000...])
        let second = RunningDaemon(site)
        try await second.taken(inputs.count)
        try await second.stop()
        #expect(second.log.count("the state is made again from 0 to the committed 2000") == 1)
        let reference = try await site.uninterrupted(records: inputs.count)
        try await Self.expectSame(site, reference, records: inputs.count, once: true)
    }

    @Test func aDamagedSnapshotIsPassedOver() async throws {
        let site = try Site(Cluster())
        var shop = Shop(seed: 7)
        let inputs = shop.events(2200)
        for part in [inputs[..<900], inputs[900..<1700]] {
            try site.produce(part)
            let daemon = RunningDaemon(site)
            try await daemon.taken(part.count)
            try await daemon.stop()
        }
        let snapshots = try site.snapshots()
        try #require(snapshots.map(\.position) == [1700, 900])
        let path = "\(snapshots[0].path)/task-0-0-users.bin"
        var bytes = try Data(contentsOf: URL(filePath: path))
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: URL(filePath: path))
        try site.produce(inputs[1700...])
        let daemon = RunningDaemon(site)
        // Again from 900, in silence up to 1,700.
        try await daemon.taken(1300)
        try await daemon.stop()
        #expect(daemon.log.count("damaged") == 1)
        let reference = try await site.uninterrupted(records: inputs.count)
        try await Self.expectSame(site, reference, records: inputs.count, once: true)
    }

    // MARK: Killed

    /// The program is killed in the middle of the stream, and started again with the same settings. Nothing is missing
    /// and the state is that of a run without a break. What may be repeated: at least once, everything after the last
    /// commit; exactly once, nothing that a reader of committed records sees — but the mock neither hides records of
    /// aborted transactions nor keeps their offsets, so that repeats are counted on a real broker only.
    @Test(arguments: Settings.Delivery.allCases, [1, 2, 3] as [UInt64])
    func killedAtAnyMoment(delivery: Settings.Delivery, seed: UInt64) async throws {
        let site = try Site(Cluster(), delivery) {
            $0.snapshots.intervalSeconds = 1
            $0.runtime.batchRecords = 64
        }
        var shop = Shop(seed: seed)
        let inputs = shop.events(4000)
        var random = Shop(seed: 77 * seed)
        // Kills come after so many records, before and after the first snapshots; the program starts in its own time.
        let kills = (0..<2).map { _ in 300 + random.random(3000) }.sorted()
        let producer = try site.cluster.producer()
        let topic = try producer.topic(site.input[0])
        var sent = 0
        var program = try RunningProgram(site)
        func feed(to end: Int, after seen: Int) async throws {
            // At the pace of a stream that lives: the program is never far behind.
            while sent < end {
                let next = min(end, sent + 25)
                try site.cluster.produce(inputs[sent..<next], to: topic, by: producer)
                sent = next
                try await Task.sleep(for: .milliseconds(20))
            }
            try await eventually(40, "updates beyond \(seen)\n\(program.errors)") {
                try site.cluster.end(of: site.settings.output.updatesTopic) > Int64(seen)
            }
        }
        var published = 0
        for kill in kills {
            try await feed(to: kill, after: published)
            program.kill()
            _ = try await program.status()
            #expect(!program.errors.contains("before the state's"), "a snapshot of what was not committed")
            published = Int(try site.cluster.end(of: site.settings.output.updatesTopic))
            program = try RunningProgram(site)
        }
        try await feed(to: inputs.count, after: published)
        try await site.published(through: inputs.count - 1, program)
        program.terminate()
        #expect(try await program.status() == 0)
        #expect(program.errors.contains("draining") && !program.errors.contains("before the state's"))

        let reference = try await site.uninterrupted(records: inputs.count)
        let once = delivery == .exactlyOnce && Cluster.isReal
        try await Self.expectSame(site, reference, records: inputs.count, once: once)
        if delivery == .atLeastOnce || Cluster.isReal {
            let committed = try site.cluster.committed(site.input[0], group: site.settings.kafka.groupId)
            #expect(committed[0]?.offset == Int64(inputs.count))
        }
    }

    // MARK: Refusals

    /// Runs the program, which has to refuse.
    private func refusal(_ site: Site, _ code: Int32, _ parts: String...) async throws {
        let program = try RunningProgram(site)
        let status = try await program.status()
        #expect(status == code, "\(program.errors)")
        for part in parts { #expect(program.errors.contains(part), "\(part) is not in \(program.errors)") }
    }

    @Test func anotherModelIsRefusedUnlessToldOtherwise() async throws {
        let site = try Site(Cluster())
        var shop = Shop()
        try site.produce(shop.events(300))
        let daemon = RunningDaemon(site)
        try await daemon.taken(300)
        try await daemon.stop()
        var settings = site.settings
        settings.engine.model.hidden = 32
        let other = site.with(settings)
        try await refusal(other, 3, "snapshots.discardIncompatible: true", try site.snapshots()[0].name)
        #expect(try site.snapshots().count == 1)
        // Learns anew from the log, without saying anything twice.
        settings.snapshots.discardIncompatible = true
        let again = RunningDaemon(site.with(settings))
        try await again.taken(300)
        try await again.stop()
        #expect(try await site.updates().count == 300)
        #expect(try site.verified(records: 300).double == 0)
        #expect(again.counters.records == 300)
    }

    /// The mock keeps 5 MB of a partition.
    @Test(.enabled(if: !Cluster.isReal, "needs the mock cluster, which forgets records soon"))
    func aGapInTheLogIsRefusedUnlessAccepted() async throws {
        let site = try Site(Cluster()) { $0.learning(false) }
        var shop = Shop()
        try site.produce(shop.events(200))
        let daemon = RunningDaemon(site)
        try await daemon.taken(200)
        try await daemon.stop()
        let padding = [UInt8](repeating: 0x20, count: 100_000)
        var large = shop.events(100)
        for i in large.indices { large[i].value? += padding }
        for i in stride(from: 0, to: 100, by: 10) { try site.produce(large[i..<i + 10]) }
        let low = try site.cluster.begin(of: site.input[0])
        try #require(low > 200)
        try await refusal(
            site, 3, "\(site.input[0])[0]: the state needs the records from offset 200, but the log begins at \(low)",
            "snapshots.acceptGap: true")
        var settings = site.settings
        settings.snapshots.acceptGap = true
        let again = RunningDaemon(site.with(settings))
        try await again.taken(300 - Int(low))
        try await again.stop()
        #expect(again.log.count("\(low - 200) records are gone") == 1)
        let offsets = try await site.updates().map(\.source.offset)
        #expect(offsets == Array(0..<200) + Array(low..<300))
    }
}

extension Site {
    /// Waits until there is an update of a record, or a later one.
    func published(through offset: Int, _ program: RunningProgram) async throws {
        let end = ContinuousClock.now + .seconds(40)
        while try await (updates().map(\.source.offset).max() ?? -1) < Int64(offset) {
            guard ContinuousClock.now < end else {
                throw Late(description: "no update of \(offset)\n\(program.errors)")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
