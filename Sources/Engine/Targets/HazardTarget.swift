import Glibc

/// What occurrence and absence have in common: a discrete-time hazard per bin (discrete-time survival; Gensheimer &
/// Narasimhan 2019). The output of a bin is the logit of P(event in the bin | none in earlier bins); the loss is the
/// cross-entropy of an event in the bin, for rows without one in earlier bins.
protocol HazardTarget: SingleNumberTarget {}

extension HazardTarget {
    static var outputsPerBin: Int { 1 }
    static var isMoney: Bool { false }
    static var initialBias: Float { -1 }
    static func isOfPurchases(events: [String]) -> Bool { events == [EventType.purchase.name] }

    /// An order counts once, with its first line that the target is about.
    @inline(__always)
    static func add(_ event: LabelEvent, to labels: UnsafeMutablePointer<Float>) {
        if event.isNew { labels[0] += 1 }
    }

    /// After an event there is nothing more to learn.
    @inline(__always)
    static func isAtRisk(_ labels: UnsafePointer<Float>, bin: Int) -> Bool {
        for b in 0..<bin where labels[b] > 0 { return false }
        return true
    }
    @inline(__always)
    static func isAtRisk(after labels: UnsafePointer<Float>) -> Bool { !(labels[0] > 0) }

    @inline(__always)
    static func loss(
        _ o: UnsafePointer<Float>, labels: UnsafePointer<Float>, mean: Float, scale: Float, weight: Float,
        gradient: UnsafeMutablePointer<Float>?
    ) -> Float {
        let y: Float = labels[0] > 0 ? 1 : 0
        let loss = Losses.crossEntropy(o[0], y)
        if let gradient { gradient[0] = (Network.logistic(o[0]) - y) * scale * weight }
        return loss
    }

    /// The hazard.
    @inline(__always)
    static func predict(_ o: UnsafePointer<Float>, mean: Float, into cells: UnsafeMutablePointer<Float>) {
        cells[0] = Network.logistic(o[0])
    }

    /// P(no event up to the horizon).
    @inline(__always)
    static func survival(_ cells: UnsafePointer<Float>, bins: Int) -> Float {
        var survival: Float = 1
        for b in 0..<bins { survival *= 1 - cells[b] }
        return survival
    }

    /// Hits of those at risk, with a tenth of five landmarks beside them.
    static func prior(_ rate: PopulationRates.Cell) -> Float { Float((rate.hits + 0.5) / (rate.atRisk + 5)) }
    static var firstPrior: Float { 0.1 }
    static func prior(before: Float, ratio: Float) -> Float { 1 - powf(1 - before, ratio) }

    static func score(
        _ window: PrequentialWindow, _ prediction: KeyPath<PrequentialWindow.Sample, Float>
    ) -> PrequentialReport.Score { window.probabilityScore(prediction) }

    static func field(_ name: String) -> String { "\(name)_probability" }
}

enum Hazard {
    /// Cumulative hazard of an event with a probability; finite and positive, also where that rounds to 0 or 1.
    @inline(__always)
    static func cumulative(_ probability: Float) -> Float { -log1pf(-max(1e-9, min(0.999_999, probability))) }

    /// Events a day in the user's own past: of any type, or orders.
    @inline(__always)
    static func naiveRate(_ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool) -> Float {
        ofAnyEvent ? h.pointee.naiveEventsPerDay : h.pointee.naiveOrdersPerDay
    }
}
