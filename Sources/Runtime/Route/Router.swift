import CEventParser
internal import Engine
internal import EventInput
internal import Kafka

/// The work of the first stage: passes each record on, keyed by its customer; of one that holds several events, each as a
/// record of its own. It decides nothing but what an operator wants to be stepped over. A record without a customer (one
/// that will be rejected, a tombstone, an ignored type) keeps its key. The second stage accounts for it. Where an event
/// says that two ids are of one customer, the partition of the alias gets a message.
struct Router {
    private let topics: [String]
    private let engine: Engine
    private let splitter: RecordSplitter
    private var aliases = AliasMessages()

    init(topics: [String], engine: Engine, splitter: RecordSplitter) {
        (self.topics, self.engine, self.splitter) = (topics, engine, splitter)
    }

    /// Adds what becomes of records to a publication.
    /// - Parameter events: of the records. Afterwards they only count: the engine is to take them in, which keeps the
    ///   positions.
    mutating func route(
        _ records: UnsafeBufferPointer<clvd_record>, _ events: UnsafeMutablePointer<clvd_event>, to out: Publication
    ) {
        var next: [TaskID: Int64] = [:]
        for (i, r) in records.enumerated() {
            let id = TaskID(topic: r.topic, partition: r.partition)
            let isRepeat = r.offset < next[id] ?? engine.nextOffset(id) ?? 0
            let event = events[i]
            events[i].status = UInt8(clvd_status_ignored_type.rawValue)
            guard !isRepeat else { continue }
            next[id] = r.offset + 1
            let origin = RecordOrigin(topic: topics[Int(r.topic)], partition: r.partition, offset: r.offset)
            if let explanation = SkippedOffsets.explanation(r, status: event.status) {
                out.append(
                    deadLetter: r, of: origin, reason: String(cString: clvd_status_name(event.status)),
                    explanation: explanation, stage: "decode")
            } else {
                let count = splitter.forEachEvent(of: r, status: event.status) { element in
                    var place = origin
                    place.element = element.index
                    out.append(
                        forwarding: element.record, from: place, user: Self.user(element.event),
                        without: splitter.idHeader)
                    tell(element.event, of: r, from: place, to: out)
                }
                if count == 0 {
                    out.append(forwarding: r, from: origin, user: Self.user(event))
                    tell(event, of: r, from: origin, to: out)
                }
            }
        }
    }

    private mutating func tell(
        _ event: clvd_event, of r: clvd_record, from origin: RecordOrigin, to out: Publication
    ) {
        guard let message = aliases.message(for: event) else { return }
        let alias = UnsafeBufferPointer(start: event.alias, count: Int(event.alias_length))
        message.bytes.withUnsafeBufferPointer {
            out.append(message: $0, to: alias, from: origin, timestampMs: r.timestamp_ms)
        }
    }

    /// The customer of an event; nil: there is none.
    private static func user(_ event: clvd_event) -> UnsafeBufferPointer<UInt8>? {
        let isEvent = event.status == UInt8(clvd_status_ok.rawValue)
        return isEvent ? UnsafeBufferPointer(start: event.user, count: Int(event.user_length)) : nil
    }
}
