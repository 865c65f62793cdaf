/// Compares predictions with their outcomes as labels mature: the prequential windows of every target at every horizon,
/// and the levels of the intervals.
struct OutcomeScorer {
    struct Metric {
        /// Place of the target in the configuration.
        var target: Int
        /// Days.
        var horizon: Double
        var reading: HorizonReading
        /// Bin whose maturity completes the horizon.
        var bin: Int
        /// Place among the value readings; nil of other targets.
        var interval: Int?
    }

    private let settings: EngineSettings
    let metrics: [Metric]
    /// One for each metric.
    var windows: [PrequentialWindow]
    var levels: IntervalLevels

    init(_ settings: EngineSettings) {
        self.settings = settings
        let table = settings.targetTable
        metrics = table.targets.enumerated().flatMap { i, target in
            target.horizonsDays.map { days in
                let reading = table.reading(target: i, horizon: days)
                return Metric(
                    target: i, horizon: days, reading: reading, bin: Int(reading.bins) - 1,
                    interval: settings.valueReadings.firstIndex(of: reading))
            }
        }
        windows = metrics.map { _ in PrequentialWindow(capacity: settings.configuration.learning.prequentialWindow) }
        levels = IntervalLevels(count: settings.valueReadings.count)
    }

    /// Scores a landmark at the horizons that its maturity in a bin completes. Predictions without the network are not
    /// scored.
    mutating func observe(_ landmark: UnsafeMutableRawPointer, bin: Int, drift: inout DriftMonitor) {
        guard LandmarkPool.header(landmark).pointee.flags & LandmarkHeader.fromModel != 0 else { return }
        for i in metrics.indices where metrics[i].bin == bin { score(i, landmark, &drift) }
    }

    private mutating func score(_ i: Int, _ landmark: UnsafeMutableRawPointer, _ drift: inout DriftMonitor) {
        let metric = metrics[i]
        let h = LandmarkPool.header(landmark)
        var sample = sample(metric, landmark)
        var distribution: SpendDistribution?
        if let interval = metric.interval {
            let spread = landmark.at(settings.landmarkLayout.spreads, as: LandmarkSpread.self)[interval]
            let y = Double(sample.label)
            let published = spread.distribution.interval(level: Double(spread.level))
            sample.covered = Float(published.coverage(of: y))
            sample.inside = published.isInside(y) ? 1 : 0
            levels.observe(interval, spread.distribution, outcome: y)
            distribution = spread.distribution
        }
        drift.observe(metric: i, sample, distribution, instant: h.pointee.instant, led: h.pointee.flags)
        windows[i].add(sample)
    }

    private func sample(_ metric: Metric, _ landmark: UnsafeMutableRawPointer) -> PrequentialWindow.Sample {
        let h = LandmarkPool.header(landmark)
        let layout = settings.landmarkLayout
        let cell = Int(metric.reading.cell)
        let target = settings.targetTable.targets[metric.target]
        return target.kind.rules.sample(
            landmark.at(layout.predictions, as: Float.self) + cell,
            labels: landmark.at(layout.labels, as: Float.self) + cell, bins: Int(metric.reading.bins),
            h, ofAnyEvent: target.events.isEmpty, days: Float(metric.horizon))
    }

    func reports() -> [PrequentialReport] {
        zip(metrics, windows).map { metric, window in
            window.report(target: settings.targetTable.targets[metric.target], horizon: metric.horizon)
        }
    }
}
