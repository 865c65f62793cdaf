/// Which features raise the probability that an alert is about.
extension ServingModel {
    /// A feature that moved a prediction, with its value in the units of its definition.
    struct Factor {
        let name: String
        let value: Float
        /// Part of the log-odds of the probability: gradient × standardised value.
        let contribution: Float
        /// What it says of the user, in words and natural units.
        let text: String
    }

    /// The features that raise a probability most (gradient × input, a first-order attribution at the row).
    func factors(_ s: Scratch, row r: Int, reading: HorizonReading, count: Int) -> [Factor] {
        let f = SnapshotFeatures.count
        var outputWeights = [Float](repeating: 0, count: settings.model.outputs)
        let sign = reading.kind.rules.sign
        let features = s.features + r * f
        let bought = PurchaseProcess.History(features) != nil
        let factor = parameters.coefficients.row(of: features, bought: bought).headFactor
        for b in 0..<Int(reading.bins) {
            let o = settings.model.output(head: Int(reading.target), bin: b)
            outputWeights[o] = sign * factor[o]
        }
        var gradient = [Float](repeating: 0, count: f)
        network.inputGradient(
            parameters.weights, state: s.state + r * settings.stateWidth, features: s.standard + r * f,
            outputWeights: outputWeights, dFeatures: &gradient)
        let contributions = (0..<f).map { gradient[$0] * s.standard[r * f + $0] }
        let top = contributions.indices.sorted {
            contributions[$0] != contributions[$1] ? contributions[$0] > contributions[$1] : $0 < $1
        }
        return top.prefix(count).filter { contributions[$0] > 0 }.map { i in
            Factor(
                name: SnapshotFeatures.definitions[i].name, value: s.features[r * f + i],
                contribution: contributions[i], text: settings.factorText.text(feature: i, of: features))
        }
    }
}
