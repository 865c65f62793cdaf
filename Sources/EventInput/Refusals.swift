import CEventParser

/// Records that were refused: how many for which reason, and one of each.
public struct Refusals: Sendable, Equatable, Encodable {
    public struct Reason: Sendable, Equatable, Encodable {
        /// A name of `clvd_status_name`: `wrong_type`.
        public let name: String
        public fileprivate(set) var count: Int64
        /// Where the first one stands and what is wrong with it; nil when that is not known.
        public fileprivate(set) var example: String?

        fileprivate init(_ status: UInt8) { (name, count) = (String(cString: clvd_status_name(status)), 0) }
    }

    private var byStatus: [UInt8: Reason] = [:]

    public init() {}

    /// Longest example, in characters.
    private static let exampleLength = 300

    /// - Parameter example: is asked for when there is none of the reason.
    public mutating func add(_ status: UInt8, _ example: @autoclosure () -> String) {
        add(status, count: 1)
        if byStatus[status]?.example == nil { note(status, example()) }
    }

    public mutating func add(_ status: UInt8, count: Int64) {
        byStatus[status, default: Reason(status)].count += count
    }

    /// Takes an example without counting it, if there is none of the reason.
    public mutating func note(_ status: UInt8, _ example: String) {
        if byStatus[status] == nil { add(status, count: 0) }
        guard byStatus[status]?.example == nil else { return }
        byStatus[status]?.example =
            example.count > Self.exampleLength ? String(example.prefix(Self.exampleLength)) + "…" : example
    }

    /// These and what the engine refused beside them.
    /// - Parameter reasons: counts of all refusals by `clvd_status`.
    public func with(reasons: [Int64]) -> Refusals {
        var all = self
        for (status, count) in reasons.enumerated() where count > 0 {
            all.byStatus[UInt8(status), default: Reason(UInt8(status))].count = count
        }
        return all
    }

    public var total: Int64 { byStatus.values.reduce(0) { $0 + $1.count } }

    /// The most frequent first.
    public var reasons: [Reason] {
        byStatus.values.filter { $0.count > 0 }.sorted {
            $0.count != $1.count ? $0.count > $1.count : $0.name < $1.name
        }
    }

    /// Counts by reason.
    public var counts: [String: Int64] {
        Dictionary(uniqueKeysWithValues: byStatus.values.filter { $0.count > 0 }.map { ($0.name, $0.count) })
    }

    /// An object: of each reason its count and its example.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(reasons)
    }
}
