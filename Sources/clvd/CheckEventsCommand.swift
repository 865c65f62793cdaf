import ArgumentParser
import Engine
import EventInput
import Foundation
import Inspection
import Settings
import Simulation
import Terminal

/// `clvd check-events`
struct CheckEventsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-events",
        abstract: "Say what an event file holds, and what has to be mended before it is used.",
        discussion: """
            Reads all of the file as the daemon would read its events, without Kafka, and says what came of them: events by \
            type, names of types that the format does not know, refused rows by reason with the first of each, purchases \
            without money, refunds without a purchase, repeated orders, the time range and the order, customers (those \
            above state.maxEventsPerDay too), currencies and amounts. It ends with "ready" or with a list of what to mend: more than 1 % of the rows are \
            refused, have an unknown type that is nearly a known one, or bring no money.

            --customers writes what the daemon would hold of each customer at the end: user_id, orders, value_to_date, \
            first_event, last_event. --sorted writes the rows in the order of their time. Files are gzip where their names \
            end in .gz.

            Exit codes: 0 ready; 65 not ready; 1 when a file cannot be read or written; 64 for arguments, 78 for settings \
            that cannot be used.

            EXAMPLES
              clvd check-events --events shop.csv.gz
              clvd check-events --events export.json --format segment --json
              clvd check-events --events day.jsonl --config /etc/clvd/clvd.yaml --customers customers.csv
            """)

    @OptionGroup var input: EventFileOptions
    private var events: String { input.events }

    @Option(help: ArgumentHelp("The settings. (default: none, only the defaults)", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("File for the customers at the end.", valueName: "file"))
    var customers: String?

    @Option(help: ArgumentHelp("File for the rows in the order of their time.", valueName: "file"))
    var sorted: String?

    @Flag(inversion: .prefixedNo, help: "Show the progress, on standard error.")
    var progress = true

    @Flag(help: "Print the findings as JSON.")
    var json = false

    func validate() throws {
        let files = [events, customers, sorted].compactMap { $0 }
        guard Set(files).count == files.count else { throw ValidationError("Every option needs a file of its own.") }
    }

    func run() throws {
        let settings = try Settings.load(path: config, environment: ProcessInfo.processInfo.environment)
        StopSignal.install()
        let check = try FileCheck(
            events, EventFile.open(events, format: input.format, settings), settings, showsProgress: progress)
        if let customers { try check.writeCustomers(to: customers) }
        if let sorted { try check.writeSorted(to: sorted) }
        try check.report(json: json)
    }
}

/// An event file that was read through.
struct FileCheck {
    private let path: String
    private let file: EventFile
    private let inspection: FileInspection
    private let findings: FileFindings
    private let settings: Settings

    /// - Parameter file: of which nothing was read.
    init(_ path: String, _ file: EventFile, _ settings: Settings, showsProgress: Bool) throws {
        (self.path, self.file, self.settings) = (path, file, settings)
        let order = try file.putInOrder(settings, showsProgress: showsProgress, isQuiet: true)
        inspection = FileInspection(file, settings.engine)
        let total = file.bytesTotal
        let reporter =
            showsProgress ? ProgressReporter(label: "Check", total: total < 0 ? nil : total, unit: .bytes) : nil
        do {
            findings = try inspection.run(order) {
                if StopSignal.isRequested { throw CommandFailure("stopped before the end of the file") }
                reporter?.update(done: $0)
            }
        } catch {
            reporter?.finish("Failed.")
            throw error
        }
        reporter?.clear()
    }

    // MARK: Files

    func writeCustomers(to path: String) throws {
        let csv = try CSVWriter(path: path, header: "user_id,orders,value_to_date,first_event,last_event")
        try inspection.forEachCustomer { customer in
            csv.text(Self.quoted(customer.user))
            csv.integer(Int64(customer.orders))
            // Sums of cents: what lies beyond a millionth is an error of rounding.
            csv.number((customer.valueToDate * 1e6).rounded() / 1e6)
            csv.text(Self.time(customer.firstSeenSeconds * 1000))
            csv.text(Self.time(customer.lastEventMs))
            try csv.endRow()
        }
        try csv.finish()
    }

    func writeSorted(to path: String) throws {
        try file.writeSorted(to: path)
    }

    private static func quoted(_ text: String) -> String {
        let needsQuotes = text.utf8.contains { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }
        return needsQuotes ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
    }

    private static func time(_ ms: Int64) -> String {
        Date(timeIntervalSince1970: Double(ms / 1000)).formatted(.iso8601)
    }

    // MARK: Words

    /// - Throws: `ExitCode.data` when the file is not ready.
    func report(json: Bool) throws {
        if json { try Report.json(findings) } else { tell() }
        if !findings.ready { throw ExitCode.data }
    }

    private func tell() {
        let f = findings
        Report.line("\(path), format \(f.format)")
        var facts = [
            (
                "rows",
                "\(Human.count(f.rows))   \(Human.count(f.accepted)) accepted, \(Human.count(f.refusedRows)) refused, "
                    + "\(Human.count(f.duplicates)) duplicates, \(Human.count(f.ignored)) ignored"
            )
        ]
        facts += Self.counts(f.refused).map { ("  refused: \($0)", "\($1)   \(f.refusedExamples[$0] ?? "")") }
        if f.identifies + f.joinedIds > 0 {
            let count = "\(Human.count(f.joinedIds))   by \(Human.count(f.identifies)) rows that say no more"
            facts.append(("ids joined", count))
        }
        facts += [("events", Self.list(f.types))]
        facts += Self.counts(f.unknownTypes).prefix(10).map { name, count in
            let nearest = f.nearestTypes[name].map { "   did you mean \"\($0)\"?" } ?? ""
            return ("  unknown name", "\(count)   \"\(name)\"\(nearest)")
        }
        facts += [
            ("purchases without money", Human.count(f.purchasesWithoutMoney)),
            ("refunds without purchase", Human.count(f.refundsWithoutPurchase)),
            ("repeated orders", Human.count(f.repeatedOrders)),
        ]
        if let first = f.firstEventMs, let last = f.lastEventMs {
            facts.append(("time", "\(Self.time(first)) to \(Self.time(last))"))
        }
        facts.append(("order", order))
        facts.append(("customers", Human.count(Int64(f.customers))))
        facts += f.topCustomers.prefix(3).map {
            ("  most events", "\(Human.count(Int64($0.events)))   \(Human.percent($0.share))   \($0.user)")
        }
        facts += f.cappedCustomers.prefix(3).map {
            ("  too many events a day", "\(Human.count(Int64($0.events))) above the most   \($0.user)")
        }
        if !f.currencies.isEmpty { facts.append(("currencies", Self.list(f.currencies))) }
        if let a = f.amounts {
            let numbers = [a.least, a.p5, a.p25, a.median, a.p75, a.p95, a.p99, a.most].map(Human.money)
            facts.append(("amounts", numbers.joined(separator: "  ") + (a.isWhole ? "" : "   of a sample")))
            facts.append(("", "least, 5 %, 25 %, median, 75 %, 95 %, 99 %, most"))
        }
        Report.facts(facts)
        Report.line()
        Report.line(f.ready ? "ready" : "Not ready. To mend:")
        for advice in f.advice { Report.line("- \(advice)") }
    }

    private var order: String {
        let f = findings
        guard let sorted = f.sorted else { return "not known" }
        if sorted { return "sorted by time" }
        let most = Human.duration(f.mostBehindSeconds)
        return "not sorted: \(Human.count(f.behind)) events come after a later one, by up to \(most); "
            + "\(Human.count(f.late)) too late for a stream"
    }

    private static func counts(_ counts: [String: Int64]) -> [(name: String, count: String)] {
        counts.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.map { ($0, Human.count($1)) }
    }

    private static func list(_ all: [String: Int64]) -> String {
        counts(all).map { "\($0) \($1)" }.joined(separator: ", ")
    }
}
