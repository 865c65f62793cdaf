import Glibc

/// What shares three experts have in a forecast, learned from outcomes as they mature and before they teach:
/// `BaseForecast`; the network as `HeadCorrection` corrects it; and the network as it is, since corrections may bend its
/// order (chances only: its money explodes without any; and not purchases of who has bought, which are corrected by the
/// blend with the process, whose slope is 1). Their weights are exponential in their losses (Cesa-Bianchi &
/// Lugosi 2006), which fade. Shares are those of a group of customers and a cell, of chances and of amounts apart.
///
/// Logits are averaged with the shares as weights. The log-loss of such an average is never above the average of the
/// log-losses with the same weights (the normaliser of a geometric mean is at most 1). So the forecast loses no more than
/// the experts do on their weighted mean, and that follows the best one. An expert without outcomes sleeps: where the
/// network was not taught or nothing has matured, its share is 0.
///
/// The base's level is corrected too, and only its level, where it is a mere rate: an intercept of the logit and a factor
/// on money. Purchases of who has bought have a level already, that of the likelihood of all histories. Corrected by
/// outcomes that come late, it would run behind the seasons and bend the order over time.
struct ForecastShares: Codable, Equatable {
    /// Weight of a loss in the exponent. Outcomes overlap, so that they say less than as many independent ones would.
    static let rate = 0.05
    /// Days of event time after which a loss counts half. It also counts half once the network has taken twice the steps:
    /// then it is another one.
    static let halfLife = 120.0
    /// Log-odds of a network against the base before anything is known of it.
    static let prior = -2.0
    /// Shares below this are 0.
    static let least = 0.005
    /// Worth of the priors: information on the intercept of a logit, and spenders.
    static let interceptPrior = 4.0
    static let spenderPrior = 20.0
    static let levelBounds = -3.0...3.0

    struct Cell: Codable, Equatable {
        /// Outcomes of the cell, and those that the networks were awake at; they do not fade.
        var outcomes = 0.0
        var judged = 0.0
        var plainJudged = 0.0
        var spenders = 0.0
        /// Loss of the base less that of the network, corrected and as it is; faded sums.
        var gain = 0.0
        var plainGain = 0.0
        var amountGain = 0.0
        /// The base's level, and the information behind it.
        var level = 0.0
        var information = ForecastShares.interceptPrior
        /// Faded sums of money of spenders.
        var predicted = 0.0
        var actual = 0.0

        /// Of the network, corrected and as it is; the base has the rest.
        var shares: (corrected: Double, plain: Double) {
            let (a, b) = (ForecastShares.exponent(gain, judged), ForecastShares.exponent(plainGain, plainJudged))
            let most = max(0, a, b)
            var (base, corrected, plain) = (exp(-most), exp(a - most), exp(b - most))
            let least = ForecastShares.least * (base + corrected + plain)
            if base < least { base = 0 }
            if corrected < least { corrected = 0 }
            if plain < least { plain = 0 }
            let sum = base + corrected + plain
            return (corrected / sum, plain / sum)
        }
        var amountShare: Double {
            guard spenders > 0 else { return shares.corrected + shares.plain }
            let share = 1 / (1 + exp(-ForecastShares.exponent(amountGain, spenders)))
            return share < ForecastShares.least ? 0 : share > 1 - ForecastShares.least ? 1 : share
        }

        /// log of actual / predicted money of spenders, drawn to 0.
        var amountLevel: Double {
            let n = max(1, outcomesOfMoney)
            let prior = ForecastShares.spenderPrior * predicted / n
            return predicted > 0 ? ForecastShares.levelBounds.clamp(log((actual + prior) / (predicted + prior))) : 0
        }
        /// Faded number of spenders.
        var outcomesOfMoney = 0.0
    }

    private static func exponent(_ gain: Double, _ judged: Double) -> Double {
        judged > 0 ? prior + rate * gain : -.infinity
    }

    /// [groups][cells]
    private(set) var groups: [[Cell]]
    private var steps = 0.0

    init(groups: Int, cells: Int) {
        self.groups = Array(repeating: Array(repeating: Cell(), count: cells), count: groups)
    }

    /// Where the network alone answers, as in the state of versions that knew no shares.
    static func all(groups: Int, cells: Int) -> ForecastShares {
        var shares = ForecastShares(groups: groups, cells: cells)
        for g in 0..<groups {
            for c in 0..<cells {
                shares.groups[g][c].judged = 1
                shares.groups[g][c].gain = 500
            }
        }
        return shares
    }

    func isWhole(groups n: Int, cells: Int) -> Bool {
        groups.count == n
            && groups.allSatisfy {
                $0.count == cells
                    && $0.allSatisfy { c in
                        [
                            c.outcomes, c.judged, c.plainJudged, c.spenders, c.gain, c.plainGain, c.amountGain, c.level,
                            c.predicted, c.actual, c.outcomesOfMoney,
                        ].allSatisfy(\.isFinite) && c.information > 0 && c.information.isFinite
                    }
            } && steps.isFinite
    }

    /// Time passes, in event time, and the network has taken steps.
    /// - Parameters:
    ///   - keep: of what is known of levels.
    ///   - steps: of the weights that serve.
    mutating func advance(days: Double, keep: Double, steps now: Double) {
        let grown = steps > 0 && now > steps ? steps / now : 1
        steps = max(steps, now)
        let fade = exp2(-max(0, days) / Self.halfLife) * grown
        for g in groups.indices {
            for i in groups[g].indices {
                var c = groups[g][i]
                c.gain *= fade
                c.plainGain *= fade
                c.amountGain *= fade
                let information = keep * c.information + (1 - keep) * Self.interceptPrior
                c.level *= keep * c.information / information
                c.information = information
                c.predicted *= keep
                c.actual *= keep
                c.outcomesOfMoney *= keep
                groups[g][i] = c
            }
        }
    }

    /// One outcome and what was forecast before it.
    struct Sample {
        /// Logits of the base, its level not added, and of the network, corrected and as it is; nil while it sleeps.
        var base: Double
        var network: Double?
        var plain: Double?
        /// Of value heads: log of the mean money of who buys.
        var amount: (base: Double, network: Double?) = (0, nil)
        var variance = 0.0
        var label: Double
    }

    /// - Parameters:
    ///   - corrects: whether the base's levels follow too.
    ///   - before: the cell of the bin before, whose level stands in where nothing has matured.
    mutating func observe(
        group g: Int, cell i: Int, before: Int?, _ samples: [Sample], isMoney: Bool, corrects: Bool
    ) {
        guard !samples.isEmpty else { return }
        var c = groups[g][i]
        if c.outcomes == 0, let before { c.level = groups[g][before].level }
        let (level, amountLevel) = (c.level, c.amountLevel)
        for s in samples {
            let hit = s.label > 0
            let base = s.base + c.level
            c.outcomes += 1
            let lost = Self.loss(s.base + level, hit)
            if let network = s.network {
                c.judged += 1
                c.gain += lost - Self.loss(network, hit)
            }
            if let plain = s.plain {
                c.plainJudged += 1
                c.plainGain += lost - Self.loss(plain, hit)
            }
            if corrects {
                let p = 1 / (1 + exp(-base))
                c.information += p * (1 - p)
                c.level = Self.levelBounds.clamp(c.level + ((hit ? 1 : 0) - p) / c.information)
            }
            guard isMoney, hit else { continue }
            let dispersion = ProcessBlend.dispersion(s.variance)
            func ratio(_ logMean: Double) -> Double {
                min(1 + ProcessBlend.mostDeviations * dispersion.squareRoot(), s.label / exp(logMean))
            }
            if let network = s.amount.network {
                c.spenders += 1
                let mine = s.amount.base + amountLevel
                c.amountGain += (mine + ratio(mine) - network - ratio(network)) / dispersion
            }
            guard corrects else { continue }
            c.predicted += exp(s.amount.base)
            c.actual += exp(s.amount.base) * ratio(s.amount.base)
            c.outcomesOfMoney += 1
        }
        groups[g][i] = c
    }

    private static func loss(_ logit: Double, _ hit: Bool) -> Double {
        let x = hit ? -logit : logit
        return x > 30 ? x : log1p(exp(x))
    }

    /// Mean share of the network, corrected or as it is, in chances, over outcomes.
    var networkShare: Double {
        var (sum, weight) = (0.0, 0.0)
        for cell in groups.joined() {
            let shares = cell.shares
            sum += cell.outcomes * (shares.corrected + shares.plain)
            weight += cell.outcomes
        }
        return weight > 0 ? sum / weight : 0
    }

    /// Weighs the coefficients of a row, which are those of the corrected network, by the shares.
    func write(_ layout: ModelLayout, group g: Int, into row: CorrectionCoefficients.Row) {
        for (h, head) in layout.heads.enumerated() where head.kind.isCorrected {
            var (level, amountLevel) = (0.0, 0.0)
            for b in 0..<layout.bins {
                let (c, o) = (groups[g][layout.cell(head: h, bin: b)], layout.output(head: h, bin: b))
                if c.outcomes > 0 { level = c.level }
                if c.outcomesOfMoney > 0 { amountLevel = c.amountLevel }
                let shares = c.shares
                weigh(row, o, shares, level: level)
                guard head.kind.isMoney else { continue }
                weigh(row, o + 1, (c.amountShare, 0), level: amountLevel)
                weigh(row, o + 2, (shares.corrected + shares.plain, 0), level: 0)
            }
        }
    }

    private func weigh(
        _ row: CorrectionCoefficients.Row, _ o: Int, _ shares: (corrected: Double, plain: Double), level: Double
    ) {
        let (corrected, plain) = (Float(shares.corrected), Float(shares.plain))
        let base = Float(1 - shares.corrected - shares.plain)
        row.added[o] = corrected * row.added[o] + base * Float(level)
        row.headFactor[o] = corrected * row.headFactor[o] + plain
        row.processFactor[o] = corrected * row.processFactor[o] + base
    }
}
