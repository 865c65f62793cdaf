import ArgumentParser
import Engine
import EventInput
import Foundation
import Settings
import Terminal

/// The event file of a command, and its format.
struct EventFileOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The event file: CSV or JSON, plain or gzip.", valueName: "file"))
    var events: String

    @Option(
        help: ArgumentHelp(
            "Built-in format (\(EventFormat.builtInNames.joined(separator: ", "))) or path of a YAML file with one. "
                + "(default: input.format of the settings)", valueName: "name"))
    var format: String?
}

extension EventFile {
    /// Opens the event file that a command was given.
    /// - Parameter format: the option; nil: that of the settings.
    static func open(_ path: String, format: String?, _ settings: Settings) throws -> EventFile {
        try EventFile(
            path: path, format: EventFormat.load(format ?? settings.input.format), limits: settings.input.limits,
            currency: settings.input.currency)
    }

    /// Has the rows sorted by time where a stream would refuse some of them as too late, and says so.
    @discardableResult
    func putInOrder(_ settings: Settings, showsProgress: Bool, isQuiet: Bool = false) throws -> EventOrder? {
        let reporter =
            showsProgress && bytesTotal > 0 ? ProgressReporter(label: "Order", total: bytesTotal, unit: .bytes) : nil
        let order: EventOrder?
        do {
            order = try sortIfLate(allowedLatenessSeconds: settings.engine.time.allowedLatenessSeconds) {
                if StopSignal.isRequested { throw CommandFailure("stopped before anything was done") }
                reporter?.update(done: $0)
            }
        } catch {
            reporter?.finish("Failed.")
            throw error
        }
        reporter?.clear()
        if let order, isSorted, !isQuiet {
            Report.note(
                "\((path as NSString).lastPathComponent): not in the order of time (\(Human.count(order.late)) of "
                    + "\(Human.count(order.events)) events come too late, by up to "
                    + "\(Human.duration(Double(order.mostBehindMs) / 1000))); its rows were sorted by time.")
        }
        return order
    }
}

extension Report {
    /// The most frequent reasons of refusals, each with an example.
    static func facts(of refusals: Refusals) -> [(name: String, value: String)] {
        refusals.reasons.prefix(3).map { reason in
            ("  " + reason.name, Human.count(reason.count) + (reason.example.map { "   \($0)" } ?? ""))
        }
    }

    /// The most frequent names of types that the format does not know; those that are nearly known first.
    static func facts(of unknown: UnknownTypeNames) -> [(name: String, value: String)] {
        let others = unknown.names.filter { $0.nearest == nil }
        return (unknown.misspelt + others).prefix(3).map { ("  unknown name", "\(Human.count($0.count))   \($0.text)") }
    }

    /// Warns when more than one record in a hundred was refused, or has a type of a name that is nearly a known one.
    /// - Throws: when none was accepted.
    static func judge(
        _ refusals: Refusals, _ unknown: UnknownTypeNames, accepted: Int64, of records: Int64, in file: String
    ) throws {
        let first = refusals.reasons.first
        let reason = first.map { "most often \($0.name)" + ($0.example.map { " (\($0))" } ?? "") } ?? "by their type"
        let advice = "`clvd check-events --events \(file)` says what to mend."
        if accepted == 0 {
            let all = records == 0 ? "it has none" : "none of \(Human.count(records)) records can be used: \(reason)"
            throw CommandFailure("\(file): no events: \(all). \(advice)", code: .data)
        }
        let misspelt = unknown.misspelt.reduce(0) { $0 + $1.count }
        guard Double(refusals.total + misspelt) > 0.01 * Double(records) else { return }
        func share(_ count: Int64) -> String {
            "\(Human.count(count)) of \(Human.count(records)) records (\(Human.percent(Double(count) / Double(records))))"
        }
        var faults: [String] = []
        if refusals.total > 0 { faults.append("\(share(refusals.total)) were refused, \(reason)") }
        if let name = unknown.misspelt.first {
            faults.append("\(share(misspelt)) have a type that the format does not know, most often \(name.text)")
        }
        note("Warning: \(faults.joined(separator: "; ")). \(advice)")
    }
}
