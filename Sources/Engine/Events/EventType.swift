import CEventParser

/// The event types the engine knows, by the names configurations use. Codes and names come from the one list of
/// types, `CLVD_EVENT_TYPES` in `CEvent.h`.
public struct EventType: RawRepresentable, Hashable, Sendable, CaseIterable {
    /// The code of the type, as `clvd_event.type` holds it.
    public let rawValue: UInt8

    private init(_ type: clvd_event_type) { rawValue = UInt8(truncatingIfNeeded: type.rawValue) }

    /// The type of a code, or nil when no type has it.
    public init?(rawValue: UInt8) {
        guard rawValue < UInt8(truncatingIfNeeded: clvd_type_named.rawValue) else { return nil }
        self.rawValue = rawValue
    }

    /// The type of a name, or nil when no type has it.
    public init?(name: String) {
        guard let type = EventType.allCases.first(where: { $0.name == name }) else { return nil }
        self = type
    }

    /// The name used in mappings, targets and outputs.
    public var name: String { String(cString: clvd_event_type_name(rawValue)) }

    /// All types, in the order of their codes.
    public static var allCases: [EventType] {
        (0..<UInt8(truncatingIfNeeded: clvd_type_named.rawValue)).compactMap(EventType.init(rawValue:))
    }

    public static var other: EventType { EventType(clvd_type_other) }
    public static var pageView: EventType { EventType(clvd_type_page_view) }  // for tests
    public static var search: EventType { EventType(clvd_type_search) }
    public static var view: EventType { EventType(clvd_type_view) }
    public static var click: EventType { EventType(clvd_type_click) }
    public static var wishlist: EventType { EventType(clvd_type_wishlist) }
    public static var addToCart: EventType { EventType(clvd_type_add_to_cart) }
    public static var removeFromCart: EventType { EventType(clvd_type_remove_from_cart) }  // for tests
    public static var checkout: EventType { EventType(clvd_type_checkout) }
    public static var purchase: EventType { EventType(clvd_type_purchase) }
    public static var refund: EventType { EventType(clvd_type_refund) }
    public static var session: EventType { EventType(clvd_type_session) }
    public static var message: EventType { EventType(clvd_type_message) }
    public static var `return`: EventType { EventType(clvd_type_return) }
    public static var userDeleted: EventType { EventType(clvd_type_user_deleted) }
    public static var identify: EventType { EventType(clvd_type_identify) }
    public static var alias: EventType { EventType(clvd_type_alias) }

    /// Whether a type says whose an id is, and nothing of what a customer did.
    @inline(__always)
    static func isIdentity(_ code: UInt8) -> Bool { code == identifyCode || code == aliasCode }
    private static let identifyCode = UInt8(truncatingIfNeeded: clvd_type_identify.rawValue)
    private static let aliasCode = UInt8(truncatingIfNeeded: clvd_type_alias.rawValue)

    /// Codes are below this, whatever types are added.
    static let codes = Int(clvd_type_count.rawValue)

    /// Rows of the model's type embedding. The event ring has four bits for a type, and the initial weights of a
    /// model depend on the number of its parameters, so the model knows the first 16 types; later ones are "other"
    /// to it.
    static let embeddedTypes = 16

    /// The row of the type embedding for a code.
    @inline(__always)
    static func embedded(_ code: UInt8) -> UInt16 {
        code < UInt8(embeddedTypes) ? UInt16(code) : UInt16(EventType.other.rawValue)
    }
}
