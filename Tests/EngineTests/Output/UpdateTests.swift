import CEventParser
import Foundation
import Testing

@testable import Engine

/// Updates as their consumers read them.
@Suite struct UpdateTests {
    @Test func documentedFields() throws {
        let stream = RandomStream(users: 30, events: 1500, partitions: 2).make(seed: 61)
        let engine = Engine.make(partitions: 2)
        let said = engine.run(stream, cut: 200)
        var value: [String: Double] = [:]
        var segments: Set<String> = []
        var served = 0
        var widest = 0.0
        for s in said where s.kind == .update && !s.value.isEmpty {
            let json = try s.json()
            let event = stream.events[s.record]
            #expect(
                Set(json.keys) == [
                    "user_id", "event_id", "event_time", "source", "clv", "clv_interval", "purchase_probability",
                    "churn_probability", "value_to_date", "currency", "orders", "last_purchase_time", "percentile",
                    "segment", "change", "confidence", "model_version",
                ])
            #expect(json["currency"] as? String == "USD")
            let orders = try #require(json["orders"] as? Int)
            #expect((orders > 0) == (json["last_purchase_time"] is String))
            #expect(json["user_id"] as? String == s.key)
            let id = String(
                decoding: UnsafeBufferPointer(start: event.event_id, count: Int(event.event_id_length)), as: UTF8.self)
            #expect(json["event_id"] as? String == id)
            let time = try #require(json["event_time"] as? String)
            let date = try #require(ISO8601DateFormatter.withMilliseconds.date(from: time))
            #expect(abs(date.timeIntervalSince1970 * 1000 - Double(event.time_ms)) < 1)
            let source = try #require(json["source"] as? [String: Any])
            #expect(source["topic"] as? String == "events")
            #expect(source["partition"] as? Int == Int(event.partition))
            #expect(source["offset"] as? Int == Int(event.offset))
            let clv = try #require(json["clv"] as? [String: Double])
            let purchase = try #require(json["purchase_probability"] as? [String: Double])
            #expect(Set(clv.keys) == ["2", "7", "20"] && Set(purchase.keys) == ["2", "7", "20"])
            #expect(clv["2"]! >= 0 && clv["2"]! <= clv["7"]! && clv["7"]! <= clv["20"]!)
            #expect(purchase["2"]! >= 0 && purchase["2"]! <= purchase["7"]! && purchase["7"]! <= purchase["20"]!)
            #expect(purchase["20"]! <= 1)
            let intervals = try #require(json["clv_interval"] as? [String: [Double]])
            #expect(Set(intervals.keys) == ["2", "7", "20"])
            #expect(intervals.values.allSatisfy { $0.count == 2 && 0 <= $0[0] && $0[0] <= $0[1] })
            widest = max(widest, intervals["20"]![1])
            let confidence = try #require(json["confidence"] as? Double)
            // The network has a say once outcomes are known.
            #expect((0...1).contains(confidence) && (confidence > 0 || json["model_version"] as? Int == 0))
            let churn = try #require(json["churn_probability"] as? Double)
            #expect(churn >= 0 && churn <= 1)
            segments.insert(try #require(json["segment"] as? String))
            let toDate = try #require(json["value_to_date"] as? Double)
            let change = try #require(json["change"] as? [String: Double])
            #expect(Set(change.keys) == ["value", "churn_probability"])
            // The change is from the update before, to the digits that are written.
            if let before = value[s.key], try !wasErased(s.key, before: s.record, said) {
                #expect(abs(change["value"]! - (clv["20"]! - before)) < 1e-3 + 1e-5 * abs(before))
            } else {
                #expect(change["value"] == 0 && change["churn_probability"] == 0, "there is nothing to compare with")
            }
            value[s.key] = clv["20"]
            #expect(toDate.isFinite)
            if try #require(json["model_version"] as? Int) > 0 { served += 1 }
        }
        #expect(segments == ["high", "mid", "low"])
        #expect(served > 100 && widest > 0)
    }

    private func wasErased(_ key: String, before record: Int, _ said: [Said]) throws -> Bool {
        let mine = said.filter { $0.kind == .update && $0.key == key && $0.record < record }
        return mine.last?.value.isEmpty ?? false
    }

    @Test func valueToDateIsNetOfRefunds() throws {
        let stream = TestStream()
        stream.add("a", .purchase, at: epoch, amount: 40.25)
        stream.add("a", .refund, at: epoch + 1, amount: 10)
        stream.add("a", .view, at: epoch + 2, amount: 99)
        stream.add("a", .purchase, at: epoch + 3, amount: 0.1)
        func values(_ subtract: Bool) throws -> [Double] {
            var c = EngineConfiguration.small
            c.state.subtractRefunds = subtract
            return try Engine.make(c).run(stream).map { try #require(try $0.json()["value_to_date"] as? Double) }
        }
        #expect(try values(true) == [40.25, 30.25, 30.25, 30.35])
        #expect(try values(false) == [40.25, 40.25, 40.25, 40.35])
    }

    @Test(arguments: [
        "plain", "quote\"and\\backslash", "tab\tnew\nline\u{1}\u{1f}\u{7f}", "\u{e9}\u{4f60}\u{1F600}", "</script>",
        " ",
        String(repeating: "\u{0}", count: 3), String(repeating: "\u{2028}x", count: 300),
    ])
    func anyName(name: String) throws {
        let stream = TestStream()
        stream.add(name, .view, at: epoch, id: name)
        stream.add(name, .view, at: epoch + 1)
        let said = Engine.make().run(stream)
        #expect(try said[0].json()["user_id"] as? String == name)
        #expect(try said[0].json()["event_id"] as? String == name)
        #expect(try said[1].json()["event_id"] is NSNull)
        #expect(said[0].key == name)
    }

    // MARK: Targets by configuration

    /// Heads, labels and outputs follow from the list of targets.
    @Test func targetsOfTheConfiguration() throws {
        var c = EngineConfiguration.small
        c.binEdgesDays = [0.5, 2, 7, 20]
        c.targets += [
            .init(name: "refund", kind: .occurrence, events: ["refund", "return"], horizonsDays: [7]),
            .init(name: "demand", kind: .value, events: ["purchase"], horizonsDays: [0.5, 20], category: "category-1"),
            .init(name: "visit", kind: .absence, events: ["page_view"], horizonsDays: [2]),
        ]
        let engine = Engine.make(c)
        #expect(engine.settings.model.heads.map(\.name) == ["clv", "purchase", "churn", "refund", "demand", "visit"])
        #expect(
            engine.settings.model.heads.map(\.kind)
                == [.value, .occurrence, .absence, .occurrence, .value, .absence])
        let stream = RandomStream(users: 40, events: 2500).make(seed: 62)
        let said = engine.run(stream)
        let report = engine.report()
        #expect(report.modelVersion > 0)
        for s in said where s.kind == .update && !s.value.isEmpty {
            let json = try s.json()
            let refund = try #require(json["refund_probability"] as? [String: Double])
            #expect(Array(refund.keys) == ["7"] && (0...1).contains(refund["7"]!))
            let demand = try #require(json["demand"] as? [String: Double])
            #expect(Set(demand.keys) == ["0.5", "20"] && demand["0.5"]! <= demand["20"]!)
            #expect((0...1).contains(try #require(json["visit_probability"] as? Double)))
        }
        #expect(
            Set(report.prequential.map { "\($0.target) \($0.horizonDays)" }).isSuperset(of: [
                "refund 7.0", "demand 0.5", "demand 20.0", "visit 2.0",
            ]))
    }

    @Test func labelsOfATargetCountItsEventsAlone() throws {
        var c = EngineConfiguration.small
        c.learning.eventLandmarkShare = 1
        c.targets += [
            .init(name: "refund", kind: .occurrence, events: ["refund"], horizonsDays: [7]),
            .init(name: "shoes", kind: .value, events: ["purchase"], horizonsDays: [7], category: "shoes"),
        ]
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("a", .purchase, at: epoch + hour, amount: 10, category: "shoes")
        stream.add("a", .purchase, at: epoch + 2 * hour, amount: 100, category: "hats")
        stream.add("a", .refund, at: epoch + 3 * day, amount: 4, category: "shoes")
        stream.add("a", .refund, at: epoch + 3 * day, amount: 1, category: "hats")
        let engine = Engine.make(c)
        engine.run(stream)
        let labels = engine.task.pool.at(1).at(engine.settings.landmarkLayout.labels, as: Float.self)
        // [targets × bins], bins to 2, 7 and 20 days.
        #expect((0..<15).map { labels[$0] } == [110, -5, 0, 2, 0, 0, 2, 2, 0, 0, 2, 0, 10, -4, 0])
    }

    // MARK: Numbers and segments

    @Test func numbersAreWrittenInSixDecimals() {
        func written(_ x: Double) -> String {
            var w = ByteWriter(capacity: 1)
            w.append(number: x)
            return String(decoding: UnsafeBufferPointer(start: w.base, count: w.count), as: UTF8.self)
        }
        let cases: [(Double, String)] = [
            (0, "0"), (-0.0, "0"), (-1e-9, "0"), (1.5, "1.5"), (-2.25, "-2.25"), (0.000001, "0.000001"),
            (0.1 + 0.2, "0.3"),
            (999_999.9999999, "1000000"), (1e300, "9000000000000"), (-1e300, "-9000000000000"),
            (123_456.789, "123456.789"),
        ]
        for (x, text) in cases { #expect(written(x) == text) }
        var random = RandomNumbers(seed: 1)
        for _ in 0..<500 {
            let x = random.normal() * pow(10, Double(random.below(12)) - 4)
            #expect(abs(Double(written(x))! - x) <= 5.1e-7 + 1e-15 * abs(x))
        }
    }

    @Test func timesAreWrittenInUTC() throws {
        var random = RandomNumbers(seed: 2)
        for i in 0..<500 {
            // From 1 January 1600 to the year 2600, and the edges of leap years.
            let edges: [Int64] = [0, -1, 951_782_400_000, 951_868_799_999, 4_107_542_400_000, -62_135_596_800_000]
            let ms = i < edges.count ? edges[i] : Int64(random.below(31_500_000_000_000)) - 11_676_096_000_000
            var w = ByteWriter(capacity: 1)
            w.append(time: ms)
            let text = String(decoding: UnsafeBufferPointer(start: w.base + 1, count: w.count - 2), as: UTF8.self)
            if i == 5 {
                #expect(text == "0001-01-01T00:00:00.000Z")
                continue
            }
            let date = try #require(ISO8601DateFormatter.withMilliseconds.date(from: text), "\(text)")
            #expect(abs(date.timeIntervalSince1970 * 1000 - Double(ms)) < 1, "\(text)")
        }
    }

    /// Against a count over a list, with changes and departures.
    @Test func ranksAreThoseOfASortedList() {
        var random = RandomNumbers(seed: 3)
        var ranks = CustomerRanks()
        #expect(ranks.share(below: 1) == 0.5)
        var values: [Float] = []
        for i in 0..<3000 {
            let x = i % 50 == 0 ? 0 : Float(exp(2 * random.normal()))
            if i % 3 == 2 {
                let j = Int(random.next() % UInt64(values.count))
                ranks.remove(values[j])
                values.remove(at: j)
                if i % 2 == 0 { continue }
            }
            ranks.add(x)
            values.append(x)
        }
        for x in [Float(0), 0.2, 1, 3, 20, 1e30] {
            // A cell is 24 to a doubling, 3 % wide.
            let least = values.count { $0 < x * 0.96 - 0.01 }
            let most = values.count { $0 <= x * 1.04 + 0.01 }
            let share = Double(ranks.share(below: x)) * Double(values.count)
            #expect(Double(least) - 0.01 <= share && share <= Double(most) + 0.01, "\(x)")
        }
        #expect(ranks.count == UInt32(values.count))
        for x in values { ranks.remove(x) }
        #expect(ranks.count == 0 && ranks.share(below: 1) == 0.5)
    }

    /// One customer with most of the events is one customer among the others.
    @Test func percentilesAreOverCustomers() throws {
        let stream = RandomStream(users: 30, events: 1500, partitions: 1).make(seed: 62)
        let engine = Engine.make(partitions: 1)
        var latest: [String: Double] = [:]
        var checked = 0
        for s in engine.run(stream, cut: 100) where s.kind == .update {
            guard !s.value.isEmpty else {
                latest[s.key] = nil
                continue
            }
            let json = try s.json()
            let value = try #require((json["clv"] as? [String: Double])?["20"])
            latest[s.key] = value
            let percentile = try #require(json["percentile"] as? Double)
            let least = latest.values.count { $0 < value * 0.96 - 0.01 }
            let most = latest.values.count { $0 <= value * 1.04 + 0.01 }
            let n = Double(latest.count)
            #expect(percentile >= 100 * Double(least) / n - 0.1 && percentile <= 100 * Double(most) / n + 0.1)
            let segment = try #require(json["segment"] as? String)
            #expect(segment == (percentile >= 90 ? "high" : percentile >= 50 ? "mid" : "low"), "\(percentile)")
            checked += 1
        }
        #expect(checked > 1000 && latest.count > 20)
    }

    @Test func segmentsBeginAtTheirThresholds() {
        for (share, segment) in [(0.9, .high), (0.89, .mid), (0.5, .mid), (0.49, .low)] as [(Float, Segment)] {
            #expect(Segment(share: share, high: 0.9, mid: 0.5) == segment)
        }
    }
}
