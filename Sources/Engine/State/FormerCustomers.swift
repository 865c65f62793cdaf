import Glibc

/// What stays known of a customer whose slot was needed: totals and times, enough for a forecast and to go on from when
/// the customer returns. No name: a seeded 64-bit hash of the key stands for it, which two of a billion customers share
/// with a chance of one in forty.
struct FormerCustomer {
    var hash: UInt64 = 0
    var valueToDate = 0.0
    /// Seconds since 1970.
    var lastEvent: UInt32 = 0
    var firstSeen: UInt32 = 0
    var firstPurchase: UInt32 = 0
    var lastPurchase: UInt32 = 0
    /// As in `UserHeader`.
    var landmark: UInt32 = 0
    var lastValue: Float = 0
    var alertRaisedAt: UInt32 = 0
    /// Counts stop at 65,535.
    var purchases: UInt16 = 0
    var events: UInt16 = 0
    var views: UInt16 = 0
    var daysActive: UInt16 = 0
    var purchaseDays: UInt16 = 0
    var flags: UInt8 = 0
    var alerts: UInt8 = 0

    static let keptFlags = UserHeader.inUse | UserHeader.alertRaised | UserHeader.alertWithheld

    init() {}

    init(_ h: UserHeader, hash: UInt64) {
        self.hash = hash
        valueToDate = h.valueToDate
        lastEvent = UInt32(clamping: h.lastEventMs / 1000)
        (firstSeen, firstPurchase, lastPurchase) = (h.firstSeen, h.firstPurchase, h.lastPurchase)
        (landmark, lastValue, alertRaisedAt) = (h.landmark, h.lastValue, h.alertRaisedAt)
        (purchases, events) = (UInt16(clamping: h.purchases), UInt16(clamping: h.events))
        (views, daysActive, purchaseDays) = (UInt16(clamping: h.views), h.daysActive, h.purchaseDays)
        (flags, alerts) = (h.flags & Self.keptFlags, h.alerts)
    }

    /// Puts what is known into a zeroed slot's head.
    func restore(_ h: UnsafeMutablePointer<UserHeader>) {
        h.pointee.valueToDate = valueToDate
        h.pointee.lastEventMs = Int64(lastEvent) * 1000
        (h.pointee.firstSeen, h.pointee.firstPurchase, h.pointee.lastPurchase) = (
            firstSeen, firstPurchase, lastPurchase
        )
        (h.pointee.landmark, h.pointee.lastValue, h.pointee.alertRaisedAt) = (landmark, lastValue, alertRaisedAt)
        (h.pointee.purchases, h.pointee.events) = (UInt32(purchases), UInt32(events))
        (h.pointee.views, h.pointee.daysActive, h.pointee.purchaseDays) = (UInt32(views), daysActive, purchaseDays)
        h.pointee.flags = flags | UserHeader.inUse
        h.pointee.alerts = alerts
    }
}

/// The former customers of a task: dense records and an open-addressing index over them. A record's place is its name
/// while it is held; landmarks of a former customer have it as their user, with `FormerCustomers.bit`.
struct FormerCustomers: ~Copyable {
    /// In a landmark's user: this and the place of the record.
    static let bit: UInt32 = 1 << 31
    /// User of landmarks that go on teaching though nothing is held of their user any more.
    static let gone = UserTable.none - 1
    /// Records looked at to find one to drop (see `PartitionTask.evictionProbes`).
    private static let probes = 64

    private(set) var records: UnsafeMutablePointer<FormerCustomer>
    /// Places ever used.
    private(set) var places = 0
    private var capacity = 0
    /// Places that were given back, last in first out.
    private var free: [UInt32] = []
    private var hand = 0
    /// place + 1; 0 is empty.
    private var index: [UInt32]

    var count: Int { places - free.count }

    init() {
        capacity = 16
        records = .allocate(capacity: capacity)
        index = [UInt32](repeating: 0, count: 32)
    }

    deinit { records.deallocate() }

    @inline(__always)
    private func home(_ hash: UInt64) -> Int { Int(hash.multipliedFullWidth(by: UInt64(index.count)).high) }

    /// The place of a customer's record; nil when there is none.
    func find(_ hash: UInt64) -> UInt32? {
        if count == 0 { return nil }
        var i = home(hash)
        while index[i] != 0 {
            let place = index[i] - 1
            if records[Int(place)].hash == hash { return place }
            i = i + 1 == index.count ? 0 : i + 1
        }
        return nil
    }

    /// - Returns: its place.
    mutating func add(_ record: FormerCustomer) -> UInt32 {
        if (count + 1) * 4 > index.count * 3 { rebuild(index.count * 2) }
        let place: UInt32
        if let reused = free.popLast() {
            place = reused
        } else {
            if places == capacity { grow() }
            place = UInt32(places)
            places += 1
        }
        records[Int(place)] = record
        link(place)
        return place
    }

    private mutating func grow() {
        capacity += capacity / 2
        let larger = UnsafeMutablePointer<FormerCustomer>.allocate(capacity: capacity)
        larger.update(from: records, count: places)
        records.deallocate()
        records = larger
    }

    private mutating func link(_ place: UInt32) {
        var i = home(records[Int(place)].hash)
        while index[i] != 0 { i = i + 1 == index.count ? 0 : i + 1 }
        index[i] = place + 1
    }

    private mutating func rebuild(_ size: Int) {
        index = [UInt32](repeating: 0, count: size)
        for place in 0..<places where records[place].flags != 0 { link(UInt32(place)) }
    }

    /// Forgets a record. Its bytes are overwritten with zeros.
    mutating func remove(_ place: UInt32) {
        var hole = home(records[Int(place)].hash)
        while index[hole] != place + 1 { hole = hole + 1 == index.count ? 0 : hole + 1 }
        var i = hole
        while true {
            i = i + 1 == index.count ? 0 : i + 1
            if index[i] == 0 { break }
            let home = home(records[Int(index[i] - 1)].hash)
            if (i - home + index.count) % index.count >= (i - hole + index.count) % index.count {
                index[hole] = index[i]
                hole = i
            }
        }
        index[hole] = 0
        records[Int(place)] = FormerCustomer()
        free.append(place)
    }

    /// Of the next places after a rotating hand, that of the customer idle longest. There has to be one.
    mutating func idlest() -> UInt32 {
        var (oldest, time) = (UInt32(0), UInt32.max)
        var looked = 0
        while looked < Self.probes || time == .max && count > 0 {
            if hand >= places { hand = 0 }
            let record = records[hand]
            if record.flags != 0 && record.lastEvent < time { (oldest, time) = (UInt32(hand), record.lastEvent) }
            hand += 1
            looked += 1
        }
        return oldest
    }

    func forEachHash(_ body: (UInt64) -> Void) {
        for place in 0..<places where records[place].flags != 0 { body(records[place].hash) }
    }

    var usedBytes: Int { places * MemoryLayout<FormerCustomer>.stride + index.count * 4 + free.count * 4 }
}

// MARK: - Snapshot

extension FormerCustomers {
    /// What, beside the records, makes them again.
    struct Image: Codable, Equatable {
        var free: [UInt32]
        var hand: Int
    }

    var image: Image { Image(free: free, hand: hand) }

    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: records, count: places * MemoryLayout<FormerCustomer>.stride)
    }

    /// Whether records and description belong together.
    static func fit(_ image: Image, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let stride = MemoryLayout<FormerCustomer>.stride
        guard bytes.count.isMultiple(of: stride), image.hand >= 0 else { return false }
        let count = bytes.count / stride
        guard count < Int(FormerCustomers.bit), image.free.count <= count else { return false }
        var isFree = [Bool](repeating: false, count: count)
        for place in image.free {
            guard Int(place) < count, !isFree[Int(place)] else { return false }
            isFree[Int(place)] = true
        }
        return (0..<count).allSatisfy { place in
            let r = bytes.loadUnaligned(fromByteOffset: place * stride, as: FormerCustomer.self)
            return (r.flags & UserHeader.inUse == 0) == isFree[place] && r.flags & ~FormerCustomer.keptFlags == 0
                && r.valueToDate.isFinite && r.lastValue.isFinite
        }
    }

    /// From what fits.
    init(_ image: Image, _ bytes: UnsafeRawBufferPointer) {
        places = bytes.count / MemoryLayout<FormerCustomer>.stride
        capacity = max(16, places)
        records = .allocate(capacity: capacity)
        if let base = bytes.baseAddress, places > 0 { memcpy(records, base, bytes.count) }
        (free, hand) = (image.free, image.hand)
        var size = 32
        while (places - image.free.count + 1) * 4 > size * 3 { size *= 2 }
        index = []
        rebuild(size)
    }
}
