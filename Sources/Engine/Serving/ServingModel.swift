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
        let cells = settings.targetTable.cells
        guard parameters.version > 0 else {
            for r in 0..<rows {
                memcpy(s.predictions + r * cells, parameters.prior, cells * MemoryLayout<Float>.stride)
            }
            return
        }
        parameters.standardizer.apply(s.features, rows: rows, into: s.standard)
        network.headOutputs(
            parameters.weights, rows: rows, state: s.state, features: s.standard, outputs: s.outputs,
            workspace: s.workspace)
        let n = settings.model.outputs
        withUnsafeTemporaryAllocation(of: Float.self, capacity: n) { process in
            for r in 0..<rows {
                let features = s.features + r * SnapshotFeatures.count
                let bought = parameters.purchases.outputs(
                    features, settings.model, purchaseHeads: settings.purchaseHeads,
                    meanLogSpend: parameters.meanLogSpend,
                    into: process.baseAddress!)
                let row = s.outputs + r * n
                if bought { subtractVariance(row, process.baseAddress!) }
                parameters.coefficients.row(of: features, bought: bought)
                    .apply(row, process: process.baseAddress!, count: n)
            }
        }
        network.predict(
            rows: rows, outputs: s.outputs, meanLogSpend: parameters.meanLogSpend, predictions: s.predictions)
        if parameters.taughtBins < settings.targetTable.bins { extrapolate(s.predictions, rows: rows) }
    }

    /// Turns the process's log of mean money into μ, which is less by half the variance of the heads.
    /// - Parameters:
    ///   - row: [outputs] of the heads.
    ///   - process: [outputs] of the process, changed in place.
    @inline(__always)
    private func subtractVariance(_ row: UnsafePointer<Float>, _ process: UnsafeMutablePointer<Float>) {
        for (h, head) in settings.model.heads.enumerated() where head.kind.isMoney && settings.purchaseHeads[h] {
            for b in 0..<settings.model.bins {
                let o = settings.model.output(head: h, bin: b)
                process[o + 1] = ProcessBlend.mu(logMean: process[o + 1], sigma: Network.sigma(row[o + 2]))
            }
        }
    }

    /// Bins that nothing has been learned of yet relate to the bin before as they do for the population; a first bin is
    /// that of the population.
    /// - Parameter predictions: [rows × cells].
    private func extrapolate(_ predictions: UnsafeMutablePointer<Float>, rows: Int) {
        let cells = settings.targetTable.cells
        for rule in settings.rules {
            let kind = rule.kind.rules
            let width = kind.cellsPerBin
            for bin in parameters.taughtBins..<settings.targetTable.bins {
                let cell = rule.cell(bin: bin)
                let prior = UnsafePointer(parameters.prior + cell)
                for r in 0..<rows {
                    let row = predictions + r * cells + cell
                    if bin > 0 { kind.extrapolate(row, prior: prior) } else { row.update(from: prior, count: width) }
                }
            }
        }
    }

    /// Events of a user at which its own past makes a half of full confidence (chosen, not measured).
    static let halfConfidence: Float = 3

    /// How far the predictions of a user rest on what was learned, and on the user's own past: 0 while population rates
    /// predict, then `evidence` times e / (e + `halfConfidence`) for a user of e events.
    @inline(__always)
    func confidence(events: UInt32) -> Float {
        parameters.version > 0 ? parameters.evidence * Float(events) / (Float(events) + Self.halfConfidence) : 0
    }
}
