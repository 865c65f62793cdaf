import CKernels
import Glibc

/// Everything that may be asked about one user. Nothing changes by asking.
public struct UserView: Sendable, Equatable, Codable {
    /// A target of the configuration up to one of its horizons.
    public struct Forecast: Sendable, Equatable, Codable {
        public var target: String
        public var horizonDays: Double
        /// Base currency for a value target, a probability for the others.
        public var value: Double
        /// 80 % interval of a value target; nil for the others.
        public var lower: Double?
        public var upper: Double?
    }

    /// What happened in a sliding window that ends at the instant of the view.
    public struct Window: Sendable, Equatable, Codable {
        public var days: Int
        public var browses: Int
        public var views: Int
        public var carts: Int
        public var checkouts: Int
        public var orders: Int
        /// Net money, base currency.
        public var spend: Double
    }

    /// One of the user's last events.
    public struct Event: Sendable, Equatable, Codable {
        public var type: String
        /// Seconds since 1970.
        public var timeSeconds: Int64
        /// Base currency, within 1 % as it is kept in half precision on a log scale; 0 when there was none.
        public var amount: Double
        public var opensSession: Bool
    }

    public struct Alert: Sendable, Equatable, Codable {
        /// Whether an alert stands.
        public var isRaised: Bool
        /// When the latest was raised, seconds since 1970; nil when none ever was.
        public var raisedAtSeconds: Int64?
        /// How many were raised so far, at most 255.
        public var count: Int
    }

    public var user: String
    /// Name of the input topic and partition that hold the user.
    public var topic: String
    public var partition: Int32
    /// Instant of the view, ms since 1970.
    public var timeMs: Int64
    /// Every target at every horizon, in the order of the configuration.
    public var forecasts: [Forecast]
    /// Probability of the watched absence; nil when no alerts are configured.
    public var churnProbability: Double?
    public var segment: Segment
    /// 0 to 100: of the customers of the partition, how many have a lower expected value in their latest update.
    public var percentile: Double
    /// 0 to 1, how far the forecasts rest on what was learned and on the user's own past.
    public var confidence: Double
    public var modelVersion: Int64
    /// Net money so far, base currency.
    public var valueToDate: Double
    public var orders: Int
    public var events: Int
    /// Days (UTC) with an event.
    public var daysActive: Int
    /// Seconds since 1970.
    public var firstSeenSeconds: Int64
    /// ms since 1970.
    public var lastEventMs: Int64
    /// Seconds since 1970; nil when nothing was bought.
    public var lastPurchaseSeconds: Int64?
    /// Of 1, 7, 30 and 90 days.
    public var windows: [Window]
    /// The last events, at most 16, oldest first.
    public var lastEvents: [Event]
    public var alert: Alert
}

extension Engine {
    /// The view of a user at the clock of its partition, or at its last event where that is later; nil for a user who
    /// is not known.
    public func view(of user: String) -> UserView? {
        withState(of: user) { view(of: user, $0, $1) }
    }

    private func view(of user: String, _ task: PartitionTask, _ slot: UserSlot) -> UserView {
        let h = slot.header.pointee
        let now = max(task.clock.now ?? .min, h.lastEventMs)
        let scratch = settings.makeScratch()
        settings.fill(scratch, row: 0, with: slot, now: now)
        serving.predict(scratch, rows: 1)
        let row = UnsafePointer(scratch.predictions)
        let share = task.ranks.share(below: settings.segmentReading.value(row))
        return UserView(
            // Of former customers no key is kept.
            user: h.keyLength > 0 ? String(decoding: task.users.key(of: slot), as: UTF8.self) : user,
            topic: topics[Int(task.id.topic)],
            partition: task.id.partition, timeMs: now,
            forecasts: forecasts(scratch),
            churnProbability: settings.alerts.enabled ? Double(settings.alerts.churn.value(row)) : nil,
            segment: Segment(share: share, high: settings.segmentShares.high, mid: settings.segmentShares.mid),
            percentile: 100 * Double(share),
            confidence: Double(serving.confidence(events: h.events)), modelVersion: serving.version,
            valueToDate: h.valueToDate, orders: Int(h.purchases), events: Int(h.events), daysActive: Int(h.daysActive),
            firstSeenSeconds: Int64(h.firstSeen), lastEventMs: h.lastEventMs,
            lastPurchaseSeconds: h.purchases > 0 ? Int64(h.lastPurchase) : nil, windows: windows(of: slot, at: now),
            lastEvents: lastEvents(of: slot),
            alert: .init(
                isRaised: h.flags & UserHeader.alertRaised != 0,
                raisedAtSeconds: h.alertRaisedAt == 0 ? nil : Int64(h.alertRaisedAt), count: Int(h.alerts)))
    }

    /// The task that knows a user, and its slot; of a former customer a slot made of what is left, without windows and
    /// events. nil when no task knows the user.
    func withState<Result>(of user: String, _ body: (PartitionTask, UserSlot) -> Result) -> Result? {
        var user = user
        return user.withUTF8 { key in
            guard key.count > 0 else { return nil }
            for task in ordered {
                let customer = task.customer(key)
                if customer.slot != UserTable.none { return body(task, task.users.slot(customer.slot)) }
                guard let place = task.users.former.find(customer.hash) else { continue }
                let slot = UnsafeMutableRawPointer.allocate(byteCount: settings.userLayout.size, alignment: 8)
                defer { slot.deallocate() }
                slot.initializeMemory(as: UInt8.self, repeating: 0, count: settings.userLayout.size)
                task.users.former.records[Int(place)].restore(slot.header)
                return body(task, slot)
            }
            return nil
        }
    }

    /// The forecasts of row 0 of the scratch.
    private func forecasts(_ scratch: Scratch) -> [UserView.Forecast] {
        var intervals: [SpendInterval] = []
        serving.forEachDistribution(scratch, row: 0) { i, distribution in
            intervals.append(distribution.interval(level: Double(serving.levels[i])))
        }
        let table = settings.targetTable
        return table.targets.enumerated().flatMap { i, target in
            target.horizonsDays.map { days in
                let reading = table.reading(target: i, horizon: days)
                let interval = settings.valueReadings.firstIndex(of: reading).map { intervals[$0] }
                return UserView.Forecast(
                    target: target.name, horizonDays: days, value: Double(reading.value(scratch.predictions)),
                    lower: interval.map { Double($0.lower) }, upper: interval.map { Double($0.upper) })
            }
        }
    }

    private func windows(of slot: UserSlot, at now: Int64) -> [UserView.Window] {
        var sums = [PaneSums](repeating: PaneSums(), count: Panes.windows)
        Panes(slot + settings.userLayout.panes).windows(
            clock: slot.header.pointee.paneClock, at: Panes.index(now), into: &sums)
        return zip(Panes.windowDays, sums).map { days, s in
            UserView.Window(
                days: days, browses: Int(s.counts.0), views: Int(s.counts.1), carts: Int(s.counts.2),
                checkouts: Int(s.counts.3), orders: Int(s.counts.4), spend: Double(s.sum))
        }
    }

    private func lastEvents(of slot: UserSlot) -> [UserView.Event] {
        let ring = EventRing(slot, settings.userLayout)
        let h = slot.header.pointee
        return (0..<Int(h.ringCount)).map { i in
            let at = (Int(h.ringStart) + i) % UserLayout.ringCount
            let code = ring.code[at]
            let type = EventType(rawValue: UInt8(code >> EventRing.typeShift)) ?? .other
            return UserView.Event(
                type: type.name, timeSeconds: Int64(ring.time[at]),
                amount: Double(expm1f(clvd_float_of_half(ring.amount[at]))),
                opensSession: code & EventRing.sessionBit != 0)
        }
    }
}
