public import Engine
import Foundation
import Synchronization

/// A fixed set of threads that run the pieces of one computation at a time, the caller's thread among them.
public final class WorkerPool: ParallelExecutor {
    private let threads: Int
    private let shared: Shared

    /// - Parameter threads: how many work together, at least 1 (which is the caller alone).
    public init(threads: Int) {
        precondition(threads >= 1, "a pool needs a thread")
        self.threads = threads
        shared = Shared()
        for i in 1..<max(1, threads) {
            let thread = Thread { [shared] in shared.work() }
            thread.name = "clvd-worker-\(i)"
            thread.stackSize = 4 << 20
            thread.start()
        }
    }

    deinit { shared.stop() }

    public func run(count: Int, _ body: @Sendable (Int) -> Void) {
        guard count > 1, threads > 1 else {
            for i in 0..<count { body(i) }
            return
        }
        withoutActuallyEscaping(body) { shared.run(count: count, $0) }
    }

    /// The state that threads meet in. `NSCondition` guards all of it; pieces are handed out one by one.
    private final class Shared: @unchecked Sendable {
        private let condition = NSCondition()
        private var body: (@Sendable (Int) -> Void)?
        private var count = 0
        private var next = 0
        private var running = 0
        private var stopped = false

        func run(count n: Int, _ work: @escaping @Sendable (Int) -> Void) {
            condition.lock()
            body = work
            count = n
            next = 0
            condition.broadcast()
            takePieces()
            while running > 0 { condition.wait() }
            body = nil
            condition.unlock()
        }

        func work() {
            condition.lock()
            while !stopped {
                if body == nil || next >= count { condition.wait() } else { takePieces() }
            }
            condition.unlock()
        }

        /// Runs pieces until none is left. Called and left with the lock held.
        private func takePieces() {
            while let work = body, next < count {
                let i = next
                next += 1
                running += 1
                condition.unlock()
                work(i)
                condition.lock()
                running -= 1
                if running == 0 && next >= count { condition.broadcast() }
            }
        }

        func stop() {
            condition.lock()
            stopped = true
            condition.broadcast()
            condition.unlock()
        }
    }
}
