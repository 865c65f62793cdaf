import CEventParser

extension EngineConfiguration {
    /// One sentence on why the engine refused an event that the decoder had accepted: by how much, and which setting would
    /// have taken it. nil: it was the decoder that refused it.
    public func explanation(of entry: OutboxEntry) -> String? {
        switch entry.reason {
        case UInt8(clvd_status_too_late.rawValue): tooLate(by: entry.excess)
        case UInt8(clvd_status_too_many_events.rawValue):
            "the customer has had \(state.maxEventsPerDay) events on this day (UTC), the most that "
                + "state.maxEventsPerDay allows; is it a person?"
        default: nil
        }
    }

    /// - Parameter excess: how much older than the watermark, ms.
    private func tooLate(by excess: Int64) -> String {
        let beginning = "field event_time: \(Self.duration(excess)) older than the watermark of its partition; "
        guard time.lateEvents == .accept else {
            let seconds = Int64(time.allowedLatenessSeconds) + (excess + Clock.second - 1) / Clock.second
            return beginning + "time.allowedLatenessSeconds: \(seconds), which is \(time.allowedLatenessSeconds), or "
                + "time.lateEvents: accept would have taken it"
        }
        let days = (excess + Clock.day - 1) / Clock.day
        return beginning + "time.lateEventDays: \(days), which is \(time.lateEventDays), would have taken it"
    }

    /// `3 d 4 h`, `1 h 10 min`, `70.5 s`.
    private static func duration(_ ms: Int64) -> String {
        switch ms {
        case ..<(2 * Clock.minute): "\(Double(ms) / 1000) s"
        case ..<(2 * Clock.hour): "\(ms / Clock.minute) min \(ms % Clock.minute / Clock.second) s"
        case ..<(2 * Clock.day): "\(ms / Clock.hour) h \(ms % Clock.hour / Clock.minute) min"
        default: "\(ms / Clock.day) d \(ms % Clock.day / Clock.hour) h"
        }
    }
}
