import CEventParser
import CHash
import CKernels

/// One input partition: the unit of state, restore and parallelism.
public struct TaskID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// Index into the engine's list of topics.
    public var topic: Int32
    public var partition: Int32

    public init(topic: Int32, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public static func < (a: TaskID, b: TaskID) -> Bool {
        a.topic != b.topic ? a.topic < b.topic : a.partition < b.partition
    }

    public var description: String { "\(topic)/\(partition)" }
}

/// Time that passed without records: the clock had got to `clock` (event time, ms) by idle ticks before the record at
/// offset `before` came.
public struct IdleTick: Sendable, Equatable {
    public var before: Int64
    public var clock: Int64

    public init(before: Int64, clock: Int64) {
        self.before = before
        self.clock = clock
    }
}

/// What became of the records of a task. `accepted + duplicates + ignored + tombstones + erased + deadLetters`
/// equals `records`.
public struct TaskCounters: Sendable, Equatable, Codable {
    public var records: Int64 = 0
    public var accepted: Int64 = 0
    public var duplicates: Int64 = 0
    public var ignored: Int64 = 0
    public var tombstones: Int64 = 0
    public var erased: Int64 = 0
    public var deadLetters: Int64 = 0
    /// Dead letters by `clvd_status`.
    public var reasons = [Int64](repeating: 0, count: 32)
    /// Records below the position already taken in: read again, not taken again.
    public var repeated: Int64 = 0
    public var updates: Int64 = 0
    public var alertsRaised: Int64 = 0
    public var alertsCleared: Int64 = 0
    public var alertsForSilence: Int64 = 0
    public var rescored: Int64 = 0
    public var landmarks: Int64 = 0
    public var evictedIdle: Int64 = 0
    public var evictedByCap: Int64 = 0

    public init() {}

    public static func + (a: TaskCounters, b: TaskCounters) -> TaskCounters {
        var c = a
        c.records += b.records
        c.accepted += b.accepted
        c.duplicates += b.duplicates
        c.ignored += b.ignored
        c.tombstones += b.tombstones
        c.erased += b.erased
        c.deadLetters += b.deadLetters
        for i in c.reasons.indices { c.reasons[i] += b.reasons[i] }
        c.repeated += b.repeated
        c.updates += b.updates
        c.alertsRaised += b.alertsRaised
        c.alertsCleared += b.alertsCleared
        c.alertsForSilence += b.alertsForSilence
        c.rescored += b.rescored
        c.landmarks += b.landmarks
        c.evictedIdle += b.evictedIdle
        c.evictedByCap += b.evictedByCap
        return c
    }
}

/// What all tasks share and never changes: the configuration in the units and layouts that loops need.
final class EngineSettings {
    let configuration: EngineConfiguration
    let targetTable: TargetTable
    let binEnds: [Int64]
    var binEndDays: [Double] { binEnds.map { Double($0) / Double(Clock.day) } }
    let rules: [LabelRule]
    /// What has an interval, in the order of `TargetTable.valueReadings`.
    let valueReadings: [HorizonReading]
    let model: ModelLayout
    let userLayout: UserLayout
    let landmarkLayout: LandmarkLayout
    let codec: StateCodec
    let inputs: StepInputs
    /// Of each target, whether it is about purchases alone, so that the purchase process knows it too.
    let purchaseHeads: [Bool]
    let alerts: AlertPolicy
    let encoder: UpdateEncoder
    let segmentReading: HorizonReading
    let segmentQuantiles: [Double]
    let latenessMs: Int64
    let sessionGapMs: Int64
    let retentionMs: Int64
    let rescoreHours: Int
    /// Turns of `rescoreHours` between two landmarks of a user's grid.
    let landmarkTurns: Int
    let landmarksPerTask: Int
    let usersPerTask: Int
    /// Shares of the 32-bit hash range.
    let eventLandmarkShare: Double
    private let holdOutShare: Double

    var stateWidth: Int { model.stateWidth }

    /// - Parameters:
    ///   - configuration: valid (`Settings` checks it; contradictions trap).
    ///   - topics: names of the input topics.
    ///   - partitions: partitions of all input topics together; bounds are divided by it.
    init(_ configuration: EngineConfiguration, topics: [String], partitions: Int) {
        self.configuration = configuration
        let targetTable = TargetTable(configuration) { name in
            Array(name.utf8).withUnsafeBufferPointer { clvd_hash($0.baseAddress!, $0.count) }
        }
        self.targetTable = targetTable
        binEnds = targetTable.binEnds
        rules = targetTable.rules
        valueReadings = targetTable.valueReadings
        let m = configuration.model
        model = ModelLayout(
            configuration: m,
            heads: configuration.targets.map {
                Head(name: $0.name, kind: $0.kind, weight: $0.weight)
            },
            bins: targetTable.bins, eventNumerics: StepInputs.numerics, snapshotFeatures: SnapshotFeatures.count)
        userLayout = UserLayout(units: m.units, hasCell: m.recurrent == .lstm)
        landmarkLayout = LandmarkLayout(
            user: userLayout, features: SnapshotFeatures.count, heads: configuration.targets.count,
            bins: targetTable.bins,
            spreads: valueReadings.count)
        codec = StateCodec(units: m.units, hasCell: m.recurrent == .lstm)
        inputs = StepInputs(categoryBuckets: m.categoryBuckets, crossBuckets: m.crossBuckets)
        purchaseHeads = configuration.targets.map {
            m.purchaseProcess && $0.category == nil && ($0.kind == .value || $0.events == [EventType.purchase.name])
        }
        alerts = AlertPolicy(configuration, targetTable)
        encoder = UpdateEncoder(targetTable: targetTable, topics: topics)
        guard
            let reading = targetTable.longest(named: configuration.segments.target, kind: .value)
                ?? targetTable.targets.indices.first.map({ i in
                    targetTable.reading(target: i, horizon: targetTable.targets[i].horizonsDays.last!)
                })
        else { preconditionFailure("no targets") }
        segmentReading = reading
        segmentQuantiles = [configuration.segments.high, configuration.segments.mid]
        latenessMs = Int64(configuration.time.allowedLatenessSeconds) * Clock.second
        sessionGapMs = Int64(configuration.state.sessionGapMinutes) * 60_000
        retentionMs = Int64(configuration.state.retentionDays) * Clock.day
        rescoreHours = configuration.alerts.rescoreHours
        landmarkTurns = max(1, configuration.learning.landmarkIntervalDays * 24 / rescoreHours)
        let tasks = max(1, partitions)
        landmarksPerTask = max(1024, configuration.learning.maxLandmarks / tasks)
        usersPerTask = max(1024, configuration.state.maxUsers / tasks)
        eventLandmarkShare = configuration.learning.eventLandmarkShare * 4_294_967_296
        holdOutShare = configuration.learning.holdOutShare * 4_294_967_296
    }

    func isHeldOut(_ identity: UInt32) -> Bool {
        Double(clvd_mix(UInt64(identity), 0x68_6F_6C_64) >> 32) < holdOutShare
    }

    func makeScratch() -> Scratch {
        Scratch(layout: model, cells: targetTable.cells, intervals: valueReadings.count)
    }

    /// Fills a row with what a prediction of a user at an instant needs: raw features and recurrent state.
    /// - Parameter now: ms, not before the user's last event.
    @inline(__always)
    func fill(_ s: Scratch, row: Int, with slot: UserSlot, now: Int64) {
        SnapshotFeatures.write(slot, userLayout, now: now, into: s.features + row * SnapshotFeatures.count)
        codec.unpack(slot + userLayout.rolling, into: s.state + row * stateWidth)
    }
}
