import Engine

/// The targets and bins for the horizons that landmarks ask about.
package enum EvaluationTargets {
    /// The configuration with the horizons that are asked for.
    package static func adapt(_ configuration: EngineConfiguration, horizons: [Double]) -> EngineConfiguration {
        var c = configuration
        c.binEdgesDays = binEdges(horizons)
        c.targets = [
            .init(name: "clv", kind: .value, events: ["purchase"], horizonsDays: horizons),
            .init(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: horizons),
            .init(name: "churn", kind: .absence, events: [], horizonsDays: [horizons[horizons.count - 1]]),
        ]
        c.segments.target = "clv"
        c.alerts.target = "churn"
        return c
    }

    /// Horizons and shorter bins, so that labels mature soon: a quarter of the first horizon, and of that again until it
    /// is at most a week; and quarters in every gap of more than six to one. Whole days where they are four or more.
    static func binEdges(_ horizons: [Double]) -> [Double] {
        func quarter(_ days: Double) -> Double { days >= 4 ? (days / 4).rounded(.toNearestOrAwayFromZero) : days / 4 }
        var edges = horizons
        var least = horizons[0]
        repeat {
            // 7 of 30 and 2 of 7: halves go down.
            least = least >= 4 ? (least / 4 - 1e-9).rounded() : quarter(least)
            edges.append(least)
        } while least > 7
        for (a, b) in zip(horizons, horizons.dropFirst()) {
            var edge = b
            while edge / a > 6 {
                edge = quarter(edge)
                edges.append(edge)
            }
        }
        return Array(Set(edges)).sorted()
    }
}
