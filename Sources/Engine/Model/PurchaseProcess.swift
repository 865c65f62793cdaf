import CKernels
import Glibc

/// Purchases as a process that dies: while customers live they buy as a Poisson process of rate λ, and a life lasts an
/// exponential time of rate μ (Schmittlein, Morrison and Colombo 1987, "Counting Your Customers"). Instead of gamma
/// distributions, (λ, μ) has a distribution over the nodes of a grid, which a stream can teach and which gives every
/// quantity in closed form. All that it knows of customers is in their snapshot features.
struct PurchaseProcess: Codable, Equatable {
    /// Purchases per day, and deaths per day, of the nodes: node = rate · deathRates.count + death.
    static let rates = geometric(from: 1.0 / 1500, to: 1.0 / 1.5, count: 8)
    static let deathRates = [1e-5] + geometric(from: 1.0 / 3000, to: 0.1, count: 4)
    static let nodes = rates.count * deathRates.count
    /// Customers between two steps of learning; the first steps are taken after fewer, each after twice as many as the one
    /// before, so that a stream soon has a population of its own.
    static let batch = 256
    private static let firstBatch = 16
    /// Customers after which what was learned counts a third.
    static let memory = 50_000.0
    /// Purchase days that a customer's mean spend weighs as much as the population's.
    static let spendPrior = 6.0

    /// Distribution over the nodes.
    private(set) var weights = [Double](repeating: 1 / Double(nodes), count: nodes)
    /// Mean over customers of their money per purchase day.
    private(set) var spend = 0.0
    private var steps = 0
    private var count = 0
    private var sums = [Double](repeating: 0, count: nodes)
    private var spendSum = 0.0

    /// What there is to know of a customer: days with a purchase after the first, days from the first purchase to the
    /// last and to now, money per day with a purchase.
    struct History {
        var repeats: Float
        var last: Float
        var now: Float
        var spend: Float

        /// The same of days with any event, from a finished row of snapshot features; there is no money in it.
        @inline(__always)
        init(activity features: UnsafePointer<Float>) {
            now = expm1f(features[SnapshotFeatures.tenure])
            last = max(0, now - expm1f(features[SnapshotFeatures.recency]))
            repeats = max(0, expm1f(features[SnapshotFeatures.daysActive]) - 1)
            spend = 0
        }

        /// From a finished row of snapshot features; nil for who has not bought.
        @inline(__always)
        init?(_ features: UnsafePointer<Float>) {
            let days = expm1f(features[SnapshotFeatures.purchaseDays])
            guard days > 0.5 else { return nil }
            now = expm1f(features[SnapshotFeatures.purchaseTenure])
            last = max(0, now - expm1f(features[SnapshotFeatures.purchaseRecency]))
            repeats = max(0, days - 1)
            spend = expm1f(features[SnapshotFeatures.value]) / days
        }
    }

    /// One customer teaches: stepwise expectation maximisation (Liang and Klein 2009, "Online EM for Unsupervised
    /// Models") in batches.
    /// - Parameter responsibilities: P(node | history) of the present weights.
    /// - Returns: whether this completed a batch, so that the weights are new.
    mutating func observe(_ history: History, responsibilities: UnsafePointer<Float>) -> Bool {
        for k in 0..<Self.nodes { sums[k] += Double(responsibilities[k]) }
        spendSum += Double(history.spend)
        count += 1
        guard count >= min(Self.batch, Self.firstBatch << min(steps, 4)) else { return false }
        let rate = max(pow(Double(steps + 2), -0.7), Double(Self.batch) / Self.memory)
        // No node dies out: what is not seen today may come.
        let floor = 1e-6
        var total = 0.0
        for k in 0..<Self.nodes {
            weights[k] = max(floor, (1 - rate) * weights[k] + rate * sums[k] / Double(count))
            total += weights[k]
            sums[k] = 0
        }
        for k in 0..<Self.nodes { weights[k] /= total }
        spend = steps == 0 ? spendSum / Double(count) : (1 - rate) * spend + rate * spendSum / Double(count)
        spendSum = 0
        count = 0
        steps += 1
        return true
    }

    /// Whether a snapshot brought all that belongs together.
    var isWhole: Bool {
        weights.count == Self.nodes && sums.count == Self.nodes && weights.allSatisfy { $0 > 0 && $0 <= 1 }
            && sums.allSatisfy { $0 >= 0 && $0.isFinite } && spend.isFinite && spendSum.isFinite
            && (0..<Self.batch).contains(count) && (0...Int(StateCheck.counts.upperBound)).contains(steps)
    }

    private static func geometric(from: Double, to: Double, count: Int) -> [Double] {
        (0..<count).map { from * pow(to / from, Double($0) / Double(count - 1)) }
    }
}

/// A purchase process ready to forecast: its nodes and bins in flat memory.
///
/// After the last purchase of a living customer, whatever comes first ends the wait: the next purchase (rate λ) or death
/// (rate μ). So the customer returns with probability λ/(λ+μ), and the wait lasts an exponential time of rate s = λ+μ in
/// either case. For x purchases after the first, the last of them at t, and now T (days since the first purchase):
///
///     P(history, returns)       = λ^x · λ/s · e^(-sT)       the wait goes on at T
///     P(history, never returns) = λ^x · μ/s · e^(-st)       death ends the wait, before T or after it
///
/// Their sum is the likelihood of Schmittlein, Morrison and Colombo (1987). Split by who is alive now it is
/// λ^x · e^(-sT) for the living and λ^x · μ/s · (e^(-st) - e^(-sT)) for the dead, a difference of near numbers right after
/// a purchase; who returns needs none.
final class PurchaseForecast {
    private static let nodes = PurchaseProcess.nodes
    private static let hopeless: Float = -87
    private let bins: Int
    /// Of each node: log λ, λ + μ, log of weight · μ/(λ+μ) and of weight · λ/(λ+μ).
    private let logRate: UnsafeMutablePointer<Float>
    private let total: UnsafeMutablePointer<Float>
    private let leaves: UnsafeMutablePointer<Float>
    private let returns: UnsafeMutablePointer<Float>
    /// [bins × nodes] for customers who return: P(a purchase before the bin's end), P(a purchase in the bin), expected
    /// purchases in the bin.
    private let before: UnsafeMutablePointer<Float>
    private let any: UnsafeMutablePointer<Float>
    private let number: UnsafeMutablePointer<Float>
    private var spend: Float = 0

    /// - Parameter ends: ends of the bins, days.
    init(ends: [Double]) {
        let n = Self.nodes
        bins = ends.count
        func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
            let p = UnsafeMutablePointer<Float>.allocate(capacity: count)
            p.initialize(repeating: 0, count: count)
            return p
        }
        (logRate, total, leaves, returns) = (floats(n), floats(n), floats(n), floats(n))
        (before, any, number) = (floats(n * bins), floats(n * bins), floats(n * bins))
        for (i, rate) in PurchaseProcess.rates.enumerated() {
            for (j, death) in PurchaseProcess.deathRates.enumerated() {
                let (k, s) = (i * PurchaseProcess.deathRates.count + j, rate + death)
                logRate[k] = Float(log(rate))
                total[k] = Float(s)
                // Each is the living customer's divided by λ/s, as only who returns buys. That of the bin: alive at its
                // start, P = e^(-μ·start), and a purchase before death within it.
                func some(_ days: Double) -> Double { -expm1(-s * days) }
                for (b, end) in ends.enumerated() {
                    let start = b == 0 ? 0 : ends[b - 1]
                    before[b * n + k] = Float(some(end))
                    any[b * n + k] = Float(exp(-death * start) * some(end - start))
                    number[b * n + k] = Float(s / death * exp(-death * start) * -expm1(-death * (end - start)))
                }
            }
        }
        set(PurchaseProcess())
    }

    deinit { for p in [logRate, total, leaves, returns, before, any, number] { p.deallocate() } }

    func set(_ process: PurchaseProcess) {
        spend = Float(process.spend)
        for k in 0..<Self.nodes {
            let rate = PurchaseProcess.rates[k / PurchaseProcess.deathRates.count]
            let death = PurchaseProcess.deathRates[k % PurchaseProcess.deathRates.count]
            leaves[k] = Float(log(process.weights[k] * death / (rate + death)))
            returns[k] = Float(log(process.weights[k] * rate / (rate + death)))
        }
    }

    /// P(node, never returns) and P(node, returns) given a history, [nodes] each. They sum to 1.
    @inline(__always)
    func posterior(
        _ h: PurchaseProcess.History, leaves d: UnsafeMutablePointer<Float>, returns a: UnsafeMutablePointer<Float>
    ) {
        let n = Self.nodes
        var most = -Float.infinity
        for k in 0..<n {
            let bought = h.repeats * logRate[k]
            d[k] = bought + leaves[k] - total[k] * h.last
            a[k] = bought + returns[k] - total[k] * h.now
            most = max(most, max(d[k], a[k]))
        }
        for k in 0..<n {
            d[k] = max(Self.hopeless, d[k] - most)
            a[k] = max(Self.hopeless, a[k] - most)
        }
        clvd_exp(n, d, d)
        clvd_exp(n, a, a)
        var sum: Float = 0
        for k in 0..<n { sum += d[k] + a[k] }
        let scale = 1 / sum
        for k in 0..<n {
            d[k] *= scale
            a[k] *= scale
        }
    }

    /// P(node | history), [nodes].
    func responsibilities(_ h: PurchaseProcess.History, into r: UnsafeMutablePointer<Float>) {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: Self.nodes) { a in
            posterior(h, leaves: r, returns: a.baseAddress!)
            for k in 0..<Self.nodes { r[k] += a[k] }
        }
    }

    /// What the process expects of a bin.
    struct Expectation {
        /// P(the next purchase in the bin | none in earlier bins).
        var hazard: Float
        /// P(a purchase in the bin), and the expected number.
        var some: Float
        var number: Float
    }

    /// - Parameter body: gets each bin with what is expected of it.
    @inline(__always)
    func forEachBin(_ h: PurchaseProcess.History, _ body: (Int, Expectation) -> Void) {
        let n = Self.nodes
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * n) { buffer in
            let (d, a) = (buffer.baseAddress!, buffer.baseAddress! + n)
            posterior(h, leaves: d, returns: a)
            var earlier: Float = 0
            for b in 0..<bins {
                var (until, some, mean): (Float, Float, Float) = (0, 0, 0)
                for k in 0..<n {
                    until += a[k] * before[b * n + k]
                    some += a[k] * any[b * n + k]
                    mean += a[k] * number[b * n + k]
                }
                let hazard = (until - earlier) / max(1e-6, 1 - earlier)
                earlier = until
                body(b, Expectation(hazard: hazard, some: some, number: mean))
            }
        }
    }

    /// Mean money of a purchase day: the customer's own, drawn to the population's as far as that is known.
    /// - Parameter h: nil for who has not bought.
    @inline(__always)
    func money(_ h: PurchaseProcess.History?) -> Float {
        guard let h else { return spend }
        let k = spend > 0 ? Float(PurchaseProcess.spendPrior) : 0
        return (k * spend + (h.repeats + 1) * h.spend) / (k + h.repeats + 1)
    }

    /// What the process says where a model's heads say it, in their terms: the logit of a bin's probability, and for
    /// value heads the log of the mean money of who buys, less `meanLogSpend`. Zero for heads that are not of purchases.
    /// - Returns: false, with all zeros, for who has not bought.
    @inline(__always)
    func outputs(
        _ features: UnsafePointer<Float>, _ layout: ModelLayout, purchaseHeads: [Bool],
        meanLogSpend: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>
    ) -> Bool {
        for o in 0..<layout.outputs { out[o] = 0 }
        guard let h = PurchaseProcess.History(features) else { return false }
        let money = money(h)
        forEachBin(h) { b, expected in
            for (i, head) in layout.heads.enumerated() where purchaseHeads[i] {
                let o = layout.output(head: i, bin: b)
                guard head.kind.isMoney else {
                    out[o] = Self.logit(expected.hazard)
                    continue
                }
                out[o] = Self.logit(expected.some)
                let perBuyer = money * expected.number / max(1e-9, expected.some)
                out[o + 1] = logf(max(1e-3, perBuyer)) - meanLogSpend[layout.cell(head: i, bin: b)]
            }
        }
        return true
    }

    @inline(__always)
    static func logit(_ p: Float) -> Float {
        let q = max(1e-5, min(1 - 1e-5, p))
        return logf(q / (1 - q))
    }
}
