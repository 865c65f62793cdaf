internal import Kafka
internal import Logging

/// Sees to it that the client hands out every record of a partition, once and in order. Offsets that no record has are no
/// loss by themselves: markers of transactions have some, aborted records and those that compaction removed had some.
/// So the log is asked, beside the stream, whether it has a record where the client saw none.
struct Continuity {
    private let context: LoopContext
    /// When the log was asked last, s.
    private var askedAt = -Double.infinity

    /// Least seconds between two questions. A stream of transactions jumps all the time.
    private static let askSeconds = 10.0
    private static let askMs = 2_000
    /// Lives that end at one place before the process does.
    private static let mostLives = 3

    init(_ context: LoopContext) { self.context = context }

    /// To be called before the records of a poll are taken in.
    /// - Throws: `BrokenContinuity`, so that the next life reads anew what was committed last; `RecoveryError` when that
    ///   has not helped.
    mutating func check(_ jumps: Consumer.Jumps) throws {
        context.reporter.jumped(jumps)
        let (p, expected, found) = (jumps.partition, jumps.expected, jumps.found)
        guard found > expected else {
            throw end(p, expected, "offset \(found) came where \(expected) was to come")
        }
        if let lost = lostRecord(p, expected..<found) {
            throw end(p, expected, "offset \(found) came after \(expected - 1), but the log has a record at \(lost)")
        }
    }

    /// The offset of a record that the log has within a jump; nil when it has none, or was not asked.
    private mutating func lostRecord(_ p: TopicPartition, _ range: Range<Int64>) -> Int64? {
        let now = context.clock.now
        // One offset is the marker of a transaction.
        guard range.count > 1, now - askedAt >= Self.askSeconds else { return nil }
        askedAt = now
        do {
            let record = try context.consumer.fingerprint(from: range.lowerBound, of: p, milliseconds: Self.askMs)
            return record.flatMap { range.contains($0.offset) ? $0.offset : nil }
        } catch {
            context.logger.debug(
                "the log was not asked for skipped offsets", metadata: ["partition": "\(p)", "error": "\(error)"])
            return nil
        }
    }

    private func end(_ p: TopicPartition, _ offset: Int64, _ what: String) -> any Error {
        let text = "\(p): \(what)"
        guard context.shared.livesEnded(at: "\(p) \(offset)") >= Self.mostLives else {
            return BrokenContinuity(description: "\(text): reading on from the last commit")
        }
        return RecoveryError(
            description:
                "\(text), and reading again from the last commit did not help. The topic was made anew while it "
                + "was read, or librdkafka \(LibraryVersion.current) leaves records out. Run `clvd verify`, and use librdkafka "
                + "\(LibraryVersion.recommended) or later")
    }
}

/// The client left out records of a partition, or handed one out again. Nothing of what came after was taken in.
struct BrokenContinuity: Error, CustomStringConvertible {
    let description: String
}
