import Foundation
import Testing

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
        let judged = try #require(json["alerts"] as? [String: Any])
        #expect(judged["basis"] as? String == "truth")
        #expect(try #require(judged["churned"] as? Int) > 20)
        let alerts = try #require(judged["rules"] as? [[String: Any]])
        #expect(alerts.count == 4 && alerts[0]["rule"] as? String == "clvd", "\(alerts)")
        #expect(try #require(alerts[0]["raised"] as? Int) > 20)
        let precision = alerts.compactMap { $0["precision"] as? Double }
        #expect(precision.count == 4 && precision.allSatisfy { $0 >= precision[0] }, "\(precision)")
        // No rule that only looks at silence is sooner, at the same precision, than who knows the rates.
        let delays = alerts.compactMap { $0["median_delay_days"] as? Double }
        #expect(delays.count == 4 && delays[3] < delays[1] && delays[3] < delays[2], "\(delays)")
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

    // MARK: Comparison

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

    /// Landmarks with the best forecasts there are: nobody is ahead of who knows everything.
    @Test func theBestThereIs() throws {
        try simulate(
            "--character", "bursty", "--users", "200", "--days", "150", "--seed", "2", "--landmarks",
            folder.path("l.csv"),
            "--oracle", folder.path("o.csv"), "--horizons", "7,21", "--landmark-days", "10")
        let run = try evaluate(
            "--landmarks", folder.path("l.csv"), "--baselines", folder.path("o.csv"), "--resamples", "50", "--alerts")
        #expect(run.output.contains("the top 10 % we named brought"), "\(run.output)")
        #expect(run.output.contains("days without any event: AUC") && run.output.contains("silent for the rest"))
        let json = try evaluate(
            "--landmarks", folder.path("l.csv"), "--baselines", folder.path("o.csv"), "--resamples", "50", "--alerts",
            "--json"
        ).json
        let quality = try #require(json["quality"] as? [String: Any])
        let churn = try #require(quality["churn"] as? [String: Any])
        #expect(churn["horizon_days"] as? Double == 21 && churn["landmarks"] as! Int > 500)
        #expect(
            (0.5...1).contains(churn["auc"] as! Double)
                && churn["precision_at_tenth"] as! Double > churn["gone"] as! Double)
        let money = try #require(quality["money"] as? [[String: Any]])
        #expect(money.map { $0["horizon_days"] as? Double } == [7, 21])
        for m in money {
            let models = try #require(m["models"] as? [String: [String: Double]])
            #expect(Set(models.keys) == ["clvd", "oracle", "bayes"])
            let share = models.mapValues { $0["top_tenth_share"]! }
            #expect(
                share["clvd"]! < share["oracle"]! && share["oracle"]! <= m["best_tenth_share"] as! Double, "\(share)")
        }
        let alerts = try #require(json["alerts"] as? [String: Any])
        #expect(alerts["basis"] as? String == "record" && alerts["censored_days"] as! Double >= 30)
        #expect(try #require(alerts["rules"] as? [[String: Any]]).first?["rule"] as? String == "clvd")
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
