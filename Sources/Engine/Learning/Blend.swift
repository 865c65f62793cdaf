import Glibc

/// How much the purchase process counts beside the heads for who has bought: output = (1 - share) · heads + share ·
/// process, on logits and on μ. The two err differently, so a mean of them is better than either; which is better by
/// how much differs between streams, and their outcomes teach it (logistic regression of the outcome along the
/// difference of the two, Bayesian with forgetting in event time). There is no free intercept or slope: levels that move
/// with the season are known only when labels have matured, and following them that late makes matters worse.
struct Blend: Codable, Equatable {
    /// Prior of the share, and the information it is worth.
    static let prior = 0.65
    static let worth = 1000.0
    /// Share of the process in μ.
    static let amountShare = 0.75
    /// Spenders that no correction of the money is worth.
    static let spenderPrior = 4000.0
    /// How much slower than corrections of the heads all this forgets.
    static let patience = 6.0

    struct Cell: Codable, Equatable {
        var share = prior
        var information = worth
        /// Faded sums of money.
        var predicted = 0.0
        var actual = 0.0

        /// Factor on expected money; `money` is what a spender spends on average.
        func ratio(money: Double) -> Double {
            Calibration.ratio(actual: actual, predicted: predicted, prior: spenderPrior * money)
        }
    }
    private(set) var cells: [Cell]

    init(cells: Int) { self.cells = Array(repeating: Cell(), count: cells) }

    /// Time passes; of the corrections of the heads the share `heads` stays.
    mutating func fade(_ heads: Double) {
        let keep = pow(heads, 1 / Self.patience)
        for i in cells.indices {
            let known = keep * cells[i].information
            let information = known + (1 - keep) * Self.worth
            cells[i].share += (1 - keep) * Self.worth / information * (Self.prior - cells[i].share)
            cells[i].information = information
            cells[i].predicted *= keep
            cells[i].actual *= keep
        }
    }

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

    /// Outcomes of one batch teach a cell: one Newton step.
    mutating func observe(cell i: Int, _ samples: [Sample]) {
        var cell = cells[i]
        var gradient = 0.0
        for s in samples {
            let difference = s.process - s.heads
            let p = 1 / (1 + exp(-(s.heads + cell.share * difference)))
            cell.information += p * (1 - p) * difference * difference
            gradient += ((s.hit ? 1 : 0) - p) * difference
        }
        cell.share = max(0, min(1, cell.share + gradient / cell.information))
        cells[i] = cell
    }

    /// Money of the same outcomes, of a value head.
    mutating func observeMoney(cell i: Int, _ samples: [Sample], meanLogSpend: Double) {
        for s in samples {
            let p = 1 / (1 + exp(-(s.heads + cells[i].share * (s.process - s.heads))))
            let mu = s.mu.heads + Self.amountShare * (s.mu.process - s.mu.heads)
            let logMean = min(Double(Network.maximumLogMean), meanLogSpend + mu + s.sigma * s.sigma / 2)
            cells[i].predicted += p * exp(logMean)
            cells[i].actual += max(0, s.label)
        }
    }

    /// μ of a lognormal whose log of the mean the process gives.
    @inline(__always)
    static func mu(logMean: Float, sigma: Float) -> Float { logMean - sigma * sigma / 2 }

    /// Coefficients of the outputs of purchase heads, a row of `outputs` each: what is added, the factor on the heads,
    /// the factor on the process.
    func write(
        _ layout: ModelLayout, purchaseHeads: [Bool], ratio: (Int) -> Double,
        into coefficients: UnsafeMutablePointer<Float>
    ) {
        let n = layout.outputs
        func set(_ o: Int, _ offset: Double, _ share: Double) {
            coefficients[o] = Float(offset)
            coefficients[n + o] = Float(1 - share)
            coefficients[2 * n + o] = Float(share)
        }
        for (h, head) in layout.heads.enumerated() where purchaseHeads[h] {
            for b in 0..<layout.bins {
                let (cell, o) = (h * layout.bins + b, layout.output(head: h, bin: b))
                set(o, 0, cells[cell].share)
                if head.kind == .value { set(o + 1, log(ratio(cell)), Self.amountShare) }
            }
        }
    }
}
