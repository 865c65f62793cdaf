import Foundation
import Testing

@testable import Engine

/// Gradients against central finite differences of an independent model in double precision.
@Suite struct GradientTests {
    private static func weights(_ layout: ModelLayout, seed: UInt64) -> Weights {
        let weights = Weights(layout: layout, seed: seed)
        var random = RandomNumbers(seed: seed + 100)
        // Away from the initial values, biases and heads too; the padding of the heads stays what it is.
        let used = layout.heads.reduce(0) { $0 + $1.outputsPerBin * layout.bins }
        for tensor in layout.tensors {
            for i in 0..<tensor.count where !tensor.name.hasPrefix("heads") || i % layout.outputs < used {
                weights.parameters[tensor.offset + i] += Float(0.15 * random.normal())
            }
        }
        return weights
    }

    private static func learning(_ change: (inout EngineConfiguration.Learning) -> Void = { _ in })
        -> EngineConfiguration.Learning
    {
        var c = EngineConfiguration.Learning()
        c.batchSize = 80
        c.dropoutState = 0
        c.dropoutHidden = 0
        change(&c)
        return c
    }

    @Test(arguments: EngineConfiguration.Model.Recurrent.allCases)
    func everyTensor(recurrent: EngineConfiguration.Model.Recurrent) throws {
        let layout = ModelLayout.small(recurrent)
        let weights = Self.weights(layout, seed: 1)
        let batch = TrainingBatch.random(layout, rows: 9, steps: 4, seed: 2)
        let trainer = Trainer(layout: layout, configuration: Self.learning())
        let (gradient, loss) = trainer.gradient(weights, batch, executor: SerialExecutor())
        var model = ReferenceModel(layout, weights.parameters)
        #expect(abs(Double(loss) - model.loss(batch)) < 1e-5)
        #expect(abs(trainer.loss(weights.parameters, batch, executor: SerialExecutor()) - loss) < 1e-6)
        var random = RandomNumbers(seed: 3)
        for tensor in layout.tensors {
            let g = (0..<tensor.count).map { gradient[tensor.offset + $0] }
            let largest = g.indices.sorted { abs(g[$0]) > abs(g[$1]) }.prefix(8)
            #expect(abs(g[largest[0]]) > 1e-4, "\(tensor.name) is taught")
            for i in largest + (0..<4).map({ _ in random.below(tensor.count) }) {
                let at = tensor.offset + i
                let (value, epsilon) = (model.p[at], 1e-5)
                model.p[at] = value + epsilon
                let above = model.loss(batch)
                model.p[at] = value - epsilon
                let below = model.loss(batch)
                model.p[at] = value
                let expected = (above - below) / (2 * epsilon)
                #expect(
                    abs(Double(g[i]) - expected) < 2e-6 + 1e-4 * abs(expected), "\(recurrent) \(tensor.name)[\(i)]")
            }
        }
        // Nothing is taught beside the tensors, nor in rows of embeddings that no event names.
        let category = layout.categoryTable + 6 * layout.categoryEmbedding
        let unnamed = (0..<(16 - 6) * layout.categoryEmbedding).map { gradient[category + $0] }
        #expect(firstDifferences(unnamed, unnamed.map { _ in 0 }) == [])
    }

    @Test func chunksAddUp() {
        let layout = ModelLayout.small(.lstm)
        let weights = Self.weights(layout, seed: 4)
        let batch = TrainingBatch.random(layout, rows: 80, steps: 3, seed: 5)
        let trainer = Trainer(layout: layout, configuration: Self.learning())
        let (g, loss) = trainer.gradient(weights, batch, executor: SerialExecutor())
        let whole = (0..<layout.count).map { Double(g[$0]) }
        let reversed = trainer.gradient(weights, batch, executor: ReversedExecutor())
        #expect(reversed.1 == loss)
        #expect((0..<layout.count).allSatisfy { whole[$0] == Double(reversed.0[$0]) })
        #expect(abs(Double(loss) - ReferenceModel(layout, weights.parameters).loss(batch)) < 1e-5)
        // The same rows one by one.
        var sum = [Double](repeating: 0, count: layout.count)
        let one = TrainingBatch(layout: layout, capacity: 1, steps: 3)
        one.rows = 1
        for cell in 0..<layout.cells { one.meanLogSpend[cell] = batch.meanLogSpend[cell] }
        for r in 0..<80 {
            one.lengths[0] = batch.lengths[r]
            one.indices.update(from: batch.indices + r * 9, count: 9)
            one.numerics.update(from: batch.numerics + r * 3 * layout.numerics, count: 3 * layout.numerics)
            one.initialState.update(from: batch.initialState + r * layout.stateWidth, count: layout.stateWidth)
            one.features.update(from: batch.features + r * layout.features, count: layout.features)
            one.labels.update(from: batch.labels + r * layout.cells, count: layout.cells)
            one.matured.update(from: batch.matured + r * layout.bins, count: layout.bins)
            let (g, _) = trainer.gradient(weights, one, executor: SerialExecutor())
            for i in 0..<layout.count { sum[i] += Double(g[i]) / 80 }
        }
        #expect(firstDifferences(whole, sum) { abs($0 - $1) < 1e-6 + 1e-4 * abs($1) } == [])
    }

    /// Masks are a function of the seed and the step, so loss and gradient with dropout belong together.
    @Test func dropoutIsOneFunction() {
        let layout = ModelLayout.small(.gru)
        let weights = Self.weights(layout, seed: 6)
        let batch = TrainingBatch.random(layout, rows: 70, steps: 4, seed: 7)
        let trainer = Trainer(
            layout: layout,
            configuration: Self.learning {
                $0.dropoutState = 0.3
                $0.dropoutHidden = 0.2
            })
        let (g, loss) = trainer.gradient(weights, batch, executor: SerialExecutor())
        let gradient = (0..<layout.count).map { g[$0] }
        let again = trainer.gradient(weights, batch, executor: SerialExecutor())
        #expect(abs(loss - trainer.loss(weights.parameters, batch, executor: SerialExecutor())) > 1e-4)
        #expect(again.1 == loss && (0..<layout.count).allSatisfy { again.0[$0] == gradient[$0] })
        let norm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        func lossAlong(_ step: Double) -> Double {
            let moved = Weights(layout: layout, seed: 6)
            for i in 0..<layout.count {
                moved.parameters[i] = weights.parameters[i] + Float(step * Double(gradient[i]) / norm)
            }
            return Double(trainer.gradient(moved, batch, executor: SerialExecutor()).1)
        }
        let slope = (lossAlong(0.01) - lossAlong(-0.01)) / 0.02
        #expect(abs(slope / norm - 1) < 0.01)
        weights.steps = 1
        #expect(trainer.gradient(weights, batch, executor: SerialExecutor()).1 != loss, "another step, other masks")
    }

    /// Dropout leaves the mean of what it masks: with rate p a share p is 0 and the rest 1/(1 - p) times itself.
    @Test func dropoutKeepsTheMean() {
        let layout = ModelLayout.small(.lstm)
        let weights = Self.weights(layout, seed: 6)
        let batch = TrainingBatch.random(layout, rows: 64, steps: 4, seed: 7)
        let chunk = ChunkGradient(layout: layout, rows: 64, steps: 4)
        let transposed = TransposedWeights(layout)
        transposed.take(weights.parameters)
        let (units, hidden) = (layout.units, layout.hidden)
        var (state, layer) = ([Float](), [Float]())
        for seed in 0..<40 as Range<UInt64> {
            chunk.run(
                weights.parameters, batch, 0..<64, transposed: transposed, dropoutState: 0.25, dropoutHidden: 0.2,
                seed: seed)
            state += (0..<64 * units).map { chunk.maskState[$0] }
            layer += (0..<64 * hidden).map { chunk.maskHidden[$0] }
        }
        for (mask, rate, kept) in [(state, 0.25, Float(4) / 3), (layer, 0.2, 1.25)] {
            #expect(Set(mask).count == 2 && mask.allSatisfy { $0 == 0 || abs($0 - kept) < 1e-6 })
            let n = Double(mask.count)
            // Four standard deviations of a share of n draws.
            let spread = 4 * (rate * (1 - rate) / n).squareRoot()
            #expect(abs(Double(mask.count { $0 == 0 }) / n - rate) < spread)
            #expect(abs(mask.reduce(0.0) { $0 + Double($1) } / n - 1) < spread * Double(kept))
        }
    }

    /// The same rows in two chunks have masks of their own.
    @Test func chunksDropUnitsOfTheirOwn() {
        let layout = ModelLayout.small(.lstm)
        let weights = Self.weights(layout, seed: 9)
        let n = Trainer.chunkRows
        let batch = TrainingBatch.random(layout, rows: 2 * n, steps: 3, seed: 10)
        func repeatRows<T>(_ p: UnsafeMutablePointer<T>, _ width: Int) {
            (p + n * width).update(from: p, count: n * width)
        }
        repeatRows(batch.lengths, 1)
        repeatRows(batch.indices, 3 * StepInputs.indices)
        repeatRows(batch.numerics, 3 * layout.numerics)
        repeatRows(batch.initialState, layout.stateWidth)
        repeatRows(batch.features, layout.features)
        repeatRows(batch.labels, layout.cells)
        repeatRows(batch.matured, layout.bins)
        func difference(dropout: Float) -> Float {
            let trainer = Trainer(
                layout: layout,
                configuration: Self.learning {
                    $0.batchSize = 2 * n
                    $0.dropoutHidden = dropout
                })
            batch.rows = 2 * n
            let both = trainer.gradient(weights, batch, executor: SerialExecutor()).1
            batch.rows = n
            return abs(both - trainer.gradient(weights, batch, executor: SerialExecutor()).1)
        }
        #expect(difference(dropout: 0) < 1e-6)
        #expect(difference(dropout: 0.3) > 1e-4)
    }

    // MARK: Losses

    @Test func lossesOfOneRow() {
        let layout = ModelLayout.small(.lstm)
        var random = RandomNumbers(seed: 8)
        let reference = ReferenceModel(layout, Weights(layout: layout, seed: 1).parameters)
        let (sums, counts) = (
            UnsafeMutablePointer<Double>.allocate(capacity: layout.cells),
            UnsafeMutablePointer<Int64>.allocate(capacity: layout.cells)
        )
        defer {
            sums.deallocate()
            counts.deallocate()
        }
        let centre: [Float] = [3, 3.2, 3.4, 0, 0, 0, 0, 0, 0]
        for trial in 0..<60 {
            var outputs = (0..<layout.outputs).map { _ in Float(3 * random.normal()) }
            if trial % 5 == 0 { outputs[2] = 8 }  // σ at its upper bound
            if trial % 7 == 0 { outputs[0] = 60 }  // far out on the logistic
            let labels = (0..<layout.cells).map { cell -> Float in
                guard random.uniform() < 0.5 else { return trial % 9 == 0 && cell < 3 ? -4 : 0 }
                return cell < 3 ? Float(exp(3 + random.normal())) : 2
            }
            let matured: [UInt8] = (0..<3).map { $0 < trial % 4 ? 1 : 0 }
            var gradient = [Float](repeating: 7, count: layout.outputs)
            sums.initialize(repeating: 0, count: layout.cells)
            counts.initialize(repeating: 0, count: layout.cells)
            Losses.row(
                layout, outputs: outputs, labels: labels, matured: matured, meanLogSpend: centre, scale: 0.5,
                sums: sums, counts: counts, gradient: &gradient)
            func loss(_ o: [Double]) -> Double {
                reference.loss(
                    o, labels: labels.map(Double.init), matured: matured.map { $0 != 0 },
                    centre: centre.map(Double.init))
            }
            let o = outputs.map(Double.init)
            let total = (0..<layout.cells).reduce(0.0) { $0 + sums[$1] * Double(layout.heads[$1 / 3].weight) }
            #expect(abs(total - loss(o)) < 1e-4 * (1 + abs(total)))
            for i in o.indices {
                var (above, below) = (o, o)
                above[i] += 1e-5
                below[i] -= 1e-5
                let expected = 0.5 * (loss(above) - loss(below)) / 2e-5
                #expect(
                    abs(Double(gradient[i]) - expected) < 1e-4 * (1 + abs(expected)), "output \(i) of trial \(trial)")
            }
            #expect(gradient.allSatisfy { $0.isFinite })
            // A hazard is asked until the event has happened, a value in every bin that has matured.
            for h in 0..<3 {
                var asked = true
                for b in 0..<3 {
                    let expected: Int64 = asked && matured[b] != 0 ? 1 : 0
                    #expect(counts[h * 3 + b] == expected)
                    if h > 0 && labels[h * 3 + b] > 0 { asked = false }
                }
            }
        }
    }

    @Test func absurdMoneyIsHeld() {
        let layout = ModelLayout.small(.lstm)
        var sums = [Double](repeating: 0, count: layout.cells)
        var counts = [Int64](repeating: 0, count: layout.cells)
        var gradient = [Float](repeating: 0, count: layout.outputs)
        let outputs = [Float](repeating: 0, count: layout.outputs)
        var labels = [Float](repeating: 0, count: layout.cells)
        labels[0] = .infinity
        Losses.row(
            layout, outputs: outputs, labels: labels, matured: [1, 0, 0],
            meanLogSpend: [Float](repeating: 3, count: layout.cells), scale: 1, sums: &sums, counts: &counts,
            gradient: &gradient)
        #expect(sums.allSatisfy { $0.isFinite } && gradient.allSatisfy { $0.isFinite })
        #expect(sums[0] > 100)
    }
}
