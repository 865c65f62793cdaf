import CEventParser
import Engine
import EventInput
import Simulation

/// A pass of events through an engine that stops at landmarks.
final class Evaluation {
    struct Summary: Encodable {
        var events: Int64
        var deadLetters: Int64
        var users: Int
        var landmarks: Int
        var predictions: Int64
        /// Landmarks that population rates answered.
        var fromRates: Int64
        var learningSteps: Int64
        var binEdgesDays: [Double]
        var seconds: Double
        var prequential: [PrequentialReport]
    }

    private let file: EventFile
    private let landmarks: LandmarkFile
    private let engine: Engine
    private let query: Query
    private let csv: CSVWriter
    private let start = ContinuousClock.now
    private var next = 0
    private var predictions: Int64 = 0
    private var fromRates: Int64 = 0
    private var seconds = 0.0

    /// Most landmarks asked about at once.
    private static let batch = 4096

    /// - Parameter engine: one without partitions, whose targets are `clv` and `purchase` at the landmarks' horizons.
    init(events: EventFile, landmarks: LandmarkFile, out: String, engine: Engine) throws {
        file = events
        self.landmarks = landmarks
        self.engine = engine
        engine.addTask(TaskID(topic: 0, partition: 0))
        query = engine.query(
            landmarks.horizons.flatMap { days in
                ["clv", "purchase"].map { Query.Item(target: $0, horizonDays: days) }
            })
        csv = try CSVWriter(path: out, header: "landmark_id,horizon_days,expected_value,purchase_probability")
    }

    /// Bytes of the event file, nil when unknown.
    var bytes: Int64? { file.bytesTotal >= 0 ? file.bytesTotal : nil }

    /// - Parameter progress: gets the bytes read of the event file.
    func run(_ progress: (Int64) -> Void) throws {
        while true {
            if StopSignal.isRequested { throw CommandFailure("Stopped: the predictions are incomplete; remove them.") }
            let events = try file.next(maximum: 8192)
            if events.isEmpty { break }
            try take(events)
            progress(file.bytesRead)
        }
        while next < landmarks.landmarks.count { try score(upTo: .max) }
        try csv.finish()
        seconds = (ContinuousClock.now - start) / .seconds(1)
    }

    /// Events and landmarks by time; of one instant the events come first.
    private func take(_ events: UnsafeBufferPointer<clvd_event>) throws {
        var from = 0
        for (i, event) in events.enumerated() {
            // What has no time or is of no use stays where it is in the order.
            guard next < landmarks.landmarks.count, event.status == UInt8(clvd_status_ok.rawValue),
                landmarks.landmarks[next].timeMs < event.time_ms
            else { continue }
            engine.step(UnsafeBufferPointer(rebasing: events[from..<i]))
            from = i
            while next < landmarks.landmarks.count, landmarks.landmarks[next].timeMs < event.time_ms {
                try score(upTo: event.time_ms)
            }
        }
        engine.step(UnsafeBufferPointer(rebasing: events[from...]))
    }

    /// Writes the predictions of the next landmarks before a time, one batch at most.
    private func score(upTo time: Int64) throws {
        var end = next
        while end < landmarks.landmarks.count, end - next < Self.batch, landmarks.landmarks[end].timeMs < time {
            end += 1
        }
        let group = landmarks.landmarks[next..<end]
        let answers = query.answer(group.map { ($0.user, $0.timeMs) })
        if engine.modelVersion == 0 { fromRates += Int64(group.count) }
        for (i, landmark) in group.enumerated() {
            for h in landmark.horizons {
                let at = i * query.count + 2 * h
                csv.text(landmark.id)
                csv.number(landmarks.horizons[h])
                csv.text(String(answers[at]))
                csv.text(String(answers[at + 1]))
                try csv.endRow()
                predictions += 1
            }
        }
        next = end
    }

    func summary() -> Summary {
        let report = engine.report()
        return Summary(
            events: report.counters.records, deadLetters: report.counters.deadLetters, users: report.users,
            landmarks: landmarks.landmarks.count, predictions: predictions, fromRates: fromRates,
            learningSteps: report.learning.steps, binEdgesDays: engine.configuration.binEdgesDays, seconds: seconds,
            prequential: report.prequential)
    }
}
