/// Writes alerts as JSON.
struct AlertEncoder {
    /// One alert, raised or cleared.
    struct Alert {
        /// A function of its cause: the user, and when it was raised. Its clearing has the same id.
        var id: UInt64
        var state: StaticString
        var reason: StaticString
        /// ms.
        var at: Int64
        var lastEventMs: Int64
        var churnProbability: Float
        /// Expected value of the segment target, base currency.
        var value: Float
        var valueToDate: Double
        var factors: [ServingModel.Factor]
        var modelVersion: Int64
    }

    let raise: Float
    let clear: Float

    func write(_ alert: Alert, user key: UnsafeBufferPointer<UInt8>, _ w: inout ByteWriter) {
        w.append("{\"alert_id\":")
        w.append(hex: alert.id)
        w.append(",\"state\":\"")
        w.append(alert.state)
        w.append("\",\"reason\":\"")
        w.append(alert.reason)
        w.append("\",\"user_id\":")
        w.append(json: key.baseAddress!, key.count)
        w.append(",\"at\":")
        w.append(time: alert.at)
        w.append(",\"last_event_time\":")
        w.append(time: alert.lastEventMs)
        w.append(",\"churn_probability\":")
        w.append(number: Double(alert.churnProbability))
        w.append(",\"thresholds\":{\"raise\":")
        w.append(number: Double(raise))
        w.append(",\"clear\":")
        w.append(number: Double(clear))
        w.append("},\"clv_at_risk\":")
        w.append(number: Double(alert.value))
        w.append(",\"value_to_date\":")
        w.append(number: alert.valueToDate)
        w.append(",\"factors\":[")
        for (i, factor) in alert.factors.enumerated() {
            w.append(i == 0 ? "{\"name\":\"" : ",{\"name\":\"")
            w.append(Array(factor.name.utf8))
            w.append("\",\"value\":")
            w.append(number: Double(factor.value))
            w.append(",\"contribution\":")
            w.append(number: Double(factor.contribution))
            w.append("}")
        }
        w.append("],\"model_version\":")
        w.append(integer: alert.modelVersion)
        w.append("}")
    }
}
