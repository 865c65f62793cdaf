import EventInput
import Foundation
import Runtime
import Simulation
import Terminal

/// Forecasts beside those of other models at the same landmarks, with intervals of the differences from resampling the
/// users (bootstrap; landmarks of one user are not independent).
package struct Comparison: Encodable {
    package struct Row: Encodable {
        package var metric: String
        /// By model, clvd among them.
        package var values: [String: Double]
        /// The better one of the references.
        package var reference: String
        /// clvd less the reference; of the bias, distances from 1.
        package var difference: Double
        /// 95 % interval of the difference.
        package var low: Double
        package var high: Double
        /// Whether the interval lies on clvd's side of 0, on the other, or has 0 in it.
        package var verdict: Verdict
    }
    package enum Verdict: String, Encodable { case better, worse, open }

    package struct Horizon: Encodable {
        package var horizonDays: Double
        package var landmarks: Int
        var meanMoney: Double
        /// Models that say nothing for most landmarks: no reference.
        package var silent: [String]
        package var rows: [Row]
    }

    package var resamples: Int
    package var horizons: [Horizon]

    package static let own = "clvd"

    /// - Parameters:
    ///   - baselines: what the other models said.
    ///   - resamples: how often the users are drawn anew.
    ///   - seed: of the drawing.
    package init(
        _ forecasts: Forecasts, _ log: EventLog, _ baselines: Baselines, resamples: Int, seed: UInt64, pool: WorkerPool
    ) throws {
        self.resamples = resamples
        horizons = []
        for (h, days) in forecasts.horizons.enumerated() {
            let outcomes = forecasts.outcomes(h, log)
            guard !outcomes.isEmpty, outcomes.contains(where: { $0.money > 0 }) else { continue }
            var places: [Int32: Int32] = [:]
            let users = outcomes.map { row in
                places[row.forecast.user]
                    ?? {
                        let place = Int32(places.count)
                        places[row.forecast.user] = place
                        return place
                    }()
            }
            let scored = ScoredOutcomes(
                users: places.count, user: users, money: outcomes.map(\.money),
                bought: outcomes.map { $0.purchases > 0 })
            var models: [(name: String, forecasts: ScoredForecasts)] = [
                (
                    Self.own,
                    ScoredForecasts(
                        scored, expected: outcomes.map { Double($0.forecast.expected) },
                        probability: outcomes.map { Double($0.forecast.probability) })
                )
            ]
            var silent: [String] = []
            for name in baselines.models {
                let said = try outcomes.map { row in
                    try baselines.forecast(name, landmark: Int(row.forecast.landmark), days: days)
                }
                if said.count(where: { $0.expected == 0 }) * 2 > said.count { silent.append(name) }
                models.append(
                    (
                        name,
                        ScoredForecasts(
                            scored, expected: said.map { Double($0.expected) },
                            probability: said.map { Double($0.probability) })
                    ))
            }
            horizons.append(
                Horizon(
                    horizonDays: days, landmarks: outcomes.count,
                    meanMoney: outcomes.reduce(0) { $0 + $1.money } / Double(outcomes.count), silent: silent,
                    rows: Self.rows(scored, models, silent: silent, resamples, seed, pool)))
        }
    }

    private static func rows(
        _ scored: ScoredOutcomes, _ models: [(name: String, forecasts: ScoredForecasts)], silent: [String],
        _ resamples: Int, _ seed: UInt64, _ pool: WorkerPool
    ) -> [Row] {
        let once = [UInt8](repeating: 1, count: scored.users)
        let base = models.map { $0.forecasts.scores(once) }
        let all = resample(scored, models.map(\.forecasts), resamples, seed, pool)
        let references = models.indices.dropFirst().filter { !silent.contains(models[$0].name) }
        return Scores.metrics.compactMap { metric in
            // What is not defined, such as the rank correlation of a constant, is worse than all.
            func badness(_ s: Scores) -> Double {
                let value = metric.badness(s[keyPath: metric.value])
                return value.isFinite ? value : .infinity
            }
            guard let best = references.min(by: { badness(base[$0]) < badness(base[$1]) }) else { return nil }
            // What is better has more of these and less of those: the sign of a difference is that of the metric.
            func difference(_ s: [Scores]) -> Double {
                metric.name == "bias"
                    ? badness(s[0]) - badness(s[best])
                    : s[0][keyPath: metric.value] - s[best][keyPath: metric.value]
            }
            let drawn = all.map(difference).filter(\.isFinite).sorted()
            let now = difference(base)
            guard now.isFinite, !drawn.isEmpty else { return nil }
            let (low, high) = (quantile(drawn, 0.025), quantile(drawn, 0.975))
            let isLargerBetter = metric.badness(1) < metric.badness(0) && metric.name != "bias"
            let verdict: Verdict =
                low > 0 ? (isLargerBetter ? .better : .worse) : high < 0 ? (isLargerBetter ? .worse : .better) : .open
            return Row(
                metric: metric.name,
                values: Dictionary(
                    uniqueKeysWithValues: zip(models.map(\.name), base.map { $0[keyPath: metric.value] })
                        .filter { $0.1.isFinite }),
                reference: models[best].name, difference: now, low: low, high: high, verdict: verdict)
        }
    }

    /// Scores of all models in each resample: as many users as there are, drawn with replacement.
    private static func resample(
        _ scored: ScoredOutcomes, _ models: [ScoredForecasts], _ resamples: Int, _ seed: UInt64, _ pool: WorkerPool
    ) -> [[Scores]] {
        var all = [[Scores]](repeating: [], count: resamples)
        all.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let (out, outcomes, forecasts) = (buffer, scored, models)
            pool.run(count: resamples) { i in
                // One step of a generator parts the streams of neighbouring numbers.
                var streams = SplitMix64(seed: seed ^ (UInt64(i) &+ 1) &* 0xD134_2543_DE82_EF95)
                var random = SplitMix64(seed: streams.next())
                var weights = [UInt8](repeating: 0, count: outcomes.users)
                for _ in 0..<outcomes.users {
                    let u = random.below(outcomes.users)
                    if weights[u] < .max { weights[u] += 1 }
                }
                out[i] = ScoredForecasts.scores(outcomes, forecasts, weights)
            }
        }
        return all
    }

    private static func quantile(_ sorted: [Double], _ p: Double) -> Double {
        guard !sorted.isEmpty else { return .nan }
        let at = p * Double(sorted.count - 1)
        let i = Int(at)
        guard i + 1 < sorted.count else { return sorted[i] }
        return sorted[i] + (at - Double(i)) * (sorted[i + 1] - sorted[i])
    }
}

extension ScoredForecasts {
    /// Scores of several models for the same weights.
    static func scores(_ outcomes: ScoredOutcomes, _ models: [ScoredForecasts], _ weights: [UInt8]) -> [Scores] {
        var ranks = [Float](repeating: 0, count: outcomes.count)
        outcomes.rank(weights, into: &ranks)
        guard let perfect = models.first?.perfectGini(weights) else { return [] }
        return models.map { $0.scores(weights, ranks: ranks, perfect: perfect) }
    }
}

/// Forecasts of other models: CSV with the columns landmark_id, horizon_days, expected_value, purchase_probability and,
/// where there are several, model.
package struct Baselines {
    package struct Forecast {
        package var expected: Float
        var probability: Float
    }
    /// In the order of the file.
    package private(set) var models: [String] = []
    private let path: String
    private let places: [String: Int32]
    private var forecasts: [String: [Double: [Forecast?]]] = [:]

    /// - Parameter landmarks: their order gives the places that `forecast` takes.
    /// - Throws: `InputError` with the row that cannot be used.
    package init(path: String, landmarks: [LandmarkFile.Landmark]) throws {
        self.path = path
        var places: [String: Int32] = [:]
        for (i, landmark) in landmarks.enumerated() { places[landmark.id] = Int32(i) }
        self.places = places
        let fallback = URL(filePath: path).lastPathComponent
        try TableFile.read(
            path, columns: ["landmark_id", "horizon_days", "expected_value", "purchase_probability"],
            optional: ["model"], need: "forecasts need"
        ) { fields in
            guard let days = Double(fields[1]), let expected = Float(fields[2]), let probability = Float(fields[3]),
                expected >= 0, expected.isFinite, (0...1).contains(probability)
            else {
                throw TableFile.RowProblem(
                    "horizon_days, expected_value and purchase_probability are to be finite, not negative, and a "
                        + "probability")
            }
            guard let place = places[fields[0]] else { return }
            let model = fields[4].isEmpty ? fallback : fields[4]
            if forecasts[model] == nil {
                models.append(model)
                forecasts[model] = [:]
            }
            forecasts[model]![days, default: Array(repeating: nil, count: landmarks.count)][Int(place)] =
                Forecast(expected: expected, probability: probability)
        }
        guard !models.isEmpty else { throw EvaluationError("\(path): no forecasts for these landmarks") }
    }

    func forecast(_ model: String, landmark: Int, days: Double) throws -> Forecast {
        guard let row = forecasts[model]?[days], let forecast = row[landmark] else {
            throw EvaluationError("\(path): \(model) has no forecast over \(Human.days(days)) days at every landmark")
        }
        return forecast
    }
}
