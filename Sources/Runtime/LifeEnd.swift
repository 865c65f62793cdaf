internal import Engine
internal import Kafka
internal import Settings

/// The end of a life of the loop.
extension Pipeline {
    /// Ends a life that failed.
    /// - Returns: why it ended: the error, or that another instance has taken over, where that is the cause.
    package func end(after error: any Error) -> any Error {
        // It may have come in the middle of a batch.
        context.consumer.release()
        if let replaced = cancelOpenWork() { return NameFence(self).naming(replaced) }
        if let verdict = NameFence(self).verdict(on: error) { return verdict }
        keepCommitted(before: error)
        return error
    }

    /// The last part of every life: leaves the group.
    package func leave() { context.consumer.close() }

    /// Cancels the open transaction, records on their way and a snapshot that is being written.
    /// - Returns: the error that says so, when it turns out that another instance has taken over.
    private func cancelOpenWork() -> KafkaError? {
        let replaced = committer.discard()
        snapshots.cancel()
        return replaced
    }

    /// Takes a snapshot before the process ends for good, so that the next one need not read again what is committed.
    /// Not when another instance has taken over, whose folder it is now; nor of a state that is ahead of what is
    /// committed, that was being put together when the error came, or that may be of two logs, which the next start could
    /// not tell any more.
    private func keepCommitted(before error: any Error) {
        guard !Daemon.isPassing(error), (error as? KafkaError)?.isFenced != true,
            (error as? RecoveryError)?.isOfOtherLog != true, !table.partitions.isEmpty,
            Set(engine.taskIDs) == Set(table.partitions.keys)
        else { return }
        try? snapshots.takeNow()
    }
}
