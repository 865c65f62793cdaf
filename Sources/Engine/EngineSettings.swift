import CEventParser
import CHash

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
    /// Whether some heads serve as they are (`TargetRules.isCorrected`).
    let hasUncorrectedHeads: Bool
    let activity: UserActivity
    let landmarks: LandmarkWriter
    let alerts: AlertPolicy
    let encoder: UpdateEncoder
    let alertEncoder: AlertEncoder
    let factorText: FactorText
    let segmentReading: HorizonReading
    /// Shares of customers below the high segment and below the middle one.
    let segmentShares: (high: Float, mid: Float)
    let latenessMs: Int64
    /// By how much a device's clock may be ahead.
    let skewMs: Int64
    /// How much older than the watermark an event may be; 0: not at all.
    let lateMs: Int64
    /// Most events of a customer on a day.
    let mostEventsPerDay: UInt16
    let retentionMs: Int64
    let rescoreHours: Int
    /// Turns of `rescoreHours` between two landmarks of a user's grid.
    let landmarkTurns: Int
    let landmarksPerTask: Int
    /// Alerts of the backlog that a task publishes at most.
    let backlogPerTask: Int
    let usersPerTask: Int
    /// Whether an id and its customer may be in different partitions, which tell each other (`IdentityMessage`).
    let joinsByTopic: Bool
    /// A task has room for so many landmarks and users at least, however many partitions share the bounds.
    private static let minimumPerTask = 1024

    var stateWidth: Int { model.stateWidth }

    /// - Parameters:
    ///   - configuration: valid (`Settings` checks it; contradictions trap).
    ///   - topics: names of the input topics.
    ///   - partitions: partitions of all input topics together; bounds are divided by it.
    ///   - currency: of all money, three letters.
    init(
        _ configuration: EngineConfiguration, topics: [String], partitions: Int, currency: String = "USD",
        joinsByTopic: Bool = false
    ) {
        self.joinsByTopic = joinsByTopic
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
        let categoryRules = targetTable.categoryRules
        userLayout = UserLayout(
            units: m.units, hasCell: m.recurrent == .lstm, hasOrderRules: categoryRules != 0)
        landmarkLayout = LandmarkLayout(
            user: userLayout, features: SnapshotFeatures.count, cells: targetTable.cells,
            spreads: valueReadings.count)
        codec = StateCodec(units: m.units, hasCell: m.recurrent == .lstm)
        inputs = StepInputs(categoryBuckets: m.categoryBuckets, crossBuckets: m.crossBuckets)
        purchaseHeads = configuration.targets.map {
            m.purchaseProcess && $0.category == nil && $0.kind.rules.isOfPurchases(events: $0.events)
        }
        hasUncorrectedHeads = configuration.targets.contains { !$0.kind.isCorrected }
        activity = UserActivity(
            layout: userLayout, sessionGapMs: Int64(configuration.state.sessionGapMinutes) * Clock.minute,
            orders: OrderRules(
                layout: userLayout, gapDays: configuration.state.orderGapDays,
                subtractRefunds: configuration.state.subtractRefunds, categoryRules: categoryRules),
            categoryBuckets: m.categoryBuckets)
        landmarks = LandmarkWriter(
            layout: landmarkLayout, userLayout: userLayout, binEnds: targetTable.binEnds, rules: targetTable.rules,
            isEnabled: configuration.learning.enabled,
            eventShare: configuration.learning.eventLandmarkShare * HashSalt.range32,
            holdOutShare: configuration.learning.holdOutShare * HashSalt.range32)
        alerts = AlertPolicy(configuration, targetTable)
        encoder = UpdateEncoder(targetTable: targetTable, topics: topics, currency: currency)
        alertEncoder = AlertEncoder(configuration, currency: currency)
        factorText = FactorText(currency: currency)
        guard
            let reading = targetTable.longest(named: configuration.segments.target, kind: .value)
                ?? targetTable.targets.indices.first.map({ i in
                    targetTable.reading(target: i, horizon: targetTable.targets[i].horizonsDays.last!)
                })
        else { preconditionFailure("no targets") }
        segmentReading = reading
        segmentShares = (Float(configuration.segments.high), Float(configuration.segments.mid))
        latenessMs = Int64(configuration.time.allowedLatenessSeconds) * Clock.second
        skewMs = Int64(configuration.time.clockSkewSeconds) * Clock.second
        let takesLate = configuration.time.lateEvents == .accept
        lateMs = takesLate ? Int64(configuration.time.lateEventDays) * Clock.day : 0
        let most = configuration.state.maxEventsPerDay
        mostEventsPerDay = most == 0 ? .max : UInt16(clamping: most)
        let days = Int64(configuration.state.retentionDays)
        retentionMs = days > 0 ? days * Clock.day : .max
        rescoreHours = configuration.alerts.rescoreHours
        landmarkTurns = max(1, configuration.learning.landmarkIntervalDays * 24 / rescoreHours)
        let tasks = max(1, partitions)
        backlogPerTask = (configuration.alerts.backlogLimit + tasks - 1) / tasks
        landmarksPerTask = max(EngineSettings.minimumPerTask, configuration.learning.maxLandmarks / tasks)
        usersPerTask = max(EngineSettings.minimumPerTask, configuration.state.maxUsers / tasks)
    }

    /// Tells whether a slot and landmarks of another partition are laid out as here.
    var handoverLayout: UInt64 {
        let sizes = [
            EngineImage.Metadata.currentFormat, userLayout.size, userLayout.units, userLayout.stateBytes,
            userLayout.orderRules ?? 0, landmarkLayout.size, landmarkLayout.features, landmarkLayout.cells,
        ]
        return sizes.withUnsafeBytes { clvd_hash($0.baseAddress!.assumingMemoryBound(to: UInt8.self), $0.count) }
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
