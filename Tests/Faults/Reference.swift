import CEventParser
import Engine
import EventInput
import Foundation
import Kafka
import Runtime
import Settings

/// A run without faults: the same engine on the same records, one by one, in one process that never ends. Idle ticks
/// happen where the committed metadata has them.
final class Reference {
    let engine: Engine
    private(set) var updates: [SimulatedCluster.Output] = []
    private(set) var alerts: [SimulatedCluster.Output] = []
    private(set) var deadLetters: [SimulatedCluster.Output] = []
    private let decoder: EventDecoder
    private let settings: Settings

    /// - Parameter silences: clocks (ms) by the offset before which they had been reached, for each partition.
    init(_ scenario: Scenario, idleTicks: [[Int64: Int64]]) throws {
        settings = scenario.settings
        engine = Engine(
            configuration: settings.engine, topics: settings.input.topics, partitions: scenario.partitions,
            executor: OneThread())
        decoder = try EventDecoder(
            format: EventFormat.load(settings.input.format), limits: settings.input.limits,
            currency: settings.input.currency)
        try scenario.teacher?.teach(engine)
        for (p, records) in scenario.records.enumerated() {
            let id = TaskID(topic: 0, partition: Int32(p))
            engine.addTask(id)
            engine.resume(id, at: 0, firstUnpublishedOffset: 0)
            var rest = idleTicks[p].sorted { $0.key < $1.key }[...]
            for r in records {
                while let silence = rest.first, silence.key <= r.offset {
                    tick(id, to: silence.value)
                    rest.removeFirst()
                }
                take(r)
            }
            for silence in rest { tick(id, to: silence.value) }
        }
    }

    private final class OneThread: ParallelExecutor {
        func run(count: Int, _ body: @Sendable (Int) -> Void) { for i in 0..<count { body(i) } }
    }

    private func take(_ record: clvd_record) {
        var event = clvd_event()
        withUnsafePointer(to: record) {
            decoder.decode(UnsafeBufferPointer(start: $0, count: 1), into: &event)
            withUnsafePointer(to: event) { engine.step(UnsafeBufferPointer(start: $0, count: 1)) }
        }
        keep(record)
    }

    private func tick(_ id: TaskID, to clock: Int64) {
        engine.tick([id: clock])
        keep(nil)
    }

    private func keep(_ record: clvd_record?) {
        engine.forEachOutput { entry in
            var output = SimulatedCluster.Output(
                topic: "", key: Array(entry.key), value: entry.value.isEmpty ? nil : Array(entry.value), headers: [:],
                transaction: nil)
            switch entry.kind {
            case .update:
                if let record, entry.value.isEmpty {
                    output.headers = [
                        SourceHeader.topic: settings.input.topics[Int(record.topic)],
                        SourceHeader.partition: String(record.partition), SourceHeader.offset: String(record.offset),
                    ]
                }
                updates.append(output)
            case .joined, .forward, .message: break
            case .alert: alerts.append(output)
            case .deadLetter:
                guard let record else { return }
                output.key = Array(UnsafeBufferPointer(start: record.key, count: Int(record.key_length)))
                output.value = record.value.map {
                    Array(UnsafeBufferPointer(start: $0, count: Int(record.value_length)))
                }
                output.headers = [
                    DeadLetterHeader.partition: String(record.partition),
                    DeadLetterHeader.offset: String(record.offset),
                    DeadLetterHeader.reason: String(cString: clvd_status_name(entry.reason)),
                ]
                deadLetters.append(output)
            }
        }
    }
}

/// Headers of the tombstone of an erased user.
enum SourceHeader {
    static let topic = "clvd.source.topic"
    static let partition = "clvd.source.partition"
    static let offset = "clvd.source.offset"
}

enum DeadLetterHeader {
    static let partition = "__connect.errors.partition"
    static let offset = "__connect.errors.offset"
    static let reason = "__connect.errors.class.name"
    static let all = [partition, offset, reason]
}
