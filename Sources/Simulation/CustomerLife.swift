import Foundation

/// All that one simulated customer ever does, and what of it nobody sees.
struct CustomerLife: Sendable {
    var user: SimulatedUser
    /// The hidden numbers of the law; what they are is said where they are used.
    var hidden: Hidden
    /// Times of visits up to the end of the period, ascending, and whether each ends with a purchase.
    var visits: [(timeMs: Int64, buys: Bool)] = []
    /// Bursts: when the process was switched, off at first (it is on at the start).
    var switches: [Int64] = []

    enum Hidden: Sendable, Equatable {
        /// Visits per day.
        case poisson
        /// The contract's length, and the chance to leave at a renewal.
        case renewals(periodMs: Int64, leaves: Double)
        case seasonal
        /// The chance to leave after a purchase.
        case dropout(leaves: Double)
        /// How often a day a burst starts.
        case bursts(starts: Double)
    }

    private static let dayMs = 86_400_000.0
    private static let longest = 1e6

    /// A customer of the Poisson law, whose visits are drawn as events are asked for.
    init(poisson user: SimulatedUser) { (self.user, hidden) = (user, .poisson) }

    /// Draws a customer of a law other than the Poisson one.
    init(_ index: Int, days: Double, seed: UInt64, _ p: ClickstreamParameters) {
        var streams = SplitMix64(seed: seed)
        var random = SplitMix64(seed: streams.next() ^ (UInt64(index) &+ 1) &* 0xD134_2543_DE82_EF95)
        random = SplitMix64(seed: random.next())
        let startMs =
            p.startMs + Int64(random.uniform() * min(p.acquisitionDays ?? days * 0.6, days) * Self.dayMs)
        let endMs = p.startMs + Int64(days * Self.dayMs)
        let value = p.medianOrderValue * exp(p.orderValueSpreadOfUsers * random.normal())
        let rate = random.gamma(p.purchaseShape) / p.purchaseScaleDays
        let churnRate = random.gamma(p.churnShape) / p.churnScaleDays
        let lifeMs = Int64(min(random.exponential() / churnRate, Self.longest) * Self.dayMs)
        func make(_ churnMs: Int64, _ rate: Double, _ churnRate: Double, _ value: Double) -> SimulatedUser {
            SimulatedUser(
                id: SimulatedEvent.userID(index), startMs: startMs, churnMs: churnMs, purchaseRatePerDay: rate,
                churnRatePerDay: churnRate, meanOrderValue: value)
        }
        switch p.law {
        case .poisson: preconditionFailure("the Poisson law is drawn as events are asked for")
        case .renewals(let law):
            let leaves = random.beta(law.leaveA, law.leaveB)
            let days = law.period(random.uniform())
            let periodMs = Int64(days * Self.dayMs)
            let renewals = min(Self.longest, 1 + floor(log(random.uniform()) / log1p(-min(leaves, 1 - 1e-12))))
            let churnMs = startMs + Int64(renewals * Double(periodMs))
            user = make(churnMs, 1 / days, leaves / days, value * days / 30)
            hidden = .renewals(periodMs: periodMs, leaves: leaves)
            var due = startMs
            while due < min(churnMs, endMs) {
                let late = due == startMs ? 0 : min(law.latestDays, random.exponential() * law.delayDays)
                visits.append((due + Int64(late * Self.dayMs), true))
                due += periodMs
            }
            browse(p.browsingPerPurchase / days, startMs, min(churnMs, endMs), &random)
        case .seasonal(let law):
            user = make(startMs + lifeMs, rate, churnRate, value)
            hidden = .seasonal
            thin(law, rate * (1 + p.browsingPerPurchase), p.browsingPerPurchase, endMs, &random)
        case .dropout(let law):
            let leaves = random.beta(law.leaveA, law.leaveB)
            hidden = .dropout(leaves: leaves)
            visits = [(startMs, true)]
            var last = startMs
            // Purchases after the end of the period count only for when the customer leaves.
            while random.uniform() >= leaves {
                last += Int64(min(random.exponential() / rate, Self.longest) * Self.dayMs)
                if last < endMs { visits.append((last, true)) }
                if last > endMs + Int64(Self.longest * Self.dayMs) { break }
            }
            user = make(last, rate, leaves * rate, value)
            browse(rate * p.browsingPerPurchase, startMs, min(last, endMs), &random)
        case .bursts(let law):
            let starts = random.gamma(law.startShape) / law.startScaleDays
            let onShare = starts / (starts + law.endsPerDay)
            user = make(startMs + lifeMs, onShare * law.purchasesPerDay, churnRate, value)
            hidden = .bursts(starts: starts)
            burst(law, starts, p.browsingPerPurchase, endMs, &random)
        }
        visits.removeAll { $0.timeMs >= endMs }
        visits.sort { $0.timeMs < $1.timeMs }
    }

    /// Visits without a purchase: a Poisson process.
    private mutating func browse(_ perDay: Double, _ fromMs: Int64, _ toMs: Int64, _ random: inout SplitMix64) {
        guard perDay > 0 else { return }
        var time = Double(fromMs)
        while true {
            time += random.exponential() / perDay * Self.dayMs
            guard time < Double(toMs) else { return }
            visits.append((Int64(time), false))
        }
    }

    /// A Poisson process whose rate follows the season (thinning; Lewis and Shedler 1979).
    private mutating func thin(
        _ law: PurchaseLaw.Season, _ perDay: Double, _ browsing: Double, _ endMs: Int64, _ random: inout SplitMix64
    ) {
        let most = law.factor(atMs: 0, dayOfYear: law.peakDay)
        var time = Double(user.startMs)
        while true {
            time += random.exponential() / (perDay * most) * Self.dayMs
            guard time < Double(min(user.churnMs, endMs)) else { return }
            guard random.uniform() * most < law.factor(atMs: Int64(time)) else { continue }
            visits.append((Int64(time), random.uniform() * (1 + browsing) < 1))
        }
    }

    private mutating func burst(
        _ law: PurchaseLaw.Bursts, _ starts: Double, _ browsing: Double, _ endMs: Int64, _ random: inout SplitMix64
    ) {
        visits = [(user.startMs, true)]
        var from = Double(user.startMs)
        let end = Double(min(user.churnMs, endMs))
        while from < end {
            let off = from + random.exponential() / law.endsPerDay * Self.dayMs
            var time = from
            while true {
                time += random.exponential() / (law.purchasesPerDay * (1 + browsing)) * Self.dayMs
                guard time < min(off, end) else { break }
                visits.append((Int64(time), random.uniform() * (1 + browsing) < 1))
            }
            from = off + random.exponential() / starts * Self.dayMs
            switches += [Int64(min(off, 4e15)), Int64(min(from, 4e15))]
        }
    }
}

extension PurchaseLaw.Renewals {
    func period(_ uniform: Double) -> Double {
        var sum = 0.0
        for (days, share) in zip(periodsDays, shares) {
            sum += share
            if uniform < sum { return days }
        }
        return periodsDays[periodsDays.count - 1]
    }

    /// Chance that a payment has come so many days after it was due.
    func paid(_ days: Double) -> Double { days <= 0 ? 0 : days >= latestDays ? 1 : -expm1(-days / delayDays) }
}

extension PurchaseLaw.Season {
    /// s(t) at an instant, or on a day of the year.
    func factor(atMs timeMs: Int64, dayOfYear: Double? = nil) -> Double {
        let day = dayOfYear ?? Double(timeMs) / 86_400_000
        return exp(strength * cos(2 * .pi * (day - peakDay) / 365.2425)) / mean
    }

    /// The modified Bessel function I0.
    static func bessel(_ x: Double) -> Double {
        var (sum, term, k) = (1.0, 1.0, 1.0)
        while term > 1e-17 * sum {
            term *= x * x / 4 / (k * k)
            sum += term
            k += 1
        }
        return sum
    }
}
