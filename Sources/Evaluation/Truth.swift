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

        /// Money expected in the days after an instant by one who knows all but chance.
        package func expected(at timeMs: Int64, days: Double) -> Double {
            guard timeMs < churnMs else { return 0 }
            let alive = churnPerDay > 1e-12 ? -expm1(-churnPerDay * days) / churnPerDay : days
            return purchasesPerDay * meanOrderValue * alive
        }
    }
    package private(set) var users: [String: User] = [:]

    /// - Throws: `InputError` with the row that cannot be used.
    package init(path: String) throws {
        try TableFile.read(
            path,
            columns: ["user_id", "churn_ms", "purchase_rate_per_day", "churn_rate_per_day", "mean_order_value"],
            need: "the truth needs"
        ) { fields in
            guard let churn = Int64(fields[1]), let rate = Double(fields[2]), let churnRate = Double(fields[3]),
                let value = Double(fields[4])
            else { throw TableFile.RowProblem("churn_ms and the rates are numbers") }
            users[fields[0]] = User(
                churnMs: churn, purchasesPerDay: rate, churnPerDay: churnRate, meanOrderValue: value)
        }
    }
}

/// Forecasts and alerts against the truth, beside what the time since the last visit alone gives.
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

    /// How alerts fared. A rule of silence has its one number chosen so that it raises as many alerts as the model.
    package struct Alerts: Encodable {
        package var rule: String
        package var raised: Int
        /// Share of the alerts whose customer had left by then.
        package var precision: Double?
        /// Share of the customers who left, and had 60 days to be noticed, with an alert standing after it.
        package var recall: Double?
        /// Days from leaving to the alert, over those who were noticed.
        package var medianDelayDays: Double?
    }
    package var correlations: [Correlation]
    /// Customers who bought and left in time.
    package var churned: Int
    package var alerts: [Alerts]

    private static let dayMs: Int64 = 86_400_000
    private static let settleDays: Int64 = 60

    /// An alert of a user, and until when it stands.
    private struct Raised {
        var atMs: Int64
        var untilMs: Int64
    }

    package init(_ evaluation: Evaluation, _ truth: TruthFile) {
        let log = evaluation.log
        let known = log.users.map { truth.users[$0.id] }
        correlations = evaluation.forecasts.horizons.indices.compactMap {
            Self.correlation(evaluation.forecasts, $0, log, known)
        }
        let from = evaluation.servesFromMs ?? .max
        let leavers = log.users.indices.filter { i in
            guard let user = known[i], let first = log.users[i].purchases.first else { return false }
            return user.churnMs >= max(from, first) && user.churnMs < log.lastMs - Self.settleDays * Self.dayMs
        }
        churned = leavers.count
        let model = Self.standing(evaluation.alerts, users: log.users.count)
        let raised = model.reduce(0) { $0 + $1.count }
        let gaps = Self.usualGaps(log)
        func judge(_ rule: String, _ alerts: [[Raised]]) -> Alerts { Self.judge(rule, alerts, leavers, known) }
        alerts = [judge("clvd", model)]
        guard raised > 0 else { return }
        let fixed = Self.match(raised, 0.5...400) { Self.silences(log, from: from, days: { $0.number }, $0) }
        alerts.append(judge("silent for \(Self.text(fixed.number)) days", fixed.alerts))
        let usual = Self.match(raised, 0.1...400) { number in
            Self.silences(log, from: from, days: { gaps[$0.user][$0.event] * $0.number }, number)
        }
        alerts.append(judge("silent for \(Self.text(usual.number)) usual gaps", usual.alerts))
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

    // MARK: Alerts

    /// The model's alerts by user.
    private static func standing(_ alerts: [Evaluation.Alert], users: Int) -> [[Raised]] {
        var all = [[Raised]](repeating: [], count: users)
        for alert in alerts {
            let u = Int(alert.user)
            if alert.isRaised {
                all[u].append(Raised(atMs: alert.atMs, untilMs: .max))
            } else if !all[u].isEmpty {
                all[u][all[u].count - 1].untilMs = alert.atMs
            }
        }
        return all
    }

    private static func judge(
        _ rule: String, _ alerts: [[Raised]], _ leavers: [Int], _ known: [TruthFile.User?]
    ) -> Alerts {
        var result = Alerts(rule: rule, raised: 0)
        var right = 0
        for (u, mine) in alerts.enumerated() {
            guard let churn = known[u]?.churnMs else { continue }
            result.raised += mine.count
            right += mine.count { $0.atMs >= churn }
        }
        if result.raised > 0 { result.precision = Double(right) / Double(result.raised) }
        var delays: [Double] = []
        for u in leavers {
            guard let churn = known[u]?.churnMs, let first = alerts[u].first(where: { $0.untilMs > churn }) else {
                continue
            }
            delays.append(Double(max(0, first.atMs - churn)) / Double(dayMs))
        }
        guard !leavers.isEmpty else { return result }
        result.recall = Double(delays.count) / Double(leavers.count)
        delays.sort()
        if !delays.isEmpty { result.medianDelayDays = delays[delays.count / 2] }
        return result
    }

    /// A silence that a rule looks at: after which event of whom, and the rule's number.
    private struct Silence {
        package var user: Int
        package var event: Int
        package var number: Double
    }

    /// Alerts of a rule: a customer who bought raises one when no event came for so many days, until the next comes.
    private static func silences(
        _ log: EventLog, from: Int64, days: (Silence) -> Double, _ number: Double
    ) -> [[Raised]] {
        log.users.indices.map { u in
            let user = log.users[u]
            guard let first = user.purchases.first else { return [] }
            return user.events.indices.compactMap { e in
                guard user.events[e] >= first else { return nil }
                let silent = days(Silence(user: u, event: e, number: number))
                let next = e + 1 < user.events.count ? user.events[e + 1] : log.lastMs
                let at = max(from, user.events[e] + Int64(min(silent, 1e5) * Double(dayMs)))
                guard at < next else { return nil }
                return Raised(atMs: at, untilMs: e + 1 < user.events.count ? next : .max)
            }
        }
    }

    /// Days between the days on which a user came, so far, at each event; with one gap of everybody's mean beside them.
    private static func usualGaps(_ log: EventLog) -> [[Double]] {
        func day(_ t: Int64) -> Int64 { t / dayMs }
        var (days, count) = (0.0, 0.0)
        var all: [[(span: Double, gaps: Double)]] = []
        for user in log.users {
            var gaps = 0.0
            var mine: [(Double, Double)] = []
            for (e, t) in user.events.enumerated() {
                if e > 0, day(t) > day(user.events[e - 1]) { gaps += 1 }
                mine.append((Double(day(t) - day(user.events[0])), gaps))
            }
            days += mine.last?.0 ?? 0
            count += gaps
            all.append(mine)
        }
        let usual = count > 0 ? days / count : 7
        return all.map { $0.map { ($0.span + usual) / ($0.gaps + 1) } }
    }

    /// The number for which a rule raises as many alerts as it shall: the more, the fewer alerts.
    private static func match(
        _ wanted: Int, _ range: ClosedRange<Double>, _ alerts: (Double) -> [[Raised]]
    ) -> (number: Double, alerts: [[Raised]]) {
        var (low, high) = (range.lowerBound, range.upperBound)
        for _ in 0..<30 {
            let middle = (low * high).squareRoot()
            if alerts(middle).reduce(0, { $0 + $1.count }) > wanted { low = middle } else { high = middle }
        }
        return (high, alerts(high))
    }

    private static func text(_ x: Double) -> String { String(format: "%.1f", x) }
}
