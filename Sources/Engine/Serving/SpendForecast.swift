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
        var sum = SpendDistribution.Sum()
        var (cell, bin) = (Int32(-1), 0)
        for (i, reading) in settings.valueReadings.enumerated() {
            if reading.cell != cell || Int(reading.bins) < bin {
                sum = SpendDistribution.Sum()
                (cell, bin) = (reading.cell, 0)
            }
            while bin < Int(reading.bins) {
                let c = Int(cell) + bin
                if let o = outputs.map({ $0 + settings.model.output(head: Int(reading.target), bin: bin) }) {
                    sum.add(chance: Network.logistic(o[0]), expected: predictions[c], sigma: Network.sigma(o[2]))
                } else {
                    sum.add(
                        chance: parameters.priorChance[c], expected: predictions[c], sigma: parameters.priorSigma[c])
                }
                bin += 1
            }
            body(i, sum.distribution)
        }
    }

    func forEachDistribution(_ s: Scratch, row r: Int, _ body: (Int, SpendDistribution) -> Void) {
        forEachDistribution(
            s.predictions + r * settings.targetTable.cells, outputs: s.outputs + r * settings.model.outputs, body)
    }
}
