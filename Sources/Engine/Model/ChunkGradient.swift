import Glibc

/// Loss and gradient of a stretch of a minibatch: forward and backward side by side (truncated back-propagation
/// through time over the stored events; nothing flows into the initial state). One per chunk of rows, so that the
/// result does not depend on which thread computes it.
final class ChunkGradient {
    let layout: ModelLayout
    let network: Network
    let rows: Int
    let steps: Int
    /// Activations of all steps.
    let w: Workspace
    /// Gradient of the chunk, laid out like the parameters.
    let gradient: UnsafeMutablePointer<Float>
    /// Loss sums and counts of the cells [heads × bins].
    let sums: UnsafeMutablePointer<Double>
    let counts: UnsafeMutablePointer<Int64>
    /// Rows by falling length: at step t the first `active[t]` of them run, beginning at row `first[t]` of the buffers.
    private(set) var order: [Int] = []
    private(set) var active: [Int] = []
    private(set) var first: [Int] = []
    /// [rows × stateWidth] after the latest step, and [rows × features]
    let state: UnsafeMutablePointer<Float>
    let features: UnsafeMutablePointer<Float>
    /// Dropout masks, [rows × units] and [rows × hidden].
    let maskState: UnsafeMutablePointer<Float>
    let maskHidden: UnsafeMutablePointer<Float>
    /// Gradients by [rows × outputs], [rows × headInput], [rows × hidden], [rows × hiddenInput], [rows × stateWidth].
    let dOutputs: UnsafeMutablePointer<Float>
    let dHead: UnsafeMutablePointer<Float>
    let dHidden: UnsafeMutablePointer<Float>
    let dHiddenInput: UnsafeMutablePointer<Float>
    let dState: UnsafeMutablePointer<Float>
    /// Gradients by the gates of all steps, [Σ active × gates] (GRU: of the input, and of the state), and by z of one step.
    let dGates: UnsafeMutablePointer<Float>
    let dStateGates: UnsafeMutablePointer<Float>
    let dZ: UnsafeMutablePointer<Float>
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
}
