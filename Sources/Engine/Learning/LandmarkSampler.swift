/// A landmark of a task's pool.
struct LandmarkPick {
    /// Place of the task in the engine's order.
    var task: Int
    var sequence: Int64
}

/// Chooses the landmarks of a minibatch, with a random generator of its own.
struct LandmarkSampler {
    /// Draws without a pick, per row of a minibatch, after which there is nothing to draw. A draw misses where it hits
    /// a landmark of the other group or of a user who left. The smallest share of users held out that is usual, 5 %,
    /// hits every 20th time; 64 leaves a margin of three.
    static let missesPerRow = 64

    private let configuration: EngineConfiguration.Learning
    private let bins: Int
    var random: RandomNumbers
    /// The latest choice; at most `batchSize` landmarks.
    private(set) var picks: [LandmarkPick] = []

    init(_ settings: EngineSettings) {
        configuration = settings.configuration.learning
        bins = settings.targetTable.bins
        random = RandomNumbers(seed: configuration.seed)
        picks.reserveCapacity(configuration.batchSize)
    }

    /// Draws a minibatch. For training: a share near the frontier of a random bin, the rest from all matured landmarks.
    /// From held-out users: all near the frontier of a random bin.
    /// - Returns: false when there are too few landmarks for a whole minibatch.
    mutating func draw(_ tasks: [PartitionTask], heldOut: Bool) -> Bool {
        picks.removeAll(keepingCapacity: true)
        let matured = tasks.reduce(Int64(0)) { $0 + $1.pool.frontier[0] - $1.pool.head }
        guard matured >= Int64(configuration.batchSize) else { return false }
        let near = Int64(max(1, configuration.frontierLandmarks / max(1, tasks.count)))
        var misses = 0
        while picks.count < configuration.batchSize && misses < Self.missesPerRow * configuration.batchSize {
            let frontier = !heldOut && (random.uniform() < configuration.frontierShare)
            let bin = frontier || heldOut ? random.below(bins) : 0
            guard let pick = drawOne(tasks, bin: bin, near: frontier || heldOut ? near : .max) else {
                misses += 1
                continue
            }
            let h = LandmarkPool.header(tasks[pick.task].pool.at(pick.sequence))
            let isHeldOut = h.pointee.flags & LandmarkHeader.holdOut != 0
            if h.pointee.user == UserTable.none || isHeldOut != heldOut {
                misses += 1
                continue
            }
            picks.append(pick)
        }
        return picks.count == configuration.batchSize
    }

    /// A uniform draw among the `near` newest landmarks of each task that matured in `bin`.
    private mutating func drawOne(_ tasks: [PartitionTask], bin: Int, near: Int64) -> LandmarkPick? {
        func range(_ task: PartitionTask) -> Int64 { min(near, task.pool.frontier[bin] - task.pool.head) }
        let total = tasks.reduce(Int64(0)) { $0 + range($1) }
        guard total > 0 else { return nil }
        var at = Int64(random.below(Int(total)))
        for (t, task) in tasks.enumerated() {
            let n = range(task)
            // One more landmark of another task shall not move the places in this one.
            if at < n && tasks.count > 1 { at = Int64(random.below(Int(n))) }
            if at < n { return LandmarkPick(task: t, sequence: task.pool.frontier[bin] - 1 - at) }
            at -= n
        }
        return nil
    }

    /// Picks at equal distances, without randomness, from the landmarks that matured in a bin since its frontiers were
    /// at `frontiers` ([tasks][bins]). There may be none.
    mutating func pickFresh(_ tasks: [PartitionTask], bin: Int, since frontiers: [[Int64]]) {
        picks.removeAll(keepingCapacity: true)
        let most = configuration.batchSize
        let fresh = tasks.enumerated().map { t, task in task.pool.matured(bin: bin, since: frontiers[t][bin]) }
        let step = max(1, (fresh.reduce(0) { $0 + $1.count } + most - 1) / most)
        for (t, task) in tasks.enumerated() {
            for sequence in stride(from: fresh[t].lowerBound, to: fresh[t].upperBound, by: step) {
                if picks.count == most { break }
                if LandmarkPool.header(task.pool.at(sequence)).pointee.user != UserTable.none {
                    picks.append(LandmarkPick(task: t, sequence: sequence))
                }
            }
        }
    }
}
