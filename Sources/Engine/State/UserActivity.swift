import CEventParser
import CKernels
import Glibc

/// Counts one event into the state of its user: windows, totals, orders, session and event ring. Everything but
/// the recurrent state.
struct UserActivity {
    let layout: UserLayout
    /// Without a session id, a gap longer than this opens a new session, ms.
    let sessionGapMs: Int64
    let orders: OrderRules
    let categoryBuckets: Int

    /// Counts an event and appends it to the event ring.
    /// - Parameters:
    ///   - now: ms; the event's time, but not before the user's last event.
    ///   - isLate: whether it is older than the watermark.
    /// - Returns: the event as stored.
    func count(
        _ event: UnsafePointer<clvd_event>, _ record: OrderRecord, in slot: UserSlot, now: Int64, isLate: Bool
    ) -> StoredEvent {
        let h = slot.header
        let e = event.pointee
        let seconds = UInt32(clamping: now / 1000)
        let first = h.pointee.events == 0
        let opensSession = opensSession(h, e.session_hash, first: first, now: now)
        // What was passed on by another partition may be behind at any time.
        let isPassedOn = e.flags & UInt8(clvd_flag_passed_on.rawValue) != 0
        let isBehind = (isLate || isPassedOn) && e.time_ms < now
        if isBehind { countLate(h, record, Orders(slot, layout), time: e.time_ms) }
        orders.count(slot, record, time: e.time_ms)
        let pane = Panes.index(now)
        let panes = Panes(slot + layout.panes)
        if first {
            h.pointee.firstSeen = seconds
        } else {
            panes.advance(from: h.pointee.paneClock, to: pane)
        }
        if record.isPurchase && !record.isRepeat && !isBehind {
            countPurchase(h, isNew: !record.continues, seconds: seconds)
        }
        let stage = FunnelStage.code(ofType: e.type)
        panes.add(
            pane: Panes.index(e.time_ms), clock: pane, stage: stage, money: Float(record.money),
            orderTotal: record.isPurchase && !(record.isRepeat && record.money == 0) ? Float(record.total) : -1,
            continues: record.continues)
        countTotals(h, stage: stage, money: record.money, first: first, now: now)
        // An order that comes again is no purchase to the model, only its change of money is news.
        let type = record.isRepeat ? EventType.other.rawValue : e.type
        let amount = record.isRepeat || e.amount == 0 ? record.money : e.amount
        let code =
            EventType.embedded(type) << EventRing.typeShift | (opensSession ? EventRing.sessionBit : 0)
            | StepInputs.bucket(category: e.category_hash, buckets: categoryBuckets)
        let stored = StoredEvent(time: seconds, code: code, amount: clvd_half_of_float(log1pf(Float(abs(amount)))))
        EventRing(slot, layout).push(h, time: stored.time, code: stored.code, amount: stored.amount)
        h.pointee.sinceBoundary += 1
        return stored
    }

    /// Code of the newest event in the ring; 0 when there is none.
    @inline(__always)
    func lastCode(_ slot: UserSlot) -> UInt16 {
        let h = slot.header.pointee
        guard h.ringCount > 0 else { return 0 }
        let at = (Int(h.ringStart) + Int(h.ringCount) - 1) % UserLayout.ringCount
        return slot.at(layout.ringCode, as: UInt16.self)[at]
    }

    /// Whether an event opens a session: its session id is new, or, without an id, the gap before it is long.
    @inline(__always)
    private func opensSession(
        _ h: UnsafeMutablePointer<UserHeader>, _ sessionHash: UInt64, first: Bool, now: Int64
    ) -> Bool {
        guard sessionHash != 0 else { return first || now - h.pointee.lastEventMs > sessionGapMs }
        let session = UInt32(truncatingIfNeeded: sessionHash)
        defer { h.pointee.session = session }
        return session != h.pointee.session
    }

    @inline(__always)
    private func countPurchase(_ h: UnsafeMutablePointer<UserHeader>, isNew: Bool, seconds: UInt32) {
        if isNew { h.pointee.purchases &+= 1 }
        if h.pointee.firstPurchase == 0 { h.pointee.firstPurchase = seconds }
        if seconds / Clock.secondsPerDay != h.pointee.lastPurchase / Clock.secondsPerDay {
            h.pointee.purchaseDays &+= 1
        }
        h.pointee.lastPurchase = seconds
        h.pointee.flags &= ~UserHeader.latePurchase
    }

    @inline(__always)
    private func countTotals(
        _ h: UnsafeMutablePointer<UserHeader>, stage: UInt8, money: Double, first: Bool, now: Int64
    ) {
        switch stage {
        case 0: h.pointee.browses &+= 1
        case 1: h.pointee.views &+= 1
        case 2: h.pointee.carts &+= 1
        case 3: h.pointee.checkouts &+= 1
        default: break
        }
        h.pointee.events &+= 1
        h.pointee.valueToDate += money
        let day = h.pointee.lastActiveDay
        h.pointee.lastEventMs = now
        if first || day != h.pointee.lastActiveDay {
            h.pointee.daysActive &+= 1
            h.pointee.dayEvents = 1
        } else if h.pointee.dayEvents < .max {
            h.pointee.dayEvents += 1
        }
    }
}
