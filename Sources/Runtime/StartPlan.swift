internal import Kafka

/// Where a partition goes on after a start or a rebalance: a decision from what is known of it, without I/O.
struct StartPlan: Equatable {
    /// Offset of the first record to read.
    var from: Int64
    /// Records below it advance the state but are not published: their outputs are committed.
    var firstUnpublishedOffset: Int64
    /// What an operator should know about the decision; nil: nothing.
    var warning: String?

    /// What is known of a partition.
    struct Facts: Equatable {
        var partition: TopicPartition
        /// Offset after the last record in the restored state; nil: there is no state.
        var state: Int64?
        /// Offset the group has committed; nil: none.
        var committed: Int64?
        /// First offset the log still has, and the one after its last.
        var low: Int64
        var high: Int64
    }

    /// - Parameters:
    ///   - latest: without state and commit begin at the end of the log, not at its beginning.
    ///   - acceptGap: continue although records are gone.
    /// - Throws: `RecoveryError` when records that the state needs are gone.
    static func make(_ f: Facts, latest: Bool, acceptGap: Bool) throws(RecoveryError) -> StartPlan {
        guard let state = f.state else { return try withoutState(f, latest: latest, acceptGap: acceptGap) }
        if state > f.high {
            guard acceptGap else { throw RecoveryError.otherLog(f.partition, "the state", state, high: f.high) }
            return StartPlan(
                from: f.low, firstUnpublishedOffset: f.low,
                warning: "the log ends at \(f.high), before the state's \(state): beginning at \(f.low)")
        }
        if state < f.low {
            guard acceptGap else { throw RecoveryError.gap(f.partition, needed: state, low: f.low) }
            return StartPlan(
                from: f.low, firstUnpublishedOffset: max(f.low, f.committed ?? f.low),
                warning: "\(f.low - state) records are gone from the log and from the state")
        }
        let committed = f.committed ?? state
        guard committed <= f.high else {
            guard acceptGap else { throw RecoveryError.otherLog(f.partition, "the group", committed, high: f.high) }
            return StartPlan(
                from: f.low, firstUnpublishedOffset: f.low,
                warning: "the log ends at \(f.high), before the group's \(committed): beginning at \(f.low)")
        }
        guard committed >= state else {
            return StartPlan(
                from: state, firstUnpublishedOffset: state,
                warning: "the group's offset \(committed) is before the state's \(state), which goes on from there; "
                    + "to read again, stop and move the snapshots away")
        }
        return StartPlan(from: state, firstUnpublishedOffset: committed)
    }

    /// No snapshot holds the partition. What was committed is read again from the beginning of the log, without
    /// publishing.
    private static func withoutState(
        _ f: Facts, latest: Bool, acceptGap: Bool
    ) throws(RecoveryError) -> StartPlan {
        guard let committed = f.committed else {
            let start = latest ? f.high : f.low
            return StartPlan(from: start, firstUnpublishedOffset: start)
        }
        if f.low > 0 && !acceptGap { throw RecoveryError.gap(f.partition, needed: 0, low: f.low) }
        if committed > f.high {
            guard acceptGap else { throw RecoveryError.otherLog(f.partition, "the group", committed, high: f.high) }
            return StartPlan(
                from: f.low, firstUnpublishedOffset: f.low, warning: "the log ends at \(f.high): beginning anew")
        }
        let gone = f.low > 0 ? "\(f.low) records are gone; " : ""
        return StartPlan(
            from: f.low, firstUnpublishedOffset: max(f.low, committed),
            warning: committed > f.low || f.low > 0
                ? "\(gone)no snapshot: the state is made again from \(f.low) to the committed \(committed)" : nil)
    }
}

/// The state cannot be brought to where the group has committed: what is missing and what to do about it.
public struct RecoveryError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String

    static func gap(_ p: TopicPartition, needed: Int64, low: Int64) -> RecoveryError {
        RecoveryError(
            description: "\(p): the state needs the records from offset \(needed), but the log begins at \(low); "
                + "\(low - needed) records are gone. Restore an older copy of the log or a newer snapshot, or set "
                + "snapshots.acceptGap: true to go on without them")
    }

    /// The broker no longer has the record that a partition reads next.
    static func outOfRange(_ p: TopicPartition, wanted: Int64, low: Int64, high: Int64) -> RecoveryError {
        let cause =
            wanted < low
            ? "\(low - wanted) records were removed before they were read: raise retention.ms and retention.bytes of "
                + "the topic above the longest standstill of clvd"
            : wanted > high
                ? "The topic was made anew or cut, by a leader that was behind "
                    + "(unclean.leader.election.enable) or by a person"
                : "It has the offset now: a leader that was behind may have answered; start again"
        return outOfRange(
            "\(p): the log no longer has the records that come next: offset \(wanted) is wanted, and the log goes from "
                + "\(low) to \(high). \(cause)")
    }

    static func outOfRange(_ description: String) -> RecoveryError {
        RecoveryError(description: "\(description). Set snapshots.acceptGap: true to go on without them")
    }

    static func otherLog(_ p: TopicPartition, _ who: String, _ offset: Int64, high: Int64) -> RecoveryError {
        RecoveryError(
            description: "\(p): \(who) is at offset \(offset), but the log ends at \(high): the topic was made anew, "
                + "or this is another cluster. Correct kafka.bootstrapServers, move the snapshots away and reset the "
                + "group to start anew, or set snapshots.acceptGap: true to keep the state and read from the beginning")
    }
}
