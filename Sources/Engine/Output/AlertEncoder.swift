/// Writes alerts as JSON.
struct AlertEncoder {
    /// One alert, raised or cleared.
    struct Alert {
        /// A function of its cause: the user, and when it was raised. Its clearing has the same id.
        var id: UInt64
        var state: StaticString
        var reason: StaticString
        /// Whether it was due before a model served.
        var isBacklog: Bool
        /// ms.
        var at: Int64
        var lastEventMs: Int64
        var churnProbability: Float
        /// Expected value of the segment target, base currency.
        var value: Float
        var valueToDate: Double
        var orders: UInt32
        /// Seconds since 1970; 0: never.
        var firstPurchase: UInt32
        var lastPurchase: UInt32
        var factors: [ServingModel.Factor]
        var modelVersion: Int64
    }

    private let raise: Double
    private let clear: Double
    /// `,"currency":"…","clv_at_risk_days":…`
    private let constants: [UInt8]
    private let words: AlertText

    init(_ configuration: EngineConfiguration, currency: String) {
        func horizon(_ name: String) -> String {
            let target = configuration.targets.first { $0.name == name } ?? configuration.targets.first
            return HorizonDays.text(target?.horizonsDays.last ?? 0)
        }
        (raise, clear) = (configuration.alerts.raiseThreshold, configuration.alerts.clearThreshold)
        let valueDays = horizon(configuration.segments.target)
        constants = Array(",\"clv_at_risk_days\":\(valueDays),\"currency\":\"\(currency)\"".utf8)
        words = AlertText(
            currency: currency, churnDays: horizon(configuration.alerts.target), valueDays: valueDays)
    }

    func write(_ alert: Alert, user key: UnsafeBufferPointer<UInt8>, _ w: inout ByteWriter) {
        w.append("{\"alert_id\":")
        w.append(hex: alert.id)
        w.append(",\"state\":\"")
        w.append(alert.state)
        w.append("\",\"reason\":\"")
        w.append(alert.reason)
        w.append(alert.isBacklog ? "\",\"backlog\":true,\"user_id\":" : "\",\"backlog\":false,\"user_id\":")
        w.append(json: key.baseAddress!, key.count)
        w.append(",\"summary\":\"")
        w.append(Array(words.summary(of: alert).utf8))
        w.append("\"")
        w.append(",\"at\":")
        w.append(time: alert.at)
        w.append(",\"last_event_time\":")
        w.append(time: alert.lastEventMs)
        w.append(",\"churn_probability\":")
        w.append(number: Double(alert.churnProbability))
        w.append(",\"thresholds\":{\"raise\":")
        w.append(number: raise)
        w.append(",\"clear\":")
        w.append(number: clear)
        w.append("},\"clv_at_risk\":")
        w.append(number: Double(alert.value))
        w.append(constants)
        w.append(",\"value_to_date\":")
        w.append(number: alert.valueToDate)
        w.append(",\"orders\":")
        w.append(integer: Int64(alert.orders))
        w.append(",\"last_purchase_time\":")
        w.append(timeOrNull: alert.lastPurchase)
        w.append(",\"factors\":[")
        for (i, factor) in alert.factors.enumerated() {
            w.append(i == 0 ? "{\"name\":\"" : ",{\"name\":\"")
            w.append(Array(factor.name.utf8))
            w.append("\",\"value\":")
            w.append(number: Double(factor.value))
            w.append(",\"contribution\":")
            w.append(number: Double(factor.contribution))
            w.append(",\"text\":\"")
            w.append(Array(factor.text.utf8))
            w.append("\"}")
        }
        w.append("],\"model_version\":")
        w.append(integer: alert.modelVersion)
        w.append("}")
    }
}
