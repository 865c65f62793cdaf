import CKernels
import Glibc

/// Matrices of the parameters, transposed once a step for the way back.
struct TransposedWeights: ~Copyable {
    let recurrent: UnsafeMutablePointer<Float>
    let recurrentState: UnsafeMutablePointer<Float>
    let hidden: UnsafeMutablePointer<Float>
    let head: UnsafeMutablePointer<Float>
    private let layout: ModelLayout
    private let all: UnsafeMutablePointer<Float>

    init(_ l: ModelLayout) {
        layout = l
        let gru = l.recurrent == .gru
        let first = l.gates * (gru ? l.inputWidth : l.inputWidth + l.units)
        let second = gru ? l.gates * l.units : 0
        let third = l.hidden * l.hiddenInput
        all = .allocate(capacity: first + second + third + l.outputs * l.headInput)
        recurrent = all
        recurrentState = all + first
        hidden = all + first + second
        head = all + first + second + third
    }

    deinit { all.deallocate() }

    func take(_ p: UnsafePointer<Float>) {
        let l = layout
        let gru = l.recurrent == .gru
        clvd_transpose(gru ? l.inputWidth : l.inputWidth + l.units, l.gates, p + l.recurrentWeight, recurrent)
        if gru { clvd_transpose(l.units, l.gates, p + l.recurrentStateWeight, recurrentState) }
        clvd_transpose(l.hiddenInput, l.hidden, p + l.hiddenWeight, hidden)
        clvd_transpose(l.headInput, l.outputs, p + l.headWeight, head)
    }
}

/// Loss and gradient of a stretch of a minibatch: forward and backward side by side (truncated back-propagation
/// through time over the stored events; nothing flows into the initial state). One per chunk of rows, so that the
/// result does not depend on which thread computes it.
final class ChunkGradient {
    private let layout: ModelLayout
    private let network: Network
    private let rows: Int
    private let steps: Int
    private let w: Workspace
    /// Gradient of the chunk, laid out like the parameters.
    let gradient: UnsafeMutablePointer<Float>
    /// Loss sums and counts of the cells [heads × bins].
    let sums: UnsafeMutablePointer<Double>
    let counts: UnsafeMutablePointer<Int64>
    /// Rows by falling length: at step t the first `active[t]` of them run, beginning at row `first[t]` of the buffers.
    private var order: [Int] = []
    private var active: [Int] = []
    private var first: [Int] = []
    private let state: UnsafeMutablePointer<Float>
    private let features: UnsafeMutablePointer<Float>
    private let maskState: UnsafeMutablePointer<Float>
    private let maskHidden: UnsafeMutablePointer<Float>
    private let dOutputs: UnsafeMutablePointer<Float>
    private let dHead: UnsafeMutablePointer<Float>
    private let dHidden: UnsafeMutablePointer<Float>
    private let dHiddenInput: UnsafeMutablePointer<Float>
    private let dState: UnsafeMutablePointer<Float>
    private let dGates: UnsafeMutablePointer<Float>
    private let dStateGates: UnsafeMutablePointer<Float>
    private let dZ: UnsafeMutablePointer<Float>
    private var buffers: [UnsafeMutablePointer<Float>] = []

    init(layout l: ModelLayout, rows: Int, steps: Int) {
        layout = l
        network = Network(l)
        self.rows = rows
        self.steps = steps
        w = Workspace(layout: l, rows: rows, steps: steps)
        var all: [UnsafeMutablePointer<Float>] = []
        func zeros(_ n: Int) -> UnsafeMutablePointer<Float> {
            let p = UnsafeMutablePointer<Float>.allocate(capacity: n)
            p.initialize(repeating: 0, count: n)
            all.append(p)
            return p
        }
        gradient = zeros(l.count)
        state = zeros(rows * l.stateWidth)
        features = zeros(rows * l.features)
        maskState = zeros(rows * l.units)
        maskHidden = zeros(rows * l.hidden)
        dOutputs = zeros(rows * l.outputs)
        dHead = zeros(rows * l.headInput)
        dHidden = zeros(rows * l.hidden)
        dHiddenInput = zeros(rows * l.hiddenInput)
        dState = zeros(rows * l.stateWidth)
        dGates = zeros(rows * steps * l.gates)
        dStateGates = zeros(l.recurrent == .gru ? rows * steps * l.gates : 1)
        dZ = zeros(rows * (l.inputWidth + l.units))
        buffers = all
        sums = .allocate(capacity: l.cells)
        counts = .allocate(capacity: l.cells)
    }

    deinit {
        for p in buffers { p.deallocate() }
        sums.deallocate()
        counts.deallocate()
    }

    /// Loss of the rows `range` of a batch; with `transposed`, also the gradient (dropout on, from `seed`).
    func run(
        _ p: UnsafePointer<Float>, _ batch: TrainingBatch, _ range: Range<Int>, transposed: borrowing TransposedWeights,
        dropoutState: Float, dropoutHidden: Float, seed: UInt64
    ) {
        forward(p, batch, range, dropoutState: dropoutState, dropoutHidden: dropoutHidden, seed: seed)
        lossRows(batch, range, gradient: true)
        gradient.update(repeating: 0, count: layout.count)
        backwardHeads(p, range.count, transposed)
        backwardSequence(p, batch, range, transposed)
    }

    /// Loss alone, without dropout.
    func loss(_ p: UnsafePointer<Float>, _ batch: TrainingBatch, _ range: Range<Int>) {
        forward(p, batch, range, dropoutState: 0, dropoutHidden: 0, seed: 0)
        lossRows(batch, range, gradient: false)
    }

    /// Head outputs of the rows of the latest run.
    func forEachOutput(_ body: (Int, UnsafePointer<Float>) -> Void) {
        for (r, source) in order.enumerated() { body(source, UnsafePointer(w.outputs + r * layout.outputs)) }
    }

    // MARK: Forward

    private func forward(
        _ p: UnsafePointer<Float>, _ batch: TrainingBatch, _ range: Range<Int>, dropoutState: Float,
        dropoutHidden: Float, seed: UInt64
    ) {
        plan(batch, range)
        let floats = MemoryLayout<Float>.stride
        for (r, source) in order.enumerated() {
            memcpy(
                state + r * layout.stateWidth, batch.initialState + source * layout.stateWidth,
                layout.stateWidth * floats)
            memcpy(features + r * layout.features, batch.features + source * layout.features, layout.features * floats)
        }
        for t in active.indices { stepForward(p, batch, t) }
        var random = RandomNumbers(seed: seed)
        dropout(maskState, range.count * layout.units, dropoutState, &random)
        dropout(maskHidden, range.count * layout.hidden, dropoutHidden, &random)
        headsForward(p, range.count)
    }

    private func plan(_ batch: TrainingBatch, _ range: Range<Int>) {
        order = range.sorted { a, b in
            batch.lengths[a] != batch.lengths[b] ? batch.lengths[a] > batch.lengths[b] : a < b
        }
        active.removeAll(keepingCapacity: true)
        first.removeAll(keepingCapacity: true)
        var at = 0
        for t in 0..<steps {
            let n = order.count { Int(batch.lengths[$0]) > t }
            if n == 0 { break }
            active.append(n)
            first.append(at)
            at += n
        }
    }

    private func stepForward(_ p: UnsafePointer<Float>, _ batch: TrainingBatch, _ t: Int) {
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

    /// Inverted dropout: 0 or 1 / (1 - rate).
    private func dropout(_ mask: UnsafeMutablePointer<Float>, _ n: Int, _ rate: Float, _ random: inout RandomNumbers) {
        guard rate > 0 else {
            mask.update(repeating: 1, count: n)
            return
        }
        let threshold = UInt32(Double(rate) * 4_294_967_296)
        let keep = 1 / (1 - rate)
        var i = 0
        while i < n {
            let bits = random.next()
            mask[i] = UInt32(truncatingIfNeeded: bits) < threshold ? 0 : keep
            if i + 1 < n { mask[i + 1] = UInt32(bits >> 32) < threshold ? 0 : keep }
            i += 2
        }
    }

    private func headsForward(_ p: UnsafePointer<Float>, _ n: Int) {
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

    private func lossRows(_ batch: TrainingBatch, _ range: Range<Int>, gradient: Bool) {
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

    // MARK: Backward

    private func backwardHeads(_ p: UnsafePointer<Float>, _ n: Int, _ t: borrowing TransposedWeights) {
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

    private func backwardSequence(
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

    private func stepBackward(_ batch: TrainingBatch, _ t: Int, _ transposed: borrowing TransposedWeights) {
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

    private func embeddings(_ batch: TrainingBatch, _ event: Int, _ dx: UnsafePointer<Float>) {
        let i = batch.indices + event * StepInputs.indices
        let (t, c, k) = (layout.typeEmbedding, layout.categoryEmbedding, layout.crossEmbedding)
        let type = gradient + layout.typeTable + Int(i[0]) * t
        let category = gradient + layout.categoryTable + Int(i[1]) * c
        let cross = gradient + layout.crossTable + Int(i[2]) * k
        for j in 0..<t { type[j] += dx[j] }
        for j in 0..<c { category[j] += dx[t + j] }
        for j in 0..<k { cross[j] += dx[t + c + j] }
    }
}
