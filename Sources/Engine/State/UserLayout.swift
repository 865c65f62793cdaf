/// The fixed head of a user's slot. Times are seconds since 1970 unless the name says otherwise; 0 means never.
struct UserHeader {
    var lastEventMs: Int64 = 0
    /// Net money of all purchases (refunds subtracted where configured), base currency.
    var valueToDate: Double = 0
    var firstSeen: UInt32 = 0
    var firstPurchase: UInt32 = 0
    var lastPurchase: UInt32 = 0
    /// Events by funnel stage over the lifetime; `purchases` counts orders.
    var browses: UInt32 = 0
    var views: UInt32 = 0
    var carts: UInt32 = 0
    var checkouts: UInt32 = 0
    var purchases: UInt32 = 0
    var events: UInt32 = 0
    /// Stable hash of the key: phase of the landmark grid, hold-out share, alert ids.
    var identity: UInt32 = 0
    /// Newest landmark of the user (sequence number in the pool), 0 when none.
    var landmark: UInt32 = 0
    /// CLV and churn probability of the latest update.
    var lastValue: Float = 0
    var lastChurn: Float = 0
    var session: UInt32 = 0
    var alertRaisedAt: UInt32 = 0
    /// Time and code of the event that left the ring last, and the last purchase before the ring.
    var evictedTime: UInt32 = 0
    var purchaseBeforeRing: UInt32 = 0
    var evictedCode: UInt16 = 0
    var daysActive: UInt16 = 0
    /// Days (UTC) with a purchase.
    var purchaseDays: UInt16 = 0
    /// Bytes of the key.
    var keyLength: UInt16 = 0
    var ringCount: UInt8 = 0
    /// Position of the oldest event in the ring.
    var ringStart: UInt8 = 0
    /// Events stepped since the boundary state was kept.
    var sinceBoundary: UInt8 = 0
    /// `dedupNext` in the low four bits, `orderNext` in the high ones.
    var places: UInt8 = 0
    var flags: UInt8 = 0
    /// Alerts raised so far, at most 255.
    var alerts: UInt8 = 0
    /// Events while the latest was on the day that it is on.
    var dayEvents: UInt16 = 0

    /// Place of the next event id in `EventIDs`.
    var dedupNext: UInt8 {
        get { places & 0xF }
        set { places = places & 0xF0 | newValue & 0xF }
    }
    /// Place of the next order in `Orders`, which is that of the oldest.
    var orderNext: UInt8 {
        get { places >> 4 }
        set { places = places & 0xF | newValue << 4 }
    }
    /// Index of the pane of six hours that the panes stand at.
    var paneClock: Int32 { Panes.index(lastEventMs) }
    /// Day (UTC, since 1970) of the last event.
    var lastActiveDay: UInt16 { UserHeader.day(lastEventMs) }

    /// Day (UTC, since 1970) of an instant, ms.
    @inline(__always)
    static func day(_ ms: Int64) -> UInt16 { UInt16(clamping: ms / Clock.day) }

    static let inUse: UInt8 = 1
    static let alertRaised: UInt8 = 2
    static let scored: UInt8 = 4
    /// An event of the user waits for the batched step: two events of one user never share one. Never set between
    /// the engine's steps, so snapshots do not depend on them.
    static let pending: UInt8 = 8
    /// The alert that stands was withheld, so its clearing is not published either.
    static let alertWithheld: UInt8 = 16
    /// The latest purchase in the sequence of events is not that with the latest time: it came late.
    static let latePurchase: UInt8 = 32
}

/// Where everything of one user lies in its slot: one contiguous piece of memory, no pointers.
///
///     header | key | dedup ring | event ring | orders | panes | rolling state | boundary state
///
/// The recurrent state rests as h in 8 bits (h is in [-1, 1]) and c in half precision.
struct UserLayout: Equatable {
    static let keyBytes = 36
    static let dedupCount = 8
    static let ringCount = 16
    /// Orders that are remembered.
    static let orderCount = 8

    let units: Int
    let hasCell: Bool

    let key: Int
    let dedupLow: Int
    let dedupHigh: Int
    let ringTime: Int
    let ringCode: Int
    let ringAmount: Int
    let orderID: Int
    let orderTotal: Int
    let orderRefunded: Int
    /// nil where no target needs the label rules of orders.
    let orderRules: Int?
    let orderDay: Int
    let panes: Int
    let rolling: Int
    let boundary: Int
    /// Bytes of a state at rest.
    let stateBytes: Int
    /// Bytes of a slot, a multiple of 8.
    let size: Int

    /// Of slots that hold nothing but an id and, at `rolling`, so many bytes.
    init(linkBytes: Int) {
        (units, hasCell, orderRules, stateBytes) = (0, false, nil, linkBytes)
        key = MemoryLayout<UserHeader>.size
        let end = (key + UserLayout.keyBytes + 7) / 8 * 8
        (dedupLow, dedupHigh, ringTime, ringCode, ringAmount) = (end, end, end, end, end)
        (orderID, orderTotal, orderRefunded, orderDay, panes) = (end, end, end, end, end)
        rolling = end
        (boundary, size) = (end + linkBytes, (end + linkBytes + 7) / 8 * 8)
    }

    /// - Parameter hasOrderRules: whether later lines of an order may count for a target (`OrderRules.categoryRules`).
    init(units: Int, hasCell: Bool, hasOrderRules: Bool = false) {
        self.units = units
        self.hasCell = hasCell
        var at = MemoryLayout<UserHeader>.size
        func place(_ bytes: Int, align: Int) -> Int {
            at = (at + align - 1) / align * align
            defer { at += bytes }
            return at
        }
        stateBytes = units + (hasCell ? 2 * units : 0)
        key = place(UserLayout.keyBytes, align: 4)
        dedupLow = place(4 * UserLayout.dedupCount, align: 4)
        dedupHigh = place(2 * UserLayout.dedupCount, align: 2)
        ringTime = place(4 * UserLayout.ringCount, align: 4)
        ringCode = place(2 * UserLayout.ringCount, align: 2)
        ringAmount = place(2 * UserLayout.ringCount, align: 2)
        orderID = place(4 * UserLayout.orderCount, align: 4)
        orderTotal = place(4 * UserLayout.orderCount, align: 4)
        orderRefunded = place(4 * UserLayout.orderCount, align: 4)
        orderRules = hasOrderRules ? place(4 * UserLayout.orderCount, align: 4) : nil
        orderDay = place(2 * UserLayout.orderCount, align: 2)
        panes = place(Panes.bytes, align: 4)
        rolling = place(stateBytes, align: 2)
        boundary = place(stateBytes, align: 2)
        size = (at + 7) / 8 * 8
    }
}

typealias UserSlot = UnsafeMutableRawPointer

extension UnsafeMutableRawPointer {
    /// The head of the slot this pointer is at.
    @inline(__always)
    var header: UnsafeMutablePointer<UserHeader> { assumingMemoryBound(to: UserHeader.self) }

    @inline(__always)
    func at<T>(_ offset: Int, as type: T.Type) -> UnsafeMutablePointer<T> {
        (self + offset).assumingMemoryBound(to: type)
    }
}
