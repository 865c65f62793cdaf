import Glibc

/// Prints the seeds that were running when a Swift trap or a memory fault ends the whole process; one of them caused it.
struct Traps: Sendable {
    /// - Parameter jobs: how many seeds run at the same time.
    init(jobs: Int) {
        current.deallocate()
        current = .allocate(capacity: jobs)
        current.initialize(repeating: 0)
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE] {
            signal(number) { number in
                for seed in current where seed != 0 { write(seed) }
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }

    func note(_ seed: UInt64, job: Int) { current[job] = seed }
}

private nonisolated(unsafe) var current = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: 0)

/// Runs inside a signal handler: no allocation, no streams.
private func write(_ seed: UInt64) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
        var (rest, at) = (seed, digits.count)
        repeat {
            at -= 1
            digits[at] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        } while rest > 0
        put("the process ends in seed ")
        _ = Glibc.write(STDERR_FILENO, digits.baseAddress! + at, digits.count - at)
        put("\n")
    }
}

private func put(_ text: StaticString) { _ = Glibc.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount) }
