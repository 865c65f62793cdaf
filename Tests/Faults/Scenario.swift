import CEventParser
import Engine
import Foundation
import Kafka
import Settings
import TestSupport

/// What the seed decides before a run: settings, records and faults.
struct Scenario {
    enum Fate: Equatable {
        case update, duplicate, ignored, tombstone, erased
        case deadLetter(String)
    }

    let settings: Settings
    let partitions: Int
    let instances: Int
    /// Records of each partition, in order; their memory is never freed.
    let records: [[clvd_record]]
    /// The expected result of each record, derived without the engine.
    let fates: [[Fate]]
    /// The watermark after each record, ms, derived likewise; nil before the first valid event.
    let watermarks: [[Int64?]]
    let faults: Faults
    /// The instance whose model is in the store before the run starts.
    let teacher: Teacher?
    /// Most work of the engine between two signs of life to the group while event time jumps.
    let sliceWork: Int

    struct Faults {
        /// Chance that a process crashes at a call, and the most calls until then.
        var crash = 0.0
        var crashWithin = 0
        /// Chance that a crash is one of the machine: data that was not synced may be lost.
        var powerLoss = 0.0
        /// Chance that a call to the cluster fails with a temporary error.
        var call = 0.0
        /// Chance that a call to the disk fails.
        var disk = 0.0
        /// Chances in each turn: a process is stopped cleanly, paused, replaced by another one of its name.
        var stop = 0.0
        var pause = 0.0
        var replace = 0.0
        /// Chance in each turn that the group loses track of a member and fences it, though no other has its name.
        var spuriousFence = 0.0
        /// Chance in each turn that a new instance, without snapshots, replaces one that ends and is not restarted.
        var succeed = 0.0
        /// Chance in each turn that the log loses records that the newest snapshot does not need.
        var truncate = 0.0
        /// Chance, while a process is down, that a snapshot is damaged or lost.
        var damage = 0.0
        var isCooperative = true
        /// Times at which nothing comes for hours.
        var idlePhases = 0
    }

    static let topic = "events"
    static let hourMs: Int64 = 3_600_000
    /// 2024-01-01 00:00 UTC.
    static let begin: Int64 = 1_704_067_200_000

    var isExactlyOnce: Bool { settings.delivery == .exactlyOnce }
    /// Whether there is one sequence of records, which one instance at a time processes.
    var isAlone: Bool { partitions == 1 && instances == 1 }
    var isLearning: Bool { settings.engine.learning.enabled }
    /// Whether the outputs depend on the records alone: the model does not change, or learns from one sequence only.
    var isExact: Bool { isAlone || !isLearning }

    /// - Parameters:
    ///   - format: path of the format that the records are in.
    ///   - teachers: for each kind of model.
    init(seed: UInt64, format: String, teachers: [Teacher]) {
        var dice = Dice(seed: seed)
        partitions = dice.chance(0.6) ? 1 : dice.pick(2..<5)
        instances = dice.chance(partitions > 1 ? 0.8 : 0.1) ? dice.pick([2, 2, 3]) : 1
        let isAlone = partitions == 1 && instances == 1
        settings = Self.settings(&dice, format: format, isAlone: isAlone)
        let teacher = teachers.first { [settings] in $0.recurrent == settings.engine.model.recurrent }
        self.teacher = dice.chance(settings.engine.learning.enabled ? 0.3 : 0.9) ? teacher : nil
        var fences = Dice(seed: seed ^ 0x6665_6E63)
        faults = Self.faults(&dice, &fences, isAlone: isAlone)
        var generator = Generator(&dice, partitions: partitions, latenessMs: Self.lateness(settings))
        var jumps = Dice(seed: seed ^ 0x6A75_6D70)
        sliceWork = jumps.pick([5, 40, 400])
        let isJumping = jumps.chance(0.3)
        for _ in 0..<dice.pick(60..<300) {
            if isJumping, jumps.chance(0.01) { generator.jump(days: jumps.pick(5..<90)) }
            generator.next(&dice)
        }
        records = generator.records
        fates = generator.fates
        watermarks = generator.watermarks
    }

    /// The records that a teacher learns from: two weeks before all others.
    init(lessonFor recurrent: EngineConfiguration.Model.Recurrent, format: String) {
        var dice = Dice(seed: 0)
        (partitions, instances, teacher, faults, sliceWork) = (1, 1, nil, Faults(), .max)
        var settings = Self.settings(&dice, format: format, isAlone: true)
        settings.engine.model.recurrent = recurrent
        settings.engine.learning.enabled = true
        settings.engine.learning.intervalRecords = 8
        self.settings = settings
        var generator = Generator(
            &dice, partitions: 1, latenessMs: Self.lateness(settings), begin: Self.begin - 14 * 24 * Self.hourMs,
            isLesson: true)
        for _ in 0..<250 { generator.next(&dice) }
        records = generator.records
        fates = generator.fates
        watermarks = generator.watermarks
    }

    private static func lateness(_ s: Settings) -> Int64 { Int64(s.engine.time.allowedLatenessSeconds) * 1000 }

    private static func settings(_ dice: inout Dice, format: String, isAlone: Bool) -> Settings {
        var s = Settings()
        s.input.topics = [topic]
        s.input.format = format
        s.delivery = dice.chance(0.1) ? .atLeastOnce : .exactlyOnce
        s.output.commitRecords = dice.pick([3, 20, 50_000])
        // Rarely, so that a restart replays many records.
        s.snapshots.intervalSeconds = dice.pick([3, 10, 20_000, 1_000_000])
        s.snapshots.keep = dice.pick(1..<4)
        s.runtime.threads = 1
        s.runtime.batchRecords = dice.pick([1, 7, 64])
        s.runtime.idleTickSeconds = dice.chance(0.8) ? dice.pick([5, 60]) : 0
        s.engine.targets = [
            .init(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [0.5, 2]),
            .init(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [2]),
            .init(name: "churn", kind: .absence, events: [], horizonsDays: [0.5]),
        ]
        s.engine.binEdgesDays = [0.5, 2]
        s.engine.time.allowedLatenessSeconds = dice.pick([600, 3600, 14_400])
        s.engine.time.lateEvents = s.engine.time.allowedLatenessSeconds == 600 ? .accept : .reject
        s.engine.model.recurrent = dice.pick([.lstm, .gru, .rnn])
        s.engine.model.units = 16
        s.engine.model.hidden = 16
        s.engine.model.categoryBuckets = 16
        s.engine.model.crossBuckets = 16
        s.engine.model.typeEmbedding = 4
        s.engine.model.categoryEmbedding = 4
        s.engine.learning.enabled = isAlone ? dice.chance(0.9) : dice.chance(0.4)
        s.engine.learning.intervalRecords = dice.pick([8, 32])
        s.engine.learning.intervalHours = dice.pick([0, 6])
        s.engine.learning.minimumSteps = 2
        s.engine.learning.batchSize = 8
        s.engine.learning.stepsPerThousandEvents = 50
        s.engine.learning.stepsPerDay = 2
        s.engine.learning.earlyStoppingInterval = 4
        s.engine.learning.maxLandmarks = 1024
        s.engine.learning.prequentialWindow = 16
        s.engine.learning.eventLandmarkShare = 0.8
        s.engine.alerts.raiseThreshold = 0.35
        s.engine.alerts.clearThreshold = 0.25
        s.engine.alerts.coolDownDays = dice.pick([0, 1])
        s.engine.alerts.minimumPurchases = 0
        s.engine.alerts.rescoreHours = dice.pick([1, 4])
        return s
    }

    private static func faults(_ dice: inout Dice, _ fences: inout Dice, isAlone: Bool) -> Faults {
        var f = Faults()
        f.crash = dice.pick([0, 0.5, 0.9])
        f.crashWithin = dice.pick([40, 150, 600])
        f.powerLoss = dice.pick([0, 0.5, 1])
        f.call = dice.pick([0, 0.01, 0.05])
        f.disk = dice.pick([0, 0, 0.005])
        f.stop = dice.pick([0, 0.01])
        f.pause = dice.pick([0, 0.005, 0.02])
        f.isCooperative = dice.chance(0.6)
        f.idlePhases = dice.pick([0, 1, 3])
        // When the log is truncated, snapshots must not be lost, and no instance may start without any.
        if dice.chance(isAlone ? 0.5 : 0.3) {
            f.truncate = 0.05
        } else {
            f.damage = dice.pick([0, 0.3])
            f.replace = dice.pick([0, 0.004])
        }
        f.succeed = dice.pick([0, 0, 0.004])
        // By itself: retention and replacement do not wait for a member that the group has lost track of.
        if f.truncate == 0, f.replace == 0 { f.spuriousFence = fences.pick([0, 0.005]) }
        return f
    }
}

/// Makes records and their expected results: an oracle that shares no code with the engine.
private struct Generator {
    private(set) var records: [[clvd_record]]
    private(set) var fates: [[Scenario.Fate]]
    private(set) var watermarks: [[Int64?]]
    private let latenessMs: Int64
    private let users: Int
    private let gapMs: Int64
    private let trouble: Double
    private var now: Int64
    private var count = 0
    private var books: [Book]

    /// - Parameter isLesson: whether the records contain a pattern to learn.
    init(
        _ dice: inout Dice, partitions: Int, latenessMs: Int64, begin: Int64 = Scenario.begin, isLesson: Bool = false
    ) {
        now = begin
        records = Array(repeating: [], count: partitions)
        fates = Array(repeating: [], count: partitions)
        watermarks = Array(repeating: [], count: partitions)
        books = Array(repeating: Book(), count: partitions)
        self.latenessMs = latenessMs
        users = isLesson ? 12 : dice.pick(3..<16)
        gapMs = isLesson ? Scenario.hourMs : dice.pick([300_000, 3_600_000])
        trouble = isLesson ? 0 : dice.pick([0, 0.1, 0.4])
    }

    /// Nothing comes for so many days.
    mutating func jump(days: Int) { now += Int64(days) * 24 * Scenario.hourMs }

    mutating func next(_ dice: inout Dice) {
        now += Int64(dice.uniform() * 2 * Double(gapMs))
        count += 1
        let u = dice.pick(0..<users)
        let user = u % 5 == 0 ? "user-\(u)-with-a-name-that-is-longer-than-any-slot-can-hold" : "user-\(u)"
        let partition = u % records.count
        var (time, id, type) = (now, "e\(count)", dice.pick(["view", "purchase", "add_to_cart", "view"]))
        guard dice.chance(trouble) else {
            return add(partition, user, type, time, id, amount: Self.amount(&dice, type))
        }
        switch dice.pick(0..<10) {
        case 0:
            // Late, but within the lateness; or of a device whose clock is ahead.
            let share = dice.uniform()
            time += count % 3 == 0 ? Int64(share * 3_600_000) : -Int64(share * Double(latenessMs))
        case 1: time -= latenessMs + Int64(dice.uniform() * 40_000_000)  // most of these are too late
        case 2: id = "e\(max(1, count - dice.pick(1..<12)))"  // most of these belong to another user
        case 3:
            // An id that the same user has sent before.
            guard let known = books[partition].ids[user]?.last else { break }
            id = known
        case 4: type = "user_deleted"
        case 5: type = "heartbeat"
        case 6:
            return append(partition, user: user, value: nil, at: now, .tombstone)
        case 7:
            return append(
                partition, user: user, value: Self.poison[dice.pick(0..<Self.poison.count)], at: now,
                .deadLetter("invalid_json"))
        case 8:
            // A time in the far future, which must not move the watermark.
            return add(partition, user, type, now + 400 * 24 * 3_600_000, id, amount: "1", .deadLetter("future_time"))
        default:
            return add(partition, user, "purchase", time, id, amount: "1e300", .deadLetter("absurd_amount"))
        }
        add(partition, user, type, time, id, amount: Self.amount(&dice, type))
    }

    private static let poison = ["", "{", "no json", "[1,2", "{\"user_id\":}"]

    private static func amount(_ dice: inout Dice, _ type: String) -> String {
        type == "purchase" ? "\(dice.pick(1..<100)).\(dice.pick(10..<99))" : "0"
    }

    private mutating func add(
        _ partition: Int, _ user: String, _ type: String, _ time: Int64, _ id: String, amount: String,
        _ known: Scenario.Fate? = nil
    ) {
        let json =
            #"{"event_id":"\#(id)","event_time_ms":\#(time),"user_id":"\#(user)","event_type":"\#(type)","amount":"#
            + #"\#(amount),"category":"c\#(count % 5)"}"#
        let fate = known ?? books[partition].enter(user, type, time, id, latenessMs, at: now)
        append(partition, user: user, value: json, at: now, fate)
    }

    private mutating func append(
        _ partition: Int, user: String, value: String?, at time: Int64, _ fate: Scenario.Fate
    ) {
        var r = clvd_record()
        (r.key, r.key_length) = Self.bytes(user)
        if let value { (r.value, r.value_length) = Self.bytes(value) }
        r.offset = books[partition].offset
        r.timestamp_ms = time
        r.partition = Int32(partition)
        // Transaction markers occupy offsets too.
        books[partition].offset += count % 11 == 0 ? 2 : 1
        records[partition].append(r)
        fates[partition].append(fate)
        let watermark = books[partition].watermark
        watermarks[partition].append(watermark == .min ? nil : watermark)
    }

    private static func bytes(_ text: String) -> (UnsafePointer<UInt8>, UInt32) {
        let bytes = Array(text.utf8)
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        memory.initialize(from: bytes, count: bytes.count)
        return (UnsafePointer(memory), UInt32(bytes.count))
    }
}

/// The part of a partition's history that decides about the next event.
private struct Book {
    private(set) var watermark = Int64.min
    private var clock = TimeAccount(skewMs: 3_600_000)
    var offset: Int64 = 0
    /// The latest event ids of each user, as many as the engine remembers.
    var ids: [String: [String]] = [:]
    private static let idsRemembered = 8

    /// The expected result of a valid event.
    mutating func enter(
        _ user: String, _ type: String, _ time: Int64, _ id: String, _ latenessMs: Int64, at writing: Int64
    ) -> Scenario.Fate {
        if type == "heartbeat" { return .ignored }
        let isLate = time < watermark
        if isLate && latenessMs != 600_000 { return .deadLetter("too_late") }  // else they are accepted
        if ids[user]?.contains(id) == true { return .duplicate }
        if !isLate { clock.note(user, at: min(time, writing)) }
        watermark = clock.watermark(latenessMs: latenessMs)
        if type == "user_deleted" {
            ids[user] = nil
            clock.forget(user)
            return .erased
        }
        ids[user] = (ids[user] ?? []).suffix(Self.idsRemembered - 1) + [id]
        return .update
    }
}

extension Scenario {
    /// Frees the memory of the records; they must not be used afterwards.
    func free() {
        for r in records.joined() {
            r.key?.deallocate()
            r.value?.deallocate()
        }
    }
}
