import CEventParser
import EventInput
import Foundation
import Kafka

/// Sends the rows of an event file to a topic as a stream: in the file's order, keyed by user, with the event times as the
/// records' timestamps. It belongs to one thread, as its producer does.
package final class EventReplay {
    /// How fast event time goes by.
    package enum Speed: Sendable, Equatable {
        case maximum
        /// Seconds of event time in a second.
        case times(Double)
    }

    /// How far it may run ahead of the reader of the topic: the embedded cluster drops what is read too late.
    package struct FlowControl {
        /// Records sent and not yet consumed, at most.
        package var maxAhead: Int64
        /// Records of this replay that the reader has consumed so far. A reader that has stopped for good is a reason
        /// for `shouldStop`: the replay waits for it otherwise.
        package var consumed: () -> Int64

        package init(maxAhead: Int64 = 20_000, consumed: @escaping () -> Int64) {
            (self.maxAhead, self.consumed) = (maxAhead, consumed)
        }
    }

    /// What was sent. `rows = sent + ignored`.
    package struct Summary: Sendable {
        /// Rows of the file that were dealt with.
        package var rows: Int64 = 0
        /// Records delivered.
        package var sent: Int64 = 0
        /// Those of `sent` that are no events: the daemon makes dead letters of them.
        package var rejected: Int64 = 0
        /// Rows of a type that the format ignores, left out.
        package var ignored: Int64 = 0
        /// Rejected rows by reason, with the first of each.
        package var refusals = Refusals()
        /// Names of types that the format does not know.
        package var unknownTypes = UnknownTypeNames()
        /// The first rejected row and the reason.
        package var firstRejection: String?
        /// Earliest and latest event time, epoch milliseconds.
        package var firstEventMs: Int64?
        package var lastEventMs: Int64?
        /// Whether the file (or the limit) was reached, rather than stopped before.
        package var complete = false
        package var seconds = 0.0
    }

    /// How far it is: bytes of the file itself, and the records handed to the producer.
    package struct Progress: Sendable {
        package var bytesRead: Int64
        /// -1: not known.
        package var bytesTotal: Int64
        package var records: Int64
    }

    private let file: EventFile
    private let producer: Producer
    private let topicName: String
    private let partition: Int32?
    private let limit: Int64
    private var summary = Summary()
    private var pace: Pace?

    private static let batchRows: Int64 = 1000
    /// Most records in flight: bounds memory, and the wait when the brokers are gone.
    private static let maxQueued = 100_000

    /// - Parameters:
    ///   - file: of which nothing was read.
    ///   - partition: nil: by the hash of the user.
    ///   - limit: of records; nil: all.
    package init(
        _ file: EventFile, producer: Producer, topic: String, partition: Int32? = nil, limit: Int64? = nil
    ) {
        self.file = file
        file.countUnknownTypes()
        self.producer = producer
        topicName = topic
        self.partition = partition
        self.limit = limit ?? .max
    }

    package var progress: Progress {
        Progress(bytesRead: file.bytesRead, bytesTotal: file.bytesTotal, records: summary.sent)
    }

    /// Runs to the end and until everything is delivered. Call it once.
    /// - Parameters:
    ///   - shouldStop: asked often; true ends the replay early, after what was sent is delivered.
    ///   - onProgress: called after every batch and while it waits.
    /// - Throws: `InputError` when the file cannot be read on, `KafkaError` when a record cannot be delivered. What was
    ///   sent before may have arrived.
    package func run(
        speed: Speed = .maximum, flow: FlowControl? = nil, shouldStop: @escaping () -> Bool = { false },
        onProgress: @escaping (Progress) -> Void = { _ in }
    ) throws -> Summary {
        let start = ContinuousClock.now
        if case .times(let factor) = speed { pace = Pace(factor: factor) }
        let wait = Wait(producer: producer, shouldStop: shouldStop) { [self] in onProgress(progress) }
        // Not before: by asking for it a producer may create it.
        let topic = try producer.topic(topicName)
        let most = min(Self.batchRows, flow?.maxAhead ?? .max, limit)
        var stopped = false
        while !stopped, summary.sent < limit {
            let messages = try file.nextMessages(maximum: Int(min(most, limit - summary.sent)))
            if messages.isEmpty { break }
            stopped = try !send(messages, to: topic, wait, flow)
            try producer.takeFailures()
            onProgress(progress)
        }
        // Behind the last record there may be rows of ignored types.
        if !stopped, summary.sent < limit { summary.rows = file.rowsRead }
        summary.ignored = summary.rows - summary.sent
        summary.unknownTypes = file.unknownTypes
        try producer.flush(milliseconds: 120_000)
        summary.complete = !stopped
        summary.seconds = (ContinuousClock.now - start) / .seconds(1)
        return summary
    }

    /// Returns whether to go on.
    private func send(
        _ messages: [EventMessage], to topic: Producer.Topic, _ wait: Wait, _ flow: FlowControl?
    ) throws -> Bool {
        let isOpen = try wait.until {
            producer.queued < Self.maxQueued
                && flow.map { summary.sent + Int64(messages.count) - $0.consumed() <= $0.maxAhead } ?? true
        }
        guard isOpen else { return false }
        // What has no time of its own keeps to those around it. 0 would be the wall clock for librdkafka.
        let firstMs = messages.first { $0.timeMs >= 0 }.map(\.timeMs)
        var timestampMs: Int64 = summary.lastEventMs ?? firstMs ?? 1
        for (index, message) in messages.enumerated().prefix(Int(min(limit - summary.sent, 1 << 30))) {
            if pace != nil, message.timeMs >= 0 {
                guard try wait.until({ pace!.isDue(message.timeMs) }) else { return false }
            }
            if message.status >= UInt8(clvd_status_first_rejection.rawValue) {
                summary.rejected += 1
                summary.refusals.add(message.status, file.explain(index))
                if summary.firstRejection == nil { summary.firstRejection = summary.refusals.reasons.first?.example }
            }
            if message.timeMs >= 0 {
                summary.firstEventMs = min(summary.firstEventMs ?? .max, message.timeMs)
                summary.lastEventMs = max(summary.lastEventMs ?? .min, message.timeMs)
                timestampMs = message.timeMs
            }
            try producer.produce(
                Producer.Record(
                    topic: topic, key: UnsafeRawBufferPointer(message.key),
                    value: UnsafeRawBufferPointer(message.value),
                    headers: message.note.map { [(CLVD_REFUSAL_HEADER, $0)] } ?? []),
                partition: partition, timestampMs: max(1, timestampMs))
            summary.sent += 1
            summary.rows = message.rowsRead
        }
        return true
    }

    /// Waits in short naps in which the producer goes on with its work.
    private struct Wait {
        let producer: Producer
        let shouldStop: () -> Bool
        let onNap: () -> Void

        /// Returns false when it was stopped before the condition came true.
        func until(_ condition: () -> Bool) throws -> Bool {
            if shouldStop() { return false }
            var nap = 0.000_2
            while !condition() {
                Thread.sleep(forTimeInterval: nap)
                nap = min(nap * 2, 0.02)
                producer.poll()
                try producer.takeFailures()
                onNap()
                if shouldStop() { return false }
            }
            return true
        }
    }

    /// Event time against the clock.
    private struct Pace {
        let factor: Double
        var begin: (eventMs: Int64, instant: ContinuousClock.Instant)?
        var reachedMs = Int64.min

        mutating func isDue(_ eventMs: Int64) -> Bool {
            if eventMs <= reachedMs { return true }
            guard let begin else {
                begin = (eventMs, .now)
                reachedMs = eventMs
                return true
            }
            let elapsedMs = (ContinuousClock.now - begin.instant) / .milliseconds(1) * factor
            guard Double(eventMs - begin.eventMs) <= elapsedMs else { return false }
            reachedMs = eventMs
            return true
        }
    }
}
