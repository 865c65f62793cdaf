import Kafka
import Runtime

/// What people and other programs do to a cluster and a store while all processes are down. The next start must refuse,
/// and commit nothing of the partition; then the mistake is undone and the run goes on.
enum Mistake: CaseIterable {
    /// The topic is deleted and made anew, longer than before.
    case otherLog
    /// Another program commits in the group, or a person moves its offset.
    case offsetForwards
    case offsetBackwards
    /// The group is deleted, or its offsets expire.
    case groupDeleted
    /// A process of another group gets the folder of snapshots.
    case otherGroup
}

extension World {
    private static let mostTurnsToRefusal = 3000

    /// Makes the mistake of the scenario, once, when there is something that it could spoil.
    func makeMistake(_ turn: Int) throws {
        guard let mistake, turn > 20, zombies.isEmpty, leaving.isEmpty, mistakeDice.chance(0.05) else { return }
        let spoilable = cluster.partitions.filter { isSpoilt($0, by: mistake) }
        guard !spoilable.isEmpty else { return }
        let p = mistakeDice.pick(spoilable)
        self.mistake = nil
        note("\(turn): \(mistake) of \(p)")
        for process in processes {
            process.kill(&dice)
            cluster.expire(process.name)
        }
        let was = cluster.committed[p]
        make(mistake, p)
        let spoilt = cluster.committed[p]
        refusals = 0
        isMistaken = true
        try runToRefusal(mistake == .otherGroup ? [makeProcess("stranger", group: "another")] : processes)
        isMistaken = false
        guard cluster.committed[p] == spoilt else {
            throw Violation("\(mistake): \(p) was committed although nobody may go on with it")
        }
        cluster.madeAnew = nil
        if was != spoilt { cluster.set(p, committed: was) }
    }

    private func runToRefusal(_ list: [DaemonProcess]) throws {
        for _ in 0..<Self.mostTurnsToRefusal where refusals == 0 {
            clock.advance(0.1)
            for process in list where refusals == 0 { try turnOf(process) }
        }
        if refusals == 0 { throw Violation("the mistake was not noticed") }
    }

    /// Whether the mistake makes a difference that has to be noticed.
    private func isSpoilt(_ p: TopicPartition, by mistake: Mistake) -> Bool {
        guard let committed = cluster.committed[p] else { return false }
        let known = CommitMetadata(text: committed.metadata)
        switch mistake {
        // The record that is known must be in the log still.
        case .otherLog: return known.lastRecord.map { $0.offset >= cluster.low(p) } ?? false
        case .offsetForwards: return cluster.high(p) > committed.offset
        // An offset where the log begins, without text, is what early versions began with.
        case .offsetBackwards: return committed.offset > cluster.low(p) + 1
        case .groupDeleted:
            return scenario.faults.damage == 0 && scenario.faults.disk == 0
                && snapshots().contains { $0.offsets[p] ?? 0 > 0 }
        case .otherGroup: return true
        }
    }

    private func make(_ mistake: Mistake, _ p: TopicPartition) {
        let committed = cluster.committed[p]!.offset
        let text = mistakeDice.chance(0.5) ? "" : "set by hand"
        switch mistake {
        case .otherLog:
            cluster.write(20, to: Int(p.partition))
            cluster.madeAnew = p
        case .offsetForwards:
            let offset = Int64(mistakeDice.pick(Int(committed) + 1..<Int(cluster.high(p)) + 1))
            cluster.set(p, committed: PartitionOffset(offset: offset, metadata: text))
        case .offsetBackwards:
            let offset = Int64(mistakeDice.pick(Int(cluster.low(p)) + 1..<Int(committed)))
            cluster.set(p, committed: PartitionOffset(offset: offset, metadata: text))
        case .groupDeleted: cluster.set(p, committed: nil)
        case .otherGroup: break
        }
    }
}
