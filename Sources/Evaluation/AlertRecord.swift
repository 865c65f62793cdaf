import Foundation

/// An alert read back from its JSON: who it is about, when, and why.
package struct AlertRecord: Decodable {
    package let userId: String
    /// `raised` or `cleared`.
    package let state: String
    package let reason: String
    private let at: String
    package let churnProbability: Double
    package let clvAtRisk: Double

    private enum CodingKeys: String, CodingKey {
        case userId = "user_id"
        case churnProbability = "churn_probability"
        case clvAtRisk = "clv_at_risk"
        case state, reason, at
    }

    /// nil: not an alert.
    package init?(_ data: Data) {
        guard let alert = try? JSONDecoder().decode(Self.self, from: data) else { return nil }
        self = alert
    }

    /// Event time of the alert; nil when it is not written as one.
    package var time: Date? { try? Date(at, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }

    /// The same in epoch milliseconds; 0 when it is not written as one.
    package var atMs: Int64 { time.map { Int64(($0.timeIntervalSince1970 * 1000).rounded()) } ?? 0 }
}
