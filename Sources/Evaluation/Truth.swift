import Engine
import EventInput
import Foundation

/// What is true of simulated users, as `clvd simulate` writes it.
package struct TruthFile {
    package struct User {
        var churnMs: Int64
        var purchasesPerDay: Double
        var churnPerDay: Double
        var meanOrderValue: Double
        /// With and without a purchase; 0: not known.
        var visitsPerDay = 0.0
        /// Whether visits are a Poisson process until the customer leaves.
        var isPoisson = true

        /// Money expected in the days after an instant by one who knows all but chance.
        package func expected(at timeMs: Int64, days: Double) -> Double {
            guard timeMs < churnMs else { return 0 }
            let alive = churnPerDay > 1e-12 ? -expm1(-churnPerDay * days) / churnPerDay : days
            return purchasesPerDay * meanOrderValue * alive
        }

        var hasPoissonVisits: Bool { isPoisson && visitsPerDay > 0 }

        /// Days without a visit after which the odds that the customer has left are as high as this. Death comes at
        /// rate m, visits at rate v: P(left) / P(there) = m / (v + m) (exp((v + m) t) - 1).
        package func silence(odds: Double) -> Double {
            let all = visitsPerDay + churnPerDay
            return log1p(odds * all / churnPerDay) / all
        }
    }
    package private(set) var users: [String: User] = [:]

    /// - Throws: `InputError` with the row that cannot be used.
    package init(path: String) throws {
        try TableFile.read(
            path,
            columns: ["user_id", "churn_ms", "purchase_rate_per_day", "churn_rate_per_day", "mean_order_value"],
            optional: ["visit_rate_per_day", "law"], need: "the truth needs"
        ) { fields in
            guard let churn = Int64(fields[1]), let rate = Double(fields[2]), let churnRate = Double(fields[3]),
                let value = Double(fields[4])
            else { throw TableFile.RowProblem("churn_ms and the rates are numbers") }
            users[fields[0]] = User(
                churnMs: churn, purchasesPerDay: rate, churnPerDay: churnRate, meanOrderValue: value,
                visitsPerDay: Double(fields[5]) ?? 0, isPoisson: fields[6].isEmpty || fields[6] == "poisson")
        }
    }
}

/// Forecasts against the truth, beside the customer's own rate drawn on.
package struct TruthReport: Encodable {
    package struct Correlation: Encodable {
        package var horizonDays: Double
        package var landmarks: Int
        /// Of expected and truly expected money.
        package var pearson: Double
        package var spearman: Double
        /// The same of the customer's own rate drawn on.
        package var ownRatePearson: Double
        package var ownRateSpearman: Double
    }

    package var correlations: [Correlation]

    private static let dayMs: Int64 = 86_400_000

    package init(_ evaluation: Evaluation, _ truth: TruthFile) {
        let log = evaluation.log
        let known = log.users.map { truth.users[$0.id] }
        // Of other laws the truth has no more than mean rates.
        guard truth.users.values.allSatisfy(\.isPoisson) else {
            correlations = []
            return
        }
        correlations = evaluation.forecasts.horizons.indices.compactMap {
            Self.correlation(evaluation.forecasts, $0, log, known)
        }
    }

    // MARK: Value

    private static func correlation(
        _ forecasts: Forecasts, _ horizon: Int, _ log: EventLog, _ known: [TruthFile.User?]
    ) -> Correlation? {
        let days = forecasts.horizons[horizon]
        var (said, own, real) = ([Double](), [Double](), [Double]())
        for row in forecasts.rows where Int(row.horizon) == horizon && row.fromModel {
            guard let user = known[Int(row.user)], let first = log.users[Int(row.user)].events.first else { continue }
            let u = log.users[Int(row.user)]
            let bought = EventLog.after(u.purchases, row.timeMs)
            let tenure = Double(row.timeMs - first) / Double(dayMs) + 14
            said.append(Double(row.expected))
            own.append((bought > 0 ? u.spent[bought - 1] : 0) / tenure * days)
            real.append(user.expected(at: row.timeMs, days: days))
        }
        guard said.count > 1 else { return nil }
        let ranks = Self.ranks(real)
        return Correlation(
            horizonDays: days, landmarks: said.count, pearson: pearson(said, real),
            spearman: pearson(Self.ranks(said), ranks), ownRatePearson: pearson(own, real),
            ownRateSpearman: pearson(Self.ranks(own), ranks))
    }

    private static func pearson(_ x: [Double], _ y: [Double]) -> Double {
        let n = Double(x.count)
        let (mx, my) = (x.reduce(0, +) / n, y.reduce(0, +) / n)
        var (xx, xy, yy) = (0.0, 0.0, 0.0)
        for (a, b) in zip(x, y) {
            xx += (a - mx) * (a - mx)
            xy += (a - mx) * (b - my)
            yy += (b - my) * (b - my)
        }
        return xy / (xx * yy).squareRoot()
    }

    private static func ranks(_ x: [Double]) -> [Double] {
        let order = x.indices.sorted { x[$0] < x[$1] }
        var ranks = [Double](repeating: 0, count: x.count)
        var i = 0
        while i < order.count {
            var j = i
            while j < order.count && x[order[j]] == x[order[i]] { j += 1 }
            for k in i..<j { ranks[order[k]] = Double(i + j + 1) / 2 }
            i = j
        }
        return ranks
    }
}
