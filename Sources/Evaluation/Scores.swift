import Foundation

/// How forecasts of money and of a purchase fared.
package struct Scores: Encodable, Equatable {
    /// Gini of the money in the order of the forecasts, over that of the perfect order.
    package var gini = Double.nan
    /// Rank correlation of expected and actual money.
    package var spearman = Double.nan
    package var mae = Double.nan
    /// Area under the ROC curve of P(purchase).
    package var auc = Double.nan
    /// Nats; probabilities are held within 1e-6 of 0 and 1.
    package var logLoss = Double.nan
    /// Sum forecast / sum actual.
    package var bias = Double.nan

    package struct Metric {
        package let name: String
        package let title: String
        package let decimals: Int
        package let value: any KeyPath<Scores, Double> & Sendable
        /// What is to be small.
        let badness: @Sendable (Double) -> Double
    }

    /// All of them, in the order of tables.
    package static let metrics: [Metric] = [
        Metric(name: "gini", title: "Gini", decimals: 4, value: \.gini, badness: { -$0 }),
        Metric(name: "spearman", title: "Spearman", decimals: 4, value: \.spearman, badness: { -$0 }),
        Metric(name: "mae", title: "MAE", decimals: 3, value: \.mae, badness: { $0 }),
        Metric(name: "auc", title: "AUC", decimals: 4, value: \.auc, badness: { -$0 }),
        Metric(name: "log_loss", title: "log-loss", decimals: 4, value: \.logLoss, badness: { $0 }),
        Metric(name: "bias", title: "bias", decimals: 3, value: \.bias, badness: { abs($0 - 1) }),
    ]
}

/// What came of the landmarks of one horizon, ordered once for any number of resamplings of the users.
final class ScoredOutcomes {
    let users: Int
    fileprivate let user: [Int32]
    fileprivate let money: [Double]
    fileprivate let bought: [Bool]
    /// Landmarks by money, the most first; and where runs of equal money end.
    fileprivate let order: [Int32]
    fileprivate let runs: [Int32]

    /// - Parameter users: users are numbers below it.
    init(users: Int, user: [Int32], money: [Double], bought: [Bool]) {
        (self.users, self.user, self.money, self.bought) = (users, user, money, bought)
        order = ScoredForecasts.descending(money)
        runs = ScoredForecasts.runs(order.map { money[Int($0)] })
    }

    var count: Int { money.count }

    /// Weighted mid-rank of every landmark by money; `ranks` has one place each.
    func rank(_ weights: [UInt8], into ranks: inout [Float]) {
        var before = 0.0
        var i = 0
        for end in runs {
            var weight = 0.0
            for k in i..<Int(end) { weight += Double(weights[Int(user[Int(order[k])])]) }
            let rank = Float(before + (weight + 1) / 2)
            for k in i..<Int(end) { ranks[Int(order[k])] = rank }
            before += weight
            i = Int(end)
        }
    }
}

/// One model's forecasts for the landmarks of `ScoredOutcomes`, ordered once.
final class ScoredForecasts {
    private let outcomes: ScoredOutcomes
    /// Landmarks by expected money and by probability, the most first, with the ends of runs of equals.
    private let byValue: [Int32]
    private let valueRuns: [Int32]
    private let byChance: [Int32]
    private let chanceRuns: [Int32]
    /// Sums over the landmarks of each user.
    private var landmarks: [Double]
    private var error: [Double]
    private var loss: [Double]
    private var forecast: [Double]
    private var actual: [Double]

    init(_ outcomes: ScoredOutcomes, expected: [Double], probability: [Double]) {
        self.outcomes = outcomes
        byValue = Self.descending(expected)
        valueRuns = Self.runs(byValue.map { expected[Int($0)] })
        byChance = Self.descending(probability)
        chanceRuns = Self.runs(byChance.map { probability[Int($0)] })
        let zeros = [Double](repeating: 0, count: outcomes.users)
        (landmarks, error, loss, forecast, actual) = (zeros, zeros, zeros, zeros, zeros)
        for i in 0..<outcomes.count {
            let u = Int(outcomes.user[i])
            let q = min(1 - 1e-6, max(1e-6, probability[i]))
            landmarks[u] += 1
            error[u] += abs(outcomes.money[i] - expected[i])
            loss[u] -= log(outcomes.bought[i] ? q : 1 - q)
            forecast[u] += expected[i]
            actual[u] += outcomes.money[i]
        }
    }

    /// Indices by value, the largest first, equal ones in their order.
    fileprivate static func descending(_ values: [Double]) -> [Int32] {
        values.indices.sorted { values[$0] != values[$1] ? values[$0] > values[$1] : $0 < $1 }.map { Int32($0) }
    }

    /// Ends of the runs of equal values.
    fileprivate static func runs(_ sorted: [Double]) -> [Int32] {
        sorted.indices.filter { $0 + 1 == sorted.count || sorted[$0] != sorted[$0 + 1] }.map { Int32($0 + 1) }
    }

    /// Scores when each user counts as many times as `weights` says.
    func scores(_ weights: [UInt8]) -> Scores {
        var ranks = [Float](repeating: 0, count: outcomes.count)
        outcomes.rank(weights, into: &ranks)
        return scores(weights, ranks: ranks, perfect: perfectGini(weights))
    }

    func scores(_ weights: [UInt8], ranks: [Float], perfect: Double) -> Scores {
        var s = Scores()
        var (n, e, l, f, a) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for u in 0..<outcomes.users where weights[u] > 0 {
            let w = Double(weights[u])
            n += w * landmarks[u]
            e += w * error[u]
            l += w * loss[u]
            f += w * forecast[u]
            a += w * actual[u]
        }
        guard n > 0 else { return s }
        s.mae = e / n
        s.logLoss = l / n
        s.bias = f / a
        s.gini = gini(weights, byValue) / perfect
        s.auc = auc(weights)
        s.spearman = spearman(weights, ranks, n)
        return s
    }

    /// Gini of the money in an order; a landmark that counts w times stands w times in a row.
    private func gini(_ weights: [UInt8], _ order: [Int32]) -> Double {
        var (cumulative, area, n) = (0.0, 0.0, 0.0)
        for i in order {
            let w = Double(weights[Int(outcomes.user[Int(i)])])
            let y = outcomes.money[Int(i)]
            area += w * cumulative + y * w * (w + 1) / 2
            cumulative += w * y
            n += w
        }
        return (area / cumulative - (n + 1) / 2) / n
    }

    /// Gini of the perfect order.
    func perfectGini(_ weights: [UInt8]) -> Double { gini(weights, outcomes.order) }

    private func auc(_ weights: [UInt8]) -> Double {
        // Pairs that are in the right order, equals a half: from the most probable down.
        var (hits, misses, right) = (0.0, 0.0, 0.0)
        var i = 0
        for end in chanceRuns {
            var (h, m) = (0.0, 0.0)
            for k in i..<Int(end) {
                let at = Int(byChance[k])
                let w = Double(weights[Int(outcomes.user[at])])
                if outcomes.bought[at] { h += w } else { m += w }
            }
            right += m * (hits + h / 2)
            hits += h
            misses += m
            i = Int(end)
        }
        return right / (hits * misses)
    }

    private func spearman(_ weights: [UInt8], _ ranks: [Float], _ n: Double) -> Double {
        let mean = (n + 1) / 2
        var (before, xx, xy, yy) = (0.0, 0.0, 0.0, 0.0)
        var i = 0
        for end in valueRuns {
            var (weight, sum) = (0.0, 0.0)
            for k in i..<Int(end) {
                let at = Int(byValue[k])
                let w = Double(weights[Int(outcomes.user[at])])
                let y = Double(ranks[at]) - mean
                weight += w
                sum += w * y
                yy += w * y * y
            }
            let x = before + (weight + 1) / 2 - mean
            xx += weight * x * x
            xy += x * sum
            before += weight
            i = Int(end)
        }
        return xy / (xx * yy).squareRoot()
    }
}
