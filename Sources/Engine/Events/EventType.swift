import CEventParser

/// The event types the engine knows, by the names configurations use.
public enum EventType: UInt8, Sendable, CaseIterable {
    case other = 0
    case pageView = 1
    case search = 2
    case view = 3
    case click = 4
    case wishlist = 5
    case addToCart = 6
    case removeFromCart = 7
    case checkout = 8
    case purchase = 9
    case refund = 10
    case session = 11
    case message = 12
    case `return` = 13
    case userDeleted = 14

    /// Size of type vocabularies; codes are below it.
    public static let vocabulary = Int(clvd_type_count.rawValue)

    /// The name used in mappings, targets and outputs.
    public var name: String {
        switch self {
        case .other: "other"
        case .pageView: "page_view"
        case .search: "search"
        case .view: "view"
        case .click: "click"
        case .wishlist: "wishlist"
        case .addToCart: "add_to_cart"
        case .removeFromCart: "remove_from_cart"
        case .checkout: "checkout"
        case .purchase: "purchase"
        case .refund: "refund"
        case .session: "session"
        case .message: "message"
        case .return: "return"
        case .userDeleted: "user_deleted"
        }
    }

    /// The type of a name, or nil when there is none such.
    public init?(name: String) {
        guard let type = EventType.allCases.first(where: { $0.name == name }) else { return nil }
        self = type
    }
}

/// The classes that windows count by: the stages of the conversion funnel.
enum FunnelStage: Int, CaseIterable {
    case browse = 0
    case view = 1
    case cart = 2
    case checkout = 3
    case purchase = 4

    static let count = 5

    /// Stage of a type code; nil for types that no window counts (refunds change sums only).
    static func of(_ type: UInt8) -> FunnelStage? {
        switch EventType(rawValue: type) {
        case .view, .click, .wishlist: .view
        case .addToCart: .cart
        case .checkout: .checkout
        case .purchase: .purchase
        case .refund, .return, .userDeleted: nil
        default: .browse
        }
    }

    /// The same as a table, for loops over events; 255 stands for nil.
    static let table: [UInt8] = (0..<EventType.vocabulary).map { code in
        of(UInt8(code)).map { UInt8($0.rawValue) } ?? 255
    }
}

/// Lengths of time in milliseconds, and the UTC calendar arithmetic that features need.
enum Clock {
    static let second: Int64 = 1000
    static let hour: Int64 = 3_600_000
    static let day: Int64 = 86_400_000

    /// Floor division, so that instants before 1970 fall into the right hour.
    @inline(__always)
    static func index(_ time: Int64, per unit: Int64) -> Int64 {
        let q = time / unit
        return (time % unit < 0) ? q - 1 : q
    }

    /// The remainder of floor division, 0..<unit.
    @inline(__always)
    static func remainder(_ time: Int64, per unit: Int64) -> Int64 {
        let r = time % unit
        return r < 0 ? r + unit : r
    }

    /// Hour of the week in UTC, 0…167, 0 is Sunday 00:00.
    @inline(__always)
    static func hourOfWeek(_ time: Int64) -> Int {
        let hours = index(time, per: hour) + 96  // 1970-01-01 was a Thursday
        return Int(remainder(hours, per: 168))
    }
}
