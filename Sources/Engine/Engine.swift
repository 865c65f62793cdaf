import CEventParser
import CHash

/// The deterministic engine: records in, updates and alerts out. Snapshot, configuration and the ordered sequence
/// of records determine its state and its output, bit for bit, however the sequence is cut into steps and however
/// many threads the executor has. It performs no I/O and reads no clock.
///
/// Not thread-safe: one caller at a time.
public final class Engine {
    public let configuration: EngineConfiguration
    /// Names of the input topics; `clvd_event.topic` indexes them.
    public let topics: [String]
    /// Partitions of all input topics together.
    public let partitions: Int
    let settings: EngineSettings
    let serving: ServingModel
    /// What predicted before `serving`, for the partitions that are not beyond `schedule.servesFrom`.
    let former: ServingModel
    let learner: Learner
    private let executor: any ParallelExecutor
    private(set) var tasks: [TaskID: PartitionTask] = [:]
    /// Tasks in the order of their ids: the order in which everything global looks at them.
    private(set) var ordered: [PartitionTask] = []
    /// Records consumed since the engine began, repeats not counted: the position in the sequence.
    public private(set) var position: Int64 = 0
    /// When learning happens next and happened last: `learning.intervalRecords` apart, or as many records as, at the
    /// pace of the stretch before, come in `learning.intervalHours` of event time. Where there are several partitions,
    /// marks of event time. Positions and watermarks decide, never a clock.
    private(set) var schedule = Schedule()

    struct Schedule: Codable, Equatable {
        var next: Int64 = 0
        var last: Int64 = 0
        /// Highest watermark at the last learning, or its mark; nil before the first.
        var watermark: Int64?
        /// nil before the first record, and with one partition.
        var marks: LearningMarks?
        /// Watermark beyond which the newest model predicts; nil: everywhere.
        var servesFrom: Int64?
    }
    /// Whether there are several partitions, whose records may interleave in one way or another.
    let learnsByMarks: Bool
    /// Most work of a task for passing hours between two calls of `betweenSlices`. Results do not depend on it.
    package var sliceWork = Slice.standard
    private var order: [(task: Int, item: Int)] = []
    private var routing = PartitionRouting()
    /// [tasks] of the records of a stretch that fall to each.
    private var shares: [[UInt32]] = []

    /// - Parameters:
    ///   - configuration: a valid one; contradictions trap (validate with `Settings`).
    ///   - topics: input topics in the order that events index them.
    ///   - partitions: how many partitions the topics have together; bounds on memory are divided among them.
    ///   - currency: of all money, three letters; outputs name it.
    ///   - joinsByTopic: whether the topic is keyed by customers and takes messages of the partitions to each other.
    public init(
        configuration: EngineConfiguration, topics: [String], partitions: Int, currency: String = "USD",
        joinsByTopic: Bool = false, executor: any ParallelExecutor
    ) {
        self.configuration = configuration
        self.topics = topics
        self.partitions = partitions
        self.executor = executor
        settings = EngineSettings(
            configuration, topics: topics, partitions: partitions, currency: currency,
            joinsByTopic: joinsByTopic)
        serving = ServingModel(settings)
        former = ServingModel(settings)
        learner = Learner(settings, executor: executor)
        learner.publish(to: serving)
        learner.publish(to: former)
        learnsByMarks = partitions > 1
        learner.isByMarks = learnsByMarks
        schedule.next = interval(records: 0, ms: 0)
    }

    /// The kernel variant at work, as snapshots record it.
    public var kernels: String { Network.kernels }

    /// Learning steps behind the weights that serve; 0 while the network has no say.
    public var modelVersion: Int64 { serving.version }

    func restore(position: Int64, schedule: Schedule) {
        self.position = position
        self.schedule = schedule
        guard !learnsByMarks else { return }
        (self.schedule.marks, self.schedule.servesFrom) = (nil, nil)
        if schedule.next <= position { self.schedule.next = position + Int64(configuration.learning.intervalRecords) }
    }

    /// From now on, learning is at these marks.
    func begin(_ marks: LearningMarks) { schedule.marks = marks }

    func learned(at mark: Int64, servesFrom: Int64, _ next: LearningMarks) {
        (schedule.watermark, schedule.servesFrom, schedule.marks) = (mark, servesFrom, next)
    }

    // MARK: Tasks

    /// Ids of the tasks held, ascending.
    public var taskIDs: [TaskID] { ordered.map(\.id) }

    /// Takes on a partition with empty state.
    public func addTask(_ id: TaskID) { insert(PartitionTask(id: id, settings: settings)) }

    func insert(_ task: PartitionTask) {
        precondition(tasks[task.id] == nil, "task \(task.id) is held already")
        if !learnsByMarks { task.pool.forgetMarks() }
        task.newcomerMask = newcomerMask
        tasks[task.id] = task
        arrange()
    }

    private func arrange() {
        ordered = tasks.values.sorted { $0.id < $1.id }
        routing = PartitionRouting(ordered)
        shares = ordered.map { _ in [] }
    }

    /// Gives a partition up, with its state.
    public func removeTask(_ id: TaskID) {
        tasks[id] = nil
        arrange()
    }

    /// Offset of the next record of a partition: all that the log has below it was taken in; nil before the first, or for a partition not held.
    public func nextOffset(_ id: TaskID) -> Int64? {
        guard let task = tasks[id], task.nextOffset >= 0 else { return nil }
        return task.nextOffset
    }

    public func holds(_ id: TaskID) -> Bool { tasks[id] != nil }

    /// Says where the records of a held partition go on after a start or a rebalance. Nothing is published
    /// until its offset and its clock are back where outputs were committed.
    /// - Parameters:
    ///   - offset: of the next record. Records below it are repeats of the log.
    ///   - firstUnpublishedOffset: records below it advance the state but produce no output.
    ///   - idleTicks: those that were published already, ascending.
    public func resume(_ id: TaskID, at offset: Int64, firstUnpublishedOffset: Int64, idleTicks: [IdleTick] = []) {
        guard let task = tasks[id] else { preconditionFailure("partition \(id) is not held") }
        task.resume(at: offset, firstUnpublishedOffset: firstUnpublishedOffset, idleTicks: idleTicks)
    }

    /// Notes that the log of a held partition has no records below an offset that were not taken in: what is there are
    /// markers of transactions and aborted records.
    /// - Returns: whether that is news.
    public func advance(_ id: TaskID, to offset: Int64) -> Bool {
        guard let task = tasks[id], task.nextOffset >= 0, task.nextOffset < offset else { return false }
        task.nextOffset = offset
        return true
    }

    /// Event-time clock of a partition: the highest watermark or idle tick, ms, those included that are known from
    /// before a restart; nil before the first event.
    public func clock(_ id: TaskID) -> Int64? { tasks[id]?.clock.now }

    /// Records that a partition has taken in, ever.
    package func recordsTaken(_ id: TaskID) -> Int64 { tasks[id]?.counters.records ?? 0 }

    /// `nextOffset` and `clock` of a partition as they were when the last step or tick began.
    package func stepStart(_ id: TaskID) -> (nextOffset: Int64?, clock: Int64?) {
        guard let start = tasks[id]?.stepStart else { return (nil, nil) }
        return (start.nextOffset >= 0 ? start.nextOffset : nil, start.clock)
    }

    // MARK: Newcomers

    /// Which customers are noted when records bring them to a partition that has no state of them: those whose hash has
    /// none of these bits. All bits: none is noted.
    package var newcomerMask = UInt64.max {
        didSet { for task in ordered { task.newcomerMask = newcomerMask } }
    }

    /// The customers that the last step brought to partitions: hash of the id, the same for all partitions, and offset of
    /// the record.
    package func forEachNewcomer(_ body: (TaskID, UInt64, Int64) throws -> Void) rethrows {
        for task in ordered { for (hash, offset) in task.newcomers { try body(task.id, hash, offset) } }
    }

    /// Hashes of the customers that a partition has a state of, as newcomers have them.
    package func forEachUserHash(of id: TaskID, _ body: (UInt64) -> Void) {
        tasks[id]?.users.forEachHash(body)
    }

    // MARK: Steps

    /// Takes in decoded records in their order. What is to be published is read with `forEachOutput`.
    /// - Parameter events: every one belongs to a task that is held.
    public func step(_ events: UnsafeBufferPointer<clvd_event>) { step(events, betweenSlices: {}) }

    /// The same in slices. A record whose time is far ahead runs the timers of all hours before it, which may take
    /// minutes. That work is done in slices; outputs and state are the same however it is cut.
    /// - Parameters:
    ///   - events: every one belongs to a task that is held.
    ///   - betweenSlices: called every second or so of such work, on the caller's thread. It must not change the engine.
    ///     When it throws, the step ends in the middle and the engine is not to be used any more.
    ///   - afterLearning: called after every learning but those at marks: where event time flies, many of them are in one step.
    public func step(
        _ events: UnsafeBufferPointer<clvd_event>, betweenSlices: () throws -> Void, afterLearning: () -> Void = {}
    ) rethrows {
        for task in ordered { task.beginStep() }
        guard let base = events.baseAddress else { return }
        var next = routing.tasks.map { ordered[$0].nextOffset }
        var start = 0
        var harmless = -1
        while start < events.count {
            let most = learnsByMarks ? Int64.max : schedule.next - position
            let (end, taken) = share(base, start..<events.count, most: most, harmless, &next)
            try process(base, betweenSlices)
            position += taken
            start = end
            if !learnsByMarks {
                guard position == schedule.next else { continue }
                learn()
                afterLearning()
            } else if start < events.count, !learn(before: base + start) {
                harmless = start
            }
        }
    }

    /// Hands out records from the front of `range` to their tasks, at most `most` that are new, and none that may go
    /// beyond the next learning but `harmless`. Records below the position of their input (`next`) are repeats of the
    /// log; they are no part of the sequence.
    /// - Returns: where it stopped, and how many records were new.
    private func share(
        _ events: UnsafePointer<clvd_event>, _ range: Range<Int>, most: Int64, _ harmless: Int, _ next: inout [Int64]
    ) -> (end: Int, taken: Int64) {
        for i in shares.indices { shares[i].removeAll(keepingCapacity: true) }
        let limit = timeLimit
        var taken: Int64 = 0
        var input = -1
        var i = range.lowerBound
        while i < range.upperBound && taken < most {
            let (topic, partition, offset) = (events[i].topic, events[i].partition, events[i].offset)
            input = routing.index(topic: topic, partition: partition, guess: input)
            let place = routing.tasks[input]
            if offset < next[input] {
                ordered[place].counters.repeated += 1
            } else {
                if events[i].cappedMs > limit, i != harmless, events[i].status == UInt8(clvd_status_ok.rawValue) {
                    break
                }
                next[input] = offset + 1
                shares[place].append(UInt32(i))
                taken += 1
            }
            i += 1
        }
        return (i, taken)
    }

    /// The tasks take in the records that were handed out: a stretch without learning.
    private func process(
        _ events: UnsafePointer<clvd_event>, _ betweenSlices: () throws -> Void
    ) rethrows {
        var places = ordered.indices.filter { !shares[$0].isEmpty }
        for place in places { ordered[place].beginShare(schedule.marks?.times ?? []) }
        nonisolated(unsafe) let (me, input, models) = (self, events, served)
        while true {
            executor.run(count: places.count) { [places] i in
                let place = places[i]
                me.shares[place].withUnsafeBufferPointer {
                    me.ordered[place].process(
                        input, $0.baseAddress!, count: $0.count, work: me.sliceWork, models)
                }
            }
            places.removeAll { ordered[$0].taken == shares[$0].count }
            if places.isEmpty { return }
            try betweenSlices()
        }
    }

    private func learn() {
        let watermark = ordered.map(\.watermark).max() ?? .min
        let records = position - schedule.last
        var passed: Int64 = 0
        if watermark != .min {
            passed = max(0, watermark - (schedule.watermark ?? watermark))
            schedule.watermark = max(watermark, schedule.watermark ?? .min)
        }
        schedule.last = position
        schedule.next = position + interval(records: records, ms: passed)
        guard configuration.learning.enabled else { return }
        learner.learn(
            ordered, ordered.map(\.cut), records: records, days: Double(passed) / Double(Clock.day), now: watermark)
        learner.publish(to: serving)
    }

    private var served: ServedModels { ServedModels(newest: serving, former: former, from: schedule.servesFrom) }

    /// Records between two learnings at least: a learning costs as much as some records, also when event time flies.
    private static let shortestInterval: Int64 = 16

    /// Records until the next learning, when the last ones took so long (event time).
    private func interval(records: Int64, ms: Int64) -> Int64 {
        let hours = Int64(configuration.learning.intervalHours)
        guard hours > 0 else { return Int64(configuration.learning.intervalRecords) }
        // At first after as many as there were before, so that the first customers are not alone for long.
        let most = min(Int64(configuration.learning.intervalRecords), max(Engine.shortestInterval, position))
        guard ms > 0 else { return most }
        return max(min(most, Engine.shortestInterval), min(most, records * hours * Clock.hour / ms))
    }

    /// Advances the clock of every task of an idle stream to `time` (event time, ms). Only silent users
    /// are scored: alerts may be raised, nothing is learned, no window moves.
    public func tick(to time: Int64) {
        tick(Dictionary(uniqueKeysWithValues: ordered.map { ($0.id, time) }), betweenSlices: {})
    }

    /// The same for the idle ones among the partitions, each with a time of its own.
    public func tick(_ times: [TaskID: Int64]) { tick(times, betweenSlices: {}) }

    /// The same in slices.
    /// - Parameter betweenSlices: see `step`.
    public func tick(_ times: [TaskID: Int64], betweenSlices: () throws -> Void) rethrows {
        for task in ordered { task.beginStep() }
        for task in ordered {
            guard let time = times[task.id] else { continue }
            let model = served.model(at: time)
            while !task.tick(to: time, work: sliceWork, model) { try betweenSlices() }
        }
    }

    /// The outputs of the last step or tick, in the order of the records that caused them.
    public func forEachOutput(_ body: (OutboxEntry) -> Void) {
        if ordered.count == 1 {
            for i in 0..<ordered[0].outbox.items.count { body(ordered[0].outbox.entry(i)) }
            return
        }
        order.removeAll(keepingCapacity: true)
        for (t, task) in ordered.enumerated() {
            for i in 0..<task.outbox.items.count { order.append((t, i)) }
        }
        order.sort { a, b in
            let (x, y) = (ordered[a.task].outbox.items[a.item].record, ordered[b.task].outbox.items[b.item].record)
            return x != y ? x < y : a < b
        }
        for (t, i) in order { body(ordered[t].outbox.entry(i)) }
    }
}
