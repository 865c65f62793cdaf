// Events that came so late that the customer has done something since, and that were older than the watermark. They count
// at their own time. In the sequence that the recurrent state sees they are where they came.
extension UserActivity {
    /// Counts what depends on when an event was: beginnings and purchases. Days with an event are not counted on, as it is
    /// not known which days had one.
    /// - Parameters:
    ///   - orders: before the event is counted.
    ///   - time: its own, ms, before the customer's latest event.
    func countLate(_ h: UnsafeMutablePointer<UserHeader>, _ record: OrderRecord, _ orders: Orders, time: Int64) {
        let seconds = UInt32(clamping: time / 1000)
        h.pointee.firstSeen = min(h.pointee.firstSeen, seconds)
        guard record.isPurchase && !record.isRepeat else { return }
        if !record.continues { h.pointee.purchases &+= 1 }
        let day = Orders.day(time)
        if h.pointee.lastPurchase == 0 || seconds / Clock.secondsPerDay > h.pointee.lastPurchase / Clock.secondsPerDay
            || (record.order != 0 && !orders.hasOne(on: day) && !isDay(day, of: h.pointee.lastPurchase)
                && !isDay(day, of: h.pointee.firstPurchase))
        {
            h.pointee.purchaseDays &+= 1
        }
        h.pointee.firstPurchase = h.pointee.firstPurchase == 0 ? seconds : min(h.pointee.firstPurchase, seconds)
        h.pointee.lastPurchase = max(h.pointee.lastPurchase, seconds)
        h.pointee.flags |= UserHeader.latePurchase
    }

    private func isDay(_ day: UInt16, of seconds: UInt32) -> Bool { UInt32(day) == seconds / Clock.secondsPerDay }

    /// When the latest purchase in the sequence of events came, s; 0: never.
    @inline(__always)
    func lastPurchase(_ slot: UserSlot) -> UInt32 {
        let h = slot.header
        return h.pointee.flags & UserHeader.latePurchase == 0 ? h.pointee.lastPurchase : purchaseOfSequence(slot)
    }

    private func purchaseOfSequence(_ slot: UserSlot) -> UInt32 {
        let h = slot.header.pointee
        let ring = EventRing(slot, layout)
        for k in (0..<Int(h.ringCount)).reversed() {
            let at = (Int(h.ringStart) + k) % EventRing.capacity
            if ring.code[at] >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) { return ring.time[at] }
        }
        return h.purchaseBeforeRing
    }
}
