import Glibc

/// The model that predicts: weights, scaling and population rates as they stood after the last learning. Constant
/// between two positions of learning, so tasks read it from several threads.
final class ServingModel {
    private let settings: EngineSettings
    private let network: Network
    private let weights: UnsafeMutablePointer<Float>
    var standardizer = Standardizer(features: SnapshotFeatures.count)
    var amountMean: Float = 0
    var amountInverse: Float = 0
    /// Training steps behind the weights; 0 while population rates predict.
    var version: Int64 = 0
    /// The first so many bins have been taught; for later ones the weights are no better than random.
    var taughtBins = 0
    /// [cells] of a prediction for anybody, and the centres of log spend.
    let prior: UnsafeMutablePointer<Float>
    let meanLogSpend: UnsafeMutablePointer<Float>
    /// [groups of Calibration × (not bought, groups of Blend) × 3 × outputs]: what is added, factor on the heads, factor
    /// on the purchase process.
    private let coefficients: UnsafeMutablePointer<Float>
    let purchases: PurchaseForecast
    /// [cells] of the population's distribution of money, for value targets: P(any spend) and σ of log spend.
    let priorChance: UnsafeMutablePointer<Float>
    let priorSigma: UnsafeMutablePointer<Float>
    /// [value readings] of the levels of the intervals.
    let levels: UnsafeMutablePointer<Float>
    /// How far predictions rest on outcomes that were learned from, 0 to 1 (`Learner.evidence`).
    var evidence: Float = 0

    init(_ settings: EngineSettings) {
        self.settings = settings
        network = Network(settings.model)
        weights = .allocate(capacity: settings.model.count)
        weights.initialize(repeating: 0, count: settings.model.count)
        prior = .allocate(capacity: settings.targetTable.cells)
        prior.initialize(repeating: 0, count: settings.targetTable.cells)
        meanLogSpend = .allocate(capacity: settings.targetTable.cells)
        meanLogSpend.initialize(repeating: 0, count: settings.targetTable.cells)
        let count = Calibration.groups * (1 + Blend.groups) * 3 * settings.model.outputs
        coefficients = .allocate(capacity: count)
        coefficients.initialize(repeating: 0, count: count)
        purchases = PurchaseForecast(ends: settings.binEndDays)
        priorChance = .allocate(capacity: settings.targetTable.cells)
        priorChance.initialize(repeating: 0, count: settings.targetTable.cells)
        priorSigma = .allocate(capacity: settings.targetTable.cells)
        priorSigma.initialize(repeating: 1, count: settings.targetTable.cells)
        levels = .allocate(capacity: max(1, settings.valueReadings.count))
        levels.initialize(repeating: Float(SpendInterval.coverage), count: max(1, settings.valueReadings.count))
    }

    /// The weights that serve, as the layout table places them.
    var parameters: UnsafePointer<Float> { UnsafePointer(weights) }

    deinit {
        weights.deallocate()
        prior.deallocate()
        meanLogSpend.deallocate()
        coefficients.deallocate()
        priorChance.deallocate()
        priorSigma.deallocate()
        levels.deallocate()
    }

    func copy(_ parameters: UnsafePointer<Float>) {
        memcpy(weights, parameters, settings.model.count * MemoryLayout<Float>.stride)
    }

    /// One step of the recurrent state of `rows` users, in place.
    func step(_ s: Scratch, rows: Int) {
        network.recurrentStep(
            weights, rows: rows, indices: s.indices, numerics: s.numerics, state: s.state, workspace: s.workspace)
    }

    /// Predictions of `rows` users from their state and raw features, which become log-scaled on the way.
    func predict(_ s: Scratch, rows: Int) {
        SnapshotFeatures.finish(s.features, count: rows)
        let cells = settings.targetTable.cells
        guard version > 0 else {
            for r in 0..<rows { memcpy(s.predictions + r * cells, prior, cells * MemoryLayout<Float>.stride) }
            return
        }
        standardizer.apply(s.features, rows: rows, into: s.standard)
        network.headOutputs(
            weights, rows: rows, state: s.state, features: s.standard, outputs: s.outputs, workspace: s.workspace)
        let n = settings.model.outputs
        withUnsafeTemporaryAllocation(of: Float.self, capacity: n) { process in
            for r in 0..<rows {
                let features = s.features + r * SnapshotFeatures.count
                let bought = purchases.outputs(
                    features, settings.model, purchaseHeads: settings.purchaseHeads, meanLogSpend: meanLogSpend,
                    into: process.baseAddress!)
                let c = coefficients(of: features, bought: bought)
                let row = s.outputs + r * n
                if bought { subtractVariance(row, process.baseAddress!) }
                for o in 0..<n { row[o] = c[o] + c[n + o] * row[o] + c[2 * n + o] * process[o] }
            }
        }
        network.predict(rows: rows, outputs: s.outputs, meanLogSpend: meanLogSpend, predictions: s.predictions)
        if taughtBins < settings.targetTable.bins { extrapolate(s.predictions, rows: rows) }
    }

    /// The process tells the log of mean money; μ is less by half the variance that the heads see.
    @inline(__always)
    private func subtractVariance(_ row: UnsafePointer<Float>, _ process: UnsafeMutablePointer<Float>) {
        for (h, head) in settings.model.heads.enumerated() where head.kind == .value && settings.purchaseHeads[h] {
            for b in 0..<settings.model.bins {
                let o = settings.model.output(head: h, bin: b)
                process[o + 1] = Blend.mu(logMean: process[o + 1], sigma: Network.sigma(row[o + 2]))
            }
        }
    }

    /// - Parameter blend: of who has bought.
    @inline(__always)
    func coefficients(calibration: Int, blend: Int?) -> UnsafeMutablePointer<Float> {
        let row = calibration * (1 + Blend.groups) + (blend.map { 1 + $0 } ?? 0)
        return coefficients + row * 3 * settings.model.outputs
    }

    /// Those of a finished row of features.
    @inline(__always)
    private func coefficients(of features: UnsafePointer<Float>, bought: Bool) -> UnsafeMutablePointer<Float> {
        coefficients(calibration: Calibration.group(features), blend: bought ? Blend.group(features) : nil)
    }

    /// Bins that nothing has been learned of yet relate to the bin before as they do for the population: the same
    /// factor on money, the same factor on the cumulative hazard.
    private func extrapolate(_ predictions: UnsafeMutablePointer<Float>, rows: Int) {
        let cells = settings.targetTable.cells
        for rule in settings.rules {
            for bin in taughtBins..<settings.targetTable.bins {
                let cell = Int(rule.cell) + bin
                guard bin > 0 else {
                    for r in 0..<rows { predictions[r * cells + cell] = prior[cell] }
                    continue
                }
                let (now, before) = (prior[cell], prior[cell - 1])
                if rule.isValue {
                    let ratio = before > 0 ? now / before : 0
                    for r in 0..<rows { predictions[r * cells + cell] = ratio * predictions[r * cells + cell - 1] }
                } else {
                    let ratio = cumulative(now) / cumulative(before)
                    for r in 0..<rows {
                        let hazard = predictions[r * cells + cell - 1]
                        predictions[r * cells + cell] = -expm1f(-ratio * cumulative(hazard))
                    }
                }
            }
        }
    }

    /// Cumulative hazard of an event with a probability; finite and positive, also where that rounds to 0 or 1.
    @inline(__always)
    private func cumulative(_ probability: Float) -> Float { -log1pf(-max(1e-9, min(0.999_999, probability))) }

    // MARK: Confidence and intervals

    /// How far the predictions of a user rest on what was learned, and on the user's own past: 0 while population rates
    /// predict, then `evidence` times e / (e + 3) for a user of e events.
    @inline(__always)
    func confidence(events: UInt32) -> Float { version > 0 ? evidence * Float(events) / (Float(events) + 3) : 0 }

    /// The distributions of spend of a row that was predicted, in the order of `EngineSettings.valueReadings`. The
    /// heads give the chance and the σ of each bin, the prediction its mean, so that an interval belongs to what is said.
    /// - Parameters:
    ///   - predictions: [cells] of the row.
    ///   - outputs: of the heads, corrected; nil for a user who is like anybody.
    @inline(__always)
    func forEachDistribution(
        _ predictions: UnsafePointer<Float>, outputs: UnsafePointer<Float>?, _ body: (Int, SpendDistribution) -> Void
    ) {
        let outputs = version > 0 ? outputs : nil
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
                (chance, sigma) = spread(c, bin, outputs, before: (chance, sigma))
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

    /// Chance and σ of a bin. Bins that were not taught stand to the bin before as they do for the population.
    @inline(__always)
    private func spread(
        _ cell: Int, _ bin: Int, _ outputs: UnsafePointer<Float>?, before: (chance: Float, sigma: Float)
    ) -> (Float, Float) {
        guard let outputs, bin < taughtBins || bin > 0 else { return (priorChance[cell], priorSigma[cell]) }
        if bin < taughtBins {
            let o = outputs + settings.model.output(head: cell / settings.targetTable.bins, bin: bin)
            return (Network.logistic(o[0]), Network.sigma(o[2]))
        }
        let ratio = cumulative(priorChance[cell]) / cumulative(priorChance[cell - 1])
        return (-expm1f(-ratio * cumulative(before.chance)), before.sigma)
    }

    /// A feature that moved a prediction, with its value in the units of its definition.
    struct Factor {
        let name: String
        let value: Float
        /// Part of the log-odds of the probability: gradient × standardised value.
        let contribution: Float
    }

    /// The features that raise a probability most (gradient × input, a first-order attribution at the row).
    func factors(_ s: Scratch, row r: Int, reading: HorizonReading, count: Int) -> [Factor] {
        let f = SnapshotFeatures.count
        var outputWeights = [Float](repeating: 0, count: settings.model.outputs)
        let head = Int(reading.cell) / settings.targetTable.bins
        let features = s.features + r * f
        let bought = PurchaseProcess.History(features) != nil
        let correction = coefficients(of: features, bought: bought) + settings.model.outputs
        for b in 0..<Int(reading.bins) {
            // Absence rises as hazards fall; the other kinds rise with their logits.
            let o = settings.model.output(head: head, bin: b)
            outputWeights[o] = reading.kind == .absence ? -correction[o] : correction[o]
        }
        var gradient = [Float](repeating: 0, count: f)
        network.inputGradient(
            weights, state: s.state + r * settings.stateWidth, features: s.standard + r * f,
            outputWeights: outputWeights, dFeatures: &gradient)
        let contributions = (0..<f).map { gradient[$0] * s.standard[r * f + $0] }
        let top = contributions.indices.sorted {
            contributions[$0] != contributions[$1] ? contributions[$0] > contributions[$1] : $0 < $1
        }
        return top.prefix(count).filter { contributions[$0] > 0 }.map { i in
            Factor(
                name: SnapshotFeatures.definitions[i].name, value: s.features[r * f + i],
                contribution: contributions[i])
        }
    }
}
