/// Money of an order in 32 bits, as a decimal number: what shops charge is kept to the last digit, where a binary
/// fraction of the same width would leave a few millionths behind when an order is given back.
///
/// Bits 0…28 are a count of units, bits 29…31 say which unit: 0.0001, 0.01, 1, 100 and so on. The smallest unit that fits
/// is taken: up to 53,687 four decimals are kept, up to 5.3 million cents, up to 536 million whole units, and 8.7 digits
/// beyond.
enum OrderMoney {
    private static let unitBits: UInt32 = 29
    private static let most = Double(1 << unitBits - 1)

    /// - Parameter amount: not negative. Beyond 5.3·10¹⁸ it is that.
    @inline(__always)
    static func code(_ amount: Double) -> UInt32 {
        var units = (amount * 10_000).rounded()
        var unit: UInt32 = 0
        while units > most && unit < 7 {
            units = (units / 100).rounded()
            unit += 1
        }
        return unit << unitBits | UInt32(min(units, most))
    }

    /// The amount of a code: the same number that its decimal digits are read as.
    @inline(__always)
    static func amount(_ code: UInt32) -> Double {
        let units = Double(code & (1 << unitBits - 1))
        switch code >> unitBits {
        case 0: return units / 10_000
        case 1: return units / 100
        case let unit:
            var amount = units
            for _ in 2..<unit { amount *= 100 }
            return amount
        }
    }
}

/// The orders of a user that began last, the newest in place of the oldest: what tells a further line, a repeat and a
/// refund from a new order.
struct Orders {
    static let capacity = UserLayout.orderCount

    /// 32 bits of the hash of the order's id; 0 where there is none.
    let id: UnsafeMutablePointer<UInt32>
    /// What it brought, and what of it was given back (`OrderMoney`).
    let total: UnsafeMutablePointer<UInt32>
    let refunded: UnsafeMutablePointer<UInt32>
    /// Day (UTC, since 1970) of its latest record.
    let day: UnsafeMutablePointer<UInt16>
    /// Label rules of a category that lines of it have counted for (a bit each); nil where no target needs them.
    let rules: UnsafeMutablePointer<UInt32>?
    private let header: UnsafeMutablePointer<UserHeader>

    @inline(__always)
    init(_ slot: UserSlot, _ layout: UserLayout) {
        id = slot.at(layout.orderID, as: UInt32.self)
        total = slot.at(layout.orderTotal, as: UInt32.self)
        refunded = slot.at(layout.orderRefunded, as: UInt32.self)
        day = slot.at(layout.orderDay, as: UInt16.self)
        rules = layout.orderRules.map { slot.at($0, as: UInt32.self) }
        header = slot.header
    }

    /// The short hash of an order's id; 0 for no id.
    @inline(__always)
    static func id(_ hash: UInt64) -> UInt32 { hash == 0 ? 0 : max(1, UInt32(truncatingIfNeeded: hash)) }

    @inline(__always)
    static func day(_ timeMs: Int64) -> UInt16 { UInt16(clamping: Clock.index(timeMs, per: Clock.day)) }

    /// Place of an order; nil when it is not remembered or has no id.
    @inline(__always)
    func find(_ order: UInt32) -> Int? {
        guard order != 0 else { return nil }
        for i in 0..<Orders.capacity where id[i] == order { return i }
        return nil
    }

    /// Whether the latest record of a remembered order was on a day.
    func hasOne(on today: UInt16) -> Bool {
        for i in 0..<Orders.capacity where id[i] != 0 && day[i] == today { return true }
        return false
    }

    /// What an order brought less what was given back.
    @inline(__always)
    func remaining(_ i: Int) -> Double { max(0, OrderMoney.amount(total[i]) - OrderMoney.amount(refunded[i])) }

    /// What is left of all remembered orders.
    func remaining() -> Double {
        var sum = 0.0
        for i in 0..<Orders.capacity where id[i] != 0 { sum += remaining(i) }
        return sum
    }

    /// Remembers a new order in place of the oldest.
    @inline(__always)
    func begin(_ order: UInt32, total amount: Double, day today: UInt16, rules matched: UInt32) {
        // One that came back after a pause is a new order under its old name.
        if let old = find(order) { id[old] = 0 }
        let i = Int(header.pointee.orderNext)
        header.pointee.orderNext = UInt8((i + 1) % Orders.capacity)
        id[i] = order
        total[i] = OrderMoney.code(amount)
        refunded[i] = 0
        day[i] = today
        rules?[i] = matched
    }

    @inline(__always)
    func giveBack(_ money: Double, of i: Int) {
        refunded[i] = OrderMoney.code(OrderMoney.amount(refunded[i]) + money)
    }

    /// Charges money that was given back without a word of its order to the newest orders that have some left.
    func giveBack(_ money: Double) {
        var left = money
        for k in 1...Orders.capacity where left > 0 {
            let i = (Int(header.pointee.orderNext) + Orders.capacity - k) % Orders.capacity
            guard id[i] != 0 else { continue }
            let part = min(left, remaining(i))
            giveBack(part, of: i)
            left -= part
        }
    }
}
