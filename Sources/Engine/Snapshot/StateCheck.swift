import Foundation

/// Whether the restored state of a partition can be worked with. Snapshots of other instances are adopted, so nothing in
/// them is trusted: indices must lie in what they index, links between users and landmarks must be those that the engine
/// makes, numbers must be finite. One pass over the slots and one over the landmarks.
struct StateCheck {
    /// Instants lie within so many ms of 1970, as the years 1 to 9999 do: arithmetic on them cannot overflow.
    static let instants = -(Int64(1) << 48)...Int64(1) << 48
    /// Counts and offsets are at most 2^53, the integers that any JSON reader keeps exactly.
    static let counts = Int64(0)...Int64(1) << 53

    let settings: EngineSettings
    let partition: TaskID

    func refusal(_ what: String) -> SnapshotMismatch {
        SnapshotMismatch("the state of partition \(partition) cannot be: \(what)")
    }

    // MARK: Users

    func check(_ users: borrowing UserTable, _ pool: borrowing LandmarkPool) throws {
        for i in 0..<users.slotCount {
            let slot = users.slot(UInt32(i))
            guard slot.header.pointee.flags & UserHeader.inUse != 0 else { continue }
            if let fault = fault(slot) { throw refusal("the user in slot \(i): \(fault)") }
            if Int(slot.header.pointee.landmark) > pool.capacity {
                throw refusal("the user in slot \(i): newest landmark outside the pool")
            }
        }
        for i in 0..<users.former.places where Int(users.former.records[i].landmark) > pool.capacity {
            throw refusal("former customer \(i): newest landmark outside the pool")
        }
    }

    func fault(_ slot: UserSlot) -> StaticString? {
        let h = slot.header.pointee
        let layout = settings.userLayout
        if h.flags & UserHeader.pending != 0 { return "an event is pending" }
        if Int(h.dedupNext) >= UserLayout.dedupCount { return "next place in the ring of event ids" }
        if Int(h.ringStart) >= UserLayout.ringCount { return "start of the event ring" }
        if Int(h.ringCount) > UserLayout.ringCount { return "count of the event ring" }
        if h.sinceBoundary > h.ringCount { return "events since the boundary state" }
        guard StateCheck.instants.contains(h.lastEventMs) else { return "time of the last event" }
        guard h.valueToDate.isFinite else { return "money" }
        if Int(h.orderNext) >= Orders.capacity { return "next place in the ring of orders" }
        guard h.lastValue.isFinite, h.lastChurn.isFinite else { return "latest prediction" }
        guard areFinite(slot + layout.panes, floats: Panes.count) else { return "money of a pane" }
        let ring = EventRing(slot, layout)
        for k in 0..<Int(h.ringCount) {
            let at = (Int(h.ringStart) + k) % UserLayout.ringCount
            if let fault = fault(code: ring.code[at], amount: ring.amount[at]) { return fault }
        }
        guard isFinite(state: slot + layout.rolling), isFinite(state: slot + layout.boundary) else {
            return "recurrent state"
        }
        return nil
    }

    /// - Parameter amount: log(1 + amount) in half precision, never negative.
    private func fault(code: UInt16, amount: UInt16) -> StaticString? {
        if Int(code >> EventRing.typeShift) >= EventType.embeddedTypes { return "type of a stored event" }
        if Int(code & EventRing.categoryMask) >= settings.inputs.categoryBuckets {
            return "category of a stored event"
        }
        return amount < StateCheck.halfInfinity ? nil : "amount of a stored event"
    }

    // MARK: Landmarks

    /// Each held landmark is where its sequence says and belongs to a user in use or to none; the landmarks of a user are
    /// linked from the newest to the oldest, beginning in its slot.
    func check(_ pool: borrowing LandmarkPool, _ users: borrowing UserTable) throws {
        // Of slots, then of former customers.
        var newest = [UInt32](repeating: 0, count: users.slotCount + users.former.places)
        for sequence in pool.head..<pool.tail {
            let landmark = pool.at(sequence)
            let h = LandmarkPool.header(landmark).pointee
            if h.sequence != sequence { throw refusal("landmark \(sequence): its sequence") }
            guard StateCheck.instants.contains(h.instant) else { throw refusal("landmark \(sequence): its instant") }
            if h.user >= FormerCustomers.gone { continue }
            guard let place = place(of: h.user, users) else { throw refusal("landmark \(sequence): its user") }
            // An older one that is held no longer has left its place behind.
            let known = newest[place]
            guard known == 0 ? Int(h.previous) <= pool.capacity : h.previous == known else {
                throw refusal("landmark \(sequence): its previous landmark")
            }
            newest[place] = pool.link(sequence)
            if let fault = fault(landmark, h) { throw refusal("landmark \(sequence): \(fault)") }
        }
        for (i, link) in newest.enumerated() where link != 0 {
            let isSlot = i < users.slotCount
            let user = isSlot ? UInt32(i) : FormerCustomers.bit | UInt32(i - users.slotCount)
            if users.newest(of: user) != link {
                throw refusal("the user in slot \(i): newest landmark is another's or an older one")
            }
        }
    }

    /// Place of a landmark's user among slots and former customers; nil for one who is neither.
    private func place(of user: UInt32, _ users: borrowing UserTable) -> Int? {
        if user < FormerCustomers.bit {
            let isUser = Int(user) < users.slotCount && users.slot(user).header.pointee.flags & UserHeader.inUse != 0
            return isUser ? Int(user) : nil
        }
        let i = Int(user & ~FormerCustomers.bit)
        return i < users.former.places && users.former.records[i].flags != 0 ? users.slotCount + i : nil
    }

    func fault(_ landmark: UnsafeMutableRawPointer, _ h: LandmarkHeader) -> StaticString? {
        let layout = settings.landmarkLayout
        if Int(h.steps) > UserLayout.ringCount { return "number of stored events" }
        guard h.naiveValuePerDay.isFinite, h.naiveOrdersPerDay.isFinite, h.naiveEventsPerDay.isFinite else {
            return "naive rates"
        }
        let events = landmark.at(layout.events, as: StoredEvent.self)
        for k in 0..<Int(h.steps) {
            if let fault = fault(code: events[k].code, amount: events[k].amount) { return fault }
        }
        guard isFinite(state: landmark + layout.state) else { return "recurrent state" }
        guard areFinite(landmark + layout.featureRow, halves: layout.features) else { return "features" }
        guard areFinite(landmark + layout.labels, floats: layout.cells) else { return "labels" }
        guard areFinite(landmark + layout.predictions, floats: layout.cells) else { return "predictions" }
        let spreads = (layout.size - layout.spreads) / MemoryLayout<LandmarkSpread>.stride
        guard
            areFinite(landmark + layout.spreads, floats: spreads * MemoryLayout<LandmarkSpread>.stride / 4)
        else { return "distributions of spend" }
        return nil
    }

    // MARK: Aliases

    /// What is held is a customer's: nothing is held of an alias.
    func check(_ aliases: borrowing AliasTable, _ users: borrowing UserTable) throws {
        guard aliases.nodes.seed == users.seed else { throw refusal("the seed of the aliases") }
        guard aliases.count > 0 else { return }
        for i in 0..<users.slotCount {
            let slot = users.slot(UInt32(i))
            guard slot.header.pointee.flags & UserHeader.inUse != 0 else { continue }
            let key = users.key(of: slot)
            let hash = aliases.nodes.hash(key.baseAddress!, key.count)
            if aliases.customer(of: key.baseAddress!, key.count, hash: hash) != nil {
                throw refusal("the user in slot \(i): another customer's alias")
            }
        }
    }

    // MARK: Numbers

    private static let halfInfinity: UInt16 = 0x7C00
    private static let floatInfinity: UInt32 = 0x7F80_0000

    private func isFinite(state: UnsafeMutableRawPointer) -> Bool {
        !settings.codec.hasCell || areFinite(state + settings.codec.units, halves: settings.codec.units)
    }

    /// At any alignment.
    private func areFinite(_ p: UnsafeMutableRawPointer, halves n: Int) -> Bool {
        for k in 0..<n {
            let x = p.loadUnaligned(fromByteOffset: 2 * k, as: UInt16.self)
            if x & StateCheck.halfInfinity == StateCheck.halfInfinity { return false }
        }
        return true
    }

    private func areFinite(_ p: UnsafeMutableRawPointer, floats n: Int) -> Bool {
        StateCheck.areFinite(UnsafeRawBufferPointer(start: p, count: 4 * n))
    }

    static func areFinite(_ bytes: UnsafeRawBufferPointer) -> Bool {
        for k in 0..<bytes.count / 4 {
            let x = bytes.loadUnaligned(fromByteOffset: 4 * k, as: UInt32.self)
            if x & floatInfinity == floatInfinity { return false }
        }
        return true
    }
}

// MARK: - Descriptions

extension PartitionTask.Image {
    /// Clocks, counters and histogram. Hours are those of the watermark: timers run through the one before the other moves.
    func check(_ settings: EngineSettings) throws {
        let check = StateCheck(settings: settings, partition: id)
        guard stream?.isWhole ?? true, stream.map({ ($0.time == .min) == (watermark == .min) }) ?? true else {
            throw check.refusal("time of the stream")
        }
        if watermark == .min {
            guard timerHour == .min, scoredHour == .min else { throw check.refusal("hours without a watermark") }
        } else {
            guard StateCheck.instants.contains(watermark) else { throw check.refusal("watermark") }
            guard timerHour == Clock.index(watermark, per: Clock.hour) else {
                throw check.refusal("hour of the timers")
            }
            let last = StateCheck.instants.upperBound / Clock.hour
            guard (timerHour...last).contains(scoredHour) else { throw check.refusal("hour of the idle ticks") }
        }
        guard nextOffset == -1 || StateCheck.counts.contains(nextOffset) else { throw check.refusal("next offset") }
        guard counters.isWhole, (0...counters.records).contains(recordsLearned),
            pool.cuts.allSatisfy({ (0...counters.records).contains($0.records) })
        else { throw check.refusal("counters") }
    }
}

extension TaskCounters {
    /// Whether a snapshot brought numbers that can be counted on from.
    fileprivate var isWhole: Bool {
        let all = [
            records, accepted, duplicates, ignored, tombstones, erased, deadLetters, repeated, updates, alertsRaised,
            alertsCleared, alertsForSilence, alertsOfBacklog, alertsWithheld, rescored, landmarks, evictedIdle,
            evictedByCap, purchasesWithoutMoney, refundsWithoutOrder, lateAccepted, excessEvents, identifies, joined,
            aliasesWithoutState, aliasesRepointed, forwarded, messages, messagesRefused, messagesRepeated, adopted,
        ]
        return reasons.count == TaskCounters().reasons.count && (all + reasons).allSatisfy(StateCheck.counts.contains)
    }
}

extension EngineImage.Metadata {
    /// The parts of the description that are the same for all partitions.
    func check() throws {
        guard Set(tasks.map(\.id)).count == tasks.count else { throw SnapshotMismatch("a partition comes twice") }
        guard tasks.allSatisfy({ topics.indices.contains(Int($0.id.topic)) && $0.id.partition >= 0 }) else {
            throw SnapshotMismatch("a partition of a topic that the snapshot does not have")
        }
        guard StateCheck.counts.contains(position), (0...position).contains(schedule.last),
            partitions > 1
                || schedule.next > position && schedule.next - position <= StateCheck.counts.upperBound,
            schedule.marks?.isWhole ?? true,
            (schedule.marks == nil) == (former == nil), schedule.watermark.map(StateCheck.instants.contains) ?? true
        else { throw SnapshotMismatch("the position and the next learning do not fit each other") }
        guard learner.population?.isWhole ?? learner.process?.isWhole ?? true else {
            throw SnapshotMismatch("the weights of the processes, the population")
        }
    }
}
