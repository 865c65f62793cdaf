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

    /// A slot for a customer who has none: it goes on from what was kept of the customer.
    func open(_ key: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> UInt32 {
        let slot = users.insert(key, length, hash: hash)
        if let place = users.former.find(hash) { restore(place, to: slot) }
        return slot
    }

    private func restore(_ place: UInt32, to slot: UInt32) {
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

    /// Forgets a user: its slot, and what its landmarks hold.
    func removeSlot(_ slot: UInt32) {
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
        clock.stream.forget(who.hash)
        aliases.forEachAlias(of: key) { alias, _ in
            clock.stream.forget(users.hash(alias.baseAddress!, alias.count))
        }
        if who.slot != UserTable.none {
            removeSlot(who.slot)
        } else if let place = users.former.find(who.hash) {
            dropFormer(place, teaches: false)
        }
        // The key may lie in the table of aliases.
        aliases.remove(customer: key)
        counters.erased += 1
    }
}
