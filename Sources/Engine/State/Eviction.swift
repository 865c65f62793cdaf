import CEventParser

// How users leave a task: by retention (`Punctuation`), by the cap on users, or on request.
extension PartitionTask {
    /// Slots that are looked at to find a user to evict. The idlest of 64 drawn users is on average among the
    /// idlest 1.5 % (1/65) of all, at a cost that does not grow with their number.
    static let evictionProbes = 64

    /// Forgets a user: its slot, and what its landmarks hold.
    func evict(_ slot: UInt32) {
        let h = users.slot(slot).header.pointee
        pool.forget(user: slot, newest: h.landmark)
        ranks.remove(h.lastValue)
        users.remove(slot)
    }

    /// Makes room for a user: of the next `evictionProbes` slots after a rotating hand, the user idle longest goes.
    func evictIdlest() {
        var oldest = UserTable.none
        var time = Int64.max
        var i = evictionHand
        for _ in 0..<PartitionTask.evictionProbes {
            if i >= users.slotCount { i = 0 }
            let h = users.slot(UInt32(i)).header
            if h.pointee.flags & UserHeader.inUse != 0 && h.pointee.lastEventMs < time {
                oldest = UInt32(i)
                time = h.pointee.lastEventMs
            }
            i += 1
        }
        evictionHand = i
        guard oldest != UserTable.none else { return }
        evict(oldest)
        counters.evictedByCap += 1
    }

    /// Erases a user on request: state, landmarks and aliases. The updates topic gets a tombstone, known user or not.
    /// - Parameter who: the user, or the customer whose alias it is.
    func erase(_ who: Customer, _ event: UnsafePointer<clvd_event>, record: UInt32) {
        let key = UnsafeBufferPointer(start: who.key, count: who.length)
        if !muted {
            outbox.append(.update, record: record, source: RecordPlace(event.pointee), key: key) { _ in }
        }
        if settings.joinsByTopic { forgetAliases(of: key, event, record: record) }
        if who.slot != UserTable.none { evict(who.slot) }
        // The key may lie in the table of aliases.
        aliases.remove(customer: key)
        counters.erased += 1
    }
}
