/// What an event file holds, as the daemon would take it.
package struct FileFindings: Encodable, Sendable {
    /// Rows, those of ignored types included.
    package var rows: Int64 = 0
    /// Rows that became events of a customer.
    package var accepted: Int64 = 0
    /// Rows that are dropped, as their event ids have come before.
    package var duplicates: Int64 = 0
    /// Rows of types that the format ignores.
    package var ignored: Int64 = 0
    /// Rows that say no more than whose an id is, and ids that were joined to a customer with what was held of them.
    package var identifies: Int64 = 0
    package var joinedIds: Int64 = 0
    /// Refused rows by reason.
    package var refused: [String: Int64] = [:]
    /// The first refused row of each reason.
    package var refusedExamples: [String: String] = [:]
    /// Events by type.
    package var types: [String: Int64] = [:]
    /// Rows by names of types that the format does not know.
    package var unknownTypes: [String: Int64] = [:]
    /// The name of the format that is nearest to such a name.
    package var nearestTypes: [String: String] = [:]
    /// Events of names that the format does not know with money, which counts for nothing.
    package var unknownTypesWithMoney: Int64 = 0
    package var purchasesWithoutMoney: Int64 = 0
    package var refundsWithoutPurchase: Int64 = 0
    package var repeatedOrders: Int64 = 0
    /// Whether no event comes before one with an earlier time; nil when it is not known.
    package var sorted: Bool?
    /// Events after one with a later time, those that a stream would refuse as too late, and by how much at most.
    package var behind: Int64 = 0
    package var late: Int64 = 0
    package var mostBehindSeconds = 0.0
    /// Epoch milliseconds.
    package var firstEventMs: Int64?
    package var lastEventMs: Int64?
    package var customers = 0
    /// Customers with more events on a day than `state.maxEventsPerDay`, those with most first, and events above it.
    package var cappedCustomers: [CappedCustomer] = []
    package var excessEvents: Int64 = 0
    package var topCustomers: [TopCustomer] = []
    /// Events with money by the currency that they name or that is assumed.
    package var currencies: [String: Int64] = [:]
    package var amounts: Amounts?
    package var format = ""
    /// Whether nothing has to be mended.
    package var ready = false
    /// What to mend, and after that what is good to know.
    package var advice: [String] = []

    package struct TopCustomer: Encodable, Sendable {
        package let user: String
        package let events: Int
        /// Of all accepted events.
        package let share: Double
    }

    package struct CappedCustomer: Encodable, Sendable, Equatable {
        package let user: String
        /// Events above the most of a day.
        package let events: Int
    }

    /// Amounts of purchases, base currency.
    package struct Amounts: Encodable, Sendable {
        package let count: Int64
        package let least, p5, p25, median, p75, p95, p99, most: Double
        /// Whether all amounts count, or one in some.
        package let isWhole: Bool
    }

    package var refusedRows: Int64 { refused.values.reduce(0, +) }
}
