import CKernels

/// One event of a user as it is stored: in the event ring, and in landmarks in chronological order.
struct StoredEvent {
    /// Seconds since 1970.
    var time: UInt32
    /// Type, session start and category bucket, as `EventRing` packs them.
    var code: UInt16
    /// log(1 + amount) in half precision.
    var amount: UInt16

    @inline(__always)
    var logAmount: Float { clvd_float_of_half(amount) }
}
