internal import Kafka
internal import Logging
internal import Settings

/// The group has refused this instance its own name although no other instance has it: a broker that crashes may lose the
/// answer to a re-join and the member with it. A new life joins again.
struct NameRefused: Error, CustomStringConvertible {
    let cause: KafkaError
    /// How that is known.
    let evidence: String
    var description: String { "\(cause); it seems that no other instance has taken over: \(evidence)" }
}

/// Decides what is behind a fence: another instance, which may go on alone, or a broker that has lost track.
struct NameFence {
    private let pipeline: Pipeline
    private var context: LoopContext { pipeline.context }

    /// How long the transaction coordinator is asked until it answers, s.
    private static let askSeconds = 60.0
    /// A member that is gone stays in its group for a session; by so much later a coordinator that is busy has noticed.
    private static let sessionMarginSeconds = 5.0
    /// Refusals in a row after which a name that nobody can be asked about is taken to be another's.
    static let mostRefusals = 5

    init(_ pipeline: Pipeline) { self.pipeline = pipeline }

    /// - Returns: `KafkaError.isFenced` when another instance has taken over, `NameRefused` when none has; nil when there
    ///   was no fence.
    func verdict(on error: any Error) -> (any Error)? {
        if let error = error as? KafkaError, error.isFencedMember { return judge(error) }
        // After a standstill another instance may have taken over meanwhile: a new life would drive that out.
        guard error is LostPartitions || error is TransactionExpired || error is ProducerForgotten else { return nil }
        if error is LostPartitions, !pipeline.table.partitions.isEmpty,
            case .replaced(let replaced) = pipeline.committer.askWhetherReplaced(anyOffset)
        {
            return naming(replaced)
        }
        return fenceThatWaits().map(judge)
    }

    /// Adds who has the name, when the group says so.
    func naming(_ fence: KafkaError) -> KafkaError {
        guard let holder = try? context.consumer.holderOfName(milliseconds: 2_000) else { return fence }
        return fence.adding(describe(holder))
    }

    private func describe(_ holder: GroupMember) -> String {
        "the group has member \(holder.id) with this name: client \(holder.clientID) at \(holder.host)"
    }

    /// Of static members the group knows the name: it tells this one that another has it.
    private func fenceThatWaits() -> KafkaError? {
        guard context.settings.kafka.staticMembership else { return nil }
        let (consumer, clock) = (context.consumer, context.clock)
        let began = clock.now
        while clock.now - began < 1 {
            let poll = consumer.poll(milliseconds: 100)
            consumer.release()
            if let error = poll.error, error.isFencedMember { return error }
            switch poll.rebalance {
            case .assign?: try? consumer.assign([:])
            case .revoke(let list)?, .lost(let list)?: try? consumer.unassign(list)
            case nil: break
            }
        }
        return nil
    }

    /// The group says that another member has this one's name. Whoever is replaced by another instance has lost its
    /// producer's epoch before, so that the transaction coordinator knows. Where it cannot tell, the group is asked after
    /// the session of a member that is gone.
    private func judge(_ fence: KafkaError) -> any Error {
        let isFirst = context.shared.refusals == 0
        switch standing() {
        case .replaced(let replaced): return naming(replaced)
        // Another program with this name in the group has no producer of ours: the second time, the group is asked too.
        case .alone where isFirst: return NameRefused(cause: fence, evidence: "the producer was not fenced")
        case .alone, .unanswered, .unknown: break
        }
        let session = Double(context.consumer.sessionTimeoutMs) / 1000
        context.logger.warning(
            """
            the group says that another member has this instance's name. Waiting to see whether it is there: a member \
            that is gone ends with its session
            """,
            metadata: ["seconds": "\(session)", "error": "\(fence)"])
        var (holder, trouble): (GroupMember?, KafkaError?) = (nil, nil)
        let end = context.clock.now + session + Self.sessionMarginSeconds
        repeat {
            do {
                (holder, trouble) = (try context.consumer.holderOfName(milliseconds: 2_000), nil)
                if holder == nil {
                    return NameRefused(cause: fence, evidence: "the group has no other member of this name")
                }
            } catch { trouble = error }
            if context.shared.isStopping {
                return NameRefused(cause: fence, evidence: "asked to stop before it was clear whether one has")
            }
            context.clock.sleep(1)
        } while context.clock.now < end
        if let holder, trouble == nil { return fence.adding(describe(holder)) }
        guard context.shared.refusals < Self.mostRefusals else { return fence }
        return NameRefused(cause: fence, evidence: "the group does not answer: \(trouble.map { "\($0)" } ?? "-")")
    }

    private func standing() -> Committer.Standing {
        let end = context.clock.now + Self.askSeconds
        while true {
            let standing = pipeline.committer.askWhetherReplaced(anyOffset)
            guard case .unanswered = standing, context.clock.now < end, !context.shared.isStopping else {
                return standing
            }
            context.clock.sleep(1)
        }
    }

    /// What a transaction that will be aborted may hold.
    private var anyOffset: [TopicPartition: PartitionOffset] {
        if let p = pipeline.table.partitions.values.first {
            return [p.name: p.committed ?? PartitionOffset(offset: p.firstUnpublishedOffset)]
        }
        return [TopicPartition(context.settings.input.topics[0], 0): PartitionOffset(offset: 0)]
    }
}
