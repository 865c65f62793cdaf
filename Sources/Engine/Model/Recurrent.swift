import CKernels
import Glibc

// The recurrent layer, forward and backward: [inputWidth] and [stateWidth] → [stateWidth].

extension Network {
    /// One step of `rows` users.
    /// - Parameters:
    ///   - indices: [rows × StepInputs.indices].
    ///   - numerics: [rows × numerics].
    ///   - state: [rows × stateWidth], replaced.
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
    /// - Parameters:
    ///   - z: [rows × (inputWidth + units)], encoded event and state before it.
    ///   - gates: [rows × gates].
    ///   - stateGates: [rows × gates] of h·U + b'; of a GRU alone.
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
}

extension ChunkGradient {
    /// Step `t` of the `active[t]` rows that have so many events: advances `state` [rows × stateWidth] and keeps what the
    /// way back needs: `z`, the gates, the cell before the step and its tanh, the output ([rows × units] each).
    func stepForward(_ p: UnsafePointer<Float>, _ batch: TrainingBatch, _ t: Int) {
        let (n, at, width, units) = (active[t], first[t], layout.inputWidth + layout.units, layout.units)
        let z = w.z + at * width
        let gates = w.gates + at * layout.gates
        let stateGates = w.stateGates + (layout.recurrent == .gru ? at * layout.gates : 0)
        for r in 0..<n {
            let event = order[r] * batch.steps + t
            network.encode(
                p, indices: batch.indices + event * StepInputs.indices,
                numerics: batch.numerics + event * layout.numerics, into: z + r * width)
            memcpy(
                z + r * width + layout.inputWidth, state + r * layout.stateWidth, units * MemoryLayout<Float>.stride)
        }
        network.products(p, rows: n, z: z, gates: gates, stateGates: stateGates)
        for r in 0..<n {
            let h = state + r * layout.stateWidth
            let before = z + r * width + layout.inputWidth
            switch layout.recurrent {
            case .lstm:
                // The cell before the step is kept, the way back needs it.
                let c = w.cell + (at + r) * units
                memcpy(c, h + units, units * MemoryLayout<Float>.stride)
                clvd_lstm_row(units, gates + r * layout.gates, c, h + units, w.tanhCell + (at + r) * units, h)
            case .gru: clvd_gru_row(units, gates + r * layout.gates, stateGates + r * layout.gates, before, h)
            case .rnn: clvd_tanh_row(units, gates + r * layout.gates, h)
            }
            memcpy(w.output + (at + r) * units, h, units * MemoryLayout<Float>.stride)
        }
    }

    /// From the gradient by the last states, `dState` [rows × stateWidth], to that of the recurrent matrices
    /// [inputWidth + units, gates], their biases [gates] and the embeddings. Steps go from the last to the first; the
    /// matrices take all steps together, as products over [Σ active × …].
    func backwardSequence(
        _ p: UnsafePointer<Float>, _ batch: TrainingBatch, _ range: Range<Int>, _ t: borrowing TransposedWeights
    ) {
        guard let last = active.indices.last else { return }
        for step in active.indices.reversed() { stepBackward(batch, step, t) }
        let (g, width, total) = (layout.gates, layout.inputWidth + layout.units, first[last] + active[last])
        clvd_sum_rows(total, g, dGates, g, gradient + layout.recurrentBias)
        if layout.recurrent == .gru {
            clvd_gemm(layout.inputWidth, g, total, w.z, 1, width, dGates, g, gradient + layout.recurrentWeight, g, true)
            clvd_gemm(
                layout.units, g, total, w.z + layout.inputWidth, 1, width, dStateGates, g,
                gradient + layout.recurrentStateWeight, g, true)
            clvd_sum_rows(total, g, dStateGates, g, gradient + layout.recurrentStateBias)
        } else {
            clvd_gemm(width, g, total, w.z, 1, width, dGates, g, gradient + layout.recurrentWeight, g, true)
        }
    }

    /// Step `t` backward: from `dState` after the step to that before it; leaves `dGates` [active × gates] (and
    /// `dStateGates` of a GRU) and uses `dZ` [active × (inputWidth + units)].
    func stepBackward(_ batch: TrainingBatch, _ t: Int, _ transposed: borrowing TransposedWeights) {
        let (n, at, units, g) = (active[t], first[t], layout.units, layout.gates)
        let width = layout.inputWidth + units
        let dG = dGates + at * g
        let dGh = dStateGates + (layout.recurrent == .gru ? at * g : 0)
        for r in 0..<n {
            let d = dState + r * layout.stateWidth
            let gates = w.gates + (at + r) * g
            switch layout.recurrent {
            case .lstm:
                clvd_lstm_row_backward(
                    units, gates, w.cell + (at + r) * units, w.tanhCell + (at + r) * units, d, d + units, dG + r * g)
            case .gru:
                clvd_gru_row_backward(
                    units, gates, w.stateGates + (at + r) * g, w.z + (at + r) * width + layout.inputWidth, d,
                    dG + r * g, dGh + r * g)
            case .rnn: clvd_tanh_row_backward(units, w.output + (at + r) * units, d, dG + r * g)
            }
        }
        if layout.recurrent == .gru {
            clvd_gemm(n, layout.inputWidth, g, dG, g, 1, transposed.recurrent, layout.inputWidth, dZ, width, false)
            clvd_gemm(n, units, g, dGh, g, 1, transposed.recurrentState, units, dZ + layout.inputWidth, width, false)
        } else {
            clvd_gemm(n, width, g, dG, g, 1, transposed.recurrent, width, dZ, width, false)
        }
        for r in 0..<n {
            let d = dState + r * layout.stateWidth
            let fromProduct = dZ + r * width + layout.inputWidth
            if layout.recurrent == .gru {
                for j in 0..<units { d[j] += fromProduct[j] }
            } else {
                memcpy(d, fromProduct, units * MemoryLayout<Float>.stride)
            }
            embeddings(batch, order[r] * batch.steps + t, dZ + r * width)
        }
    }
}
