import ArgumentParser
import Foundation
import Simulation
import Terminal

extension ShopCharacter: ExpressibleByArgument {}

/// `clvd simulate`
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Write a simulated shop's clickstream, and the true behaviour of its visitors.",
        discussion: """
            Each user buys by the law of the --character until they leave for ever, unobserved; views and carts lead up \
            to purchases, most sessions to none. The events are clvd's CSV, in order of time. The truth has a row for \
            each user: user_id, start_ms, churn_ms, purchase_rate_per_day, churn_rate_per_day, mean_order_value, \
            purchases, spend, visit_rate_per_day, law. Files are gzip where their names end in .gz. The same arguments \
            give the same files. Memory: about 100 bytes per user; with another law than Pareto/NBD, or with landmarks, \
            per event.

            --landmarks asks about every user from the first event on, every --landmark-days days, and writes \
            landmark_id, user_id, time_ms, horizons, and what came of it: money and purchases, one number for each \
            horizon. --oracle writes the best forecasts there are, for `clvd evaluate --baselines`: `oracle` knows every \
            number of the user and whether they have left; `bayes` knows the numbers and infers the rest from the visits \
            so far. No forecast that learns can be better on average than `bayes`.

            CHARACTERS
            \(characters)

            Exit codes: 0; 1 when a file cannot be written; 64 for arguments that cannot be used.

            EXAMPLES
              clvd simulate --users 10000 --days 180 --seed 7 --out events.csv.gz --truth truth.csv.gz
              clvd simulate --users 1000 --days 365 --seed 1 --out e.csv --truth t.csv --spend-shift 0.5
              clvd simulate --character bursty --out e.csv --truth t.csv --landmarks l.csv --oracle best.csv
              clvd evaluate --events e.csv --landmarks l.csv --baselines best.csv
            """)

    private static let characters = ShopCharacter.allCases.map { character in
        "  \(character.rawValue): \(character.summary); \(character.size.users) users, "
            + "\(Human.days(character.size.days)) days, horizons "
            + character.horizonsDays.map(Human.days).joined(separator: " and ")
    }.joined(separator: "\n")

    @Option(help: ArgumentHelp("Law by which users buy, and numbers for it.", valueName: "name"))
    var character = ShopCharacter.shop

    @Option(help: "Number of users. (default: the character's)")
    var users: Int?

    @Option(help: "Length of the period. (default: the character's)")
    var days: Double?

    @Option(help: "Seed of the random numbers.")
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("File for the events.", valueName: "file"))
    var out: String

    @Option(help: ArgumentHelp("File for the truth.", valueName: "file"))
    var truth: String

    @OptionGroup(title: "Landmarks")
    var asked: Landmarks

    @OptionGroup(title: "Population (default: the character's)")
    var population: Population

    @Flag(inversion: .prefixedNo, help: "Show the progress, on standard error.")
    var progress = true

    @Flag(help: "Print a summary as JSON.")
    var json = false

    struct Landmarks: ParsableArguments {
        @Option(help: ArgumentHelp("File for landmarks and what came of them.", valueName: "file"))
        var landmarks: String?
        @Option(help: ArgumentHelp("File for the best possible forecasts at them.", valueName: "file"))
        var oracle: String?
        @Option(help: ArgumentHelp("Horizons in days, as 30,90. (default: the character's)", valueName: "days"))
        var horizons: String?
        @Option(help: "First day of landmarks. (default: after 40 % of the period)")
        var landmarksFromDay: Double?
        @Option(help: "Days between two landmarks of a user.")
        var landmarkDays = 14.0

        func request(_ character: ShopCharacter, days: Double) throws -> LandmarkRequest? {
            guard let landmarks else { return nil }
            var horizonsDays = character.horizonsDays
            if let horizons {
                horizonsDays = horizons.split(separator: ",").compactMap { Double($0) }.sorted()
                guard horizonsDays.count == horizons.split(separator: ",", omittingEmptySubsequences: false).count
                else {
                    throw ValidationError("--horizons are days separated by commas, as 30,90.")
                }
            }
            return LandmarkRequest(
                path: landmarks, oraclePath: oracle, horizonsDays: horizonsDays,
                fromDay: landmarksFromDay ?? 0.4 * days, stepDays: landmarkDays)
        }
    }

    struct Population: ParsableArguments {
        @Option(help: "Purchases per day of a user: Gamma(shape) / scale.")
        var purchaseShape: Double?
        @Option(help: "Its scale; shape / scale is the mean rate.")
        var purchaseScaleDays: Double?
        @Option(help: "A lifetime's rate per day: Gamma(shape) / scale.")
        var churnShape: Double?
        @Option(help: "Its scale.")
        var churnScaleDays: Double?
        @Option(help: "Median over the users of the mean order value.")
        var medianOrderValue: Double?
        @Option(help: "Standard deviation of its logarithm over the users.")
        var orderValueSpreadOfUsers: Double?
        @Option(help: "Standard deviation of the logarithm of one user's order values.")
        var orderValueSpread: Double?
        @Option(help: "Sessions without a purchase for each one with.")
        var browsingPerPurchase: Double?
        @Option(help: "Users start evenly over these first days. (default: 60 % of the period)")
        var acquisitionDays: Double?
        @Option(help: "Factor on spending from the middle of the period on.")
        var spendShift: Double?
        @Option(help: "Begin of the period, epoch milliseconds; 1704067200000 is 2024-01-01.")
        var startMs: Int64?

        func parameters(_ character: ShopCharacter) -> ClickstreamParameters {
            var p = character.parameters
            func set<Value>(_ path: WritableKeyPath<ClickstreamParameters, Value>, _ value: Value?) {
                if let value { p[keyPath: path] = value }
            }
            set(\.purchaseShape, purchaseShape)
            set(\.purchaseScaleDays, purchaseScaleDays)
            set(\.churnShape, churnShape)
            set(\.churnScaleDays, churnScaleDays)
            set(\.medianOrderValue, medianOrderValue)
            set(\.orderValueSpreadOfUsers, orderValueSpreadOfUsers)
            set(\.orderValueSpread, orderValueSpread)
            set(\.browsingPerPurchase, browsingPerPurchase)
            set(\.acquisitionDays, acquisitionDays)
            set(\.spendShift, spendShift)
            set(\.startMs, startMs)
            return p
        }
    }

    func validate() throws {
        let files = [out, truth, asked.landmarks, asked.oracle].compactMap { $0 }
        guard Set(files).count == files.count else {
            throw ValidationError("Two options name the same file; give each its own.")
        }
        if asked.landmarks == nil, asked.oracle != nil {
            throw ValidationError("--oracle needs --landmarks: its forecasts are made at them.")
        }
    }

    func run() throws {
        let start = ContinuousClock.now
        let (users, days) = (users ?? character.size.users, days ?? character.size.days)
        var simulation: ClickstreamSimulation
        let request = try asked.request(character, days: days)
        do {
            simulation = try ClickstreamSimulation(
                users: users, days: days, seed: seed, parameters: population.parameters(character))
            if let request { try simulation.check(request) }
        } catch {
            throw CommandFailure("\(error)", code: .validationFailure)
        }
        StopSignal.install()
        // By days: the number of events is not known in advance.
        let reporter = progress ? ProgressReporter(label: "Simulate", total: Int64(days), unit: "days") : nil
        let events: Int64
        do {
            events = try simulation.writeCSV(to: out, truth: truth, landmarks: request) { share in
                if StopSignal.isRequested { throw CommandFailure("Stopped: \(out) is incomplete; remove it.") }
                reporter?.update(done: Int64(share * days))
            }
        } catch {
            reporter?.finish("Failed.")
            throw error
        }
        reporter?.finish()
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        if json {
            return try Report.json(
                Result(
                    events: events, users: users, days: days, seed: seed, character: character.rawValue, out: out,
                    truth: truth, seconds: seconds))
        }
        Report.line(
            "\(Human.count(events)) events of \(Human.count(Int64(users))) users in \(out), the truth in \(truth) "
                + "(\(Human.duration(seconds)))")
    }

    private struct Result: Encodable {
        let events: Int64
        let users: Int
        let days: Double
        let seed: UInt64
        let character, out, truth: String
        let seconds: Double
    }
}
