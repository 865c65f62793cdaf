import CEventParser
import Foundation
import Testing

@testable import Simulation

/// Statistics of simulated shops against what their laws say, by hand.
@Suite struct Characters {
    private struct Customer {
        var user: SimulatedUser
        var purchases: [(ms: Int64, amount: Double)] = []
    }
    private static let day = 86_400_000.0
    private static let start: Int64 = 1_704_067_200_000

    private func customers(_ character: ShopCharacter, _ users: Int, _ days: Double, seed: UInt64 = 1) throws
        -> [Customer]
    {
        var simulation = try ClickstreamSimulation(
            users: users, days: days, seed: seed, parameters: Self.alone(character))
        var all = (0..<users).map { Customer(user: simulation.truth($0)) }
        while let event = simulation.next() {
            guard event.type == clvd_type_purchase else { continue }
            all[event.user].purchases.append((event.timeMs, event.amount))
        }
        return all
    }

    /// Purchases alone, and everybody from the first day on.
    private static func alone(_ character: ShopCharacter) -> ClickstreamParameters {
        var parameters = character.parameters
        parameters.acquisitionDays = 1
        parameters.browsingPerPurchase = 0
        return parameters
    }

    private func mean(_ x: [Double]) -> Double { x.reduce(0, +) / Double(x.count) }

    @Test(arguments: ShopCharacter.allCases)
    func sameSeedSameEventsInOrderOfTime(character: ShopCharacter) throws {
        func events(_ seed: UInt64) throws -> [SimulatedEvent] {
            var simulation = try ClickstreamSimulation(
                users: 40, days: 120, seed: seed, parameters: character.parameters)
            var events: [SimulatedEvent] = []
            while let event = simulation.next() { events.append(event) }
            return events
        }
        let first = try events(4)
        #expect(first.count > 100)
        #expect(try events(4) == first && events(5) != first)
        #expect(zip(first, first.dropFirst()).allSatisfy { $0.timeMs <= $1.timeMs && $0.number + 1 == $1.number })
        let simulation = try ClickstreamSimulation(users: 40, days: 120, seed: 4, parameters: character.parameters)
        #expect(
            first.allSatisfy {
                let user = simulation.truth($0.user)
                // A payment may come some days after the renewal that the contract ends with.
                let late = character == .subscription ? 5 * Int64(Self.day) : 0
                return $0.timeMs >= user.startMs && $0.timeMs <= user.churnMs + late
            })
    }

    /// 70, 20 and 10 % pay every 30, 90 and 365 days; the k-th of those at risk leave with (a) / (a + b + k - 1).
    @Test func subscriptionsAreRenewed() throws {
        let users = 4000
        let all = try customers(.subscription, users, 1000)
        let period = all.map { 1 / $0.user.purchaseRatePerDay }
        for (days, share) in [(30.0, 0.7), (90, 0.2), (365, 0.1)] {
            let count = Double(period.count { abs($0 - days) < 1e-6 })
            #expect(abs(count / Double(users) - share) < 3.5 * (share * (1 - share) / Double(users)).squareRoot())
        }
        let monthly = all.filter { abs(1 / $0.user.purchaseRatePerDay - 30) < 1e-6 }
        let gaps = monthly.flatMap { c in
            zip(c.purchases, c.purchases.dropFirst()).map { Double($1.ms - $0.ms) / Self.day }
        }
        // Payments are late by 0.3 days on average, the first one is not: few gaps begin with it.
        #expect(gaps.count > 10_000 && abs(mean(gaps) - 30) < 0.1)
        #expect(gaps.allSatisfy { $0 > 25 && $0 < 35.001 })
        #expect(abs(mean(gaps.map { abs($0 - 30) }) - 0.3) < 0.02)
        // Beta(0.8, 7.2): a tenth leaves at the first renewal, 0.8 / 9 of the rest at the second.
        let once = Double(monthly.count { $0.purchases.count == 1 })
        let twice = Double(monthly.count { $0.purchases.count == 2 })
        let n = Double(monthly.count)
        #expect(abs(once / n - 0.1) < 3.5 * (0.09 / n).squareRoot())
        #expect(abs(twice / (n - once) - 0.8 / 9) < 3.5 * (0.081 / n).squareRoot())
        // One price for each contract.
        for c in monthly.prefix(200) where c.purchases.count > 1 {
            #expect(c.purchases.allSatisfy { abs($0.amount - c.purchases[0].amount) < 0.04 })
        }
    }

    /// exp(1.2 cos) / I0(1.2): 2.38 times the mean at the peak, 0.22 at the trough; the mean over a year is 1.
    @Test func theSeasonHasItsPeak() throws {
        let season = PurchaseLaw.Season()
        // I0(1.2) = 1.39373 (Abramowitz and Stegun, table 9.8).
        let i0 = 1.393_725_6
        #expect(abs(season.factor(atMs: 0, dayOfYear: 340) - exp(1.2) / i0) < 1e-5)
        #expect(abs(season.factor(atMs: 0, dayOfYear: 340 + 365.2425 / 2) - exp(-1.2) / i0) < 1e-5)
        #expect(abs(mean((0..<1000).map { season.factor(atMs: 0, dayOfYear: Double($0) * 0.365_242_5) }) - 1) < 1e-9)
        // 5 December 2024.
        #expect(abs(season.factor(atMs: 1_733_356_800_000) - exp(1.2) / i0) < 0.01)
        let all = try customers(.seasonal, 3000, 366)
        /// Purchases in 30 days from a day on, by those who are there in the middle of them.
        func rate(from first: Int) -> Double {
            func at(_ day: Int) -> Int64 { Self.start + Int64(day) * 86_400_000 }
            let there = all.filter { $0.user.churnMs > at(first + 15) }
            let bought = there.flatMap(\.purchases).count { $0.ms >= at(first) && $0.ms < at(first + 30) }
            return Double(bought) / Double(there.count)
        }
        // exp(1.2 cos(x)) around the peak over that around the trough, half a year away; both flat within 4 %.
        let ratio = rate(from: 326) / rate(from: 143)
        #expect(abs(ratio / exp(2.4) - 1) < 0.25, "\(ratio)")
    }

    /// Beta(2.4, 0.8): three of four buy once, 1.4 … of the rest go on: E[p(1 - p)] = 2.4 · 0.8 / (3.2 · 4.2) buy twice.
    @Test func mostBuyOnce() throws {
        let users = 6000
        let all = try customers(.oneTime, users, 30_000)
        #expect(all.allSatisfy { !$0.purchases.isEmpty && $0.purchases[0].ms == $0.user.startMs })
        let n = Double(users)
        let once = Double(all.count { $0.purchases.count == 1 }) / n
        let twice = Double(all.count { $0.purchases.count == 2 }) / n
        let share = 2.4 * 0.8 / (3.2 * 4.2)
        #expect(abs(once - 0.75) < 3.5 * (0.75 * 0.25 / n).squareRoot(), "\(once)")
        #expect(abs(twice - share) < 3.5 * (share * (1 - share) / n).squareRoot() + 0.01, "\(twice)")
        // They leave with their last purchase.
        #expect(
            all.allSatisfy {
                $0.purchases.last?.ms == $0.user.churnMs || $0.user.churnMs > Self.start + 29_999 * 86_400_000
            })
    }

    /// Hill's estimate of the exponent, from order values over the least there can be: n / Σ ln(x / least).
    @Test func orderValuesHaveATail() throws {
        let all = try customers(.heavyTailed, 3000, 400)
        // The least order is a third of the mean: (1.5 - 1) / 1.5.
        let logs = all.flatMap { c in c.purchases.map { log($0.amount / (c.user.meanOrderValue / 3)) } }
        #expect(logs.count > 5000 && logs.allSatisfy { $0 > -0.1 })
        let hill = Double(logs.count) / logs.reduce(0, +)
        #expect(abs(hill - 1.5) < 3.5 * 1.5 / Double(logs.count).squareRoot() + 0.01, "\(hill)")
        // Gamma(0.5) / 30 has a squared coefficient of variation of 2: few buy often.
        let rates = all.map(\.user.purchaseRatePerDay)
        let m = mean(rates)
        #expect(abs(m * 60 - 1) < 0.1)
        #expect(abs(mean(rates.map { ($0 / m - 1) * ($0 / m - 1) }) - 2) < 0.5)
    }

    @Test func tinyIsTiny() throws {
        let (users, days) = ShopCharacter.tiny.size
        #expect(users == 300 && days == 90)
        var simulation = try ClickstreamSimulation(
            users: users, days: days, seed: 1, parameters: ShopCharacter.tiny.parameters)
        var (purchases, all) = (0, 0)
        while let event = simulation.next() {
            all += 1
            if event.type == clvd_type_purchase { purchases += 1 }
        }
        #expect((50...400).contains(purchases) && all > 25 * purchases, "\(purchases) of \(all)")
    }

    /// While on, 2 purchases a day until an end at 0.4 a day: of gaps of one burst, a sixth ends it first.
    @Test func purchasesComeInBursts() throws {
        let all = try customers(.bursty, 2000, 365)
        let gaps = all.flatMap { c in zip(c.purchases, c.purchases.dropFirst()).map { Double($1.ms - $0.ms) / Self.day }
        }
        let m = mean(gaps)
        // A Poisson process has a squared coefficient of variation of 1.
        let cv2 = mean(gaps.map { ($0 / m - 1) * ($0 / m - 1) })
        #expect(cv2 > 4, "\(cv2)")
        // Within a burst the next purchase comes before the end with rate 2 + 0.4; of an exponential gap cut at one
        // day the mean is 1 / 2.4 - exp(-2.4) / (1 - exp(-2.4)).
        let short = gaps.filter { $0 < 1 }
        #expect(abs(mean(short) - 0.3169) < 0.01, "\(mean(short))")
        #expect(Double(short.count) > 0.7 * Double(gaps.count))
        // Purchases of the first burst, with the one at its start: geometric with mean 1 + 2 / 0.4.
        let simulation = try ClickstreamSimulation(
            users: 2000, days: 365, seed: 1, parameters: Self.alone(.bursty))
        let first = all.indices.compactMap { i -> Double? in
            let end = simulation.life(i).switches[0]
            guard end < simulation.endMs, all[i].user.churnMs > end else { return nil }
            return Double(all[i].purchases.count { $0.ms < end })
        }
        #expect(
            first.count > 1900 && abs(mean(first) - 6) < 3.5 * 5.5 / Double(first.count).squareRoot() + 0.15,
            "\(mean(first))")
    }
}

/// What is expected of a customer, against what happens in many repetitions.
@Suite struct Expectations {
    private static let day = 86_400_000.0

    /// Forecasts of each character are right on average, in money and in chance, knowing or inferring what is hidden;
    /// and who knows more says it better.
    @Test(arguments: [
        ShopCharacter.shop, .subscription, .seasonal, .oneTime, .heavyTailed, .bursty,
    ])
    func forecastsAreRightOnAverage(character: ShopCharacter) throws {
        let folder = NSTemporaryDirectory() + "clvd-oracle-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var parameters = character.parameters
        // Money of infinite variance says nothing in a sample of this size.
        parameters.orderValueTail = parameters.orderValueTail.map { _ in 6 }
        parameters.spendShift = 0.5
        var simulation = try ClickstreamSimulation(users: 1500, days: 400, seed: 11, parameters: parameters)
        let request = LandmarkRequest(
            path: folder + "/l.csv", oraclePath: folder + "/o.csv", horizonsDays: [10, 60], fromDay: 100, stepDays: 40)
        _ = try simulation.writeCSV(to: folder + "/e.csv", truth: folder + "/t.csv", landmarks: request)
        func rows(_ name: String) throws -> [[String]] {
            try String(contentsOfFile: folder + name, encoding: .utf8).split(separator: "\n").dropFirst().map {
                $0.split(separator: ",").map(String.init)
            }
        }
        let landmarks = try rows("/l.csv")
        let forecasts = try rows("/o.csv")
        #expect(landmarks.count > 2000 && forecasts.count == 4 * landmarks.count)
        for (h, days) in ["10", "60"].enumerated() {
            let money = landmarks.map { Double($0[4].split(separator: "|")[h])! }
            let bought = landmarks.map { $0[5].split(separator: "|")[h] != "0" }
            // Landmarks of one customer are not independent: sums of users have the deviation.
            func close(_ said: [Double], _ real: [Double], _ what: String) {
                var byUser: [String: Double] = [:]
                for (i, l) in landmarks.enumerated() { byUser[l[1], default: 0] += said[i] - real[i] }
                let deviation = byUser.values.reduce(0) { $0 + $1 * $1 }.squareRoot()
                let off = byUser.values.reduce(0, +)
                #expect(
                    abs(off) < 4 * deviation,
                    "\(what), \(days) days: off by \(off) of \(real.reduce(0, +)), ± \(deviation)")
            }
            var losses: [Double] = []
            for model in ["oracle", "bayes"] {
                let said = forecasts.filter { $0[4] == model && $0[1] == days }
                let chance = said.map { Double($0[3])! }
                close(said.map { Double($0[2])! }, money, "\(model), money")
                close(chance, bought.map { $0 ? 1 : 0 }, "\(model), chance")
                // Right in parts, too: among the likely and the unlikely.
                let high = chance.map { $0 > 0.3 ? 1.0 : 0 }
                close(zip(chance, high).map(*), zip(bought, high).map { $0 ? $1 : 0 }, "\(model), likely ones")
                losses.append(
                    zip(chance, bought).reduce(0) { $0 - log(max(1e-6, $1.1 ? $1.0 : 1 - $1.0)) } / Double(chance.count)
                )
            }
            #expect(losses[0] < losses[1] + 1e-3, "\(losses)")
        }
    }

    @Test func landmarksThatDoNotFitAreRefused() throws {
        let simulation = try ClickstreamSimulation(users: 5, days: 100, seed: 1)
        func request(_ horizons: [Double], _ from: Double, _ step: Double) -> LandmarkRequest {
            LandmarkRequest(path: "l", oraclePath: nil, horizonsDays: horizons, fromDay: from, stepDays: step)
        }
        try simulation.check(request([30, 60], 39, 7))
        for bad in [request([30, 60], 40, 7), request([], 0, 7), request([0], 0, 7), request([7], 0, 0)] {
            #expect(throws: SimulationError.self) { try simulation.check(bad) }
        }
    }
}
