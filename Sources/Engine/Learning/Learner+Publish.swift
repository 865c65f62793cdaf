/// What the learner hands to the model that predicts.
extension Learner {
    /// Matured landmarks that make a half of full evidence.
    static let halfEvidence = 1000.0

    /// Brings the parameters of the serving model to the present state.
    func publish(to serving: ServingModel) {
        write(to: &spare)
        swap(&spare, &serving.parameters)
    }

    /// The same, where the parameters that served until now go on to serve behind it.
    func publish(to serving: ServingModel, former: ServingModel) {
        publish(to: serving)
        swap(&spare, &former.parameters)
    }

    private func write(to p: inout ServingParameters) {
        p.standardizer = standardizer
        p.amountMean = standardizer.amountMean
        p.amountInverse = standardizer.amountInverse
        p.version = networkIsAwake ? served : 0
        p.led = networkIsAwake ? LandmarkHeader.ledAmounts : 0
        if networkIsAwake && correction.shares.networkShare > 0.5 { p.led |= LandmarkHeader.ledChances }
        correction.write(rates: rates, into: p.coefficients)
        p.set(population)
        p.evidence = Float(evidence)
        for i in scorer.levels.values.indices { p.levels[i] = Float(scorer.levels.values[i]) }
        p.copy(weights: servingWeights)
        for rule in settings.rules {
            rates.writePriors(rule, binEnds: settings.binEnds, into: p.prior + Int(rule.cell))
            guard rule.isValue else { continue }
            for bin in 0..<settings.targetTable.bins {
                let cell = rule.cell(bin: bin)
                p.meanLogSpend[cell] = rates.meanLogSpend(cell)
                p.priorChance[cell] = rates.chance(rule, bin: bin, binEnds: settings.binEnds)
                p.priorSigma[cell] = rates.sigma(rule, bin: bin)
            }
        }
        p.base.set(sigmas: p.priorSigma)
    }

    /// How far predictions of the ranking target rest on outcomes: the mean over its bins of n / (n + 1,000), where n
    /// landmarks matured lately.
    private var evidence: Double {
        let reading = settings.segmentReading
        let known = (0..<Int(reading.bins)).reduce(0.0) {
            let n = rates.evidence(reading.cell(bin: $1))
            return $0 + n / (n + Learner.halfEvidence)
        }
        return known / Double(reading.bins)
    }
}
