/// What became of the records of a task. `accepted + duplicates + ignored + tombstones + erased + identifies +
/// forwarded + messages + deadLetters` equals `records`.
public struct TaskCounters: Sendable, Equatable, Codable {
    public var records: Int64 = 0
    public var accepted: Int64 = 0
    public var duplicates: Int64 = 0
    public var ignored: Int64 = 0
    public var tombstones: Int64 = 0
    public var erased: Int64 = 0
    /// Records that say no more than whose an id is.
    public var identifies: Int64 = 0
    /// Events of aliases that were passed on to the partitions of their customers.
    public var forwarded: Int64 = 0
    /// What partitions have told each other of ids. Some of it could not be used, or had come before.
    public var messages: Int64 = 0
    public var messagesRefused: Int64 = 0
    public var messagesRepeated: Int64 = 0
    public var deadLetters: Int64 = 0
    /// Codes of `clvd_status` are below this power of two.
    public static let statuses = 32
    /// Dead letters by `clvd_status`.
    public var reasons = [Int64](repeating: 0, count: statuses)
    /// Records below the position already taken in: read again, not taken again.
    public var repeated: Int64 = 0
    /// Purchases among the accepted that name no amount, no price and no priced items: orders of 0.
    public var purchasesWithoutMoney: Int64 = 0
    /// Refunds among the accepted that changed nothing: they name an order that is not known, or neither order nor money,
    /// or the customer has bought nothing.
    public var refundsWithoutOrder: Int64 = 0
    /// Of the accepted, those that were older than the watermark.
    public var lateAccepted: Int64 = 0
    /// Above the most events of a customer on a day: dead letters, or among the ignored.
    public var excessEvents: Int64 = 0
    public var updates: Int64 = 0
    public var alertsRaised: Int64 = 0
    public var alertsCleared: Int64 = 0
    public var alertsForSilence: Int64 = 0
    /// Raised of those that were due before a model served (`alerts.backlog`), and such that were never published.
    public var alertsOfBacklog: Int64 = 0
    public var alertsWithheld: Int64 = 0
    public var rescored: Int64 = 0
    public var landmarks: Int64 = 0
    public var evictedIdle: Int64 = 0
    public var evictedByCap: Int64 = 0
    /// Aliases that were joined with what was held of them, and such of which nothing was held here: it is in another
    /// partition, or there never was anything.
    public var joined: Int64 = 0
    /// States that came from other partitions.
    public var adopted: Int64 = 0
    public var aliasesWithoutState: Int64 = 0
    /// Aliases that were another customer's before: devices that several people use.
    public var aliasesRepointed: Int64 = 0

    public init() {}

    public static func + (a: TaskCounters, b: TaskCounters) -> TaskCounters {
        var c = a
        c.records += b.records
        c.accepted += b.accepted
        c.duplicates += b.duplicates
        c.ignored += b.ignored
        c.tombstones += b.tombstones
        c.erased += b.erased
        c.identifies += b.identifies
        c.forwarded += b.forwarded
        c.messages += b.messages
        c.messagesRefused += b.messagesRefused
        c.messagesRepeated += b.messagesRepeated
        c.adopted += b.adopted
        c.deadLetters += b.deadLetters
        for i in c.reasons.indices { c.reasons[i] += b.reasons[i] }
        c.repeated += b.repeated
        c.purchasesWithoutMoney += b.purchasesWithoutMoney
        c.refundsWithoutOrder += b.refundsWithoutOrder
        c.lateAccepted += b.lateAccepted
        c.excessEvents += b.excessEvents
        c.updates += b.updates
        c.alertsRaised += b.alertsRaised
        c.alertsCleared += b.alertsCleared
        c.alertsForSilence += b.alertsForSilence
        c.alertsOfBacklog += b.alertsOfBacklog
        c.alertsWithheld += b.alertsWithheld
        c.rescored += b.rescored
        c.landmarks += b.landmarks
        c.evictedIdle += b.evictedIdle
        c.evictedByCap += b.evictedByCap
        c.joined += b.joined
        c.aliasesWithoutState += b.aliasesWithoutState
        c.aliasesRepointed += b.aliasesRepointed
        return c
    }
}
