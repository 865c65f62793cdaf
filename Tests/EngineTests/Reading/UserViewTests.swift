import CEventParser
import Foundation
import Synchronization
import Testing

@testable import Engine

/// What is said about one user, counted by hand, and the mailbox of questions.
@Suite struct UserViewTests {
    private static func shop() -> Engine {
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("a", .addToCart, at: epoch + hour)
        stream.add("a", .purchase, at: epoch + 2 * hour, amount: 40, order: "o1")
        stream.add("a", .purchase, at: epoch + 2 * hour + 1000, amount: 10.5, order: "o1")
        stream.add("a", .pageView, at: epoch + 10 * day)
        stream.add("a", .refund, at: epoch + 10 * day + hour, amount: 5.5)
        var c = EngineConfiguration.small
        c.state.subtractRefunds = true
        c.state.sessionGapMinutes = 30
        let engine = Engine.make(c)
        engine.run(stream)
        return engine
    }

    @Test func stateOfAUser() throws {
        let view = try #require(Self.shop().view(of: "a"))
        #expect(view.user == "a" && view.topic == "events" && view.partition == 0)
        #expect(view.timeMs == epoch + 10 * day + hour && view.lastEventMs == view.timeMs)
        // Two lines of one order, less the refund.
        #expect(view.valueToDate == 45 && view.orders == 1 && view.events == 6 && view.daysActive == 2)
        #expect(view.firstSeenSeconds == epoch / 1000 && view.lastPurchaseSeconds == epoch / 1000 + 7201)
        #expect(view.alert == UserView.Alert(isRaised: false, raisedAtSeconds: nil, count: 0))
        #expect(view.modelVersion == 0 && view.confidence == 0)
        #expect(
            view.lastEvents.map(\.type) == ["view", "add_to_cart", "purchase", "purchase", "page_view", "refund"])
        #expect(
            view.lastEvents.map(\.timeSeconds)
                == [0, 3600, 7200, 7201, 864_000, 867_600].map { epoch / 1000 + $0 })
        #expect(view.lastEvents.map(\.opensSession) == [true, true, true, false, true, true])
        for (event, amount) in zip(view.lastEvents, [0, 0, 40, 10.5, 0, 5.5]) {
            #expect(abs(event.amount - amount) <= 0.01 * amount)
        }
    }

    @Test func windowsOfAUser() throws {
        let engine = Self.shop()
        func window(_ days: Int, _ old: (views: Int, carts: Int, orders: Int), browses: Int, spend: Double)
            -> UserView.Window
        {
            UserView.Window(
                days: days, browses: browses, views: old.views, carts: old.carts, checkouts: 0, orders: old.orders,
                spend: spend)
        }
        // Ten days on, the first day is in the windows of 30 and 90 days alone.
        #expect(
            try #require(engine.view(of: "a")).windows == [
                window(1, (0, 0, 0), browses: 1, spend: -5.5), window(7, (0, 0, 0), browses: 1, spend: -5.5),
                window(30, (1, 1, 1), browses: 1, spend: 45), window(90, (1, 1, 1), browses: 1, spend: 45),
            ])
        // Twenty days on, the second day has left the shorter ones as well; the clock of the partition decides.
        engine.tick(to: epoch + 20 * day)
        let later = try #require(engine.view(of: "a"))
        #expect(later.timeMs == epoch + 20 * day && later.lastEventMs == epoch + 10 * day + hour)
        #expect(later.windows.map(\.spend) == [0, 0, 45, 45] && later.windows.map(\.browses) == [0, 0, 1, 1])
    }

    /// Before a model serves, the customer's own past answers.
    @Test func forecastsOfAUser() throws {
        let view = try #require(Self.shop().view(of: "a"))
        #expect(
            view.forecasts.map { "\($0.target) \($0.horizonDays)" } == [
                "clv 2.0", "clv 7.0", "clv 20.0", "purchase 2.0", "purchase 7.0", "purchase 20.0", "churn 7.0",
            ])
        let (money, chances) = (view.forecasts.prefix(3).map(\.value), view.forecasts[3..<6].map(\.value))
        #expect(0 < money[0] && money[0] < money[1] && money[1] < money[2])
        #expect(0 < chances[0] && chances[0] < chances[1] && chances[1] < chances[2] && chances[2] < 1)
        // The population's would be a tenth in two days.
        #expect(abs(chances[0] - 0.1) > 1e-3)
        let churn = view.forecasts[6].value
        #expect(try #require(view.churnProbability) == churn && (0...1).contains(churn))
        for forecast in view.forecasts.prefix(3) { #expect(forecast.lower == 0 && forecast.upper != nil) }
        for forecast in view.forecasts.suffix(4) { #expect(forecast.lower == nil && forecast.upper == nil) }
    }

    /// Of many events the last sixteen are there, oldest first.
    @Test func theLastEventsOfMany() throws {
        let stream = TestStream()
        for i in 0..<21 as Range<Int64> { stream.add("a", .view, at: epoch + i * hour) }
        let engine = Engine.make()
        engine.run(stream)
        let times = try #require(engine.view(of: "a")).lastEvents.map(\.timeSeconds)
        #expect(times == (5..<21).map { epoch / 1000 + $0 * 3600 })
    }

    /// While nothing is known, a tenth of the population buys within two days.
    @Test func whoIsNotKnownIsLikeAnybody() {
        let engine = Self.shop()
        let query = engine.query([
            Query.Item(target: "purchase", horizonDays: 2), Query.Item(target: "churn", horizonDays: 7),
        ])
        let answers = query.answer([("nobody", epoch), ("a", epoch + 11 * day), ("", epoch)])
        #expect(answers.count == 6)
        for i in [0, 4] {
            #expect(abs(Double(answers[i]) - 0.1) < 1e-5 && abs(Double(answers[i + 1]) - pow(0.9, 3.5)) < 1e-5)
        }
        #expect(abs(answers[2] - answers[0]) > 1e-3, "a customer who bought is not anybody")
    }

    @Test func alertOfAUserAndUnknownUsers() throws {
        let engine = Self.shop()
        let header = try #require(engine.slot("a")).header
        header.pointee.flags |= UserHeader.alertRaised
        header.pointee.alertRaisedAt = 1_609_800_000
        header.pointee.alerts = 2
        let view = try #require(engine.view(of: "a"))
        #expect(view.alert == UserView.Alert(isRaised: true, raisedAtSeconds: 1_609_800_000, count: 2))
        #expect(engine.view(of: "b") == nil && engine.view(of: "") == nil)
        #expect(try JSONDecoder().decode(UserView.self, from: JSONEncoder().encode(view)) == view)
    }

    /// A question changes no bit of the state.
    @Test func askingChangesNothing() throws {
        let engine = Engine.make()
        engine.run(RandomStream(users: 40, events: 1500).make(seed: 7))
        #expect(engine.report().modelVersion > 0)
        let before = try Written(engine)
        for u in 0..<40 { _ = engine.view(of: "user-\(u)") }
        #expect(try Written(engine) == before)
        let best = try #require(engine.topUsers(1).first)
        let view = try #require(engine.view(of: best.user))
        #expect(view.forecasts.contains { $0.target == "clv" && $0.horizonDays == 20 && $0.value == best.value })
        #expect(view.churnProbability == best.churnProbability && view.valueToDate == best.valueToDate)
    }

    // MARK: Requests

    private final class Answers: Sendable {
        let texts = Mutex<[String]>([])
        func add(_ text: String) { texts.withLock { $0.append(text) } }
        var all: [String] { texts.withLock { $0 } }
    }

    @Test func requestsAreAnsweredInOrderAndAFullMailboxRefuses() {
        let (engine, requests, answers) = (Self.shop(), EngineRequests(capacity: 2), Answers())
        func user(_ name: String) -> EngineRequest {
            .user(name) { answers.add($0.map { "\($0.user): \($0.orders)" } ?? "unknown") }
        }
        #expect(requests.submit(user("a")))
        #expect(requests.submit(.ranking(count: 5) { answers.add($0.map(\.user).joined()) }))
        #expect(!requests.submit(user("refused")))
        #expect(answers.all.isEmpty)
        requests.drain(engine)
        #expect(answers.all == ["a: 1", "a"])
        #expect(requests.submit(user("nobody")))
        requests.drain(engine)
        requests.drain(engine)
        #expect(answers.all == ["a: 1", "a", "unknown"])
    }

    @Test func askersOnManyThreads() {
        let (engine, requests, answers) = (Self.shop(), EngineRequests(capacity: 64), Answers())
        let accepted = Atomic(0)
        DispatchQueue.concurrentPerform(iterations: 100) { _ in
            if requests.submit(.user("a", answer: { answers.add($0?.user ?? "") })) {
                accepted.add(1, ordering: .relaxed)
            }
        }
        #expect(accepted.load(ordering: .relaxed) == 64)
        requests.drain(engine)
        #expect(answers.all == Array(repeating: "a", count: 64))
    }
}
