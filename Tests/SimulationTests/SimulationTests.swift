import CEventParser
import Foundation
import Testing

@testable import Simulation

@Suite struct Clickstream {
    private func events(
        _ users: Int, _ days: Double, seed: UInt64 = 1, _ parameters: ClickstreamParameters = ClickstreamParameters()
    ) throws -> [SimulatedEvent] {
        var simulation = try ClickstreamSimulation(users: users, days: days, seed: seed, parameters: parameters)
        var events: [SimulatedEvent] = []
        while let event = simulation.next() { events.append(event) }
        return events
    }

    @Test func sameSeedSameEventsInOrderOfTime() throws {
        let first = try events(50, 120)
        #expect(try events(50, 120) == first)
        #expect(try events(50, 120, seed: 2) != first)
        #expect(first.count > 1000)
        #expect(zip(first, first.dropFirst()).allSatisfy { $0.timeMs <= $1.timeMs && $0.number + 1 == $1.number })
        let simulation = try ClickstreamSimulation(users: 50, days: 120, seed: 1)
        for event in first {
            let user = simulation.truth(event.user)
            #expect(event.timeMs >= user.startMs && event.timeMs <= user.churnMs)
        }
    }

    @Test func purchasesAgreeWithTheRates() throws {
        let users = 5000
        let days = 200.0
        let simulation = try ClickstreamSimulation(users: users, days: days, seed: 3)
        let end = simulation.parameters.startMs + Int64(days * 86_400_000)
        let purchases = try events(users, days, seed: 3).filter { $0.type == clvd_type_purchase }
        let counts = purchases.reduce(into: [Int](repeating: 0, count: users)) { $0[$1.user] += 1 }
        var expected = 0.0
        var deviation = 0.0
        for index in 0..<users {
            let user = simulation.truth(index)
            let mean = user.purchaseRatePerDay * Double(min(user.churnMs, end) - user.startMs) / 86_400_000
            expected += mean
            deviation += (Double(counts[index]) - mean) * (Double(counts[index]) - mean)
        }
        // The sum is Poisson, and each user's count varies by its mean.
        #expect(abs(Double(purchases.count) - expected) < 3.5 * expected.squareRoot())
        #expect(abs(deviation / expected - 1) < 0.1)
        #expect(expected > 15_000)

        let rates = (0..<users).map { simulation.truth($0).purchaseRatePerDay }
        let mean = rates.reduce(0, +) / Double(users)
        let variance = rates.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(users)
        // Gamma(1.5) / 30: mean 0.05, variance 1.5 / 900.
        #expect(abs(mean - 0.05) < 3.5 * (variance / Double(users)).squareRoot())
        #expect(abs(variance * 600 - 1) < 0.25)

        let ratio =
            purchases.map { $0.amount / simulation.truth($0.user).meanOrderValue }.reduce(0, +)
            / Double(purchases.count)
        #expect(abs(ratio - 1) < 3.5 * 0.31 / Double(purchases.count).squareRoot())
    }

    @Test func sessionsLeadToPurchases() throws {
        let all = try events(60, 150)
        let sessions = Dictionary(grouping: all) { $0.sessionID }
        let bought = sessions.values.filter { $0.last?.type == clvd_type_purchase }
        for session in bought {
            let types = session.map(\.typeName)
            #expect(types.first == "page_view")
            #expect(types.suffix(3) == ["add_to_cart", "checkout", "purchase"])
            #expect(types.contains("view"))
            let last = try #require(session.last)
            #expect(abs(last.amount - last.price * Double(last.quantity)) < 0.006)
        }
        // Two sessions without a purchase for each one with.
        #expect(abs(Double(sessions.count) / Double(bought.count) - 3) < 0.6)
        #expect(all.filter { $0.amount > 0 }.allSatisfy { $0.type == clvd_type_purchase && $0.orderID != nil })
    }

    @Test func spendingShiftsInTheMiddle() throws {
        var parameters = ClickstreamParameters()
        parameters.spendShift = 2
        let shifted = try events(100, 100, parameters).filter { $0.amount > 0 }
        let plain = try events(100, 100).filter { $0.amount > 0 }
        #expect(shifted.map(\.timeMs) == plain.map(\.timeMs))
        let middle = parameters.startMs + 50 * 86_400_000
        for (a, b) in zip(shifted, plain) {
            let factor = b.timeMs < middle ? 1.0 : 2.0
            #expect(abs(a.amount - factor * b.amount) < 0.05)
        }
        #expect(plain.contains { $0.timeMs < middle } && plain.contains { $0.timeMs >= middle })
    }

    @Test func filesOfEventsAndTruth() throws {
        let folder = NSTemporaryDirectory() + "clvd-simulation-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (path, truthPath) = (folder + "/events.csv", folder + "/truth.csv")
        var simulation = try ClickstreamSimulation(users: 20, days: 90, seed: 5)
        var shares: [Double] = []
        let written = try simulation.writeCSV(to: path, truth: truthPath) { shares.append($0) }
        #expect(shares.last == 1)
        let rows = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
            $0.split(separator: ",", omittingEmptySubsequences: false)
        }
        #expect(rows[0].joined(separator: ",") == CSVWriter.columns)
        #expect(Int64(rows.count) == written + 1)
        #expect(rows.allSatisfy { $0.count == 11 })
        var spend: [Substring: Double] = [:]
        for row in rows.dropFirst() where row[3] == "purchase" {
            spend[row[2], default: 0] += try #require(Double(row[8]))
        }
        let truth = try String(contentsOfFile: truthPath, encoding: .utf8).split(separator: "\n").map {
            $0.split(separator: ",", omittingEmptySubsequences: false)
        }
        #expect(truth.count == 21)
        for row in truth.dropFirst() {
            #expect(row.count == 10)
            #expect(abs(try #require(Double(row[7])) - spend[row[0], default: 0]) < 0.01)
        }
        #expect(throws: SimulationError.self) {
            try simulation.writeCSV(to: path, truth: "/no/such/folder/truth.csv")
        }
    }

    @Test func numbersOutOfRangeAreNamed() throws {
        let error = try #require(throws: SimulationError.self) {
            try ClickstreamSimulation(users: 0, days: 10, seed: 1)
        }
        #expect(error.description.hasPrefix("users is 0"))
        #expect(throws: SimulationError.self) { try ClickstreamSimulation(users: 1, days: .nan, seed: 1) }
    }
}

@Suite struct CDNOWLog {
    @Test func rowsByTimeAndThenByPlace() throws {
        let text = """
            customer_id  date number_of_cds  dollar_value\r
             00001 19970102  1   11.77\r
             00002 19970101  2   29.33\r
             00002 19980101  3    0.00\r
             00004 19970101  2   29.73\r

            """
        let log = try CDNOW(Data(text.utf8), source: "log")
        #expect(log.purchases.map(\.row) == [2, 4, 1, 3])
        #expect(log.purchases[0].timeMs == 852_076_800_000)
        let path = NSTemporaryDirectory() + "clvd-cdnow-\(UUID().uuidString).csv"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try log.writeCSV(to: path)
        #expect(
            try String(contentsOfFile: path, encoding: .utf8) == """
                \(CSVWriter.columns)
                cd-0,852076800000,00002,purchase,cd,music,14.665,2,29.33,cdnow000002,
                cd-1,852076800000,00004,purchase,cd,music,14.865,2,29.73,cdnow000004,
                cd-2,852163200000,00001,purchase,cd,music,11.77,1,11.77,cdnow000001,
                cd-3,883612800000,00002,purchase,cd,music,0,3,0,cdnow000003,

                """)
    }

    @Test(arguments: ["", "a b c d\n", " 00001 19970101 1\n", " 00001 19970231 1 2.0\n", " 00001 19970101 1 x\n"])
    func anotherFileIsNotTaken(text: String) throws {
        let error = try #require(throws: SimulationError.self) { try CDNOW(Data(text.utf8), source: "some.txt") }
        #expect(error.description.contains("some.txt") && error.description.contains("fetch"))
    }
}
