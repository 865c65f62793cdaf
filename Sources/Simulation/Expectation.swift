import Foundation

/// What is to be expected of a simulated customer after an instant, by one who knows all their numbers.
///
/// `knowing`: whether one also sees what nobody sees, that they have left or (bursts) are in a burst. If not, this
/// is inferred, exactly, from the visits up to the instant: no forecast can be better on average, whatever it has learned
/// (the Bayes limit for known parameters).
struct Expectation {
    let law: PurchaseLaw
    let life: CustomerLife
    /// Visits without a purchase for each one with.
    let browsing: Double

    private static let dayMs = 86_400_000.0

    struct Answer: Equatable {
        var purchases = 0.0
        /// Of at least one.
        var chance = 0.0
    }

    /// - Parameters:
    ///   - lastMs: the last visit at or before the instant.
    ///   - lastBuys: whether it ended with a purchase.
    func answer(
        atMs t: Int64, lastMs: Int64, lastBuys: Bool, days: Double, knowing: Bool
    ) -> Answer {
        let alive = t < life.user.churnMs
        if knowing, !alive { return Answer() }
        let idle = Double(t - lastMs) / Self.dayMs
        switch (law, life.hidden) {
        case (.renewals(let law), .renewals(let periodMs, let leaves)):
            return renewals(law, periodMs, leaves, t, lastMs, lastBuys, days, knowing)
        case (.seasonal(let law), _):
            let there = knowing ? 1 : seasonalAlive(law, lastMs, idle)
            return scaled(seasonal(law, t, days), there)
        case (.dropout, .dropout(let leaves)):
            return scaled(dropout(leaves, days), knowing ? 1 : dropoutAlive(leaves, idle, lastBuys))
        case (.bursts(let law), .bursts(let starts)):
            let b = Burst(law, starts: starts, leaves: life.user.churnRatePerDay, browsing: browsing)
            if knowing {
                let isOn = life.switches.count { $0 <= t } % 2 == 0
                return b.answer(on: isOn ? 1 : 0, off: isOn ? 0 : 1, days)
            }
            let (on, off) = b.belief(idleDays: idle)
            return b.answer(on: on, off: off, days)
        default:
            return scaled(poisson(days), knowing ? 1 : 1 - poissonDead(idle))
        }
    }

    private func scaled(_ a: Answer, _ by: Double) -> Answer {
        Answer(purchases: a.purchases * by, chance: a.chance * by)
    }

    // MARK: Poisson

    private func poisson(_ days: Double) -> Answer {
        let (rate, leaves) = (life.user.purchaseRatePerDay, max(life.user.churnRatePerDay, 1e-12))
        return Answer(
            purchases: rate * -expm1(-leaves * days) / leaves,
            chance: rate / (rate + leaves) * -expm1(-(rate + leaves) * days))
    }

    /// P(left | silent for so long after a visit).
    private func poissonDead(_ idle: Double) -> Double {
        let leaves = life.user.churnRatePerDay
        let all = life.user.purchaseRatePerDay * (1 + browsing) + leaves
        let dead = leaves / all * -expm1(-all * idle)
        return dead / (dead + exp(-all * idle))
    }

    // MARK: Season

    /// Quarter days at least, so that the trapezoidal rule is exact to 1e-4 of a purchase rate.
    private func steps(_ days: Double) -> Int { max(8, Int(days * 4)) }

    private func seasonal(_ law: PurchaseLaw.Season, _ t: Int64, _ days: Double) -> Answer {
        let (rate, leaves) = (life.user.purchaseRatePerDay, life.user.churnRatePerDay)
        let n = steps(days)
        let h = days / Double(n)
        var answer = Answer()
        var (sum, before, hazard) = (0.0, (0.0, 0.0), 0.0)
        for i in 0...n {
            let s = law.factor(atMs: t + Int64(Double(i) * h * Self.dayMs)) * rate
            if i > 0 { sum += h * (s + hazard) / 2 }
            let now = (s * exp(-leaves * Double(i) * h), s * exp(-leaves * Double(i) * h - sum))
            if i > 0 {
                answer.purchases += h * (before.0 + now.0) / 2
                answer.chance += h * (before.1 + now.1) / 2
            }
            (before, hazard) = (now, s)
        }
        return answer
    }

    private func seasonalAlive(_ law: PurchaseLaw.Season, _ lastMs: Int64, _ idle: Double) -> Double {
        guard idle > 0 else { return 1 }
        let rate = life.user.purchaseRatePerDay * (1 + browsing)
        let leaves = life.user.churnRatePerDay
        let n = steps(idle)
        let h = idle / Double(n)
        // Left at x: silent from then on for certain, and before it by chance.
        var (silence, dead, before, hazard) = (0.0, 0.0, 0.0, 0.0)
        for i in 0...n {
            let x = Double(i) * h
            let s = law.factor(atMs: lastMs + Int64(x * Self.dayMs)) * rate
            if i > 0 { silence += h * (s + hazard) / 2 }
            let density = leaves * exp(-leaves * x - silence)
            if i > 0 { dead += h * (before + density) / 2 }
            (before, hazard) = (density, s)
        }
        let alive = exp(-leaves * idle - silence)
        return alive / (alive + dead)
    }

    // MARK: Dropout

    private func dropout(_ leaves: Double, _ days: Double) -> Answer {
        let rate = life.user.purchaseRatePerDay
        return Answer(purchases: -expm1(-leaves * rate * days) / leaves, chance: -expm1(-rate * days))
    }

    private func dropoutAlive(_ leaves: Double, _ idle: Double, _ lastBuys: Bool) -> Double {
        guard lastBuys else { return 1 }
        let silent = (1 - leaves) * exp(-life.user.purchaseRatePerDay * (1 + browsing) * idle)
        return silent / (silent + leaves)
    }

    // MARK: Renewals

    private func renewals(
        _ law: PurchaseLaw.Renewals, _ periodMs: Int64, _ leaves: Double, _ t: Int64, _ lastMs: Int64, _ lastBuys: Bool,
        _ days: Double, _ knowing: Bool
    ) -> Answer {
        func inDays(_ ms: Int64) -> Double { Double(ms) / Self.dayMs }
        let start = life.user.startMs
        let dueMs = start + (t - start) / periodMs * periodMs
        let sinceDue = inDays(t - dueMs)
        let paid = life.visits.contains { $0.buys && $0.timeMs >= dueMs && $0.timeMs <= t }
        var there = 1.0
        if !knowing, !paid {
            // Renewed with the payment still to come, or gone when it was due. A visit since then: not gone.
            let renewed = (1 - leaves) * (1 - law.paid(sinceDue)) * exp(-browsing / inDays(periodMs) * sinceDue)
            there = lastMs >= dueMs ? 1 : renewed / (renewed + leaves)
            // A contract that was seen to end does not come to life again.
            if inDays(dueMs - lastPayment(t)) > inDays(periodMs) + law.latestDays { there = 0 }
        }
        guard there > 0 else { return Answer() }
        var (purchases, none) = (0.0, 1.0)
        // From the last renewal within the horizon back to the next.
        let count = Int((sinceDue + days) / inDays(periodMs))
        for r in stride(from: count, to: 0, by: -1) {
            let comes = law.paid(sinceDue + days - Double(r) * inDays(periodMs))
            none = leaves + (1 - leaves) * (1 - comes) * none
            purchases += pow(1 - leaves, Double(r)) * comes
        }
        if !paid {
            let left = 1 - law.paid(sinceDue)
            let comes = left > 0 ? (law.paid(sinceDue + days) - law.paid(sinceDue)) / left : 0
            purchases += comes
            none *= 1 - comes
        }
        return Answer(purchases: purchases * there, chance: (1 - none) * there)
    }

    private func lastPayment(_ t: Int64) -> Int64 {
        life.visits.last { $0.buys && $0.timeMs <= t }?.timeMs ?? life.user.startMs
    }
}

/// The two states of the interrupted Poisson process, and a third one, gone.
private struct Burst {
    let on, off, leaves, buys, visits: Double

    init(_ law: PurchaseLaw.Bursts, starts: Double, leaves: Double, browsing: Double) {
        (on, off, self.leaves, buys) = (law.endsPerDay, starts, leaves, law.purchasesPerDay)
        visits = law.purchasesPerDay * (1 + browsing)
    }

    /// P(on), P(off) after so long a silence that began with a visit.
    func belief(idleDays t: Double) -> (on: Double, off: Double) {
        // Mass that is silent: from on to off and back, or gone. The mass of those who are gone only adds up.
        let flow = Pair(a: -(visits + on + leaves), b: off, c: on, d: -(off + leaves))
        let (p, q) = flow.exponential(t, 1, 0)
        // ∫ of both: the solution of the same equations with what is there at the ends.
        let (sp, sq) = flow.solve(p - 1, q)
        let dead = leaves * (sp + sq)
        let all = p + q + dead
        return (p / all, q / all)
    }

    func answer(on p: Double, off q: Double, _ days: Double) -> Expectation.Answer {
        // Expected purchases by state: x' = Mx + b, from 0.
        let many = Pair(a: -(on + leaves), b: on, c: off, d: -(off + leaves)).from(0, adding: (buys, 0), days)
        // Chance of none: 1 when gone.
        let none = Pair(a: -(buys + on + leaves), b: on, c: off, d: -(off + leaves))
            .from(1, adding: (leaves, leaves), days)
        return Expectation.Answer(
            purchases: p * many.0 + q * many.1, chance: p * (1 - none.0) + q * (1 - none.1))
    }

    /// The matrix [[a, b], [c, d]] with b, c ≥ 0: its eigenvalues are real.
    private struct Pair {
        var a, b, c, d: Double

        /// exp(Mt) (x, y).
        func exponential(_ t: Double, _ x: Double, _ y: Double) -> (Double, Double) {
            let middle = (a + d) / 2
            let half = max(1e-12, ((a - d) * (a - d) / 4 + b * c).squareRoot())
            let (high, low) = (exp((middle + half) * t), exp((middle - half) * t))
            // exp(Mt) = f + g M.
            let g = (high - low) / (2 * half)
            let f = high - g * (middle + half)
            return (f * x + g * (a * x + b * y), f * y + g * (c * x + d * y))
        }

        /// M⁻¹ (x, y).
        func solve(_ x: Double, _ y: Double) -> (Double, Double) {
            let determinant = a * d - b * c
            return ((d * x - b * y) / determinant, (a * y - c * x) / determinant)
        }

        /// x(t) of x' = Mx + b where both begin with `value`.
        func from(_ value: Double, adding b: (Double, Double), _ t: Double) -> (Double, Double) {
            let rest = solve(-b.0, -b.1)
            let moved = exponential(t, value - rest.0, value - rest.1)
            return (rest.0 + moved.0, rest.1 + moved.1)
        }
    }
}
