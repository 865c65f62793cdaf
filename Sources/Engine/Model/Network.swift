import CKernels
import Glibc

/// The forward pass that serves, over rows of flat buffers. No state of its own: parameters and buffers are given.
struct Network {
    let layout: ModelLayout

    init(_ layout: ModelLayout) { self.layout = layout }

    /// Name of the kernel variant whose bits the results have.
    static var kernels: String { String(cString: clvd_kernels_name()) }

    /// Smallest and largest σ of log spend, and the largest log mean: bounds that keep every prediction finite.
    static let minimumSigma: Float = 0.05
    static let maximumSigma: Float = 3
    static let maximumLogMean: Float = 25

    // MARK: Encoder

    /// Writes the encoded event: embeddings, numbers, zeros up to `inputWidth`.
    @inline(__always)
    func encode(
        _ p: UnsafePointer<Float>, indices: UnsafePointer<UInt16>, numerics: UnsafePointer<Float>,
        into x: UnsafeMutablePointer<Float>
    ) {
        let (t, c, k) = (layout.typeEmbedding, layout.categoryEmbedding, layout.crossEmbedding)
        let floats = MemoryLayout<Float>.stride
        memcpy(x, p + layout.typeTable + Int(indices[0]) * t, t * floats)
        memcpy(x + t, p + layout.categoryTable + Int(indices[1]) * c, c * floats)
        memcpy(x + t + c, p + layout.crossTable + Int(indices[2]) * k, k * floats)
        memcpy(x + t + c + k, numerics, layout.numerics * floats)
        let used = t + c + k + layout.numerics
        if used < layout.inputWidth { memset(x + used, 0, (layout.inputWidth - used) * floats) }
    }

    // MARK: Recurrent layer

    /// One step of `rows` users. `state` [rows × stateWidth] is replaced.
    func recurrentStep(
        _ p: UnsafePointer<Float>, rows: Int, indices: UnsafePointer<UInt16>, numerics: UnsafePointer<Float>,
        state: UnsafeMutablePointer<Float>, workspace w: Workspace
    ) {
        precondition(rows <= w.rows, "more rows than the workspace holds")
        let width = layout.inputWidth + layout.units
        for r in 0..<rows {
            let z = w.z + r * width
            encode(
                p, indices: indices + r * StepInputs.indices, numerics: numerics + r * layout.numerics, into: z)
            memcpy(z + layout.inputWidth, state + r * layout.stateWidth, layout.units * MemoryLayout<Float>.stride)
        }
        products(p, rows: rows, z: w.z, gates: w.gates, stateGates: w.stateGates)
        for r in 0..<rows {
            let h = state + r * layout.stateWidth
            switch layout.recurrent {
            case .lstm:
                let c = h + layout.units
                clvd_lstm_row(layout.units, w.gates + r * layout.gates, c, c, nil, h)
            case .gru:
                clvd_gru_row(layout.units, w.gates + r * layout.gates, w.stateGates + r * layout.gates, h, h)
            case .rnn: clvd_tanh_row(layout.units, w.gates + r * layout.gates, h)
            }
        }
    }

    /// Pre-activations of all gates: z·W + b; GRU: x·W + b and h·U + b' apart (reset after the product).
    func products(
        _ p: UnsafePointer<Float>, rows: Int, z: UnsafePointer<Float>, gates: UnsafeMutablePointer<Float>,
        stateGates: UnsafeMutablePointer<Float>
    ) {
        let (i, width, g) = (layout.inputWidth, layout.inputWidth + layout.units, layout.gates)
        clvd_fill_rows(rows, g, p + layout.recurrentBias, gates, g)
        if layout.recurrent == .gru {
            clvd_gemm(rows, g, i, z, width, 1, p + layout.recurrentWeight, g, gates, g, true)
            clvd_fill_rows(rows, g, p + layout.recurrentStateBias, stateGates, g)
            clvd_gemm(
                rows, g, layout.units, z + i, width, 1, p + layout.recurrentStateWeight, g, stateGates, g, true)
        } else {
            clvd_gemm(rows, g, width, z, width, 1, p + layout.recurrentWeight, g, gates, g, true)
        }
    }

    // MARK: Heads

    /// Head outputs [rows × outputs] from state rows [rows × stateWidth] and standardised features [rows × features].
    func headOutputs(
        _ p: UnsafePointer<Float>, rows: Int, state: UnsafePointer<Float>, features: UnsafePointer<Float>,
        outputs: UnsafeMutablePointer<Float>, workspace w: Workspace
    ) {
        precondition(rows <= w.rows, "more rows than the workspace holds")
        let floats = MemoryLayout<Float>.stride
        for r in 0..<rows {
            let x = w.hiddenInput + r * layout.hiddenInput
            memcpy(x, state + r * layout.stateWidth, layout.units * floats)
            memcpy(x + layout.units, features + r * layout.features, layout.features * floats)
        }
        hiddenLayer(p, rows: rows, w)
        for r in 0..<rows {
            memcpy(
                w.headInput + r * layout.headInput + layout.hidden, features + r * layout.features,
                layout.features * floats)
        }
        headLayer(p, rows: rows, input: w.headInput, outputs: outputs)
    }

    /// `hiddenInput` → `hiddenRaw` → SiLU into the front of `headInput`.
    func hiddenLayer(_ p: UnsafePointer<Float>, rows: Int, _ w: Workspace) {
        let d = layout.hidden
        clvd_fill_rows(rows, d, p + layout.hiddenBias, w.hiddenRaw, d)
        clvd_gemm(
            rows, d, layout.hiddenInput, w.hiddenInput, layout.hiddenInput, 1, p + layout.hiddenWeight, d, w.hiddenRaw,
            d,
            true)
        for r in 0..<rows { clvd_silu(d, w.hiddenRaw + r * d, w.headInput + r * layout.headInput) }
    }

    func headLayer(
        _ p: UnsafePointer<Float>, rows: Int, input: UnsafePointer<Float>, outputs: UnsafeMutablePointer<Float>
    ) {
        let o = layout.outputs
        clvd_fill_rows(rows, o, p + layout.headBias, outputs, o)
        clvd_gemm(rows, o, layout.headInput, input, layout.headInput, 1, p + layout.headWeight, o, outputs, o, true)
    }

    // MARK: Predictions

    /// log(1 + eˣ) + the smallest σ, at most the largest.
    @inline(__always)
    static func sigma(_ raw: Float) -> Float {
        min(maximumSigma, (raw > 20 ? raw : log1pf(expf(raw))) + minimumSigma)
    }

    @inline(__always)
    static func logistic(_ x: Float) -> Float { 1 / (1 + expf(-x)) }

    /// Predictions [rows × cells] from head outputs [rows × outputs], as the kinds of targets say. All finite.
    /// - Parameter meanLogSpend: [cells], centres of log spend.
    func predict(
        rows: Int, outputs: UnsafePointer<Float>, meanLogSpend: UnsafePointer<Float>,
        predictions: UnsafeMutablePointer<Float>
    ) {
        for r in 0..<rows {
            let row = outputs + r * layout.outputs
            let out = predictions + r * layout.cells
            for (h, head) in layout.heads.enumerated() {
                for b in 0..<layout.bins {
                    let cell = layout.cell(head: h, bin: b)
                    head.kind.predict(
                        row + layout.output(head: h, bin: b), mean: meanLogSpend[cell], into: out + cell)
                }
            }
        }
    }

    // MARK: Attribution

    /// Gradient of Σ outputWeights·outputs of one row by its features.
    func inputGradient(
        _ p: UnsafePointer<Float>, state: UnsafePointer<Float>, features: UnsafePointer<Float>,
        outputWeights: [Float], dFeatures: inout [Float]
    ) {
        let w = Workspace(layout: layout, rows: 1)
        headOutputs(p, rows: 1, state: state, features: features, outputs: w.outputs, workspace: w)
        var dHead = [Float](repeating: 0, count: layout.headInput)
        for i in 0..<layout.headInput {
            for o in 0..<layout.outputs where outputWeights[o] != 0 {
                dHead[i] += p[layout.headWeight + i * layout.outputs + o] * outputWeights[o]
            }
        }
        var dHidden = [Float](repeating: 0, count: layout.hidden)
        clvd_silu_backward(layout.hidden, w.hiddenRaw, dHead, &dHidden)
        for f in 0..<layout.features {
            var sum = dHead[layout.hidden + f]
            for d in 0..<layout.hidden {
                sum += p[layout.hiddenWeight + (layout.units + f) * layout.hidden + d] * dHidden[d]
            }
            dFeatures[f] = sum
        }
    }
}
