import CEventParser
import TestSupport
import Testing

@testable import Engine

private let minute: Int64 = 60_000

/// How far event time has come: values by hand, and against lists.
@Suite struct StreamTimeTests {
    private static func note(_ stream: inout StreamTime, _ customer: UInt64, _ event: Int64, skew: Int64 = hour)
        -> Int64
    {
        let expected = stream.after(event, of: customer, skewMs: skew)
        stream.note(event, of: customer, skewMs: skew)
        #expect(stream.time == expected, "what is foreseen is what happens")
        return stream.time
    }

    // MARK: By hand

    @Test func eightOfFifteenCustomersMoveIt() {
        var stream = StreamTime()
        #expect(Self.note(&stream, 1, epoch) == epoch - hour)
        for c in 2...7 as ClosedRange<UInt64> {
            #expect(Self.note(&stream, c, epoch + Int64(c) * minute) == epoch + Int64(c) * minute - hour)
        }
        // The eighth customer: the earliest of the eight is the first, at the epoch.
        #expect(Self.note(&stream, 8, epoch + 8 * minute) == epoch)
        // Of nine customers, eight have come as far as the second.
        #expect(Self.note(&stream, 9, epoch + 9 * minute) == epoch + 2 * minute)
        // The first comes again, which makes it the latest: eight have come as far as the third.
        #expect(Self.note(&stream, 1, epoch + 10 * minute) == epoch + 3 * minute)
        // One that is behind does not take it back.
        #expect(Self.note(&stream, 10, epoch - 50 * minute) == epoch + 3 * minute)
        for c in 11...15 as ClosedRange<UInt64> { _ = Self.note(&stream, c, epoch + 20 * minute) }
        // 20 (five times), 10, 9 and 8 minutes are the eight latest of fifteen.
        #expect(stream.time == epoch + 8 * minute)
        // The sixteenth takes the place of the first, which was at 10 minutes.
        #expect(Self.note(&stream, 16, epoch + 5 * minute) == epoch + 8 * minute)
        #expect(Self.note(&stream, 17, epoch + 30 * minute) == epoch + 8 * minute)
        // 30, 20 (five times), then 18 at 30 as well: 30, 30, 20 × 5, 9.
        #expect(Self.note(&stream, 18, epoch + 30 * minute) == epoch + 9 * minute)
    }

    @Test func oneCustomerIsTheSkewBehind() {
        var stream = StreamTime()
        for i in 0..<100 as Range<Int64> {
            #expect(Self.note(&stream, 1, epoch + i * minute) == epoch + i * minute - hour)
        }
        var trusted = StreamTime()
        for i in [0, 5, 3, 9, 1] as [Int64] { _ = Self.note(&trusted, 1, epoch + i * minute, skew: 0) }
        #expect(trusted.time == epoch + 9 * minute, "clocks that are never wrong: the latest event")
    }

    /// A customer a day, and then a year of silence.
    @Test func sparseStreamsMove() {
        var stream = StreamTime()
        for d in 0..<40 as Range<Int64> {
            #expect(Self.note(&stream, UInt64(d), epoch + d * day) == epoch + d * day - hour)
        }
        #expect(Self.note(&stream, 5, epoch + 400 * day) == epoch + 400 * day - hour)
        for c in 1...6 as ClosedRange<UInt64> {
            #expect(Self.note(&stream, 100 + c, epoch + 400 * day + Int64(c)) == epoch + 400 * day - hour + Int64(c))
        }
        #expect(Self.note(&stream, 107, epoch + 400 * day + 7) == epoch + 400 * day, "the eighth of the burst")
    }

    /// Files that have days without times: all of a day is at its midnight.
    @Test func dailyTimesMove() {
        var stream = StreamTime()
        for d in 0..<5 as Range<Int64> {
            for c in 0..<30 as Range<UInt64> {
                let expected = c < 7 ? epoch + d * day - hour : epoch + d * day
                #expect(Self.note(&stream, 31 * UInt64(d) + c, epoch + d * day) == expected)
            }
        }
    }

    @Test func aClockThatIsAheadIsAlone() {
        var stream = StreamTime()
        for i in 0..<200 as Range<Int64> {
            let now = epoch + i * minute
            _ = Self.note(&stream, 1000, now + 50 * minute)
            let time = Self.note(&stream, UInt64(i % 30), now)
            // The one that is ahead is one of the eight, but for when another has just taken its place. The others came a
            // minute apart.
            if i >= 30 { #expect((now - 7 * minute...now - 6 * minute).contains(time)) }
            #expect(time <= now)
        }
    }

    @Test func anErasedCustomerIsForgotten() {
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("b", .view, at: epoch)
        stream.add("a", .userDeleted, at: epoch + 1)
        let engine = Engine.make()
        func short(_ user: String) -> UInt32 {
            var user = user
            return user.withUTF8 {
                UInt32(truncatingIfNeeded: engine.task.users.hash($0.baseAddress!, $0.count))
            }
        }
        engine.run(stream, 0..<2)
        #expect(engine.task.image.stream?.customers.prefix(2) == [short("a"), short("b")])
        engine.run(stream, 2..<3)
        #expect(engine.task.image.stream?.customers.prefix(2) == [0, short("b")])
        #expect(engine.task.image.stream?.times.prefix(2) == [epoch + 1, epoch])
        // So is the guest that the customer was.
        stream.add("guest", .view, at: epoch + 2)
        stream.add("b", .identify, at: epoch + 3, alias: "guest")
        stream.add("b", .userDeleted, at: epoch + 4)
        engine.run(stream, 3..<6)
        #expect(engine.task.image.stream?.customers.allSatisfy { $0 == 0 } == true)
    }

    // MARK: Against lists

    @Test(arguments: [0, 600_000, 3_600_000] as [Int64])
    func theSameAsByLists(skew: Int64) {
        var random = RandomNumbers(seed: 17)
        for customers in [1, 5, 14, 15, 16, 200] {
            var (stream, account) = (StreamTime(), TimeAccount(skewMs: skew))
            var now = epoch
            for _ in 0..<1500 {
                now += Int64(random.below(random.below(50) == 0 ? 40_000_000 : 120_000))
                let c = random.below(customers)
                let event = now + Int64(random.below(7_200_000)) - 4_000_000
                _ = Self.note(&stream, UInt64(c) << 7 | 5, event, skew: skew)
                account.note("\(c)", at: event)
                guard stream.time == account.time else {
                    Issue.record("\(customers) customers: \(stream.time) instead of \(account.time)")
                    break
                }
            }
            #expect(StreamTime(stream.image) == stream)
        }
    }

    // MARK: Attacks

    /// One device in a hundred is up to the skew ahead. Others are up to the lateness late, and none is too late.
    @Test(arguments: [1, 2] as [UInt64])
    func onePercentAheadMakesNobodyLate(seed: UInt64) {
        var random = RandomNumbers(seed: seed)
        var (stream, naive) = (StreamTime(), epoch)
        stream.note(epoch, of: 1, skewMs: hour)
        var (now, late, lateBefore, behind) = (epoch, 0, 0, Int64(0))
        for _ in 0..<100_000 {
            now += Int64(random.below(2000))
            let c = random.below(5000)
            if c % 100 == 0 {
                let event = now + Int64(random.uniform() * Double(hour))
                naive = max(naive, event)
                stream.note(event, of: UInt64(c), skewMs: hour)
                continue
            }
            let event = now - Int64(random.uniform() * Double(hour))
            if event < naive - hour { lateBefore += 1 }
            if event < stream.time - hour { late += 1 }
            naive = max(naive, event)
            stream.note(event, of: UInt64(c), skewMs: hour)
            behind = max(behind, now - stream.time)
        }
        #expect(late == 0)
        #expect(lateBefore > 20_000, "by the latest event alone, many would be")
        #expect(behind <= hour + minute, "the skew behind the latest event")
    }

    /// A client whose clock is 59 minutes ahead, and a customer whose event is 70 s old.
    @Test(arguments: [true, false])
    func aClientThatIsAheadMakesNobodyLate(isStamped: Bool) {
        let stream = TestStream()
        for i in 0..<40 as Range<Int64> {
            stream.add("user-\(i % 20)", .view, at: epoch + i * 1000, id: "\(i)")
            stream.add("ahead", .view, at: epoch + i * 1000 + 59 * minute, id: "a\(i)")
            if isStamped { stream.isAhead(by: 59 * minute) }
            stream.add("user-\(i % 20)", .view, at: epoch + (i - 70) * 1000, id: "old-\(i)")
        }
        let engine = Engine.make()
        #expect(engine.run(stream, cut: 7).allSatisfy { $0.kind == .update })
        #expect(engine.report(prequential: false).counters.accepted == 120)
    }

    /// Where all clients are ahead, only the timestamps of the records tell.
    @Test func recordsTellTheTime() {
        let stream = TestStream()
        for i in 0..<40 as Range<Int64> {
            stream.add("user-\(i)", .view, at: epoch + i * 1000 + 50 * minute)
            stream.isAhead(by: 50 * minute)
        }
        let engine = Engine.make()
        engine.run(stream)
        // The 33rd of forty is the eighth from the end.
        #expect(engine.task.watermark == epoch + 32_000 - hour)
    }
}
