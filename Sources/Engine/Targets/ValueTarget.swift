import Glibc

/// Money in (t, t + h]: a zero-inflated log-normal per bin (ZILN; Wang et al. 2019, arXiv 1912.07753). The outputs of a
/// bin are the logit of P(spend > 0), μ and raw σ of log spend. The loss is the cross-entropy of any spend, and for
/// spenders the negative log-likelihood of log spend under N(μ₀ + μ, σ²) with the centre μ₀ of log spend.
enum ValueTarget: SingleNumberTarget {
    static let summary = "money"
    static let outputsPerBin = 3
    static let isMoney = true
    static let initialBias: Float = -1.5
    /// Purchases alone bring money.
    static func isOfPurchases(events: [String]) -> Bool { true }

    /// Money counts line by line.
    @inline(__always)
    static func add(_ event: LabelEvent, to labels: UnsafeMutablePointer<Float>) { labels[0] += event.money }

    /// Every bin teaches: users who have spent may spend again.
    @inline(__always)
    static func isAtRisk(_ labels: UnsafePointer<Float>, bin: Int) -> Bool { true }
    @inline(__always)
    static func isAtRisk(after labels: UnsafePointer<Float>) -> Bool { true }

    @inline(__always)
    static func loss(
        _ o: UnsafePointer<Float>, labels: UnsafePointer<Float>, mean: Float, scale: Float, weight: Float,
        gradient: UnsafeMutablePointer<Float>?
    ) -> Float {
        let label = labels[0]
        let scale = scale * weight
        let y: Float = label > 0 ? 1 : 0
        var loss = Losses.crossEntropy(o[0], y)
        gradient?[0] = (Network.logistic(o[0]) - y) * scale
        guard label > 0 else { return loss }
        let sigma = Network.sigma(o[2])
        let z = (logf(min(Losses.maximumSpend, label)) - mean - o[1]) / sigma
        loss += logf(sigma) + z * z / 2
        if let gradient {
            gradient[1] = -z / sigma * scale
            let open: Float = sigma < Network.maximumSigma ? 1 : 0
            gradient[2] = (1 - z * z) / sigma * Network.logistic(o[2]) * open * scale
        }
        return loss
    }

    /// E[spend in the bin] = p·exp(μ₀ + μ + σ²/2).
    @inline(__always)
    static func predict(_ o: UnsafePointer<Float>, mean: Float, into cells: UnsafeMutablePointer<Float>) {
        let p = Network.logistic(o[0])
        let s = Network.sigma(o[2])
        let logMean = mean + o[1] + s * s / 2
        cells[0] = p * expf(min(Network.maximumLogMean, logMean))
    }

    /// Expected money.
    @inline(__always)
    static func upToHorizon(_ cells: UnsafePointer<Float>, bins: Int) -> Float {
        var sum: Float = 0
        for b in 0..<bins { sum += cells[b] }
        return sum
    }

    static let sign: Float = 1

    /// Money of a landmark.
    static func prior(_ rate: PopulationRates.Cell) -> Float { Float(rate.money / rate.atRisk) }
    static let firstPrior: Float = 0
    static func prior(before: Float, ratio: Float) -> Float { before * ratio }

    /// Refunds may outweigh purchases; a prediction of money is never negative.
    static func outcome(total: Float) -> Float { max(0, total) }

    static func naive(_ h: UnsafeMutablePointer<LandmarkHeader>, ofAnyEvent: Bool, days: Float) -> Float {
        h.pointee.naiveValuePerDay * days
    }

    static func score(
        _ window: PrequentialWindow, _ prediction: KeyPath<PrequentialWindow.Sample, Float>
    ) -> PrequentialReport.Score { window.valueScore(prediction) }

    static func field(_ name: String) -> String { name }
    static let isPublishedAtLongestHorizonOnly = false
}
