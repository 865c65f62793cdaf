import CKernels
import Glibc

/// One optimiser step over a minibatch: chunks of rows in parallel, their gradients summed in the order of the
/// chunks, clipped and applied. The same bits on any number of threads.
final class Trainer {
    /// Rows of a chunk: fixed, so that sums never depend on the number of threads.
    static let chunkRows = 64

    struct Result {
        /// False when the gradient was not finite: nothing has changed.
        var applied: Bool
        /// Mean loss of a row.
        var loss: Float
        var learningRate: Float
        /// L2 norm of the gradient before clipping.
        var norm: Float
    }

    private let layout: ModelLayout
    private let configuration: EngineConfiguration.Learning
    private let chunks: [ChunkGradient]
    private let transposed: TransposedWeights

    init(layout: ModelLayout, configuration: EngineConfiguration.Learning) {
        self.layout = layout
        self.configuration = configuration
        let n = (configuration.batchSize + Trainer.chunkRows - 1) / Trainer.chunkRows
        chunks = (0..<n).map { _ in ChunkGradient(layout: layout, rows: Trainer.chunkRows, steps: UserLayout.ringCount)
        }
        transposed = TransposedWeights(layout)
    }

    /// Learning rate of a step (from 1): warm-up, then the schedule.
    func rate(step: Int64) -> Float {
        let c = configuration
        let warm = c.warmupSteps > 0 ? min(1, Float(step) / Float(c.warmupSteps)) : 1
        let progress = Float(step) / Float(max(1, c.scheduleSteps))
        let factor: Float =
            switch c.schedule {
            case .constant: 1
            case .inverseSqrt: progress <= 1 ? 1 : 1 / progress.squareRoot()
            case .cosine: (1 + cosf(.pi * progress.truncatingRemainder(dividingBy: 1))) / 2
            }
        return c.learningRate * warm * max(c.minimumRateFactor, factor)
    }

    /// Gradient of the batch, summed into the first chunk's buffer; returns the mean loss of a row.
    /// - Parameter noise: seed of dropout; nil: by the number of steps.
    func gradient(
        _ weights: Weights, _ batch: TrainingBatch, noise: UInt64? = nil, executor: any ParallelExecutor
    ) -> (UnsafeMutablePointer<Float>, Float) {
        transposed.take(weights.parameters)
        let c = configuration
        let seed = noise ?? (c.seed &+ UInt64(weights.steps) &* 0x9E37_79B9)
        nonisolated(unsafe) let (me, parameters, rows) = (self, weights.parameters, batch)
        let n = (batch.rows + Trainer.chunkRows - 1) / Trainer.chunkRows
        executor.run(count: n) { i in
            me.chunks[i].run(
                parameters, rows, me.range(i, rows), transposed: me.transposed, dropoutState: c.dropoutState,
                dropoutHidden: c.dropoutHidden, seed: seed ^ UInt64(i) << 48)
        }
        for i in 1..<max(1, n) { clvd_add(layout.count, chunks[i].gradient, chunks[0].gradient) }
        return (chunks[0].gradient, meanLoss(n, batch))
    }

    private func range(_ chunk: Int, _ batch: TrainingBatch) -> Range<Int> {
        chunk * Trainer.chunkRows..<min(batch.rows, (chunk + 1) * Trainer.chunkRows)
    }

    private func meanLoss(_ n: Int, _ batch: TrainingBatch) -> Float {
        var total = 0.0
        for i in 0..<n {
            for (h, head) in layout.heads.enumerated() {
                for cell in layout.cells(head: h) { total += chunks[i].sums[cell] * Double(head.weight) }
            }
        }
        return Float(total / Double(batch.rows))
    }

    /// Mean loss of a row under some parameters, without dropout; nothing is learned.
    func loss(_ parameters: UnsafePointer<Float>, _ batch: TrainingBatch, executor: any ParallelExecutor) -> Float {
        meanLoss(forward(parameters, batch, executor: executor), batch)
    }

    /// Forward pass and loss of all rows, without dropout.
    /// - Returns: how many chunks hold them.
    private func forward(
        _ parameters: UnsafePointer<Float>, _ batch: TrainingBatch, executor: any ParallelExecutor
    ) -> Int {
        nonisolated(unsafe) let (me, p, rows) = (self, parameters, batch)
        let n = (batch.rows + Trainer.chunkRows - 1) / Trainer.chunkRows
        executor.run(count: n) { i in me.chunks[i].loss(p, rows, me.range(i, rows)) }
        return n
    }

    /// Outputs of the heads for each row under some parameters, without dropout, in the order of the chunks.
    func outputs(
        _ parameters: UnsafePointer<Float>, _ batch: TrainingBatch, executor: any ParallelExecutor,
        _ body: (Int, UnsafePointer<Float>) -> Void
    ) {
        for i in 0..<forward(parameters, batch, executor: executor) { chunks[i].forEachOutput(body) }
    }

    /// A step: gradient, clipping, optimiser, moving average.
    func step(
        _ weights: Weights, _ batch: TrainingBatch, rateFactor: Float, noise: UInt64? = nil,
        executor: any ParallelExecutor
    ) -> Result {
        let (g, loss) = gradient(weights, batch, noise: noise, executor: executor)
        return apply(weights, g, loss: loss, rateFactor: rateFactor)
    }

    /// Applies a gradient. A loss or gradient that is not finite changes nothing.
    func apply(
        _ weights: Weights, _ g: UnsafePointer<Float>, loss: Float, rateFactor: Float
    ) -> Result {
        let norm = clvd_sum_of_squares(layout.count, g).squareRoot()
        let next = weights.steps + 1
        let rate = rate(step: next) * rateFactor
        guard norm.isFinite, loss.isFinite else {
            return Result(applied: false, loss: loss, learningRate: rate, norm: Float(norm))
        }
        weights.steps = next
        let clip = Double(configuration.clipNorm)
        let scale: Float = clip > 0 && norm > clip ? Float(clip / norm) : 1
        for tensor in layout.tensors { sweep(weights, g, tensor, scale: scale, rate: rate) }
        clvd_average(
            layout.count, 1 - averageDecay(next), weights.parameters, weights.average)
        return Result(applied: true, loss: loss, learningRate: rate, norm: Float(norm))
    }

    /// The average forgets its random start faster than its later past: (1 + n) / (10 + n) after n steps, as in
    /// TensorFlow's `ExponentialMovingAverage`.
    private func averageDecay(_ step: Int64) -> Float {
        min(configuration.emaDecay, Float(1 + step) / Float(10 + step))
    }

    private func sweep(
        _ w: Weights, _ g: UnsafePointer<Float>, _ tensor: ModelLayout.Tensor, scale: Float, rate: Float
    ) {
        let c = configuration
        let n = (tensor.count + 15) / 16 * 16
        let at = tensor.offset
        let (p, m, v) = (w.parameters + at, w.firstMoment + at, w.secondMoment + at)
        // Decoupled decay (AdamW; Loshchilov & Hutter 2019); Adam proper takes it as an L2 term of the gradient.
        let decay = tensor.decays && c.optimizer != .adam ? rate * c.weightDecay : 0
        switch c.optimizer {
        case .adam, .adamw:
            let t = Float(w.steps)
            clvd_adam(
                n, p, g + at, m, v, scale, rate, c.beta1, c.beta2, 1 - powf(c.beta1, t), 1 - powf(c.beta2, t),
                c.epsilon,
                decay, tensor.decays && c.optimizer == .adam ? c.weightDecay : 0)
        case .adagrad: clvd_adagrad(n, p, g + at, v, scale, rate, c.epsilon, decay)
        case .sgd: clvd_sgd(n, p, g + at, m, scale, rate, c.momentum, decay)
        }
    }
}
