import Glibc

/// P(at least one such event in (t, t + h]).
enum OccurrenceTarget: HazardTarget {
    static let summary = "P(at least one event)"

    @inline(__always)
    static func upToHorizon(_ cells: UnsafePointer<Float>, bins: Int) -> Float { 1 - survival(cells, bins: bins) }

    static let sign: Float = 1

    static func outcome(total: Float) -> Float { total > 0 ? 1 : 0 }

    static func naive(_ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float) -> Float {
        1 - expf(-Hazard.naiveRate(h, ofAnyEvent: ofAnyEvent) * days)
    }

    static let isPublishedAtLongestHorizonOnly = false
}
