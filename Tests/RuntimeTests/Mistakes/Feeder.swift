import Foundation
import Kafka
import Logging
import Synchronization

/// A stream of records that never stops, on a thread of its own, whatever the brokers do meanwhile.
final class Feeder: Sendable {
    private struct State {
        var sent = 0
        var stops = false
        var outcome: Result<Int, any Error>?
    }
    private let state = Mutex(State())

    init(_ site: Site, seed: UInt64, perSecond: Int) {
        let (bootstrap, topic, partitions) = (site.cluster.bootstrap, site.input[0], site.partitions)
        let thread = Thread { [self] in
            let outcome = Result { try feed(bootstrap, topic, partitions, seed, perSecond) }
            state.withLock { $0.outcome = outcome }
        }
        thread.start()
    }

    var sent: Int { state.withLock { $0.sent } }

    private func feed(
        _ bootstrap: String, _ name: String, _ partitions: Int, _ seed: UInt64, _ perSecond: Int
    ) throws -> Int {
        let producer = try Producer(
            bootstrap: bootstrap, transactionalId: nil, properties: ["socket.timeout.ms": "10000"],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let topic = try producer.topic(name)
        var shop = Shop(seed: seed, users: 200, gapMs: 60_000)
        while !state.withLock({ $0.stops }) {
            let event = shop.next()
            let (key, value) = (event.key ?? [], event.value ?? [])
            try key.withUnsafeBytes { k in
                try value.withUnsafeBytes { v in
                    try producer.produce(
                        .init(topic: topic, key: k, value: v),
                        partition: Int32(key.last ?? 0) % Int32(partitions), timestampMs: event.timestampMs)
                }
            }
            producer.poll()
            state.withLock { $0.sent += 1 }
            Thread.sleep(forTimeInterval: 1 / Double(perSecond))
        }
        try producer.flush(milliseconds: 120_000)
        return sent
    }

    /// Ends the stream.
    /// - Returns: how many records the brokers have.
    func stop() async throws -> Int {
        state.withLock { $0.stops = true }
        try await eventually(150, "the end of the stream") { state.withLock { $0.outcome != nil } }
        return try state.withLock { try $0.outcome?.get() ?? 0 }
    }
}
