import CKernels
import Glibc

/// The forward pass over rows of flat buffers, layer by layer in `Encoder.swift`, `Recurrent.swift` and `Heads.swift`,
/// each with its way back beside it. No state of its own: parameters and buffers are given.
struct Network {
    let layout: ModelLayout

    init(_ layout: ModelLayout) { self.layout = layout }

    /// Name of the kernel variant whose bits the results have.
    static var kernels: String { String(cString: clvd_kernels_name()) }

    /// Smallest and largest σ of log spend, and the largest log mean: bounds that keep every prediction finite.
    static let minimumSigma: Float = 0.05
    static let maximumSigma: Float = 3
    static let maximumLogMean: Float = 25

    /// log(1 + eˣ) + the smallest σ, at most the largest.
    @inline(__always)
    static func sigma(_ raw: Float) -> Float {
        min(maximumSigma, (raw > 20 ? raw : log1pf(expf(raw))) + minimumSigma)
    }

    @inline(__always)
    static func logistic(_ x: Float) -> Float { 1 / (1 + expf(-x)) }
}
