import Engine
import Foundation
import Simulation
import Testing

@testable import clvd

/// What `clvd evaluate` says beyond its predictions: comparisons, the truth, recoveries, the page.
@Suite struct EvaluateReport {
    private let folder: Folder

    init() throws {
        folder = try Folder()
        // A model that fits a debug build and learns early.
        _ = try folder.write(
            """
            model: {units: 16, hidden: 16, categoryBuckets: 32, crossBuckets: 32}
            learning:
              batchSize: 96
              minimumSteps: 5
              warmupSteps: 5
              earlyStoppingInterval: 50
              maxLandmarks: 16384
              stepsPerThousandEvents: 8
              stepsPerDay: 1
            alerts: {raiseThreshold: 0.5, clearThreshold: 0.3}
            """, to: "clvd.yaml")
    }

    private func simulate(_ more: String...) throws {
        let run = try clvd(
            ["simulate", "--out", folder.path("e.csv"), "--truth", folder.path("t.csv"), "--no-progress"] + more)
        try #require(run.status == 0, "\(run.errors)")
    }

    private func evaluate(_ more: String...) throws -> Run {
        let run = try clvd(
            ["evaluate", "--events", folder.path("e.csv"), "--config", folder.path("clvd.yaml"), "--no-progress"]
                + more)
        try #require(run.status == 0, "\(run.errors)")
        return run
    }

    @Test func truthAndPage() throws {
        try simulate("--users", "300", "--days", "150", "--seed", "5", "--browsing-per-purchase", "0.5")
        let more = ["--truth", folder.path("t.csv"), "--report", folder.path("page")]
        let run = try clvd(
            [
                "evaluate", "--events", folder.path("e.csv"), "--config", folder.path("clvd.yaml"), "--no-progress",
                "--json",
            ] + more)
        try #require(run.status == 0, "\(run.errors)")
        let json = try run.json
        let truth = try #require(json["truth"] as? [String: Any])
        let correlations = try #require(truth["correlations"] as? [[String: Any]])
        #expect(correlations.map { $0["horizon_days"] as? Double } == [7, 30, 90])
        for c in correlations {
            #expect(try #require(c["pearson"] as? Double) > 0.3 && c["spearman"] as! Double > 0.3, "\(c)")
        }
        #expect(try #require(truth["churned"] as? Int) > 20)
        let alerts = try #require(truth["alerts"] as? [[String: Any]])
        #expect(alerts.count == 3 && alerts[0]["rule"] as? String == "clvd", "\(alerts)")
        let raised = alerts.compactMap { $0["raised"] as? Int }
        #expect(raised[0] > 20 && raised.dropFirst().allSatisfy { abs($0 - raised[0]) <= max(3, raised[0] / 5) })
        for a in alerts {
            #expect((0...1).contains(try #require(a["precision"] as? Double)))
            #expect((0...1).contains(try #require(a["recall"] as? Double)))
            #expect(try #require(a["median_delay_days"] as? Double) >= 0)
        }
        for p in try #require(json["prequential"] as? [[String: Any]]) {
            #expect((p["coverage"] as? Double != nil) == (p["target"] as? String == "clv"))
        }

        let page = try folder.read("page/index.html")
        #expect(page.contains("Cumulative gains, 7 days") && page.contains("Coverage of the 80 % intervals"))
        #expect(page.contains("prefers-color-scheme") && page.contains("role=\"img\" aria-label="))
        for outside in ["http:", "https:", "<script", "src=", "url(", "@import", "nan", "inf,"] {
            #expect(!page.contains(outside), "\(outside)")
        }
        // What is opened is closed, in order.
        var open: [Substring] = []
        for match in page.matches(of: /<(\/?)([a-z0-9]+)[^>]*?(\/?)>/) {
            let (_, closes, name, alone) = match.output
            if name == "meta" || !alone.isEmpty { continue }
            if closes.isEmpty { open.append(name) } else { #expect(open.popLast() == name) }
        }
        #expect(open.isEmpty)
    }

    /// The truth of a user is what they do while they are there.
    @Test func trulyExpected() throws {
        let path = try folder.write(
            """
            user_id,start_ms,churn_ms,purchase_rate_per_day,churn_rate_per_day,mean_order_value,purchases,spend
            a,0,1000,0.5,0.1,20,1,20
            """, to: "truth.csv")
        let user = try #require(try TruthFile(path: path).users["a"])
        #expect(abs(user.expected(at: 500, days: 7) - 0.5 * 20 * (1 - exp(-0.7)) / 0.1) < 1e-9)
        #expect(user.expected(at: 1000, days: 7) == 0)
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

    // MARK: Comparison

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

    /// clvd beside one who knows what comes, and one who knows nothing.
    @Test func comparesWithOthers() throws {
        try simulate("--users", "150", "--days", "90", "--seed", "3")
        let events = try folder.read("e.csv").split(separator: "\n").dropFirst().map {
            $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
        let day: Int64 = 86_400_000
        let start: Int64 = 1_704_067_200_000
        var landmarks = ["landmark_id,user_id,time_ms,horizons"]
        var others = ["landmark_id,horizon_days,expected_value,purchase_probability,model"]
        var number = 0
        for user in Set(events.map { $0[2] }).sorted() {
            let bought = events.filter { $0[2] == user && $0[3] == "purchase" }
            for d in stride(from: 20, to: 80, by: 10) as StrideTo<Int64> {
                let at = start + d * day
                let money = bought.filter { Int64($0[1])! > at && Int64($0[1])! <= at + 7 * day }
                    .reduce(0) { $0 + Double($1[8])! }
                landmarks.append("\(number),\(user),\(at),7")
                others.append("\(number),7,\(money + 0.01),\(money > 0 ? 0.99 : 0.01),seer")
                others.append("\(number),7,1,0.5,blind")
                others.append("\(number),7,0,0.5,mute")
                number += 1
            }
        }
        _ = try folder.write(landmarks.joined(separator: "\n"), to: "l.csv")
        _ = try folder.write(others.joined(separator: "\n"), to: "b.csv")
        _ = try folder.write(
            (others[0...0] + others.filter { !$0.hasSuffix("seer") }.dropFirst()).joined(separator: "\n"),
            to: "weak.csv")
        func rows(_ baselines: String) throws -> [String: [String: Any]] {
            let json = try evaluate(
                "--landmarks", folder.path("l.csv"), "--baselines", folder.path(baselines), "--resamples", "200",
                "--json"
            ).json
            let comparison = try #require(json["comparison"] as? [String: Any])
            let horizon = try #require((comparison["horizons"] as? [[String: Any]])?.first)
            #expect(horizon["silent"] as? [String] == ["mute"] && horizon["landmarks"] as? Int == number)
            let rows = try #require(horizon["rows"] as? [[String: Any]])
            return Dictionary(uniqueKeysWithValues: rows.map { ($0["metric"] as! String, $0) })
        }
        let strong = try rows("b.csv")
        #expect(Set(strong.keys) == ["gini", "spearman", "mae", "auc", "log_loss", "bias"])
        for name in ["gini", "spearman", "mae", "auc", "log_loss"] {
            let row = strong[name]!
            #expect(row["reference"] as? String == "seer" && row["verdict"] as? String == "worse", "\(row)")
            let (low, now, high) = (row["low"] as! Double, row["difference"] as! Double, row["high"] as! Double)
            #expect(low < now && now < high)
        }
        let weak = try rows("weak.csv")
        for name in ["auc", "log_loss", "gini"] {
            #expect(weak[name]!["reference"] as? String == "blind")
        }
    }

    @Test(arguments: [
        (["--out", "p.csv"], "--out needs --landmarks"), (["--baselines", "b.csv"], "--baselines needs"),
        (["--landmarks", "l.csv"], "--landmarks needs"), (["--change", "0"], "--change is a day"),
        (["--every-days", "0"], "--every-days"),
    ])
    func refuses(arguments: [String], reason: String) throws {
        let run = try clvd(["evaluate", "--events", "e.csv"] + arguments)
        #expect(run.status == 64 && run.errors.contains(reason), "\(run.errors)")
    }
}
