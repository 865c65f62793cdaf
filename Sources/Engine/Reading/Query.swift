/// Asks the model about users at an instant, without telling it anything: no state changes by asking. It belongs to
/// the engine it was made by, and like it to one caller at a time.
public final class Query {
    /// What to read: a target of the configuration at one of its horizons.
    public struct Item: Sendable, Equatable {
        public var target: String
        public var horizonDays: Double

        public init(target: String, horizonDays: Double) {
            self.target = target
            self.horizonDays = horizonDays
        }
    }

    private let engine: Engine
    private let readings: [HorizonReading]
    /// Place of each reading among those that have an interval.
    private let intervals: [Int?]
    private let scratch: Scratch
    private var places: [Int] = []

    /// Numbers of an answer.
    public var count: Int { readings.count }

    init(_ engine: Engine, _ readings: [HorizonReading]) {
        self.engine = engine
        self.readings = readings
        intervals = readings.map { engine.settings.valueReadings.firstIndex(of: $0) }
        scratch = engine.settings.makeScratch()
    }

    /// What is predicted for each user at its instant (ms), `count` numbers each, in the order of the items: money of
    /// a value target, the probability of the others. A user who is not known is like anybody: the population's rate.
    public func answer(_ users: [(key: String, timeMs: Int64)]) -> [Float] {
        answer(users) { _, _, _ in }
    }

    /// The same; `onInterval` gets the 80 % intervals of value targets at their horizons, with the places of the user
    /// and of the item.
    public func answer(
        _ users: [(key: String, timeMs: Int64)], onInterval: (Int, Int, SpendInterval) -> Void
    ) -> [Float] {
        var out = [Float](repeating: 0, count: users.count * count)
        let (serving, prior) = (engine.serving, UnsafePointer(engine.serving.prior))
        places.removeAll(keepingCapacity: true)
        for (i, user) in users.enumerated() {
            guard fill(places.count, user.key, user.timeMs) else {
                read(prior, into: &out, i)
                serving.forEachDistribution(prior, outputs: nil) { tell(i, $0, $1, onInterval) }
                continue
            }
            places.append(i)
            if places.count == Scratch.rows { flush(&out, onInterval) }
        }
        flush(&out, onInterval)
        return out
    }

    private func fill(_ row: Int, _ key: String, _ timeMs: Int64) -> Bool {
        engine.withState(of: key) { _, slot in
            engine.settings.fill(scratch, row: row, with: slot, now: max(timeMs, slot.header.pointee.lastEventMs))
        } != nil
    }

    private func tell(
        _ user: Int, _ reading: Int, _ distribution: SpendDistribution, _ body: (Int, Int, SpendInterval) -> Void
    ) {
        for (item, interval) in intervals.enumerated() where interval == reading {
            body(user, item, distribution.interval(level: Double(engine.serving.levels[reading])))
        }
    }

    private func flush(_ out: inout [Float], _ onInterval: (Int, Int, SpendInterval) -> Void) {
        if places.isEmpty { return }
        engine.serving.predict(scratch, rows: places.count)
        for (row, i) in places.enumerated() {
            read(UnsafePointer(scratch.predictions + row * engine.settings.targetTable.cells), into: &out, i)
            engine.serving.forEachDistribution(scratch, row: row) { tell(i, $0, $1, onInterval) }
        }
        places.removeAll(keepingCapacity: true)
    }

    private func read(_ row: UnsafePointer<Float>, into out: inout [Float], _ i: Int) {
        for (k, reading) in readings.enumerated() { out[i * count + k] = reading.value(row) }
    }
}

extension Engine {
    /// - Precondition: every item names a target and one of the bin edges.
    public func query(_ items: [Query.Item]) -> Query {
        Query(
            self,
            items.map { item in
                guard let target = settings.targetTable.targets.firstIndex(where: { $0.name == item.target }) else {
                    preconditionFailure("no target \(item.target)")
                }
                return settings.targetTable.reading(target: target, horizon: item.horizonDays)
            })
    }
}
