import Glibc

/// One stored event in chronological order, as landmarks and explanations read it.
struct StoredEvent {
    var time: UInt32
    var code: UInt16
    var amount: UInt16
}

/// What an event of the sequence is fed as: indices into the embeddings and scaled numbers. The very same
/// function serves the live step and the training sequences, so that they cannot differ.
struct StepInputs {
    static let numerics = 12
    static let indices = 3

    let categoryBuckets: Int
    let crossBuckets: Int

    /// Names, units and formulas of the numbers, in their order; `explain` and the documentation read them here.
    static let definitions: [FeatureDefinition] = [
        .init("log_delta_t", "log s", "(log(1 + seconds since the previous event) - 8) / 4"),
        .init("log_amount", "log money", "standardised log(1 + amount); 0 when there is none"),
        .init("log_since_purchase", "log s", "(log(1 + seconds since the last purchase) - 12) / 4; 0 before the first"),
        .init("has_purchased", "flag", "1 after the first purchase"),
        .init("session_start", "flag", "1 when the event opens a session"),
        .init("hour_sin", "-", "sin of the hour of day (UTC) on a circle"),
        .init("hour_cos", "-", "cos of the hour of day (UTC) on a circle"),
        .init("weekday_sin", "-", "sin of the day of the week (UTC) on a circle"),
        .init("weekday_cos", "-", "cos of the day of the week (UTC) on a circle"),
        .init("first_event", "flag", "1 when no event came before"),
        .init("amount_scale", "log money", "log(1 + amount) / 5"),
        .init("same_category", "flag", "1 when the previous event had the same category"),
    ]

    /// Sine and cosine of hour and weekday for the 168 hours of a week.
    private static let circle: [SIMD4<Float>] = (0..<168).map { hour in
        let h = 2 * Double.pi * Double(hour % 24) / 24
        let d = 2 * Double.pi * Double(hour / 24) / 7
        return SIMD4(Float(sin(h)), Float(cos(h)), Float(sin(d)), Float(cos(d)))
    }

    /// Everything that the inputs of one event depend on beside itself.
    struct Context {
        /// Time and code of the previous event; time 0 when there is none.
        var previousTime: UInt32
        var previousCode: UInt16
        /// The last purchase before this event; 0 when there is none.
        var lastPurchase: UInt32
        /// Centre and inverse spread of log(1 + amount) over events that carry money.
        var amountMean: Float
        var amountInverse: Float
    }

    @inline(__always)
    static func bucket(category hash: UInt64, buckets: Int) -> UInt16 {
        hash == 0 ? 0 : UInt16(1 + hash % UInt64(buckets - 1))
    }

    /// Writes `indices` indices and `numerics` numbers of one event.
    @inline(__always)
    func encode(
        _ event: StoredEvent, logAmount: Float, _ context: Context,
        indices: UnsafeMutablePointer<UInt16>, numerics n: UnsafeMutablePointer<Float>
    ) {
        let category = event.code & EventRing.categoryMask
        let hourOfWeek = Clock.hourOfWeek(Int64(event.time) * 1000)
        indices[0] = event.code >> EventRing.typeShift
        indices[1] = category
        indices[2] = cross(category, UInt32(hourOfWeek % 24))
        let first = context.previousTime == 0
        n[0] = first ? 0 : (log1pf(Float(event.time &- context.previousTime)) - 8) / 4
        let standard = (logAmount - context.amountMean) * context.amountInverse
        n[1] = logAmount > 0 ? max(-6, min(6, standard)) : 0
        let bought = context.lastPurchase != 0
        n[2] = bought ? (log1pf(Float(event.time &- context.lastPurchase)) - 12) / 4 : 0
        n[3] = bought ? 1 : 0
        n[4] = event.code & EventRing.sessionBit != 0 ? 1 : 0
        let c = StepInputs.circle[hourOfWeek]
        n[5] = c.x
        n[6] = c.y
        n[7] = c.z
        n[8] = c.w
        n[9] = first ? 1 : 0
        n[10] = logAmount / 5
        n[11] = !first && category != 0 && context.previousCode & EventRing.categoryMask == category ? 1 : 0
    }

    /// Hashed cross feature: category bucket × hour of day. 0 when the event has no category.
    @inline(__always)
    private func cross(_ category: UInt16, _ hour: UInt32) -> UInt16 {
        if category == 0 { return 0 }
        var x = UInt32(category) &* 24 &+ hour
        x = (x ^ (x >> 7)) &* 0x9E37_79B1
        return UInt16((x >> 8) & UInt32(crossBuckets - 1))
    }
}
