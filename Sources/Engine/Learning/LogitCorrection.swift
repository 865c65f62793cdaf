import Glibc

/// Corrects the head outputs by the errors of the serving weights on landmarks that have just matured, before the
/// weights learn from these: weights follow a stream that changes, and labels that come late, only slowly. Each cell has
///
/// - an affine map of its logit (logistic regression of the outcome on the logit),
/// - for value cells one of μ (least squares of log spend on μ), and a factor on the expected money, actual / predicted.
///
/// All of it is Bayesian with forgetting in event time: the posterior fades into a prior at "no correction".
struct LogitCorrection: Codable, Equatable {
    /// Worth of the priors: information on intercept and slope of a logit, and spenders.
    static let interceptPrior = 4.0
    static let slopePrior = 20.0
    static let spenderPrior = 50.0
    fileprivate static let priorInformation = [interceptPrior, 0, slopePrior]

    /// Bounds of the corrections, so that a few strange outcomes cannot turn predictions upside down (chosen wide, not
    /// measured): intercept and slope of a logit, offset and factor of μ, and the factor on money.
    static let interceptBounds = -4.0...4.0
    static let slopeBounds = 0.25...2.0
    static let offsetBounds = -2.0...2.0
    static let amountFactorBounds = 0.25...1.5
    static let moneyBounds = 0.2...5.0
    /// Spread of μ among spenders, relative to their mean square, below which no line is fitted.
    static let leastSpread = 1e-6

    /// Users who act at the instant, and those who do not: models err in opposite directions on them, and the share of
    /// either kind among the instants is arbitrary.
    static let groups = 2

    @inline(__always)
    static func group(_ features: UnsafePointer<Float>) -> Int { features[SnapshotFeatures.recency] == 0 ? 0 : 1 }

    struct Cell: Codable, Equatable {
        /// logit → intercept + slope · logit, and the information behind it.
        var intercept = 0.0
        var slope = 1.0
        var information = priorInformation
        /// Faded sums over spenders: 1, μ, log spend, μ², μ · log spend.
        var sums = [0.0, 0, 0, 0, 0]
        /// Faded sums of money.
        var predicted = 0.0
        var actual = 0.0

        /// μ → offset + factor · μ.
        var amount: (offset: Double, factor: Double) {
            let k = spenderPrior
            let (n, x, y, xx, xy) = (sums[0] + k, sums[1], sums[2], sums[3] + k, sums[4] + k)
            let determinant = n * xx - x * x
            guard determinant > leastSpread * n * xx else { return (0, 1) }
            let factor = amountFactorBounds.clamp((n * xy - x * y) / determinant)
            return (offsetBounds.clamp((y - factor * x) / n), factor)
        }

        /// Factor on expected money; `money` is what a spender spends on average.
        func ratio(money: Double) -> Double {
            let prior = spenderPrior * money
            return prior > 0 ? moneyBounds.clamp((actual + prior) / (predicted + prior)) : 1
        }
    }

    private(set) var cells: [Cell]

    init(cells: Int) { self.cells = Array(repeating: Cell(), count: cells) }

    /// Whether a snapshot brought all that belongs together.
    var isWhole: Bool {
        cells.allSatisfy { $0.information.count == Self.priorInformation.count && $0.sums.count == Cell().sums.count }
    }

    /// Time passes; `keep` of what is known stays.
    mutating func fade(_ keep: Double) {
        for i in cells.indices {
            let old = cells[i]
            let faded = (0..<3).map { keep * old.information[$0] + (1 - keep) * Self.priorInformation[$0] }
            // Precision-weighted mean of what is known and the prior (0, 1).
            let right = (
                keep * (old.information[0] * old.intercept + old.information[1] * (old.slope - 1)),
                keep * (old.information[1] * old.intercept + old.information[2] * (old.slope - 1))
            )
            let shift = Self.solve(faded, right)
            cells[i].intercept = shift.0
            cells[i].slope = 1 + shift.1
            cells[i].information = faded
            for k in 0..<5 { cells[i].sums[k] *= keep }
            cells[i].predicted *= keep
            cells[i].actual *= keep
        }
    }

    /// How much of what is known counts on when the stream has changed.
    static let kept = 0.3

    /// The stream has changed: what is known stands, but has little weight beside what comes.
    mutating func loosen(cell i: Int, amounts: Bool) {
        if amounts {
            for k in cells[i].sums.indices { cells[i].sums[k] *= Self.kept }
        } else {
            for k in 0..<3 {
                cells[i].information[k] =
                    Self.kept * cells[i].information[k] + (1 - Self.kept) * Self.priorInformation[k]
            }
        }
        cells[i].predicted *= Self.kept
        cells[i].actual *= Self.kept
    }

    /// Logits and outcomes of one batch teach a cell's affine map: one Newton step.
    mutating func observe(cell i: Int, logits: [(x: Double, hit: Bool)]) {
        if logits.isEmpty { return }
        var cell = cells[i]
        var gradient = (0.0, 0.0)
        for (x, hit) in logits {
            let p = 1 / (1 + exp(-(cell.intercept + cell.slope * x)))
            let weight = p * (1 - p)
            cell.information[0] += weight
            cell.information[1] += weight * x
            cell.information[2] += weight * x * x
            gradient.0 += (hit ? 1 : 0) - p
            gradient.1 += ((hit ? 1 : 0) - p) * x
        }
        let step = Self.solve(cell.information, gradient)
        cell.intercept = Self.interceptBounds.clamp(cell.intercept + step.0)
        cell.slope = Self.slopeBounds.clamp(cell.slope + step.1)
        cells[i] = cell
    }

    /// - Parameters:
    ///   - mu: the head's μ.
    ///   - logSpend: log of the money less the centre of log spend.
    mutating func observe(cell i: Int, mu: Double, logSpend: Double) {
        for (k, x) in [1, mu, logSpend, mu * mu, mu * logSpend].enumerated() { cells[i].sums[k] += x }
    }

    mutating func observe(cell i: Int, predicted: Double, actual: Double) {
        cells[i].predicted += predicted
        cells[i].actual += actual
    }

    /// Solution of a symmetric system [a b; b c].
    private static func solve(_ m: [Double], _ r: (Double, Double)) -> (Double, Double) {
        let determinant = m[0] * m[2] - m[1] * m[1]
        return ((m[2] * r.0 - m[1] * r.1) / determinant, (m[0] * r.1 - m[1] * r.0) / determinant)
    }

    /// Coefficients of every output of the heads: what is added, and the factor on the heads.
    func write(_ layout: ModelLayout, rates: borrowing PopulationRates, into row: CorrectionCoefficients.Row) {
        for o in 0..<layout.outputs { (row.added[o], row.headFactor[o], row.processFactor[o]) = (0, 1, 0) }
        for (h, head) in layout.heads.enumerated() where head.kind.isCorrected {
            for b in 0..<layout.bins {
                let (cell, o) = (cells[layout.cell(head: h, bin: b)], layout.output(head: h, bin: b))
                (row.added[o], row.headFactor[o]) = (Float(cell.intercept), Float(cell.slope))
                guard head.kind.isMoney else { continue }
                let amount = cell.amount
                row.added[o + 1] = Float(
                    amount.offset + log(cell.ratio(money: rates.moneyPerHit(layout.cell(head: h, bin: b)))))
                row.headFactor[o + 1] = Float(amount.factor)
            }
        }
    }
}

extension ClosedRange<Double> {
    /// The nearest number in the range.
    @inline(__always)
    func clamp(_ x: Double) -> Double { Swift.max(lowerBound, Swift.min(upperBound, x)) }
}
