import Foundation

/// How alerts fared, beside rules that reach the same precision: what counts is how soon.
///
/// Against the truth of simulated customers, an alert is right when its customer had left by then. On a record, it is
/// right when the customer stays silent to the end of it; what the last `censoredDays` hold is not judged, because
/// those who are silent then may yet come back.
package struct AlertReport: Encodable {
    package struct Rule: Encodable {
        package var rule: String
        package var raised: Int
        /// Share of the alerts whose customer had left by then.
        package var precision: Double?
        /// Share of the customers who left, and had time to be noticed, with an alert standing after it.
        package var recall: Double?
        /// Days from leaving to the alert, over those who were noticed.
        package var medianDelayDays: Double?
        /// Of those who were noticed, the share whose alert was raised before they left and still stood: no delay.
        package var earlyShare: Double?
    }

    package enum Basis: String, Encodable { case truth, record }

    package var basis: Basis
    /// Of a record: 95 % of the silences that ended were shorter, within 30 days and a quarter of the record.
    package var censoredDays: Double?
    /// Customers who bought and left in time to be noticed.
    package var churned: Int
    /// clvd first. A rule's one number is the least that makes it as precise as clvd's alerts are.
    package var rules: [Rule]
    /// clvd's median delay over that of the Bayes limit: who knows all rates of each customer, and nothing of life and
    /// death but the visits.
    package var delayOverLimit: Double?

    private static let dayMs: Int64 = 86_400_000
    private static let settleDays = 60.0

    /// An alert of a user, and until when it stands.
    struct Raised: Equatable {
        var atMs: Int64
        var untilMs: Int64
    }

    /// When whom left, and which alerts are judged.
    struct Known {
        /// By user; nil: not known, and not judged. `.max`: has not left.
        var leftMs: [Int64?]
        /// Who left in time to be noticed.
        var leavers: [Int]
        /// The last instant of alerts that are judged.
        var lastMs: Int64
    }

    /// - Parameter truth: of simulated customers; nil: the record says who left.
    package init(_ evaluation: Evaluation, _ truth: TruthFile?) {
        let log = evaluation.log
        let from = evaluation.servesFromMs ?? .max
        let model = Self.standing(evaluation.alerts, users: log.users.count)
        let known: Known
        if let truth {
            basis = .truth
            known = Self.known(log, from: from, truth)
        } else {
            basis = .record
            let days = Self.censoredDays(log)
            censoredDays = days
            known = Self.known(log, from: from, censoredDays: days)
        }
        churned = known.leavers.count
        let mine = Self.judge("clvd", model, known)
        rules = [mine]
        guard let precision = mine.precision else { return }
        func add(_ range: ClosedRange<Double>, _ name: (Double) -> String, _ days: (Int, Int, Double) -> Double) {
            let number = Self.least(range, reaching: precision) {
                Self.judge("", Self.silences(log, from: from, $0, days), known).precision
            }
            rules.append(Self.judge(name(number), Self.silences(log, from: from, number, days), known))
        }
        add(0.5...1000, { "silent for \(Self.text($0)) days" }, { $2 })
        let gaps = Self.usualGaps(log)
        add(0.1...1000, { "silent for \(Self.text($0)) usual gaps" }, { gaps[$0][$1] * $2 })
        guard let truth else { return }
        let users = log.users.map { truth.users[$0.id] }
        guard users.allSatisfy({ $0?.hasPoissonVisits ?? true }) else { return }
        add(1e-3...1e9, { "Bayes limit: left with \(Self.percent($0 / (1 + $0)))" }) {
            users[$0]?.silence(odds: $2) ?? 1e5
        }
        if let own = mine.medianDelayDays, let best = rules.last?.medianDelayDays, best > 0 {
            delayOverLimit = own / best
        }
    }

    // MARK: Who left

    private static func known(_ log: EventLog, from: Int64, _ truth: TruthFile) -> Known {
        let left = log.users.map { truth.users[$0.id]?.churnMs }
        return known(log, left, from: from, until: log.lastMs, settleDays: settleDays)
    }

    /// A customer who is silent for the rest of the record has left after the last event.
    static func known(_ log: EventLog, from: Int64, censoredDays: Double) -> Known {
        let until = log.lastMs - Int64(censoredDays * Double(dayMs))
        let left = log.users.map { user -> Int64? in
            guard let last = user.events.last else { return nil }
            return last <= until ? last + 1 : .max
        }
        return known(log, left, from: from, until: until, settleDays: censoredDays)
    }

    private static func known(
        _ log: EventLog, _ left: [Int64?], from: Int64, until: Int64, settleDays: Double
    ) -> Known {
        let leavers = log.users.indices.filter { i in
            guard let at = left[i], let first = log.users[i].purchases.first else { return false }
            return at >= max(from, first) && at < until - Int64(settleDays * Double(dayMs))
        }
        return Known(leftMs: left, leavers: leavers, lastMs: until)
    }

    /// The 95th percentile of the silences of more than a day that ended, of customers who had bought.
    static func censoredDays(_ log: EventLog) -> Double {
        var gaps: [Int64] = []
        for user in log.users {
            guard let first = user.purchases.first else { continue }
            for (a, b) in zip(user.events, user.events.dropFirst()) where a >= first && b - a > dayMs {
                gaps.append(b - a)
            }
        }
        gaps.sort()
        let usual = gaps.isEmpty ? 0 : Double(gaps[min(gaps.count - 1, gaps.count * 19 / 20)]) / Double(dayMs)
        return max(30, min(usual, Double(log.lastMs - log.firstMs) / Double(dayMs) / 4))
    }

    // MARK: Alerts

    /// The model's alerts by user.
    private static func standing(_ alerts: [Evaluation.Alert], users: Int) -> [[Raised]] {
        var all = [[Raised]](repeating: [], count: users)
        for alert in alerts {
            let u = Int(alert.user)
            if alert.isRaised {
                all[u].append(Raised(atMs: alert.atMs, untilMs: .max))
            } else if !all[u].isEmpty {
                all[u][all[u].count - 1].untilMs = alert.atMs
            }
        }
        return all
    }

    static func judge(_ rule: String, _ alerts: [[Raised]], _ known: Known) -> Rule {
        var result = Rule(rule: rule, raised: 0)
        var right = 0
        for (u, mine) in alerts.enumerated() {
            guard let left = known.leftMs[u] else { continue }
            for alert in mine where alert.atMs <= known.lastMs {
                result.raised += 1
                if alert.atMs >= left { right += 1 }
            }
        }
        if result.raised > 0 { result.precision = Double(right) / Double(result.raised) }
        var delays: [Double] = []
        for u in known.leavers {
            guard let left = known.leftMs[u],
                let first = alerts[u].first(where: { $0.untilMs > left && $0.atMs <= known.lastMs })
            else { continue }
            delays.append(Double(max(0, first.atMs - left)) / Double(dayMs))
        }
        guard !known.leavers.isEmpty else { return result }
        result.recall = Double(delays.count) / Double(known.leavers.count)
        if !delays.isEmpty { result.earlyShare = Double(delays.count { $0 == 0 }) / Double(delays.count) }
        delays.sort()
        if !delays.isEmpty { result.medianDelayDays = delays[delays.count / 2] }
        return result
    }

    /// Alerts of a rule: a customer who bought raises one when no event came for so many days, until the next comes.
    /// - Parameter days: of a user after an event, by the rule's number.
    static func silences(
        _ log: EventLog, from: Int64, _ number: Double, _ days: (Int, Int, Double) -> Double
    ) -> [[Raised]] {
        log.users.indices.map { u in
            let user = log.users[u]
            guard let first = user.purchases.first else { return [] }
            var raised: [Raised] = []
            for e in user.events.indices where user.events[e] >= first {
                let isLast = e + 1 == user.events.count
                let next = isLast ? log.lastMs : user.events[e + 1]
                let at = max(from, user.events[e] + Int64(min(days(u, e, number), 1e5) * Double(dayMs)))
                if at < next { raised.append(Raised(atMs: at, untilMs: isLast ? .max : next)) }
            }
            return raised
        }
    }

    /// Days between the days on which a user came, so far, at each event; with one gap of everybody's mean beside them.
    private static func usualGaps(_ log: EventLog) -> [[Double]] {
        func day(_ t: Int64) -> Int64 { t / dayMs }
        var (days, count) = (0.0, 0.0)
        var all: [[(span: Double, gaps: Double)]] = []
        for user in log.users {
            var gaps = 0.0
            var mine: [(Double, Double)] = []
            for (e, t) in user.events.enumerated() {
                if e > 0, day(t) > day(user.events[e - 1]) { gaps += 1 }
                mine.append((Double(day(t) - day(user.events[0])), gaps))
            }
            days += mine.last?.0 ?? 0
            count += gaps
            all.append(mine)
        }
        let usual = count > 0 ? days / count : 7
        return all.map { $0.map { ($0.span + usual) / ($0.gaps + 1) } }
    }

    /// The least number with which a rule is as precise as it shall be: the more, the more precise.
    static func least(
        _ range: ClosedRange<Double>, reaching wanted: Double, _ precision: (Double) -> Double?
    ) -> Double {
        var (low, high) = (range.lowerBound, range.upperBound)
        for _ in 0..<24 {
            let middle = (low * high).squareRoot()
            // A rule that is too slow to raise any alert is precise enough.
            if precision(middle) ?? 1 < wanted { low = middle } else { high = middle }
        }
        return high
    }

    private static func text(_ x: Double) -> String { String(format: "%.1f", x) }
    private static func percent(_ x: Double) -> String { String(format: "%.1f %%", 100 * x) }
}
