import CEventParser
internal import Engine
internal import EventInput
internal import Kafka

/// Everything that is to be published between two commits. Its bytes do not move until the commit, so that the producer
/// need not copy them and a transaction can be made again.
final class Publication {
    /// A record for the dead-letter topic, with the headers that Kafka Connect uses.
    struct DeadLetter {
        var key: UnsafeRawBufferPointer
        /// nil: a tombstone.
        var value: UnsafeRawBufferPointer?
        var headers: [(name: String, text: String)]
    }

    private let updates: Producer.Topic
    private let alerts: Producer.Topic
    /// Between the two stages: of the first the topic of updates, too. nil: there is none.
    private let events: Producer.Topic?
    private(set) var records: [Producer.Record] = []
    private(set) var deadLetters: [DeadLetter] = []
    private var chunks: [UnsafeMutableRawBufferPointer] = []
    /// Chunk being filled, and bytes of it that are.
    private var chunk = 0
    private var used = 0
    /// Bytes kept.
    private(set) var bytes = 0
    private static let chunkBytes = 4 << 20

    init(updates: Producer.Topic, alerts: Producer.Topic, events: Producer.Topic? = nil) {
        self.updates = updates
        self.alerts = alerts
        self.events = events
    }

    deinit { for c in chunks { c.deallocate() } }

    var isEmpty: Bool { records.isEmpty && deadLetters.isEmpty }

    /// Empties it. To be called when nothing of it is on its way any more.
    func removeAll() {
        records.removeAll(keepingCapacity: true)
        deadLetters.removeAll(keepingCapacity: true)
        // Memory beyond that of a usual interval is freed.
        while chunks.count > 16 { chunks.removeLast().deallocate() }
        chunk = 0
        used = 0
        bytes = 0
    }

    private func keep(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        guard let base = bytes.baseAddress else { return bytes }
        while chunk < chunks.count && used + bytes.count > chunks[chunk].count {
            chunk += 1
            used = 0
        }
        if chunk == chunks.count {
            chunks.append(.allocate(byteCount: max(Self.chunkBytes, bytes.count), alignment: 16))
        }
        let place = chunks[chunk].baseAddress! + used
        place.copyMemory(from: base, byteCount: bytes.count)
        used += bytes.count
        self.bytes += bytes.count
        return UnsafeRawBufferPointer(start: place, count: bytes.count)
    }

    func append(update entry: OutboxEntry) { append(entry, updates) }
    func append(alert entry: OutboxEntry) { append(entry, alerts) }

    /// The tombstone of an erased user. It has no value, so headers name its source, and the user of this where that is an
    /// alias of the one who is erased.
    func append(erasure entry: OutboxEntry, topic: String, user: UnsafeBufferPointer<UInt8>) {
        let isAlias = !user.elementsEqual(entry.key)
        appendTombstone(
            entry, topic: topic, isAlias ? [(OutputHeader.user, String(decoding: user, as: UTF8.self))] : [])
    }

    /// The tombstone of an id that is an alias of a customer now; a header names the customer.
    func append(joined entry: OutboxEntry, topic: String) {
        appendTombstone(entry, topic: topic, [(OutputHeader.customer, String(decoding: entry.value, as: UTF8.self))])
    }

    private func appendTombstone(_ entry: OutboxEntry, topic: String, _ headers: [(name: String, text: String)]) {
        let key = keep(UnsafeRawBufferPointer(entry.key))
        records.append(
            Producer.Record(
                topic: updates, key: key, value: nil,
                headers: [
                    ("clvd.source.topic", topic), ("clvd.source.partition", String(entry.source.partition)),
                    ("clvd.source.offset", String(entry.source.offset)),
                ] + headers))
    }

    private func append(_ entry: OutboxEntry, _ topic: Producer.Topic) {
        let key = keep(UnsafeRawBufferPointer(entry.key))
        let value = entry.value.isEmpty ? nil : keep(UnsafeRawBufferPointer(entry.value))
        records.append(Producer.Record(topic: topic, key: key, value: value))
    }

    /// A record that is passed on to the next stage.
    /// - Parameters:
    ///   - user: its customer, which becomes its key; nil: it keeps its own.
    ///   - header: name of a header that it loses.
    ///   - place: where it was before in the topic of events, with the number of times that it was passed on; nil: nowhere.
    func append(
        forwarding r: clvd_record, from origin: RecordOrigin, user: UnsafeBufferPointer<UInt8>?,
        without header: String? = nil, passedOn place: RecordOrigin? = nil
    ) {
        let key = UnsafeRawBufferPointer(start: r.key, count: Int(r.key_length))
        var original = Forwarding.OriginalKey.same
        if let user, !key.elementsEqual(user) { original = r.key == nil ? .none : .bytes(keep(key)) }
        records.append(
            Producer.Record(
                topic: events ?? updates, key: keep(user.map { UnsafeRawBufferPointer($0) } ?? key),
                value: r.value.map { keep(UnsafeRawBufferPointer(start: $0, count: Int(r.value_length))) },
                forwarding: Forwarding(r, from: origin, originalKey: original, without: header, passedOn: place)))
    }

    /// A message of one partition of the topic of events to another.
    /// - Parameter origin: the record of the input that has caused it.
    func append(
        message: UnsafeBufferPointer<UInt8>, to key: UnsafeBufferPointer<UInt8>, from origin: RecordOrigin?,
        timestampMs: Int64
    ) {
        records.append(
            Producer.Record(
                topic: events ?? updates, key: keep(UnsafeRawBufferPointer(key)),
                value: keep(UnsafeRawBufferPointer(message)),
                forwarding: Forwarding(command: RecordOrigin.messageHeader, from: origin, timestampMs: timestampMs)))
    }

    /// - Parameters:
    ///   - origin: the place of the record.
    ///   - routed: where the record is in the topic of events, when it comes through that.
    ///   - reason: the name of the record's status, such as `invalid_json`.
    func append(
        deadLetter r: clvd_record, of origin: RecordOrigin, routed: RecordOrigin? = nil, reason: String,
        explanation: String, stage: String
    ) {
        var headers: [(name: String, text: String)] = [
            ("__connect.errors.topic", origin.topic),
            ("__connect.errors.partition", String(origin.partition)),
            ("__connect.errors.offset", String(origin.offset)),
            ("__connect.errors.stage", stage),
            ("__connect.errors.class.name", reason),
            ("__connect.errors.exception.message", explanation),
        ]
        if let element = origin.element { headers.append((RecordOrigin.elementHeader, String(element))) }
        if let routed { headers.append((RecordOrigin.routedHeader, routed.text)) }
        deadLetters.append(
            DeadLetter(
                key: keep(UnsafeRawBufferPointer(start: r.key, count: Int(r.key_length))),
                value: r.value.map { keep(UnsafeRawBufferPointer(start: $0, count: Int(r.value_length))) },
                headers: headers))
    }
}
