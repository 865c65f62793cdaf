import Glibc

/// Blends the heads with the purchase process, for users who have bought:
///
///     logit = (1 - share) · heads + share · process + season + shift
///     μ     = (1 - amountShare) · heads + amountShare · process + season + shift
///
/// The two err differently, so a weighted mean is better than either. The best weights differ between streams, so the
/// share is learned from outcomes. Season and shift say how much more or less all users buy and spend than is predicted:
/// a season comes and goes within weeks and counts less the further ahead a bin is, a shift stays. They are those of the
/// shortest bin, whose outcomes are known first. A share is learned together with the season and shift of its own cell.
/// So it depends on which of the two ranks users better. Which of them has the right level does not matter.
struct ProcessBlend: Codable, Equatable {
    /// Users without activity since their last purchase, of whom the process knows everything; and users with, of whom
    /// it does not know that.
    static let groups = 2

    /// - Parameter features: a finished row of snapshot features.
    @inline(__always)
    static func group(_ features: UnsafePointer<Float>) -> Int {
        features[SnapshotFeatures.purchaseRecency] > features[SnapshotFeatures.recency] + idle ? 1 : 0
    }
    /// log(1 + 1 h in days): what follows a purchase within the hour belongs to it.
    private static let idle: Float = 0.041

    /// Share of the process before there are outcomes.
    static let prior = [0.65, 0.25]
    /// Share of the process in μ.
    static let amountShare = 1.0
    /// Share, season and shift: variances without outcomes, and the days in which they go back to what they were then.
    static let chanceVariance = SIMD3(5e-5, 0.1, 0.002)
    static let amountVariance = SIMD3(0, 0.03, 0.006)
    static let days = SIMD3(360.0, 30, 360)
    /// Bounds of season and shift together, on the scale of a logit or a logarithm of money (chosen wide, not measured).
    static let levelBounds = -2.0...2.0
    /// Bounds of the dispersion of amounts, exp(σ²) - 1: the least, and the largest σ².
    static let leastDispersion = 0.25
    static let mostVariance = 3.0
    /// No user counts for more than so many standard deviations of money.
    static let mostDeviations = 4.0
    /// Variance that a drift of amounts adds to their shift. Chances have none: theirs drift with every season.
    static let jump = 0.25

    /// Mean and covariance of (share, season, shift), each an Ornstein–Uhlenbeck process in event time; outcomes are
    /// taken in one after the other, as an extended Kalman filter does.
    struct Filter: Codable, Equatable {
        var mean: SIMD3<Double>
        private(set) var covariance: [SIMD3<Double>]

        init(share: Double, variance: SIMD3<Double>) {
            mean = SIMD3(share, 0, 0)
            covariance = [SIMD3(variance.x, 0, 0), SIMD3(0, variance.y, 0), SIMD3(0, 0, variance.z)]
        }

        /// Time passes: `keep` of what is known stays, the rest is as without outcomes.
        mutating func fade(_ keep: SIMD3<Double>, share prior: Double, variance: SIMD3<Double>) {
            mean = SIMD3(prior, 0, 0) + keep * (mean - SIMD3(prior, 0, 0))
            for i in 0..<3 {
                covariance[i] *= keep * keep[i]
                covariance[i][i] += (1 - keep[i] * keep[i]) * variance[i]
            }
        }

        mutating func loosen() { covariance[2].z += ProcessBlend.jump }

        /// - Parameters:
        ///   - x: what the predicted value moves by with (share, season, shift).
        ///   - gradient: of the log-likelihood of one outcome by that value.
        ///   - information: of that outcome on it.
        mutating func observe(_ x: SIMD3<Double>, gradient: Double, information: Double) {
            let px = SIMD3((covariance[0] * x).sum(), (covariance[1] * x).sum(), (covariance[2] * x).sum())
            let scale = 1 / (1 + information * (px * x).sum())
            for i in 0..<3 { covariance[i] -= information * scale * px[i] * px }
            mean += scale * gradient * px
            mean.x = max(0, min(1, mean.x))
        }

        var isWhole: Bool { covariance.count == 3 }
        var share: Double { mean.x }
        var season: Double { mean.y }
        var shift: Double { mean.z }
    }

    /// A head and bin.
    struct Cell: Codable, Equatable {
        var chance: Filter
        var amount = Filter(share: ProcessBlend.amountShare, variance: ProcessBlend.amountVariance)
    }
    private(set) var cells: [Cell]
    /// Of `group(_:)`.
    let group: Int

    init(cells: Int, group: Int) {
        self.group = group
        let chance = Filter(share: Self.prior[group], variance: Self.chanceVariance)
        self.cells = Array(repeating: Cell(chance: chance), count: cells)
    }

    /// Whether a snapshot brought all that belongs together.
    var isWhole: Bool { cells.allSatisfy { $0.chance.isWhole && $0.amount.isWhole } }

    /// Time passes, in event time.
    mutating func advance(days: Double) {
        let passed = -max(0, days)
        let keep = SIMD3(exp(passed / Self.days.x), exp(passed / Self.days.y), exp(passed / Self.days.z))
        for i in cells.indices {
            cells[i].chance.fade(keep, share: Self.prior[group], variance: Self.chanceVariance)
            cells[i].amount.fade(keep, share: Self.amountShare, variance: Self.amountVariance)
        }
    }

    /// Amounts have changed: their shift may be another.
    mutating func loosenAmounts(cell i: Int) { cells[i].amount.loosen() }

    /// One outcome with the logits that stood before it.
    struct Sample {
        var heads: Double
        var process: Double
        /// Of value heads: μ of the two, σ and the money.
        var mu: (heads: Double, process: Double)
        var sigma: Double
        var label: Double
        var hit: Bool { label > 0 }
    }

    /// Outcomes of one batch teach a cell.
    mutating func observe(cell i: Int, _ samples: [Sample]) {
        for s in samples {
            let x = SIMD3(s.process - s.heads, 1, 1)
            let p = 1 / (1 + exp(-(s.heads + (cells[i].chance.mean * x).sum())))
            cells[i].chance.observe(x, gradient: (s.hit ? 1 : 0) - p, information: p * (1 - p))
        }
    }

    /// The money of the spenders among the same outcomes teaches a cell of a value head: the quasi-likelihood of a gamma
    /// distribution with the lognormal's coefficient of variation, so that the mean comes right and not its logarithm.
    mutating func observeAmounts(cell i: Int, _ samples: [Sample], meanLogSpend: Double) {
        for s in samples where s.hit {
            let x = SIMD3(s.mu.process - s.mu.heads, 1, 1)
            let variance = s.sigma * s.sigma
            let mean = exp(meanLogSpend + s.mu.heads + (cells[i].amount.mean * x).sum() + variance / 2)
            let dispersion = Self.dispersion(variance)
            let ratio = min(1 + Self.mostDeviations * dispersion.squareRoot(), Double(s.label) / mean)
            cells[i].amount.observe(x, gradient: (ratio - 1) / dispersion, information: 1 / dispersion)
        }
    }

    /// Of a lognormal, exp(σ²) - 1, within bounds.
    static func dispersion(_ variance: Double) -> Double {
        max(leastDispersion, exp(min(mostVariance, variance)) - 1)
    }

    /// μ of a lognormal whose log of the mean the process gives.
    @inline(__always)
    static func mu(logMean: Float, sigma: Float) -> Float { logMean - sigma * sigma / 2 }

    /// Coefficients of the outputs of purchase heads.
    /// - Parameter binEnds: days.
    func write(
        _ layout: ModelLayout, purchaseHeads: [Bool], binEnds: [Double], into row: CorrectionCoefficients.Row
    ) {
        for (h, head) in layout.heads.enumerated() where purchaseHeads[h] {
            let first = cells[layout.cell(head: h, bin: 0)]
            for b in 0..<layout.bins {
                // The season is that of the middle of the first bin, whose outcomes came in just now.
                let middle = ((b == 0 ? 0 : binEnds[b - 1]) + binEnds[b]) / 2
                let left = exp(-(binEnds[0] / 2 + middle) / Self.days.y)
                func set(_ o: Int, _ level: Filter, share: Double) {
                    row.added[o] = Float(Self.levelBounds.clamp(left * level.season + level.shift))
                    row.headFactor[o] = Float(1 - share)
                    row.processFactor[o] = Float(share)
                }
                let o = layout.output(head: h, bin: b)
                set(o, first.chance, share: cells[layout.cell(head: h, bin: b)].chance.share)
                if head.kind.isMoney { set(o + 1, first.amount, share: Self.amountShare) }
            }
        }
    }
}
