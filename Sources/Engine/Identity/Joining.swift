import CEventParser
import CKernels
import Glibc

// How what is known of one id becomes another's: by events that say that both are of one customer.
extension PartitionTask {
    /// The id that an event is taken in under: its user's, or that of the customer whose alias this is.
    struct Customer {
        /// Stays where it is until aliases change.
        var key: UnsafePointer<UInt8>
        var length: Int
        var hash: UInt64
        /// `UserTable.none`: nothing is held.
        var slot: UInt32
    }

    @inline(__always)
    func customer(of event: UnsafePointer<clvd_event>) -> Customer {
        customer(named(event))
    }

    /// The id that an event came under: its user's, or what the partition that has passed it on says.
    @inline(__always)
    func named(_ event: UnsafePointer<clvd_event>) -> IDBytes {
        isPassedOn(event)
            ? IDBytes(start: event.pointee.alias, count: Int(event.pointee.alias_length))
            : IDBytes(start: event.pointee.user, count: Int(event.pointee.user_length))
    }

    @inline(__always)
    func isPassedOn(_ event: UnsafePointer<clvd_event>) -> Bool {
        event.pointee.flags & UInt8(clvd_flag_passed_on.rawValue) != 0
    }

    /// - Parameter id: not empty.
    @inline(__always)
    func customer(_ id: IDBytes) -> Customer {
        let hash = users.hash(id.baseAddress!, id.count)
        let other = aliases.customer(of: id.baseAddress!, id.count, hash: hash)
        return other.map(holder) ?? holder(id, hash)
    }

    private func holder(_ id: IDBytes) -> Customer { holder(id, users.hash(id.baseAddress!, id.count)) }

    @inline(__always)
    private func holder(_ id: IDBytes, _ hash: UInt64) -> Customer {
        Customer(
            key: id.baseAddress!, length: id.count, hash: hash,
            slot: users.find(id.baseAddress!, id.count, hash: hash))
    }

    /// Whether an event's id has been seen of its customer, or of the alias that it joins.
    @inline(__always)
    func isDuplicate(_ event: UnsafePointer<clvd_event>, of slot: UInt32) -> Bool {
        let id = event.pointee.event_id_hash
        if slot != UserTable.none && EventIDs(users.slot(slot), settings.userLayout).contains(id) { return true }
        guard let alias = event.pointee.alias, !settings.joinsByTopic else { return false }
        let length = Int(event.pointee.alias_length)
        let other = users.find(alias, length, hash: users.hash(alias, length))
        return other != UserTable.none && EventIDs(users.slot(other), settings.userLayout).contains(id)
    }

    /// Takes in a record that says no more than whose an id is. It moves no clock, so it is never too late.
    func identify(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) {
        counters.identifies += 1
        // Where partitions tell each other, the partition of the alias has heard of it.
        guard !settings.joinsByTopic, let slot = join(event, index: index, model) else { return }
        refresh(slot, event, index: index, model)
    }

    /// Joins the other id of an event to its user.
    /// - Returns: slot of the customer, when what was held of the other id has become the customer's.
    @discardableResult
    func join(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) -> UInt32? {
        let e = event.pointee
        guard e.alias != nil else { return nil }
        let alias = IDBytes(start: e.alias, count: Int(e.alias_length))
        let user = IDBytes(start: e.user, count: Int(e.user_length))
        let outcome = aliases.join(
            alias, to: user, at: e.time_ms, isExplicit: e.type == EventType.alias.rawValue)
        switch outcome {
        case .repeated, .refused: return nil
        case .repointed:
            counters.aliasesRepointed += 1
            return nil
        case .joined(let place):
            let hash = users.hash(alias.baseAddress!, alias.count)
            let from = slot(of: alias, hash: hash)
            guard from != UserTable.none else {
                counters.aliasesWithoutState += 1
                return nil
            }
            flush(model)
            currentRecord = index
            return take(from, for: aliases.id(place), event, model)
        }
    }

    /// The slot of an id. One of whom only a record of totals is held gets a slot, which may be one more than allowed.
    func slot(of id: IDBytes, hash: UInt64) -> UInt32 {
        let slot = users.find(id.baseAddress!, id.count, hash: hash)
        return slot == UserTable.none && users.former.find(hash) != nil
            ? open(id.baseAddress!, id.count, hash: hash) : slot
    }

    /// What a slot holds becomes a customer's.
    /// - Returns: slot of the customer.
    private func take(
        _ from: UInt32, for id: IDBytes, _ event: UnsafePointer<clvd_event>, _ model: ServingModel
    ) -> UInt32 {
        clearAlert(of: from, event, model)
        counters.joined += 1
        tell(joined: from, to: id, event)
        let customer = customer(id)
        var into = slot(of: IDBytes(start: customer.key, count: customer.length), hash: customer.hash)
        let merge = SlotMerge(
            layout: settings.userLayout,
            isOrderWhole: event.pointee.flags & UInt8(clvd_flag_whole_order.rawValue) != 0)
        if into == UserTable.none {
            into = users.insert(customer.key, customer.length, hash: customer.hash)
            merge.move(users.slot(from), into: users.slot(into))
        } else {
            merge.merge(users.slot(from), into: users.slot(into))
            rerun(users.slot(into), model)
            ranks.remove(users.slot(from).header.pointee.lastValue)
        }
        let isHeldOut = settings.landmarks.isHeldOut(users.slot(into).header.pointee.identity)
        pool.give(
            of: from, newest: users.slot(from).header.pointee.landmark, to: into, isHeldOut: isHeldOut, users: users)
        users.remove(from)
        return into
    }

    /// The row of an id that is another customer's now gets a tombstone.
    func tell(joined slot: UInt32, to customer: IDBytes, _ event: UnsafePointer<clvd_event>) {
        guard !muted else { return }
        let key = users.key(of: users.slot(slot))
        outbox.append(.joined, record: currentRecord, source: RecordPlace(event.pointee), key: key) {
            $0.append(customer.baseAddress!, customer.count)
        }
    }

    /// Nobody is left under this id, so its alert does not stand any more. If the customer is about to leave, the
    /// customer's own alert says so.
    func clearAlert(of slotNumber: UInt32, _ event: UnsafePointer<clvd_event>, _ model: ServingModel) {
        let slot = users.slot(slotNumber)
        let h = slot.header
        let wasRaised = h.pointee.flags & UserHeader.alertRaised != 0
        let wasWithheld = h.pointee.flags & UserHeader.alertWithheld != 0
        h.pointee.flags &= ~(UserHeader.alertRaised | UserHeader.alertWithheld)
        guard wasRaised, !wasWithheld else { return }
        counters.alertsCleared += 1
        predict(slotNumber, at: h.pointee.lastEventMs, model)
        publishAlert(
            slot, 0, state: "cleared", reason: "identity", isBacklog: false, value: h.pointee.lastValue,
            churn: h.pointee.lastChurn, source: event, model)
    }

    private func predict(_ slot: UInt32, at time: Int64, _ model: ServingModel) {
        scratch.slots[0] = slot
        scratch.instants[0] = time
        settings.fill(scratch, row: 0, with: users.slot(slot), now: time)
        model.predict(scratch, rows: 1)
    }

    /// A new forecast of a customer, at the time of a record that is no event of the customer.
    func refresh(
        _ slot: UInt32, _ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel
    ) {
        let h = users.slot(slot).header
        predict(slot, at: max(event.pointee.time_ms, h.pointee.lastEventMs, clock.watermark), model)
        // A customer of one event has a rank already.
        if h.pointee.events == 1 { ranks.remove(h.pointee.lastValue) }
        finish(0, event, record: index, model)
    }

    /// Steps the latest events of a slot once more, from the boundary state on.
    func rerun(_ slot: UserSlot, _ model: ServingModel) {
        let layout = settings.userLayout
        let h = slot.header.pointee
        let ring = EventRing(slot, layout)
        var context = StepInputs.Context(
            previousTime: h.evictedTime, previousCode: h.evictedCode, lastPurchase: h.purchaseBeforeRing,
            amountMean: model.amountMean, amountInverse: model.amountInverse)
        memcpy(slot + layout.rolling, slot + layout.boundary, layout.stateBytes)
        for k in 0..<Int(h.ringCount) {
            let i = (Int(h.ringStart) + k) % EventRing.capacity
            let event = StoredEvent(time: ring.time[i], code: ring.code[i], amount: ring.amount[i])
            settings.inputs.encode(
                event, logAmount: event.logAmount, context, indices: scratch.indices, numerics: scratch.numerics)
            // At rest between two events, as it is when they come one by one.
            settings.codec.unpack(slot + layout.rolling, into: scratch.state)
            model.step(scratch, rows: 1)
            settings.codec.pack(scratch.state, into: slot + layout.rolling)
            (context.previousTime, context.previousCode) = (event.time, event.code)
            if event.code >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) {
                context.lastPurchase = event.time
            }
        }
    }

    /// Forgets the aliases of customers, one in `step` of them, who were forgotten a while ago.
    func forgetUnusedAliases(phase: Int, step: Int, now: Int64) {
        guard aliases.count > 0 else { return }
        aliases.removeUnused(phase: phase, step: step, before: now - settings.retentionMs) {
            holder($0).slot != UserTable.none
        }
    }
}
