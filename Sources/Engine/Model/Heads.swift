import CKernels
import Glibc

// Hidden layer and heads, forward and backward: [units] and [features] → [outputs].

extension Network {
    /// Head outputs from states and features.
    /// - Parameters:
    ///   - state: [rows × stateWidth].
    ///   - features: [rows × features], standardised.
    ///   - outputs: [rows × outputs].
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

    /// The hidden layer of a workspace: `hiddenInput` [rows × (units + features)] → `hiddenRaw` [rows × hidden] → SiLU into
    /// the front of `headInput` [rows × (hidden + features)].
    func hiddenLayer(_ p: UnsafePointer<Float>, rows: Int, _ w: Workspace) {
        let d = layout.hidden
        clvd_fill_rows(rows, d, p + layout.hiddenBias, w.hiddenRaw, d)
        clvd_gemm(
            rows, d, layout.hiddenInput, w.hiddenInput, layout.hiddenInput, 1, p + layout.hiddenWeight, d, w.hiddenRaw,
            d,
            true)
        for r in 0..<rows { clvd_silu(d, w.hiddenRaw + r * d, w.headInput + r * layout.headInput) }
    }

    /// The heads: `input` [rows × (hidden + features)] → `outputs` [rows × outputs].
    func headLayer(
        _ p: UnsafePointer<Float>, rows: Int, input: UnsafePointer<Float>, outputs: UnsafeMutablePointer<Float>
    ) {
        let o = layout.outputs
        clvd_fill_rows(rows, o, p + layout.headBias, outputs, o)
        clvd_gemm(rows, o, layout.headInput, input, layout.headInput, 1, p + layout.headWeight, o, outputs, o, true)
    }

    /// Gradient of Σ outputWeights·outputs of one row by its features.
    /// - Parameters:
    ///   - state: [stateWidth].
    ///   - features: [features], standardised.
    ///   - outputWeights: [outputs].
    ///   - dFeatures: [features].
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
}

extension ChunkGradient {
    /// The same for `n` rows of a chunk, with dropout on the state and on the hidden layer: from `state`
    /// [n × stateWidth] and `features` [n × features] to the outputs of the workspace [n × outputs].
    func headsForward(_ p: UnsafePointer<Float>, _ n: Int) {
        let floats = MemoryLayout<Float>.stride
        for r in 0..<n {
            let x = w.hiddenInput + r * layout.hiddenInput
            for j in 0..<layout.units { x[j] = state[r * layout.stateWidth + j] * maskState[r * layout.units + j] }
            memcpy(x + layout.units, features + r * layout.features, layout.features * floats)
        }
        network.hiddenLayer(p, rows: n, w)
        for r in 0..<n {
            let y = w.headInput + r * layout.headInput
            for j in 0..<layout.hidden { y[j] *= maskHidden[r * layout.hidden + j] }
            memcpy(y + layout.hidden, features + r * layout.features, layout.features * floats)
        }
        network.headLayer(p, rows: n, input: w.headInput, outputs: w.outputs)
    }

    /// Losses of the chunk's rows into `sums` and `counts` [cells]; with `gradient`, also `dOutputs` [rows × outputs].
    func lossRows(_ batch: TrainingBatch, _ range: Range<Int>, gradient: Bool) {
        sums.initialize(repeating: 0, count: layout.cells)
        counts.initialize(repeating: 0, count: layout.cells)
        let scale = 1 / Float(batch.rows)
        for (r, source) in order.enumerated() {
            Losses.row(
                layout, outputs: w.outputs + r * layout.outputs, labels: batch.labels + source * layout.cells,
                matured: batch.matured + source * layout.bins, meanLogSpend: batch.meanLogSpend, scale: scale,
                sums: sums, counts: counts, gradient: gradient ? dOutputs + r * layout.outputs : nil)
        }
    }

    /// From `dOutputs` [n × outputs] to the gradient of the matrices and biases of heads and hidden layer, and to `dState`
    /// [n × stateWidth] at the last step of each row.
    func backwardHeads(_ p: UnsafePointer<Float>, _ n: Int, _ t: borrowing TransposedWeights) {
        let (o, d) = (layout.outputs, layout.hidden)
        clvd_gemm(
            layout.headInput, o, n, w.headInput, 1, layout.headInput, dOutputs, o, gradient + layout.headWeight, o, true
        )
        clvd_sum_rows(n, o, dOutputs, o, gradient + layout.headBias)
        clvd_gemm(n, layout.headInput, o, dOutputs, o, 1, t.head, layout.headInput, dHead, layout.headInput, false)
        for r in 0..<n {
            let x = dHead + r * layout.headInput
            for j in 0..<d { x[j] *= maskHidden[r * d + j] }
            clvd_silu_backward(d, w.hiddenRaw + r * d, x, dHidden + r * d)
        }
        clvd_gemm(
            layout.hiddenInput, d, n, w.hiddenInput, 1, layout.hiddenInput, dHidden, d, gradient + layout.hiddenWeight,
            d, true)
        clvd_sum_rows(n, d, dHidden, d, gradient + layout.hiddenBias)
        clvd_gemm(
            n, layout.hiddenInput, d, dHidden, d, 1, t.hidden, layout.hiddenInput, dHiddenInput, layout.hiddenInput,
            false)
        for r in 0..<n {
            let x = dState + r * layout.stateWidth
            for j in 0..<layout.units {
                x[j] = dHiddenInput[r * layout.hiddenInput + j] * maskState[r * layout.units + j]
            }
            for j in layout.units..<layout.stateWidth { x[j] = 0 }
        }
    }
}
