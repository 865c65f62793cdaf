import ArgumentParser
import Foundation
import Simulation
import Terminal

/// `clvd simulate`
struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Write a simulated shop's clickstream, and the true behaviour of its visitors.",
        discussion: """
            Each user buys at a rate of their own until they leave for ever, unobserved, after a lifetime of their own \
            rate (Pareto/NBD); views and carts lead up to purchases, most sessions to none. The events are clvd's CSV, in \
            order of time. The truth has a row for each user: user_id, start_ms, churn_ms, purchase_rate_per_day, \
            churn_rate_per_day, mean_order_value, purchases, spend. Files are gzip where their names end in .gz. The \
            same arguments give the same files. Memory: about 100 bytes per user.

            Exit codes: 0; 1 when a file cannot be written; 64 for arguments that cannot be used.

            EXAMPLES
              clvd simulate --users 10000 --days 180 --seed 7 --out events.csv.gz --truth truth.csv.gz
              clvd simulate --users 1000 --days 365 --seed 1 --out e.csv --truth t.csv --spend-shift 0.5
            """)

    @Option(help: "Number of users.")
    var users: Int

    @Option(help: "Length of the period.")
    var days: Double

    @Option(help: "Seed of the random numbers.")
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("File for the events.", valueName: "file"))
    var out: String

    @Option(help: ArgumentHelp("File for the truth.", valueName: "file"))
    var truth: String

    @OptionGroup(title: "Population")
    var population: Population

    @Flag(inversion: .prefixedNo, help: "Show the progress, on standard error.")
    var progress = true

    @Flag(help: "Print a summary as JSON.")
    var json = false

    struct Population: ParsableArguments {
        private static let defaults = ClickstreamParameters()

        @Option(help: "Purchases per day of a user: Gamma(shape) / scale.")
        var purchaseShape = defaults.purchaseShape
        @Option(help: "Its scale; shape / scale is the mean rate.")
        var purchaseScaleDays = defaults.purchaseScaleDays
        @Option(help: "A lifetime's rate per day: Gamma(shape) / scale.")
        var churnShape = defaults.churnShape
        @Option(help: "Its scale.")
        var churnScaleDays = defaults.churnScaleDays
        @Option(help: "Median over the users of the mean order value.")
        var medianOrderValue = defaults.medianOrderValue
        @Option(help: "Standard deviation of its logarithm over the users.")
        var orderValueSpreadOfUsers = defaults.orderValueSpreadOfUsers
        @Option(help: "Standard deviation of the logarithm of one user's order values.")
        var orderValueSpread = defaults.orderValueSpread
        @Option(help: "Sessions without a purchase for each one with.")
        var browsingPerPurchase = defaults.browsingPerPurchase
        @Option(help: "Users start evenly over these first days. (default: 60 % of the period)")
        var acquisitionDays: Double?
        @Option(help: "Factor on spending from the middle of the period on.")
        var spendShift = defaults.spendShift
        @Option(help: "Begin of the period, epoch milliseconds; 1704067200000 is 2024-01-01.")
        var startMs = defaults.startMs

        var parameters: ClickstreamParameters {
            var parameters = ClickstreamParameters()
            parameters.purchaseShape = purchaseShape
            parameters.purchaseScaleDays = purchaseScaleDays
            parameters.churnShape = churnShape
            parameters.churnScaleDays = churnScaleDays
            parameters.medianOrderValue = medianOrderValue
            parameters.orderValueSpreadOfUsers = orderValueSpreadOfUsers
            parameters.orderValueSpread = orderValueSpread
            parameters.browsingPerPurchase = browsingPerPurchase
            parameters.acquisitionDays = acquisitionDays
            parameters.spendShift = spendShift
            parameters.startMs = startMs
            return parameters
        }
    }

    func validate() throws {
        guard out != truth else { throw ValidationError("--out and --truth are the same file; give two.") }
    }

    func run() throws {
        let start = ContinuousClock.now
        var simulation: ClickstreamSimulation
        do {
            simulation = try ClickstreamSimulation(
                users: users, days: days, seed: seed, parameters: population.parameters)
        } catch {
            throw CommandFailure("\(error)", code: .validationFailure)
        }
        StopSignal.install()
        // By days: the number of events is not known in advance.
        let reporter = progress ? ProgressReporter(label: "Simulate", total: Int64(days), unit: "days") : nil
        let events: Int64
        do {
            events = try simulation.writeCSV(to: out, truth: truth) { share in
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
                Result(events: events, users: users, days: days, seed: seed, out: out, truth: truth, seconds: seconds))
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
        let out, truth: String
        let seconds: Double
    }
}
