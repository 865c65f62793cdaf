import Glibc

/// A forecast from counts and times alone, which needs no training and so answers from a customer's first event on. A
/// network that was taught little has to beat it before it has a say (`ForecastShares`).
///
/// - Purchases of who has bought: the purchase process, with the customer's own spend drawn to the population's.
/// - Any event: the same process over days with an event.
/// - Everything else, first purchases among it: at a constant rate per day with an event. Outcomes correct the level.
final class BaseForecast {
    /// Counts that the population is known by before a stream teaches it (chosen, not measured).
    struct Population: Codable, Equatable {
        var purchases = PurchaseProcess()
        var activity = PurchaseProcess()
        /// Of landmarks: those of customers who have bought, and days with an event of those who have not.
        var buyers = 0.0
        var idleDays = 0.0

        /// First purchases per day with an event, five days with a tenth of one beside them.
        var conversion: Double { (buyers + 0.5) / (buyers + idleDays + 5) }

        init() {}

        /// What a snapshot before format 8 knew of it.
        init(formerly process: PurchaseProcess?) {
            if let process { purchases = process }
        }

        /// - Parameter features: a finished row.
        mutating func observeConversion(_ features: UnsafePointer<Float>) {
            if PurchaseProcess.History(features) != nil {
                buyers += 1
            } else {
                idleDays += Double(expm1f(features[SnapshotFeatures.daysActive]))
            }
        }

        var isWhole: Bool {
            purchases.isWhole && activity.isWhole && buyers >= 0 && idleDays >= 0 && buyers.isFinite
                && idleDays.isFinite
        }
    }

    /// Hits per day with an event of what is neither a purchase nor any event, before outcomes are known.
    private static let otherRate: Float = 0.05

    private let layout: ModelLayout
    private let purchaseHeads: [Bool]
    private let activityHeads: [Bool]
    private let ofPurchases: [Bool]
    let purchases: PurchaseForecast
    let activity: PurchaseForecast
    private var conversion: Float = 0
    /// [cells] of the raw σ of log spend of the population.
    private let rawSigma: UnsafeMutablePointer<Float>

    init(_ settings: EngineSettings) {
        layout = settings.model
        purchaseHeads = settings.purchaseHeads
        activityHeads = settings.configuration.targets.map {
            $0.events.isEmpty && $0.category == nil && !$0.kind.isMoney && $0.kind.isCorrected
        }
        ofPurchases = settings.configuration.targets.map { $0.kind.rules.isOfPurchases(events: $0.events) }
        purchases = PurchaseForecast(ends: settings.binEndDays)
        activity = PurchaseForecast(ends: settings.binEndDays)
        rawSigma = .allocate(capacity: settings.targetTable.cells)
        rawSigma.initialize(repeating: Self.raw(sigma: 1), count: settings.targetTable.cells)
        set(Population())
    }

    deinit { rawSigma.deallocate() }

    func set(_ population: Population) {
        purchases.set(population.purchases)
        activity.set(population.activity)
        conversion = Float(population.conversion)
    }

    /// - Parameter priorSigma: [cells] of σ of log spend of the population.
    func set(sigmas priorSigma: UnsafePointer<Float>) {
        for cell in 0..<layout.cells { rawSigma[cell] = Self.raw(sigma: priorSigma[cell]) }
    }

    /// The inverse of `Network.sigma`.
    private static func raw(sigma: Float) -> Float {
        logf(max(1e-6, expm1f(max(2 * Network.minimumSigma, sigma) - Network.minimumSigma)))
    }

    /// What heads would have to say to forecast the same: the logit of a bin's probability; for value heads also the log
    /// of the mean money of who buys, less `meanLogSpend`, and raw σ. Zero for heads that outcomes do not correct.
    /// - Returns: whether the customer has bought.
    @inline(__always)
    func outputs(
        _ features: UnsafePointer<Float>, meanLogSpend: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>
    ) -> Bool {
        let bought = purchases.outputs(
            features, layout, purchaseHeads: purchaseHeads, meanLogSpend: meanLogSpend, into: out)
        let history = PurchaseProcess.History(features)
        let money = purchases.money(history)
        activity.forEachBin(PurchaseProcess.History(activity: features)) { b, expected in
            for (i, head) in layout.heads.enumerated() where head.kind.isCorrected {
                let (o, cell) = (layout.output(head: i, bin: b), layout.cell(head: i, bin: b))
                if head.kind.isMoney { out[o + 2] = rawSigma[cell] }
                if bought && purchaseHeads[i] { continue }
                if activityHeads[i] {
                    out[o] = PurchaseForecast.logit(expected.hazard)
                    continue
                }
                let number = (ofPurchases[i] ? conversion : Self.otherRate) * expected.number
                let some = -expm1f(-number)
                out[o] = PurchaseForecast.logit(some)
                guard head.kind.isMoney else { continue }
                out[o + 1] = logf(max(1e-3, money * number / max(1e-9, some))) - meanLogSpend[cell]
            }
        }
        return bought
    }
}
