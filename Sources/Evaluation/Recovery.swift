import Foundation

/// How long forecasts take to become as good as they were, after something has changed.
///
/// The error at a day is Σ|expected − actual| / Σ actual of the forecasts made within the seven days before it: an error
/// relative to what is spent, so that less spending alone does not make it smaller. Its earlier level is that of the 28
/// days of forecasts whose outcomes were complete before the change. It is back on the first day from which on it stays,
/// for fourteen days in the mean, within 10 % of that level.
package struct Recovery: Encodable, Equatable {
    package var horizonDays: Double
    package var earlierError: Double
    /// Highest error within 28 days after the change.
    package var worstError: Double
    /// Days from the change; nil when it never came back.
    package var days: Double?

    static let windowDays = 7.0
    static let tolerance = 1.1
    private static let dayMs = 86_400_000.0

    /// - Parameter changeMs: when it changed, epoch milliseconds.
    /// - Returns: nil when there are no forecasts before it.
    package init?(_ forecasts: Forecasts, horizon: Int, _ log: EventLog, changeMs: Int64) {
        let days = forecasts.horizons[horizon]
        let outcomes = forecasts.outcomes(horizon, log).filter(\.forecast.fromModel)
        // Sums by day, day 0 begins with the change.
        var sums: [Int: (error: Double, actual: Double)] = [:]
        for o in outcomes {
            let day = Int((Double(o.forecast.timeMs - changeMs) / Self.dayMs).rounded(.down))
            sums[day, default: (0, 0)].error += abs(Double(o.forecast.expected) - o.money)
            sums[day]!.actual += o.money
        }
        func error(_ range: Range<Int>) -> Double? {
            let all = range.compactMap { sums[$0] }
            let actual = all.reduce(0) { $0 + $1.actual }
            return actual > 0 ? all.reduce(0) { $0 + $1.error } / actual : nil
        }
        let end = -Int(days.rounded(.up))
        guard let earlier = error(end - 28..<end), let last = sums.keys.max(), last > 14 else { return nil }
        horizonDays = days
        earlierError = earlier
        let window = Int(Self.windowDays)
        let curve = (0...last).map { error($0 - window..<$0) ?? .infinity }
        worstError = curve.prefix(28).max() ?? .nan
        func isBack(_ day: Int) -> Bool {
            let ahead = curve[day..<min(curve.count, day + 14)]
            return curve[day] <= Self.tolerance * earlier
                && ahead.reduce(0, +) / Double(ahead.count) <= Self.tolerance * earlier
        }
        // The week in which it changed has forecasts of before in it.
        self.days = curve.indices.dropFirst(window).first(where: isBack).map(Double.init)
    }
}
