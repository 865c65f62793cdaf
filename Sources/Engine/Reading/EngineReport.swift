/// Where the engine stands.
public struct EngineReport: Sendable, Codable {
    public var position: Int64
    public var counters: TaskCounters
    public var users: Int
    public var landmarks: Int
    /// Lowest clock over the tasks, ms since 1970; nil before the first event.
    public var clock: Int64?
    public var modelVersion: Int64
    public var learning: LearningReport
    public var prequential: [PrequentialReport]
    /// Bytes of memory held for users, touched or not, and those of them that users fill.
    public var userBytes: Int
    public var usedUserBytes: Int
}

extension Engine {
    /// Counters, sizes and learning; with `prequential`, the metrics as well (they sort their windows).
    public func report(prequential: Bool = true) -> EngineReport {
        EngineReport(
            position: position, counters: ordered.reduce(TaskCounters()) { $0 + $1.counters },
            users: ordered.reduce(0) { $0 + $1.users.userCount },
            landmarks: ordered.reduce(0) { $0 + $1.pool.count },
            clock: ordered.compactMap { clock($0.id) }.min(),
            modelVersion: serving.version, learning: learner.report,
            prequential: prequential ? learner.prequentialReports() : [],
            userBytes: ordered.reduce(0) { $0 + $1.users.allocatedBytes },
            usedUserBytes: ordered.reduce(0) { $0 + $1.users.usedBytes })
    }
}
