import Glibc

/// Distributions of the money that a user spends, which give the intervals.
extension ServingModel {
    /// The distributions of spend of a row that was predicted, in the order of `EngineSettings.valueReadings`. The
    /// heads give the chance and the σ of each bin, the prediction its mean, so that intervals fit the predictions.
    /// - Parameters:
    ///   - predictions: [cells] of the row.
    ///   - outputs: [outputs] of the heads, corrected; nil for a user of whom nothing is known.
    @inline(__always)
    func forEachDistribution(
        _ predictions: UnsafePointer<Float>, outputs: UnsafePointer<Float>?, _ body: (Int, SpendDistribution) -> Void
    ) {
        let outputs = parameters.version > 0 ? outputs : nil
        var sum = SpendDistribution.Sum()
        var (cell, bin) = (Int32(-1), 0)
        var (chance, sigma): (Float, Float) = (0, 1)
        for (i, reading) in settings.valueReadings.enumerated() {
            if reading.cell != cell || Int(reading.bins) < bin {
                sum = SpendDistribution.Sum()
                (cell, bin) = (reading.cell, 0)
            }
            while bin < Int(reading.bins) {
                let c = Int(cell) + bin
                (chance, sigma) = spread(
                    c, bin, outputs.map { $0 + settings.model.output(head: Int(reading.target), bin: bin) },
                    before: (chance, sigma))
                sum.add(chance: chance, expected: predictions[c], sigma: sigma)
                bin += 1
            }
            body(i, sum.distribution)
        }
    }

    func forEachDistribution(_ s: Scratch, row r: Int, _ body: (Int, SpendDistribution) -> Void) {
        forEachDistribution(
            s.predictions + r * settings.targetTable.cells, outputs: s.outputs + r * settings.model.outputs, body)
    }

    /// Chance and σ of a bin from its outputs. Bins that were not taught relate to the bin before as they do for the
    /// population.
    @inline(__always)
    private func spread(
        _ cell: Int, _ bin: Int, _ o: UnsafePointer<Float>?, before: (chance: Float, sigma: Float)
    ) -> (Float, Float) {
        guard let o, bin < parameters.taughtBins || bin > 0 else {
            return (parameters.priorChance[cell], parameters.priorSigma[cell])
        }
        if bin < parameters.taughtBins {
            return (Network.logistic(o[0]), Network.sigma(o[2]))
        }
        let ratio =
            Hazard.cumulative(parameters.priorChance[cell]) / Hazard.cumulative(parameters.priorChance[cell - 1])
        return (-expm1f(-ratio * Hazard.cumulative(before.chance)), before.sigma)
    }
}
