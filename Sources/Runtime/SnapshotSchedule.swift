internal import Engine
internal import Settings
internal import SnapshotStore

/// Decides when snapshots are taken, and notes how they end.
final class SnapshotSchedule {
    private let context: LoopContext
    private let commits: CommitGate
    private let keeper: SnapshotKeeper
    /// When the latest was begun, s.
    private var begunAt: Double
    /// Position of the engine that the newest snapshot holds, or will.
    private var position: Int64 = 0

    init(_ context: LoopContext, _ commits: CommitGate, _ keeper: SnapshotKeeper) {
        self.context = context
        self.commits = commits
        self.keeper = keeper
        begunAt = context.clock.now
    }

    /// Restores the newest own snapshot into a fresh engine.
    func restore() throws {
        guard context.hasState else { return }
        context.shared.update { $0.phase = .restoring }
        position = try keeper.restoreOwn(context.engine) ?? 0
        context.reporter.rebase(context.engine)
    }

    /// Notes the outcome of a write that has ended, and begins one when it is time.
    func takeIfDue() throws {
        guard context.hasState else { return }
        if let outcome = keeper.poll() { note(outcome) }
        let interval = Double(context.settings.snapshots.intervalSeconds)
        guard !keeper.isWriting, context.clock.now - begunAt >= interval, context.engine.position != position else {
            return
        }
        // A busy stream is seldom quiet by itself.
        guard try commits.commit(), commits.isQuiet else { return }
        begunAt = context.clock.now
        do {
            try keeper.begin(context.engine)
            position = context.engine.position
        } catch let error as SnapshotError {
            note(failure: error)
        }
    }

    /// Waits for a write that was begun, then writes the present state in this process, if it is news.
    func takeNow() throws {
        guard context.hasState else { return }
        if let outcome = keeper.finish() { note(outcome) }
        guard context.engine.position != position, commits.isQuiet else { return }
        do {
            let info = try keeper.write(context.engine)
            context.reporter.snapshotTaken(info, seconds: nil)
            position = info.position
        } catch let error as SnapshotError {
            note(failure: error)
        }
    }

    /// Stops a write that was begun and notes its outcome. Left to the next life, the outcome would look like a failure
    /// of that one, which would then write what it has so far, perhaps nothing, over the snapshot that it began with.
    func cancel() {
        keeper.cancel()
        guard let outcome = keeper.finish() else { return }
        // Stopping it is no failure. It may have been written already, or have failed before.
        if case .failed(let error) = outcome, error.kind == .cancelled {
            position = keeper.newestPosition ?? -1
        } else {
            note(outcome)
        }
    }

    private func note(_ outcome: SnapshotOutcome) {
        switch outcome {
        case .written(let info, let seconds):
            // A part that failed meanwhile may have reset the position.
            position = info.position
            context.reporter.snapshotTaken(info, seconds: seconds)
        case .failed(let error): note(failure: error)
        }
    }

    /// Notes that no snapshot was taken. The stream goes on, and the last good one stays.
    func note(failure error: SnapshotError) {
        // What the last good one holds is not written again: partitions that were released since would be missing.
        position = keeper.newestPosition ?? -1
        context.reporter.snapshotFailed(error)
    }
}
