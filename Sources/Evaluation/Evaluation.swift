import CEventParser
import Engine
import EventInput
import Foundation
import Simulation

/// A pass of events through an engine that stops at landmarks.
package final class Evaluation {
    package struct Summary: Encodable {
        package var events: Int64
        package var accepted: Int64
        package var deadLetters: Int64
        /// Dead letters by reason, with the first of each.
        package var refusals: Refusals
        /// Events by names of types that the format does not know.
        package var unknownTypes: [String: Int64]
        package var users: Int
        package var landmarks: Int
        package var predictions: Int64
        /// Landmarks that counts and times alone answered.
        package var fromRates: Int64
        package var learningSteps: Int64
        package var binEdgesDays: [Double]
        package var seconds: Double
        package var prequential: [PrequentialReport]
        /// Drifts of the stream that learning noticed.
        package var drifts: [DriftAlarm]
    }

    /// Where the instants come from.
    package enum Instants {
        case file(LandmarkFile)
        /// Every customer known by then, once in so many days.
        case grid(days: Int, horizons: [Double])

        package var horizons: [Double] {
            switch self {
            case .file(let file): file.horizons
            case .grid(_, let horizons): horizons
            }
        }
    }

    /// An alert that was raised or cleared.
    package struct Alert {
        package var user: Int32
        var atMs: Int64
        var isRaised: Bool
    }

    private let file: EventFile
    private let instants: Instants
    private let engine: Engine
    private let query: Query
    private let csv: CSVWriter?
    package private(set) var log = EventLog()
    package private(set) var forecasts: Forecasts
    package private(set) var alerts: [Alert] = []
    /// Event time at which the model first served, ms.
    private(set) var servesFromMs: Int64?
    private var refusals = Refusals()
    private let start = ContinuousClock.now
    private var next = 0
    private var nextDay: Int64 = .min
    private var asked = 0
    private var predictions: Int64 = 0
    private var fromRates: Int64 = 0
    private var seconds = 0.0

    /// Most landmarks asked about at once.
    private static let batch = 4096
    private static let day: Int64 = 86_400_000

    /// - Parameters:
    ///   - out: file for the predictions at the landmarks.
    ///   - engine: one without partitions, whose targets are `clv` and `purchase` at the landmarks' horizons.
    package init(events: EventFile, instants: Instants, out: String?, engine: Engine) throws {
        file = events
        file.countUnknownTypes()
        self.instants = instants
        self.engine = engine
        let churn = engine.configuration.targets.first { $0.kind == .absence && $0.events.isEmpty }
        forecasts = Forecasts(horizons: instants.horizons, churnDays: churn?.horizonsDays.max())
        engine.addTask(TaskID(topic: 0, partition: 0))
        query = engine.query(
            instants.horizons.flatMap { days in
                ["clv", "purchase"].map { Query.Item(target: $0, horizonDays: days) }
            }
                + (churn.flatMap { target in
                    target.horizonsDays.max().map { [Query.Item(target: target.name, horizonDays: $0)] }
                } ?? []))
        csv = try out.map {
            try CSVWriter(path: $0, header: "landmark_id,horizon_days,expected_value,purchase_probability")
        }
    }

    /// Names of types that the format does not know.
    package var unknownTypes: UnknownTypeNames { file.unknownTypes }

    /// Bytes of the event file, nil when unknown.
    package var bytes: Int64? { file.bytesTotal >= 0 ? file.bytesTotal : nil }

    /// - Parameters:
    ///   - shouldStop: asked before each batch; true ends the pass with an error.
    ///   - progress: gets the bytes read of the event file.
    /// - Throws: `InputError`, `EvaluationError`.
    package func run(shouldStop: () -> Bool, _ progress: (Int64) -> Void) throws {
        while true {
            if shouldStop() { throw EvaluationError("Stopped: the predictions are incomplete; remove them.") }
            let events = try file.next(maximum: 8192)
            if events.isEmpty { break }
            try take(events)
            progress(file.bytesRead)
        }
        if case .file(let file) = instants { while next < file.landmarks.count { try score(file, upTo: .max) } }
        try csv?.finish()
        seconds = (ContinuousClock.now - start) / .seconds(1)
    }

    /// Events and landmarks by time; of one instant the events come first.
    private func take(_ events: UnsafeBufferPointer<clvd_event>) throws {
        var from = 0
        for (i, event) in events.enumerated() {
            // What has no time or is of no use stays where it is in the order.
            guard event.status == UInt8(clvd_status_ok.rawValue) else {
                if UInt32(event.status) >= clvd_status_first_rejection.rawValue {
                    refusals.add(event.status, file.explain(i))
                }
                continue
            }
            if isDue(before: event.time_ms) {
                step(UnsafeBufferPointer(rebasing: events[from..<i]))
                from = i
                while isDue(before: event.time_ms) { try score(upTo: event.time_ms) }
            }
            log.add(event)
        }
        step(UnsafeBufferPointer(rebasing: events[from...]))
    }

    private func step(_ events: UnsafeBufferPointer<clvd_event>) {
        engine.step(events)
        if servesFromMs == nil, engine.modelVersion > 0 { servesFromMs = engine.clock(TaskID(topic: 0, partition: 0)) }
        engine.forEachOutput { entry in
            guard entry.kind == .alert, let alert = AlertRecord(Data(entry.value)) else { return }
            alerts.append(Alert(user: log.place(alert.userId), atMs: alert.atMs, isRaised: alert.state == "raised"))
        }
    }

    // MARK: Landmarks

    private func isDue(before time: Int64) -> Bool {
        switch instants {
        case .file(let file): return next < file.landmarks.count && file.landmarks[next].timeMs < time
        case .grid:
            if nextDay == .min { nextDay = (time / Self.day + 1) * Self.day }
            return nextDay < time
        }
    }

    private func score(upTo time: Int64) throws {
        switch instants {
        case .file(let file): try score(file, upTo: time)
        case .grid(let days, _): scoreGrid(days)
        }
    }

    /// Writes the predictions of the next landmarks before a time, one batch at most.
    private func score(_ file: LandmarkFile, upTo time: Int64) throws {
        var end = next
        while end < file.landmarks.count, end - next < Self.batch, file.landmarks[end].timeMs < time { end += 1 }
        let group = file.landmarks[next..<end]
        let answers = ask(group.map { ($0.user, $0.timeMs) }, first: next) { file.landmarks[$0].horizons }
        for (i, landmark) in group.enumerated() {
            for h in landmark.horizons {
                let at = i * query.count + 2 * h
                csv?.text(landmark.id)
                csv?.number(file.horizons[h])
                csv?.text(String(answers[at]))
                csv?.text(String(answers[at + 1]))
                try csv?.endRow()
                predictions += 1
            }
        }
        next = end
    }

    /// The customers whose turn is at the day that is due.
    private func scoreGrid(_ days: Int) {
        let turn = Int(nextDay / Self.day)
        let group = log.users.indices.filter {
            ($0 + turn) % days == 0 && log.customer(of: Int32($0)) == Int32($0)
        }.map { (log.users[$0].id, nextDay) }
        nextDay += Self.day
        let all = Array(instants.horizons.indices)
        for from in stride(from: 0, to: group.count, by: Self.batch) {
            let part = Array(group[from..<min(group.count, from + Self.batch)])
            _ = ask(part, first: asked) { _ in all }
            predictions += Int64(part.count * all.count)
        }
    }

    /// - Parameters:
    ///   - first: number of the first landmark.
    ///   - horizons: of a landmark by its number, as indices.
    private func ask(_ group: [(String, Int64)], first: Int, horizons: (Int) -> [Int]) -> [Float] {
        var intervals = [SpendInterval](repeating: .nothing, count: group.count * query.count)
        let answers = query.answer(group.map { (key: $0.0, timeMs: $0.1) }) { user, item, interval in
            intervals[user * query.count + item] = interval
        }
        asked = first + group.count
        let fromModel = engine.modelVersion > 0
        if !fromModel { fromRates += Int64(group.count) }
        for (i, (user, time)) in group.enumerated() {
            let place = log.place(user)
            if forecasts.churnDays != nil {
                forecasts.churn.append(
                    .init(user: place, timeMs: time, probability: answers[(i + 1) * query.count - 1]))
            }
            for h in horizons(first + i) {
                let at = i * query.count + 2 * h
                forecasts.rows.append(
                    Forecasts.Row(
                        user: place, horizon: Int32(h), landmark: Int32(first + i), timeMs: time, expected: answers[at],
                        probability: answers[at + 1], interval: intervals[at], fromModel: fromModel))
            }
        }
        return answers
    }

    package func summary() -> Summary {
        let report = engine.report()
        return Summary(
            events: report.counters.records, accepted: report.counters.accepted,
            deadLetters: report.counters.deadLetters,
            refusals: refusals.with(reasons: report.counters.reasons), unknownTypes: unknownTypes.counts,
            users: report.users,
            landmarks: asked, predictions: predictions, fromRates: fromRates,
            learningSteps: report.learning.steps, binEdgesDays: engine.configuration.binEdgesDays, seconds: seconds,
            prequential: report.prequential, drifts: report.learning.driftAlarms)
    }
}
