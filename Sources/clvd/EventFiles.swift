import Engine
import EventInput
import Foundation
import Settings
import Terminal

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

    /// Warns when more than one record in a hundred was refused.
    /// - Throws: when none was accepted.
    static func judge(_ refusals: Refusals, accepted: Int64, of records: Int64, in file: String) throws {
        let first = refusals.reasons.first
        let reason = first.map { "most often \($0.name)" + ($0.example.map { " (\($0))" } ?? "") } ?? "by their type"
        let advice = "`clvd check-events --events \(file)` says what to mend."
        if accepted == 0 {
            let all = records == 0 ? "it has none" : "none of \(Human.count(records)) records can be used: \(reason)"
            throw CommandFailure("\(file): no events: \(all). \(advice)", code: .data)
        }
        guard Double(refusals.total) > 0.01 * Double(records) else { return }
        note(
            "Warning: \(Human.count(refusals.total)) of \(Human.count(records)) records "
                + "(\(Human.percent(Double(refusals.total) / Double(records)))) were refused, \(reason). \(advice)")
    }
}
