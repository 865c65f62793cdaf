import CEventParser
import Foundation
import Kafka
import Logging
import Testing

@testable import Engine
@testable import Runtime

@Suite struct PublicationTests {
    private let producer: Producer
    private let publication: Publication

    init() throws {
        producer = try Producer(
            bootstrap: "127.0.0.1:1", transactionalId: nil, properties: [:],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        publication = Publication(updates: try producer.topic("updates"), alerts: try producer.topic("alerts"))
    }

    /// Bytes that tell entries apart, and the two ends of each.
    private static func bytes(_ i: Int, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: 17 &* i), count: count)
        if count > 1 { (bytes[0], bytes[count - 1]) = (1, 2) }
        return bytes
    }

    /// `elementsEqual` takes its time in debug builds.
    private static func equal(_ kept: UnsafeRawBufferPointer, _ bytes: [UInt8]) -> Bool {
        kept.count == bytes.count && (bytes.isEmpty || memcmp(kept.baseAddress!, bytes, bytes.count) == 0)
    }

    private func append(update i: Int, key: Int, value: Int) {
        Self.bytes(i, key).withUnsafeBufferPointer { key in
            Self.bytes(i + 1, value).withUnsafeBufferPointer { value in
                publication.append(update: OutboxEntry(kind: .update, reason: 0, record: 0, key: key, value: value))
            }
        }
    }

    /// Sizes around and above those of the pieces of memory: nothing moves, nothing overlaps, nothing is lost.
    @Test func keepsEveryByteWhateverTheSizes() throws {
        let sizes = [0, 1, 100, 4096, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20, 1, 3 << 20, 3 << 20, 17]
        // The memory of earlier rounds is used again.
        for round in 0..<3 {
            for (i, size) in sizes.enumerated() { append(update: i + round, key: 1 + i, value: size) }
            #expect(publication.records.count == sizes.count)
            #expect(publication.bytes == sizes.reduce(0, +) + sizes.indices.reduce(0) { $0 + 1 + $1 })
            for (i, size) in sizes.enumerated() {
                let record = publication.records[i]
                #expect(Self.equal(record.key, Self.bytes(i + round, 1 + i)))
                // An update without a value is the tombstone of an erased user.
                #expect((record.value == nil) == (size == 0))
                #expect(record.value.map { Self.equal($0, Self.bytes(i + round + 1, size)) } ?? true)
            }
            publication.removeAll()
            #expect(publication.isEmpty && publication.bytes == 0)
        }
    }

    @Test func deadLettersTellAbsentFromEmpty() throws {
        let some = Self.bytes(1, 5)
        for (key, value) in [(nil, some), ([], some), (some, []), (some, nil)] as [([UInt8]?, [UInt8]?)] {
            var r = clvd_record()
            (r.partition, r.offset) = (3, 42)
            (key ?? [0]).withUnsafeBufferPointer { k in
                (value ?? [0]).withUnsafeBufferPointer { v in
                    // An empty array may have no address; a record's empty key has one.
                    let here = UnsafePointer(k.baseAddress ?? v.baseAddress)
                    (r.key, r.key_length) = (key.map { _ in k.baseAddress ?? here! }, UInt32(key?.count ?? 0))
                    (r.value, r.value_length) = (value.map { _ in v.baseAddress ?? here! }, UInt32(value?.count ?? 0))
                    publication.append(
                        deadLetter: r, of: RecordOrigin(topic: "in", partition: 3, offset: 42), reason: "invalid_json",
                        explanation: "no", stage: "decode")
                }
            }
            let letter = try #require(publication.deadLetters.last)
            #expect((letter.key.baseAddress == nil) == (key == nil) && letter.key.elementsEqual(key ?? []))
            #expect((letter.value == nil) == (value == nil) && letter.value?.elementsEqual(value ?? []) ?? true)
            #expect(letter.headers.map(\.text) == ["in", "3", "42", "decode", "invalid_json", "no"])
        }
    }

    /// Topic, partition and offset of the record that erased a user are in headers, as a tombstone has no value.
    @Test func erasuresNameTheirSource() throws {
        var event = clvd_event()
        (event.topic, event.partition, event.offset) = (1, 3, 42)
        Self.bytes(1, 5).withUnsafeBufferPointer { key in
            publication.append(
                erasure: OutboxEntry(
                    kind: .update, reason: 0, record: 0, source: RecordPlace(event), key: key,
                    value: UnsafeBufferPointer(start: nil, count: 0)),
                topic: "in", user: key)
        }
        let record = try #require(publication.records.last)
        #expect(record.value == nil && record.key.elementsEqual(Self.bytes(1, 5)))
        #expect(
            record.headers.map { "\($0.name)=\($0.text)" } == [
                "clvd.source.topic=in", "clvd.source.partition=3", "clvd.source.offset=42",
            ])
    }

    @Test func cutsDeadLettersThatDoNotFit() throws {
        var r = clvd_record()
        let (key, value) = (Self.bytes(1, 60), Self.bytes(2, 1000))
        key.withUnsafeBufferPointer { k in
            value.withUnsafeBufferPointer { v in
                (r.key, r.key_length, r.value, r.value_length) = (k.baseAddress, 60, v.baseAddress, 1000)
                publication.append(
                    deadLetter: r, of: RecordOrigin(topic: "in", partition: 0, offset: 0), reason: "too_large",
                    explanation: "", stage: "decode")
            }
        }
        let letter = try #require(publication.deadLetters.last)
        #expect(letter.fitting(1060).headers.count == 6 && letter.fitting(1060).value?.count == 1000)
        let cut = letter.fitting(500)
        #expect(cut.key.elementsEqual(key) && cut.value?.elementsEqual(value.prefix(440)) == true)
        #expect(cut.headers.last?.name == "clvd.cut.from" && cut.headers.last?.text.contains("value 1000") == true)
        let less = letter.fitting(100)
        #expect(less.key.elementsEqual(key.prefix(50)) && less.value?.elementsEqual(value.prefix(50)) == true)
        #expect(letter.fitting(0).key.isEmpty && letter.fitting(0).value?.isEmpty == true)
    }

    @Test func commitMetadata() {
        for clock in [nil, 0, 1, -1, Int64.max, Int64.min] as [Int64?] {
            let metadata = CommitMetadata(clock: clock)
            #expect(CommitMetadata(text: metadata.text) == metadata)
            #expect(metadata.text.utf8.count < 64)
        }
        let idleTicks = [
            IdleTick(before: 7, clock: 3_600_000), IdleTick(before: 7_000_000_000, clock: 1_700_002_800_000),
        ]
        let long = CommitMetadata(clock: 1_700_002_800_001, idleTicks: idleTicks)
        #expect(CommitMetadata(text: long.text) == long)
        #expect(
            long.idleTicks(before: 7_000_000_001) == idleTicks + [
                IdleTick(before: 7_000_000_001, clock: 1_700_002_800_001)
            ])
        let many = (0..<200).map { IdleTick(before: 1_000_000_000_000 + $0, clock: 1_700_000_000 * 3_600_000) }
        let full = CommitMetadata(clock: .max, idleTicks: many)
        #expect(full.text.utf8.count < 2048, "brokers take 4096")
        #expect(CommitMetadata(text: full.text).idleTicks == many.suffix(CommitMetadata.mostIdleTicks))
        let whole = CommitMetadata(
            offset: 70, clock: 5, idleTicks: idleTicks,
            lastRecord: RecordFingerprint(offset: 69, timestampMs: -1, hash: .max),
            silence: .init(clock: 5, wallMs: 1_800_000_000_000), begin: 12, cluster: "4L6g3nShT-eMCtK--X86sw")
        #expect(CommitMetadata(text: whole.text) == whole && CommitMetadata.author(of: whole.text) == .thisVersion)
        #expect(
            whole.text == "clvd2;at=70;clock=5;idleTicks=7:1,7000000000:472223;record=69:-1:ffffffffffffffff;"
                + "silence=5:1800000000000;begin=12;cluster=4L6g3nShT-eMCtK--X86sw")
        #expect(CommitMetadata(text: whole.text + ";later=1") == whole, "names of later versions are left out")
        #expect(
            CommitMetadata(text: "clvd1;clock=5;idleTicks=7:1")
                == CommitMetadata(clock: 5, idleTicks: [IdleTick(before: 7, clock: 3_600_000)]))
        #expect(CommitMetadata.author(of: "clvd1;clock=5") == .older)
        #expect(CommitMetadata.author(of: "clvd3;clock=5") == .newer(3))
        for text in ["", "clvd", "clvdx;at=1", "5", "other"] { #expect(CommitMetadata.author(of: text) == .foreign) }
        for foreign in [
            "", "clvd1;clock=", "clvd1;clock=x", "clvd3;clock=5", "5", "clvd1;clock=5;x", "clvd1;clock=5;idleTicks=",
            "clvd1;clock=5;idleTicks=1:2,", "clvd1;clock=5;idleTicks=1:x",
            "clvd1;clock=5;idleTicks=1:9223372036854775807",
            "clvd1;clock=5;idleTicks=5:1,4:2",
        ] {
            #expect(CommitMetadata(text: foreign).clock == nil, "\(foreign)")
        }
    }
}
