/// Feeds the drift detector: for every target the loss at its shortest horizon, where labels come first; for money two
/// losses, whether any was spent and how much.
struct DriftMonitor {
    /// Names of the two parts of money in alarms.
    static let chance = "chance"
    static let amount = "amount"

    /// A loss that is watched.
    private struct Watched {
        /// Place among the metrics of `OutcomeScorer`.
        var metric: Int
        var target: String
        var part: String?
        /// Cells of the target.
        var cells: Range<Int>
    }

    /// Where predictions became worse than they were.
    struct Alarm {
        /// Cells of the target.
        var cells: Range<Int>
        /// Whether it is the amounts of money, not probabilities.
        var amounts: Bool
    }

    private let configuration: EngineConfiguration.Learning
    private let watched: [Watched]
    var detector: DriftDetector

    init(_ settings: EngineSettings, metrics all: [OutcomeScorer.Metric]) {
        configuration = settings.configuration.learning
        let table = settings.targetTable
        watched = all.indices.filter { $0 == 0 || all[$0 - 1].target != all[$0].target }.flatMap { i in
            let parts = all[i].interval == nil ? [nil] : [Self.chance, Self.amount]
            return parts.map {
                Watched(
                    metric: i, target: table.targets[all[i].target].name, part: $0,
                    cells: table.cells(target: all[i].target))
            }
        }
        detector = DriftDetector(monitors: watched.count)
    }

    /// Time has passed, in event time.
    mutating func advance(to now: Int64, days: Double) -> [Alarm] {
        guard configuration.driftThreshold > 0 else { return [] }
        let raised = detector.advance(to: now, days: days, configuration) { (watched[$0].target, watched[$0].part) }
        return raised.map { Alarm(cells: watched[$0].cells, amounts: watched[$0].part == Self.amount) }
    }

    /// Takes in what a prediction came to.
    /// - Parameters:
    ///   - i: place of the metric.
    ///   - distribution: of value targets.
    ///   - instant: of the prediction, ms.
    ///   - led: flags of its landmark. What the base forecast leads is not watched: it errs in ways that are no change.
    mutating func observe(
        metric i: Int, _ sample: PrequentialWindow.Sample, _ distribution: SpendDistribution?, instant: Int64,
        led: UInt8
    ) {
        for (w, watch) in watched.enumerated() where watch.metric == i {
            let flag = watch.part == Self.amount ? LandmarkHeader.ledAmounts : LandmarkHeader.ledChances
            guard led & flag != 0 else { continue }
            guard let distribution else {
                let loss = ExcessLoss.probability(Double(sample.prediction), sample.label > 0)
                detector.observe(w, loss: loss, instant: instant)
                continue
            }
            let spends = sample.label > 0
            if watch.part == Self.amount {
                guard spends else { continue }
                detector.observe(w, loss: ExcessLoss.amount(distribution, Double(sample.label)), instant: instant)
            } else {
                let loss = ExcessLoss.probability(1 - Double(distribution.zero), spends)
                detector.observe(w, loss: loss, instant: instant)
            }
        }
    }
}
