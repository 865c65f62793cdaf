/// What state format 6 kept otherwise, so that its snapshots are read: the slots of users, which knew two orders.
enum Format6 {
    /// The head of a slot, in its old order.
    private struct Header {
        var lastEventMs: Int64
        var valueToDate: Double
        var firstSeen: UInt32
        var firstPurchase: UInt32
        var lastPurchase: UInt32
        var browses: UInt32
        var views: UInt32
        var carts: UInt32
        var checkouts: UInt32
        var purchases: UInt32
        var events: UInt32
        var identity: UInt32
        var landmark: UInt32
        var paneClock: Int32
        var lastValue: Float
        var lastChurn: Float
        var orderA: UInt32
        var orderB: UInt32
        var orderAmount: Float
        var orderBAmount: Float
        var orderARules: UInt32
        var orderBRules: UInt32
        var session: UInt32
        var alertRaisedAt: UInt32
        var evictedTime: UInt32
        var purchaseBeforeRing: UInt32
        var evictedCode: UInt16
        var daysActive: UInt16
        var purchaseDays: UInt16
        var lastActiveDay: UInt16
        var keyLength: UInt16
        var ringCount: UInt8
        var ringStart: UInt8
        var sinceBoundary: UInt8
        var dedupNext: UInt8
        var flags: UInt8
        var alerts: UInt8
    }

    /// The slots of a user table in the present layout, to be deallocated.
    /// - Parameter image: of the table; describes the present layout afterwards.
    /// - Throws: `SnapshotMismatch` when the bytes do not fit the description.
    static func slots(
        _ old: UnsafeRawBufferPointer, _ image: inout UserTable.Image, _ settings: EngineSettings
    ) throws -> UnsafeMutableRawBufferPointer {
        let layout = settings.userLayout
        // header | key, ring of event ids, event ring | panes, states; the last two pieces are what they were.
        let (header, rings) = (MemoryLayout<Header>.stride, layout.orderID - layout.key)
        let panes = Panes.bytes + 2 * layout.stateBytes
        let size = (header + rings + panes + 7) / 8 * 8
        guard image.slotBytes == size, old.count.isMultiple(of: size), image.slotCount == old.count / size else {
            throw SnapshotMismatch("the user table does not fit its own description")
        }
        image.slotBytes = layout.size
        let new = UnsafeMutableRawBufferPointer.allocate(byteCount: image.slotCount * layout.size, alignment: 8)
        new.initializeMemory(as: UInt8.self, repeating: 0)
        for i in 0..<image.slotCount {
            let source = old.baseAddress! + i * size
            let slot = new.baseAddress! + i * layout.size
            let h = source.loadUnaligned(as: Header.self)
            slot.header.initialize(to: Format6.header(h))
            (slot + layout.key).copyMemory(from: source + header, byteCount: rings)
            (slot + layout.panes).copyMemory(from: source + header + rings, byteCount: panes)
            addOrders(of: h, to: slot, settings)
        }
        return new
    }

    private static func header(_ h: Header) -> UserHeader {
        var new = UserHeader()
        (new.lastEventMs, new.valueToDate) = (h.lastEventMs, h.valueToDate)
        (new.firstSeen, new.firstPurchase, new.lastPurchase) = (h.firstSeen, h.firstPurchase, h.lastPurchase)
        (new.browses, new.views, new.carts, new.checkouts) = (h.browses, h.views, h.carts, h.checkouts)
        (new.purchases, new.events, new.identity, new.landmark) = (h.purchases, h.events, h.identity, h.landmark)
        (new.lastValue, new.lastChurn) = (h.lastValue, h.lastChurn)
        (new.session, new.alertRaisedAt, new.alerts) = (h.session, h.alertRaisedAt, h.alerts)
        (new.evictedTime, new.evictedCode) = (h.evictedTime, h.evictedCode)
        new.purchaseBeforeRing = h.purchaseBeforeRing
        (new.daysActive, new.purchaseDays, new.keyLength) = (h.daysActive, h.purchaseDays, h.keyLength)
        (new.ringCount, new.ringStart, new.sinceBoundary) = (h.ringCount, h.ringStart, h.sinceBoundary)
        (new.dedupNext, new.flags) = (h.dedupNext, h.flags)
        return new
    }

    /// The latest order last. When its last line came was not kept; it was not after the last purchase.
    private static func addOrders(of h: Header, to slot: UserSlot, _ settings: EngineSettings) {
        let orders = Orders(slot, settings.userLayout)
        let day = UInt16(h.lastPurchase / Clock.secondsPerDay)
        let categoryRules = settings.activity.orders.categoryRules
        for (id, amount, rules) in [
            (h.orderB, h.orderBAmount, h.orderBRules), (h.orderA, h.orderAmount, h.orderARules),
        ] where id != 0 && amount >= 0 && amount.isFinite {
            orders.begin(id, total: Double(amount), day: day, rules: rules & categoryRules)
        }
    }
}
