public import CEventParser

/// In which order the events of a file are.
public struct EventOrder: Sendable, Equatable {
    /// How far behind the latest event before it an event may be.
    public let allowedLatenessMs: Int64
    public private(set) var events: Int64 = 0
    /// Events after one with a later time.
    public private(set) var behind: Int64 = 0
    /// Those of them that are further behind than allowed: a stream has no place for them.
    public private(set) var late: Int64 = 0
    /// How far an event is behind at most.
    public private(set) var mostBehindMs: Int64 = 0
    /// Earliest and latest event time, epoch milliseconds; nil without events.
    public private(set) var firstMs: Int64?
    public private(set) var lastMs: Int64?

    public init(allowedLatenessMs: Int64) { self.allowedLatenessMs = allowedLatenessMs }

    /// Takes in an event that was decoded; others do not count.
    public mutating func add(_ event: clvd_event) {
        guard event.status == UInt8(clvd_status_ok.rawValue) else { return }
        events += 1
        firstMs = min(firstMs ?? .max, event.time_ms)
        guard let last = lastMs, event.time_ms < last else {
            lastMs = event.time_ms
            return
        }
        let distance = last - event.time_ms
        behind += 1
        mostBehindMs = max(mostBehindMs, distance)
        if distance > allowedLatenessMs { late += 1 }
    }
}
