import Glibc

/// All that the serving model takes from the learner at a position of learning. `ServingModel` swaps it in whole.
struct ServingParameters: ~Copyable {
    /// As `ModelLayout` places them.
    let weights: UnsafeMutablePointer<Float>
    private let weightCount: Int
    var standardizer = Standardizer(features: SnapshotFeatures.count)
    var amountMean: Float = 0
    var amountInverse: Float = 0
    /// Training steps behind the weights; 0 while population rates predict.
    var version: Int64 = 0
    /// The first so many bins have been taught; for later ones the weights are no better than random.
    var taughtBins = 0
    /// [cells] of a prediction for a user of whom nothing is known.
    let prior: UnsafeMutablePointer<Float>
    /// [cells] of the centres of log spend.
    let meanLogSpend: UnsafeMutablePointer<Float>
    /// [cells] of the population's distribution of money, for value targets: P(any spend) and σ of log spend.
    let priorChance: UnsafeMutablePointer<Float>
    let priorSigma: UnsafeMutablePointer<Float>
    let coefficients: CorrectionCoefficients
    let purchases: PurchaseForecast
    /// [value readings] of the levels of the intervals.
    let levels: UnsafeMutablePointer<Float>
    /// How far predictions rest on outcomes that were learned from, 0 to 1 (`Learner.evidence`).
    var evidence: Float = 0

    init(_ settings: EngineSettings) {
        func floats(_ count: Int, _ value: Float) -> UnsafeMutablePointer<Float> {
            let p = UnsafeMutablePointer<Float>.allocate(capacity: count)
            p.initialize(repeating: value, count: count)
            return p
        }
        let cells = settings.targetTable.cells
        weightCount = settings.model.count
        weights = floats(weightCount, 0)
        prior = floats(cells, 0)
        meanLogSpend = floats(cells, 0)
        priorChance = floats(cells, 0)
        priorSigma = floats(cells, 1)
        coefficients = CorrectionCoefficients(outputs: settings.model.outputs)
        purchases = PurchaseForecast(ends: settings.binEndDays)
        levels = floats(max(1, settings.valueReadings.count), Float(SpendInterval.coverage))
    }

    deinit { for p in [weights, prior, meanLogSpend, priorChance, priorSigma, levels] { p.deallocate() } }

    /// - Parameter source: weights as `ModelLayout` places them.
    func copy(weights source: UnsafePointer<Float>) {
        memcpy(weights, source, weightCount * MemoryLayout<Float>.stride)
    }
}
