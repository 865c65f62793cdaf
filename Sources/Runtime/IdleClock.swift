import CEventParser
internal import Engine
import Foundation
internal import Kafka
internal import Logging
internal import Settings

/// What the idle clock knows of one partition. Times of the loop in s, event time in ms.
struct IdleState {
    /// When the partition got its last record, as it is committed; nil: not known yet.
    var silence: CommitMetadata.Silence?
    /// The same in the loop's time: before this life began where the partition was silent already.
    private(set) var since: Double
    var tickedAt: Double
    /// The latest ticks, ascending, as they are committed.
    private(set) var ticks: [IdleTick]
    /// What an operator should know of the wall clock; nil: nothing.
    let warning: String?

    /// Longest time that the wall clock may be ahead of the idle clock at a start. Beyond it the wall clock is thought to
    /// be wrong, or to have been: some machines boot in 1970.
    private static let mostAheadMs: Int64 = 366 * 86_400_000
    /// A wall clock is set back by less than this without a word, ms.
    private static let usualStepMs: Int64 = 60_000

    /// Goes on with the silence that is committed: the wall clock says how long it has lasted, time while no process ran
    /// included. The loop's time takes over from here.
    /// - Parameter wallMs: the wall clock, ms since 1970.
    init(after published: CommitMetadata, at now: Double, wallMs: Int64) {
        ticks = published.idleTicks
        (since, tickedAt) = (now, now)
        guard let silence = published.silence else {
            warning = nil
            return
        }
        let reached = max(published.clock ?? .min, silence.clock)
        let ahead = silence.clock + (wallMs - silence.wallMs) - reached
        guard (0...Self.mostAheadMs).contains(ahead) else {
            // Goes on from what was reached, and by the wall clock that there is now.
            self.silence = .init(clock: reached, wallMs: wallMs)
            warning = Self.warning(ahead: ahead)
            return
        }
        self.silence = silence
        since = now - Double(reached - silence.clock + ahead) / 1000
        // Due at once, or a process that seldom lives for long would never tick.
        tickedAt = since
        warning = nil
    }

    private static func warning(ahead: Int64) -> String? {
        if ahead > 0 {
            return "the wall clock is \(ahead / 86_400_000) days ahead of the partition's idle clock, which does not "
                + "follow a jump of more than \(mostAheadMs / 86_400_000) days: idle time goes on from now. Check the "
                + "machine's clock"
        }
        return ahead > -usualStepMs
            ? nil
            : "the wall clock has been set back by \(-ahead / 1000) s or more: idle time goes on from what was reached"
    }

    /// Notes that the partition got records, which begins its silence anew.
    /// - Parameter clock: the partition's; nil: none of its records was valid so far.
    mutating func noteRecords(at now: Double, wallMs: Int64, clock: Int64?) {
        since = now
        silence = clock.map { CommitMetadata.Silence(clock: $0, wallMs: wallMs) }
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
    private static let hour: Int64 = 3_600_000

    init(_ context: LoopContext, _ table: PartitionTable) {
        self.context = context
        self.table = table
    }

    /// Notes which partitions have got records. Those that are read again do not end a silence.
    func noteRecords(_ batch: UnsafeBufferPointer<clvd_event>) {
        let (now, wallMs, engine) = (context.clock.now, context.clock.wallMs, context.engine)
        var last: TaskID?
        for e in batch {
            let id = TaskID(topic: e.topic, partition: e.partition)
            if id == last { continue }
            last = id
            guard let p = table.partitions[id], engine.nextOffset(id) ?? 0 > p.firstUnpublishedOffset else { continue }
            table.partitions[id]?.idle.noteRecords(at: now, wallMs: wallMs, clock: engine.clock(id))
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
        let due = table.partitions.filter { _, p in
            p.end != nil && now - max(p.idle.since, p.idle.tickedAt) >= interval
        }
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
            note(id, hours: clock.map { (reached - $0) / Self.hour } ?? 0)
        }
        return now
    }

    /// Says that silence goes on over a restart or standstill, which may raise many alerts at once. Else a tick is an
    /// hour.
    private func note(_ id: TaskID, hours: Int64) {
        guard hours > 1, let p = table.partitions[id], let silence = p.idle.silence else { return }
        let since = Date(timeIntervalSince1970: Double(silence.wallMs) / 1000)
        context.logger.notice(
            "idle time goes on",
            metadata: [
                "partition": "\(p.name)", "hours": "\(hours)", "silent_since": "\(since.formatted(.iso8601))",
            ])
    }

    /// Event time that idle partitions have reached, ms.
    private func idleTimes(_ due: [TaskID: HeldPartition], at now: Double) throws(KafkaError) -> [TaskID: Int64] {
        let consumer = context.consumer
        // Asked first, as it keeps to its time limit; librdkafka waits for the end of a partition as long as it takes.
        _ = try consumer.partitionCounts(context.settings.input.topics, milliseconds: Self.answerMilliseconds)
        var times: [TaskID: Int64] = [:]
        for (id, p) in due {
            guard let clock = context.engine.clock(id), let end = p.end,
                try consumer.watermarks(p.name, milliseconds: Self.answerMilliseconds).high <= end,
                // Records may wait behind an open transaction, where committed records end.
                consumer.knownEnd(p.name) ?? end <= end
            else { continue }
            let passed = Int64((now - p.idle.since) * 1000)
            let silence = p.idle.silence ?? .init(clock: clock, wallMs: context.clock.wallMs - passed)
            table.partitions[id]?.idle.silence = silence
            times[id] = silence.clock + passed
        }
        return times
    }
}
