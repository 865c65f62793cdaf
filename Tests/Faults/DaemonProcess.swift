import Engine
import Foundation
import Kafka
import Logging
import Runtime
import Settings
import SnapshotStore

/// A process of the daemon, with the supervisor that restarts it: its pipelines one after the other, its access to the
/// shared store, and the disk below.
final class DaemonProcess {
    let name: String
    /// Turns for which it is paused.
    var pausedFor = 0
    /// Another process with the same name has been started.
    var isReplaced = false
    /// Another group than that of the scenario.
    var group: String?
    /// It has ended and will not be restarted.
    private(set) var isGone = false
    var onViolation: (Violation) -> Void = { _ in }

    private unowned let world: World
    private let number: Int
    private let folder: SimulatedFolder
    private var disk: SimulatedDisk!
    private var gate: Gate
    private var store: SimulatedStore?
    private var pipeline: Pipeline?
    private var shared = SharedState()
    private var startsIn: Int
    private var isCalm = false
    /// Position of the newest snapshot that was reported as durable.
    private var kept: (position: Int64, offsets: [TopicPartition: Int64])?
    private var taken: [Int64: [TopicPartition: Int64]] = [:]
    /// Offsets of partitions in the store when they were assigned to this process.
    private var offered: [TopicPartition: Int64] = [:]
    /// Partitions that had been replayed up to the committed offset when they were revoked.
    private var caughtUp: Set<TopicPartition> = []
    /// Whether the pipeline started without a snapshot of its own.
    private var isNewcomer = false
    /// Whether the store had a trained model at that time.
    private var hadModel = false
    private var isInTurn = false
    /// The pipeline has failed. Its state is ahead of the committed offsets and must not be handed over.
    private var isEnding = false

    init(name: String, number: Int, folder: SimulatedFolder, world: World, dice: inout Dice, startsIn: Int) {
        self.name = name
        self.number = number
        self.folder = folder
        self.world = world
        self.startsIn = startsIn
        gate = Gate(seed: dice.next())
        gate.kill()
    }

    var transactionalId: String { "clvd-\(name)" }
    var isUp: Bool { pipeline != nil && pausedFor == 0 }
    var engine: Engine? { pipeline?.engine }

    func calmDown() {
        isCalm = true
        gate.callsLeft = nil
        gate.failing = 0
        pausedFor = 0
        startsIn = min(startsIn, 3)
        disk?.failing = 0
    }

    // MARK: Turns

    func turn(_ dice: inout Dice) throws {
        // Another process that acts while this one reads must not start a turn of this one.
        if isGone || isInTurn { return }
        isInTurn = true
        defer { isInTurn = false }
        if pausedFor > 0 {
            pausedFor -= 1
            return
        }
        if startsIn > 0 {
            startsIn -= 1
            return
        }
        advanceDisk(dice.pick(0..<30))
        do {
            if let pipeline { try pipeline.turn() } else { try begin(&dice) }
            noteSnapshot()
        } catch {
            end(with: error, &dice)
        }
    }

    private func begin(_ dice: inout Dice) throws {
        let scenario = world.scenario
        var settings = scenario.settings
        if let group { settings.kafka.groupId = group }
        if gate.isDead {
            start(&dice)
            try checkSnapshots()
        }
        if store == nil {
            store = SimulatedStore(
                try SharedSnapshotFolder(
                    directory: world.store, instance: name, logger: Self.logger, disk: disk)
            ) { [unowned self] in world.goOnWithout(self) }
        }
        isNewcomer = folder.names.isEmpty
        hadModel = world.snapshots().contains { $0.modelVersion > 0 }
        let consumer = SimulatedConsumer(
            world.cluster, name: name, clock: world.clock, gate: gate, batchRecords: settings.runtime.batchRecords,
            seed: dice.next())
        consumer.onRebalance = { [unowned self] in note($0) }
        consumer.onAssign = { [unowned self] in noteTaken($0) }
        consumer.onUnassign = { [unowned self] in noteReleased($0) }
        let producer = SimulatedProducer(
            world.cluster, transactionalId: scenario.isExactlyOnce ? transactionalId : nil, gate: gate)
        let next = try Pipeline(
            settings, partitionCount: scenario.partitions, store: store!, shared: shared, logger: Self.logger,
            connections: Connections(source: consumer, sink: producer, clock: world.clock))
        next.engine.sliceWork = scenario.sliceWork
        pipeline = next
        try next.begin()
    }

    private static let logger = Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() }

    /// Starts a new process.
    private func start(_ dice: inout Dice) {
        let faults = world.scenario.faults
        gate = Gate(seed: dice.next())
        shared = SharedState()
        if !isCalm {
            gate.failing = faults.call
            if dice.chance(faults.crash) { gate.callsLeft = dice.pick(1..<faults.crashWithin) }
        }
        disk = SimulatedDisk(folder, gate: gate)
        disk.onSnapshot = { [unowned self] in note(manifest: $1, of: $0) }
        disk.failing = isCalm ? 0 : faults.disk
        world.note("start \(name) (\(number)), calls \(gate.callsLeft.map(String.init) ?? "-")")
    }

    /// The pipeline has ended. The process ends too, unless a new pipeline can recover from the error.
    private func end(with error: any Error, _ dice: inout Dice) {
        if gate.isDead { return crash(&dice) }
        let error = ended(by: error)
        pipeline?.leave()
        pipeline = nil
        // This may end the process.
        if gate.isDead { return crash(&dice) }
        world.note("\(name) (\(number)): \(error)")
        if isReplaced {
            // It must end at once. A retry would fence the process that replaced it.
            guard (error as? KafkaError)?.isFenced == true else { return begin(after: error) }
            store = nil
            isGone = true
            return
        }
        begin(after: error)
    }

    private func ended(by error: any Error) -> any Error {
        isEnding = true
        defer { isEnding = false }
        return pipeline?.end(after: error) ?? error
    }

    private func begin(after error: any Error) {
        if Daemon.isPassing(error) {
            startsIn = 2
            return
        }
        if let error = error as? KafkaError, error.isFencedMember, !world.isDoubled(name) {
            onViolation(Violation("\(name): it gives its name up, which no other process has: \(error)"))
        }
        store = nil
        if isReplaced, let error = error as? SnapshotError, error.kind == .corrupt || error.kind == .locked {
            // The one that replaced it has the folder, or its operator mends it.
            isGone = true
            return
        }
        gate.kill()
        startsIn = 5
        if error is RecoveryError, world.isMistaken {
            world.refusals += 1
        } else if let error = error as? SnapshotError, error.kind == .corrupt, folder.isDamaged {
            // The operator moves damaged snapshots away.
            folder.clear()
        } else if !(error is KafkaError) {
            onViolation(Violation("\(name): \(error)"))
        }
    }

    private func crash(_ dice: inout Dice) {
        pipeline = nil
        store = nil
        // A crash of this machine does not lose files that another process of this name is writing.
        let losingPower = dice.chance(world.scenario.faults.powerLoss) && !world.isDoubled(name)
        world.note("\(name) (\(number)): crash\(losingPower ? " of the machine" : "")")
        disk.crash()
        if losingPower { folder.losePower(&dice) }
        if isReplaced { isGone = true }
        startsIn = dice.pick(0..<40)
        down(&dice)
    }

    /// Faults while the process is down.
    private func down(_ dice: inout Dice) {
        guard !isCalm, !isReplaced else { return }
        if dice.chance(0.4) { world.cluster.expire(name) }
        if dice.chance(world.scenario.faults.damage), !folder.names.isEmpty {
            world.note("\(name): a snapshot is damaged")
            folder.damage(&dice)
            world.isDamaged = true
            kept = nil
        }
    }

    /// Stops the process as SIGTERM does.
    func stop(_ dice: inout Dice) throws {
        guard let pipeline else { return }
        shared.stop()
        do {
            try pipeline.drain()
            noteSnapshot()
            pipeline.leave()
        } catch {
            if gate.isDead { return crash(&dice) }
            _ = ended(by: error)
            pipeline.leave()
            if gate.isDead { return crash(&dice) }
        }
        self.pipeline = nil
        store = nil
        gate.kill()
        startsIn = dice.pick(0..<40)
        down(&dice)
    }

    /// Ends the process as SIGKILL does.
    func kill(_ dice: inout Dice) {
        guard pipeline != nil else { return }
        gate.kill()
        crash(&dice)
    }

    /// Ends the run: as `stop`, but the engine is kept for the checks.
    func finish() throws {
        shared.stop()
        try pipeline?.drain()
    }

    /// Ends it, cleanly or by a crash; no process of its name is started again.
    func retire(inOrder: Bool, _ dice: inout Dice) throws {
        if inOrder { try stop(&dice) }
        if pipeline != nil {
            gate.kill()
            pipeline = nil
        }
        store = nil
        disk?.crash()
        world.cluster.expire(name)
        isGone = true
    }

    // MARK: Partitions

    /// Records the state before a rebalance is handled; other processes continue meanwhile.
    private func note(_ rebalance: Consumer.Rebalance) {
        switch rebalance {
        case .assign(let list):
            for p in list {
                let best = snapshot(of: p).map { $0.offsets[p]! } ?? world.cluster.low(p)
                offered[p] = max(best, world.furthest[p] ?? 0)
            }
        case .revoke(let list):
            caughtUp = []
            for p in list {
                let next = engine?.nextOffset(TaskID(topic: 0, partition: p.partition))
                if let next, next >= world.cluster.committed[p]?.offset ?? 0 { caughtUp.insert(p) }
            }
        case .lost: break
        }
    }

    /// The newest state in the store that is not ahead of the committed offset.
    private func snapshot(of p: TopicPartition) -> SimulatedFolder.Description? {
        let committed = world.cluster.committed[p]?.offset ?? 0
        return world.snapshots().filter { $0.offsets[p] ?? .max <= committed }
            .max { ($0.offsets[p]!, $0.clocks[p] ?? 0) < ($1.offsets[p]!, $1.clocks[p] ?? 0) }
    }

    /// The clock of the state that is taken, or one before it: of the states that are equally far, an instance takes its
    /// own before that of another with a later clock, and repeats the ticks between them.
    private func earliestClock(of p: TopicPartition) -> Int64 {
        guard let furthest = snapshot(of: p)?.offsets[p] else { return .min }
        return world.snapshots().filter { $0.offsets[p] == furthest }.map { $0.clocks[p] ?? .min }.min() ?? .min
    }

    /// Checks newly assigned partitions: they must start with the newest state in the store, and with a trained model if
    /// there is one.
    private func noteTaken(_ starts: [TopicPartition: PartitionOffset]) {
        guard !starts.isEmpty, let engine else { return }
        for (p, start) in starts.sorted(by: { $0.key < $1.key }) {
            let committed = world.cluster.committed[p]
            world.note("\(name) takes \(p) at \(start.offset), committed is \(committed?.offset ?? -1)")
            let clock = CommitMetadata(text: committed?.metadata ?? "").clock ?? .min
            if start.offset < committed?.offset ?? 0 || earliestClock(of: p) < clock {
                world.replayed.insert(p.partition)
            }
            if !world.isDamaged, start.offset < offered[p] ?? 0 {
                onViolation(Violation("\(name): \(p) is taken at \(start.offset), the store had \(offered[p]!)"))
            }
        }
        defer { isNewcomer = false }
        if let taught = world.scenario.teacher?.modelVersion, engine.modelVersion < taught {
            onViolation(Violation("\(name): the model is \(engine.modelVersion), the store has \(taught)"))
        }
        if isNewcomer, !world.isDamaged, engine.modelVersion == 0, hadModel {
            onViolation(Violation("\(name): a newcomer without a model, though the store has one"))
        }
    }

    /// Checks revoked partitions: their next owner must find their state in the store.
    private func noteReleased(_ list: [TopicPartition]) {
        guard disk.failing == 0, !world.isDamaged, !isEnding else { return }
        for p in list where caughtUp.contains(p) {
            guard let committed = world.cluster.committed[p]?.offset else { continue }
            let found = snapshot(of: p)?.offsets[p] ?? -1
            if found < committed {
                onViolation(Violation("\(name): \(p) is let go at \(committed), the store has \(found)"))
            }
        }
    }

    // MARK: Snapshots

    func advanceDisk(_ count: Int) { disk?.advance(count) }

    /// Checks a snapshot before it gets its final name: everything in it must have been committed.
    private func note(manifest: [UInt8], of snapshot: String) -> SimulatedFolder.Description? {
        guard let position: Int64 = Self.value(of: "position", in: manifest),
            let version: Int64 = Self.value(of: "modelVersion", in: manifest),
            let offsets: [String: Int64] = Self.value(of: "offsets", in: manifest)
        else {
            onViolation(Violation("a manifest that cannot be read"))
            return nil
        }
        var description = SimulatedFolder.Description(
            position: position, modelVersion: version, offsets: [:], clocks: [:])
        for p in world.cluster.partitions {
            guard let offset = offsets["0/\(p.partition)"] else { continue }
            description.offsets[p] = offset
            description.clocks[p] = engine?.clock(TaskID(topic: 0, partition: p.partition))
            let committed = world.cluster.committed[p]?.offset ?? 0
            if offset > committed {
                onViolation(Violation("\(name): a snapshot of \(p) at \(offset), committed is \(committed)"))
            }
        }
        // Parts are not reported.
        if snapshot == Self.folderName(position) { taken[position] = description.offsets }
        return description
    }

    /// The first value of a key, a number or an object of numbers; manifests are long, and read often.
    private static func value<T: Decodable>(of key: String, in manifest: [UInt8]) -> T? {
        let name = Array("\"\(key)\":".utf8)
        return manifest.withUnsafeBytes { bytes in
            let places = 0..<max(0, bytes.count - name.count)
            guard let found = places.first(where: { memcmp(bytes.baseAddress! + $0, name, name.count) == 0 }) else {
                return nil
            }
            let start = bytes[(found + name.count)...]
            let isObject = start.first == UInt8(ascii: "{")
            guard let end = start.firstIndex(of: UInt8(ascii: isObject ? "}" : ",")) else { return nil }
            return try? JSONDecoder().decode(T.self, from: Data(start[..<(isObject ? end + 1 : end)]))
        }
    }

    private func noteSnapshot() {
        guard let position = shared.status.snapshot?.position, position != kept?.position, let offsets = taken[position]
        else { return }
        kept = (position, offsets)
        for (p, offset) in offsets { world.furthest[p] = max(offset, world.furthest[p] ?? 0) }
    }

    /// Checks that a snapshot that was reported as durable exists after every crash.
    private func checkSnapshots() throws {
        guard let kept else { return }
        let found = try SnapshotStore.snapshots(in: folder.path).filter { $0.position >= kept.position }
        let isWhole = found.contains { (try? SnapshotStore.open(path: $0.path)) != nil }
        guard isWhole else {
            throw Violation(
                "\(name): a snapshot of position \(kept.position) was written, but after a crash it is not there")
        }
    }

    private static func folderName(_ position: Int64) -> String {
        "snapshot-" + String(repeating: "0", count: 20 - String(position).count) + String(position)
    }
}

/// A process's access to the store. Other processes act between its listing of snapshots and its opening of one.
final class SimulatedStore: SnapshotRepository {
    private let folder: SharedSnapshotFolder
    private let others: () -> Void

    init(_ folder: SharedSnapshotFolder, others: @escaping () -> Void) {
        self.folder = folder
        self.others = others
    }

    var instance: String { folder.instance }

    func list() throws -> [SnapshotListing] { try folder.list() }

    func open(_ listing: SnapshotListing) throws -> Snapshot {
        others()
        return try folder.open(listing)
    }

    func claim(_ owner: StoreOwner) throws -> StoreOwner { try folder.claim(owner) }
    func setOwner(_ owner: StoreOwner) throws { try folder.setOwner(owner) }
    func newestOwn() throws -> Snapshot? { try folder.newestOwn() }
    func removeOwn(name: String) { folder.removeOwn(name: name) }
    func begin(_ content: SnapshotContent) throws { try folder.begin(content) }
    func write(_ content: SnapshotContent) throws -> SnapshotInfo { try folder.write(content) }
    var isWriting: Bool { folder.isWriting }
    func poll() -> SnapshotOutcome? { folder.poll() }
    func finish() -> SnapshotOutcome? { folder.finish() }
    func cancel() { folder.cancel() }
}
