internal import Engine
import Foundation
internal import Kafka

/// The state cannot be brought to where the group has committed, or is not that of this log: what is so and what to do
/// about it.
public struct RecoveryError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
    /// The log was found to be another one while it was read: the state may hold records of both and is not to be kept.
    let isOfOtherLog: Bool

    init(description: String, isOfOtherLog: Bool = false) {
        self.description = description
        self.isOfOtherLog = isOfOtherLog
    }

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
            : "The topic was made anew or cut, by a leader that was behind (unclean.leader.election.enable) or by a "
                + "person"
        return outOfRange(
            "\(p): the log no longer has the records that come next: offset \(wanted) is wanted, and the log goes from "
                + "\(low) to \(high). \(cause)")
    }

    static func outOfRange(_ description: String) -> RecoveryError {
        RecoveryError(description: "\(description). Set snapshots.acceptGap: true to go on without them")
    }

    // MARK: Another log

    private static let anew = "the topic was made anew, or this is another cluster"
    private static let anewRemedy =
        "Correct kafka.bootstrapServers; or start anew by `clvd offsets rewind --to earliest`, which moves the "
        + "snapshots aside; or set snapshots.acceptGap: true to keep the state and read the log from its beginning"

    static func otherLog(
        _ p: TopicPartition, _ who: String, _ offset: Int64, high: Int64, isRead: Bool = false
    ) -> RecoveryError {
        RecoveryError(
            description: "\(p): \(who) is at offset \(offset), but the log ends at \(high): \(anew). \(anewRemedy)",
            isOfOtherLog: isRead)
    }

    /// - Parameter isRead: it was found out while the log was read.
    static func otherRecord(
        _ p: TopicPartition, was: RecordFingerprint, now: RecordFingerprint?, isRead: Bool = false
    ) -> RecoveryError {
        RecoveryError(
            description: "\(p): \(change(was, now)): \(anew)"
                + (isRead ? "; nothing more is committed" : "") + ". \(anewRemedy)",
            isOfOtherLog: isRead)
    }

    /// What differs, in words.
    static func change(_ was: RecordFingerprint, _ now: RecordFingerprint?) -> String {
        let start = "the record at offset \(was.offset) that the state was made of has time \(time(was.timestampMs))"
        guard let now else { return "\(start), but the log has no record there any more, though it reaches back to it" }
        return now.timestampMs == was.timestampMs
            ? "\(start), but the log has one of the same time with another key or value there"
            : "\(start), but the log has one of \(time(now.timestampMs)) there"
    }

    private static func time(_ ms: Int64) -> String {
        guard ms >= 0 else { return "none" }
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        return Date(timeIntervalSince1970: Double(ms) / 1000).formatted(style)
    }

    // MARK: Another origin

    static func otherCluster(_ p: TopicPartition, was: String, now: String) -> RecoveryError {
        RecoveryError(
            description: "\(p): the group's offset was committed in cluster \(quoted(was)), this is cluster "
                + "\(quoted(now)): the records at equal offsets need not be the same. Correct kafka.bootstrapServers, "
                + "or set snapshots.acceptOrigin: true to take offsets and snapshots as they are")
    }

    /// - Parameter difference: see `SnapshotOrigin.difference`.
    static func otherOrigin(_ path: String, _ difference: String) -> RecoveryError {
        RecoveryError(
            description: "\(path): the snapshot is of \(difference). A folder of snapshots belongs to one group in one "
                + "cluster: correct snapshots.directory, kafka.groupId or kafka.bootstrapServers, or set "
                + "snapshots.acceptOrigin: true to take the snapshots as they are")
    }

    /// - Parameter difference: see `SnapshotOrigin.difference`.
    static func otherOwner(ofFolder path: String, _ difference: String) -> RecoveryError {
        RecoveryError(
            description: "\(path): the folder is of \(difference). A folder of snapshots belongs to one group in one "
                + "cluster: correct snapshots.directory, kafka.groupId or kafka.bootstrapServers, or set "
                + "snapshots.acceptOrigin: true to take the snapshots as they are")
    }

    // MARK: Another version

    static func newerSnapshot(_ path: String, format: Int) -> RecoveryError {
        RecoveryError(description: "\(path) was \(StateFormat.explanation(of: format))")
    }

    // MARK: Offsets that somebody else committed

    static func nothingCommitted(_ p: TopicPartition, group: String, state: Int64) -> RecoveryError {
        RecoveryError(
            description: "\(p): the newest snapshot is at offset \(state), but the group \(quoted(group)) has "
                + "committed nothing: the group or its offsets were deleted, its offsets have expired "
                + "(offsets.retention.minutes), the topic was made anew, or kafka.groupId is not the one that made the "
                + "snapshots. `clvd offsets rewind --to published` goes to where the published updates end; "
                + "`clvd offsets accept` commits where the snapshots are; or set snapshots.acceptMissingOffsets: true "
                + "to go on from the snapshots at each start")
    }

    static func newer(_ p: TopicPartition, offset: Int64, version: Int) -> RecoveryError {
        RecoveryError(
            description: "\(p): offset \(offset) was committed by a newer clvd (metadata version \(version), this one "
                + "reads up to \(CommitMetadata.version)); upgrade this instance")
    }

    /// The offset was moved since clvd committed last.
    static func moved(_ f: StartPlan.Facts, to offset: Int64) -> RecoveryError {
        let own = f.published.offset
        let isOwn = f.author != .foreign && (own ?? offset) == offset
        let who =
            isOwn
            ? "which clvd committed, but earlier than others"
            : "which clvd did not commit (its metadata is \(quoted(f.metadata)))"
        let known =
            switch (isOwn ? nil : own, f.furthest) {
            case (let own?, _): "clvd had committed \(own)"
            case (nil, let furthest?): "the newest snapshot is at \(furthest)"
            case (nil, nil): "there is no snapshot"
            }
        let cause =
            isOwn
            ? "the brokers have lost commits, or somebody has brought old ones back"
            : "somebody has moved it, another program reads in the group \(quoted(f.group)), or (with no metadata) an "
                + "earlier version of clvd committed it"
        let isForward = (isOwn ? f.furthest : own ?? f.furthest).map { offset > $0 } ?? true
        let effect =
            isForward
            ? "the records before \(offset) count as published, though they may never have been"
            : "the records from \(offset) on will be published again"
        return RecoveryError(
            description: "\(f.partition): the group is at offset \(offset), \(who), \(known): the offset was moved "
                + "\(isForward ? "forwards" : "backwards"): \(cause). `clvd offsets rewind --to published` goes to "
                + "where the published updates end; `clvd offsets accept` takes \(offset) as it is: \(effect)")
    }

    /// Text of others, short and without what a terminal could obey.
    private static func quoted(_ text: String) -> String {
        let plain = text.unicodeScalars.prefix(80).map { (0x20..<0x7F).contains($0.value) ? Character($0) : "?" }
        return "\"\(String(plain))\(text.unicodeScalars.count > 80 ? "…" : "")\""
    }
}
