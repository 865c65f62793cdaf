/// Everything an evaluation can say.
package struct EvaluationResult: Encodable {
    package let summary: Evaluation.Summary
    package var comparison: Comparison?
    package var quality: Quality?
    package var alerts: AlertReport?
    package var truth: TruthReport?
    package var recovery: [RecoveryPair]?

    package init(summary: Evaluation.Summary) { self.summary = summary }

    private enum Keys: String, CodingKey { case comparison, quality, alerts, truth, recovery }

    /// One object: the summary's fields, and the other parts where they were asked for.
    package func encode(to encoder: any Encoder) throws {
        try summary.encode(to: encoder)
        var container = encoder.container(keyedBy: Keys.self)
        try container.encodeIfPresent(comparison, forKey: .comparison)
        try container.encodeIfPresent(quality, forKey: .quality)
        try container.encodeIfPresent(alerts, forKey: .alerts)
        try container.encodeIfPresent(truth, forKey: .truth)
        try container.encodeIfPresent(recovery, forKey: .recovery)
    }
}

/// How long it took to get over a change, with drift detection and without.
package struct RecoveryPair: Encodable {
    package let with: Recovery
    package let without: Recovery

    /// Of each horizon that has forecasts before and after the change.
    /// - Parameter day: of the change, counted from the first event.
    package static func byHorizon(_ with: Evaluation, _ without: Evaluation, day: Double) -> [RecoveryPair] {
        let change = with.log.firstMs + Int64(day * 86_400_000)
        return with.forecasts.horizons.indices.compactMap { h in
            guard let a = Recovery(with.forecasts, horizon: h, with.log, changeMs: change),
                let b = Recovery(without.forecasts, horizon: h, without.log, changeMs: change)
            else { return nil }
            return RecoveryPair(with: a, without: b)
        }
    }
}

/// Why an evaluation failed: what, where and what to do.
package struct EvaluationError: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
