import CEventParser

// What a record would do to the clock of its partition, before it is taken in.
extension PartitionTask {
    /// The watermark once a record is accepted.
    func watermark(with event: UnsafePointer<clvd_event>) -> Int64 {
        let e = event.pointee
        guard e.status == UInt8(clvd_status_ok.rawValue), e.cappedMs > clock.stream.time else { return clock.watermark }
        let hash = users.hash(e.user!, Int(e.user_length))
        let time = clock.stream.after(e.cappedMs, of: hash, skewMs: settings.skewMs)
        return max(clock.watermark, time - settings.latenessMs)
    }

    /// Whether a record, the next of this partition, will be accepted and take the watermark beyond a time.
    func moves(_ event: UnsafePointer<clvd_event>, beyond time: Int64) -> Bool {
        let e = event.pointee
        guard abs(e.amount) <= PartitionTask.maximumAmount, watermark(with: event) > max(time, clock.watermark) else {
            return false
        }
        let (key, length) = (e.user!, Int(e.user_length))
        let slot = users.find(key, length, hash: users.hash(key, length))
        return slot == UserTable.none || !EventIDs(users.slot(slot), settings.userLayout).contains(e.event_id_hash)
    }
}

extension clvd_event {
    /// Event time, but not after the record was written, where that is known: what moves time.
    @inline(__always)
    var cappedMs: Int64 { time_ms - ahead_ms }
}
