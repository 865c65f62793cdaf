internal import Engine
package import Kafka
package import SnapshotStore

/// What is to become of the offsets and the snapshots of a group: a decision without I/O.
package struct OffsetPlan: Equatable {
    package struct Change: Equatable, Sendable {
        package var partition: TopicPartition
        /// nil: the group had committed nothing.
        package var before: Int64?
        package var after: Int64
        /// What is committed along with it; nil: nothing has to be committed.
        package var metadata: String?
        /// Snapshots that hold the partition beyond its offset, or in a newer format, by instance and name.
        package var moved: [String]
    }

    package var changes: [Change]
    /// Snapshots that go out of the folders of their instances.
    package var moves: [SnapshotListing]

    package var commits: [TopicPartition: PartitionOffset] {
        Dictionary(
            uniqueKeysWithValues: changes.compactMap { c in
                c.metadata.map { (c.partition, PartitionOffset(offset: c.after, metadata: $0)) }
            })
    }
}

/// The offsets of a group and what there is to know about them.
package struct GroupOffsets {
    package var group: String
    package var cluster: String?
    package var standings: [OffsetStanding]
    var shelf: SnapshotShelf
    /// Whether the daemon has a state; otherwise a partition goes on where the group is.
    var hasState = true
    /// What the settings allow.
    var consent = StartPlan.Consent()
    /// Looks for a record where it was.
    var fate: (RecordFingerprint?, TopicPartition) throws -> RecordFate = { _, _ in .unknown }
    /// For `OffsetTarget.time`: the offset of each partition; one without is at its end.
    var offsetsByTime: [TopicPartition: Int64] = [:]

    // MARK: Plans

    /// The offsets become the group's own as they are. Where the group has committed nothing, what the furthest
    /// snapshot holds is committed.
    package func accept() throws -> OffsetPlan {
        var goals: [(OffsetStanding, Int64, metadata: String?)] = []
        for s in standings {
            if case .newer? = s.author {
                throw OffsetRefusal(
                    "\(s.partition): its offset was committed by \(s.author!). Use that version, or set the offset anew "
                        + "with clvd offsets rewind")
            }
            guard let offset = s.committed?.offset ?? s.beyond?.offset else { continue }
            guard offset <= s.log.upperBound else { throw Self.notInLog(s, offset) }
            let isOwn = s.author == .thisVersion
            goals.append((s, offset, isOwn ? nil : metadata(s, at: offset, begin: nil)))
        }
        return try plan(goals, movesNewer: false)
    }

    /// - Parameter only: the partitions whose offsets are to be set; nil: all.
    package func rewind(to target: OffsetTarget, only: Set<TopicPartition>?) throws -> OffsetPlan {
        if let unknown = only?.subtracting(standings.map(\.partition)).min() {
            throw OffsetRefusal(
                "\(unknown): the group does not read it. Its partitions: "
                    + standings.map { "\($0.partition.topic)/\($0.partition.partition)" }.joined(separator: ", "))
        }
        var goals: [(OffsetStanding, Int64, metadata: String?)] = []
        for s in standings where only?.contains(s.partition) ?? true {
            let offset = try offset(of: s, for: target)
            guard (s.log.lowerBound...s.log.upperBound).contains(offset) else { throw Self.notInLog(s, offset) }
            // Where no snapshot is left to go on from, the state is that of the records the log still has.
            let isBare = !shelf.catalog.entries.contains { $0.offsets[s.partition] ?? .max <= offset }
            goals.append((s, offset, metadata(s, at: offset, begin: isBare ? s.log.lowerBound : nil)))
        }
        return try plan(goals, movesNewer: true)
    }

    private func offset(of s: OffsetStanding, for target: OffsetTarget) throws -> Int64 {
        let p = "\(s.partition.topic)/\(s.partition.partition)"
        switch target {
        case .published:
            guard let last = s.published else {
                throw OffsetRefusal(
                    "\(s.partition): no output names a record of it, so nobody can say how far it was published. If "
                        + "nothing was: clvd offsets rewind --to earliest --partition \(p)")
            }
            return last + 1
        case .snapshot:
            guard let furthest = s.beyond ?? s.snapshot else {
                throw OffsetRefusal(
                    "\(s.partition): no snapshot that this version reads holds it. Leave it out with --partition, or "
                        + "give another --to")
            }
            return furthest.offset
        case .earliest: return s.log.lowerBound
        case .latest: return s.log.upperBound
        case .offset(let offset): return offset
        case .time: return offsetsByTime[s.partition] ?? s.log.upperBound
        }
    }

    private static func notInLog(_ s: OffsetStanding, _ offset: Int64) -> OffsetRefusal {
        OffsetRefusal(
            "\(s.partition): offset \(offset) is not in the log, which has \(s.log.lowerBound) to \(s.log.upperBound). "
                + "Give another one: clvd offsets rewind --to published, snapshot, earliest, latest, an offset or a time"
        )
    }

    private func metadata(_ s: OffsetStanding, at offset: Int64, begin: Int64?) -> String {
        let known = CommitMetadata(text: s.committed?.metadata ?? "").begin
        return CommitMetadata(
            offset: offset, clock: nil, begin: begin ?? known.flatMap { $0 <= offset ? $0 : nil }, cluster: cluster
        ).text
    }

    private func plan(
        _ goals: [(standing: OffsetStanding, offset: Int64, metadata: String?)], movesNewer: Bool
    ) throws -> OffsetPlan {
        var plan = OffsetPlan(changes: [], moves: [])
        for goal in goals {
            let p = goal.standing.partition
            var moved = shelf.catalog.entries.filter { $0.offsets[p] ?? .min > goal.offset }.map(\.listing)
            if movesNewer { moved += shelf.newer.filter { $0.mayHold(p) }.map(\.listing) }
            plan.changes.append(
                .init(
                    partition: p, before: goal.standing.committed?.offset, after: goal.offset, metadata: goal.metadata,
                    moved: moved.map(\.place).sorted()))
            for listing in moved where !plan.moves.contains(listing) { plan.moves.append(listing) }
        }
        plan.moves.sort { $0.place < $1.place }
        try checkBystanders(plan)
        return plan
    }

    /// A snapshot holds many partitions. Those whose offsets stay may lose their state with it: then the log has to
    /// reach back to what is left.
    private func checkBystanders(_ plan: OffsetPlan) throws {
        let rest = shelf.without(plan.moves)
        for s in standings where !plan.changes.contains(where: { $0.partition == s.partition }) {
            guard s.snapshot != nil, let committed = s.committed?.offset else { continue }
            let left = rest.catalog.entries.compactMap { $0.offsets[s.partition] }.filter { $0 <= committed }.max()
            if left ?? 0 < s.log.lowerBound, !consent.gap {
                throw OffsetRefusal(
                    "\(s.partition): its state is in the snapshots that would be moved aside, and the log, which begins "
                        + "at \(s.log.lowerBound), does not reach back to "
                        + (left.map { "the \($0) of what is left" } ?? "its beginning")
                        + ". Set its offset as well (leave out --partition), or set snapshots.acceptGap: true")
            }
        }
    }

    // MARK: Outlook

    /// What the daemon would do with each partition, one sentence for each.
    /// - Throws: `KafkaError` when the log does not answer.
    package func outlook() throws -> [(partition: TopicPartition, sentence: String)] {
        try standings.map { ($0.partition, try outlook(of: $0, shelf)) }
    }

    /// The same, once a plan has been carried out.
    package func outlook(after plan: OffsetPlan) throws -> [(partition: TopicPartition, sentence: String)] {
        let (rest, commits) = (shelf.without(plan.moves), plan.commits)
        return try standings.map { s in
            var s = s
            s.committed = commits[s.partition] ?? s.committed
            return (s.partition, try outlook(of: s, rest))
        }
    }

    private func outlook(of s: OffsetStanding, _ shelf: SnapshotShelf) throws -> String {
        let stops = { (error: RecoveryError) in "The daemon stops with exit code 3: \(error)." }
        let p = s.partition
        if let newer = shelf.newer.first(where: { $0.mayHold(p) }) {
            return stops(.newerSnapshot(newer.listing.place, format: newer.format))
        }
        if shelf.catalog.entries.isEmpty, let foreign = shelf.foreign {
            return stops(.otherOrigin(foreign.listing.place, foreign.difference))
        }
        let held = shelf.catalog.states(of: p, committed: s.committed?.offset).first
        var facts = StartPlan.Facts(
            partition: p, low: s.log.lowerBound, high: s.log.upperBound, state: held?.offsets[p],
            origin: held?.origin?[p], furthest: shelf.catalog.furthest(p), committed: s.committed?.offset,
            metadata: s.committed?.metadata ?? "", group: group, cluster: cluster)
        facts.isStateless = !hasState
        facts.stateRecord = try fate(facts.origin?.anchor, p)
        facts.groupRecord = try fate(facts.published.lastRecord, p)
        do throws(RecoveryError) {
            return sentence(s, try StartPlan.make(facts, consent), held)
        } catch {
            return stops(error)
        }
    }

    private func sentence(_ s: OffsetStanding, _ plan: StartPlan, _ held: SnapshotCatalog.Entry?) -> String {
        let from = plan.firstUnpublishedOffset
        let again = from - plan.from
        var text = "The daemon "
        if let held {
            text += "goes on from \(held.listing.place) at \(plan.from)"
            text += again > 0 ? ", reads \(again) records again without publishing" : ""
        } else if s.committed == nil {
            text += "begins at \(plan.from)"
        } else if !hasState {
            text += "goes on at \(plan.from)"
        } else {
            text += "makes the state again from \(plan.from)"
            text += again > 0 ? ", \(again) records without publishing" : ""
        }
        text += " and publishes from \(from)."
        if let published = s.published, from <= published {
            text += " Outputs of records from \(from) to \(published) are published twice."
        }
        if let published = s.published, from > published + 1 {
            text += " No output was found of records from \(published + 1) to \(from - 1), and none will come."
        }
        return text + (plan.warning.map { " It warns: \($0)." } ?? "")
    }
}
