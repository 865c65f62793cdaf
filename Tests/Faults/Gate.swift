import Kafka
import Runtime

/// All calls of a process to cluster and disk pass here: each may fail, or be the last one before a crash.
final class Gate {
    /// The process has crashed; its calls have no effect any more.
    private(set) var isDead = false
    /// Calls left until the crash; nil: no crash.
    var callsLeft: Int?
    /// Share of calls to the cluster that fail with a temporary error.
    var failing = 0.0
    private var dice: Dice

    init(seed: UInt64) { dice = Dice(seed: seed) }

    func kill() { isDead = true }

    /// Counts a call.
    /// - Returns: false when the process is dead, or dies before the call has an effect.
    func mayPass() -> Bool {
        guard !isDead else { return false }
        guard let left = callsLeft else { return true }
        callsLeft = left - 1
        if left <= 1 { isDead = true }
        return left > 1
    }

    func pick(_ range: Range<Int>) -> Int { dice.pick(range) }

    func fails(_ share: Double) -> Bool { share > 0 && dice.chance(share) }

    /// A call to the cluster: it may be the last one, with its effect or without.
    func call<T>(_ operation: String, _ body: () throws(KafkaError) -> T) throws(KafkaError) -> T {
        guard !isDead else { throw Self.death }
        guard mayPass() else {
            if dice.chance(0.5) { _ = try body() }
            throw Self.death
        }
        return try body()
    }

    /// The same for a call that may be retried: it fails before its effect, or its answer is lost.
    func retriable(_ operation: String, _ body: () throws(KafkaError) -> Void) throws(KafkaError) {
        try call(operation) { () throws(KafkaError) in
            if fails(failing) { throw .noAnswer(operation) }
            try body()
            if fails(failing) { throw .noAnswer(operation) }
        }
    }

    static var death: KafkaError {
        KafkaError("simulation", code: -150, reason: "the process is dead", isFatal: true)
    }
}

extension KafkaError {
    static func noAnswer(_ operation: String) -> KafkaError {
        KafkaError(operation, code: -185, reason: "no answer", isRetriable: true)
    }
    static func fenced(_ operation: String) -> KafkaError {
        KafkaError(operation, code: -144, reason: "another producer of this name", isFatal: true)
    }
    /// - Parameter isFatal: of a consumer; to a transaction that adds offsets it is a reason to abort.
    static func fencedMember(_ operation: String, isFatal: Bool) -> KafkaError {
        KafkaError(
            operation, code: 82, reason: "another member of this name", isFatal: isFatal, requiresAbort: !isFatal)
    }
    static func abortable(_ operation: String) -> KafkaError {
        KafkaError(operation, code: -192, reason: "a record was not delivered in time", requiresAbort: true)
    }
    static func undelivered(_ operation: String) -> KafkaError {
        KafkaError(operation, code: -192, reason: "a record was not delivered in time")
    }
    static func rebalancing(_ operation: String) -> KafkaError {
        KafkaError(operation, code: 27, reason: "the group is about to share out anew", requiresAbort: true)
    }
    static func unknownMember(_ operation: String) -> KafkaError {
        KafkaError(operation, code: 25, reason: "the group does not know this member", requiresAbort: true)
    }
    static func outOfRange(_ p: TopicPartition) -> KafkaError {
        KafkaError("consume", code: 1, reason: "\(p): offset out of range")
    }
}

/// A clock that the simulation advances.
final class SimulatedClock: LoopClock {
    private(set) var now = 1000.0
    var wallMs: Int64 { 1_700_000_000_000 + Int64(now * 1000) }
    func advance(_ seconds: Double) { now += seconds }
    func sleep(_ seconds: Double) { now += seconds }
}
