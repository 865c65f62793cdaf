/// A kind of target. All that differs between kinds is said by its type in this folder (`TargetRules`); a new kind is a
/// new type, and its case in the table below.
typealias TargetKind = EngineConfiguration.Target.Kind

/// What a kind of target says of itself. A target has one head of the model; a head has `outputsPerBin` outputs for
/// every horizon bin, and labels, predictions and losses have `cellsPerBin` cells for every bin.
protocol TargetRules {
    // MARK: Layout
    static var outputsPerBin: Int { get }
    static var cellsPerBin: Int { get }
    /// Whether labels are money. Then the outputs of a bin are the logit of P(any), μ and raw σ of log spend, and
    /// predictions have intervals. Else the first output of a bin is the logit of a probability.
    static var isMoney: Bool { get }
    /// First bias of the first output of a bin.
    static var initialBias: Float { get }

    // MARK: Labels and loss
    /// Whether the outcome of a bin teaches anything after those of the bins before it.
    /// - Parameter labels: [cells of the target], the first `bin` of them known.
    static func isAtRisk(_ labels: UnsafePointer<Float>, bin: Int) -> Bool
    /// The same for the bins after one with a label.
    static func isAtRisk(after label: Float) -> Bool
    /// Loss of one bin; writes its gradient by the outputs, times `scale` and `weight`.
    /// - Parameters:
    ///   - o: [outputsPerBin].
    ///   - labels: [cellsPerBin].
    ///   - mean: centre of log spend.
    ///   - gradient: [outputsPerBin], or nil.
    static func loss(
        _ o: UnsafePointer<Float>, labels: UnsafePointer<Float>, mean: Float, scale: Float, weight: Float,
        gradient: UnsafeMutablePointer<Float>?
    ) -> Float

    // MARK: Prediction
    /// Prediction of one bin: from [outputsPerBin] to [cellsPerBin].
    static func predict(_ o: UnsafePointer<Float>, mean: Float, into cells: UnsafeMutablePointer<Float>)
    /// Prediction up to a horizon from those of its bins ([bins × cellsPerBin]).
    static func upToHorizon(_ cells: UnsafePointer<Float>, bins: Int) -> Float
    /// A bin that was not taught, from the bin before.
    /// - Parameters:
    ///   - row: [bins × cellsPerBin] of predictions of a user at that bin; the bin before is at -cellsPerBin.
    ///   - prior: the same of the population.
    static func extrapolate(_ row: UnsafeMutablePointer<Float>, prior: UnsafePointer<Float>)
    /// Sign of the prediction's change with the first output of a bin.
    static var sign: Float { get }

    // MARK: Population
    /// Prediction of a bin for a user of whom nothing is known.
    static func prior(_ cell: PopulationRates.Cell) -> Float
    /// Prediction of the first bin before any outcome.
    static var firstPrior: Float { get }
    /// Prediction of a bin that has not matured, `ratio` times as long as the bin before.
    static func prior(before: Float, ratio: Float) -> Float

    // MARK: Scoring
    /// Outcome up to a horizon from the sum of the labels of its bins.
    static func outcome(total: Float) -> Float
    /// Forecast by the user's own past alone.
    static func naive(_ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float) -> Float
    static func score(
        _ window: PrequentialWindow, _ prediction: KeyPath<PrequentialWindow.Sample, Float>
    ) -> PrequentialReport.Score

    // MARK: Encoding
    /// Name of the field of updates.
    static func field(_ name: String) -> String
    /// Whether updates hold its longest horizon alone, not one number a horizon.
    static var isPublishedAtLongestHorizonOnly: Bool { get }
}

extension TargetKind {
    /// The table of kinds.
    var rules: any TargetRules.Type {
        switch self {
        case .value: ValueTarget.self
        case .occurrence: OccurrenceTarget.self
        case .absence: AbsenceTarget.self
        }
    }
}

/// What hot loops ask, by direct calls.
extension TargetKind {
    @inline(__always)
    var isMoney: Bool {
        switch self {
        case .value: ValueTarget.isMoney
        case .occurrence: OccurrenceTarget.isMoney
        case .absence: AbsenceTarget.isMoney
        }
    }

    @inline(__always)
    func isAtRisk(after label: Float) -> Bool {
        switch self {
        case .value: ValueTarget.isAtRisk(after: label)
        case .occurrence: OccurrenceTarget.isAtRisk(after: label)
        case .absence: AbsenceTarget.isAtRisk(after: label)
        }
    }

    @inline(__always)
    func isAtRisk(_ labels: UnsafePointer<Float>, bin: Int) -> Bool {
        switch self {
        case .value: ValueTarget.isAtRisk(labels, bin: bin)
        case .occurrence: OccurrenceTarget.isAtRisk(labels, bin: bin)
        case .absence: AbsenceTarget.isAtRisk(labels, bin: bin)
        }
    }

    @inline(__always)
    func loss(
        _ o: UnsafePointer<Float>, labels: UnsafePointer<Float>, mean: Float, scale: Float, weight: Float,
        gradient: UnsafeMutablePointer<Float>?
    ) -> Float {
        switch self {
        case .value:
            ValueTarget.loss(o, labels: labels, mean: mean, scale: scale, weight: weight, gradient: gradient)
        case .occurrence:
            OccurrenceTarget.loss(o, labels: labels, mean: mean, scale: scale, weight: weight, gradient: gradient)
        case .absence:
            AbsenceTarget.loss(o, labels: labels, mean: mean, scale: scale, weight: weight, gradient: gradient)
        }
    }

    @inline(__always)
    func predict(_ o: UnsafePointer<Float>, mean: Float, into cells: UnsafeMutablePointer<Float>) {
        switch self {
        case .value: ValueTarget.predict(o, mean: mean, into: cells)
        case .occurrence: OccurrenceTarget.predict(o, mean: mean, into: cells)
        case .absence: AbsenceTarget.predict(o, mean: mean, into: cells)
        }
    }

    @inline(__always)
    func upToHorizon(_ cells: UnsafePointer<Float>, bins: Int) -> Float {
        switch self {
        case .value: ValueTarget.upToHorizon(cells, bins: bins)
        case .occurrence: OccurrenceTarget.upToHorizon(cells, bins: bins)
        case .absence: AbsenceTarget.upToHorizon(cells, bins: bins)
        }
    }
}
