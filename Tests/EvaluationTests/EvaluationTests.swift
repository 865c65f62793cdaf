import CEventParser
import Engine
import Foundation
import Simulation
import Terminal
import Testing

@testable import Evaluation

@Suite struct Scoring {
    /// Scores by their definitions, over all pairs and with equals among them.
    @Test func scoresAreWhatTheyAreCalled() {
        var random = SplitMix64(seed: 1)
        let n = 200
        let money = (0..<n).map { Double(Int.random(in: 0..<8, using: &random)) * 5 * Double($0 % 2) }
        let expected = (0..<n).map { _ in Double(Int.random(in: 0..<20, using: &random)) }
        let chance = (0..<n).map { _ in Double(Int.random(in: 1..<10, using: &random)) / 10 }
        let users = (0..<n).map { Int32($0 / 3) }
        let bought = money.map { $0 > 0 }
        func scores(_ weights: [UInt8]) -> Scores {
            let outcomes = ScoredOutcomes(users: (n + 2) / 3, user: users, money: money, bought: bought)
            return ScoredForecasts(outcomes, expected: expected, probability: chance).scores(weights)
        }
        func plain(_ at: [Int]) -> Scores {
            var s = Scores()
            let y = at.map { money[$0] }, p = at.map { expected[$0] }, q = at.map { chance[$0] },
                b = at.map { bought[$0] }
            let m = Double(at.count)
            s.mae = zip(y, p).reduce(0) { $0 + abs($1.0 - $1.1) } / m
            s.bias = p.reduce(0, +) / y.reduce(0, +)
            s.logLoss = zip(q, b).reduce(0) { $0 - log($1.1 ? $1.0 : 1 - $1.0) } / m
            var (wins, pairs) = (0.0, 0.0)
            for i in at.indices where b[i] {
                for j in at.indices where !b[j] {
                    pairs += 1
                    wins += q[i] > q[j] ? 1 : q[i] == q[j] ? 0.5 : 0
                }
            }
            s.auc = wins / pairs
            func ranks(_ x: [Double]) -> [Double] {
                x.map { v in Double(x.count { $0 < v }) + Double(x.count { $0 == v } + 1) / 2 }
            }
            let (ry, rp) = (ranks(y), ranks(p))
            let mean = (m + 1) / 2
            let cov = zip(ry, rp).reduce(0) { $0 + ($1.0 - mean) * ($1.1 - mean) }
            s.spearman =
                cov / (ry.reduce(0) { $0 + pow($1 - mean, 2) } * rp.reduce(0) { $0 + pow($1 - mean, 2) }).squareRoot()
            func gini(_ key: [Double]) -> Double {
                let order = key.indices.sorted { key[$0] != key[$1] ? key[$0] > key[$1] : $0 < $1 }
                var (c, area) = (0.0, 0.0)
                for i in order {
                    c += y[i]
                    area += c
                }
                return (area / c - (m + 1) / 2) / m
            }
            s.gini = gini(p) / gini(y)
            return s
        }
        func expectEqual(_ a: Scores, _ b: Scores) {
            for metric in Scores.metrics {
                #expect(abs(a[keyPath: metric.value] - b[keyPath: metric.value]) < 1e-5, "\(metric.name)")
            }
        }
        let once = [UInt8](repeating: 1, count: (n + 2) / 3)
        expectEqual(scores(once), plain(Array(0..<n)))
        // A user who counts three times is there three times.
        let weights = once.indices.map { UInt8($0 % 4) }
        let repeated = (0..<n).flatMap { i in Array(repeating: i, count: Int(weights[i / 3])) }
        expectEqual(scores(weights), plain(repeated))
    }

    /// Outcomes begin after the instant and end with the horizon: (t, t + h].
    @Test func outcomesOfAHorizon() {
        let (t, day): (Int64, Int64) = (1_700_000_000_000, 86_400_000)
        var log = EventLog()
        let user = log.place("u")
        for (at, money) in [(t, 10.0), (t + day, 20), (t + day + 1, 40)] { log.addPurchase(user, at: at, money: money) }
        for (from, days, money, purchases) in [
            (t - 1, 1, 10, 1), (t, 1, 20, 1), (t + 1, 1, 60, 2), (t + day, 1, 40, 1), (t - 1, 2, 70, 3),
            (t + 2 * day, 9, 0, 0),
        ] as [(Int64, Double, Double, Int)] {
            let outcome = log.outcome(user, from: from, days: days)
            #expect(outcome.money == money && outcome.purchases == purchases, "from \(from - t)")
        }
    }

    /// A whole order that comes again is no purchase; a new total takes the place of the former.
    @Test func outcomesOfWholeOrders() {
        let user = Array("u".utf8)
        var log = EventLog()
        user.withUnsafeBufferPointer { user in
            for (at, order, amount) in [(1, 7, 10.0), (2, 7, 10), (3, 8, 5), (4, 7, 16)] as [(Int64, UInt64, Double)] {
                var event = clvd_event()
                (event.user, event.user_length) = (user.baseAddress, 1)
                (event.type, event.flags) = (EventType.purchase.rawValue, UInt8(clvd_flag_whole_order.rawValue))
                (event.time_ms, event.order_hash, event.amount) = (at * 86_400_000, order, amount)
                log.add(event)
            }
        }
        let all = log.outcome(0, from: 0, days: 10)
        #expect(all.money == 21 && all.purchases == 2)
        let last = log.outcome(0, from: 3 * 86_400_000, days: 10)
        #expect(last.money == 6 && last.purchases == 0)
    }

    // MARK: Recovery

    /// Forecasts whose error is known: 10 a day, wrong by half until they are right again.
    @Test(arguments: [12, 30, 60])
    func recoveryCountsTheDays(wrongFor: Int) throws {
        let day: Int64 = 86_400_000
        var forecasts = Forecasts(horizons: [1])
        var log = EventLog()
        let user = log.place("u")
        for d in 0..<200 as Range<Int64> {
            log.addPurchase(user, at: d * day + day / 2, money: d < 100 ? 10 : 5)
            let right: Float = d < 100 ? 12 : 6
            let expected: Float = d >= 100 && d < 100 + Int64(wrongFor) ? 10 : right
            forecasts.rows.append(
                .init(
                    user: user, horizon: 0, landmark: Int32(d), timeMs: d * day, expected: expected, probability: 1,
                    interval: .nothing, fromModel: true))
        }
        let found = try #require(Recovery(forecasts, horizon: 0, log, changeMs: 100 * day))
        #expect(abs(found.earlierError - 0.2) < 1e-6 && abs(found.worstError - 1) < 1e-6)
        // A window of seven days is right when all of it is.
        #expect(found.days == Double(wrongFor + 7), "\(found)")
        #expect(Recovery(forecasts, horizon: 0, log, changeMs: 0) == nil)
    }

    // MARK: Truth and bins

    /// The truth of a user is what they do while they are there.
    @Test func trulyExpected() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "clvd-truth-\(UUID().uuidString).csv")
        defer { try? FileManager.default.removeItem(at: file) }
        let text = """
            user_id,start_ms,churn_ms,purchase_rate_per_day,churn_rate_per_day,mean_order_value,purchases,spend
            a,0,1000,0.5,0.1,20,1,20
            """
        try text.write(to: file, atomically: false, encoding: .utf8)
        let user = try #require(try TruthFile(path: file.path).users["a"])
        #expect(abs(user.expected(at: 500, days: 7) - 0.5 * 20 * (1 - exp(-0.7)) / 0.1) < 1e-9)
        #expect(user.expected(at: 1000, days: 7) == 0)
    }

    @Test func bins() {
        for (horizons, edges) in [
            ([30, 90], [7, 30, 90]), ([7, 14], [2, 7, 14]), ([1], [0.25, 1]), ([365], [6, 23, 91, 365]),
            ([7, 90], [2, 7, 23, 90]), ([14, 28, 56], [3, 14, 28, 56]), ([30], [7, 30]),
        ] as [([Double], [Double])] {
            #expect(EvaluationTargets.binEdges(horizons) == edges)
        }
    }
}

@Suite struct Days {
    /// Terminal and engine each write days; people and programs are to read the same.
    @Test(arguments: [(0.25, "0.25"), (0.5, "0.5"), (1, "1"), (7, "7"), (30, "30")])
    func areWrittenInOneWay(days: Double, text: String) {
        #expect(HorizonDays.text(days) == text)
        #expect(Human.days(days) == text)
    }
}

@Suite struct QualityInPlainWords {
    /// Twenty landmarks: the tenth are two.
    @Test func theTopTenth() {
        var money = [Double](repeating: 1, count: 20)
        (money[3], money[7]) = (40, 22)
        var said = money.indices.map { 1 + Double($0) / 100 }
        // 80 in all, of which 40 and 1 are named.
        (said[3], said[5]) = (9, 8)
        #expect(abs(Quality.topTenthShare(money, by: said) - 41 / 80) < 1e-12)
        #expect(abs(Quality.topTenthShare(money, by: money) - 62 / 80) < 1e-12)
        // One place is left for 19 who are equals: a nineteenth of what they brought.
        #expect(abs(Quality.topTenthShare(money, by: (0..<20).map { $0 == 3 ? 1 : 0 }) - (40 + 40 / 19.0) / 80) < 1e-12)
        #expect(Quality.tenth(4) == 1 && Quality.tenth(14) == 1 && Quality.tenth(15) == 2)
    }
}

@Suite struct ChurnScores {
    /// Five landmarks on day 10, and what comes within ten days; the last has its end after the record's.
    @Test func byHand() throws {
        let day: Int64 = 86_400_000
        var log = EventLog()
        // The second comes back on the last instant that counts, the third one millisecond too late.
        for (u, times) in [[5, 25], [5 * day, 20 * day], [9 * day, 20 * day + 1], [1 * day], [2 * day]].enumerated() {
            Array("u\(u)".utf8).withUnsafeBufferPointer { id in
                for t in times {
                    var event = clvd_event()
                    (event.user, event.user_length) = (id.baseAddress, UInt32(id.count))
                    (event.type, event.time_ms) = (EventType.view.rawValue, Int64(t))
                    log.add(event)
                }
            }
        }
        var forecasts = Forecasts(horizons: [10], churnDays: 10)
        for (u, p) in [0.9, 0.3, 0.2, 0.6].enumerated() {
            forecasts.churn.append(.init(user: Int32(u), timeMs: 10 * day, probability: Float(p)))
        }
        // Not known yet, and not over yet: neither counts.
        forecasts.churn.append(.init(user: 4, timeMs: 2 * day - 1, probability: 0.5))
        forecasts.churn.append(.init(user: 4, timeMs: 10 * day + 2, probability: 0.5))
        let churn = try #require(Quality.churn(forecasts, log))
        // Gone: 0.9, 0.2 and 0.6; back: 0.3. Of three pairs two are in order.
        #expect(churn.landmarks == 4 && churn.gone == 0.75)
        #expect(abs(try #require(churn.auc) - 2 / 3.0) < 1e-6)
        #expect(abs(churn.logLoss + (log4(0.9) + log4(0.7) + log4(0.2) + log4(0.6))) < 1e-6)
        #expect(churn.tenth == 1 && churn.precisionAtTenth == 1)
        #expect(Quality.churn(Forecasts(horizons: [10]), log) == nil)
    }

    private func log4(_ p: Double) -> Double { Foundation.log(p) / 4 }
}

@Suite struct Alerting {
    private static let day: Int64 = 86_400_000

    private func log(_ users: [[Int64]]) -> EventLog {
        var log = EventLog()
        for (u, days) in users.enumerated() {
            Array("u\(u)".utf8).withUnsafeBufferPointer { id in
                for d in days {
                    var event = clvd_event()
                    (event.user, event.user_length) = (id.baseAddress, UInt32(id.count))
                    (event.type, event.time_ms, event.amount) = (EventType.purchase.rawValue, d * Self.day, 1)
                    log.add(event)
                }
            }
        }
        return log
    }

    /// Five customers over 200 days; who is silent for the last 50 has left, alerts of the last 50 are not judged.
    @Test func aRecordSaysWhoLeft() {
        // Last seen on days 40, 200, 140, 170 and 90.
        let log = log([[0, 40], [0, 100, 200], [5, 140], [0, 170], [90]])
        let known = AlertReport.known(log, from: 0, censoredDays: 50)
        #expect(known.lastMs == 150 * Self.day)
        #expect(known.leftMs == [40 * Self.day + 1, .max, 140 * Self.day + 1, .max, 90 * Self.day + 1])
        // The third one left ten days before what is judged ends, and had no time to be noticed.
        #expect(known.leavers == [0, 4])
        func raised(_ day: Int64, _ until: Int64 = .max) -> AlertReport.Raised {
            .init(atMs: day * Self.day + 1, untilMs: until == .max ? .max : until * Self.day)
        }
        let alerts = [
            // Before the last event: wrong; the one that stands after it is right, and 20 days late.
            [raised(20, 40), raised(60)], [raised(60, 100)], [raised(145)], [raised(160, 170)], [],
        ]
        let rule = AlertReport.judge("r", alerts, known)
        #expect(rule.raised == 4 && rule.precision == 0.5 && rule.recall == 0.5)
        #expect(rule.medianDelayDays == 20 && rule.earlyShare == 0)
        // Raised before the last event, and never cleared.
        let early = AlertReport.judge("r", [[raised(20)], [], [], [], [raised(91)]], known)
        #expect(early.earlyShare == 0.5 && early.precision == 0.5 && early.recall == 1)
    }

    /// The 95th percentile of silences that ended, never below 30 days or above a quarter of the record.
    @Test func theEndIsCensored() {
        let regular = (0...200 as ClosedRange<Int64>).map { $0 * 2 }
        #expect(AlertReport.censoredDays(log([regular])) == 30)
        let slow = (0...10 as ClosedRange<Int64>).map { $0 * 40 }
        #expect(AlertReport.censoredDays(log([slow])) == 40)
        #expect(AlertReport.censoredDays(log([[0, 190, 400]])) == 100)
    }

    @Test func silences() {
        let log = log([[0, 10, 40], [20]])
        let alerts = AlertReport.silences(log, from: 5 * Self.day, 15) { _, _, days in days }
        #expect(alerts[0] == [.init(atMs: 25 * Self.day, untilMs: 40 * Self.day)])
        #expect(alerts[1] == [.init(atMs: 35 * Self.day, untilMs: .max)])
    }

    @Test func theLeastNumberThatIsPreciseEnough() {
        let found = AlertReport.least(1...1000, reaching: 0.8) { $0 / 100 }
        #expect(abs(found - 80) < 0.01)
        // No alerts at all are wrong in nothing.
        #expect(AlertReport.least(1...1000, reaching: 0.9) { $0 < 50 ? 0 : nil } < 50.1)
    }

    /// The posterior of death by small steps of a hidden Markov chain, against the closed form.
    @Test(arguments: [(0.1, 0.3, 0.9), (0.01, 0.05, 0.5), (0.3, 0.02, 0.99)])
    func theFilterOfLifeAndDeath(churn: Double, visits: Double, probability: Double) {
        var user = TruthFile.User(churnMs: 0, purchasesPerDay: 1, churnPerDay: churn, meanOrderValue: 1)
        user.visitsPerDay = visits
        let step = 1e-4
        var (alive, dead, time) = (1.0, 0.0, 0.0)
        while dead / (alive + dead) < probability {
            dead += alive * churn * step
            alive *= 1 - (churn + visits) * step
            time += step
        }
        #expect(abs(user.silence(odds: probability / (1 - probability)) - time) < 0.01 + 1e-3 * time)
    }
}
