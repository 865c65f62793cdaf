import CEventParser
import Testing

@testable import Engine

/// The one list of event types and what is made of it.
@Suite struct EventTypeTests {
    /// Snapshots keep the codes: they are for ever.
    @Test func codesAndNames() {
        #expect(
            EventType.allCases.map(\.name) == [
                "other", "page_view", "search", "view", "click", "wishlist", "add_to_cart", "remove_from_cart",
                "checkout", "purchase", "refund", "session", "message", "return", "user_deleted",
                "identify", "alias",
            ])
        #expect(EventType.allCases.map(\.rawValue) == Array(0...16))
        #expect(EventType.purchase.rawValue == 9 && EventType(rawValue: 9) == .purchase)
        #expect(EventType(name: "add_to_cart") == .addToCart && EventType(name: "return") == .return)
        #expect(EventType(name: "Purchase") == nil && EventType(rawValue: 17) == nil)
        #expect(String(cString: clvd_event_type_name(17)) == "unknown")
    }

    /// There is room for 64 types; the model knows the first 16.
    @Test func roomForMoreTypes() {
        #expect(EventType.codes == 64)
        #expect(EventType.embedded(9) == 9 && EventType.embedded(15) == 15)
        #expect(EventType.embedded(16) == 0 && EventType.embedded(63) == 0)
        #expect(FunnelStage.code(ofType: 9) == 4 && FunnelStage.code(ofType: 10) == FunnelStage.none)
        #expect(FunnelStage.code(ofType: 63) == 0)
        var rule = EngineSettings(.small, topics: ["events"], partitions: 1).rules[0]
        rule.types = 1 << 40
        #expect(rule.counts(type: 40, category: 7) && !rule.counts(type: 8, category: 7))
    }
}
