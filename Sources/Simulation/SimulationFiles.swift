import CEventParser
import Foundation

/// Where and when forecasts of simulated customers are asked for: every customer from their first event on, once a
/// step, at a time of their own.
public struct LandmarkRequest: Sendable {
    /// File for the landmarks.
    public var path: String
    /// File for the best possible forecasts; nil: none.
    public var oraclePath: String?
    public var horizonsDays: [Double]
    public var fromDay: Double
    public var stepDays: Double

    public init(path: String, oraclePath: String?, horizonsDays: [Double], fromDay: Double, stepDays: Double) {
        self.path = path
        self.oraclePath = oraclePath
        self.horizonsDays = horizonsDays
        self.fromDay = fromDay
        self.stepDays = stepDays
    }
}

/// What each user did, as far as files beside the events need it.
private struct Ledger {
    struct User {
        var orders = 0
        var spend = 0.0
        /// Where landmarks are wanted: times of all events; of purchases, with the sum up to and with each.
        var events: [Int64] = []
        var purchases: [Int64] = []
        var spent: [Double] = []
    }
    var users: [User]
    let keepsEvents: Bool

    mutating func add(_ event: SimulatedEvent) {
        let buys = event.type == clvd_type_purchase
        if buys {
            users[event.user].orders += 1
            users[event.user].spend += event.amount
        }
        guard keepsEvents else { return }
        users[event.user].events.append(event.timeMs)
        guard buys else { return }
        users[event.user].purchases.append(event.timeMs)
        users[event.user].spent.append(users[event.user].spend)
    }
}

extension ClickstreamSimulation {
    /// Writes the events as clvd's CSV, and beside it what is true of the users.
    /// - Parameters:
    ///   - path: for the events.
    ///   - truth: for the truth: `user_id,start_ms,churn_ms,purchase_rate_per_day,churn_rate_per_day,mean_order_value,
    ///     purchases,spend,visit_rate_per_day,law`, one row per user; purchases and spend count what the events hold.
    ///   - landmarks: what else is written.
    ///   - progress: called now and then with the share of the period that is done, 0 to 1.
    /// - Returns: the number of events written.
    /// - Throws: `SimulationError`, or what `progress` throws.
    @discardableResult
    public mutating func writeCSV(
        to path: String, truth truthPath: String, landmarks: LandmarkRequest? = nil,
        progress: (Double) throws -> Void = { _ in }
    ) throws -> Int64 {
        if let landmarks { try check(landmarks) }
        var ledger = Ledger(users: Array(repeating: .init(), count: users), keepsEvents: landmarks != nil)
        let csv = try CSVWriter(path: path, header: CSVWriter.columns)
        var written: Int64 = 0
        while let event = next() {
            try write(event, to: csv)
            ledger.add(event)
            written += 1
            if written % 65_536 == 0 {
                try progress(Double(event.timeMs - parameters.startMs) / Double(endMs - parameters.startMs))
            }
        }
        try csv.finish()
        try writeTruth(to: truthPath, ledger)
        if let landmarks { try write(landmarks, ledger) }
        try progress(1)
        return written
    }

    private func write(_ event: SimulatedEvent, to csv: CSVWriter) throws {
        csv.text(event.id)
        csv.integer(event.timeMs)
        csv.text(event.userID)
        csv.text(event.typeName)
        csv.text(event.productID ?? "")
        csv.text(event.category ?? "")
        if event.price > 0 { csv.number(event.price) } else { csv.empty() }
        if event.quantity > 0 { csv.integer(Int64(event.quantity)) } else { csv.empty() }
        if event.amount > 0 { csv.number(event.amount) } else { csv.empty() }
        csv.text(event.orderID ?? "")
        csv.text(event.sessionID)
        try csv.endRow()
    }

    private func writeTruth(to path: String, _ ledger: Ledger) throws {
        let csv = try CSVWriter(
            path: path,
            header: "user_id,start_ms,churn_ms,purchase_rate_per_day,churn_rate_per_day,mean_order_value,purchases,"
                + "spend,visit_rate_per_day,law")
        for (index, held) in ledger.users.enumerated() {
            let user = truth(index)
            csv.text(user.id)
            csv.integer(user.startMs)
            csv.integer(user.churnMs)
            csv.number(user.purchaseRatePerDay)
            csv.number(user.churnRatePerDay)
            csv.number(user.meanOrderValue)
            csv.integer(Int64(held.orders))
            csv.number(SimulatedEvent.cents(held.spend))
            csv.number(user.purchaseRatePerDay * (1 + parameters.browsingPerPurchase))
            csv.text(parameters.law.name)
            try csv.endRow()
        }
        try csv.finish()
    }

    // MARK: Landmarks

    /// - Throws: `SimulationError` when a request cannot be fulfilled.
    public func check(_ request: LandmarkRequest) throws {
        guard let longest = request.horizonsDays.max(), request.horizonsDays.allSatisfy({ $0 > 0 && $0 <= 3650 }) else {
            throw SimulationError("horizons are days from above 0 to 3650")
        }
        guard request.stepDays >= 0.01, request.fromDay >= 0, request.fromDay + longest < days else {
            throw SimulationError(
                "landmarks from day \(request.fromDay) with an outcome over \(longest) days do not fit into "
                    + "\(days) days; ask for shorter horizons, an earlier day or a longer period")
        }
    }

    private struct Landmark {
        var user: Int
        var timeMs: Int64
    }

    private func landmarks(_ request: LandmarkRequest, _ ledger: Ledger) -> [Landmark] {
        let step = request.stepDays * Self.dayMs
        let from = Double(parameters.startMs) + request.fromDay * Self.dayMs
        let to = Double(endMs) - (request.horizonsDays.max() ?? 0) * Self.dayMs
        var all: [Landmark] = []
        for (user, held) in ledger.users.enumerated() {
            guard let first = held.events.first else { continue }
            var random = SplitMix64(seed: seed ^ (UInt64(user) &+ 1) &* 0xA24B_AED4_963E_E407)
            random = SplitMix64(seed: random.next())
            var time = Double(first) + random.uniform() * step
            if time < from { time += ((from - time) / step).rounded(.up) * step }
            while time < to {
                all.append(Landmark(user: user, timeMs: Int64(time)))
                time += step
            }
        }
        return all.sorted { ($0.timeMs, $0.user) < ($1.timeMs, $1.user) }
    }

    private func write(_ request: LandmarkRequest, _ ledger: Ledger) throws {
        let horizons = request.horizonsDays.map { CSVWriter.shortest($0) }.joined(separator: "|")
        let csv = try CSVWriter(path: request.path, header: "landmark_id,user_id,time_ms,horizons,money,purchases")
        let oracle = try request.oraclePath.map {
            try CSVWriter(path: $0, header: "landmark_id,horizon_days,expected_value,purchase_probability,model")
        }
        for (id, landmark) in landmarks(request, ledger).enumerated() {
            let held = ledger.users[landmark.user]
            let outcomes = request.horizonsDays.map { held.outcome(landmark.timeMs, $0) }
            csv.integer(Int64(id))
            csv.text(SimulatedEvent.userID(landmark.user))
            csv.integer(landmark.timeMs)
            csv.text(horizons)
            csv.text(outcomes.map { CSVWriter.shortest($0.money) }.joined(separator: "|"))
            csv.text(outcomes.map { String($0.purchases) }.joined(separator: "|"))
            try csv.endRow()
            guard let oracle else { continue }
            for (name, knowing) in [("oracle", true), ("bayes", false)] {
                for days in request.horizonsDays {
                    let (money, chance) = expected(landmark, held, days, knowing: knowing)
                    oracle.integer(Int64(id))
                    oracle.number(days)
                    oracle.number(money)
                    oracle.number(min(1, max(0, chance)))
                    oracle.text(name)
                    try oracle.endRow()
                }
            }
        }
        try csv.finish()
        try oracle?.finish()
    }

    /// Money and the chance of a purchase, as `Expectation` knows them.
    private func expected(
        _ landmark: Landmark, _ held: Ledger.User, _ days: Double, knowing: Bool
    ) -> (money: Double, chance: Double) {
        let life = life(landmark.user)
        let place = Ledger.after(held.events, landmark.timeMs) - 1
        let last = held.events[place]
        let bought = Ledger.after(held.purchases, landmark.timeMs)
        let expectation = Expectation(law: parameters.law, life: life, browsing: parameters.browsingPerPurchase)
        func answer(_ days: Double) -> Expectation.Answer {
            expectation.answer(
                atMs: landmark.timeMs, lastMs: last, lastBuys: bought > 0 && held.purchases[bought - 1] == last,
                days: days, knowing: knowing)
        }
        let all = answer(days)
        // Spending shifts in the middle of the period.
        let middle = Double(parameters.startMs) + Double(endMs - parameters.startMs) / 2
        let before = min(days, max(0, (middle - Double(landmark.timeMs)) / Self.dayMs))
        let early = before == 0 ? 0 : before == days ? all.purchases : answer(before).purchases
        let orders = early + (all.purchases - early) * parameters.spendShift
        return (max(0, orders * life.user.meanOrderValue), all.chance)
    }
}

extension Ledger {
    /// Number of times up to and with `t`.
    static func after(_ times: [Int64], _ t: Int64) -> Int {
        var (low, high) = (0, times.count)
        while low < high {
            let middle = (low + high) / 2
            if times[middle] <= t { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension Ledger.User {
    fileprivate func outcome(_ fromMs: Int64, _ days: Double) -> (money: Double, purchases: Int) {
        let toMs = fromMs + Int64((days * ClickstreamSimulation.dayMs).rounded())
        let (a, b) = (Ledger.after(purchases, fromMs), Ledger.after(purchases, toMs))
        let money = (b > 0 ? spent[b - 1] : 0) - (a > 0 ? spent[a - 1] : 0)
        return (SimulatedEvent.cents(money), b - a)
    }
}
