public import Engine

extension EngineConfiguration {
    /// A model small enough for debug builds, with three targets, that learns after a few hundred events. Test targets
    /// add how fast it learns and when it alerts.
    public static var smallModel: EngineConfiguration {
        var c = EngineConfiguration()
        c.model.units = 16
        c.model.hidden = 16
        c.model.categoryBuckets = 32
        c.model.crossBuckets = 32
        c.binEdgesDays = [2, 7, 20]
        c.targets = [
            Target(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [2, 7, 20]),
            Target(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [2, 7, 20]),
            Target(name: "churn", kind: .absence, events: [], horizonsDays: [7]),
        ]
        c.learning.intervalRecords = 256
        c.learning.minimumSteps = 5
        c.learning.warmupSteps = 5
        c.learning.earlyStoppingInterval = 5
        c.learning.maxLandmarks = 2048
        c.learning.landmarkIntervalDays = 3
        return c
    }
}
