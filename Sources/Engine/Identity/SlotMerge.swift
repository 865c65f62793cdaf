import Glibc

/// Puts what is held of an alias into the slot of its customer, as if all its events had been the customer's.
///
/// Exact are counts, money (but for rounding), windows, the latest events, and the times of first and last. Orders are put
/// in order by their day. Days with events or purchases are counted once as far as both ids show them: in their latest 16
/// events and in the panes of the last seven days; an older day on which both were active counts twice. An order that both
/// have is one order, in totals; windows have it twice until it leaves them. Of event ids, the latest four of each are kept.
struct SlotMerge {
    let layout: UserLayout
    /// Whether an order that comes again takes the place of the former; else it brings further lines.
    let isOrderWhole: Bool

    /// - Parameters:
    ///   - from: slot of the alias; afterwards it is to be removed.
    ///   - into: slot of the customer.
    func merge(_ from: UserSlot, into: UserSlot) {
        mergeDays(from, into)
        mergePanes(from, into)
        mergeOrders(from, into)
        mergeRings(from, into)
        mergeIDs(from, into)
        mergeBoundary(from, into)
        mergeHeader(from, into)
    }

    /// Gives a fresh slot all that another holds, but its id.
    func move(_ from: UserSlot, into: UserSlot) {
        let (a, u) = (from.header.pointee, into.header.pointee)
        into.header.pointee = a
        into.header.pointee.identity = u.identity
        into.header.pointee.keyLength = u.keyLength
        into.header.pointee.landmark = 0
        memcpy(into + layout.dedupLow, from + layout.dedupLow, layout.size - layout.dedupLow)
    }

    // MARK: Totals

    private func mergeHeader(_ from: UserSlot, _ into: UserSlot) {
        let (a, u) = (from.header.pointee, into.header)
        func earlier(_ x: UInt32, _ y: UInt32) -> UInt32 { x == 0 ? y : y == 0 ? x : min(x, y) }
        // The session that goes on is that of the later one.
        if a.lastEventMs > u.pointee.lastEventMs { u.pointee.session = a.session }
        u.pointee.dayEvents = dayEvents(a, u.pointee)
        u.pointee.flags |= a.flags & UserHeader.latePurchase
        u.pointee.lastEventMs = max(u.pointee.lastEventMs, a.lastEventMs)
        u.pointee.valueToDate += a.valueToDate
        u.pointee.firstSeen = earlier(u.pointee.firstSeen, a.firstSeen)
        u.pointee.firstPurchase = earlier(u.pointee.firstPurchase, a.firstPurchase)
        u.pointee.lastPurchase = max(u.pointee.lastPurchase, a.lastPurchase)
        u.pointee.browses &+= a.browses
        u.pointee.views &+= a.views
        u.pointee.carts &+= a.carts
        u.pointee.checkouts &+= a.checkouts
        u.pointee.purchases &+= a.purchases
        u.pointee.events &+= a.events
        u.pointee.alerts = UInt8(min(255, Int(u.pointee.alerts) + Int(a.alerts)))
        // The team has heard of this person: what was raised for either counts for the pause between two alerts. The
        // alert that stands keeps its own time, which its id is made of.
        if u.pointee.flags & UserHeader.alertRaised == 0 {
            u.pointee.alertRaisedAt = max(u.pointee.alertRaisedAt, a.alertRaisedAt)
        }
    }

    /// Events on the later of the days of both.
    private func dayEvents(_ a: UserHeader, _ u: UserHeader) -> UInt16 {
        if a.lastActiveDay != u.lastActiveDay {
            return a.lastActiveDay > u.lastActiveDay ? a.dayEvents : u.dayEvents
        }
        let (sum, overflow) = a.dayEvents.addingReportingOverflow(u.dayEvents)
        return overflow ? .max : sum
    }

    // MARK: Days

    /// Days of both that are seen in both slots count once.
    private func mergeDays(_ from: UserSlot, _ into: UserSlot) {
        let (a, u) = (ActiveDays(from, layout), ActiveDays(into, layout))
        let (h, c) = (from.header.pointee, into.header)
        func sum(_ x: UInt16, _ y: UInt16, less common: Int) -> UInt16 {
            UInt16(clamping: max(Int(max(x, y)), Int(x) + Int(y) - common))
        }
        c.pointee.daysActive = sum(
            c.pointee.daysActive, h.daysActive, less: a.events.intersection(u.events).count)
        c.pointee.purchaseDays = sum(
            c.pointee.purchaseDays, h.purchaseDays, less: a.purchases.intersection(u.purchases).count)
    }

    /// Days (UTC, since 1970) that a slot shows.
    private struct ActiveDays {
        var events: Set<UInt32> = []
        var purchases: Set<UInt32> = []

        init(_ slot: UserSlot, _ layout: UserLayout) {
            let h = slot.header.pointee
            for event in RingEvent.all(slot, layout) {
                events.insert(event.time / Clock.secondsPerDay)
                if event.isPurchase { purchases.insert(event.time / Clock.secondsPerDay) }
            }
            for second in [h.firstSeen, UInt32(clamping: h.lastEventMs / 1000)] where second != 0 {
                events.insert(second / Clock.secondsPerDay)
            }
            for second in [h.firstPurchase, h.lastPurchase] where second != 0 {
                purchases.insert(second / Clock.secondsPerDay)
            }
            Panes(slot + layout.panes).forEachDay(clock: h.paneClock) { day, hasOrders in
                events.insert(day)
                if hasOrders { purchases.insert(day) }
            }
        }
    }

    // MARK: Windows

    private func mergePanes(_ from: UserSlot, _ into: UserSlot) {
        let (a, u) = (Panes(from + layout.panes), Panes(into + layout.panes))
        let (clockA, clockU) = (from.header.pointee.paneClock, into.header.pointee.paneClock)
        a.advance(from: clockA, to: clockU)
        u.advance(from: clockU, to: clockA)
        // At one clock, the same position is the same pane.
        u.add(a)
    }

    // MARK: Orders

    private func mergeOrders(_ from: UserSlot, _ into: UserSlot) {
        let u = into.header
        var all = OrderEntry.all(from, layout)
        for order in OrderEntry.all(into, layout) {
            guard let i = all.firstIndex(where: { $0.id == order.id }) else {
                all.append(order)
                continue
            }
            all.append(common(all.remove(at: i), order, u))
        }
        // By day; the alias was first where the day is the same. Swift's sort is stable.
        all = Array(all.sorted { $0.day < $1.day }.suffix(Orders.capacity))
        let orders = Orders(into, layout)
        for i in 0..<Orders.capacity {
            let order = i < all.count ? all[i] : OrderEntry()
            orders.id[i] = order.id
            orders.total[i] = order.total
            orders.refunded[i] = order.refunded
            orders.day[i] = order.day
            orders.rules?[i] = order.rules
        }
        u.pointee.orderNext = UInt8(all.count % Orders.capacity)
    }

    /// An order that came to both.
    private func common(
        _ a: OrderEntry, _ b: OrderEntry, _ u: UnsafeMutablePointer<UserHeader>
    ) -> OrderEntry {
        u.pointee.purchases &-= 1
        var one = a.day > b.day ? a : b
        let other = a.day > b.day ? b : a
        one.rules |= other.rules
        if isOrderWhole {
            // The later takes the place of the earlier, and what was given back stays given back.
            let money = OrderMoney.amount(one.refunded) + OrderMoney.amount(other.refunded)
            one.refunded = OrderMoney.code(min(money, OrderMoney.amount(one.total)))
            let left = OrderMoney.amount(one.total) - OrderMoney.amount(one.refunded)
            u.pointee.valueToDate += left - a.remaining - b.remaining
        } else {
            one.total = OrderMoney.code(OrderMoney.amount(a.total) + OrderMoney.amount(b.total))
            one.refunded = OrderMoney.code(OrderMoney.amount(a.refunded) + OrderMoney.amount(b.refunded))
        }
        return one
    }

    private struct OrderEntry {
        var id: UInt32 = 0
        var total: UInt32 = 0
        var refunded: UInt32 = 0
        var day: UInt16 = 0
        var rules: UInt32 = 0

        var remaining: Double { max(0, OrderMoney.amount(total) - OrderMoney.amount(refunded)) }

        /// Those of a slot, the oldest first.
        static func all(_ slot: UserSlot, _ layout: UserLayout) -> [OrderEntry] {
            let orders = Orders(slot, layout)
            return (0..<Orders.capacity).compactMap { k in
                let i = (Int(slot.header.pointee.orderNext) + k) % Orders.capacity
                guard orders.id[i] != 0 else { return nil }
                return OrderEntry(
                    id: orders.id[i], total: orders.total[i], refunded: orders.refunded[i], day: orders.day[i],
                    rules: orders.rules?[i] ?? 0)
            }
        }
    }

    // MARK: Latest events

    /// An event of a ring.
    private struct RingEvent {
        var time: UInt32
        var code: UInt16
        var amount: UInt16

        var isPurchase: Bool { code >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) }

        /// Those of a slot, the oldest first.
        static func all(_ slot: UserSlot, _ layout: UserLayout) -> [RingEvent] {
            let (h, ring) = (slot.header.pointee, EventRing(slot, layout))
            return (0..<Int(h.ringCount)).map { k in
                let i = (Int(h.ringStart) + k) % EventRing.capacity
                return RingEvent(time: ring.time[i], code: ring.code[i], amount: ring.amount[i])
            }
        }
    }

    private func mergeRings(_ from: UserSlot, _ into: UserSlot) {
        let (a, u) = (from.header.pointee, into.header)
        // By time; of one second, the alias was first.
        let all = (RingEvent.all(from, layout) + RingEvent.all(into, layout)).sorted { $0.time < $1.time }
        let kept = all.suffix(EventRing.capacity)
        u.pointee.purchaseBeforeRing = max(u.pointee.purchaseBeforeRing, a.purchaseBeforeRing)
        if a.evictedTime > u.pointee.evictedTime {
            (u.pointee.evictedTime, u.pointee.evictedCode) = (a.evictedTime, a.evictedCode)
        }
        for event in all.dropLast(kept.count) {
            if event.isPurchase { u.pointee.purchaseBeforeRing = max(u.pointee.purchaseBeforeRing, event.time) }
            if event.time >= u.pointee.evictedTime {
                (u.pointee.evictedTime, u.pointee.evictedCode) = (event.time, event.code)
            }
        }
        let ring = EventRing(into, layout)
        for (i, event) in kept.enumerated() {
            (ring.time[i], ring.code[i], ring.amount[i]) = (event.time, event.code, event.amount)
        }
        (u.pointee.ringStart, u.pointee.ringCount) = (0, UInt8(kept.count))
    }

    /// Latest four of each, or more where the other has fewer. By turns, so that none pushes the other out.
    private func mergeIDs(_ from: UserSlot, _ into: UserSlot) {
        let ids = EventIDs(into, layout)
        let (a, b) = (EventIDs(from, layout).newest, ids.newest)
        var kept: [UInt64] = []
        for k in 0..<UserLayout.dedupCount {
            if k < b.count { kept.append(b[k]) }
            if k < a.count { kept.append(a[k]) }
        }
        for id in kept.prefix(UserLayout.dedupCount).reversed() { ids.insert(id) }
    }

    /// The state that the latest events are to be stepped from: none while they are all there are, else that of whoever has
    /// the longer past.
    private func mergeBoundary(_ from: UserSlot, _ into: UserSlot) {
        let (a, u) = (from.header.pointee, into.header)
        if Int(a.events) + Int(u.pointee.events) <= Int(u.pointee.ringCount) {
            memset(into + layout.boundary, 0, layout.stateBytes)
        } else if a.events > u.pointee.events {
            memcpy(into + layout.boundary, from + layout.boundary, layout.stateBytes)
        }
        u.pointee.sinceBoundary = u.pointee.ringCount
    }
}
