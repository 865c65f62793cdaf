import CEventParser
internal import Engine
internal import Kafka
internal import Settings

/// What the idle clock knows of one partition. Times of the loop in s, event time in ms.
struct IdleState {
    var lastRecordAt: Double
    var tickedAt: Double
    /// The partition's clock when it fell idle; nil: it is not idle.
    var clockAtStart: Int64?
    /// The latest ticks, ascending, as they are committed.
    var ticks: [IdleTick]

    /// - Parameter ticks: those that are committed.
    init(at now: Double, ticks: [IdleTick]) {
        lastRecordAt = now
        tickedAt = now
        self.ticks = ticks
    }

    /// Keeps a tick for the offset metadata, so that a restart repeats it. A later tick before the same record replaces
    /// the earlier one.
    mutating func record(_ tick: IdleTick) {
        if ticks.last?.before == tick.before { ticks.removeLast() }
        ticks.append(tick)
        if ticks.count > CommitMetadata.mostIdleTicks { ticks.removeFirst() }
    }
}

/// Moves the clock of partitions that get no records for a while: it follows the wall's.
struct IdleClock {
    private let context: LoopContext
    private let table: PartitionTable
    /// Longest wait for a broker's answer, ms.
    private static let answerMilliseconds = 2_000

    init(_ context: LoopContext, _ table: PartitionTable) {
        self.context = context
        self.table = table
    }

    /// Notes which partitions have got records.
    func noteRecords(_ batch: UnsafeBufferPointer<clvd_event>) {
        let now = context.clock.now
        var last: TaskID?
        for e in batch {
            let id = TaskID(topic: e.topic, partition: e.partition)
            if id == last { continue }
            last = id
            table.partitions[id]?.idle.lastRecordAt = now
            table.partitions[id]?.idle.clockAtStart = nil
        }
    }

    /// Ticks the partitions that are due. A partition is not idle while records wait to be read, as they may after an
    /// outage.
    /// - Parameter betweenSlices: see `Engine.step`.
    /// - Returns: the loop's time of the ticks, s; nil when there was none. The engine may have outputs then.
    func tick(betweenSlices: () throws -> Void) rethrows -> Double? {
        let interval = Double(context.settings.runtime.idleTickSeconds)
        guard interval > 0 else { return nil }
        let now = context.clock.now
        let due = table.partitions.filter { now - max($0.value.idle.lastRecordAt, $0.value.idle.tickedAt) >= interval }
        guard !due.isEmpty else { return nil }
        for id in due.keys { table.partitions[id]?.idle.tickedAt = now }
        let times: [TaskID: Int64]
        do {
            times = try idleTimes(due, at: now)
        } catch {
            context.reporter.trouble(.idleTick, error)
            return nil
        }
        guard !times.isEmpty else { return nil }
        let engine = context.engine
        let before = times.keys.map { ($0, engine.clock($0)) }
        try engine.tick(times, betweenSlices: betweenSlices)
        for (id, clock) in before {
            guard let reached = engine.clock(id), let next = engine.nextOffset(id), reached != clock else { continue }
            table.partitions[id]?.idle.record(IdleTick(before: next, clock: reached))
        }
        return now
    }

    /// Event time that idle partitions have reached, ms.
    private func idleTimes(_ due: [TaskID: HeldPartition], at now: Double) throws(KafkaError) -> [TaskID: Int64] {
        let consumer = context.consumer
        // Asked first, as it keeps to its time limit; librdkafka waits for the end of a partition as long as it takes.
        _ = try consumer.partitionCounts(context.settings.input.topics, milliseconds: Self.answerMilliseconds)
        var times: [TaskID: Int64] = [:]
        for (id, p) in due {
            guard let clock = p.idle.clockAtStart ?? context.engine.clock(id), let end = p.end,
                try consumer.watermarks(p.name, milliseconds: Self.answerMilliseconds).high <= end,
                // Records may wait behind an open transaction, where committed records end.
                consumer.knownEnd(p.name) ?? end <= end
            else { continue }
            table.partitions[id]?.idle.clockAtStart = clock
            times[id] = clock + Int64((now - p.idle.lastRecordAt) * 1000)
        }
        return times
    }
}
