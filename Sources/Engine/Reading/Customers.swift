/// What is held of a customer, without a forecast.
public struct CustomerTotals: Sendable, Equatable {
    public var user: String
    public var orders: Int
    /// Net money so far, base currency.
    public var valueToDate: Double
    public var events: Int
    /// Seconds since 1970.
    public var firstSeenSeconds: Int64
    /// ms since 1970.
    public var lastEventMs: Int64
}

extension Engine {
    /// Every customer who is held, in the order of partitions, and in a partition by age of their slots. Nothing changes by
    /// asking.
    public func forEachCustomer(_ body: (CustomerTotals) throws -> Void) rethrows {
        for task in ordered {
            for i in 0..<UInt32(task.users.slotCount) {
                let slot = task.users.slot(i)
                let h = slot.header.pointee
                guard h.flags & UserHeader.inUse != 0 else { continue }
                try body(
                    CustomerTotals(
                        user: String(decoding: task.users.key(of: slot), as: UTF8.self), orders: Int(h.purchases),
                        valueToDate: h.valueToDate, events: Int(h.events), firstSeenSeconds: Int64(h.firstSeen),
                        lastEventMs: h.lastEventMs))
            }
        }
    }
}
