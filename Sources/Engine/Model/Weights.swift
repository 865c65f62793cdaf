import CKernels
import Glibc

/// Everything that learning moves, in one piece of memory: parameters, their exponential moving average (which
/// serves), the best average so far, and the optimiser's two moments.
final class Weights {
    let count: Int
    private let all: UnsafeMutablePointer<Float>
    /// Steps taken by the optimiser.
    var steps: Int64 = 0

    var parameters: UnsafeMutablePointer<Float> { all }
    var average: UnsafeMutablePointer<Float> { all + count }
    var best: UnsafeMutablePointer<Float> { all + 2 * count }
    var firstMoment: UnsafeMutablePointer<Float> { all + 3 * count }
    var secondMoment: UnsafeMutablePointer<Float> { all + 4 * count }

    init(layout: ModelLayout, seed: UInt64) {
        count = layout.count
        all = .allocate(capacity: 5 * count)
        all.initialize(repeating: 0, count: 5 * count)
        layout.initialise(all, seed: seed)
        memcpy(average, all, count * MemoryLayout<Float>.stride)
        keepBest()
    }

    deinit { all.deallocate() }

    /// The present average becomes the best.
    func keepBest() { memcpy(best, average, count * MemoryLayout<Float>.stride) }

    /// All of it, for snapshots.
    var memory: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: all, count: 5 * count * MemoryLayout<Float>.stride)
    }

    /// - Precondition: `bytes` has the size of `memory`.
    func restore(_ bytes: UnsafeRawBufferPointer, steps: Int64) {
        precondition(bytes.count == memory.count, "weights of another model")
        memcpy(all, bytes.baseAddress!, bytes.count)
        self.steps = steps
    }
}
