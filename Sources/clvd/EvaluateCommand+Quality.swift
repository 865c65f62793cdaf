import Evaluation
import Terminal

extension EvaluateCommand {
    func tell(_ quality: Quality) {
        guard !quality.money.isEmpty || quality.churn != nil else { return }
        Report.line()
        for money in quality.money {
            guard let own = money.models[Comparison.own] else { continue }
            let others = money.models.filter { $0.key != Comparison.own }.sorted { $0.key < $1.key }
                .map { "that of \($0.key) \(Self.percent($0.value.topTenthShare))" }
            Report.line(
                "\(Human.days(money.horizonDays)) days: the top 10 % we named brought "
                    + "\(Self.percent(own.topTenthShare)) of the money"
                    + (["the best choice in hindsight \(Self.percent(money.bestTenthShare))"] + others)
                    .reduce("") { $0 + ", " + $1 } + ".")
            let ranks = money.models.sorted { $0.key < $1.key }.compactMap { name, order in
                order.spearmanBuyers.map { "\(name) \(Human.number($0, decimals: 3))" }
            }
            if !ranks.isEmpty {
                Report.line("  Spearman among those who bought: \(ranks.joined(separator: ", ")).")
            }
        }
        guard let churn = quality.churn else { return }
        Report.line(
            "\(Human.days(churn.horizonDays)) days without any event: AUC "
                + "\(churn.auc.map { Human.number($0, decimals: 3) } ?? Human.missing), log-loss "
                + "\(Human.number(churn.logLoss, decimals: 3)); of the \(Human.count(Int64(churn.tenth))) we named first "
                + "\(Self.percent(churn.precisionAtTenth)) stayed away, of all \(Self.percent(churn.gone)).")
    }

    private static func percent(_ share: Double) -> String { Human.percent(share) }

    func tell(_ alerts: AlertReport) {
        Report.line()
        let left = Human.count(Int64(alerts.churned))
        if let days = alerts.censoredDays {
            Report.line(
                "Alerts, and rules that are as precise; \(left) customers fell silent for the rest of the file in time. "
                    + "The last \(Human.number(days, decimals: 0)) days are not judged:")
        } else {
            Report.line("Alerts, and rules that are as precise; \(left) customers left in time:")
        }
        Report.line()
        var table = TextTable(columns: [
            .init("rule"), .init("alerts", .right), .init("precision", .right), .init("recall", .right),
            .init("median delay", .right), .init("raised before", .right),
        ])
        for a in alerts.rules {
            table.addRow([
                a.rule, Human.count(Int64(a.raised)), a.precision.map(Human.percent) ?? Human.missing,
                a.recall.map(Human.percent) ?? Human.missing,
                a.medianDelayDays.map { Human.number($0, decimals: 1) + " d" } ?? Human.missing,
                a.earlyShare.map(Human.percent) ?? Human.missing,
            ])
        }
        Report.line(table.render(width: 110))
        if let ratio = alerts.delayOverLimit {
            Report.line("The delay is \(Human.percent(ratio)) of that of the Bayes limit.")
        }
    }
}
