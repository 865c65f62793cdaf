import Glibc

/// P(no such event in (t, t + h]).
enum AbsenceTarget: HazardTarget {
    static let summary = "P(no event)"

    @inline(__always)
    static func upToHorizon(_ cells: UnsafePointer<Float>, bins: Int) -> Float { survival(cells, bins: bins) }

    /// Absence is likelier where hazards are lower.
    static let sign: Float = -1

    static func outcome(total: Float) -> Float { total > 0 ? 0 : 1 }

    static func naive(_ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float) -> Float {
        expf(-Hazard.naiveRate(h, ofAnyEvent: ofAnyEvent) * days)
    }

    static let isPublishedAtLongestHorizonOnly = true
}
