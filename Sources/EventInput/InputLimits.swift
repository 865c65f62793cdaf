/// What a record may hold; beyond it the record is a dead letter.
public struct InputLimits: Sendable, Equatable, Codable {
    public var maxRecordBytes: Int = 1 << 20
    /// Longest user id and event id, UTF-8 bytes.
    public var maxIdBytes: Int = 512
    /// Largest amount and price of one event, in the base currency.
    public var maxAmount: Double = 1_000_000
    public var maxQuantity: Double = 1_000_000
    /// First and last accepted year of event time (UTC), within `years`. The first second of 1970 is not accepted.
    public var minYear: Int = 1990
    public var maxYear: Int = 2100
    /// How far event time may lie after the record's own timestamp. Records without a timestamp are not checked.
    public var futureSkewSeconds: Int = 3600
    public init() {}

    /// Years that can be accepted: state holds times as unsigned 32-bit seconds since 1970, where 0 stands for never.
    public static let years = 1970...2105
}

/// Currencies and their worth.
public struct CurrencyTable: Sendable, Equatable, Codable {
    /// Currency of all values, ISO 4217.
    public var base: String = "USD"
    /// Currency of events that name none; empty: the base currency.
    public var assumed: String = ""
    /// Units of the base currency that one unit of a currency is worth.
    public var rates: [String: Double] = [:]
    public init() {}

    /// Whether `code` is one of a currency: three ASCII letters.
    public static func isCode(_ code: String) -> Bool {
        code.utf8.count == 3 && code.utf8.allSatisfy { (0x41...0x5A).contains($0 & 0xDF) }
    }
}
