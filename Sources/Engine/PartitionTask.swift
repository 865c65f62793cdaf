import CEventParser
import CHash
import Glibc

/// Everything the engine holds for one input partition: users, windows, open landmarks, watermark, timers. Its
/// state is a function of the records of its partition and of the model between them; it never looks at another
/// task, so tasks run in parallel.
///
/// Here: admission of records and runs of distinct users. `Punctuation` holds what happens as time passes,
/// `Eviction` how users leave, `PartitionTask+Image` the snapshot.
final class PartitionTask {
    /// No amount of an event is larger: what the decoder lets through by mistake shall not reach sums and weights.
    static let maximumAmount = 1e12

    let id: TaskID
    let settings: EngineSettings
    let scratch: Scratch
    var users: UserTable
    var pool: LandmarkPool
    var aliases: AliasTable
    /// Customers who were erased lately, and what was adopted: what is on its way between partitions may come after.
    var erasures = RecentHashes()
    var adoptions = RecentHashes()
    var outbox = Outbox()
    var counters = TaskCounters()
    /// The customers by the value of their latest update.
    var ranks = CustomerRanks()
    var clock = TaskClock()
    /// Slot at which the next search for a user to evict begins.
    var evictionHand = 0
    /// Records up to the latest mark that learning has come to.
    var recordsLearned: Int64 = 0
    /// Marks of event time where learning is by them, and the next that the watermark passes.
    private var marks: [Int64] = []
    private var nextMark = Int64.max

    /// Offset after the last record taken in; records below it are repeats of the log and not taken again.
    var nextOffset: Int64 = -1
    /// Records below this offset advance the state but publish nothing, as their outputs are committed already.
    private(set) var firstUnpublishedOffset: Int64 = .min

    /// Rows waiting for a batched step: users are distinct.
    private var pending = 0
    private let pendingEvents: UnsafeMutablePointer<UnsafePointer<clvd_event>>
    private let pendingRecords: UnsafeMutablePointer<UInt32>
    /// Record that outputs are attributed to.
    var currentRecord: UInt32 = 0
    /// Whether outputs are dropped, as they are committed already.
    var muted = false
    /// What is left of the work of this call.
    var slice = Slice(work: 0)
    /// How many of the records of the present share have been taken in.
    private(set) var taken = 0
    /// Customers without a state here that records of this step were of: the seeded hash and the record's offset.
    private(set) var newcomers: [(hash: UInt64, offset: Int64)] = []
    /// Customers are noted whose hash has none of these bits; all bits: none is.
    var newcomerMask = UInt64.max
    /// Position and clock when the present step or tick began.
    private(set) var stepStart: (nextOffset: Int64, clock: Int64?) = (-1, nil)

    var watermark: Int64 { clock.watermark }

    init(
        id: TaskID, settings: EngineSettings, users: consuming UserTable, pool: consuming LandmarkPool,
        aliases: consuming AliasTable
    ) {
        self.id = id
        self.settings = settings
        self.users = users
        self.pool = pool
        self.aliases = aliases
        scratch = settings.makeScratch()
        pendingEvents = .allocate(capacity: Scratch.rows)
        pendingRecords = .allocate(capacity: Scratch.rows)
    }

    /// A task with empty state.
    convenience init(id: TaskID, settings: EngineSettings) {
        self.init(
            id: id, settings: settings,
            users: UserTable(layout: settings.userLayout, seed: settings.configuration.state.hashSeed),
            pool: LandmarkPool(
                layout: settings.landmarkLayout, capacity: settings.landmarksPerTask,
                binEnds: settings.targetTable.binEnds),
            aliases: AliasTable(capacity: settings.usersPerTask, seed: settings.configuration.state.hashSeed))
    }

    deinit {
        pendingEvents.deallocate()
        pendingRecords.deallocate()
    }

    /// See `Engine.resume`.
    func resume(at offset: Int64, firstUnpublishedOffset: Int64, idleTicks: [IdleTick]) {
        nextOffset = offset
        self.firstUnpublishedOffset = firstUnpublishedOffset
        clock.idleTicks = idleTicks[...]
        clock.nextIdleTickBefore = idleTicks.first?.before ?? .max
    }

    /// To be called before each step and tick: the outbox is empty then.
    func beginStep() {
        outbox.reset()
        newcomers.removeAll(keepingCapacity: true)
        stepStart = (nextOffset, clock.now)
    }

    // MARK: Records

    /// To be called before the first slice of a share.
    /// - Parameter marks: of event time, ascending; none where learning is not by them.
    func beginShare(_ marks: [Int64]) {
        taken = 0
        self.marks = marks
        findNextMark(from: clock.watermark)
    }

    private func findNextMark(from time: Int64) {
        nextMark = marks.first { $0 >= time && $0 > pool.lastMark } ?? .max
    }

    /// Keeps what is held here now for learning at the marks that the watermark is about to pass.
    private func passMarks(to next: Int64, _ model: ServingModel) {
        flush(model)
        let passed = marks.filter { $0 >= nextMark && $0 < next }
        pool.pass(passed, from: clock.watermark, to: next, records: counters.records, users: users)
        findNextMark(from: next)
    }

    /// What learning at a mark goes by. Where the watermark has not passed the mark, that is all there is.
    func cut(at mark: Int64) -> LearningCut {
        if pool.cut(at: mark) == nil && mark > pool.lastMark {
            pool.pass([mark], from: clock.watermark, to: mark + 1, records: counters.records, users: users)
        }
        var cut = pool.cut(at: mark) ?? cut
        cut.watermark = min(cut.watermark, mark)
        return cut
    }

    /// Everything held now.
    var cut: LearningCut {
        LearningCut(watermark: clock.watermark, through: .max, tail: pool.tail, records: counters.records)
    }

    /// Takes in the next records of this task's share in order, none of them below `nextOffset`, until `taken` is `count`
    /// or the work for passing hours is spent; then another call goes on. Outputs go to the outbox.
    /// - Parameters:
    ///   - events: of the whole step.
    ///   - indices: [count], those of this task's records among them.
    ///   - work: most work, in units of `Slice`.
    func process(
        _ events: UnsafePointer<clvd_event>, _ indices: UnsafePointer<UInt32>, count: Int, work: Int,
        _ models: ServedModels
    ) {
        slice = Slice(work: work)
        var model = models.model(at: clock.watermark)
        while taken < count {
            let index = indices[taken]
            let event = events + Int(index)
            let offset = event.pointee.offset
            var next = models.model(at: clock.watermark)
            if next !== models.newest { next = models.model(at: watermark(with: event)) }
            if next !== model {
                flush(model)
                model = next
            }
            let mute = offset < firstUnpublishedOffset
            if mute != muted { flush(model) }
            if offset >= clock.nextIdleTickBefore, !replayIdleTicks(through: offset, model) { return }
            muted = mute
            guard accept(event, index: index, model) else { return }
            nextOffset = offset + 1
            counters.records += 1
            taken += 1
        }
        flush(model)
    }

    /// Settles a record that is no event of a customer.
    /// - Returns: false when it is settled.
    @inline(__always)
    private func isEvent(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) -> Bool {
        switch event.pointee.status {
        case UInt8(clvd_status_ok.rawValue): break
        case UInt8(clvd_status_tombstone.rawValue):
            counters.tombstones += 1
            return false
        case UInt8(clvd_status_ignored_type.rawValue), UInt8(clvd_status_filtered.rawValue):
            counters.ignored += 1
            return false
        case UInt8(clvd_status_message.rawValue):
            obey(event, index: index, model)
            return false
        default:
            reject(event, index: index, event.pointee.status, model)
            return false
        }
        guard abs(event.pointee.amount) <= PartitionTask.maximumAmount else {
            reject(event, index: index, UInt8(clvd_status_absurd_amount.rawValue), model)
            return false
        }
        if EventType.isIdentity(event.pointee.type) {
            identify(event, index: index, model)
            return false
        }
        return true
    }

    /// - Returns: false when the hours up to the record are not through: nothing is done with the record itself.
    private func accept(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) -> Bool {
        guard isEvent(event, index: index, model) else { return true }
        let lateMs = clock.watermark == .min ? 0 : max(0, clock.watermark - event.pointee.time_ms)
        if lateMs > settings.lateMs, !isPassedOn(event) {
            reject(event, index: index, UInt8(clvd_status_too_late.rawValue), model, excess: lateMs)
            return true
        }
        if settings.joinsByTopic, passOn(event, index: index, model) { return true }
        var who = customer(of: event)
        if isDuplicate(event, of: who.slot) {
            counters.duplicates += 1
            return true
        }
        if isPending(who.slot) { flush(model) }  // what it steps counts for the day
        if isExcess(event, who.slot) {
            refuseExcess(event, index: index, model)
            return true
        }
        let timerHour = clock.timerHour
        guard lateMs > 0 || moveTime(by: event, of: who.hash, index: index, model) else { return false }
        // Timers may have evicted the user.
        if clock.timerHour != timerHour { who = customer(of: event) }
        if event.pointee.alias != nil, !settings.joinsByTopic {
            join(event, index: index, model)
            who = customer(of: event)
        }
        var slot = who.slot
        let former = slot == UserTable.none ? users.former.find(who.hash) : nil
        if slot == UserTable.none && former == nil && who.hash & newcomerMask == 0 {
            newcomers.append((who.hash, event.pointee.offset))
        }
        if event.pointee.type == EventType.userDeleted.rawValue {
            flush(model)
            erase(who, event, record: index)
            return true
        }
        if slot == UserTable.none {
            if users.userCount >= settings.usersPerTask {
                flush(model)
                evictIdlest()
            }
            // Ranks that earlier rows of the run are told by are those before this record.
            if former != nil { flush(model) }
            slot = open(who.key, who.length, hash: who.hash)
        } else if isPending(slot) {
            flush(model)
        }
        if lateMs > 0 { counters.lateAccepted += 1 }
        enqueue(slot, event, index: index)
        if pending == Scratch.rows { flush(model) }
        return true
    }

    /// An accepted event has its say in the stream time.
    /// - Returns: false when the hours up to the new watermark are not through: nothing has moved.
    @inline(__always)
    private func moveTime(
        by event: UnsafePointer<clvd_event>, of customer: UInt64, index: UInt32, _ model: ServingModel
    ) -> Bool {
        var stream = clock.stream
        stream.note(event.pointee.cappedMs, of: customer, skewMs: settings.skewMs)
        let newWatermark = stream.time - settings.latenessMs
        if newWatermark > clock.watermark {
            if newWatermark > nextMark { passMarks(to: newWatermark, model) }
            guard advanceWatermark(to: newWatermark, record: index, model) else { return false }
        }
        clock.stream = stream
        return true
    }

    @inline(__always)
    private func enqueue(_ slot: UInt32, _ event: UnsafePointer<clvd_event>, index: UInt32) {
        EventIDs(users.slot(slot), settings.userLayout).insert(event.pointee.event_id_hash)
        users.slot(slot).header.pointee.flags |= UserHeader.pending
        scratch.slots[pending] = slot
        scratch.instants[pending] = clock.watermark
        pendingEvents[pending] = event
        pendingRecords[pending] = index
        pending += 1
        counters.accepted += 1
    }

    private func refuseExcess(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) {
        counters.excessEvents += 1
        if settings.configuration.state.excessEvents == .ignore {
            counters.ignored += 1
        } else {
            reject(event, index: index, UInt8(clvd_status_too_many_events.rawValue), model)
        }
    }

    private func reject(
        _ event: UnsafePointer<clvd_event>, index: UInt32, _ status: UInt8, _ model: ServingModel, excess: Int64 = 0
    ) {
        counters.deadLetters += 1
        counters.reasons[Int(status) & (TaskCounters.statuses - 1)] += 1
        guard !muted else { return }
        flush(model)  // the outbox keeps the order of the records
        outbox.deadLetter(record: index, source: RecordPlace(event.pointee), reason: status, excess: excess)
    }

    // MARK: Runs of distinct users

    /// Applies the pending events: state, one recurrent step, heads, outputs, landmarks, in the order of the records.
    func flush(_ model: ServingModel) {
        guard pending > 0 else { return }
        let rows = pending
        for r in 0..<rows { apply(r, pendingEvents[r], model) }
        model.step(scratch, rows: rows)
        for r in 0..<rows {
            settings.codec.pack(
                scratch.state + r * settings.stateWidth,
                into: users.slot(scratch.slots[r]) + settings.userLayout.rolling)
        }
        model.predict(scratch, rows: rows)
        for r in 0..<rows { finish(r, pendingEvents[r], record: pendingRecords[r], model) }
        pending = 0
    }

    /// Advances everything of a user but the recurrent state and fills its row of inputs.
    private func apply(_ r: Int, _ event: UnsafePointer<clvd_event>, _ model: ServingModel) {
        let slotNumber = scratch.slots[r]
        let slot = users.slot(slotNumber)
        let h = slot.header
        let layout = settings.userLayout
        if h.pointee.sinceBoundary == UInt8(UserLayout.ringCount) {
            memcpy(slot + layout.boundary, slot + layout.rolling, layout.stateBytes)
            h.pointee.sinceBoundary = 0
        }
        let now = max(event.pointee.time_ms, h.pointee.lastEventMs)
        let watermark = scratch.instants[r]
        let context = StepInputs.Context(
            previousTime: h.pointee.events == 0 ? 0 : UInt32(clamping: h.pointee.lastEventMs / 1000),
            previousCode: settings.activity.lastCode(slot), lastPurchase: settings.activity.lastPurchase(slot),
            amountMean: model.amountMean, amountInverse: model.amountInverse)
        let rules = settings.targetTable.matchingRules(
            type: event.pointee.type, category: event.pointee.category_hash)
        let record = settings.activity.orders.read(slot, event, rules: rules)
        if record.isWithoutMoney { counters.purchasesWithoutMoney += 1 }
        if record.isWithoutOrder { counters.refundsWithoutOrder += 1 }
        settings.landmarks.label(pool, user: slotNumber, newest: h.pointee.landmark, event, record, watermark)
        let stored = settings.activity.count(
            event, record, in: slot, now: now, isLate: event.pointee.time_ms < watermark)
        settings.inputs.encode(
            stored, logAmount: stored.logAmount, context, indices: scratch.indices + r * StepInputs.indices,
            numerics: scratch.numerics + r * StepInputs.numerics)
        // A forecast is from the present on, however late its event.
        scratch.instants[r] = max(now, watermark)
        settings.fill(scratch, row: r, with: slot, now: scratch.instants[r])
    }

    /// Outputs and landmark of a row whose prediction is made.
    func finish(_ r: Int, _ event: UnsafePointer<clvd_event>, record: UInt32, _ model: ServingModel) {
        let slotNumber = scratch.slots[r]
        let slot = users.slot(slotNumber)
        let h = slot.header
        let row = scratch.predictions + r * settings.targetTable.cells
        let value = settings.segmentReading.value(row)
        if h.pointee.events > 1 { ranks.remove(h.pointee.lastValue) }
        ranks.add(value)
        let churn = settings.alerts.churn.value(row)
        currentRecord = record
        h.pointee.flags &= ~UserHeader.pending
        counters.updates += 1
        if !muted { publishUpdate(r, slot, event, value: value, churn: churn, model) }
        if model.version > 0 {
            alert(slot, r, value: value, churn: churn, source: event, model)
            h.pointee.lastChurn = churn
            h.pointee.flags |= UserHeader.scored
        }
        h.pointee.lastValue = value
        let features = scratch.features + r * SnapshotFeatures.count
        if let priority = settings.landmarks.eventPriority(h, features: features) {
            addLandmark(r, slotNumber, priority: priority, model)
        }
    }

    func addLandmark(_ r: Int, _ slot: UInt32, priority: UInt32, _ model: ServingModel) {
        if settings.landmarks.add(row: r, of: scratch, user: slot, priority: priority, to: &pool, users, model) {
            counters.landmarks += 1
        }
    }

    // MARK: Outputs

    private func publishUpdate(
        _ r: Int, _ slot: UserSlot, _ event: UnsafePointer<clvd_event>, value: Float,
        churn: Float, _ model: ServingModel
    ) {
        let h = slot.header
        let bounds = scratch.bounds
        model.forEachDistribution(scratch, row: r) { i, distribution in
            let interval = distribution.interval(level: Double(model.levels[i]))
            (bounds[2 * i], bounds[2 * i + 1]) = (interval.lower, interval.upper)
        }
        let hasEarlierUpdate = h.pointee.events > 1
        let share = ranks.share(below: value)
        let update = UpdateEncoder.Update(
            predictions: scratch.predictions + r * settings.targetTable.cells, bounds: bounds,
            valueToDate: h.pointee.valueToDate, orders: h.pointee.purchases, lastPurchase: h.pointee.lastPurchase,
            percentile: 100 * Double(share),
            segment: Segment(share: share, high: settings.segmentShares.high, mid: settings.segmentShares.mid),
            valueChange: hasEarlierUpdate ? Double(value - h.pointee.lastValue) : 0,
            churnChange: h.pointee.flags & UserHeader.scored != 0 ? Double(churn - h.pointee.lastChurn) : 0,
            confidence: Double(model.confidence(events: h.pointee.events)), modelVersion: model.version)
        let key = users.key(of: slot)
        outbox.append(.update, record: currentRecord, source: RecordPlace(event.pointee), key: key) { w in
            settings.encoder.write(update, of: event, user: key, &w)
        }
    }
}
