import Glibc

/// Predictions and what came of them, for one target at one horizon: the latest `capacity` matured landmarks.
struct PrequentialWindow {
    struct Sample: Equatable {
        var prediction: Float
        var naive: Float
        var label: Float
        /// Of value targets: how the label counts for the coverage of the interval, and whether it lies between its
        /// bounds.
        var covered: Float = 0
        var inside: Float = 0
    }
    let capacity: Int
    private(set) var samples: [Sample] = []
    /// Place of the oldest sample once the window is full.
    private(set) var next = 0
    private(set) var seen: Int64 = 0
    /// Sum of `Sample.covered` over all that were ever seen.
    private(set) var covered = 0.0

    init(capacity: Int) { self.capacity = capacity }

    init(capacity: Int, samples: [Sample], next: Int, seen: Int64, covered: Double) {
        self.capacity = capacity
        self.samples = samples
        self.next = next
        self.seen = seen
        self.covered = covered
    }

    mutating func add(_ sample: Sample) {
        seen += 1
        covered += Double(sample.covered)
        if samples.count < capacity {
            samples.append(sample)
        } else {
            samples[next] = sample
            next = (next + 1) % capacity
        }
    }
}

/// How predictions of one target at one horizon fared, over a sliding period of matured landmarks. Each landmark
/// was predicted before it was learned from. `nil` where the window says nothing yet (one class only, no money).
public struct PrequentialReport: Sendable, Equatable, Codable {
    /// Metrics of one predictor.
    public struct Score: Sendable, Equatable, Codable {
        /// Gini of the predicted order over the Gini of the perfect order (value targets).
        public var gini: Double?
        /// Share of all money that the tenth with the highest predictions brought (value targets).
        public var topTenth: Double?
        /// Mean absolute error, money (value targets).
        public var mae: Double?
        /// Sum predicted / sum actual.
        public var bias: Double?
        /// Area under the ROC curve (probability targets).
        public var auc: Double?
        /// Mean negative log-likelihood, nats (probability targets).
        public var logLoss: Double?
        /// Expected calibration error over ten bins of equal width (probability targets).
        public var calibrationError: Double?
    }
    public var target: String
    public var horizonDays: Double
    /// Landmarks in the window, and ever.
    public var landmarks: Int
    public var seen: Int64
    public var model: Score
    /// The user's own past rate, drawn on.
    public var naive: Score
    /// Coverage of the 80 % intervals that were published (value targets), as `SpendInterval.coverage` counts: 0.8 when
    /// they are right, however many outcomes are zero.
    public var coverage: Double?
    /// The same over all landmarks ever seen: a season that was not foreseen moves `coverage` for as long as it lasts.
    public var coverageEver: Double?
    /// Share of the outcomes between the bounds, which is above 0.8 where nearly nobody spends (value targets).
    public var inside: Double?
}

extension PrequentialWindow {
    func report(target: EngineConfiguration.Target, horizon: Double) -> PrequentialReport {
        let kind = target.kind.rules
        var report = PrequentialReport(
            target: target.name, horizonDays: horizon, landmarks: samples.count, seen: seen,
            model: kind.score(self, \.prediction), naive: kind.score(self, \.naive))
        guard target.kind.isMoney, !samples.isEmpty else { return report }
        report.coverage = samples.reduce(0) { $0 + Double($1.covered) } / Double(samples.count)
        report.coverageEver = covered / Double(seen)
        report.inside = samples.reduce(0) { $0 + Double($1.inside) } / Double(samples.count)
        return report
    }

    func valueScore(_ p: KeyPath<Sample, Float>) -> PrequentialReport.Score {
        var score = PrequentialReport.Score()
        guard !samples.isEmpty else { return score }
        let labels = samples.map { Double($0.label) }
        let predictions = samples.map { Double($0[keyPath: p]) }
        let total = labels.reduce(0, +)
        score.mae = zip(labels, predictions).map { abs($0 - $1) }.reduce(0, +) / Double(samples.count)
        guard total > 0 else { return score }
        score.bias = predictions.reduce(0, +) / total
        let order = descending(predictions)
        let perfect = gini(labels, in: descending(labels))
        if perfect > 0 { score.gini = gini(labels, in: order) / perfect }
        score.topTenth = moneyOfTopTenth(labels, predictions, order) / total
        return score
    }

    /// Those who tie with the last of the tenth count by the share of them that it has room for.
    private func moneyOfTopTenth(_ labels: [Double], _ predictions: [Double], _ order: [Int]) -> Double {
        let room = (order.count + 9) / 10
        let least = predictions[order[room - 1]]
        let above = order.prefix(room).prefix { predictions[$0] > least }
        let tied = order.dropFirst(above.count).prefix { predictions[$0] == least }
        func money(_ places: ArraySlice<Int>) -> Double { places.reduce(0) { $0 + labels[$1] } }
        return money(above) + money(tied) * Double(room - above.count) / Double(tied.count)
    }

    /// Places from the highest to the lowest; ties keep their order.
    private func descending(_ ranking: [Double]) -> [Int] {
        ranking.indices.sorted { ranking[$0] != ranking[$1] ? ranking[$0] > ranking[$1] : $0 < $1 }
    }

    /// Gini of labels in an order.
    private func gini(_ labels: [Double], in order: [Int]) -> Double {
        var cumulative = 0.0
        var area = 0.0
        for i in order {
            cumulative += labels[i]
            area += cumulative
        }
        let n = Double(labels.count)
        return (area / cumulative - (n + 1) / 2) / n
    }

    func probabilityScore(_ p: KeyPath<Sample, Float>) -> PrequentialReport.Score {
        var score = PrequentialReport.Score()
        guard !samples.isEmpty else { return score }
        let n = Double(samples.count)
        var (loss, predicted, actual) = (0.0, 0.0, 0.0)
        var cells = [(count: Double, predicted: Double, actual: Double)](repeating: (0, 0, 0), count: 10)
        for s in samples {
            let q = Double(s[keyPath: p])
            let y = Double(s.label)
            let clipped = min(1 - 1e-6, max(1e-6, q))
            loss -= y > 0.5 ? log(clipped) : log(1 - clipped)
            predicted += q
            actual += y
            let c = min(9, Int(q * 10))
            cells[c].count += 1
            cells[c].predicted += q
            cells[c].actual += y
        }
        score.logLoss = loss / n
        score.calibrationError = cells.map { abs($0.predicted - $0.actual) }.reduce(0, +) / n
        if actual > 0 { score.bias = predicted / actual }
        score.auc = auc(p)
        return score
    }

    /// Mann–Whitney statistic with mid-ranks for ties.
    private func auc(_ p: KeyPath<Sample, Float>) -> Double? {
        let sorted = samples.map { ($0[keyPath: p], $0.label > 0.5) }.sorted { $0.0 < $1.0 }
        let positives = Double(sorted.count { $0.1 })
        let negatives = Double(sorted.count) - positives
        guard positives > 0, negatives > 0 else { return nil }
        var rankSum = 0.0
        var i = 0
        while i < sorted.count {
            var j = i
            var hits = 0.0
            while j < sorted.count && sorted[j].0 == sorted[i].0 {
                if sorted[j].1 { hits += 1 }
                j += 1
            }
            rankSum += hits * (Double(i + 1 + j) / 2)
            i = j
        }
        return (rankSum - positives * (positives + 1) / 2) / (positives * negatives)
    }
}
