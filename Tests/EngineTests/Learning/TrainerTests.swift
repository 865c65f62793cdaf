import Foundation
import Testing

@testable import Engine

/// One step of learning: schedule, clipping, optimisers, moving average.
@Suite struct TrainerTests {
    typealias Learning = EngineConfiguration.Learning

    private static let layout = ModelLayout.small(.rnn)

    private static func learning(_ change: (inout Learning) -> Void) -> Learning {
        var c = Learning()
        c.batchSize = 16
        c.warmupSteps = 0
        c.clipNorm = 0
        change(&c)
        return c
    }

    private static func gradient(_ seed: UInt64, scale: Double = 1) -> [Float] {
        var random = RandomNumbers(seed: seed)
        return (0..<layout.count).map { _ in Float(scale * random.normal()) }
    }

    /// The forget gates of an LSTM begin open; its gates are in the order input, forget, candidate, output.
    @Test func firstBiases() {
        for (recurrent, gates, open) in [(.lstm, 4, 1), (.gru, 3, nil), (.rnn, 1, nil)]
            as [(EngineConfiguration.Model.Recurrent, Int, Int?)]
        {
            let layout = ModelLayout.small(recurrent)
            let p = Weights(layout: layout, seed: 1).parameters
            for j in 0..<gates * layout.units {
                #expect(p[layout.recurrentBias + j] == (j / layout.units == open ? 1 : 0))
            }
        }
    }

    @Test func warmUpAndSchedules() {
        func rates(_ steps: [Int64], _ change: (inout Learning) -> Void) -> [Float] {
            let trainer = Trainer(
                layout: Self.layout,
                configuration: Self.learning {
                    $0.learningRate = 0.01
                    $0.scheduleSteps = 100
                    $0.minimumRateFactor = 0.1
                    change(&$0)
                })
            return steps.map { trainer.rate(step: $0) }
        }
        func near(_ a: [Float], _ b: [Float]) -> Bool { zip(a, b).allSatisfy { abs($0 - $1) < 1e-7 } }
        #expect(near(rates([1, 500, 1_000_000]) { $0.schedule = .constant }, [0.01, 0.01, 0.01]))
        #expect(near(rates([1, 5, 10, 11]) { $0.warmupSteps = 10 }, [0.001, 0.005, 0.01, 0.01]))
        #expect(
            near(rates([50, 100, 400, 40_000]) { $0.schedule = .inverseSqrt }, [0.01, 0.01, 0.005, 0.001]))
        #expect(
            near(
                rates([25, 50, 75, 99, 125]) { $0.schedule = .cosine }, [0.0085355, 0.005, 0.0014645, 0.001, 0.0085355])
        )
    }

    @Test func theGradientIsClippedAsAWhole() {
        for norm in [0.5, 1.0, 40.0] {
            let trainer = Trainer(
                layout: Self.layout,
                configuration: Self.learning {
                    $0.optimizer = .sgd
                    $0.momentum = 0
                    $0.weightDecay = 0
                    $0.learningRate = 0.1
                    $0.clipNorm = 1
                })
            let weights = Weights(layout: Self.layout, seed: 1)
            let before = (0..<Self.layout.count).map { weights.parameters[$0] }
            let raw = Self.gradient(2)
            let length = raw.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            let g = raw.map { Float(Double($0) / length * norm) }
            let result = trainer.apply(weights, g, loss: 1, rateFactor: 0.5)
            #expect(result.applied && abs(Double(result.norm) / norm - 1) < 1e-5 && result.learningRate == 0.05)
            let covered = Self.layout.tensors.flatMap { $0.offset..<$0.offset + $0.count }
            let expected = covered.map { Double(before[$0]) - 0.05 * Double(g[$0]) * min(1, 1 / norm) }
            let stepped = covered.map { Double(weights.parameters[$0]) }
            #expect(firstDifferences(stepped, expected) { abs($0 - $1) < 1e-6 } == [])
        }
    }

    /// Five steps against a scalar loop in double precision.
    @Test(arguments: Learning.Optimizer.allCases)
    func optimiser(optimizer: Learning.Optimizer) {
        let c = Self.learning {
            $0.optimizer = optimizer
            $0.learningRate = 0.02
            $0.weightDecay = 0.1
            $0.emaDecay = 0.3
        }
        let layout = Self.layout
        let trainer = Trainer(layout: layout, configuration: c)
        let weights = Weights(layout: layout, seed: 1)
        var p = (0..<layout.count).map { Double(weights.parameters[$0]) }
        var average = p
        var (m, v) = ([Double](repeating: 0, count: layout.count), [Double](repeating: 0, count: layout.count))
        for step in 1...5 {
            let g = Self.gradient(UInt64(step), scale: 0.1)
            #expect(trainer.apply(weights, g, loss: 1, rateFactor: 1).applied)
            for tensor in layout.tensors {
                // Decay pulls matrices alone: biases and embeddings are free.
                let decays = tensor.shape.count == 2 && !tensor.name.hasPrefix("encoder")
                let decay = decays ? 0.1 : 0
                for i in tensor.offset..<tensor.offset + tensor.count {
                    var d = Double(g[i])
                    switch optimizer {
                    case .adam, .adamw:
                        if optimizer == .adam { d += decay * p[i] }
                        m[i] = 0.9 * m[i] + 0.1 * d
                        v[i] = 0.999 * v[i] + 0.001 * d * d
                        let (a, b) = (m[i] / (1 - pow(0.9, Double(step))), v[i] / (1 - pow(0.999, Double(step))))
                        let old = p[i]
                        p[i] -= 0.02 * a / (b.squareRoot() + 1e-8)
                        if optimizer == .adamw { p[i] -= 0.02 * decay * old }
                    case .adagrad:
                        v[i] += d * d
                        p[i] = p[i] * (1 - 0.02 * decay) - 0.02 * d / (v[i].squareRoot() + 1e-8)
                    case .sgd:
                        m[i] = 0.9 * m[i] + d
                        p[i] = p[i] * (1 - 0.02 * decay) - 0.02 * m[i]
                    }
                    // The average's decay rises with the steps up to its own: 2/11, 3/12, then 0.3.
                    let keep = min(0.3, Double(1 + step) / Double(10 + step))
                    average[i] = keep * average[i] + (1 - keep) * p[i]
                }
            }
        }
        #expect(weights.steps == 5)
        for tensor in layout.tensors {
            let range = tensor.offset..<tensor.offset + tensor.count
            func differences(_ found: UnsafeMutablePointer<Float>, _ expected: [Double]) -> [String] {
                firstDifferences(range.map { Double(found[$0]) }, expected[range]) { abs($0 - $1) < 2e-5 }
            }
            #expect(differences(weights.parameters, p) == [], "\(tensor.name)")
            #expect(differences(weights.average, average) == [], "\(tensor.name)")
        }
    }

    @Test func theLossFalls() {
        let layout = ModelLayout.small(.lstm)
        let batch = TrainingBatch.random(layout, rows: 48, steps: 6, seed: 3)
        let weights = Weights(layout: layout, seed: 1)
        let trainer = Trainer(
            layout: layout,
            configuration: Self.learning {
                $0.batchSize = 48
                $0.learningRate = 0.01
                $0.clipNorm = 1
                $0.emaDecay = 0.8
            })
        let first = trainer.loss(weights.parameters, batch, executor: SerialExecutor())
        for _ in 0..<60 { _ = trainer.step(weights, batch, rateFactor: 1, executor: SerialExecutor()) }
        let last = trainer.loss(weights.parameters, batch, executor: SerialExecutor())
        #expect(last < 0.6 * first, "a batch can be learned by heart")
        let averaged = trainer.loss(weights.average, batch, executor: SerialExecutor())
        #expect(averaged < 0.7 * first && averaged != last)
    }
}
