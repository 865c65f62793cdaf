import CEventParser

// How users leave a task: by retention (`Punctuation`), by the cap on users, or on request; and how they return.
extension PartitionTask {
    /// Slots that are looked at to find a user to evict. The idlest of 64 drawn users is on average among the
    /// idlest 1.5 % (1/65) of all, at a cost that does not grow with their number.
    static let evictionProbes = 64

    /// Takes a user's slot. What stays is a record of totals, and its landmarks, which teach on: were they forgotten, only
    /// those who come back would teach.
    func evict(_ slot: UInt32) {
        let h = users.slot(slot).header.pointee
        if users.former.count >= settings.usersPerTask { dropFormer(users.former.idlest(), teaches: true) }
        let key = users.key(of: users.slot(slot))
        let place = users.former.add(FormerCustomer(h, hash: users.hash(key.baseAddress!, key.count)))
        pool.rename(user: slot, newest: h.landmark, to: FormerCustomers.bit | place)
        ranks.remove(h.lastValue)
        users.remove(slot)
    }

    /// A customer of whom a record was kept returns: its fresh slot goes on from there.
    func restore(_ place: UInt32, to slot: UInt32) {
        let record = users.former.records[Int(place)]
        let h = users.slot(slot).header
        record.restore(h)
        pool.rename(user: FormerCustomers.bit | place, newest: record.landmark, to: slot)
        ranks.add(record.lastValue)
        users.former.remove(place)
    }

    private func dropFormer(_ place: UInt32, teaches: Bool) {
        let (user, newest) = (FormerCustomers.bit | place, users.former.records[Int(place)].landmark)
        if teaches {
            pool.rename(user: user, newest: newest, to: FormerCustomers.gone)
        } else {
            pool.forget(user: user, newest: newest)
        }
        users.former.remove(place)
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

    /// Erases a user on request: state and landmarks. The updates topic gets a tombstone, known user or not.
    /// - Parameter slot: of the user; `UserTable.none` when there is none.
    func erase(_ slot: UInt32, hash: UInt64, _ event: UnsafePointer<clvd_event>, record: UInt32) {
        if slot != UserTable.none {
            let h = users.slot(slot).header.pointee
            pool.forget(user: slot, newest: h.landmark)
            ranks.remove(h.lastValue)
            users.remove(slot)
        } else if let place = users.former.find(hash) {
            dropFormer(place, teaches: false)
        }
        counters.erased += 1
        guard !muted else { return }
        let e = event.pointee
        let key = UnsafeBufferPointer(start: e.user, count: Int(e.user_length))
        outbox.append(.update, record: record, source: RecordPlace(e), key: key) { _ in }
    }
}
