import Glibc

/// Losses of one row of head outputs, and their gradient by the outputs. The kinds of targets say what the loss of a bin
/// is (`TargetRules`). Bins that have not matured teach nothing.
enum Losses {
    /// Labels of money are held within this, so that no amount can hurt the weights.
    static let maximumSpend: Float = 1e9

    /// Numerically safe cross-entropy of a logit against 0 or 1.
    @inline(__always)
    static func crossEntropy(_ logit: Float, _ y: Float) -> Float {
        max(logit, 0) - logit * y + log1pf(expf(-abs(logit)))
    }

    /// Adds the loss of each bin to `sums` and its count to `counts` ([cells]); writes the gradient by the outputs, times
    /// `scale` and the head's weight, to `gradient` ([outputs], all columns) when it is not nil.
    /// - Parameters:
    ///   - outputs: [outputs] of the heads.
    ///   - labels: [cells].
    ///   - matured: [bins], 1 where the bin has matured.
    ///   - meanLogSpend: [cells], centres of log spend.
    static func row(
        _ layout: ModelLayout, outputs: UnsafePointer<Float>, labels: UnsafePointer<Float>,
        matured: UnsafePointer<UInt8>, meanLogSpend: UnsafePointer<Float>, scale: Float,
        sums: UnsafeMutablePointer<Double>, counts: UnsafeMutablePointer<Int64>,
        gradient: UnsafeMutablePointer<Float>?
    ) {
        if let gradient { memset(gradient, 0, layout.outputs * MemoryLayout<Float>.stride) }
        for (h, head) in layout.heads.enumerated() {
            for b in 0..<layout.bins {
                guard matured[b] != 0 else { break }
                let cell = layout.cell(head: h, bin: b)
                let o = layout.output(head: h, bin: b)
                let loss = head.kind.loss(
                    outputs + o, labels: labels + cell, mean: meanLogSpend[cell], scale: scale, weight: head.weight,
                    gradient: gradient.map { $0 + o })
                sums[cell] += Double(loss)
                counts[cell] += 1
                if !head.kind.isAtRisk(after: labels + cell) { break }
            }
        }
    }
}
