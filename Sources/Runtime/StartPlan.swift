internal import Kafka

/// Where a partition goes on after a start or a rebalance: a decision from what is known of it, without I/O.
struct StartPlan: Equatable {
    /// Offset of the first record to read.
    var from: Int64
    /// Records below it advance the state but are not published: their outputs are committed.
    var firstUnpublishedOffset: Int64
    /// The first offset that the group ever read; nil: unknown.
    var begin: Int64?
    /// The furthest snapshot when it is beyond what is committed, with consent; nil: none is.
    var rewoundFrom: Int64?
    /// The log is not the one that the state was made of.
    var isAnew = false
    /// What an operator should know about the decision; nil: nothing.
    var warning: String?

    /// What is known of a partition.
    struct Facts: Equatable {
        var partition: TopicPartition
        /// First offset the log still has, and the one after its last.
        var low: Int64
        var high: Int64
        /// Offset after the last record in the restored state; nil: there is no state.
        var state: Int64?
        /// What the snapshot of the state says of the log; nil: it is of a version that said nothing.
        var origin: SnapshotOrigin.Partition?
        /// Offset of the furthest snapshot in the store, which may be beyond what is committed; nil: there is none.
        var furthest: Int64?
        /// Offset the group has committed; nil: none.
        var committed: Int64?
        /// What was committed with it.
        var metadata = ""
        /// What the log has where the records of the snapshot's and the group's fingerprints were.
        var stateRecord = RecordFate.unknown
        var groupRecord = RecordFate.unknown
        /// The stage has no state: a partition goes on where its group is.
        var isStateless = false
        var group = ""
        /// The cluster's id; nil: unknown.
        var cluster: String?

        var author: CommitMetadata.Author { CommitMetadata.author(of: metadata) }
        var published: CommitMetadata { CommitMetadata(text: metadata) }
    }

    /// What the settings allow.
    struct Consent: Equatable {
        /// Without state and commit begin at the end of the log, not at its beginning.
        var latest = false
        /// Continue although records are gone.
        var gap = false
        var missingOffsets = false
        var origin = false
    }

    /// - Throws: `RecoveryError`: records that the state needs are gone; the log is not that of the state; or the group's
    ///   offset is not the one that clvd committed last.
    static func make(_ f: Facts, _ consent: Consent) throws(RecoveryError) -> StartPlan {
        if let committed = f.committed, case .newer(let version) = f.author {
            throw .newer(f.partition, offset: committed, version: version)
        }
        if let was = f.published.cluster, let now = f.cluster, was != now, !consent.origin {
            throw .otherCluster(f.partition, was: was, now: now)
        }
        if let refusal = otherLog(f) {
            guard consent.gap else { throw refusal.error }
            return StartPlan(
                from: f.low, firstUnpublishedOffset: f.low, begin: f.low,
                rewoundFrom: f.furthest.flatMap { $0 > f.low ? $0 : nil }, isAnew: true,
                warning: "\(refusal.fact): beginning at \(f.low)")
        }
        let isAccepted = try checkCommit(f, consent)
        if f.isStateless, let committed = f.committed { return try goingOn(f, at: committed, consent) }
        var plan = try f.state == nil ? withoutState(f, isAccepted, consent) : withState(f, consent)
        if let committed = f.committed, let furthest = f.furthest, furthest > committed { plan.rewoundFrom = furthest }
        return plan
    }

    /// Evidence that the log is not the one that the state and the group's offset are of.
    private static func otherLog(_ f: Facts) -> (error: RecoveryError, fact: String)? {
        for fate in [f.stateRecord, f.groupRecord] {
            guard case .other(let was, let now) = fate else { continue }
            return (.otherRecord(f.partition, was: was, now: now), RecoveryError.change(was, now))
        }
        for (who, offset) in [("the state", f.state), ("the group", f.committed)] {
            guard let offset, offset > f.high else { continue }
            return (
                .otherLog(f.partition, who, offset, high: f.high),
                "the log ends at \(f.high), before the offset \(offset) of \(who)"
            )
        }
        return nil
    }

    /// - Returns: whether the offset is one that an operator has accepted.
    /// - Throws: when it is not what clvd committed last, and nobody has accepted that.
    private static func checkCommit(_ f: Facts, _ consent: Consent) throws(RecoveryError) -> Bool {
        guard let committed = f.committed else {
            guard let state = f.state, !consent.missingOffsets else { return false }
            throw .nothingCommitted(f.partition, group: f.group, state: state)
        }
        let own = f.published
        guard f.author != .foreign, (own.offset ?? committed) == committed else {
            // Earlier versions committed no text with a partition without a valid record.
            let isOfOldVersion =
                !f.isStateless && f.metadata.isEmpty && f.origin == nil && committed == f.state ?? f.low
            guard isOfOldVersion else { throw .moved(f, to: committed) }
            return false
        }
        // `clvd offsets accept` knows the offset and nothing else.
        let isAccepted = own.offset != nil && own.clock == nil && own.lastRecord == nil && own.begin == nil
        guard isAccepted || f.furthest ?? 0 <= max(committed, own.rewoundFrom ?? 0) else {
            throw .moved(f, to: committed)
        }
        return isAccepted
    }

    private static func goingOn(
        _ f: Facts, at committed: Int64, _ consent: Consent
    ) throws(RecoveryError) -> StartPlan {
        guard committed < f.low else {
            return StartPlan(from: committed, firstUnpublishedOffset: committed, begin: f.published.begin)
        }
        guard consent.gap else { throw .outOfRange(f.partition, wanted: committed, low: f.low, high: f.high) }
        return StartPlan(
            from: f.low, firstUnpublishedOffset: f.low, begin: f.published.begin,
            warning: "\(f.low - committed) records are gone from the log and were not read")
    }

    private static func withState(_ f: Facts, _ consent: Consent) throws(RecoveryError) -> StartPlan {
        let (state, begin) = (f.state!, f.published.begin ?? f.origin?.begin)
        guard state >= f.low else {
            guard consent.gap else { throw .gap(f.partition, needed: state, low: f.low) }
            return StartPlan(
                from: f.low, firstUnpublishedOffset: max(f.low, f.committed ?? f.low), begin: begin,
                warning: "\(f.low - state) records are gone from the log and from the state")
        }
        return StartPlan(from: state, firstUnpublishedOffset: max(state, f.committed ?? state), begin: begin)
    }

    /// No snapshot holds the partition. What was committed is read again from where the group began, without
    /// publishing.
    private static func withoutState(
        _ f: Facts, _ isAccepted: Bool, _ consent: Consent
    ) throws(RecoveryError) -> StartPlan {
        guard let committed = f.committed else {
            let start = consent.latest ? f.high : f.low
            return StartPlan(from: start, firstUnpublishedOffset: start, begin: start)
        }
        // Nobody knows what was before an offset that was accepted.
        let begin = f.published.begin ?? (isAccepted ? min(f.low, committed) : 0)
        let from = max(begin, f.low)
        guard from == begin || consent.gap else { throw .gap(f.partition, needed: begin, low: f.low) }
        let gone = from > begin ? "\(from - begin) records are gone; " : ""
        return StartPlan(
            from: from, firstUnpublishedOffset: max(from, committed), begin: from,
            warning: committed > from || from > begin
                ? "\(gone)no snapshot: the state is made again from \(from) to the committed \(committed)" : nil)
    }
}
