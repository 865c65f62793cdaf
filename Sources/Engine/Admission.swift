import CEventParser

// What a record would do to the clock of its partition, before it is taken in.
extension PartitionTask {
    /// The watermark once a record is accepted.
    func watermark(with event: UnsafePointer<clvd_event>) -> Int64 {
        let e = event.pointee
        guard e.status == UInt8(clvd_status_ok.rawValue), e.cappedMs > clock.stream.time, !EventType.isIdentity(e.type)
        else { return clock.watermark }
        let time = clock.stream.after(e.cappedMs, of: customer(of: event).hash, skewMs: settings.skewMs)
        return max(clock.watermark, time - settings.latenessMs)
    }

    /// Whether a record, the next of this partition, will be accepted and take the watermark beyond a time.
    func moves(_ event: UnsafePointer<clvd_event>, beyond time: Int64) -> Bool {
        let e = event.pointee
        guard abs(e.amount) <= PartitionTask.maximumAmount, watermark(with: event) > max(time, clock.watermark) else {
            return false
        }
        return !isDuplicate(event, of: customer(of: event).slot)
    }
}

extension clvd_event {
    /// Event time, but not after the record was written, where that is known: what moves time.
    @inline(__always)
    var cappedMs: Int64 { time_ms - ahead_ms }
}
