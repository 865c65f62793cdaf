import CEventParser

/// What one event means for the orders of its user.
struct OrderRecord {
    /// Short hash of the order's id (`Orders.id`); 0 when the event has none.
    var order: UInt32 = 0
    /// Where the order is among the remembered ones; nil when it is not.
    var place: Int?
    var isPurchase = false
    /// Whether the order was counted before: this is a further line of it, or it comes again.
    var continues = false
    /// Whether the whole order comes again. It is no purchase then, but may change the order's money.
    var isRepeat = false
    /// Whether a purchase names no money, or a refund money that is nowhere to be found.
    var isWithoutMoney = false
    var isWithoutOrder = false
    /// What the event adds to the user's value, base currency; negative for what is given back.
    var money = 0.0
    /// Money of a purchase's order so far, this record included.
    var total = 0.0
    /// Label rules that the event matches (a bit each).
    var rules: UInt32 = 0
    /// Those of them for which no earlier record of the order has counted.
    var newRules: UInt32 = 0
}

/// Tells what events mean for orders.
struct OrderRules {
    let layout: UserLayout
    /// After so many days without one, a line opens a new order under the old id.
    let gapDays: Int
    let subtractRefunds: Bool
    /// Label rules that a later line of an order may count for, since they are about a category (a bit each).
    let categoryRules: UInt32

    /// Reads an event. Changes nothing.
    /// - Parameter rules: label rules that the event matches (a bit each).
    @inline(__always)
    func read(_ slot: UserSlot, _ event: UnsafePointer<clvd_event>, rules: UInt32) -> OrderRecord {
        switch event.pointee.type {
        case EventType.purchase.rawValue: purchase(slot, event.pointee, rules: rules)
        case EventType.refund.rawValue, EventType.return.rawValue: refund(slot, event.pointee, rules: rules)
        default: OrderRecord(rules: rules, newRules: rules)
        }
    }

    private func purchase(_ slot: UserSlot, _ e: clvd_event, rules: UInt32) -> OrderRecord {
        let orders = Orders(slot, layout)
        let isWhole = e.flags & UInt8(clvd_flag_whole_order.rawValue) != 0
        var record = OrderRecord(order: Orders.id(e.order_hash), isPurchase: true, rules: rules)
        record.isWithoutMoney = e.flags & UInt8(clvd_flag_no_money.rawValue) != 0
        (record.money, record.total, record.newRules) = (e.amount, e.amount, rules)
        guard let i = orders.find(record.order),
            isWhole || Int(Orders.day(e.time_ms)) - Int(orders.day[i]) <= gapDays
        else { return record }
        record.place = i
        record.continues = true
        if isWhole {
            record.isRepeat = true
            record.newRules = 0
            let named = OrderMoney.code(e.amount)
            if record.isWithoutMoney || named == orders.total[i] {
                (record.money, record.total) = (0, OrderMoney.amount(orders.total[i]))
            } else {
                // What was given back stays given back.
                let left = max(0, OrderMoney.amount(named) - OrderMoney.amount(orders.refunded[i]))
                record.money = max(left - orders.remaining(i), -max(0, slot.header.pointee.valueToDate))
            }
        } else {
            record.total = OrderMoney.amount(orders.total[i]) + e.amount
            // All lines are purchases: what is not about a category has counted with the first.
            record.newRules = rules & categoryRules & ~(orders.rules?[i] ?? .max)
        }
        return record
    }

    /// A return with an amount is a refund; without, goods have come back and the money may follow.
    private func refund(_ slot: UserSlot, _ e: clvd_event, rules: UInt32) -> OrderRecord {
        let orders = Orders(slot, layout)
        let namesNoMoney = e.flags & UInt8(clvd_flag_no_money.rawValue) != 0
        var record = OrderRecord(order: Orders.id(e.order_hash), rules: rules, newRules: rules)
        let isReturn = e.type == EventType.return.rawValue
        guard subtractRefunds, !(isReturn && namesNoMoney) else { return record }
        let value = max(0, slot.header.pointee.valueToDate)
        var bound = value
        record.place = orders.find(record.order)
        if let i = record.place {
            bound = min(value, orders.remaining(i))
        } else if namesNoMoney {
            bound = 0
        } else if record.order != 0 {
            // It may be of an order that is no longer remembered, so it takes no more than those have left.
            bound = max(0, value - orders.remaining())
            if bound < OrderRules.leastMoney { bound = 0 }
        }
        record.money = -(namesNoMoney ? bound : min(e.amount, bound))
        record.isWithoutOrder = record.place == nil && (namesNoMoney || e.amount > 0 && bound == 0)
        return record
    }

    /// Less is rounding: money is kept to the ten-thousandth.
    private static let leastMoney = 0.001

    /// Counts an event that was read.
    @inline(__always)
    func count(_ slot: UserSlot, _ record: OrderRecord, time: Int64) {
        guard record.isPurchase ? record.order != 0 : record.money < 0 else { return }
        let orders = Orders(slot, layout)
        switch (record.isPurchase, record.place) {
        case (true, nil):
            orders.begin(
                record.order, total: record.total, day: Orders.day(time), rules: record.rules & categoryRules)
        case (true, let i?):
            orders.total[i] = OrderMoney.code(record.total)
            orders.day[i] = max(orders.day[i], Orders.day(time))
            if !record.isRepeat { orders.rules?[i] |= record.rules & categoryRules }
        case (false, let i?): orders.giveBack(-record.money, of: i)
        case (false, nil):
            let beyond = -record.money - max(0, slot.header.pointee.valueToDate - orders.remaining())
            if record.order == 0, beyond > 0 { orders.giveBack(beyond) }
        }
    }
}
