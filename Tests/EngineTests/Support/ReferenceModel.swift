import Foundation

@testable import Engine

/// The model in double precision, written from its description and not from the engine: one row at a time, no batches,
/// no kernels. What gradients are differentiated against.
struct ReferenceModel {
    let layout: ModelLayout
    var p: [Double]

    init(_ layout: ModelLayout, _ parameters: UnsafePointer<Float>) {
        self.layout = layout
        p = (0..<layout.count).map { Double(parameters[$0]) }
    }

    static func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

    /// bias + x·W, with W at `weight` [x.count × n].
    private func affine(_ x: [Double], weight: Int, bias: Int, _ n: Int) -> [Double] {
        var y = [Double](repeating: 0, count: n)
        p.withUnsafeBufferPointer { p in
            y.withUnsafeMutableBufferPointer { y in
                for j in 0..<n { y[j] = p[bias + j] }
                for (i, v) in x.enumerated() where v != 0 {
                    let row = weight + i * n
                    for j in 0..<n { y[j] += v * p[row + j] }
                }
            }
        }
        return y
    }

    func encoded(_ indices: UnsafePointer<UInt16>, _ numerics: UnsafePointer<Float>) -> [Double] {
        var x: [Double] = []
        for (table, width, index) in [
            (layout.typeTable, layout.typeEmbedding, indices[0]),
            (layout.categoryTable, layout.categoryEmbedding, indices[1]),
            (layout.crossTable, layout.crossEmbedding, indices[2]),
        ] {
            x += p[table + Int(index) * width..<table + (Int(index) + 1) * width]
        }
        x += (0..<layout.numerics).map { Double(numerics[$0]) }
        return x + [Double](repeating: 0, count: layout.inputWidth - x.count)
    }

    /// One recurrent step of a state row (h, then c of the LSTM).
    func step(_ state: [Double], _ x: [Double]) -> [Double] {
        let (u, g) = (layout.units, layout.gates)
        let h = Array(state[0..<u])
        switch layout.recurrent {
        case .lstm:
            let a = affine(x + h, weight: layout.recurrentWeight, bias: layout.recurrentBias, g)
            let c = (0..<u).map {
                Self.sigmoid(a[u + $0]) * state[u + $0] + Self.sigmoid(a[$0]) * tanh(a[2 * u + $0])
            }
            return (0..<u).map { Self.sigmoid(a[3 * u + $0]) * tanh(c[$0]) } + c
        case .gru:
            let a = affine(x, weight: layout.recurrentWeight, bias: layout.recurrentBias, g)
            let b = affine(h, weight: layout.recurrentStateWeight, bias: layout.recurrentStateBias, g)
            return (0..<u).map {
                let r = Self.sigmoid(a[$0] + b[$0])
                let z = Self.sigmoid(a[u + $0] + b[u + $0])
                return (1 - z) * tanh(a[2 * u + $0] + r * b[2 * u + $0]) + z * h[$0]
            }
        case .rnn:
            return affine(x + h, weight: layout.recurrentWeight, bias: layout.recurrentBias, g).map { tanh($0) }
        }
    }

    func outputs(_ state: [Double], _ features: [Double]) -> [Double] {
        let raw = affine(
            state[0..<layout.units] + features, weight: layout.hiddenWeight, bias: layout.hiddenBias, layout.hidden)
        let hidden = raw.map { $0 * Self.sigmoid($0) }
        return affine(hidden + features, weight: layout.headWeight, bias: layout.headBias, layout.outputs)
    }

    /// Negative log-likelihood of one row's labels, weighted by head.
    func loss(_ o: [Double], labels: [Double], matured: [Bool], centre: [Double]) -> Double {
        var total = 0.0
        for (h, head) in layout.heads.enumerated() {
            var happened = false
            for b in 0..<layout.bins where matured[b] && !happened {
                let at = layout.output(head: h, bin: b)
                let label = labels[h * layout.bins + b]
                // -log of the probability of what happened, logistic of the logit or of its negative.
                let logit = label > 0 ? o[at] : -o[at]
                var loss = max(-logit, 0) + log1p(exp(-abs(logit)))
                if head.kind != .value {
                    happened = label > 0
                } else if label > 0 {
                    let sigma = min(3, log(1 + exp(o[at + 2])) + 0.05)
                    let z = (log(label) - centre[h * layout.bins + b] - o[at + 1]) / sigma
                    loss += log(sigma) + z * z / 2
                }
                total += Double(head.weight) * loss
            }
        }
        return total
    }

    /// Mean loss of the rows of a batch.
    func loss(_ batch: TrainingBatch) -> Double {
        let l = layout
        var total = 0.0
        for r in 0..<batch.rows {
            var state = (0..<l.stateWidth).map { Double(batch.initialState[r * l.stateWidth + $0]) }
            for t in 0..<Int(batch.lengths[r]) {
                let at = r * batch.steps + t
                state = step(
                    state, encoded(batch.indices + at * StepInputs.indices, batch.numerics + at * l.numerics))
            }
            total += loss(
                outputs(state, (0..<l.features).map { Double(batch.features[r * l.features + $0]) }),
                labels: (0..<l.cells).map { Double(batch.labels[r * l.cells + $0]) },
                matured: (0..<l.bins).map { batch.matured[r * l.bins + $0] != 0 },
                centre: (0..<l.cells).map { Double(batch.meanLogSpend[$0]) })
        }
        return total / Double(batch.rows)
    }
}

extension ModelLayout {
    /// A small model with a value head and two hazard heads over three bins.
    static func small(_ recurrent: EngineConfiguration.Model.Recurrent) -> ModelLayout {
        var c = EngineConfiguration.small.model
        c.recurrent = recurrent
        c.categoryBuckets = 16
        c.crossBuckets = 16
        let heads = [
            Head(name: "clv", kind: .value, weight: 0.7), Head(name: "purchase", kind: .occurrence, weight: 1),
            Head(name: "churn", kind: .absence, weight: 1.3),
        ]
        return ModelLayout(
            configuration: c, heads: heads, bins: 3, eventNumerics: StepInputs.numerics,
            snapshotFeatures: SnapshotFeatures.count)
    }
}

extension TrainingBatch {
    /// A batch of random rows: sequences of no event up to `steps`, states, features, labels, maturity of no bin up
    /// to all of them.
    static func random(_ l: ModelLayout, rows: Int, steps: Int, seed: UInt64) -> TrainingBatch {
        var random = RandomNumbers(seed: seed)
        let batch = TrainingBatch(layout: l, capacity: rows, steps: steps)
        batch.rows = rows
        for cell in 0..<l.bins { batch.meanLogSpend[cell] = 3 + Float(cell) / 4 }
        for r in 0..<rows {
            batch.lengths[r] = Int32(r % (steps + 1))
            for t in 0..<steps {
                let at = r * steps + t
                batch.indices[at * 3] = UInt16(random.below(EventType.embeddedTypes))
                batch.indices[at * 3 + 1] = UInt16(random.below(6))
                batch.indices[at * 3 + 2] = UInt16(random.below(6))
                for j in 0..<l.numerics { batch.numerics[at * l.numerics + j] = Float(random.normal()) }
            }
            for j in 0..<l.stateWidth { batch.initialState[r * l.stateWidth + j] = Float(random.uniform() - 0.5) }
            for j in 0..<l.features { batch.features[r * l.features + j] = Float(random.normal() / 2) }
            for b in 0..<l.bins { batch.matured[r * l.bins + b] = b < r % (l.bins + 1) ? 1 : 0 }
            for (h, head) in l.heads.enumerated() {
                for b in 0..<l.bins where random.uniform() < 0.5 {
                    batch.labels[r * l.cells + h * l.bins + b] =
                        head.kind == .value ? Float(exp(3 + random.normal())) : Float(1 + random.below(3))
                }
            }
        }
        return batch
    }
}
