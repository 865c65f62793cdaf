/// When an alert rises and clears. Pure: from a user's alert state and a fresh score to what happens.
struct AlertPolicy {
    let enabled: Bool
    let churn: HorizonReading
    let raise: Float
    let clear: Float
    let coolDownSeconds: Int64
    let minimumPurchases: UInt32
    let minimumValue: Float
    let factors: Int

    enum Transition: Equatable { case none, raised, cleared }

    init(_ configuration: EngineConfiguration, _ targetTable: TargetTable) {
        let alerts = configuration.alerts
        let churn = targetTable.longest(named: alerts.target, kind: .absence)
        let hasValue = targetTable.longest(named: configuration.segments.target, kind: .value) != nil
        enabled = alerts.enabled && churn != nil && hasValue
        self.churn = churn ?? HorizonReading(kind: .absence, cell: 0, bins: 0)
        raise = Float(alerts.raiseThreshold)
        clear = Float(alerts.clearThreshold)
        coolDownSeconds = Int64(alerts.coolDownDays * 86_400)
        minimumPurchases = UInt32(alerts.minimumPurchases)
        minimumValue = Float(alerts.minimumValueAtRisk)
        factors = alerts.factors
    }

    /// Whether a user who does nothing has to be scored again as time passes.
    @inline(__always)
    func watches(_ h: UnsafeMutablePointer<UserHeader>) -> Bool {
        enabled && (h.pointee.purchases >= minimumPurchases || h.pointee.flags & UserHeader.alertRaised != 0)
    }

    /// - Parameters:
    ///   - silent: the user was scored because time passed, not because of an event. An event raises an alert
    ///     only when it moves the probability over the threshold.
    func transition(
        _ h: UnsafeMutablePointer<UserHeader>, probability p: Float, value: Float, now: Int64, silent: Bool
    ) -> Transition {
        guard enabled else { return .none }
        if h.pointee.flags & UserHeader.alertRaised != 0 { return p <= clear ? .cleared : .none }
        guard p >= raise, value >= minimumValue, h.pointee.purchases >= minimumPurchases else { return .none }
        let scoredBefore = h.pointee.flags & UserHeader.scored != 0
        guard silent || (scoredBefore && h.pointee.lastChurn < raise) else { return .none }
        let last = Int64(h.pointee.alertRaisedAt)
        if last != 0 && now / 1000 - last < coolDownSeconds { return .none }
        return .raised
    }
}
