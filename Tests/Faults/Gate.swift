import Kafka
import Runtime

/// What a process's calls to the world go through: they may fail, and one of them may be the process's last.
final class Gate {
    /// Nothing that the process does has an effect any more.
    private(set) var isDead = false
    /// Calls that are left; nil: as many as it likes.
    var callsLeft: Int?
    /// Share of calls to the cluster that fail in a way that may pass.
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

    /// The same of one that may be tried again: it fails before its effect, or the answer is lost.
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
    static func fencedMember(_ operation: String) -> KafkaError {
        KafkaError(operation, code: 82, reason: "another member of this name", isFatal: true)
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

/// Time that passes when it is told to.
final class SimulatedClock: LoopClock {
    private(set) var now = 1000.0
    func advance(_ seconds: Double) { now += seconds }
    func sleep(_ seconds: Double) { now += seconds }
}
