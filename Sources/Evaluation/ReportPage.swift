import Engine
import Foundation
import Terminal

/// A page with charts of an evaluation: one file, no scripts, nothing from elsewhere, for light and dark screens.
package struct ReportPage {
    private let evaluation: Evaluation
    private let result: EvaluationResult
    private let events: String

    package init(_ evaluation: Evaluation, _ result: EvaluationResult, events: String) {
        (self.evaluation, self.result, self.events) = (evaluation, result, events)
    }

    /// - Parameter folder: made when missing.
    package func write(to folder: String) throws {
        let url = URL(filePath: folder)
        do {
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            try html.write(to: url.appending(path: "index.html"), atomically: true, encoding: .utf8)
        } catch {
            throw EvaluationError("\(folder): cannot write the report (\(error.localizedDescription))")
        }
    }

    // MARK: Page

    package var html: String {
        let s = result.summary
        var page = """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>clvd: evaluation of \(Chart.escape(URL(filePath: events).lastPathComponent))</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <main>
            <h1>Evaluation of \(Chart.escape(URL(filePath: events).lastPathComponent))</h1>
            <p>\(Human.count(s.events)) events of \(Human.count(Int64(s.users))) customers;
            \(Human.count(Int64(s.landmarks))) landmarks, each forecast before its outcome was known;
            \(Human.count(s.learningSteps)) learning steps.</p>

            """
        for (h, days) in evaluation.forecasts.horizons.enumerated() {
            let outcomes = evaluation.forecasts.outcomes(h, evaluation.log).filter(\.forecast.fromModel)
            guard outcomes.contains(where: { $0.money > 0 }) else { continue }
            page += section(days, outcomes)
        }
        return page + drifts + "</main>\n</body>\n</html>\n"
    }

    private func section(_ days: Double, _ outcomes: [Forecasts.Outcome]) -> String {
        let name = "\(Human.days(days)) days"
        let periods = Period.split(outcomes)
        return """
            <section>
            <h2>\(name)</h2>
            <p>\(Human.count(Int64(outcomes.count))) landmarks with a known outcome. 80 % intervals:
            coverage \(number(coverage(outcomes))), outcomes between the bounds \(number(inside(outcomes))).</p>
            <div class="charts">
            \(gains(outcomes, name))
            \(calibration(
                outcomes, title: "Purchase: said and happened, \(name)", x: "said", y: "happened",
                said: { Double($0.forecast.probability) }, real: { $0.purchases > 0 ? 1 : 0 }))
            \(calibration(
                outcomes, title: "Money: said and spent, \(name)", x: "expected", y: "spent",
                said: { Double($0.forecast.expected) }, real: { $0.money }))
            \(overTime(periods, "Gini and AUC over time, \(name)", [("Gini", \.gini), ("AUC", \.auc)]))
            \(overTime(periods, "Bias over time (1 is right), \(name)", [("said / spent", \.bias)], reference: 1))
            \(overTime(
                periods, "Coverage of the 80 % intervals over time, \(name)", [("coverage", \.coverage)], reference: 0.8,
                range: 0.5...1))
            </div>
            </section>

            """
    }

    private var drifts: String {
        let alarms = result.summary.drifts
        var text = "<section>\n<h2>Drift</h2>\n"
        if alarms.isEmpty { return text + "<p>No drift of the stream was noticed.</p>\n</section>\n" }
        text += "<p>Dashed lines in the charts over time.</p>\n<table><caption>Drifts that learning noticed</caption>\n"
        text += "<tr><th>event time</th><th>target</th><th>excess loss</th><th>usual</th></tr>\n"
        for a in alarms {
            let name = a.target + (a.part.map { " (\($0))" } ?? "")
            text += "<tr><td>\(Chart.day(Double(a.timeMs)))</td><td>\(Chart.escape(name))</td>"
            text += "<td>\(number(a.excess))</td><td>\(number(a.usual))</td></tr>\n"
        }
        return text + "</table>\n</section>\n"
    }

    private func number(_ x: Double) -> String { Human.number(x, decimals: 3) }

    private func coverage(_ outcomes: [Forecasts.Outcome]) -> Double {
        outcomes.reduce(0) { $0 + $1.forecast.interval.coverage(of: $1.money) } / Double(outcomes.count)
    }

    private func inside(_ outcomes: [Forecasts.Outcome]) -> Double {
        Double(outcomes.count { $0.forecast.interval.isInside($0.money) }) / Double(outcomes.count)
    }

    // MARK: Charts

    /// Share of the money that the customers expected to spend most bring.
    private func gains(_ outcomes: [Forecasts.Outcome], _ name: String) -> String {
        func curve(_ key: (Forecasts.Outcome) -> Double) -> [(Double, Double)] {
            let keys = outcomes.map(key)
            let order = keys.indices.sorted { keys[$0] != keys[$1] ? keys[$0] > keys[$1] : $0 < $1 }
            let total = outcomes.reduce(0) { $0 + $1.money }
            var points = [(0.0, 0.0)]
            var sum = 0.0
            for (i, at) in order.enumerated() {
                sum += outcomes[at].money
                if (i + 1) * 60 / order.count != i * 60 / order.count {
                    points.append((Double(i + 1) / Double(order.count), sum / total))
                }
            }
            return points
        }
        var chart = Chart(
            title: "Cumulative gains, \(name)", x: "share of landmarks, most expected first", y: "share of the money")
        (chart.xRange, chart.yRange, chart.isShare) = (0...1, 0...1, true)
        chart.series = [
            .init(name: "clvd", points: curve { Double($0.forecast.expected) }),
            .init(name: "perfect", points: curve(\.money)),
            .init(name: "chance", points: [(0, 0), (1, 1)], isFaint: true),
        ]
        return chart.svg
    }

    /// Mean said against mean real over ten groups of equal size, by what was said.
    private func calibration(
        _ outcomes: [Forecasts.Outcome], title: String, x: String, y: String, said: (Forecasts.Outcome) -> Double,
        real: (Forecasts.Outcome) -> Double
    ) -> String {
        let sorted = outcomes.sorted { said($0) < said($1) }
        let points: [(Double, Double)] = (0..<10).compactMap { g in
            let part = sorted[g * sorted.count / 10..<(g + 1) * sorted.count / 10]
            guard !part.isEmpty else { return nil }
            let n = Double(part.count)
            return (part.reduce(0) { $0 + said($1) } / n, part.reduce(0) { $0 + real($1) } / n)
        }
        let most = max(1e-9, points.map { max($0.0, $0.1) }.max() ?? 1)
        var chart = Chart(title: title, x: x, y: y)
        (chart.xRange, chart.yRange) = (0...most, 0...most)
        chart.series = [
            .init(name: "tenths of the landmarks", points: points, hasDots: true),
            .init(name: "right", points: [(0, 0), (most, most)], isFaint: true),
        ]
        return chart.svg
    }

    /// Scores of the forecasts made in one stretch of time.
    private struct Period {
        var middleMs: Double
        package var gini, auc, bias, coverage: Double?

        static func split(_ outcomes: [Forecasts.Outcome]) -> [Period] {
            guard let first = outcomes.first?.forecast.timeMs, let last = outcomes.last?.forecast.timeMs, last > first
            else { return [] }
            let count = min(24, max(1, outcomes.count / 200))
            let width = Double(last - first) / Double(count)
            let groups = Dictionary(grouping: outcomes) {
                min(count - 1, Int(Double($0.forecast.timeMs - first) / width))
            }
            return groups.keys.sorted().compactMap { g in
                guard let part = groups[g], part.count >= 50 else { return nil }
                let scored = ScoredOutcomes(
                    users: part.count, user: part.indices.map { Int32($0) }, money: part.map(\.money),
                    bought: part.map { $0.purchases > 0 })
                let s = ScoredForecasts(
                    scored, expected: part.map { Double($0.forecast.expected) },
                    probability: part.map { Double($0.forecast.probability) }
                ).scores([UInt8](repeating: 1, count: part.count))
                let covered = part.reduce(0) { $0 + $1.forecast.interval.coverage(of: $1.money) } / Double(part.count)
                func finite(_ x: Double) -> Double? { x.isFinite ? x : nil }
                return Period(
                    middleMs: Double(first) + (Double(g) + 0.5) * width, gini: finite(s.gini), auc: finite(s.auc),
                    bias: finite(s.bias), coverage: covered)
            }
        }
    }

    private func overTime(
        _ periods: [Period], _ title: String, _ series: [(String, KeyPath<Period, Double?>)], reference: Double? = nil,
        range: ClosedRange<Double>? = nil
    ) -> String {
        guard let first = periods.first?.middleMs, let last = periods.last?.middleMs, last > first else { return "" }
        var chart = Chart(title: title, x: "time of the forecast", y: "")
        let values = series.flatMap { s in periods.compactMap { $0[keyPath: s.1] } }
        let top = min(4, max(1, values.max() ?? 1))
        (chart.xRange, chart.yRange, chart.isTime) = (first...last, range ?? 0...top, true)
        chart.series = series.map { s in
            .init(
                name: s.0, points: periods.compactMap { p in p[keyPath: s.1].map { (p.middleMs, $0) } }, hasDots: true)
        }
        if let reference {
            chart.series.append(.init(name: "right", points: [(first, reference), (last, reference)], isFaint: true))
        }
        chart.marks = result.summary.drifts.map { Double($0.timeMs) }
        return chart.svg
    }

    private static let style = """
        :root{color-scheme:light dark;--ink:#1c1e21;--faint:#6b7178;--paper:#fff;--grid:#dfe3e8;--a:#0b62c4;--b:#b4460a}
        @media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--faint:#9aa1a9;--paper:#15171a;--grid:#33383e;--a:#6cb0ff;\
        --b:#ffab70}}
        body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
        main{max-width:75rem;margin:0 auto;padding:1.5rem}
        h1{font-size:1.5rem}h2{font-size:1.2rem;border-top:1px solid var(--grid);padding-top:1rem}
        .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1.5rem}
        figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}
        svg text{fill:var(--faint);font:11px system-ui,sans-serif}
        .axis{stroke:var(--grid);stroke-width:1}.mark{stroke:var(--ink);stroke-dasharray:3 3}
        .s0{stroke:var(--a);fill:var(--a)}.s1{stroke:var(--b);fill:var(--b);stroke-dasharray:6 3}
        .faint{stroke:var(--faint);fill:var(--faint);stroke-dasharray:2 4}
        polyline{fill:none!important;stroke-width:2}circle,rect{stroke:none}
        details{font-size:.85rem;color:var(--faint)}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
        td,th{padding:.1rem .6rem;text-align:right;border-bottom:1px solid var(--grid)}caption{text-align:left}
        """
}
