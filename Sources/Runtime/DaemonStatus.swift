public import Engine
public import EventInput
import Foundation
import Synchronization

/// The daemon's state as of the latest report; cheap to read from any thread.
public struct DaemonStatus: Sendable {
    public enum Phase: String, Sendable, Codable {
        case starting
        /// Reading a snapshot.
        case restoring
        /// Reading again what was committed after the snapshot.
        case replaying
        case live
        /// Committing what was taken in, before the end.
        case draining
        case stopped
    }
    public var phase = Phase.starting

    /// What the loop is at.
    public enum Activity: String, Sendable {
        case waiting = "waiting for records"
        case records = "taking in records"
        case partitions = "taking over partitions"
        case committing
        case snapshot = "taking a snapshot"
    }
    public private(set) var activity = Activity.waiting
    private var activeSince = ContinuousClock.now

    /// Notes what the loop begins.
    public mutating func begin(_ activity: Activity) {
        guard activity != self.activity else { return }
        (self.activity, activeSince) = (activity, .now)
    }

    /// The phase in words; with what the loop has been at for a second or more, and how long.
    public func phaseText(at now: ContinuousClock.Instant = .now) -> String {
        let seconds = Int((now - activeSince) / .seconds(1))
        let isBusy = activity != .waiting || phase == .starting
        guard seconds >= 1, isBusy, phase != .stopped else { return phase.rawValue }
        let what = activity == .waiting ? "joining the group" : activity.rawValue
        return "\(phase.rawValue), \(what) for \(seconds) s"
    }

    /// Records taken in by this process.
    public var records: Int64 = 0
    /// Records a second, lately.
    public var recordsPerSecond = 0.0
    /// Records that wait in the log; nil before the first fetch.
    public var lag: Int64?
    public var report: EngineReport?
    /// Dead letters of this process by reason, with the first of each: its topic, partition and offset, and what is wrong.
    public var refusals = Refusals()
    /// Names of event types of this process that the format does not know; as of the latest progress in the log.
    public var unknownTypes = UnknownTypeNames()
    /// The latest error of a client that ends nothing, and when it came: brokers that do not answer, above all.
    public var trouble: (text: String, at: ContinuousClock.Instant)?
    /// JSON of the latest alerts, newest first.
    public var recentAlerts: [Data] = []
    public var snapshot: SnapshotStatus?
    public var snapshotFailures: Int64 = 0
    public var commits: Int64 = 0
    /// Partitions that stand still, as `topic[partition]`, and the first offset of the batch that cannot be read.
    public var standstills: [String: Int64] = [:]
    /// Partitions that wait for a schema, as `topic[partition]`.
    public var schemaWaits: [String: SchemaWaitStatus] = [:]
    /// Customers that were found in more than one partition since the last start, counted on from a sample, and their
    /// share of all, 0 to 1.
    public var splitCustomers: (count: Int64, share: Double) = (0, 0)
    /// How often the pipeline ended with an error and was started again.
    public var restarts: Int64 = 0

    public struct SchemaWaitStatus: Sendable, Equatable {
        public var schema: UInt32
        /// The first record that needs it.
        public var offset: Int64
        public var since: Date
        /// Why it cannot be had.
        public var reason: String
    }

    public struct SnapshotStatus: Sendable {
        public var takenAt: Date
        public var bytes: Int64
        public var position: Int64
    }
}

/// What the pipeline's thread shares with others.
package final class SharedState: Sendable {
    package init() {}

    /// Questions to the engine that wait for the loop.
    package let requests = EngineRequests()
    private let value = Mutex(DaemonStatus())
    private let stopping = Atomic<Bool>(false)
    /// The place in a log at which the latest lives ended.
    private let gap = Mutex<(place: String, count: Int)>(("", 0))

    package var status: DaemonStatus { value.withLock { $0 } }
    package func update(_ change: (inout DaemonStatus) -> Void) { value.withLock { change(&$0) } }

    /// Notes a place in a log at which a life ends.
    /// - Returns: how many lives in a row have ended there.
    func livesEnded(at place: String) -> Int {
        gap.withLock {
            $0 = (place, $0.place == place ? $0.count + 1 : 1)
            return $0.count
        }
    }

    /// Lives in a row that ended because the group refused this instance its name.
    private let refused = Atomic<Int>(0)
    package var refusals: Int {
        get { refused.load(ordering: .relaxed) }
        set { refused.store(newValue, ordering: .relaxed) }
    }

    var isStopping: Bool { stopping.load(ordering: .relaxed) }
    package func stop() { stopping.store(true, ordering: .relaxed) }
}
