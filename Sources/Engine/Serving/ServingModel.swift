import Glibc

/// Predicts with the parameters of the last learning. Constant between two positions of learning, so tasks read it from
/// several threads.
final class ServingModel {
    let settings: EngineSettings
    let network: Network
    var parameters: ServingParameters

    init(_ settings: EngineSettings) {
        self.settings = settings
        network = Network(settings.model)
        parameters = ServingParameters(settings)
    }

    var version: Int64 { parameters.version }
    var amountMean: Float { parameters.amountMean }
    var amountInverse: Float { parameters.amountInverse }
    /// [cells] of a prediction for a user of whom nothing is known.
    var prior: UnsafePointer<Float> { UnsafePointer(parameters.prior) }
    /// [value readings] of the levels of the intervals.
    var levels: UnsafePointer<Float> { UnsafePointer(parameters.levels) }

    /// One step of the recurrent state of `rows` users, in place.
    func step(_ s: Scratch, rows: Int) {
        network.recurrentStep(
            parameters.weights, rows: rows, indices: s.indices, numerics: s.numerics, state: s.state,
            workspace: s.workspace)
    }

    /// Predictions of `rows` users from their state and raw features, which become log-scaled on the way.
    func predict(_ s: Scratch, rows: Int) {
        SnapshotFeatures.finish(s.features, count: rows)
        let n = settings.model.outputs
        if parameters.version > 0 {
            parameters.standardizer.apply(s.features, rows: rows, into: s.standard)
            network.headOutputs(
                parameters.weights, rows: rows, state: s.state, features: s.standard, outputs: s.outputs,
                workspace: s.workspace)
        } else {
            s.outputs.update(repeating: 0, count: rows * n)
        }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: n) { base in
            for r in 0..<rows {
                let features = s.features + r * SnapshotFeatures.count
                let bought = parameters.base.outputs(
                    features, meanLogSpend: parameters.meanLogSpend, into: base.baseAddress!)
                let row = s.outputs + r * n
                let coefficients = parameters.coefficients.row(of: features, bought: bought)
                subtractVariance(row, base.baseAddress!, coefficients)
                coefficients.apply(row, process: base.baseAddress!, count: n)
            }
        }
        network.predict(
            rows: rows, outputs: s.outputs, meanLogSpend: parameters.meanLogSpend, predictions: s.predictions)
        if parameters.version == 0 && settings.hasUncorrectedHeads { copyPriors(s.predictions, rows: rows) }
    }

    /// Turns the base's log of mean money into μ, which is less by half the variance.
    /// - Parameters:
    ///   - row: [outputs] of the heads.
    ///   - base: [outputs] of the base, changed in place.
    @inline(__always)
    private func subtractVariance(
        _ row: UnsafePointer<Float>, _ base: UnsafeMutablePointer<Float>, _ c: CorrectionCoefficients.Row
    ) {
        for (h, head) in settings.model.heads.enumerated() where head.kind.isMoney {
            for b in 0..<settings.model.bins {
                let o = settings.model.output(head: h, bin: b)
                let sigma = Network.sigma(c.corrected(o + 2, row[o + 2], process: base[o + 2]))
                base[o + 1] = ProcessBlend.mu(logMean: base[o + 1], sigma: sigma)
            }
        }
    }

    /// Heads of which the base knows nothing say the population's rates while the network has no say.
    /// - Parameter predictions: [rows × cells].
    private func copyPriors(_ predictions: UnsafeMutablePointer<Float>, rows: Int) {
        let cells = settings.targetTable.cells
        for (h, head) in settings.model.heads.enumerated() where !head.kind.isCorrected {
            let range = settings.targetTable.cells(target: h)
            for r in 0..<rows {
                (predictions + r * cells + range.lowerBound).update(
                    from: parameters.prior + range.lowerBound, count: range.count)
            }
        }
    }

    /// Events of a user at which its own past makes a half of full confidence (chosen, not measured).
    static let halfConfidence: Float = 3

    /// How far the predictions of a user rest on outcomes, and on the user's own past: `evidence` times
    /// e / (e + `halfConfidence`) for a user of e events. 0 until outcomes are known.
    @inline(__always)
    func confidence(events: UInt32) -> Float {
        parameters.evidence * Float(events) / (Float(events) + Self.halfConfidence)
    }
}
