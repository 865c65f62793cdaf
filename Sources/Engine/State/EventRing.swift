/// The last 16 events of a user in eight bytes each: time (s), code (type, session start, category bucket) and
/// log(1 + amount) in half precision. Everything the recurrent layer is fed can be derived from them again.
struct EventRing {
    static let capacity = UserLayout.ringCount
    static let typeShift: UInt16 = 12
    static let sessionBit: UInt16 = 0x0800
    static let categoryMask: UInt16 = 0x07FF

    let time: UnsafeMutablePointer<UInt32>
    let code: UnsafeMutablePointer<UInt16>
    let amount: UnsafeMutablePointer<UInt16>

    @inline(__always)
    init(_ slot: UserSlot, _ layout: UserLayout) {
        time = slot.at(layout.ringTime, as: UInt32.self)
        code = slot.at(layout.ringCode, as: UInt16.self)
        amount = slot.at(layout.ringAmount, as: UInt16.self)
    }

    /// Appends an event; the oldest leaves when the ring is full and is remembered in the header as far as the
    /// inputs of its successor need it.
    @inline(__always)
    func push(_ h: UnsafeMutablePointer<UserHeader>, time t: UInt32, code c: UInt16, amount a: UInt16) {
        var at = Int(h.pointee.ringStart) + Int(h.pointee.ringCount)
        if at >= EventRing.capacity { at -= EventRing.capacity }
        if h.pointee.ringCount == UInt8(EventRing.capacity) {
            h.pointee.evictedTime = time[at]
            h.pointee.evictedCode = code[at]
            if code[at] >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) {
                h.pointee.purchaseBeforeRing = time[at]
            }
            h.pointee.ringStart = UInt8((at + 1) % EventRing.capacity)
        } else {
            h.pointee.ringCount += 1
        }
        time[at] = t
        code[at] = c
        amount[at] = a
    }
}
