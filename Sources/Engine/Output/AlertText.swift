/// One sentence or two that say to a person what an alert is about.
struct AlertText {
    let currency: String
    /// Horizons of the churn probability and of the money, days, as outputs write them.
    let churnDays: String
    let valueDays: String

    func summary(of alert: AlertEncoder.Alert) -> String {
        alert.state.utf8CodeUnitCount == 6 ? raised(alert) : cleared(alert)
    }

    private func raised(_ a: AlertEncoder.Alert) -> String {
        let churn = PlainNumber.percent(Double(a.churnProbability))
        let stays = "Stays away for the next \(churnDays) days with a probability of \(churn)"
        let money = "\(PlainNumber.money(Double(a.value), currency)) expected over \(valueDays) days are at risk."
        return "\(silence(a)); \(habit(a)). \(stays); \(money)"
    }

    private func cleared(_ a: AlertEncoder.Alert) -> String {
        let isBack = a.at - a.lastEventMs < Clock.hour
        let churn = PlainNumber.percent(Double(a.churnProbability))
        return (isBack ? "Is back" : "Is no longer at risk") + "; \(habit(a)). "
            + "Stays away for the next \(churnDays) days with a probability of \(churn)."
    }

    private func silence(_ a: AlertEncoder.Alert) -> String {
        let days = (Double(max(0, a.at - a.lastEventMs)) / Double(Clock.day)).rounded(.down)
        return days < 1 ? "Active today" : "Silent for \(PlainNumber.count(days, "day"))"
    }

    /// How the customer bought so far.
    private func habit(_ a: AlertEncoder.Alert) -> String {
        guard a.orders > 0 else { return "never bought" }
        let days = Double(a.lastPurchase - min(a.lastPurchase, a.firstPurchase)) / Double(Clock.secondsPerDay)
        let total =
            "\(PlainNumber.count(Double(a.orders), "order")), \(PlainNumber.money(a.valueToDate, currency)) so far"
        guard a.orders > 1, days >= 1 else { return total }
        return "bought every \(PlainNumber.count(days / Double(a.orders - 1), "day")) before (\(total))"
    }
}
