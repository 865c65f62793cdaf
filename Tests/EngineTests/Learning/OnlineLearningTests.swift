import CEventParser
import CKernels
import Foundation
import Testing

@testable import Engine

/// Learning while the stream runs.
@Suite struct OnlineLearningTests {
    /// Users who buy at rates of their own, browse before they buy, and are gone one day: what there is to learn is the
    /// silence after the end, and that browsing announces a purchase.
    /// - Parameter spending: factor on prices by day.
    static func shop(
        users: Int, days: Int, seed: UInt64, spending: (Double) -> Double = { _ in 1 }
    ) -> TestStream {
        var random = RandomNumbers(seed: seed)
        var events: [(time: Int64, user: Int, type: EventType, amount: Double)] = []
        for user in 0..<users {
            var now = Double(random.below(days)) + random.uniform()
            let end = now + -25 * log(1 - random.uniform()) + 3
            let gap = [1.5, 4.0, 12.0][user % 3]
            let price = [20.0, 60, 15, 90][user % 4]
            while now < min(end, Double(days)) {
                let time = epoch + Int64(now * Double(day))
                events.append((time, user, .view, 0))
                if random.uniform() < 0.5 {
                    events.append((time + 600_000, user, .addToCart, 0))
                    if random.uniform() < 0.8 {
                        events.append(
                            (
                                time + 40_000_000, user, .purchase,
                                (spending(now) * price * exp(0.2 * random.normal())).rounded()
                            ))
                    }
                }
                now += -gap * log(1 - random.uniform())
            }
        }
        events.sort { $0.time != $1.time ? $0.time < $1.time : $0.user < $1.user }
        let stream = TestStream()
        for (i, e) in events.enumerated() {
            stream.add(
                "user-\(e.user)", e.type, at: e.time, amount: e.amount, id: "\(i)",
                order: e.type == .purchase ? "\(i)" : nil)
        }
        return stream
    }

    /// Where event time flies, one step learns many times: whoever watches hears of each, with what was taken in so far.
    @Test func learningIsToldInTheMiddleOfAStep() {
        var c = EngineConfiguration.small
        (c.learning.intervalRecords, c.learning.intervalHours) = (64, 0)
        let engine = Engine.make(c)
        let stream = Self.shop(users: 300, days: 60, seed: 3)
        var heard: [Int64] = []
        stream.events.withUnsafeBufferPointer { events in
            engine.step(
                UnsafeBufferPointer(rebasing: events[..<500]), betweenSlices: {},
                afterLearning: { heard.append(engine.report(prequential: false).counters.records) })
        }
        #expect(heard == [64, 128, 192, 256, 320, 384, 448])
    }

    @Test func theModelBeatsTheUsersOwnPast() throws {
        var c = EngineConfiguration.small
        c.learning.batchSize = 128
        c.learning.learningRate = 4e-3
        c.learning.stepsPerThousandEvents = 60
        c.learning.drawsPerLandmark = 4
        c.learning.minimumSteps = 60
        c.learning.warmupSteps = 20
        c.learning.earlyStoppingInterval = 1000
        c.learning.landmarkIntervalDays = 1
        c.learning.maxLandmarks = 30_000
        c.learning.prequentialWindow = 4000
        let engine = Engine.make(c)
        let stream = Self.shop(users: 300, days: 130, seed: 1)
        var losses: [Double] = []
        for at in stride(from: 0, to: stream.events.count, by: 500) {
            engine.run(stream, at..<min(stream.events.count, at + 500))
            let learning = engine.report(prequential: false).learning
            if learning.steps > 0 { losses.append(learning.loss) }
        }
        let report = engine.report()
        #expect(report.learning.steps > 200)
        #expect(try #require(losses.last) < 0.85 * losses[0], "the loss falls")
        func metrics(_ target: String, _ days: Double) throws -> PrequentialReport {
            try #require(report.prequential.first { $0.target == target && $0.horizonDays == days })
        }
        for days in [7.0, 20] {
            let value = try metrics("clv", days)
            #expect(value.seen > 2000)
            #expect(try #require(value.model.mae) < 0.75 * value.naive.mae!)
            #expect(try #require(value.model.gini) > value.naive.gini!)
            #expect((0.7...1.3).contains(try #require(value.model.bias)))
            #expect((0.74...0.86).contains(try #require(value.coverage)), "\(days) days: \(value)")
            #expect((0.75...0.85).contains(try #require(value.coverageEver)))
            #expect(try #require(value.inside) >= value.coverage! - 1e-9)
            let purchase = try metrics("purchase", days)
            #expect(try #require(purchase.model.logLoss) < 0.8 * purchase.naive.logLoss!)
            #expect(try #require(purchase.model.auc) > purchase.naive.auc! + 0.1)
            #expect(try #require(purchase.model.calibrationError) < 0.08)
            #expect(purchase.coverage == nil && purchase.coverageEver == nil && purchase.inside == nil)
        }
        let churn = try metrics("churn", 7)
        #expect(try #require(churn.model.logLoss) < 0.8 * churn.naive.logLoss!)
        #expect(try #require(churn.model.auc) > 0.9)
    }

    @Test func versionsGrow() throws {
        var c = EngineConfiguration.small
        c.learning.minimumSteps = 6
        c.learning.intervalHours = 0
        let engine = Engine.make(c)
        let stream = RandomStream(users: 40, events: 2500, troubles: false).make(seed: 71)
        var last = 0
        var versions: Set<Int> = []
        for at in stride(from: 0, to: stream.events.count, by: 256) {
            let said = engine.run(stream, at..<min(stream.events.count, at + 256))
            for s in said where s.kind == .update {
                let version = try #require(s.json()["model_version"] as? Int)
                #expect(version >= last)
                #expect(version == 0 || version >= 6, "the network has no say until it was taught enough")
                last = version
                versions.insert(version)
            }
            // One interval, one model.
            #expect(
                Set(try said.filter { $0.kind == .update }.map { try $0.json()["model_version"] as? Int }).count == 1)
            let report = engine.report(prequential: false)
            #expect(report.modelVersion == (report.learning.steps >= 6 ? report.learning.steps : 0))
        }
        #expect(versions.contains(0) && versions.count > 4)
    }

    /// Confidence grows with what the model was taught and with what is known of the customer.
    @Test func confidenceGrows() throws {
        let engine = try KnownModel.engine()
        let stream = TestStream()
        for i in 0..<6 { stream.add("a", .view, at: epoch + Int64(i) * hour) }
        engine.serving.parameters.evidence = 0.5
        let grown = try engine.run(stream).map { try #require(try $0.json()["confidence"] as? Double) }
        #expect(grown == grown.sorted() && abs(grown[0] - 0.125) < 1e-6 && abs(grown[5] - 1.0 / 3) < 1e-6, "\(grown)")
    }

    /// What the model was taught is worth more the more of it there is, bin by bin.
    @Test func evidenceGrows() throws {
        var c = EngineConfiguration.small
        c.learning.intervalHours = 0
        let engine = Engine.make(c)
        let stream = RandomStream(users: 40, events: 2500, troubles: false).make(seed: 71)
        var all: [Float] = []
        for at in stride(from: 0, to: stream.events.count, by: 256) {
            engine.run(stream, at..<min(stream.events.count, at + 256))
            all.append(engine.serving.parameters.evidence)
        }
        #expect(all == all.sorted() && all[0] < 0.3 && (0.5..<1).contains(all.last!), "\(all)")
    }

    // MARK: Held-out users

    /// Poison in landmarks shows what is trained on: in those of held-out users it does nothing, in the rest it stops
    /// every step.
    @Test(arguments: [true, false])
    func heldOutUsersAreNeverTrainedOn(poisonHeldOut: Bool) throws {
        var c = EngineConfiguration.small
        c.learning.holdOutShare = 0.3
        let engine = Engine.make(c)
        let stream = RandomStream(users: 50, events: 2200, troubles: false).make(seed: 73)
        var (heldOut, others) = (0, 0)
        var faults = FirstFaults()
        for at in stride(from: 0, to: stream.events.count, by: 64) {
            engine.run(stream, at..<min(stream.events.count, at + 64))
            let pool = engine.task.pool.image
            (heldOut, others) = (0, 0)
            for sequence in pool.head..<pool.tail {
                let landmark = engine.task.pool.at(sequence)
                let h = LandmarkPool.header(landmark).pointee
                let isHeldOut = h.flags & LandmarkHeader.holdOut != 0
                let identity = engine.task.users.slot(h.user).header.pointee.identity
                faults.expect(
                    isHeldOut == engine.settings.landmarks.isHeldOut(identity), "landmark \(sequence) of \(h.user)")
                if isHeldOut { heldOut += 1 } else { others += 1 }
                guard isHeldOut == poisonHeldOut else { continue }
                let cell = landmark.at(engine.settings.landmarkLayout.state + 16, as: UInt16.self)
                for j in 0..<16 { cell[j] = 0x7E00 }
            }
        }
        #expect(faults.found == [])
        let learning = engine.report(prequential: false).learning
        #expect(heldOut > 100 && others > 100)
        if poisonHeldOut {
            #expect(learning.skipped == 0 && learning.steps > 10)
            #expect(learning.holdOutLoss != nil, "they are what evaluations look at")
        } else {
            #expect(learning.steps == 0 && learning.skipped > 10)
        }
    }

    @Test func shareOfHeldOutUsers() {
        var c = EngineConfiguration.small
        c.learning.holdOutShare = 0.2
        let settings = EngineSettings(c, topics: ["events"], partitions: 1)
        let n = (0..<20_000 as Range<UInt32>).count { settings.landmarks.isHeldOut($0 &* 2_654_435_761) }
        #expect(abs(n - 4000) < 200)
        c.learning.holdOutShare = 0
        let none = EngineSettings(c, topics: ["events"], partitions: 1)
        #expect(!(0..<1000 as Range<UInt32>).contains { none.landmarks.isHeldOut($0) })
    }

    // MARK: Early stopping

    @Test func earlyStoppingHoldsTheServingWeights() throws {
        var c = EngineConfiguration.small
        c.learning.learningRate = 3  // a rate that ruins the weights
        c.learning.clipNorm = 0
        c.learning.emaDecay = 0.5
        c.learning.holdOutShare = 0.3
        c.learning.minimumSteps = 1
        c.learning.earlyStoppingInterval = 2
        c.learning.earlyStoppingPatience = 4
        c.learning.stepsPerThousandEvents = 30
        c.learning.intervalHours = 0
        let engine = Engine.make(c)
        let stream = RandomStream(users: 50, events: 4000, troubles: false).make(seed: 74)
        var frozen: (stops: Int64, version: Int64, weights: [Float])?
        var rates: [Float] = []
        var held = 0
        for at in stride(from: 0, to: stream.events.count, by: 256) {
            engine.run(stream, at..<min(stream.events.count, at + 256))
            let report = engine.report(prequential: false)
            rates.append(report.learning.learningRate)
            guard report.learning.holding else {
                frozen = nil
                continue
            }
            let weights = (0..<engine.settings.model.count).map { engine.serving.parameters.weights[$0] }
            if let frozen, frozen.stops == report.learning.earlyStops {
                held += 1
                #expect(report.modelVersion == frozen.version)
                #expect(firstDifferences(weights, frozen.weights) == [])
            }
            frozen = (report.learning.earlyStops, report.modelVersion, weights)
        }
        let learning = engine.report(prequential: false).learning
        #expect(learning.earlyStops >= 1 && held >= 1)
        #expect(rates.last! < rates.max()!)
        let floor = 3 * c.learning.minimumRateFactor
        #expect(rates.last! >= floor * 0.999)
    }

    // MARK: A full pool

    /// Landmarks that do not fit are thinned out; what stays has the right labels, and learning goes on.
    @Test func labelsAfterThinning() throws {
        var c = EngineConfiguration.small
        c.learning.maxLandmarks = 1024  // the least there is
        c.learning.eventLandmarkShare = 1
        c.learning.landmarkIntervalDays = 1
        let engine = Engine.make(c)
        let stream = RandomStream(users: 60, events: 3000, days: 40, troubles: false).make(seed: 75)
        engine.run(stream)
        let pool = engine.task.pool.image
        #expect(pool.threshold < 1 << 32 && Int(pool.tail - pool.head) <= 1024)
        #expect(engine.report(prequential: false).counters.landmarks > 2048)
        #expect(engine.report(prequential: false).learning.steps > 0)
        var checked = 0
        var faults = FirstFaults()
        for sequence in pool.head..<pool.tail {
            let landmark = engine.task.pool.at(sequence)
            let h = LandmarkPool.header(landmark).pointee
            let key = Array(engine.task.users.key(of: engine.task.users.slot(h.user)))
            var expected: [Double] = [0, 0, 0]
            for e in stream.events where e.type == EventType.purchase.rawValue && e.time_ms > h.instant {
                guard key == Array(UnsafeBufferPointer(start: e.user, count: Int(e.user_length))) else { continue }
                guard let bin = [2, 7, 20].firstIndex(where: { e.time_ms <= h.instant + $0 * day }) else { continue }
                expected[bin] += e.amount
            }
            let labels = landmark.at(engine.settings.landmarkLayout.labels, as: Float.self)
            for bin in 0..<3 {
                faults.expect(
                    abs(Double(labels[bin]) - expected[bin]) < 1e-2,
                    "landmark \(sequence), bin \(bin): \(labels[bin]), not \(expected[bin])")
            }
            checked += 1
        }
        #expect(faults.found == [])
        #expect(checked > 400)
    }
}
