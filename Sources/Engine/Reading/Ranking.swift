/// A user as the model sees it now.
public struct RankedUser: Sendable, Equatable, Codable {
    public var user: String
    /// Expected value over the longest horizon of the segment target, base currency.
    public var value: Double
    /// 80 % interval of it; nil when the segment target is no value target.
    public var lower: Double?
    public var upper: Double?
    /// Probability of the watched absence; nil when no alerts are configured.
    public var churnProbability: Double?
    public var valueToDate: Double
    public var orders: Int
    /// ms since 1970.
    public var lastEventMs: Int64
}

extension Engine {
    /// The users of highest expected value at each partition's clock, the highest first. Nothing changes by asking.
    public func topUsers(_ count: Int) -> [RankedUser] {
        var best: [RankedUser] = []
        let scratch = settings.makeScratch()
        for task in ordered {
            guard let now = clock(task.id) else { continue }
            task.score(at: now, scratch, serving) { slot, r in
                let row = UnsafePointer(scratch.predictions + r * settings.targetTable.cells)
                let value = Double(settings.segmentReading.value(row))
                if best.count == count, let last = best.last, value <= last.value { return }
                let h = slot.header.pointee
                var interval: SpendInterval?
                serving.forEachDistribution(scratch, row: r) { i, distribution in
                    guard settings.valueReadings[i] == settings.segmentReading else { return }
                    interval = distribution.interval(level: Double(serving.levels[i]))
                }
                let user = RankedUser(
                    user: String(decoding: task.users.key(of: slot), as: UTF8.self), value: value,
                    lower: interval.map { Double($0.lower) }, upper: interval.map { Double($0.upper) },
                    churnProbability: settings.alerts.enabled ? Double(settings.alerts.churn.value(row)) : nil,
                    valueToDate: h.valueToDate, orders: Int(h.purchases), lastEventMs: h.lastEventMs)
                best.insert(user, at: best.firstIndex { $0.value < value } ?? best.count)
                if best.count > count { best.removeLast() }
            }
        }
        return best
    }
}

extension PartitionTask {
    /// Predictions of all users at an instant; `body` gets each user's row in the scratch.
    func score(
        at now: Int64, _ s: Scratch, _ model: ServingModel, _ body: (UserSlot, Int) -> Void
    ) {
        var rows = 0
        func flush() {
            model.predict(s, rows: rows)
            for r in 0..<rows { body(users.slot(s.slots[r]), r) }
            rows = 0
        }
        for i in 0..<UInt32(users.slotCount) {
            let slot = users.slot(i)
            guard slot.header.pointee.flags & UserHeader.inUse != 0 else { continue }
            s.slots[rows] = i
            settings.fill(s, row: rows, with: slot, now: max(now, slot.header.pointee.lastEventMs))
            rows += 1
            if rows == Scratch.rows { flush() }
        }
        if rows > 0 { flush() }
    }
}
