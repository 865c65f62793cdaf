/// What state format 7 kept otherwise: the places in the rings of event ids and orders had a byte each, where the count of
/// a day's events is now.
enum Format7 {
    private static let dedupNext = 95
    private static let orderNext = 98

    /// Brings slots that were read as they are to the present layout.
    static func convert(_ users: borrowing UserTable) {
        for i in 0..<UInt32(users.slotCount) {
            let slot = users.slot(i)
            // A place outside its ring stays outside, to be refused.
            let dedup = min(slot.load(fromByteOffset: dedupNext, as: UInt8.self), 0xF)
            let order = min(slot.load(fromByteOffset: orderNext, as: UInt8.self), 0xF)
            slot.header.pointee.dayEvents = 0
            slot.header.pointee.places = dedup | order << 4
        }
    }
}
