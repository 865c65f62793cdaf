import Foundation
import Runtime
import ServiceLifecycle
import Settings
import Synchronization

/// The daemon on a thread of its own: its loop blocks, and must not hold up the tasks of the concurrency runtime.
final class DaemonThread: Service {
    let daemon: Daemon
    private let outcome = Mutex<Result<Void, any Error>?>(nil)
    private let waiter = Mutex<CheckedContinuation<Void, any Error>?>(nil)

    init(_ daemon: Daemon) { self.daemon = daemon }

    /// Begins; `wait` says how it ended.
    func start() {
        let thread = Thread { [self] in
            let result = Result { try daemon.run() }
            outcome.withLock { $0 = result }
            waiter.withLock { waiting in
                waiting?.resume(with: result)
                waiting = nil
            }
        }
        thread.name = "clvd-pipeline"
        thread.stackSize = 16 << 20
        thread.start()
    }

    /// How it ended; nil while it runs.
    var result: Result<Void, any Error>? { outcome.withLock { $0 } }

    /// Runs until the service group wants it to end, then drains.
    func run() async throws {
        start()
        try await withGracefulShutdownHandler {
            try await withCheckedThrowingContinuation { continuation in
                waiter.withLock { waiting in
                    if let result { continuation.resume(with: result) } else { waiting = continuation }
                }
            }
        } onGracefulShutdown: { [daemon] in
            daemon.stop()
            // A second signal ends the process at once.
            signal(SIGINT, SIG_DFL)
            signal(SIGTERM, SIG_DFL)
        }
    }
}
