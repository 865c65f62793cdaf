import CEventParser
import CKernels
import Glibc

/// What one event means for the orders of its user.
struct OrderLine {
    /// Hash of the order's id; 0 when the event has none.
    var order: UInt32
    var isPurchase: Bool
    /// Whether the event is a further line of one of the user's last two orders.
    var continues: Bool
    /// What the event adds to the user's value, base currency; negative for a refund that is subtracted.
    var money: Double
    /// Label rules that the event matches (a bit each).
    var rules: UInt32
    /// Those of them for which no earlier line of the order has counted.
    var newRules: UInt32
}

/// Counts one event into the state of its user: windows, totals, orders, session and event ring. Everything but
/// the recurrent state.
struct UserActivity {
    let layout: UserLayout
    /// Without a session id, a gap longer than this opens a new session, ms.
    let sessionGapMs: Int64
    let subtractRefunds: Bool
    let categoryBuckets: Int

    /// Reads the event as a line of an order. Changes nothing; to be called before `count`.
    /// - Parameter rules: label rules that the event matches (a bit each).
    @inline(__always)
    func orderLine(
        _ h: UnsafeMutablePointer<UserHeader>, _ event: UnsafePointer<clvd_event>, rules: UInt32
    ) -> OrderLine {
        let e = event.pointee
        let isPurchase = e.type == EventType.purchase.rawValue
        let isRefund = e.type == EventType.refund.rawValue
        let order = UInt32(truncatingIfNeeded: e.order_hash)
        let continues = isPurchase && order != 0 && (order == h.pointee.orderA || order == h.pointee.orderB)
        let money = isPurchase ? e.amount : isRefund && subtractRefunds ? -e.amount : 0
        let known = !continues ? 0 : order == h.pointee.orderA ? h.pointee.orderARules : h.pointee.orderBRules
        return OrderLine(
            order: order, isPurchase: isPurchase, continues: continues, money: money, rules: rules,
            newRules: rules & ~known)
    }

    /// Counts an event and appends it to the event ring.
    /// - Parameter now: ms; the event's time, but not before the user's last event.
    /// - Returns: the event as stored.
    func count(
        _ event: UnsafePointer<clvd_event>, _ line: OrderLine, in slot: UserSlot, now: Int64
    ) -> StoredEvent {
        let h = slot.header
        let e = event.pointee
        let seconds = UInt32(clamping: now / 1000)
        let first = h.pointee.events == 0
        let opensSession = opensSession(h, e.session_hash, first: first, now: now)
        let pane = Panes.index(now)
        let panes = Panes(slot + layout.panes)
        if first {
            h.pointee.firstSeen = seconds
            h.pointee.paneClock = pane
        } else if pane > h.pointee.paneClock {
            panes.advance(from: h.pointee.paneClock, to: pane)
            h.pointee.paneClock = pane
        }
        if line.isPurchase { countPurchase(h, line, amount: Float(e.amount), seconds: seconds) }
        let stage = FunnelStage.code(ofType: e.type)
        panes.add(
            pane: Panes.index(e.time_ms), clock: h.pointee.paneClock, stage: stage, money: Float(line.money),
            orderTotal: line.isPurchase ? h.pointee.orderAmount : -1, continues: line.continues)
        countTotals(h, stage: stage, money: line.money, first: first, now: now)
        let code =
            EventType.embedded(e.type) << EventRing.typeShift | (opensSession ? EventRing.sessionBit : 0)
            | StepInputs.bucket(category: e.category_hash, buckets: categoryBuckets)
        let stored = StoredEvent(time: seconds, code: code, amount: clvd_half_of_float(log1pf(Float(abs(e.amount)))))
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
    private func countPurchase(
        _ h: UnsafeMutablePointer<UserHeader>, _ line: OrderLine, amount: Float, seconds: UInt32
    ) {
        if line.continues {
            if line.order != h.pointee.orderA {
                swap(&h.pointee.orderA, &h.pointee.orderB)
                swap(&h.pointee.orderAmount, &h.pointee.orderBAmount)
                swap(&h.pointee.orderARules, &h.pointee.orderBRules)
            }
            h.pointee.orderAmount += amount
            h.pointee.orderARules |= line.rules
        } else {
            h.pointee.orderBAmount = h.pointee.orderAmount
            h.pointee.orderAmount = amount
            h.pointee.orderBRules = h.pointee.orderARules
            h.pointee.orderARules = line.rules
            h.pointee.orderB = h.pointee.orderA
            h.pointee.orderA = line.order
            h.pointee.purchases &+= 1
        }
        if h.pointee.firstPurchase == 0 { h.pointee.firstPurchase = seconds }
        if seconds / Clock.secondsPerDay != h.pointee.lastPurchase / Clock.secondsPerDay {
            h.pointee.purchaseDays &+= 1
        }
        h.pointee.lastPurchase = seconds
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
        h.pointee.lastEventMs = now
        let day = UInt16(clamping: now / Clock.day)
        if first || day != h.pointee.lastActiveDay {
            h.pointee.daysActive &+= 1
            h.pointee.lastActiveDay = day
        }
    }
}
