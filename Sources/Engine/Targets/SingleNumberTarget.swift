/// A kind with one number for each bin: one label, to which its events add, and one prediction. The outcome up to a
/// horizon follows from the sum of the labels.
protocol SingleNumberTarget: TargetRules {
    /// Prediction of a bin for a user of whom nothing is known.
    static func prior(_ rate: PopulationRates.Cell) -> Float
    /// Prediction of the first bin before any outcome.
    static var firstPrior: Float { get }
    /// Prediction of a bin that has not matured, `ratio` times as long as the bin before.
    static func prior(before: Float, ratio: Float) -> Float
    /// Outcome up to a horizon from the sum of the labels of its bins.
    static func outcome(total: Float) -> Float
    /// Forecast by the user's own past alone.
    static func naive(_ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float) -> Float
}

extension SingleNumberTarget {
    static var cellsPerBin: Int { 1 }

    static func prior(_ rates: UnsafePointer<PopulationRates.Cell>, into cells: UnsafeMutablePointer<Float>) {
        cells[0] = prior(rates[0])
    }
    static func firstPrior(into cells: UnsafeMutablePointer<Float>) { cells[0] = firstPrior }
    static func prior(before: UnsafePointer<Float>, ratio: Float, into cells: UnsafeMutablePointer<Float>) {
        cells[0] = prior(before: before[0], ratio: ratio)
    }

    static func sample(
        _ cells: UnsafePointer<Float>, labels: UnsafePointer<Float>, bins: Int,
        _ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float
    ) -> PrequentialWindow.Sample {
        var total: Float = 0
        for b in 0..<bins { total += labels[b] }
        return PrequentialWindow.Sample(
            prediction: upToHorizon(cells, bins: bins), naive: naive(h, ofAnyEvent: ofAnyEvent, days: days),
            label: outcome(total: total))
    }
}
