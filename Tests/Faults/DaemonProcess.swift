import Engine
import Foundation
import Kafka
import Logging
import Runtime
import Settings
import SnapshotStore

/// A process of the daemon, and whoever starts it again: the pipelines that live in it one after the other, the store of
/// snapshots, and the disk below.
final class DaemonProcess {
    let name: String
    /// Turns that it does nothing.
    var pausedFor = 0
    /// Another process of its name has been started.
    var isReplaced = false
    /// It has ended for good.
    private(set) var isGone = false
    var onViolation: (Violation) -> Void = { _ in }

    private unowned let world: World
    private let number: Int
    private let path: String
    private var disk: SimulatedDisk!
    private var gate: Gate
    private var store: SharedSnapshotFolder?
    private var pipeline: Pipeline?
    private var shared = SharedState()
    private var startsIn: Int
    private var isCalm = false
    /// Position of the newest snapshot that was said to be on the disk.
    private var kept: (position: Int64, offsets: [TopicPartition: Int64])?
    private var taken: [Int64: [TopicPartition: Int64]] = [:]

    init(name: String, number: Int, path: String, world: World, dice: inout Dice, startsIn: Int) {
        self.name = name
        self.number = number
        self.path = path
        self.world = world
        self.startsIn = startsIn
        gate = Gate(seed: dice.next())
        gate.kill()
        mkdir(path, 0o755)
    }

    private var folder: String { "\(path)/snapshots" }
    var transactionalId: String { "clvd-\(name)" }
    var isUp: Bool { pipeline != nil && pausedFor == 0 }
    var engine: Engine? { pipeline?.engine }
    /// Offsets of the newest snapshot that was said to be on the disk.
    var keptOffsets: [TopicPartition: Int64]? { kept?.offsets }

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
        if isGone { return }
        if pausedFor > 0 {
            pausedFor -= 1
            return
        }
        if startsIn > 0 {
            startsIn -= 1
            return
        }
        disk?.advance(dice.pick(0..<30))
        do {
            if let pipeline { try pipeline.turn() } else { try begin(&dice) }
            noteSnapshot()
        } catch {
            end(with: error, &dice)
        }
    }

    private func begin(_ dice: inout Dice) throws {
        let (scenario, settings) = (world.scenario, world.scenario.settings)
        if gate.isDead {
            start(&dice)
            try checkSnapshots()
        }
        if store == nil {
            store = try SharedSnapshotFolder(
                directory: folder, instance: name, logger: Self.logger, disk: disk)
        }
        let consumer = SimulatedConsumer(
            world.cluster, name: name, clock: world.clock, gate: gate, batchRecords: settings.runtime.batchRecords,
            seed: dice.next())
        let producer = SimulatedProducer(
            world.cluster, transactionalId: scenario.isExactlyOnce ? transactionalId : nil, gate: gate)
        let next = try Pipeline(
            settings, partitionCount: scenario.partitions, store: store!, shared: shared, logger: Self.logger,
            connections: Connections(source: consumer, sink: producer, clock: world.clock))
        pipeline = next
        try next.begin()
    }

    private static let logger = Logger(label: "faults") { _ in SwiftLogNoOpLogHandler() }

    /// A new process.
    private func start(_ dice: inout Dice) {
        let faults = world.scenario.faults
        gate = Gate(seed: dice.next())
        shared = SharedState()
        if !isCalm {
            gate.failing = faults.call
            if dice.chance(faults.crash) { gate.callsLeft = dice.pick(1..<faults.crashWithin) }
        }
        if disk == nil {
            mkdir(folder, 0o755)
            disk = SimulatedDisk(path: "\(folder)/\(name)")
            disk.onSnapshot = { [unowned self] in note(manifest: $0) }
        }
        disk.gate = gate
        disk.failing = isCalm ? 0 : faults.disk
        world.note("start \(name) (\(number)), calls \(gate.callsLeft.map(String.init) ?? "-")")
    }

    /// The pipeline's life has ended, and the process's too unless another life may mend it.
    private func end(with error: any Error, _ dice: inout Dice) {
        pipeline?.abandon()
        pipeline?.leave()
        pipeline = nil
        if gate.isDead { return crash(&dice) }
        world.note("\(name) (\(number)): \(error)")
        if isReplaced {
            // It has to go at once, not to try again, which would put out the one that replaced it.
            guard (error as? KafkaError)?.isFenced == true else { return begin(after: error) }
            store = nil
            isGone = true
            return
        }
        begin(after: error)
    }

    private func begin(after error: any Error) {
        if Daemon.isPassing(error) {
            startsIn = 2
            return
        }
        store = nil
        gate.kill()
        startsIn = 5
        if let error = error as? SnapshotError, error.kind == .corrupt, isDamaged {
            // The operator moves what is damaged away.
            isDamaged = false
            disk.clear()
        } else if !(error is KafkaError) {
            onViolation(Violation("\(name): \(error)"))
        }
    }

    private func crash(_ dice: inout Dice) {
        store = nil
        let losingPower = dice.chance(world.scenario.faults.powerLoss)
        world.note("\(name) (\(number)): crash\(losingPower ? " of the machine" : "")")
        disk.crash(losingPower: losingPower, &dice)
        if isReplaced { isGone = true }
        startsIn = dice.pick(0..<40)
        down(&dice)
    }

    /// What may happen while the process is not there.
    private func down(_ dice: inout Dice) {
        guard !isCalm, !isReplaced else { return }
        if dice.chance(0.4) { world.cluster.expire(name) }
        if dice.chance(world.scenario.faults.damage), !disk.snapshots.isEmpty {
            world.note("\(name): a snapshot is damaged")
            disk.damage(&dice)
            isDamaged = true
            kept = nil
        }
    }
    private var isDamaged = false

    /// SIGTERM.
    func stop(_ dice: inout Dice) throws {
        guard let pipeline else { return }
        shared.stop()
        do {
            try pipeline.drain()
            noteSnapshot()
            pipeline.leave()
        } catch {
            pipeline.abandon()
            pipeline.leave()
            if gate.isDead {
                self.pipeline = nil
                return crash(&dice)
            }
        }
        self.pipeline = nil
        store = nil
        gate.kill()
        startsIn = dice.pick(0..<40)
        down(&dice)
    }

    /// The end of the run: as `stop`, but the engine stays to be looked at.
    func finish() throws {
        shared.stop()
        try pipeline?.drain()
    }

    // MARK: Snapshots

    /// A snapshot is about to take its name: what it holds must have been committed before.
    private func note(manifest: [UInt8]) {
        guard
            let position = Self.value(of: "position", in: manifest).flatMap({
                try? JSONDecoder().decode(Int64.self, from: $0)
            }),
            let offsets = Self.value(of: "offsets", in: manifest)
                .flatMap({ try? JSONDecoder().decode([String: Int64].self, from: $0) })
        else { return onViolation(Violation("a manifest that cannot be read")) }
        var byPartition: [TopicPartition: Int64] = [:]
        for p in world.cluster.partitions {
            guard let offset = offsets["0/\(p.partition)"] else { continue }
            byPartition[p] = offset
            let committed = world.cluster.committed[p]?.offset ?? 0
            if offset > committed {
                onViolation(Violation("\(name): a snapshot of \(p) at \(offset), committed is \(committed)"))
            }
        }
        taken[position] = byPartition
    }

    /// The first value of a key, a number or an object of numbers; manifests are long, and read often.
    private static func value(of key: String, in manifest: [UInt8]) -> Data? {
        let data = Data(manifest)
        guard let start = data.firstRange(of: Data("\"\(key)\":".utf8))?.upperBound else { return nil }
        let isObject = data[start] == UInt8(ascii: "{")
        let end = data[start...].firstIndex(of: UInt8(ascii: isObject ? "}" : ","))
        return end.map { data[start..<(isObject ? $0 + 1 : $0)] }
    }

    private func noteSnapshot() {
        guard let position = shared.status.snapshot?.position, position != kept?.position, let offsets = taken[position]
        else { return }
        kept = (position, offsets)
    }

    /// What was said to be on the disk is there after every crash.
    private func checkSnapshots() throws {
        guard let kept else { return }
        let found = try SnapshotStore.snapshots(in: disk.path).map(\.position).filter { $0 >= kept.position }
        let isWhole = found.contains { (try? SnapshotStore.open(path: "\(disk.path)/\(Self.folderName($0))")) != nil }
        guard isWhole else {
            throw Violation(
                "\(name): a snapshot of position \(kept.position) was written, but after a crash it is not there")
        }
    }

    private static func folderName(_ position: Int64) -> String {
        "snapshot-" + String(repeating: "0", count: 20 - String(position).count) + String(position)
    }
}
