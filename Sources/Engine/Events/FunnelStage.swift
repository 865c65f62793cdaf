/// The classes that windows count by: the stages of the conversion funnel.
enum FunnelStage: Int, CaseIterable {
    case browse = 0
    case view = 1
    case cart = 2
    case checkout = 3
    case purchase = 4

    /// Stage of a type; nil for types that no window counts (refunds change sums only).
    static func of(_ type: EventType) -> FunnelStage? {
        switch type {
        case .view, .click, .wishlist: .view
        case .addToCart: .cart
        case .checkout: .checkout
        case .purchase: .purchase
        case .refund, .return, .userDeleted, .identify, .alias: nil
        default: .browse
        }
    }

    /// The code of no stage.
    static let none: UInt8 = 255

    /// [codes of types] of the raw value of the stage, for loops over events.
    private static let table: [UInt8] = (0..<EventType.codes).map { code in
        guard let stage = of(EventType(rawValue: UInt8(code)) ?? .other) else { return none }
        return UInt8(stage.rawValue)
    }

    /// Raw value of the stage of a type's code, or `none`.
    @inline(__always)
    static func code(ofType type: UInt8) -> UInt8 {
        table.withUnsafeBufferPointer { $0[Int(type) & (EventType.codes - 1)] }
    }
}
