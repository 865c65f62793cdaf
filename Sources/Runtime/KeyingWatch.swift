internal import Engine
internal import EventInput
internal import Kafka
internal import Logging
internal import Settings

/// Notices customers in more than one partition: each has several states, which overwrite each other's updates, and an
/// erasure leaves the others. Looks at a sample of the customers of the partitions that this instance has held.
final class KeyingWatch {
    private let context: LoopContext
    private let table: PartitionTable
    private var sample: KeyingSample
    /// The first customer that was found in two partitions and is not told yet.
    private var found: (first: KeyingSample.Sighting, second: KeyingSample.Sighting)?
    /// When that was logged last, s.
    private var toldAt = -Double.infinity

    /// Share of the customers in several partitions from which on the input is not keyed by customer. Below it, single
    /// records have a wrong key.
    static let mostSplit = 0.01
    /// Seconds between two warnings.
    private static let tellSeconds = 600.0

    /// - Parameter capacity: of the sample.
    init(_ context: LoopContext, _ table: PartitionTable, capacity: Int = 65_536) {
        (self.context, self.table) = (context, table)
        sample = KeyingSample(capacity: capacity)
        if isNeeded { context.engine.newcomerMask = sample.mask }
    }

    /// Where there is one partition, everybody is in it; the first stage has no customers.
    private var isNeeded: Bool { context.engine.partitions > 1 && context.hasState }

    /// Notes the customers of partitions that were taken with their state.
    /// - Throws: see `judge`.
    func partitionsTaken(_ ids: [TaskID]) throws {
        guard isNeeded else { return }
        for id in ids {
            let end = context.engine.nextOffset(id) ?? 0
            context.engine.forEachUserHash(of: id) { note($0, id, .before(end)) }
        }
        try judge()
    }

    /// Notes whom the last step brought to their partitions. To be called when the records of the step are known not to
    /// be committed: what follows from a refusal is discarded with them.
    /// - Throws: see `judge`.
    func stepTaken() throws {
        context.engine.forEachNewcomer { id, hash, offset in note(hash, id, .at(offset)) }
        try judge()
    }

    private func note(_ hash: UInt64, _ id: TaskID, _ offset: KeyingSample.Sighting.Offset) {
        let before = sample.mask
        let place = KeyingSample.Sighting(topic: id.topic, partition: id.partition, offset: offset)
        if let pair = sample.note(hash, at: place) {
            found = found ?? pair
            context.reporter.customersSplit(sample.factor, sample)
        }
        if sample.mask != before { context.engine.newcomerMask = sample.mask }
    }

    /// - Throws: `SettingsError` when the input is not keyed by customer and the settings want it to be.
    private func judge() throws {
        guard let found else { return }
        let setting = context.settings.input.keying
        if setting != .asIs, sample.share >= Self.mostSplit {
            throw SettingsError(problems: [problem(found, setting)])
        }
        guard context.clock.now - toldAt >= Self.tellSeconds else { return }
        toldAt = context.clock.now
        self.found = nil
        context.logger.warning(
            """
            customers are in more than one partition: each partition has a state of its own of such a customer, and \
            their updates overwrite each other
            """,
            metadata: [
                "customers": "\(sample.customers)", "split": "\(sample.split)", "one_in": "\(sample.factor)",
                "first": "\(describe(found.first))", "second": "\(describe(found.second))",
            ])
    }

    private func problem(
        _ found: (first: KeyingSample.Sighting, second: KeyingSample.Sighting), _ setting: Settings.InputSettings.Keying
    ) -> SettingsProblem {
        let percent = (sample.share * 1000).rounded() / 10
        let among = sample.factor > 1 ? "\(sample.customers) customers of a sample" : "\(sample.customers) customers"
        return SettingsProblem(
            path: "input.keying",
            problem: "the input is not keyed by customer: \(sample.split) of \(among) (\(percent) %) were seen in more "
                + "than one partition, one of them in \(describe(found.first)) and in \(describe(found.second)). Each "
                + "partition has a state of its own of such a customer, which overwrite each other's updates",
            value: setting.rawValue,
            remedy: "use the customer's id as the key of the records (the number of partitions must not have changed "
                + "since); or set input.keying: repartition, by which clvd keys the records itself; or input.keying: "
                + "as-is to take them as they are")
    }

    private func describe(_ s: KeyingSample.Sighting) -> String {
        let partition = TopicPartition(context.settings.input.topics[Int(s.topic)], s.partition)
        return switch s.offset {
        case .at(let offset): "\(partition) at offset \(offset)"
        case .before(let offset): "\(partition) before offset \(offset)"
        }
    }
}
