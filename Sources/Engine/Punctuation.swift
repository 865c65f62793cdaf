import CEventParser

/// Event time of one task: how far it has come, and which idle ticks are to be replayed.
struct TaskClock {
    /// How far the event times of customers have come.
    var stream = StreamTime()
    /// The same less the allowed lateness, ms; `Int64.min` before the first event.
    var watermark = Int64.min
    /// Last full hour whose timers have run; `Int64.min` before the first event.
    var timerHour = Int64.min
    /// Last full hour whose silent users were scored; idle ticks take it ahead of `timerHour`.
    var scoredHour = Int64.min
    /// Idle ticks that were published before a restart, ascending. Each is scored again at its place among the
    /// records, without being published again.
    var idleTicks: ArraySlice<IdleTick> = []
    /// Offset of the record before which the next of them came.
    var nextIdleTickBefore = Int64.max

    /// See `Engine.clock`.
    var now: Int64? {
        let known = idleTicks.last?.clock ?? .min
        guard watermark != .min else { return known == .min ? nil : known }
        return max(watermark, scoredHour * Clock.hour, known)
    }
}

/// The work that a task may still do for passing hours before it returns to the engine's caller. Hours are never
/// divided, so that a slice takes up to an hour's work more.
struct Slice {
    /// Units of work: one for each predicted user, and one for so many slots that are looked at.
    static let slotsPerUnit = 64
    /// Units of a slice, at 2 to 10 µs each (a prediction by the standard model): a second or two. Groups allow minutes
    /// between two polls.
    static let standard = 200_000

    private var left: Int

    init(work: Int) { left = max(1, work) }

    var isLeft: Bool { left > 0 }

    @inline(__always)
    mutating func spend(_ units: Int) { left -= units }
}

// What happens as event time passes, without a record of the users concerned: timers of full hours, which the
// watermark sets off, and idle ticks, which an idle stream's owner sets off.
extension PartitionTask {
    /// One full hour: whose turn it is, and what is done for them.
    private struct Visit {
        let hour: Int64
        /// `hour` in steps of `rescoreHours`.
        let turn: Int64
        /// Whether silent users are scored.
        let scores: Bool
        /// Whether landmarks of the grid are made and idle users evicted. Idle ticks do neither.
        let runsTimers: Bool
    }

    /// Moves the watermark to `time`, ms. A new hour runs the timers of every full hour up to and with it: silent
    /// users are scored, landmarks of the grid made, idle users evicted.
    /// - Parameter record: what outputs are attributed to.
    /// - Returns: false when the slice's work is spent before the last of those hours: the watermark has not moved, and
    ///   another call goes on with the hours that are left.
    func advanceWatermark(to time: Int64, record: UInt32, _ model: ServingModel) -> Bool {
        let hour = Clock.index(time, per: Clock.hour)
        if clock.timerHour == .min {
            clock.timerHour = hour
            clock.scoredHour = max(clock.scoredHour, hour)
        } else if hour > clock.timerHour {
            flush(model)
            currentRecord = record
            guard runTimers(through: hour, model) else { return false }
        }
        clock.watermark = time
        return true
    }

    /// - Returns: whether all of them have run.
    private func runTimers(through hour: Int64, _ model: ServingModel) -> Bool {
        while clock.timerHour < hour {
            guard slice.isLeft else { return false }
            // Hours without users do nothing.
            let next = users.userCount == 0 ? hour : clock.timerHour + 1
            visit(hour: next, scores: next > clock.scoredHour, runsTimers: true, model)
            clock.timerHour = next
            clock.scoredHour = max(clock.scoredHour, next)
        }
        return true
    }

    // MARK: Idle ticks

    /// Advances the clock of an idle stream: silent users are scored, nothing else happens.
    /// - Parameter work: most work, in units of `Slice`.
    /// - Returns: false when the work is spent before that time: another call with the same time goes on.
    func tick(to time: Int64, work: Int, _ model: ServingModel) -> Bool {
        guard nextOffset >= firstUnpublishedOffset else { return true }
        slice = Slice(work: work)
        return replayIdleTicks(through: .max, model) && scoreSilence(through: time, muted: false, model)
    }

    /// Scores the idle ticks that were published before a restart, up to the record at `offset`, without publishing
    /// them again.
    /// - Returns: false when the slice's work is spent before: another call goes on.
    func replayIdleTicks(through offset: Int64, _ model: ServingModel) -> Bool {
        guard !clock.idleTicks.isEmpty else { return true }
        flush(model)
        while let tick = clock.idleTicks.first, tick.before <= offset {
            guard scoreSilence(through: tick.clock, muted: true, model) else { return false }
            clock.idleTicks.removeFirst()
        }
        clock.nextIdleTickBefore = clock.idleTicks.first?.before ?? .max
        return true
    }

    /// - Returns: false when the slice's work is spent before that time.
    private func scoreSilence(through time: Int64, muted mute: Bool, _ model: ServingModel) -> Bool {
        guard clock.timerHour != .min else { return true }
        let hour = Clock.index(time, per: Clock.hour)
        let before = (muted, currentRecord)
        (muted, currentRecord) = (mute, .max)
        defer { (muted, currentRecord) = before }
        while clock.scoredHour < hour {
            guard slice.isLeft else { return false }
            clock.scoredHour += 1
            visit(hour: clock.scoredHour, scores: true, runsTimers: false, model)
        }
        return true
    }

    // MARK: Users of an hour

    /// Visits the users whose turn it is: each has one in `rescoreHours`.
    private func visit(hour: Int64, scores: Bool, runsTimers: Bool, _ model: ServingModel) {
        let step = settings.rescoreHours
        let phase = Int(Clock.remainder(hour, per: Int64(step)))
        let visit = Visit(
            hour: hour, turn: Clock.index(hour, per: Int64(step)), scores: scores, runsTimers: runsTimers)
        let now = hour * Clock.hour
        slice.spend(1 + users.slotCount / step / Slice.slotsPerUnit)
        if runsTimers { forgetUnusedAliases(phase: phase, step: step, now: now) }
        var rows = 0
        for i in stride(from: phase, to: users.slotCount, by: step) {
            let h = users.slot(UInt32(i)).header
            guard h.pointee.flags & UserHeader.inUse != 0 else { continue }
            if runsTimers && now - h.pointee.lastEventMs > settings.retentionMs {
                evict(UInt32(i))
                counters.evictedIdle += 1
                continue
            }
            let isSampled =
                isDue(h, visit) && pool.admits(LandmarkWriter.gridPriority(h, hour: hour))
            guard isSampled || (scores && settings.alerts.watches(h)) else { continue }
            scratch.slots[rows] = UInt32(i)
            scratch.instants[rows] = max(now, h.pointee.lastEventMs)
            rows += 1
            if rows == Scratch.rows {
                score(rows, visit, model)
                rows = 0
            }
        }
        if rows > 0 { score(rows, visit, model) }
    }

    /// Whether a landmark of the grid falls on this turn of a user.
    @inline(__always)
    private func isDue(_ h: UnsafeMutablePointer<UserHeader>, _ visit: Visit) -> Bool {
        visit.runsTimers && (visit.turn + Int64(h.pointee.identity)) % Int64(settings.landmarkTurns) == 0
    }

    /// Predicts `rows` silent users of the scratch: alerts and landmarks.
    private func score(_ rows: Int, _ visit: Visit, _ model: ServingModel) {
        slice.spend(rows)
        for r in 0..<rows {
            settings.fill(scratch, row: r, with: users.slot(scratch.slots[r]), now: scratch.instants[r])
        }
        model.predict(scratch, rows: rows)
        for r in 0..<rows {
            let slotNumber = scratch.slots[r]
            let slot = users.slot(slotNumber)
            let h = slot.header
            let row = scratch.predictions + r * settings.targetTable.cells
            if visit.scores && model.version > 0 && settings.alerts.watches(h) {
                let churn = settings.alerts.churn.value(row)
                alert(slot, r, value: settings.segmentReading.value(row), churn: churn, source: nil, model)
                h.pointee.lastChurn = churn
                h.pointee.flags |= UserHeader.scored
                counters.rescored += 1
            }
            if isDue(h, visit) {
                addLandmark(r, slotNumber, priority: LandmarkWriter.gridPriority(h, hour: visit.hour), model)
            }
        }
    }
}
