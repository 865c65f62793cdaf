/// Everybody's life by a law other than the Poisson one, and the events that come of them.
struct Script: Sendable {
    let lives: [CustomerLife]
    /// In order of time.
    private var events: [SimulatedEvent] = []
    private var place = 0

    init(users: Int, days: Double, seed: UInt64, _ parameters: ClickstreamParameters) {
        lives = (0..<users).map { CustomerLife($0, days: days, seed: seed, parameters) }
        let middle = parameters.startMs + Int64(days * ClickstreamSimulation.dayMs) / 2
        for (index, life) in lives.enumerated() {
            var random = SplitMix64(seed: seed ^ (UInt64(index) &+ 1) &* 0x9E6C_63D0_876A_68DF)
            random = SplitMix64(seed: random.next())
            var (before, orders) = (life.user.startMs, 0)
            for (session, (timeMs, buys)) in life.visits.enumerated() {
                var visit = SimulatedVisit(
                    buys: buys, roomMs: timeMs - before, meanOrderValue: life.user.meanOrderValue,
                    shift: timeMs >= middle ? parameters.spendShift : 1, parameters, &random)
                if buys { orders += 1 }
                while let next = visit.nextMs(endMs: timeMs) {
                    let type = visit.next()
                    events.append(
                        SimulatedEvent(
                            number: Int64(events.count), timeMs: next, user: index, type: type, visit: visit,
                            order: orders, session: session + 1))
                }
                before = timeMs
            }
        }
        events.sort { ($0.timeMs, $0.number) < ($1.timeMs, $1.number) }
    }

    mutating func next() -> SimulatedEvent? {
        guard place < events.count else { return nil }
        defer { place += 1 }
        return events[place].numbered(Int64(place))
    }
}
