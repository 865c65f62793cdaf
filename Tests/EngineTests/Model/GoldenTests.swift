import Foundation
import Testing

@testable import Engine

/// The forward pass against numbers that `Fixtures/golden.py` computed with NumPy.
@Suite struct GoldenTests {
    struct Golden: Decodable {
        var cases: [Case]
        struct Case: Decodable {
            var recurrent: String
            var weights: [String: Values]
            var centre: [Float]
            var rows: [Row]
        }
        struct Row: Decodable {
            var initialState: [Float]
            var indices: [[UInt16]]
            var numerics: [[Float]]
            var states: [[Double]]
            var features: [Float]
            var outputs: [Double]
            var predictions: [Double]
            var clv: [Double]
            var purchase: [Double]
            var churn: [Double]
        }
        /// A vector or a matrix, flattened.
        struct Values: Decodable {
            var flat: [Float]
            var rows: Int
            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let matrix = try? container.decode([[Float]].self) {
                    flat = matrix.flatMap { $0 }
                    rows = matrix.count
                } else {
                    flat = try container.decode([Float].self)
                    rows = 1
                }
            }
        }
    }

    private static func golden() throws -> Golden {
        let url = try #require(Bundle.module.url(forResource: "Fixtures/golden", withExtension: "json"))
        return try JSONDecoder().decode(Golden.self, from: Data(contentsOf: url))
    }

    @Test(arguments: ["lstm", "gru", "rnn"])
    func forwardPass(recurrent: String) throws {
        let golden = try #require(Self.golden().cases.first { $0.recurrent == recurrent })
        var configuration = EngineConfiguration()
        configuration.binEdgesDays = [7, 30, 90]
        configuration.model.recurrent = try #require(.init(rawValue: recurrent))
        configuration.model.units = 16
        configuration.model.hidden = 16
        configuration.model.typeEmbedding = 2
        configuration.model.categoryEmbedding = 3
        configuration.model.categoryBuckets = 8
        configuration.model.crossEmbedding = 2
        configuration.model.crossBuckets = 8
        let settings = EngineSettings(configuration, topics: ["events"], partitions: 1)
        let layout = settings.model
        let parameters = UnsafeMutablePointer<Float>.allocate(capacity: layout.count)
        defer { parameters.deallocate() }
        parameters.initialize(repeating: 0, count: layout.count)
        for tensor in layout.tensors {
            let values = try #require(golden.weights[tensor.name], "\(tensor.name)")
            #expect(values.flat.count == tensor.count && (tensor.shape.count == 1 || values.rows == tensor.shape[0]))
            for (i, v) in values.flat.enumerated() { parameters[tensor.offset + i] = v }
        }
        #expect(golden.weights.count == layout.tensors.count)
        let network = Network(layout)
        let workspace = Workspace(layout: layout, rows: 3)
        let rows = golden.rows.count
        var state = golden.rows.flatMap(\.initialState)
        for t in 0..<golden.rows[0].indices.count {
            network.recurrentStep(
                parameters, rows: rows, indices: golden.rows.flatMap { $0.indices[t] },
                numerics: golden.rows.flatMap { $0.numerics[t] }, state: &state, workspace: workspace)
            for (x, expected) in zip(state, golden.rows.flatMap { $0.states[t] }) {
                #expect(abs(Double(x) - expected) < 1e-5, "state after event \(t)")
            }
        }
        var outputs = [Float](repeating: 0, count: rows * layout.outputs)
        network.headOutputs(
            parameters, rows: rows, state: state, features: golden.rows.flatMap(\.features), outputs: &outputs,
            workspace: workspace)
        for (x, expected) in zip(outputs, golden.rows.flatMap(\.outputs)) { #expect(abs(Double(x) - expected) < 2e-5) }
        var predictions = [Float](repeating: 0, count: rows * layout.cells)
        var centre = [Float](repeating: 0, count: layout.cells)
        for (b, v) in golden.centre.enumerated() { centre[b] = v }
        network.predict(rows: rows, outputs: outputs, meanLogSpend: centre, predictions: &predictions)
        for (x, expected) in zip(predictions, golden.rows.flatMap(\.predictions)) {
            #expect(abs(Double(x) / expected - 1) < 2e-4)
        }
        for (r, row) in golden.rows.enumerated() {
            let line = Array(predictions[r * layout.cells..<(r + 1) * layout.cells])
            for (b, days) in configuration.binEdgesDays.enumerated() {
                func reading(_ target: Int) -> Double {
                    Double(settings.targetTable.reading(target: target, horizon: days).value(line))
                }
                #expect(abs(reading(0) / row.clv[b] - 1) < 2e-4)
                #expect(abs(reading(1) - row.purchase[b]) < 1e-5)
                #expect(abs(reading(2) - row.churn[b]) < 1e-5)
            }
        }
    }
}
