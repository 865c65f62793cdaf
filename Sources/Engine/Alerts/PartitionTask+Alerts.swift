import CEventParser
import CHash

// How the alerts of a task rise and clear (`AlertPolicy` says when).
extension PartitionTask {
    /// Whether one more alert of the backlog is published.
    private var admitsBacklog: Bool {
        settings.configuration.alerts.backlog == .mark && counters.alertsOfBacklog < Int64(settings.backlogPerTask)
    }

    /// Raises or clears the alert of a user whose prediction is in row `r` of the scratch.
    /// - Parameter source: the event that moved the prediction; nil when time passed in silence.
    func alert(
        _ slot: UserSlot, _ r: Int, value: Float, churn: Float, source: UnsafePointer<clvd_event>?,
        _ model: ServingModel
    ) {
        let h = slot.header
        let now = scratch.instants[r]
        let silent = source == nil
        let (state, reason): (StaticString, StaticString)
        var isBacklog = false
        switch settings.alerts.transition(h, probability: churn, value: value, now: now, silent: silent) {
        case .none: return
        case .raised:
            // The first score of a user who has done nothing since a model serves.
            isBacklog = silent && h.pointee.flags & UserHeader.scored == 0
            h.pointee.flags |= UserHeader.alertRaised
            h.pointee.alertRaisedAt = UInt32(clamping: now / 1000)
            if h.pointee.alerts < .max { h.pointee.alerts += 1 }
            if isBacklog && !admitsBacklog {
                h.pointee.flags |= UserHeader.alertWithheld
                counters.alertsWithheld += 1
                return
            }
            counters.alertsRaised += 1
            if silent { counters.alertsForSilence += 1 }
            if isBacklog { counters.alertsOfBacklog += 1 }
            (state, reason) = ("raised", silent ? "silence" : "decline")
        case .cleared:
            let wasWithheld = h.pointee.flags & UserHeader.alertWithheld != 0
            h.pointee.flags &= ~(UserHeader.alertRaised | UserHeader.alertWithheld)
            if wasWithheld { return }
            counters.alertsCleared += 1
            (state, reason) = ("cleared", silent ? "model" : "activity")
        }
        publishAlert(
            slot, r, state: state, reason: reason, isBacklog: isBacklog, value: value, churn: churn, source: source,
            model)
    }

    /// - Parameter r: row of the scratch with the prediction.
    func publishAlert(
        _ slot: UserSlot, _ r: Int, state: StaticString, reason: StaticString, isBacklog: Bool, value: Float,
        churn: Float, source: UnsafePointer<clvd_event>?, _ model: ServingModel
    ) {
        guard !muted else { return }
        let (h, now) = (slot.header, scratch.instants[r])
        let key = users.key(of: slot)
        let alert = AlertEncoder.Alert(
            id: clvd_seeded_hash(key.baseAddress!, key.count, UInt64(h.pointee.alertRaisedAt)), state: state,
            reason: reason, isBacklog: isBacklog, at: now, lastEventMs: h.pointee.lastEventMs, churnProbability: churn,
            value: value, valueToDate: h.pointee.valueToDate, orders: h.pointee.purchases,
            firstPurchase: h.pointee.firstPurchase, lastPurchase: h.pointee.lastPurchase,
            factors: model.factors(
                scratch, row: r, reading: settings.alerts.churn, count: settings.alerts.factors),
            modelVersion: model.version)
        let place = source.map { RecordPlace($0.pointee) } ?? .none
        outbox.append(.alert, record: currentRecord, source: place, key: key) { w in
            settings.alertEncoder.write(alert, user: key, &w)
        }
    }
}
