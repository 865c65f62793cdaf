import CEventParser
import CHash
import CKernels
import Glibc

/// Makes landmarks of users and adds the events that follow to their labels.
struct LandmarkWriter {
    /// The events of one busy day have one outcome, so of a day with more than this many events each becomes a
    /// landmark with a smaller chance: the expected number a day is at most `fullShareEvents` × share.
    static let fullShareEvents: Double = 4

    let layout: LandmarkLayout
    let userLayout: UserLayout
    /// End of each bin after the instant, ms.
    let binEnds: [Int64]
    let rules: [LabelRule]
    let isEnabled: Bool
    /// Shares of the 32-bit hash range.
    let eventShare: Double
    let holdOutShare: Double

    /// Whether a user of this identity is held out of training.
    func isHeldOut(_ identity: UInt32) -> Bool {
        Double(clvd_mix(UInt64(identity), HashSalt.holdOut) >> 32) < holdOutShare
    }

    // MARK: Sampling

    /// Priority of a landmark of the time grid at a full hour.
    @inline(__always)
    static func gridPriority(_ h: UnsafeMutablePointer<UserHeader>, hour: Int64) -> UInt32 {
        UInt32(
            truncatingIfNeeded: clvd_mix(
                UInt64(h.pointee.identity) << 32 | UInt64(truncatingIfNeeded: hour), HashSalt.landmarkGrid))
    }

    /// Priority of a landmark at the user's newest event; nil when the event does not become one.
    /// - Parameter features: [features], the finished row of the user.
    @inline(__always)
    func eventPriority(_ h: UnsafeMutablePointer<UserHeader>, features: UnsafePointer<Float>) -> UInt32? {
        let draw = clvd_mix(
            UInt64(h.pointee.identity) << 32 | UInt64(h.pointee.events), HashSalt.eventLandmark)
        let chance = Double(UInt32(truncatingIfNeeded: draw))
        guard chance < eventShare,
            chance * Double(SnapshotFeatures.eventsOfDay(features)) < LandmarkWriter.fullShareEvents * eventShare
        else { return nil }
        return UInt32(truncatingIfNeeded: draw >> 32)
    }

    // MARK: Writing

    /// Adds a landmark of a user whose prediction is in row `r` of the scratch.
    /// - Returns: false when learning is off or the pool does not admit the priority.
    func add(
        row r: Int, of s: Scratch, user slotNumber: UInt32, priority: UInt32, to pool: inout LandmarkPool,
        _ users: borrowing UserTable, _ model: ServingModel
    ) -> Bool {
        guard isEnabled, pool.admits(priority),
            let landmark = pool.append(user: slotNumber, instant: s.instants[r], priority: priority, users: users)
        else { return false }
        let slot = users.slot(slotNumber)
        let h = slot.header
        let l = LandmarkPool.header(landmark)
        let tenure = Float(max(0, s.instants[r] / 1000 - Int64(h.pointee.firstSeen))) / 86_400
        let days = tenure + SnapshotFeatures.ratePriorDays
        l.pointee.naiveValuePerDay = Float(max(0, h.pointee.valueToDate)) / days
        l.pointee.naiveOrdersPerDay = Float(h.pointee.purchases) / days
        l.pointee.naiveEventsPerDay = Float(h.pointee.events) / days
        if isHeldOut(h.pointee.identity) { l.pointee.flags |= LandmarkHeader.holdOut }
        if model.version > 0 { l.pointee.flags |= LandmarkHeader.fromModel }
        l.pointee.flags |= model.parameters.led
        storeSequence(slot, landmark)
        memcpy(landmark + layout.state, slot + userLayout.boundary, userLayout.stateBytes)
        clvd_half_from_float(
            layout.features, s.features + r * layout.features, landmark.at(layout.featureRow, as: UInt16.self))
        memcpy(
            landmark + layout.predictions, s.predictions + r * layout.cells, layout.cells * MemoryLayout<Float>.stride)
        let spreads = landmark.at(layout.spreads, as: LandmarkSpread.self)
        model.forEachDistribution(s, row: r) { i, distribution in
            spreads[i] = LandmarkSpread(distribution: distribution, level: model.levels[i])
        }
        return true
    }

    /// The events since the boundary state, oldest first, and what the inputs of the first depend on.
    private func storeSequence(_ slot: UserSlot, _ landmark: UnsafeMutableRawPointer) {
        let h = slot.header.pointee
        let ring = EventRing(slot, userLayout)
        let l = LandmarkPool.header(landmark)
        let n = Int(h.sinceBoundary)
        let before = Int(h.ringCount) - n
        var purchase = h.purchaseBeforeRing
        for i in 0..<before {
            let at = (Int(h.ringStart) + i) % UserLayout.ringCount
            if ring.code[at] >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) { purchase = ring.time[at] }
        }
        let previous = (Int(h.ringStart) + before + UserLayout.ringCount - 1) % UserLayout.ringCount
        l.pointee.contextTime = before > 0 ? ring.time[previous] : h.evictedTime
        l.pointee.contextCode = before > 0 ? ring.code[previous] : h.evictedCode
        l.pointee.contextPurchase = purchase
        l.pointee.steps = UInt8(n)
        let events = landmark.at(layout.events, as: StoredEvent.self)
        for i in 0..<n {
            let at = (Int(h.ringStart) + before + i) % UserLayout.ringCount
            events[i] = StoredEvent(time: ring.time[at], code: ring.code[at], amount: ring.amount[at])
        }
    }

    // MARK: Labels

    /// Adds an event to the labels of its user's open landmarks, at the event's own time, as the kinds of targets say.
    /// - Parameters:
    ///   - slot: of the user.
    ///   - newest: the user's newest landmark as its header names it; 0 for none.
    ///   - watermark: bins that end before it have matured and stay as they are.
    func label(
        _ pool: borrowing LandmarkPool, user slot: UInt32, newest: UInt32, _ event: UnsafePointer<clvd_event>,
        _ record: OrderRecord, _ watermark: Int64
    ) {
        guard newest != 0, record.rules != 0 else { return }
        let time = event.pointee.time_ms
        pool.forEachOpen(of: slot, newest: newest, at: time) { landmark in
            let instant = LandmarkPool.header(landmark).pointee.instant
            guard time > instant else { return }
            var bin = 0
            while bin < binEnds.count && time > instant + binEnds[bin] { bin += 1 }
            guard bin < binEnds.count, instant + binEnds[bin] >= watermark else { return }
            let labels = landmark.at(layout.labels, as: Float.self)
            for i in rules.indices where record.rules & 1 << UInt32(i) != 0 {
                let label = LabelEvent(
                    type: event.pointee.type, category: event.pointee.category_hash, money: Float(record.money),
                    isNew: record.newRules & 1 << UInt32(i) != 0)
                rules[i].kind.add(label, to: labels + rules[i].cell(bin: bin))
            }
        }
    }
}
