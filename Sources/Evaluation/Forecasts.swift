import Engine

/// What was forecast, and for whom and when: one row for each landmark and horizon, in order of time.
package struct Forecasts {
    package struct Row {
        package var user: Int32
        /// Index of the horizon.
        package var horizon: Int32
        /// Of the landmark in its file.
        package var landmark: Int32
        package var timeMs: Int64
        package var expected: Float
        var probability: Float
        package var interval: SpendInterval
        /// Whether the network had a say.
        var fromModel: Bool
    }

    package let horizons: [Double]
    package var rows: [Row] = []

    /// P(no event within `churnDays`) at a landmark.
    package struct ChurnRow {
        var user: Int32
        var timeMs: Int64
        var probability: Float
    }

    /// nil: no target says so.
    package var churnDays: Double?
    package var churn: [ChurnRow] = []

    package init(horizons: [Double], churnDays: Double? = nil) {
        self.horizons = horizons
        self.churnDays = churnDays
    }

    /// A row and what came of it.
    package struct Outcome {
        var forecast: Row
        package var money: Double
        var purchases: Int
    }

    /// The rows of a horizon that had all its time before the stream ended.
    package func outcomes(_ horizon: Int, _ log: EventLog) -> [Outcome] {
        let length = Int64((horizons[horizon] * 86_400_000).rounded())
        return rows.compactMap { row in
            guard Int(row.horizon) == horizon, row.timeMs + length <= log.lastMs else { return nil }
            let (money, purchases) = log.outcome(row.user, from: row.timeMs, days: horizons[horizon])
            return Outcome(forecast: row, money: money, purchases: purchases)
        }
    }
}
