/// The levels at which intervals are cut, so that what matures lies in them as often as it should: adaptive conformal
/// inference (Gibbs & Candès 2021, arXiv 2106.00170). A level moves a little down when an outcome was covered and up
/// when not. It looks at what the level of now would have made of the outcome, not at the one of weeks ago, else the
/// delay of labels would make it swing.
struct IntervalLevels: Codable, Equatable {
    /// Step of a level at an outcome: what matured is forgotten over some 1 / rate landmarks.
    static let rate = 0.002
    static let range = 0.3...0.99

    /// One for each of `EngineSettings.valueReadings`.
    private(set) var values: [Double]

    init(count: Int) { values = Array(repeating: SpendInterval.coverage, count: count) }

    mutating func observe(_ i: Int, _ distribution: SpendDistribution, outcome y: Double) {
        let covered = distribution.coverage(of: y, level: values[i])
        let next = values[i] + Self.rate * (SpendInterval.coverage - covered)
        values[i] = min(Self.range.upperBound, max(Self.range.lowerBound, next))
    }
}
