import Synchronization

/// A question to the engine, and what takes the answer. Answers are given on the loop's thread: they must be quick,
/// such as resuming a continuation.
public enum EngineRequest: Sendable {
    /// One user by id; the answer is nil for a user who is not known here.
    case user(String, answer: @Sendable (UserView?) -> Void)
    /// The users of highest expected value, so many, highest first.
    case ranking(count: Int, answer: @Sendable ([RankedUser]) -> Void)
}

/// A bounded mailbox between threads that ask and the loop that owns the engine. Requests wait until the loop drains
/// them, once a turn; a full mailbox refuses, so that askers cannot slow the stream down. A request outlives a failed
/// loop: the next one answers it. Whoever asks sets the deadline.
public final class EngineRequests: Sendable {
    /// Requests that wait at most: a ranking looks at every user, so a turn must not answer hundreds.
    public static let defaultCapacity = 64

    private let capacity: Int
    private let waiting = Mutex<[EngineRequest]>([])

    public init(capacity: Int = EngineRequests.defaultCapacity) { self.capacity = capacity }

    /// Leaves a request, from any thread.
    /// - Returns: false when the mailbox is full; the request will not be answered then.
    public func submit(_ request: EngineRequest) -> Bool {
        waiting.withLock { waiting in
            guard waiting.count < capacity else { return false }
            waiting.append(request)
            return true
        }
    }

    /// Answers what waits, in the order of submission. To be called by the engine's owner between two steps.
    public func drain(_ engine: Engine) {
        let requests = waiting.withLock { waiting in
            let requests = waiting
            waiting.removeAll(keepingCapacity: true)
            return requests
        }
        for request in requests {
            switch request {
            case .user(let user, let answer): answer(engine.view(of: user))
            case .ranking(let count, let answer): answer(engine.topUsers(count))
            }
        }
    }
}
