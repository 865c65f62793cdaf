/// A kind of target. All that differs between kinds is said by its type in this folder (`TargetRules`); a new kind is a
/// new type, and its case in the table below.
typealias TargetKind = EngineConfiguration.Target.Kind

/// An event as the kind of a target sees it when it labels.
struct LabelEvent {
    /// Code of `EventType`.
    var type: UInt8
    /// Hash of its category; 0 for none.
    var category: UInt64
    /// What the event adds to the user's value, base currency; negative for a refund that is subtracted.
    var money: Float
    /// Whether no earlier line of the same order has counted for the target.
    var isNew: Bool
}

/// What a kind of target says of itself. A target has one head of the model; a head has `outputsPerBin` outputs for
/// every horizon bin, and labels, predictions and losses have `cellsPerBin` cells for every bin.
///
/// A kind with one number for each bin implements `SingleNumberTarget`, which brings some of it.
protocol TargetRules {
    /// What it predicts up to a horizon, for the documentation of settings: `P(no event)`.
    static var summary: String { get }

    // MARK: Layout
    static var outputsPerBin: Int { get }
    static var cellsPerBin: Int { get }
    /// Whether labels are money. Then there is one cell for each bin, the outputs of a bin are the logit of P(any), μ and
    /// raw σ of log spend, and predictions have intervals.
    static var isMoney: Bool { get }
    /// Whether the first output of a bin is the logit of P(the first label of the bin > 0), which outcomes correct
    /// (`HeadCorrection`). The outputs of other kinds serve as they are. True unless the kind says otherwise.
    static var isCorrected: Bool { get }
    /// Whether a target of these event types is about purchases alone, so that the purchase process knows its first
    /// output too. Only of kinds that are corrected; false unless the kind says otherwise.
    static func isOfPurchases(events: [String]) -> Bool
    /// First bias of the first output of a bin.
    static var initialBias: Float { get }

    // MARK: Labels and loss
    /// Adds an event that the target is about to the labels of its bin ([cellsPerBin]).
    static func add(_ event: LabelEvent, to labels: UnsafeMutablePointer<Float>)
    /// Whether the outcome of a bin teaches anything after those of the bins before it.
    /// - Parameter labels: [bins × cellsPerBin], the first `bin` bins known.
    static func isAtRisk(_ labels: UnsafePointer<Float>, bin: Int) -> Bool
    /// The same for the bins after one with these labels ([cellsPerBin]).
    static func isAtRisk(after labels: UnsafePointer<Float>) -> Bool
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
    /// The number that stands for the prediction up to a horizon, from those of its bins ([bins × cellsPerBin]).
    static func upToHorizon(_ cells: UnsafePointer<Float>, bins: Int) -> Float
    /// Sign of the prediction's change with the first output of a bin.
    static var sign: Float { get }

    // MARK: Population
    /// Prediction of a bin ([cellsPerBin]) for a user of whom nothing is known.
    /// - Parameter rates: [cellsPerBin].
    static func prior(_ rates: UnsafePointer<PopulationRates.Cell>, into cells: UnsafeMutablePointer<Float>)
    /// Prediction of the first bin before any outcome.
    static func firstPrior(into cells: UnsafeMutablePointer<Float>)
    /// Prediction of a bin that has not matured, `ratio` times as long as the bin before.
    /// - Parameter before: [cellsPerBin] of the bin before.
    static func prior(before: UnsafePointer<Float>, ratio: Float, into cells: UnsafeMutablePointer<Float>)

    // MARK: Scoring
    /// A prediction up to a horizon beside its outcome and the forecast by the user's own past alone.
    /// - Parameters:
    ///   - cells: [bins × cellsPerBin] of the prediction.
    ///   - labels: the same.
    static func sample(
        _ cells: UnsafePointer<Float>, labels: UnsafePointer<Float>, bins: Int,
        _ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float
    ) -> PrequentialWindow.Sample
    static func score(
        _ window: PrequentialWindow, _ prediction: KeyPath<PrequentialWindow.Sample, Float>
    ) -> PrequentialReport.Score

    // MARK: Encoding
    /// Name of the field of updates.
    static func field(_ name: String) -> String
    /// Whether updates hold its longest horizon alone, not one number a horizon.
    static var isPublishedAtLongestHorizonOnly: Bool { get }
    /// Appends what updates hold of a horizon as JSON: the number of `upToHorizon`, unless the kind says otherwise.
    /// - Parameter cells: [bins × cellsPerBin].
    static func write(_ cells: UnsafePointer<Float>, bins: Int, _ w: inout ByteWriter)
}

extension TargetRules {
    static var isCorrected: Bool { true }
    static func isOfPurchases(events: [String]) -> Bool { false }

    @inline(__always)
    static func write(_ cells: UnsafePointer<Float>, bins: Int, _ w: inout ByteWriter) {
        w.append(number: Double(upToHorizon(cells, bins: bins)))
    }
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

    /// What a target of the kind predicts up to a horizon, in a few words: `P(no event)`.
    public var summary: String { rules.summary }
}

/// What hot loops ask, by direct calls.
extension TargetKind {
    @inline(__always)
    var cellsPerBin: Int {
        switch self {
        case .value: ValueTarget.cellsPerBin
        case .occurrence: OccurrenceTarget.cellsPerBin
        case .absence: AbsenceTarget.cellsPerBin
        }
    }

    @inline(__always)
    var isCorrected: Bool {
        switch self {
        case .value: ValueTarget.isCorrected
        case .occurrence: OccurrenceTarget.isCorrected
        case .absence: AbsenceTarget.isCorrected
        }
    }

    @inline(__always)
    func add(_ event: LabelEvent, to labels: UnsafeMutablePointer<Float>) {
        switch self {
        case .value: ValueTarget.add(event, to: labels)
        case .occurrence: OccurrenceTarget.add(event, to: labels)
        case .absence: AbsenceTarget.add(event, to: labels)
        }
    }

    @inline(__always)
    func write(_ cells: UnsafePointer<Float>, bins: Int, _ w: inout ByteWriter) {
        switch self {
        case .value: ValueTarget.write(cells, bins: bins, &w)
        case .occurrence: OccurrenceTarget.write(cells, bins: bins, &w)
        case .absence: AbsenceTarget.write(cells, bins: bins, &w)
        }
    }

    @inline(__always)
    var isMoney: Bool {
        switch self {
        case .value: ValueTarget.isMoney
        case .occurrence: OccurrenceTarget.isMoney
        case .absence: AbsenceTarget.isMoney
        }
    }

    @inline(__always)
    func isAtRisk(after labels: UnsafePointer<Float>) -> Bool {
        switch self {
        case .value: ValueTarget.isAtRisk(after: labels)
        case .occurrence: OccurrenceTarget.isAtRisk(after: labels)
        case .absence: AbsenceTarget.isAtRisk(after: labels)
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
