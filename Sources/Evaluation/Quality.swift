import Foundation

/// What forecasts are good for, in the words of those who use them.
package struct Quality: Encodable {
    /// Of one horizon, over the landmarks whose outcome is known.
    package struct Money: Encodable {
        package var horizonDays: Double
        package var landmarks: Int
        /// By model, clvd among them.
        package var models: [String: Order]
        /// Share of the money that the tenth of the landmarks with the most brought: nobody can name a better one.
        package var bestTenthShare: Double
    }

    package struct Order: Encodable {
        /// Share of the money that the tenth of the landmarks with the highest forecasts brought.
        package var topTenthShare: Double
        /// Rank correlation of expected and actual money among those who bought; nil when there are too few.
        package var spearmanBuyers: Double?
    }

    /// Of the probability that nothing comes any more within the horizon.
    package struct Churn: Encodable {
        package var horizonDays: Double
        package var landmarks: Int
        /// Share of the landmarks after which nothing came.
        package var gone: Double
        package var auc: Double?
        package var logLoss: Double
        /// Of the tenth of the landmarks that were named first, the share after which nothing came.
        package var precisionAtTenth: Double
        /// How many that are.
        package var tenth: Int
    }

    package var money: [Money]
    package var churn: Churn?

    package init(_ evaluation: Evaluation, _ baselines: Baselines?) throws {
        let (forecasts, log) = (evaluation.forecasts, evaluation.log)
        money = []
        for (h, days) in forecasts.horizons.enumerated() {
            let outcomes = forecasts.outcomes(h, log)
            guard outcomes.contains(where: { $0.money > 0 }) else { continue }
            let spent = outcomes.map(\.money)
            var models = [Comparison.own: Self.order(outcomes, outcomes.map { Double($0.forecast.expected) })]
            for name in baselines?.models ?? [] {
                let said = try outcomes.map {
                    try baselines?.forecast(name, landmark: Int($0.forecast.landmark), days: days).expected ?? 0
                }
                models[name] = Self.order(outcomes, said.map(Double.init))
            }
            money.append(
                Money(
                    horizonDays: days, landmarks: outcomes.count, models: models,
                    bestTenthShare: Self.topTenthShare(spent, by: spent)))
        }
        churn = Self.churn(forecasts, log)
    }

    private static func order(_ outcomes: [Forecasts.Outcome], _ expected: [Double]) -> Order {
        let buyers = outcomes.indices.filter { outcomes[$0].purchases > 0 }
        let spearman = scores(buyers.map { outcomes[$0].money }, buyers.map { expected[$0] }).spearman
        return Order(
            topTenthShare: topTenthShare(outcomes.map(\.money), by: expected),
            spearmanBuyers: spearman.isFinite ? spearman : nil)
    }

    private static func scores(_ money: [Double], _ expected: [Double]) -> Scores {
        let scored = ScoredOutcomes(
            users: money.count, user: money.indices.map { Int32($0) }, money: money, bought: money.map { $0 > 0 })
        return ScoredForecasts(scored, expected: expected, probability: expected.map { _ in 0.5 })
            .scores([UInt8](repeating: 1, count: money.count))
    }

    static func tenth(_ count: Int) -> Int { max(1, (count + 5) / 10) }

    /// Share of a sum that the tenth with the highest keys has. Of equals at its edge, each counts in part.
    static func topTenthShare(_ values: [Double], by keys: [Double]) -> Double {
        let total = values.reduce(0, +)
        let order = keys.indices.sorted { keys[$0] > keys[$1] }
        var room = Double(tenth(keys.count))
        var (sum, i) = (0.0, 0)
        while i < order.count, room > 0 {
            var (j, run) = (i, 0.0)
            while j < order.count, keys[order[j]] == keys[order[i]] {
                run += values[order[j]]
                j += 1
            }
            let taken = min(1, room / Double(j - i))
            sum += run * taken
            room -= Double(j - i) * taken
            i = j
        }
        // The last digit of two sums in different order.
        return min(1, sum / total)
    }

    static func churn(_ forecasts: Forecasts, _ log: EventLog) -> Churn? {
        guard let days = forecasts.churnDays else { return nil }
        let length = Int64((days * 86_400_000).rounded())
        let rows = forecasts.churn.filter { row in
            row.timeMs + length <= log.lastMs && (log.users[Int(row.user)].events.first ?? .max) <= row.timeMs
        }
        guard !rows.isEmpty else { return nil }
        let gone = rows.map { row in
            let events = log.users[Int(row.user)].events
            return EventLog.after(events, row.timeMs + length) == EventLog.after(events, row.timeMs)
        }
        let said = rows.map { Double($0.probability) }
        let scored = ScoredOutcomes(
            users: rows.count, user: rows.indices.map { Int32($0) }, money: said.map { _ in 0 }, bought: gone)
        let s = ScoredForecasts(scored, expected: said.map { _ in 0 }, probability: said)
            .scores([UInt8](repeating: 1, count: rows.count))
        let count = Double(gone.count { $0 })
        let named = count == 0 ? 0 : topTenthShare(gone.map { $0 ? 1 : 0 }, by: said) * count
        return Churn(
            horizonDays: days, landmarks: rows.count, gone: count / Double(rows.count),
            auc: s.auc.isFinite ? s.auc : nil, logLoss: s.logLoss,
            precisionAtTenth: named / Double(tenth(rows.count)), tenth: tenth(rows.count))
    }
}
