import Engine
import Foundation
import Kafka
import Logging
import Settings
import Testing

@testable import Runtime

/// Batches that cannot be read, and records that an operator wants to be stepped over.
@Suite struct UnreadableBatchTests {
    /// A site of two partitions, whose clients take batches of up to 2 MB.
    private static func site(
        _ delivery: Settings.Delivery = .atLeastOnce, _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        try Site(Cluster(), delivery, partitions: 2) {
            $0.input.keying = .asIs
            $0.kafka.properties["receive.message.max.bytes"] = "2000000"
            $0.kafka.properties["fetch.max.bytes"] = "1000000"
            // A static member has to wait for its session.
            $0.kafka.staticMembership = false
            $0.learning(false)
            change(&$0)
        }
    }

    /// Events of both partitions, in turns.
    private static func events(_ shop: inout Shop, _ count: Int) -> [Input] {
        shop.events(count).enumerated().map {
            var input = $1
            input.partition = Int32($0 % 2)
            return input
        }
    }

    /// Five records of 600,000 spaces, which zstd makes a few hundred bytes of, as one batch of the first partition.
    private static func poison(_ site: Site) throws {
        let producer = try Producer(
            bootstrap: site.cluster.bootstrap, transactionalId: nil,
            properties: [
                "compression.codec": "zstd", "message.max.bytes": "8000000", "batch.size": "8000000",
                "linger.ms": "500",
            ], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let topic = try producer.topic(site.input[0])
        let spaces = [UInt8](repeating: 0x20, count: 600_000)
        let records = (0..<5).map { _ in Input(key: [0x6B], value: spaces, timestampMs: 1_700_000_000_000) }
        try site.cluster.produce(records, to: topic, by: producer)
    }

    /// The batch takes the offsets 20 to 24, and is followed by another of its kind.
    private static func poisoned(_ site: Site, _ shop: inout Shop) throws {
        try site.produce(events(&shop, 40))
        try poison(site)
        try poison(site)
        try site.produce(events(&shop, 40))
    }

    @Test func aBatchThatCannotBeReadStopsItsPartitionAloneAndIsSteppedOver() async throws {
        var site = try Self.site()
        let (topic, partition) = (site.input[0], "\(site.input[0])[0]")
        var shop = Shop(seed: 71)
        try Self.poisoned(site, &shop)

        // Told once, with what to do; the other partition goes on.
        let first = RunningDaemon(site)
        try await first.taken(60)
        try await eventually(20, "a word about the batch\n\(first.log.text)") {
            first.log.count("a batch cannot be read") > 0 && first.daemon.status.standstills == [partition: 20]
        }
        try await Task.sleep(for: .seconds(1))
        try await first.stop()
        #expect(first.counters.records == 60)
        let words = [
            "error a batch cannot be read: its partition stands still, the others go on",
            "offset=20 partition=\(partition)", "next=20", "Decompression (zstd)", "_BAD_COMPRESSION",
            "raise kafka.properties.receive.message.max.bytes (now 2000000)", #"input.skip: ["\#(topic)/0/20"]"#,
        ]
        for word in words { #expect(first.log.count(word) == 1, "\(word)\n\(first.log.text)") }

        site.settings.input.skip = ["\(topic)/0/20-29"]
        let second = RunningDaemon(site)
        try await second.taken(21)
        try await second.stop()
        #expect(second.daemon.status.standstills.isEmpty && second.log.count("a batch cannot be read") == 0)
        #expect(second.counters.records == 82 && second.counters.deadLetters == 2)
        try await Self.expectNamed(site, at: [24, 29])
        try site.verified(records: 82)

        // Made again from the log alone, it is the same, and nothing is said twice.
        let state = try site.state()
        try FileManager.default.removeItem(atPath: site.settings.snapshots.directory)
        let third = RunningDaemon(site)
        try await third.taken(82)
        try await third.stop()
        #expect(try site.state().files == state.files)
        try await Self.expectNamed(site, at: [24, 29])
    }

    /// Of each batch, one dead letter.
    private static func expectNamed(_ site: Site, at offsets: [Int]) async throws {
        let letters = try await site.deadLetters()
        #expect(letters.map { $0.headers["__connect.errors.offset"] } == offsets.map(String.init))
        for (letter, offset) in zip(letters, offsets) {
            #expect(letter.headers["__connect.errors.topic"] == site.input[0])
            #expect(letter.headers["__connect.errors.partition"] == "0")
            #expect(letter.headers["__connect.errors.class.name"] == "unreadable")
            #expect(
                letter.headers["__connect.errors.exception.message"]
                    == "5 offsets from \(offset - 4) to \(offset) cannot be read; input.skip steps over them")
            #expect(letter.value == nil)
        }
        #expect(try await site.updates().count == 80)
    }

    /// `clvd verify` would wait for ever for what it cannot read.
    @Test func aVerificationNamesTheBatch() async throws {
        let site = try Self.site()
        var shop = Shop(seed: 72)
        try Self.poisoned(site, &shop)
        let daemon = RunningDaemon(site)
        try await daemon.taken(60)
        try await daemon.stop()
        let log = site.with(site.settings)
        let error = #expect(throws: (any Error).self) { try log.verified(records: 60, toTheEnd: true) }
        #expect("\(error!)".contains("at offset 20"), "\(error!)")
        #expect("\(error!)".contains("\(site.input[0])/0/20"))
    }

    /// As it comes, 90 MB of spaces are a few kilobytes.
    @Test(.enabled(if: Cluster.isReal, "takes seconds")) func aLargeRecordIsReadByDefault() async throws {
        let site = try Site(Cluster()) { $0.learning(false) }
        let producer = try Producer(
            bootstrap: site.cluster.bootstrap, transactionalId: nil,
            properties: ["compression.codec": "zstd", "message.max.bytes": "100000000"],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let spaces = [UInt8](repeating: 0x20, count: 90_000_000)
        try site.cluster.produce(
            [Input(key: nil, value: spaces, timestampMs: 1_700_000_000_000)], to: producer.topic(site.input[0]),
            by: producer)
        let daemon = RunningDaemon(site)
        try await daemon.taken(1)
        try await daemon.stop()
        #expect(daemon.counters.deadLetters == 1 && daemon.daemon.status.standstills.isEmpty)
        let letters = try await site.deadLetters()
        #expect(letters.map { $0.headers["__connect.errors.class.name"] } == ["too_large"])
    }

    // MARK: Records that can be read

    @Test(arguments: Settings.Delivery.allCases)
    func aRecordThatIsNamedBecomesADeadLetterAndNothingElse(delivery: Settings.Delivery) async throws {
        var site = try Self.site(delivery)
        site.settings.input.skip = ["\(site.input[0])/0/3", "\(site.input[0])/1/5-7"]
        var shop = Shop(seed: 73)
        let inputs = Self.events(&shop, 60)
        try site.produce(inputs)
        let daemon = RunningDaemon(site)
        try await daemon.taken(60)
        try await daemon.stop()
        #expect(daemon.counters.deadLetters == 4 && daemon.counters.accepted == 56)
        // By hand: the n-th record of a partition is the input 2 n + partition.
        let named: [(partition: Int, offset: Int)] = [(0, 3), (1, 5), (1, 6), (1, 7)]
        let letters = try await site.deadLetters()
        try #require(letters.count == 4)
        for place in named {
            let letter = try #require(
                letters.first {
                    $0.headers["__connect.errors.partition"] == "\(place.partition)"
                        && $0.headers["__connect.errors.offset"] == "\(place.offset)"
                })
            let input = inputs[2 * place.offset + place.partition]
            #expect(letter.value == input.value && letter.key == input.key)
            #expect(letter.headers["__connect.errors.class.name"] == "skipped")
            #expect(
                letter.headers["__connect.errors.exception.message"] == "input.skip names offset \(place.offset)")
        }
        let sources = try await Set(site.updates().map { "\($0.source.partition)/\($0.source.offset)" })
        #expect(sources.count == 56 && sources.isDisjoint(with: named.map { "\($0.partition)/\($0.offset)" }))
        try site.verified(records: 60)
    }

    // MARK: Records that are gone

    /// A daemon that stands still while the log is cut says what is missing, and what would have kept it.
    @Test(.enabled(if: !Cluster.isReal, "the mock keeps 5 MB of a partition"))
    func whatIsGoneAtRunTimeIsNamed() async throws {
        let site = try Site(Cluster()) {
            $0.kafka.properties["session.timeout.ms"] = "30000"
            $0.learning(false)
        }
        var shop = Shop(seed: 74)
        try site.produce(shop.events(50))
        let program = try RunningProgram(site)
        try await site.settled(50, program.errors)
        program.send(SIGSTOP)
        // Answered before the log is cut, a fetch that waits would bring some of it.
        try await Task.sleep(for: .milliseconds(300))
        var large = shop.events(200)
        for i in large.indices { large[i].value? += [UInt8](repeating: 0x20, count: 100_000) }
        try site.produce(large)
        let low = try site.cluster.begin(of: site.input[0])
        program.send(SIGCONT)
        #expect(try await program.status(seconds: 60) == 3, "\(program.errors)")
        let sentence =
            #/(\S+): the log no longer has the records that come next: offset (\d+) is wanted, and the log goes /#
        let rest = #/from (\d+) to 250\. (\d+) records were removed before they were read: raise retention\.ms/#
        let begin = try #require(try sentence.firstMatch(in: program.errors), "\(program.errors)")
        let end = try #require(try rest.firstMatch(in: program.errors), "\(program.errors)")
        let wanted = try #require(Int64(begin.2))
        #expect(begin.1.hasSuffix("\(site.input[0])[0]") && wanted >= 50)
        #expect(Int64(end.1) == low && Int64(end.2) == low - wanted)
        #expect(program.errors.contains("snapshots.acceptGap: true"))
        // What only people can mend ends the process; what is committed by then is kept.
        #expect(try site.snapshots().count == 1, "\(program.errors)")
    }
}
