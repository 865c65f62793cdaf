import Glibc

/// Losses of one row of head outputs, and their gradient by the outputs.
///
/// Value heads: cross-entropy of any spend, and for spenders the negative log-likelihood of log spend under
/// N(μ₀ + μ, σ²) (zero-inflated log-normal; Wang et al. 2019, arXiv 1912.07753). Hazard heads: cross-entropy of an
/// event in the bin, for rows without one in earlier bins (discrete-time survival; Gensheimer & Narasimhan 2019).
/// Bins that have not matured teach nothing.
enum Losses {
    /// Labels of money are held within this, so that no amount can hurt the weights.
    static let maximumSpend: Float = 1e9

    /// Numerically safe cross-entropy of a logit against 0 or 1.
    @inline(__always)
    private static func crossEntropy(_ logit: Float, _ y: Float) -> Float {
        max(logit, 0) - logit * y + log1pf(expf(-abs(logit)))
    }

    /// Adds the loss of each cell to `sums` and its count to `counts` ([heads × bins]); writes the gradient by the
    /// outputs, times `scale` and the head's weight, to `gradient` when it is not nil (all `outputs` columns).
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
                let cell = h * layout.bins + b
                let o = layout.output(head: h, bin: b)
                let label = labels[cell]
                let loss: Float
                if head.kind == .value {
                    loss = value(
                        outputs + o, label: label, mean: meanLogSpend[cell], scale * head.weight,
                        gradient.map { $0 + o })
                } else {
                    let y: Float = label > 0 ? 1 : 0
                    loss = crossEntropy(outputs[o], y)
                    if let gradient { gradient[o] = (Network.logistic(outputs[o]) - y) * scale * head.weight }
                }
                sums[cell] += Double(loss)
                counts[cell] += 1
                if head.kind == .hazard && label > 0 { break }
            }
        }
    }

    @inline(__always)
    private static func value(
        _ o: UnsafePointer<Float>, label: Float, mean: Float, _ scale: Float, _ gradient: UnsafeMutablePointer<Float>?
    ) -> Float {
        let y: Float = label > 0 ? 1 : 0
        var loss = crossEntropy(o[0], y)
        gradient?[0] = (Network.logistic(o[0]) - y) * scale
        guard label > 0 else { return loss }
        let sigma = Network.sigma(o[2])
        let z = (logf(min(maximumSpend, label)) - mean - o[1]) / sigma
        loss += logf(sigma) + z * z / 2
        if let gradient {
            gradient[1] = -z / sigma * scale
            let open: Float = sigma < Network.maximumSigma ? 1 : 0
            gradient[2] = (1 - z * z) / sigma * Network.logistic(o[2]) * open * scale
        }
        return loss
    }
}
