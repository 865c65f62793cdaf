import CEventParser
import Foundation

/// A visit of the shop: views, and where it buys a cart and a purchase at its end.
struct SimulatedVisit: Sendable {
    /// Event types still to come, four bits each, the next one lowest.
    private(set) var plan: UInt64 = 0
    /// Between the events.
    var gapMs: Int32 = 0
    var product: Int32 = 0
    var quantity: Int32 = 0
    var price = 0.0

    init() {}

    /// - Parameters:
    ///   - roomMs: time since the visit before.
    ///   - meanOrderValue: what an order is worth on average, before `spendShift`.
    ///   - shift: factor on it.
    init(
        buys: Bool, roomMs: Int64, meanOrderValue: Double, shift: Double, _ parameters: ClickstreamParameters,
        _ random: inout SplitMix64
    ) {
        var types = [clvd_type_page_view]
        if random.uniform() < 0.3 { types.append(clvd_type_search) }
        types += Array(repeating: clvd_type_view, count: 1 + random.below(buys ? 5 : 4))
        if buys {
            types += [clvd_type_add_to_cart, clvd_type_checkout, clvd_type_purchase]
        } else if random.uniform() < 0.2 {
            types.append(clvd_type_add_to_cart)
            if random.uniform() < 0.3 { types.append(clvd_type_remove_from_cart) }
        }
        plan = types.reversed().reduce(0) { $0 << 4 | UInt64($1.rawValue) }
        // About 40 seconds an event, less when the visit before has just ended.
        gapMs = Int32(min(20_000 + 40_000 * random.uniform(), Double(roomMs) / Double(types.count)))
        product = Int32(random.below(SimulatedEvent.products))
        quantity = Int32(1 + random.below(3))
        let value = meanOrderValue * parameters.orderFactor(&random) * shift
        price = max(0.01, SimulatedEvent.cents(value / Double(quantity)))
    }

    /// Events still to come after the next one.
    private var eventsAfterNext: Int { (63 - plan.leadingZeroBitCount) / 4 }

    var isOver: Bool { plan == 0 }

    /// Time of the next event; the last one is at the visit's end.
    func nextMs(endMs: Int64) -> Int64? { isOver ? nil : endMs - Int64(gapMs) * Int64(eventsAfterNext) }

    mutating func next() -> clvd_event_type {
        defer { plan >>= 4 }
        return clvd_event_type(UInt32(plan & 15))
    }
}

extension ClickstreamParameters {
    /// One order's value over the mean of the customer: log-normal, or Pareto where there is a tail.
    func orderFactor(_ random: inout SplitMix64) -> Double {
        if let tail = orderValueTail { return (tail - 1) / tail * pow(random.uniform(), -1 / tail) }
        return exp(orderValueSpread * random.normal() - orderValueSpread * orderValueSpread / 2)
    }
}
