import CEventParser
import Engine
import Foundation

/// How alike the forecasts and alerts are of runs over the same events whose partitions interleave differently.
package struct Likeness: Encodable {
    package struct Spread: Encodable {
        package var p50: Double
        package var p90: Double
        package var p99: Double
        package var max: Double

        init(_ values: [Float]) {
            let sorted = values.sorted()
            func quantile(_ q: Double) -> Double {
                sorted.isEmpty ? 0 : Double(sorted[min(sorted.count - 1, Int(q * Double(sorted.count)))])
            }
            (p50, p90, p99, max) = (quantile(0.5), quantile(0.9), quantile(0.99), quantile(1))
        }
    }

    /// Forecasts after a share of the records, over all customers and pairs of runs.
    package struct Instant: Encodable {
        package var share: Double
        package var customers: Int
        /// |ln(expected money / that of the other run)|.
        package var money: Spread
        /// |churn probability - that of the other run|.
        package var churn: Spread
        /// Of the expected money of two runs, the least over pairs.
        package var spearman: Double
        /// Mean expected money and mean churn probability, least and most over runs.
        package var meanMoney: [Double]
        package var meanChurn: [Double]
    }

    package var runs: Int
    package var records: Int
    package var instants: [Instant]
    /// Alerts raised, of each run.
    package var alerts: [Int]
    /// Alerts of one customer and day that two runs share, over those of either: mean and least over pairs.
    package var alertOverlap: [Double]
    /// Mean over runs of how the forecasts fared, by target, horizon and metric.
    package var scores: [String: Double]

    package init(_ runs: [LikenessRun], records: Int) {
        let pairs = runs.indices.flatMap { a in runs.indices[(a + 1)...].map { (runs[a], runs[$0]) } }
        self.runs = runs.count
        self.records = records
        alerts = runs.map(\.alerts.count)
        let overlaps = pairs.map { a, b in
            a.alerts.isEmpty && b.alerts.isEmpty
                ? 1 : Double(a.alerts.intersection(b.alerts).count) / Double(a.alerts.union(b.alerts).count)
        }
        alertOverlap = [overlaps.reduce(0, +) / Double(max(1, overlaps.count)), overlaps.min() ?? 1]
        scores = runs[0].scores.keys.reduce(into: [:]) { means, key in
            means[key] = runs.reduce(0) { $0 + ($1.scores[key] ?? .nan) } / Double(runs.count)
        }
        instants = runs[0].forecasts.indices.map { i in Self.instant(runs.map { $0.forecasts[i] }) }
    }

    private static func instant(_ runs: [LikenessRun.Forecasts]) -> Instant {
        let n = runs[0].money.count
        let pairs = runs.indices.flatMap { a in runs.indices[(a + 1)...].map { (runs[a], runs[$0]) } }
        let least: Float = 0.01
        let money = pairs.flatMap { a, b in (0..<n).map { abs(log(max(least, a.money[$0]) / max(least, b.money[$0]))) }
        }
        let churn = pairs.flatMap { a, b in (0..<n).map { abs(a.churn[$0] - b.churn[$0]) } }
        let orders = runs.map { ranks($0.money) }
        let correlations = orders.indices.flatMap { a in
            orders.indices[(a + 1)...].map { correlation(orders[a], orders[$0]) }
        }
        let means = runs.map { $0.money.reduce(0) { $0 + Double($1) } / Double(max(1, n)) }
        let churns = runs.map { $0.churn.reduce(0) { $0 + Double($1) } / Double(max(1, n)) }
        return Instant(
            share: runs[0].share, customers: n, money: Spread(money), churn: Spread(churn),
            spearman: correlations.min() ?? 1, meanMoney: [means.min()!, means.max()!],
            meanChurn: [churns.min()!, churns.max()!])
    }

    /// Mid-ranks.
    private static func ranks(_ values: [Float]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var i = 0
        while i < order.count {
            var j = i
            while j < order.count && values[order[j]] == values[order[i]] { j += 1 }
            for k in i..<j { ranks[order[k]] = Double(i + j - 1) / 2 }
            i = j
        }
        return ranks
    }

    private static func correlation(_ a: [Double], _ b: [Double]) -> Double {
        let mean = Double(a.count - 1) / 2
        var (ab, aa, bb) = (0.0, 0.0, 0.0)
        for i in a.indices {
            ab += (a[i] - mean) * (b[i] - mean)
            aa += (a[i] - mean) * (a[i] - mean)
            bb += (b[i] - mean) * (b[i] - mean)
        }
        return aa > 0 && bb > 0 ? ab / (aa * bb).squareRoot() : 1
    }
}

/// One run over all events.
package struct LikenessRun {
    struct Forecasts {
        var share: Double
        var money: [Float]
        var churn: [Float]
    }
    struct Alert: Hashable {
        var user: String
        var day: Int64
    }
    var forecasts: [Forecasts] = []
    var alerts: Set<Alert> = []
    var scores: [String: Double] = [:]

    /// - Parameters:
    ///   - shares: of the records, ascending, after which every customer known by then is asked about. All records up
    ///     to there have come in every run.
    ///   - engine: a fresh one without partitions.
    package init(_ input: PartitionedEvents, _ interleaving: Interleaving, engine: Engine, shares: [Double]) {
        for p in 0..<input.partitions { engine.addTask(TaskID(topic: 0, partition: Int32(p))) }
        let (money, churn) = Self.items(engine.configuration)
        let query = engine.query([money, churn])
        var from = 0
        for share in shares {
            let end = Int(share * Double(input.count))
            let order = interleaving.order(input, from..<end)
            for at in stride(from: 0, to: order.count, by: 4096) {
                let batch = order[at..<min(order.count, at + 4096)].map { input.events[$0] }
                batch.withUnsafeBufferPointer { engine.step($0) }
                take(engine)
            }
            from = end
            let now = input.events[end - 1].time_ms
            let answers = query.answer(input.users[..<input.known[end - 1]].map { (key: $0, timeMs: now) })
            forecasts.append(
                Forecasts(
                    share: share, money: stride(from: 0, to: answers.count, by: 2).map { answers[$0] },
                    churn: stride(from: 1, to: answers.count, by: 2).map { answers[$0] }))
        }
        for report in engine.report().prequential {
            let name = "\(report.target) \(Int(report.horizonDays)) d"
            for (metric, value) in [
                ("gini", report.model.gini), ("mae", report.model.mae), ("auc", report.model.auc),
                ("log-loss", report.model.logLoss), ("bias", report.model.bias),
            ] {
                if let value { scores["\(name) \(metric)"] = value }
            }
        }
        scores["steps"] = Double(engine.report(prequential: false).learning.steps)
        scores["drifts"] = Double(engine.report(prequential: false).learning.drifts)
        scores["early stops"] = Double(engine.report(prequential: false).learning.earlyStops)
    }

    private static func items(_ configuration: EngineConfiguration) -> (Query.Item, Query.Item) {
        func item(_ name: String) -> Query.Item {
            guard let target = configuration.targets.first(where: { $0.name == name }) else {
                preconditionFailure("no target \(name)")
            }
            return Query.Item(target: name, horizonDays: target.horizonsDays.last!)
        }
        return (item(configuration.segments.target), item(configuration.alerts.target))
    }

    private mutating func take(_ engine: Engine) {
        engine.forEachOutput { entry in
            guard entry.kind == .alert, let alert = AlertRecord(Data(entry.value)), alert.state == "raised" else {
                return
            }
            alerts.insert(Alert(user: alert.userId, day: alert.atMs / 86_400_000))
        }
    }
}
