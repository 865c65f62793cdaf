public import CEventParser
import Foundation

/// What a simulated population is like. Times in days, money in units of the currency.
public struct ClickstreamParameters: Sendable, Equatable {
    /// Purchases per day of a user: Gamma(shape) / scale, in the mean shape / scale.
    public var purchaseShape = 1.5
    public var purchaseScaleDays = 30.0
    /// A user's lifetime is exponential, its rate per day Gamma(shape) / scale.
    public var churnShape = 1.5
    public var churnScaleDays = 180.0
    /// Mean order value of a user: log-normal around this median.
    public var medianOrderValue = 40.0
    public var orderValueSpreadOfUsers = 0.5
    /// Standard deviation of the logarithm of one user's order values.
    public var orderValueSpread = 0.3
    /// Sessions without a purchase for each one with.
    public var browsingPerPurchase = 2.0
    /// Users start evenly over these first days; nil: the first 60 % of the period.
    public var acquisitionDays: Double?
    /// Factor on spending from the middle of the period on.
    public var spendShift = 1.0
    /// When customers buy. Rates and lifetimes above belong to the Poisson law; other laws say what they take of them.
    public var law = PurchaseLaw.poisson
    /// Order values of a user are Pareto with this exponent, which is above 1; nil: log-normal.
    public var orderValueTail: Double?
    /// Begin of the period, epoch milliseconds. 2024-01-01 by default.
    public var startMs: Int64 = 1_704_067_200_000
    public init() {}
}

/// What is true of a simulated user.
public struct SimulatedUser: Sendable, Equatable {
    public let id: String
    /// Epoch milliseconds.
    public let startMs: Int64
    /// From when on the user does nothing any more, epoch milliseconds; often after the end of the period.
    public let churnMs: Int64
    /// While the user is there.
    public let purchaseRatePerDay: Double
    public let churnRatePerDay: Double
    /// Expected, before `spendShift`.
    public let meanOrderValue: Double
}

/// An event that never was.
public struct SimulatedEvent: Sendable, Equatable {
    /// 0-based, in order of time.
    public private(set) var number: Int64
    public let timeMs: Int64
    public let user: Int
    public let type: clvd_event_type
    /// Number of the product; its category is its remainder by the number of categories. Negative: none.
    public let product: Int
    /// 0 when the event has no price.
    public let price: Double
    public let quantity: Int
    public let amount: Double
    /// 1-based per user; 0: not a purchase.
    public let order: Int
    /// 1-based per user.
    public let session: Int

    func numbered(_ number: Int64) -> Self {
        var event = self
        event.number = number
        return event
    }

    public var id: String { "e-\(number)" }
    public var userID: String { Self.userID(user) }
    public var typeName: String { String(cString: clvd_event_type_name(UInt8(type.rawValue))) }
    public var productID: String? { product < 0 ? nil : "p-\(product)" }
    public var category: String? { product < 0 ? nil : "c-\(product % Self.categories)" }
    public var orderID: String? { order == 0 ? nil : "o-\(user)-\(order)" }
    public var sessionID: String { "s-\(user)-\(session)" }

    init(
        number: Int64, timeMs: Int64, user: Int, type: clvd_event_type, visit: SimulatedVisit, order: Int, session: Int
    ) {
        let ofProduct = type != clvd_type_page_view && type != clvd_type_search
        let buys = type == clvd_type_purchase
        let inCart = buys || type == clvd_type_add_to_cart || type == clvd_type_remove_from_cart
        (self.number, self.timeMs, self.user, self.type, self.session) = (number, timeMs, user, type, session)
        product = ofProduct ? Int(visit.product) : -1
        price = ofProduct ? visit.price : 0
        quantity = inCart ? Int(visit.quantity) : 0
        amount = buys ? Self.cents(visit.price * Double(visit.quantity)) : 0
        self.order = buys ? order : 0
    }

    static let products = 500
    static let categories = 12
    static func cents(_ value: Double) -> Double { (value * 100).rounded() / 100 }

    static func userID(_ index: Int) -> String {
        let digits = String(index)
        return "u" + String(repeating: "0", count: max(0, 7 - digits.count)) + digits
    }
}

/// Visitors of a shop, by default as the Pareto/NBD model has them: each buys as a Poisson process of their own rate
/// until they leave for ever, unobserved, after an exponential lifetime of their own rate. A purchase ends a session of
/// views; other sessions end without one.
///
/// Events come in order of time. The same arguments give the same events. Memory is about 100 bytes per user; of a law
/// other than the Poisson one, about 100 bytes per event.
public struct ClickstreamSimulation: Sendable {
    public let users: Int
    public let days: Double
    public let seed: UInt64
    public let parameters: ClickstreamParameters

    private var states: [State]
    /// Binary heap of the users with a next event, the earliest first.
    private var heap: [Ahead] = []
    private var number: Int64 = 0
    let endMs: Int64
    /// Of laws other than the Poisson one: everybody's life, and the events, drawn at once.
    private var script: Script?

    static let dayMs = 86_400_000.0

    /// - Throws: `SimulationError` when a number is out of range.
    public init(
        users: Int, days: Double, seed: UInt64, parameters: ClickstreamParameters = ClickstreamParameters()
    ) throws {
        func require(_ value: Double, _ name: String, _ range: ClosedRange<Double>) throws {
            guard range.contains(value) else {
                throw SimulationError("\(name) is \(value); it must be from \(range.lowerBound) to \(range.upperBound)")
            }
        }
        try require(Double(users), "users", 1...1e9)
        try require(days, "days", 0.01...36_525)
        try require(parameters.purchaseShape, "purchaseShape", 0.01...1e6)
        try require(parameters.purchaseScaleDays, "purchaseScaleDays", 0.01...1e6)
        try require(parameters.churnShape, "churnShape", 0.01...1e6)
        try require(parameters.churnScaleDays, "churnScaleDays", 0.01...1e6)
        try require(parameters.medianOrderValue, "medianOrderValue", 0.01...1e6)
        try require(parameters.orderValueSpreadOfUsers, "orderValueSpreadOfUsers", 0...3)
        try require(parameters.orderValueSpread, "orderValueSpread", 0...3)
        try require(parameters.browsingPerPurchase, "browsingPerPurchase", 0...1000)
        try require(parameters.acquisitionDays ?? 0, "acquisitionDays", 0...36_525)
        try require(parameters.spendShift, "spendShift", 0.001...1000)
        try require(Double(parameters.startMs), "startMs", 0...4e12)
        try require(parameters.orderValueTail ?? 2, "orderValueTail", 1.01...100)
        self.users = users
        self.days = days
        self.seed = seed
        self.parameters = parameters
        endMs = parameters.startMs + Int64(days * Self.dayMs)
        states = []
        guard parameters.law == .poisson else {
            script = Script(users: users, days: days, seed: seed, parameters)
            return
        }
        states.reserveCapacity(users)
        for index in 0..<users {
            let (truth, random) = Self.born(index, days: days, seed: seed, parameters)
            var state = State(random: random, visitMs: truth.startMs, churnMs: min(truth.churnMs, endMs))
            state.visitsPerMs = truth.purchaseRatePerDay * (1 + parameters.browsingPerPurchase) / Self.dayMs
            state.meanOrderValue = truth.meanOrderValue
            states.append(state)
            plan(index)
            if let time = states[index].nextMs { heap.append(Ahead(timeMs: time, user: Int32(index))) }
        }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(index) }
    }

    /// What is true of user `index`, whatever has been simulated so far.
    public func truth(_ index: Int) -> SimulatedUser {
        script?.lives[index].user ?? Self.born(index, days: days, seed: seed, parameters).user
    }

    /// All that user `index` does is known beforehand, but for the Poisson law.
    func life(_ index: Int) -> CustomerLife {
        script?.lives[index] ?? CustomerLife(poisson: truth(index))
    }

    /// The next event, or nil when the period is over.
    public mutating func next() -> SimulatedEvent? {
        if script != nil { return script?.next() }
        guard let first = heap.first else { return nil }
        let user = Int(first.user)
        let event = emit(user, first.timeMs)
        if states[user].visit.isOver { plan(user) }
        if let time = states[user].nextMs {
            heap[0].timeMs = time
        } else {
            let last = heap.removeLast()
            if heap.isEmpty { return event }
            heap[0] = last
        }
        sink(0)
        return event
    }

    // MARK: Users

    private struct State: Sendable {
        var random: SplitMix64
        /// When the current visit ends; before the first one, when the user starts.
        var visitMs: Int64
        /// When the user leaves, or the period ends.
        var churnMs: Int64
        var visitsPerMs = 0.0
        var meanOrderValue = 0.0
        var visit = SimulatedVisit()
        var orders: Int32 = 0
        var sessions: Int32 = 0

        var nextMs: Int64? { visit.nextMs(endMs: visitMs) }
    }

    private struct Ahead: Sendable {
        var timeMs: Int64
        var user: Int32

        func isBefore(_ other: Ahead) -> Bool { (timeMs, user) < (other.timeMs, other.user) }
    }

    /// The user, and the generator for what they do.
    private static func born(
        _ index: Int, days: Double, seed: UInt64, _ parameters: ClickstreamParameters
    ) -> (user: SimulatedUser, random: SplitMix64) {
        // One step of a generator parts the streams of neighbouring users and seeds.
        var streams = SplitMix64(seed: seed)
        var random = SplitMix64(seed: streams.next() ^ (UInt64(index) &+ 1) &* 0xD134_2543_DE82_EF95)
        random = SplitMix64(seed: random.next())
        let purchaseRate = random.gamma(parameters.purchaseShape) / parameters.purchaseScaleDays
        let churnRate = random.gamma(parameters.churnShape) / parameters.churnScaleDays
        let lifetimeDays = min(random.exponential() / churnRate, 1e6)
        let start = random.uniform() * min(parameters.acquisitionDays ?? days * 0.6, days)
        let value = parameters.medianOrderValue * exp(parameters.orderValueSpreadOfUsers * random.normal())
        let startMs = parameters.startMs + Int64(start * dayMs)
        let user = SimulatedUser(
            id: SimulatedEvent.userID(index), startMs: startMs, churnMs: startMs + Int64(lifetimeDays * dayMs),
            purchaseRatePerDay: purchaseRate, churnRatePerDay: churnRate, meanOrderValue: value)
        return (user, SplitMix64(seed: random.next()))
    }

    // MARK: Visits

    /// Plans the user's next visit; none when the user leaves before.
    private mutating func plan(_ index: Int) {
        var state = states[index]
        defer { states[index] = state }
        let waitMs = state.random.exponential() / state.visitsPerMs
        guard waitMs < Double(state.churnMs - state.visitMs) else { return }
        let before = state.visitMs
        state.visitMs += Int64(waitMs)
        // Visits are a Poisson process, and so are those of them that chance makes purchases.
        let buys = state.random.uniform() * (1 + parameters.browsingPerPurchase) < 1
        state.visit = SimulatedVisit(
            buys: buys, roomMs: state.visitMs - before, meanOrderValue: state.meanOrderValue,
            shift: shift(atMs: state.visitMs), parameters, &state.random)
        state.sessions += 1
    }

    private mutating func emit(_ user: Int, _ timeMs: Int64) -> SimulatedEvent {
        let type = states[user].visit.next()
        if type == clvd_type_purchase { states[user].orders += 1 }
        defer { number += 1 }
        return SimulatedEvent(
            number: number, timeMs: timeMs, user: user, type: type, visit: states[user].visit,
            order: Int(states[user].orders), session: Int(states[user].sessions))
    }

    /// Factor on spending at an instant.
    func shift(atMs timeMs: Int64) -> Double {
        timeMs >= parameters.startMs + (endMs - parameters.startMs) / 2 ? parameters.spendShift : 1
    }

    // MARK: Heap

    /// Moves the entry at `index` down until none below it is earlier.
    private mutating func sink(_ index: Int) {
        let entry = heap[index]
        var index = index
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
            guard heap[child].isBefore(entry) else { break }
            heap[index] = heap[child]
            index = child
        }
        heap[index] = entry
    }
}
