/// Runs independent pieces of one computation, on as many threads as its owner likes. The engine has no threads
/// of its own; its results do not depend on how the pieces are spread.
public protocol ParallelExecutor: AnyObject {
    /// Calls `body` once for every index below `count`, in any order, and returns when all are done.
    func run(count: Int, _ body: @Sendable (Int) -> Void)
}

/// Everything on the caller's thread.
public final class SerialExecutor: ParallelExecutor {
    public init() {}
    public func run(count: Int, _ body: @Sendable (Int) -> Void) {
        for i in 0..<count { body(i) }
    }
}
