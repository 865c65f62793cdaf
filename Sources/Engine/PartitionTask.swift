import CEventParser
import CHash
import CKernels
import Foundation
import Glibc

/// Everything the engine holds for one input partition: users, windows, open landmarks, watermark, timers. Its
/// state is a function of the records of its partition and of the model between them; it never looks at another
/// task, so tasks run in parallel.
final class PartitionTask {
    /// No amount of an event is larger: what the decoder lets through by mistake shall not reach sums and weights.
    static let maximumAmount = 1e12

    let id: TaskID
    let settings: EngineSettings
    let scratch: Scratch
    var users: UserTable
    var pool: LandmarkPool
    var outbox = Outbox()
    var counters = TaskCounters()
    var quantiles: StreamQuantiles

    /// Highest accepted event time less the allowed lateness, ms; `Int64.min` before the first event.
    private(set) var watermark = Int64.min
    /// Last full hour whose timers have run; and the last hour whose silent users were scored (idle ticks run ahead).
    private(set) var timerHour = Int64.min
    private(set) var scoredHour = Int64.min
    /// Offset after the last record taken in; records below it are repeats of the log and not taken again.
    private(set) var nextOffset: Int64 = -1
    /// Records below this offset advance the state but say nothing (their outputs are committed already).
    private(set) var firstUnpublishedOffset: Int64 = .min
    /// Idle ticks that were published before a restart, ascending; they are scored again without a word, each where it
    /// was.
    private var idleTicks: ArraySlice<IdleTick> = []
    /// Offset before which the next of them was.
    private var nextIdleTickBefore = Int64.max

    /// Rows waiting for a batched step: users are distinct.
    private var pending = 0
    private var pendingEvents: UnsafeMutablePointer<UnsafePointer<clvd_event>>
    private var pendingRecords: UnsafeMutablePointer<UInt32>
    /// Record that outputs are attributed to.
    private var currentRecord: UInt32 = 0
    private var muted = false

    init(id: TaskID, settings: EngineSettings) {
        self.id = id
        self.settings = settings
        users = UserTable(layout: settings.userLayout, seed: settings.configuration.state.hashSeed)
        pool = LandmarkPool(
            layout: settings.landmarkLayout, capacity: settings.landmarksPerTask, binEnds: settings.targetTable.binEnds)
        quantiles = StreamQuantiles(quantiles: settings.segmentQuantiles)
        scratch = settings.makeScratch()
        pendingEvents = .allocate(capacity: Scratch.rows)
        pendingRecords = .allocate(capacity: Scratch.rows)
    }

    deinit {
        pendingEvents.deallocate()
        pendingRecords.deallocate()
    }

    // MARK: Records

    /// Takes in the records of this task in order, none of them below `nextOffset`. Everything said goes to the outbox.
    func process(
        _ events: UnsafePointer<clvd_event>, _ indices: UnsafePointer<UInt32>, count: Int, _ model: ServingModel
    ) {
        for i in 0..<count {
            let event = events + Int(indices[i])
            let mute = event.pointee.offset < firstUnpublishedOffset
            if mute != muted { flush(model) }
            if event.pointee.offset >= nextIdleTickBefore { replayIdleTicks(through: event.pointee.offset, model) }
            muted = mute
            nextOffset = event.pointee.offset + 1
            counters.records += 1
            accept(event, index: indices[i], model)
        }
        flush(model)
    }

    private func accept(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) {
        switch event.pointee.status {
        case UInt8(clvd_status_ok.rawValue): break
        case UInt8(clvd_status_tombstone.rawValue):
            counters.tombstones += 1
            return
        case UInt8(clvd_status_ignored_type.rawValue):
            counters.ignored += 1
            return
        default:
            reject(index, event.pointee.status, model)
            return
        }
        guard abs(event.pointee.amount) <= PartitionTask.maximumAmount else {
            reject(index, UInt8(clvd_status_absurd_amount.rawValue), model)
            return
        }
        let time = event.pointee.time_ms
        if time < watermark {
            reject(index, UInt8(clvd_status_too_late.rawValue), model)
            return
        }
        let (key, length) = (event.pointee.user!, Int(event.pointee.user_length))
        let hash = users.hash(key, length)
        var slot = users.find(key, length, hash: hash)
        if slot != UserTable.none && isDuplicate(event, users.slot(slot)) {
            counters.duplicates += 1
            return
        }
        let newWatermark = time - settings.latenessMs
        if newWatermark > watermark {
            let hour = Clock.index(newWatermark, per: Clock.hour)
            if timerHour == .min {
                timerHour = hour
                scoredHour = max(scoredHour, hour)
            } else if hour > timerHour {
                flush(model)
                currentRecord = index
                runTimers(through: hour, model)
                slot = users.find(key, length, hash: hash)  // timers may have evicted the user
            }
            watermark = newWatermark
        }
        if event.pointee.type == EventType.userDeleted.rawValue {
            flush(model)
            erase(slot, key: UnsafeBufferPointer(start: key, count: length), record: index)
            return
        }
        if slot == UserTable.none {
            if users.userCount >= settings.usersPerTask {
                flush(model)
                evictIdlest()
            }
            slot = users.insert(key, length, hash: hash)
        } else if users.slot(slot).header.pointee.flags & UserHeader.pending != 0 {
            flush(model)
        }
        remember(event, users.slot(slot))
        users.slot(slot).header.pointee.flags |= UserHeader.pending
        scratch.slots[pending] = slot
        pendingEvents[pending] = event
        pendingRecords[pending] = index
        pending += 1
        counters.accepted += 1
        if pending == Scratch.rows { flush(model) }
    }

    private func reject(_ index: UInt32, _ status: UInt8, _ model: ServingModel) {
        counters.deadLetters += 1
        counters.reasons[Int(status) & 31] += 1
        guard !muted else { return }
        flush(model)  // the outbox keeps the order of the records
        outbox.deadLetter(record: index, reason: status)
    }

    /// Event ids are kept as 48 bits of their hash, the last eight of a user.
    private func isDuplicate(_ event: UnsafePointer<clvd_event>, _ slot: UserSlot) -> Bool {
        let hash = event.pointee.event_id_hash
        guard hash != 0 else { return false }
        let low = UInt32(truncatingIfNeeded: hash)
        let high = UInt16(truncatingIfNeeded: hash >> 32)
        let lows = slot.at(settings.userLayout.dedupLow, as: UInt32.self)
        let highs = slot.at(settings.userLayout.dedupHigh, as: UInt16.self)
        for i in 0..<UserLayout.dedupCount where lows[i] == low && highs[i] == high { return true }
        return false
    }

    private func remember(_ event: UnsafePointer<clvd_event>, _ slot: UserSlot) {
        let hash = event.pointee.event_id_hash
        guard hash != 0 else { return }
        let at = Int(slot.header.pointee.dedupNext)
        slot.at(settings.userLayout.dedupLow, as: UInt32.self)[at] = UInt32(truncatingIfNeeded: hash)
        slot.at(settings.userLayout.dedupHigh, as: UInt16.self)[at] = UInt16(truncatingIfNeeded: hash >> 32)
        slot.header.pointee.dedupNext = UInt8((at + 1) % UserLayout.dedupCount)
    }

    // MARK: Runs of distinct users

    /// Applies the pending events: state, one recurrent step, heads, outputs, landmarks, in the order of the records.
    private func flush(_ model: ServingModel) {
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
        for r in 0..<rows { finish(r, pendingEvents[r], model) }
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
        let time = event.pointee.time_ms
        let now = max(time, h.pointee.lastEventMs)
        let context = StepInputs.Context(
            previousTime: h.pointee.events == 0 ? 0 : UInt32(clamping: h.pointee.lastEventMs / 1000),
            previousCode: lastCode(slot), lastPurchase: h.pointee.lastPurchase,
            amountMean: model.amountMean, amountInverse: model.amountInverse)
        let event16 = updateTotals(slot, slotNumber, event, now: now)
        let logAmount = clvd_float_of_half(event16.amount)
        settings.inputs.encode(
            event16, logAmount: logAmount, context, indices: scratch.indices + r * StepInputs.indices,
            numerics: scratch.numerics + r * StepInputs.numerics)
        scratch.instants[r] = now
        SnapshotFeatures.write(slot, layout, now: now, into: scratch.features + r * SnapshotFeatures.count)
        settings.codec.unpack(slot + layout.rolling, into: scratch.state + r * settings.stateWidth)
    }

    /// Code of the newest event in the ring.
    private func lastCode(_ slot: UserSlot) -> UInt16 {
        let h = slot.header.pointee
        guard h.ringCount > 0 else { return 0 }
        let at = (Int(h.ringStart) + Int(h.ringCount) - 1) % UserLayout.ringCount
        return slot.at(settings.userLayout.ringCode, as: UInt16.self)[at]
    }

    /// Windows, totals, labels and the event ring. Returns the event as stored.
    private func updateTotals(
        _ slot: UserSlot, _ slotNumber: UInt32, _ event: UnsafePointer<clvd_event>, now: Int64
    ) -> StoredEvent {
        let h = slot.header
        let e = event.pointee
        let seconds = UInt32(clamping: now / 1000)
        let isPurchase = e.type == EventType.purchase.rawValue
        let isRefund = e.type == EventType.refund.rawValue
        let order = UInt32(truncatingIfNeeded: e.order_hash)
        let continues = isPurchase && order != 0 && (order == h.pointee.orderA || order == h.pointee.orderB)
        let money = isPurchase ? e.amount : isRefund && settings.configuration.state.subtractRefunds ? -e.amount : 0
        label(slotNumber, h.pointee.landmark, e, money: money, continues: continues)

        let first = h.pointee.events == 0
        let opensSession = opensSession(h, e, first: first, now: now)
        let pane = Panes.index(now)
        let panes = Panes(slot + settings.userLayout.panes)
        if first {
            h.pointee.firstSeen = seconds
            h.pointee.paneClock = pane
        } else if pane > h.pointee.paneClock {
            panes.advance(from: h.pointee.paneClock, to: pane)
            h.pointee.paneClock = pane
        }
        countOrder(h, e, order: order, isPurchase: isPurchase, continues: continues, seconds: seconds)
        let stage = FunnelStage.table.withUnsafeBufferPointer { $0[Int(e.type) & 15] }
        panes.add(
            pane: Panes.index(e.time_ms), clock: h.pointee.paneClock, stage: stage, money: Float(money),
            orderTotal: isPurchase ? h.pointee.orderAmount : -1, continues: continues)
        switch stage {
        case 0: h.pointee.browses &+= 1
        case 1: h.pointee.views &+= 1
        case 2: h.pointee.carts &+= 1
        case 3: h.pointee.checkouts &+= 1
        default: break
        }
        h.pointee.events &+= 1
        h.pointee.valueToDate += money
        h.pointee.lastEventMs = now
        let day = UInt16(clamping: now / Clock.day)
        if first || day != h.pointee.lastActiveDay {
            h.pointee.daysActive &+= 1
            h.pointee.lastActiveDay = day
        }
        let code =
            UInt16(e.type) << EventRing.typeShift | (opensSession ? EventRing.sessionBit : 0)
            | StepInputs.bucket(category: e.category_hash, buckets: settings.inputs.categoryBuckets)
        let stored = StoredEvent(time: seconds, code: code, amount: clvd_half_of_float(log1pf(Float(abs(e.amount)))))
        EventRing(slot, settings.userLayout).push(h, time: stored.time, code: stored.code, amount: stored.amount)
        h.pointee.sinceBoundary += 1
        return stored
    }

    private func opensSession(
        _ h: UnsafeMutablePointer<UserHeader>, _ e: clvd_event, first: Bool, now: Int64
    ) -> Bool {
        guard e.session_hash != 0 else { return first || now - h.pointee.lastEventMs > settings.sessionGapMs }
        let session = UInt32(truncatingIfNeeded: e.session_hash)
        defer { h.pointee.session = session }
        return session != h.pointee.session
    }

    private func countOrder(
        _ h: UnsafeMutablePointer<UserHeader>, _ e: clvd_event, order: UInt32, isPurchase: Bool, continues: Bool,
        seconds: UInt32
    ) {
        guard isPurchase else { return }
        if continues {
            if order != h.pointee.orderA {
                swap(&h.pointee.orderA, &h.pointee.orderB)
                swap(&h.pointee.orderAmount, &h.pointee.orderBAmount)
            }
            h.pointee.orderAmount += Float(e.amount)
        } else {
            h.pointee.orderBAmount = h.pointee.orderAmount
            h.pointee.orderAmount = Float(e.amount)
            h.pointee.orderB = h.pointee.orderA
            h.pointee.orderA = order
            h.pointee.purchases &+= 1
        }
        if h.pointee.firstPurchase == 0 { h.pointee.firstPurchase = seconds }
        if seconds / 86_400 != h.pointee.lastPurchase / 86_400 { h.pointee.purchaseDays &+= 1 }
        h.pointee.lastPurchase = seconds
    }

    /// Adds an event to the labels of the user's open landmarks, at the event's own time.
    private func label(_ slot: UInt32, _ newest: UInt32, _ e: clvd_event, money: Double, continues: Bool) {
        guard newest != 0 else { return }
        let time = e.time_ms
        let ends = settings.binEnds
        let layout = settings.landmarkLayout
        pool.forEachOpen(of: slot, newest: newest, at: time) { landmark in
            let instant = LandmarkPool.header(landmark).pointee.instant
            guard time > instant else { return }
            var bin = 0
            while bin < ends.count && time > instant + ends[bin] { bin += 1 }
            guard bin < ends.count else { return }
            let labels = landmark.at(layout.labels, as: Float.self)
            for rule in settings.rules where rule.counts(type: e.type, category: e.category_hash) {
                if rule.isValue {
                    labels[Int(rule.cell) + bin] += Float(money)
                } else if !continues {
                    labels[Int(rule.cell) + bin] += 1
                }
            }
        }
    }

    /// Outputs and landmark of a row whose prediction is made.
    private func finish(_ r: Int, _ event: UnsafePointer<clvd_event>, _ model: ServingModel) {
        let slotNumber = scratch.slots[r]
        let slot = users.slot(slotNumber)
        let h = slot.header
        let row = scratch.predictions + r * settings.targetTable.cells
        let value = settings.segmentReading.value(row)
        quantiles.add(value)
        let churn = settings.alerts.churn.value(row)
        currentRecord = pendingRecords[r]
        h.pointee.flags &= ~UserHeader.pending
        counters.updates += 1
        if !muted { publishUpdate(r, slot, event, row, value: value, churn: churn, model) }
        if model.version > 0 {
            alert(slot, r, value: value, churn: churn, silent: false, model)
            h.pointee.lastChurn = churn
            h.pointee.flags |= UserHeader.scored
        }
        h.pointee.lastValue = value
        let events = h.pointee.events
        let share = clvd_mix(UInt64(h.pointee.identity) << 32 | UInt64(events), 0x65_76_65_6E_74)
        let chance = Double(UInt32(truncatingIfNeeded: share))
        // The events of one busy day have one outcome: of its later ones fewer and fewer are taken.
        if chance < settings.eventLandmarkShare
            && chance * Double(SnapshotFeatures.eventsOfDay(scratch.features + r * SnapshotFeatures.count))
                < 4 * settings.eventLandmarkShare
        {
            addLandmark(r, slotNumber, priority: UInt32(truncatingIfNeeded: share >> 32), model)
        }
    }

    private func publishUpdate(
        _ r: Int, _ slot: UserSlot, _ event: UnsafePointer<clvd_event>, _ row: UnsafePointer<Float>, value: Float,
        churn: Float, _ model: ServingModel
    ) {
        let h = slot.header
        let bounds = scratch.bounds
        model.forEachDistribution(scratch, row: r) { i, distribution in
            let interval = distribution.interval(level: Double(model.levels[i]))
            (bounds[2 * i], bounds[2 * i + 1]) = (interval.lower, interval.upper)
        }
        let (high, mid) = (quantiles.thresholds[0], quantiles.thresholds[1])
        let scored = h.pointee.events > 1
        let e = event
        let key = UnsafeBufferPointer(start: e.pointee.user!, count: Int(e.pointee.user_length))
        outbox.append(.update, record: currentRecord, key: key) { w in
            w.append("{\"user_id\":")
            w.append(json: key.baseAddress!, key.count)
            w.append(",\"event_id\":")
            if let id = e.pointee.event_id {
                w.append(json: id, Int(e.pointee.event_id_length))
            } else {
                w.append("null")
            }
            w.append(",\"event_time\":")
            w.append(time: e.pointee.time_ms)
            settings.encoder.source(
                topic: e.pointee.topic, partition: e.pointee.partition, offset: e.pointee.offset, &w)
            settings.encoder.predictions(row, bounds: bounds, &w)
            w.append(",\"value_to_date\":")
            w.append(number: h.pointee.valueToDate)
            w.append(
                value >= high ? ",\"segment\":\"high\"" : value >= mid ? ",\"segment\":\"mid\"" : ",\"segment\":\"low\""
            )
            w.append(",\"change\":{\"value\":")
            w.append(number: scored ? Double(value - h.pointee.lastValue) : 0)
            w.append(",\"churn_probability\":")
            w.append(number: h.pointee.flags & UserHeader.scored != 0 ? Double(churn - h.pointee.lastChurn) : 0)
            w.append("},\"confidence\":")
            w.append(number: Double(model.confidence(events: h.pointee.events)))
            w.append(",\"model_version\":")
            w.append(integer: Int64(model.version))
            w.append("}")
        }
    }

    // MARK: Alerts

    private func alert(_ slot: UserSlot, _ r: Int, value: Float, churn: Float, silent: Bool, _ model: ServingModel) {
        let h = slot.header
        let now = scratch.instants[r]
        switch settings.alerts.transition(h, probability: churn, value: value, now: now, silent: silent) {
        case .none: return
        case .raised:
            h.pointee.flags |= UserHeader.alertRaised
            h.pointee.alertRaisedAt = UInt32(clamping: now / 1000)
            h.pointee.alerts &+= 1
            counters.alertsRaised += 1
            if silent { counters.alertsForSilence += 1 }
            publishAlert(slot, r, state: "raised", reason: silent ? "silence" : "decline", value, churn, model)
        case .cleared:
            h.pointee.flags &= ~UserHeader.alertRaised
            counters.alertsCleared += 1
            publishAlert(slot, r, state: "cleared", reason: silent ? "model" : "activity", value, churn, model)
        }
    }

    /// The id of an alert is a function of its cause: the user, and when it was raised. Its clearing has the same id;
    /// id and state together tell repeats.
    private func publishAlert(
        _ slot: UserSlot, _ r: Int, state: StaticString, reason: StaticString, _ value: Float, _ churn: Float,
        _ model: ServingModel
    ) {
        guard !muted else { return }
        let h = slot.header
        let key = users.key(of: slot)
        let cause = clvd_seeded_hash(key.baseAddress!, key.count, UInt64(h.pointee.alertRaisedAt))
        let factors = model.factors(scratch, row: r, reading: settings.alerts.churn, count: settings.alerts.factors)
        let now = scratch.instants[r]
        outbox.append(.alert, record: currentRecord, key: key) { w in
            w.append("{\"alert_id\":")
            w.append(hex: cause)
            w.append(",\"state\":\"")
            w.append(state)
            w.append("\",\"reason\":\"")
            w.append(reason)
            w.append("\",\"user_id\":")
            w.append(json: key.baseAddress!, key.count)
            w.append(",\"at\":")
            w.append(time: now)
            w.append(",\"last_event_time\":")
            w.append(time: h.pointee.lastEventMs)
            w.append(",\"churn_probability\":")
            w.append(number: Double(churn))
            w.append(",\"thresholds\":{\"raise\":")
            w.append(number: Double(settings.alerts.raise))
            w.append(",\"clear\":")
            w.append(number: Double(settings.alerts.clear))
            w.append("},\"clv_at_risk\":")
            w.append(number: Double(value))
            w.append(",\"value_to_date\":")
            w.append(number: h.pointee.valueToDate)
            w.append(",\"factors\":[")
            for (i, factor) in factors.enumerated() {
                w.append(i == 0 ? "{\"name\":\"" : ",{\"name\":\"")
                w.append(Array(factor.name.utf8))
                w.append("\",\"value\":")
                w.append(number: Double(factor.value))
                w.append(",\"contribution\":")
                w.append(number: Double(factor.contribution))
                w.append("}")
            }
            w.append("],\"model_version\":")
            w.append(integer: Int64(model.version))
            w.append("}")
        }
    }

    // MARK: Landmarks

    private func addLandmark(_ r: Int, _ slotNumber: UInt32, priority: UInt32, _ model: ServingModel) {
        guard settings.configuration.learning.enabled, pool.admits(priority),
            let landmark = pool.append(user: slotNumber, instant: scratch.instants[r], priority: priority, users: users)
        else { return }
        let layout = settings.landmarkLayout
        let slot = users.slot(slotNumber)
        let h = slot.header
        let l = LandmarkPool.header(landmark)
        let days = Float(max(0, scratch.instants[r] / 1000 - Int64(h.pointee.firstSeen))) / 86_400 + 14
        l.pointee.naiveValuePerDay = Float(max(0, h.pointee.valueToDate)) / days
        l.pointee.naiveOrdersPerDay = Float(h.pointee.purchases) / days
        l.pointee.naiveEventsPerDay = Float(h.pointee.events) / days
        if settings.isHeldOut(h.pointee.identity) { l.pointee.flags |= LandmarkHeader.holdOut }
        if model.version > 0 { l.pointee.flags |= LandmarkHeader.fromModel }
        storeSequence(slot, landmark)
        memcpy(landmark + layout.state, slot + settings.userLayout.boundary, settings.userLayout.stateBytes)
        clvd_half_from_float(
            layout.features, scratch.features + r * layout.features, landmark.at(layout.featureRow, as: UInt16.self))
        memcpy(
            landmark + layout.predictions, scratch.predictions + r * layout.cells,
            layout.cells * MemoryLayout<Float>.stride)
        let spreads = landmark.at(layout.spreads, as: LandmarkSpread.self)
        model.forEachDistribution(scratch, row: r) { i, distribution in
            spreads[i] = LandmarkSpread(distribution: distribution, level: model.levels[i])
        }
        counters.landmarks += 1
    }

    /// The events since the boundary state, oldest first, and what the inputs of the first depend on.
    private func storeSequence(_ slot: UserSlot, _ landmark: UnsafeMutableRawPointer) {
        let h = slot.header.pointee
        let ring = EventRing(slot, settings.userLayout)
        let l = LandmarkPool.header(landmark)
        let n = Int(h.sinceBoundary)
        let before = Int(h.ringCount) - n
        var purchase = h.purchaseBeforeRing
        for i in 0..<before {
            let at = (Int(h.ringStart) + i) % UserLayout.ringCount
            if ring.code[at] >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) { purchase = ring.time[at] }
        }
        let previous = (Int(h.ringStart) + before + UserLayout.ringCount - 1) % UserLayout.ringCount
        l.pointee.contextTime = before > 0 ? ring.time[previous] : h.evictedTime
        l.pointee.contextCode = before > 0 ? ring.code[previous] : h.evictedCode
        l.pointee.contextPurchase = purchase
        l.pointee.steps = UInt8(n)
        let events = landmark.at(settings.landmarkLayout.events, as: StoredEvent.self)
        for i in 0..<n {
            let at = (Int(h.ringStart) + before + i) % UserLayout.ringCount
            events[i] = StoredEvent(time: ring.time[at], code: ring.code[at], amount: ring.amount[at])
        }
    }

    // MARK: Timers

    /// Runs the timers of every full hour up to and with `hour`: silent users are scored, landmarks of the grid
    /// made, idle users evicted. Each user's turn comes once in `rescoreHours`.
    private func runTimers(through hour: Int64, _ model: ServingModel) {
        var next = timerHour + 1
        if users.userCount == 0 { next = hour }
        while next <= hour {
            visit(hour: next, score: next > scoredHour, landmarks: true, model)
            next += 1
        }
        timerHour = hour
        scoredHour = max(scoredHour, hour)
    }

    /// Advances the clock of an idle stream: silent users are scored, nothing else happens.
    func tick(to time: Int64, _ model: ServingModel) {
        guard nextOffset >= firstUnpublishedOffset else { return }
        replayIdleTicks(through: .max, model)
        score(through: time, muted: false, model)
    }

    /// Scores the silences that were published before a restart, up to the record at `offset`, without publishing them
    /// again.
    private func replayIdleTicks(through offset: Int64, _ model: ServingModel) {
        guard !idleTicks.isEmpty else { return }
        flush(model)
        while let tick = idleTicks.first, tick.before <= offset {
            score(through: tick.clock, muted: true, model)
            idleTicks.removeFirst()
        }
        nextIdleTickBefore = idleTicks.first?.before ?? .max
    }

    /// See `Engine.clock`.
    var clock: Int64? {
        let known = idleTicks.last?.clock ?? .min
        guard watermark != .min else { return known == .min ? nil : known }
        return max(watermark, scoredHour * Clock.hour, known)
    }

    private func score(through time: Int64, muted mute: Bool, _ model: ServingModel) {
        guard timerHour != .min else { return }
        let hour = Clock.index(time, per: Clock.hour)
        let before = (muted, currentRecord)
        (muted, currentRecord) = (mute, .max)
        while scoredHour < hour {
            scoredHour += 1
            visit(hour: scoredHour, score: true, landmarks: false, model)
        }
        (muted, currentRecord) = before
    }

    /// See `Engine.resume`.
    func resume(at offset: Int64, firstUnpublishedOffset: Int64, idleTicks: [IdleTick]) {
        nextOffset = offset
        self.firstUnpublishedOffset = firstUnpublishedOffset
        self.idleTicks = idleTicks[...]
        nextIdleTickBefore = idleTicks.first?.before ?? .max
    }

    private func visit(hour: Int64, score: Bool, landmarks: Bool, _ model: ServingModel) {
        let step = settings.rescoreHours
        let phase = Int(Clock.remainder(hour, per: Int64(step)))
        let turn = Clock.index(hour, per: Int64(step))
        let now = hour * Clock.hour
        var rows = 0
        var i = phase
        while i < users.slotCount {
            let slot = users.slot(UInt32(i))
            let h = slot.header
            if h.pointee.flags & UserHeader.inUse != 0 {
                if landmarks && now - h.pointee.lastEventMs > settings.retentionMs {
                    evict(UInt32(i))
                    counters.evictedIdle += 1
                } else {
                    let due =
                        landmarks && (turn + Int64(h.pointee.identity)) % Int64(settings.landmarkTurns) == 0
                        && pool.admits(gridPriority(h, hour))
                    if due || (score && settings.alerts.watches(h)) {
                        scratch.slots[rows] = UInt32(i)
                        scratch.instants[rows] = max(now, h.pointee.lastEventMs)
                        rows += 1
                        if rows == Scratch.rows {
                            scoreSilent(rows, hour: hour, turn: turn, score: score, landmarks: landmarks, model)
                            rows = 0
                        }
                    }
                }
            }
            i += step
        }
        if rows > 0 { scoreSilent(rows, hour: hour, turn: turn, score: score, landmarks: landmarks, model) }
    }

    private func gridPriority(_ h: UnsafeMutablePointer<UserHeader>, _ hour: Int64) -> UInt32 {
        UInt32(
            truncatingIfNeeded: clvd_mix(
                UInt64(h.pointee.identity) << 32 | UInt64(truncatingIfNeeded: hour), 0x67_72_69_64))
    }

    private func scoreSilent(
        _ rows: Int, hour: Int64, turn: Int64, score: Bool, landmarks: Bool, _ model: ServingModel
    ) {
        for r in 0..<rows {
            settings.fill(scratch, row: r, with: users.slot(scratch.slots[r]), now: scratch.instants[r])
        }
        model.predict(scratch, rows: rows)
        for r in 0..<rows {
            let slotNumber = scratch.slots[r]
            let slot = users.slot(slotNumber)
            let h = slot.header
            let row = scratch.predictions + r * settings.targetTable.cells
            if score && model.version > 0 && settings.alerts.watches(h) {
                let churn = settings.alerts.churn.value(row)
                alert(slot, r, value: settings.segmentReading.value(row), churn: churn, silent: true, model)
                h.pointee.lastChurn = churn
                h.pointee.flags |= UserHeader.scored
                counters.rescored += 1
            }
            if landmarks && (turn + Int64(h.pointee.identity)) % Int64(settings.landmarkTurns) == 0 {
                addLandmark(r, slotNumber, priority: gridPriority(h, hour), model)
            }
        }
    }

    // MARK: Leaving

    private func evict(_ slot: UInt32) {
        pool.forget(user: slot, newest: users.slot(slot).header.pointee.landmark)
        users.remove(slot)
    }

    /// The user cap: of 64 slots after a rotating hand, the user idle longest goes.
    private func evictIdlest() {
        var oldest = UserTable.none
        var time = Int64.max
        var seen = 0
        var i = evictionHand
        while seen < 64 {
            if i >= users.slotCount { i = 0 }
            let h = users.slot(UInt32(i)).header
            if h.pointee.flags & UserHeader.inUse != 0 && h.pointee.lastEventMs < time {
                oldest = UInt32(i)
                time = h.pointee.lastEventMs
            }
            i += 1
            seen += 1
        }
        evictionHand = i
        guard oldest != UserTable.none else { return }
        evict(oldest)
        counters.evictedByCap += 1
    }
    private var evictionHand = 0

    /// Erases a user on request: state, open landmarks and replay samples; the updates topic gets a tombstone.
    private func erase(_ slot: UInt32, key: UnsafeBufferPointer<UInt8>, record: UInt32) {
        if slot != UserTable.none { evict(slot) }
        counters.erased += 1
        if !muted { outbox.append(.update, record: record, key: key) { _ in } }
    }

    // MARK: Snapshot

    struct Image: Codable, Equatable {
        var id: TaskID
        var watermark: Int64
        var timerHour: Int64
        var scoredHour: Int64
        var nextOffset: Int64
        var evictionHand: Int
        var counters: TaskCounters
        var users: UserTable.Image
        var pool: LandmarkPool.Image
        /// [`StreamQuantiles.cells`] of `UInt32`, as memory: so many numbers would be most of the description.
        var quantileCounts: Data
        var quantileTotal: UInt32
        var quantileRenewal: UInt32
        var quantileThresholds: [Float]
    }

    var image: Image {
        Image(
            id: id, watermark: watermark, timerHour: timerHour, scoredHour: scoredHour, nextOffset: nextOffset,
            evictionHand: evictionHand, counters: counters, users: users.image, pool: pool.image,
            quantileCounts: quantiles.counts.withUnsafeBytes { Data($0) }, quantileTotal: quantiles.total,
            quantileRenewal: quantiles.renewal,
            quantileThresholds: quantiles.thresholds)
    }

    /// - Throws: `SnapshotMismatch` when the image was made with another configuration.
    init(
        image: Image, settings: EngineSettings, slots: UnsafeRawBufferPointer, longKeys: UnsafeRawBufferPointer,
        landmarks: UnsafeRawBufferPointer
    ) throws {
        let fresh = StreamQuantiles(quantiles: settings.segmentQuantiles)
        guard image.evictionHand >= 0, image.quantileCounts.count == 4 * fresh.counts.count,
            image.quantileThresholds.count == fresh.thresholds.count
        else { throw SnapshotMismatch("the state of partition \(image.id) does not fit its own description") }
        try image.check(settings)
        id = image.id
        self.settings = settings
        users = try UserTable(layout: settings.userLayout, image: image.users, slots: slots, longKeys: longKeys)
        pool = try LandmarkPool(
            layout: settings.landmarkLayout, most: max(1024, settings.configuration.learning.maxLandmarks),
            binEnds: settings.targetTable.binEnds, image: image.pool, bytes: landmarks)
        quantiles = StreamQuantiles(
            quantiles: settings.segmentQuantiles,
            counts: Array(unsafeUninitializedCapacity: StreamQuantiles.cells) { counts, n in
                n = image.quantileCounts.copyBytes(to: counts) / 4
            }, total: image.quantileTotal,
            sinceRenewal: image.quantileRenewal, thresholds: image.quantileThresholds)
        scratch = settings.makeScratch()
        pendingEvents = .allocate(capacity: Scratch.rows)
        pendingRecords = .allocate(capacity: Scratch.rows)
        watermark = image.watermark
        timerHour = image.timerHour
        scoredHour = image.scoredHour
        nextOffset = image.nextOffset
        evictionHand = image.evictionHand
        counters = image.counters
        let check = StateCheck(settings: settings, partition: id)
        try check.check(users, pool)
        try check.check(pool, users)
    }
}
