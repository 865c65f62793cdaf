import CEventParser

// What is asked of a record before it is taken in.
extension PartitionTask {
    /// The watermark once a record is accepted.
    func watermark(with event: UnsafePointer<clvd_event>) -> Int64 {
        let e = event.pointee
        guard e.status == UInt8(clvd_status_ok.rawValue), e.cappedMs > clock.stream.time, !EventType.isIdentity(e.type),
            !isPassedOn(toAnother: event)
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
        let slot = customer(of: event).slot
        return !isDuplicate(event, of: slot) && !isExcess(event, slot)
    }

    /// Whether an event of a user waits for its step.
    @inline(__always)
    func isPending(_ slot: UInt32) -> Bool {
        slot != UserTable.none && users.slot(slot).header.pointee.flags & UserHeader.pending != 0
    }

    /// Whether a customer has had its events of the day. Deletions always count. None of its events is pending.
    @inline(__always)
    func isExcess(_ event: UnsafePointer<clvd_event>, _ slot: UInt32) -> Bool {
        guard slot != UserTable.none, settings.mostEventsPerDay != .max else { return false }
        let h = users.slot(slot).header.pointee
        guard h.dayEvents >= settings.mostEventsPerDay else { return false }
        let now = max(event.pointee.time_ms, h.lastEventMs)
        return UserHeader.day(now) == h.lastActiveDay && event.pointee.type != EventType.userDeleted.rawValue
    }
}

extension clvd_event {
    /// Event time, but not after the record was written, where that is known: what moves time.
    @inline(__always)
    var cappedMs: Int64 { time_ms - ahead_ms }
}
