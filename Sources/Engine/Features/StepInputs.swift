import Glibc

/// What an event of the sequence is fed as: indices into the embeddings and scaled numbers. The very same
/// function serves the live step and the training sequences, so that they cannot differ.
struct StepInputs {
    static let numerics = 12
    static let indices = 3

    let categoryBuckets: Int
    let crossBuckets: Int

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
        let bought = context.lastPurchase != 0
        let standard = (logAmount - context.amountMean) * context.amountInverse
        let c = StepInputs.circle[hourOfWeek]
        // Logarithms of seconds are centred on an hour between events and two days since a purchase, and scaled to
        // stay within about ± 3: e^8 s = 50 min, e^12 s = 45 h.
        n[0] = first ? 0 : (log1pf(Float(event.time &- context.previousTime)) - 8) / 4
        n[1] = logAmount > 0 ? max(-6, min(6, standard)) : 0
        n[2] = bought ? (log1pf(Float(event.time &- context.lastPurchase)) - 12) / 4 : 0
        n[3] = bought ? 1 : 0
        n[4] = event.code & EventRing.sessionBit != 0 ? 1 : 0
        // Hour of the day and day of the week, UTC.
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
