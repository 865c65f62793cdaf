import Testing

@testable import Engine

/// Customers whose slots were needed: what stays known of them, how they return, and what their landmarks teach. Expected
/// values are counted by hand.
@Suite struct FormerCustomerTests {
    /// Room for 1,024; `loyal` came first and bought for 10 and 20, then 1,024 others view something.
    private static func crowded(_ change: (inout EngineConfiguration) -> Void = { _ in }) -> (Engine, TestStream) {
        var c = EngineConfiguration.small
        c.state.maxUsers = 1024
        c.learning.enabled = false
        change(&c)
        let stream = TestStream()
        stream.add("loyal", .purchase, at: epoch, amount: 10)
        stream.add("loyal", .purchase, at: epoch + 2 * day, amount: 20)
        for i in 0..<1024 { stream.add("user-\(i)", .view, at: epoch + 3 * day + Int64(i) * 1000) }
        let engine = Engine.make(c)
        engine.run(stream)
        return (engine, stream)
    }

    @Test func whoReturnsIsNoStranger() throws {
        let (engine, stream) = Self.crowded()
        #expect(engine.slot("loyal") == nil && engine.task.users.former.count == 1)
        let view = try #require(engine.view(of: "loyal"))
        #expect(view.orders == 2 && view.valueToDate == 30 && view.events == 2 && view.daysActive == 2)
        #expect(view.lastEventMs == epoch + 2 * day && view.firstSeenSeconds == epoch / 1000)
        #expect(view.lastEvents.isEmpty && engine.view(of: "nobody") == nil)
        stream.add("loyal", .purchase, at: epoch + 4 * day, amount: 5)
        let json = try #require(engine.run(stream, 1026..<1027).last { $0.kind == .update }).json()
        #expect(json["value_to_date"] as? Double == 35 && json["orders"] as? Int == 3)
        #expect(engine.slot("loyal")?.header.pointee.daysActive == 3)
        // It took the slot of another.
        #expect(engine.task.users.former.count == 1 && engine.task.users.userCount == 1024)
        #expect(Int(engine.task.ranks.count) == 1024)
    }

    /// What is asked of a former customer is what would be asked of one with the same past and a slot, but for the windows,
    /// which are empty after 90 days.
    @Test func theForecastOfTheSilentIsTheSame() {
        let (crowded, _) = Self.crowded()
        let (roomy, _) = Self.crowded { $0.state.maxUsers = 100_000 }
        let items = [Query.Item(target: "clv", horizonDays: 20), Query.Item(target: "purchase", horizonDays: 7)]
        func ask(_ engine: Engine, _ user: String) -> [Float] {
            engine.query(items).answer([(user, epoch + 100 * day)])
        }
        #expect(roomy.slot("loyal") != nil)
        let (former, held) = (ask(crowded, "loyal"), ask(roomy, "loyal"))
        for (a, b) in zip(former, held) { #expect(abs(a / b - 1) < 1e-5, "\(former) \(held)") }
        #expect(former != ask(crowded, "nobody"))
    }

    /// A landmark of a customer who is evicted while it is open gets the outcome that comes after the return.
    @Test func openLandmarksGoOn() throws {
        let (engine, stream) = Self.crowded {
            $0.learning.enabled = true
            $0.learning.eventLandmarkShare = 1
        }
        let landmark = try #require(
            (1..<engine.task.pool.tail).map { engine.task.pool.at($0) }.first {
                LandmarkPool.header($0).pointee.instant == epoch
            })
        #expect(LandmarkPool.header(landmark).pointee.user == FormerCustomers.bit)
        stream.add("loyal", .purchase, at: epoch + 5 * day, amount: 5)
        engine.run(stream, 1026..<1027)
        let labels = landmark.at(engine.settings.landmarkLayout.labels, as: Float.self)
        #expect((0..<3).map { labels[$0] } == [20, 5, 0], "days (0, 2], (2, 7] and (7, 20]")
        let header = try #require(engine.slot("loyal")).header
        #expect(LandmarkPool.header(landmark).pointee.user < FormerCustomers.bit)
        #expect(header.pointee.landmark == engine.task.pool.link(engine.task.pool.tail - 1))
    }

    /// Twelve users view three things each; then nobody but another comes for a month, and all twelve are evicted after
    /// five days. Their silence teaches as it would had they stayed: 36 landmarks, of which 24 have an event after them.
    @Test(arguments: [5, 0])
    func silenceTeaches(retentionDays: Int) {
        var c = EngineConfiguration.small
        c.learning.eventLandmarkShare = 1
        c.learning.landmarkIntervalDays = 1_000_000
        c.learning.holdOutShare = 0
        c.learning.intervalHours = 0
        c.learning.stepsPerThousandEvents = 0
        c.state.retentionDays = retentionDays
        let stream = TestStream()
        for view in 0..<3 {
            for user in 0..<12 { stream.add("user-\(user)", .view, at: epoch + Int64(12 * view + user) * 60_000) }
        }
        for d in 1...30 { stream.add("another", .view, at: epoch + Int64(d) * day) }
        let engine = Engine.make(c)
        engine.run(stream)
        engine.learner.learn([engine.task], [engine.task.cut], records: 66, days: 30, now: engine.task.watermark)
        #expect(engine.task.users.userCount == (retentionDays > 0 ? 1 : 13))
        let churn = engine.settings.targetTable.cells(target: 2).lowerBound
        // Of `another`, the landmarks up to a bin's end before the watermark: 30 days less an hour.
        let others = [27.0, 22, 9]
        #expect(engine.learner.rates.cells[churn].atRisk == 36 + others[0])
        #expect(engine.learner.rates.cells[churn].hits == 24 + others[0])
    }

    /// Erasure reaches a former customer: record and landmarks.
    @Test func erasureReachesTheFormer() {
        let (engine, stream) = Self.crowded {
            $0.learning.enabled = true
            $0.learning.eventLandmarkShare = 1
            $0.learning.landmarkIntervalDays = 1_000_000
        }
        stream.add("loyal", .userDeleted, at: epoch + 4 * day)
        let said = engine.run(stream, 1026..<1027)
        #expect(said.last?.key == "loyal" && said.last?.value == "")
        #expect(engine.view(of: "loyal") == nil && engine.task.users.former.count == 0)
        let record = engine.task.users.former.records[0]
        #expect(record.hash == 0 && record.valueToDate == 0 && record.flags == 0)
        var forgotten = 0
        let head = MemoryLayout<LandmarkHeader>.stride
        for sequence in engine.task.pool.head..<engine.task.pool.tail {
            let landmark = engine.task.pool.at(sequence)
            guard LandmarkPool.header(landmark).pointee.user == UserTable.none else { continue }
            forgotten += 1
            #expect((head..<engine.settings.landmarkLayout.size).allSatisfy { landmark.at($0, as: UInt8.self)[0] == 0 })
        }
        #expect(forgotten == 2)
    }

    /// A run that is cut by a snapshot while customers come and go is the run that is not.
    @Test func snapshotsKeepThem() throws {
        var c = EngineConfiguration.small
        c.state.maxUsers = 1024
        c.learning.eventLandmarkShare = 1
        let stream = TestStream()
        var random = RandomNumbers(seed: 5)
        for i in 0..<6000 {
            let user = "user-\(random.below(1600))"
            stream.add(user, i % 3 == 0 ? .purchase : .view, at: epoch + Int64(i) * 600_000, amount: Double(1 + i % 7))
        }
        let whole = Engine.make(c)
        let first = whole.run(stream, 0..<3000)
        #expect(whole.task.users.former.count > 300 && !first.isEmpty)
        let again = try Written(whole).restored(c)
        #expect(whole.run(stream, 3000..<6000) == again.run(stream, 3000..<6000))
        #expect(try Written(whole) == Written(again))
    }

    /// Against a dictionary, with more customers than places for them.
    @Test func recordsAreFound() {
        var table = FormerCustomers()
        var known: [UInt64: UInt32] = [:]
        var random = RandomNumbers(seed: 9)
        for step in 0..<20_000 {
            let hash = UInt64(random.below(500) + 1) &* 0x9E37_79B9_7F4A_7C15
            let place = table.find(hash)
            #expect(place.map { table.records[Int($0)].lastEvent } == known[hash])
            if let place {
                table.remove(place)
                known[hash] = nil
            } else {
                var record = FormerCustomer()
                (record.hash, record.flags, record.lastEvent) = (hash, UserHeader.inUse, UInt32(step))
                _ = table.add(record)
                known[hash] = UInt32(step)
            }
            #expect(table.count == known.count)
        }
        // Of all, as there are fewer than are looked at, the idlest.
        var few = FormerCustomers()
        for last in [7, 3, 9] as [UInt32] {
            var record = FormerCustomer()
            (record.hash, record.flags, record.lastEvent) = (UInt64(last) << 40, UserHeader.inUse, last)
            _ = few.add(record)
        }
        #expect(few.idlest() == 1)
    }
}
