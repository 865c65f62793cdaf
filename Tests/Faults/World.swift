import Engine
import Foundation
import Kafka
import Logging
import Runtime
import Settings
import SnapshotStore

/// An error that a run found.
struct Violation: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// One run: processes of the daemon, a cluster and disks on one thread with one clock, and the faults of the seed.
final class World {
    let scenario: Scenario
    let cluster: SimulatedCluster
    let clock = SimulatedClock()
    private let folder: String
    private let trace: (String) -> Void
    var dice: Dice
    var processes: [DaemonProcess] = []
    /// Processes that others of their name have replaced, but that have not noticed it yet.
    var zombies: [DaemonProcess] = []
    private var names = 0
    private var violation: Violation?
    /// The folder of the store, which the instances share, with one folder for each of them inside.
    let store: String
    private var folders: [String: SimulatedFolder] = [:]
    /// A snapshot has been damaged: durable state may be lost.
    var isDamaged = false
    /// Offset of each partition in the state that was reported as durable.
    var furthest: [TopicPartition: Int64] = [:]
    /// Partitions that were replayed up to the committed offset, by whichever model.
    var replayed: Set<Int32> = []
    /// Decides what other processes do while one of them reads.
    private var betweenDice: Dice
    private var isBetween = false
    private var fenceDice: Dice
    /// The mistake that is still to be made, and what it decides with.
    var mistake: Mistake?
    var mistakeDice: Dice
    /// A mistake was made, so that processes have to refuse; how many have.
    var isMistaken = false
    var refusals = 0
    /// Instances that will end and not be restarted, and in how many turns.
    var leaving: [(process: DaemonProcess, turns: Int)] = []
    /// No faults any more.
    private var isCalm = false

    private static let mostTurns = 20_000

    init(_ scenario: Scenario, seed: UInt64, folder: String, trace: @escaping (String) -> Void) {
        self.scenario = scenario
        self.folder = folder
        self.trace = trace
        dice = Dice(seed: ~seed)
        fenceDice = Dice(seed: ~seed ^ 0x6665_6E63)
        mistakeDice = Dice(seed: ~seed ^ 0x6D69_7374)
        if mistakeDice.chance(0.3) { mistake = mistakeDice.pick(Mistake.allCases) }
        betweenDice = Dice(seed: ~seed ^ 0x6265_7477)
        store = "\(folder)/snapshots"
        cluster = SimulatedCluster(
            topic: Scenario.topic, records: scenario.records, isCooperative: scenario.faults.isCooperative,
            clock: clock,
            seed: seed ^ 0x636C)
        mkdir(folder, 0o755)
        mkdir(store, 0o755)
        // An instance that has ended left its model.
        if let teacher = scenario.teacher { symlink(teacher.folder, "\(store)/\(Teacher.instance)") }
    }

    /// Runs until everything is consumed and committed.
    /// - Returns: the engines at the end.
    func run() throws -> [Engine] {
        defer {
            processes = []
            zombies = []
            leaving = []
            try? FileManager.default.removeItem(atPath: folder)
        }
        for i in 0..<scenario.instances {
            processes.append(makeProcess("\(i)", startsIn: i == 0 ? 0 : dice.pick(0..<200)))
        }
        nextName = scenario.instances
        try live()
        try calmDown()
        let engines = try rest()
        return engines
    }

    func makeProcess(_ name: String, startsIn: Int = 0, group: String? = nil) -> DaemonProcess {
        names += 1
        let folder =
            folders[name] ?? SimulatedFolder(path: "\(store)/\(name)", isShared: scenario.instances > 1)
        folders[name] = folder
        let process = DaemonProcess(
            name: name, number: names, folder: folder, world: self, dice: &dice, startsIn: startsIn)
        process.group = group
        process.onViolation = { [weak self] in self?.violation = self?.violation ?? $0 }
        return process
    }
    private var nextName = 0
    /// Whether instances were replaced by others of another name.
    var hasSucceeded: Bool { nextName > scenario.instances }

    /// Whether several processes of one name exist.
    func isDoubled(_ name: String) -> Bool { zombies.contains { $0.name == name } }

    /// The descriptions of all snapshots in the store.
    func snapshots() -> [SimulatedFolder.Description] {
        folders.sorted { $0.key < $1.key }.flatMap(\.value.descriptions)
    }

    /// Lets other processes act while one of them reads the store: they write, remove old snapshots, or crash.
    func goOnWithout(_ reader: DaemonProcess) {
        guard !isBetween, betweenDice.chance(0.3) else { return }
        isBetween = true
        defer { isBetween = false }
        for process in processes where process !== reader {
            for _ in 0..<betweenDice.pick(1..<6) {
                do { try process.turn(&betweenDice) } catch {
                    violation = violation ?? error as? Violation ?? Violation("\(error)")
                }
            }
        }
    }

    // MARK: Time

    private func live() throws {
        var idlePhases = scenario.faults.idlePhases
        var idleTurns = 0
        for turn in 0..<Self.mostTurns {
            if idleTurns > 0 {
                // Waits until everything written is processed and published, then lets hours pass.
                idleTurns -= 1
                if idleTurns < 60 { clock.advance(dice.uniform() * 4000) }
            } else if dice.chance(0.3) {
                let p = dice.pick(0..<scenario.partitions)
                cluster.write(dice.pick(1..<20), to: p)
                if idlePhases > 0 && dice.chance(0.15) {
                    idlePhases -= 1
                    idleTurns = dice.pick(60..<160)
                    trace("\(turn): silence for \(idleTurns) turns")
                }
            }
            if cluster.isWritten { return }
            clock.advance(dice.uniform() * 0.15)
            for process in processes { try turnOf(process) }
            for zombie in zombies { try turnOf(zombie) }
            zombies.removeAll { $0.isGone }
            try leave(turn)
            try disturb(turn)
            try makeMistake(turn)
        }
    }

    func turnOf(_ process: DaemonProcess) throws {
        try process.turn(&dice)
        if let violation { throw violation }
    }

    // MARK: Faults

    private func disturb(_ turn: Int) throws {
        let faults = scenario.faults
        for (i, process) in processes.enumerated() where process.isUp {
            if dice.chance(faults.stop) {
                trace("\(turn): stop \(process.name)")
                try process.stop(&dice)
                if let violation { throw violation }
            } else if dice.chance(faults.pause) {
                let expires = dice.chance(0.5)
                trace("\(turn): pause \(process.name)\(expires ? ", its session ends" : "")")
                process.pausedFor = dice.pick(1..<40)
                if dice.chance(0.3) { cluster.expireTransaction(process.transactionalId) }
                if expires { cluster.expire(process.name) }
            } else if dice.chance(faults.replace) {
                trace("\(turn): replace \(process.name)")
                process.pausedFor = dice.pick(0..<60)
                process.isReplaced = true
                zombies.append(process)
                folders[process.name]?.breakLock()
                processes[i] = makeProcess(process.name)
            } else if faults.spuriousFence > 0, fenceDice.chance(faults.spuriousFence) {
                trace("\(turn): the group loses track of \(process.name)")
                cluster.loseTrack(of: process.name)
            } else if dice.chance(faults.succeed) {
                let next = makeProcess("\(nextName)")
                nextName += 1
                trace("\(turn): \(next.name) takes the place of \(process.name)")
                processes[i] = next
                if scenario.isExact && scenario.isLearning {
                    try retire(process)
                } else {
                    // The old process continues for a while.
                    leaving.append((process, dice.pick(0..<60)))
                }
            }
        }
        if dice.chance(faults.truncate) {
            for p in cluster.partitions { if let offset = furthest[p] { cluster.truncate(p, below: offset) } }
        }
    }

    /// Ends the instances whose turn to leave has come.
    private func leave(_ turn: Int) throws {
        for i in leaving.indices {
            leaving[i].turns -= 1
            if leaving[i].turns < 0 { try retire(leaving[i].process) } else { try turnOf(leaving[i].process) }
        }
        leaving.removeAll { $0.process.isGone }
    }

    private func retire(_ process: DaemonProcess) throws {
        trace("\(process.name) leaves for good")
        try process.retire(inOrder: dice.chance(0.5), &dice)
        if let violation { throw violation }
    }

    // MARK: End

    /// Ends the faults, restarts what is down, and lets everything be consumed.
    private func calmDown() throws {
        isCalm = true
        trace("calm")
        cluster.calmDown()
        for (process, _) in leaving { try retire(process) }
        leaving = []
        for process in processes { process.calmDown() }
        // Replaced processes notice it; one whose successor has left for good has its name again, and ends too. There may
        // be several of a name, which share a folder: none writes to it any more.
        for zombie in zombies where !processes.contains(where: { $0.name == zombie.name }) {
            try zombie.retire(inOrder: false, &dice)
        }
        for zombie in zombies { zombie.calmDown() }
        try settle()
    }

    /// Goes on until everything is consumed and committed, and every process is up for a while.
    private func settle() throws {
        var settled = 0
        for _ in 0..<Self.mostTurns {
            clock.advance(dice.uniform() * 0.3)
            for process in processes + zombies { try turnOf(process) }
            zombies.removeAll { $0.isGone }
            let isSettled = cluster.isConsumed && processes.allSatisfy(\.isUp) && zombies.isEmpty && isRead
            settled = isSettled ? settled + 1 : 0
            if settled > 20 { return }
        }
        throw Violation(
            "the records are not consumed after \(Self.mostTurns) turns without faults: down are "
                + "\(processes.filter { !$0.isUp }.map(\.name)), replaced are \(zombies.map(\.name)), "
                + "\(isRead ? "all is" : "not all is") read: \(cluster.committed)")
    }

    /// Whether a process has read every partition to its end, including repeats after a rebalance.
    private var isRead: Bool {
        cluster.partitions.allSatisfy { p in
            let id = TaskID(topic: 0, partition: p.partition)
            return processes.compactMap(\.engine).contains { $0.nextOffset(id) ?? 0 >= cluster.high(p) }
        }
    }

    /// Lets hours without records pass, in which processes end and start, then commits the rest.
    private func rest() throws -> [Engine] {
        let ticks = scenario.settings.runtime.idleTickSeconds > 0
        try pass(turns: 40, seconds: ticks ? 3000 : 1)
        if ticks {
            // One long standstill, or lives that are shorter than an hour.
            let lives = dice.pick([0, 1, 6])
            for _ in 0..<lives {
                try pass(turns: 1, seconds: 1500)
                for process in processes {
                    if dice.chance(0.5) { try process.stop(&dice) } else { process.kill(&dice) }
                }
                clock.advance(lives == 1 ? Double(dice.pick(10..<200)) * 3600 : 1500)
                try settle()
            }
            try pass(turns: 5, seconds: 1500)
            try checkIdleTime()
        }
        for process in processes { try process.finish() }
        if let violation { throw violation }
        return processes.compactMap(\.engine)
    }

    private func pass(turns: Int, seconds: Double) throws {
        for _ in 0..<turns {
            clock.advance(seconds)
            for process in processes { try turnOf(process) }
        }
    }

    /// The clock of each partition has gone on with the wall's since its last records were committed, whether a process
    /// was up or not. It may be behind by one turn and one tick. It is never ahead of what has passed since a record was
    /// written.
    private func checkIdleTime() throws {
        for (i, p) in cluster.partitions.enumerated() {
            guard let reached = clocks()["0/\(p.partition)"] else { continue }
            let least = cluster.lastProgress[p].map { $0.clock + ms(since: $0.at) - 3 * Scenario.hourMs }
            let most = zip(scenario.watermarks[i], cluster.writtenAt[i]).compactMap { watermark, at in
                watermark.map { $0 + ms(since: at) }
            }.max()
            guard reached >= least ?? reached, reached <= most ?? reached else {
                throw Violation("\(p): the idle clock is \(reached), should be from \(least ?? 0) to \(most ?? 0)")
            }
        }
    }

    private func ms(since time: Double) -> Int64 { Int64((clock.now - time) * 1000) }

    /// The highest clock that is committed or in memory, by partition.
    private func clocks() -> [String: Int64] {
        var clocks: [String: Int64] = [:]
        for engine in processes.compactMap(\.engine) {
            for id in engine.taskIDs { clocks["\(id)"] = engine.clock(id) }
        }
        // A partition without a valid event has no clock.
        for (p, offset) in cluster.committed {
            guard let clock = CommitMetadata(text: offset.metadata).clock else { continue }
            clocks["0/\(p.partition)"] = max(clock, clocks["0/\(p.partition)"] ?? clock)
        }
        return clocks
    }

    /// - Returns: whether a fault may happen now.
    var mayDisturb: Bool { !isCalm }

    func note(_ text: @autoclosure () -> String) { trace(text()) }
}
