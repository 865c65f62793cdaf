import Foundation

/// A consistent cut of the engine: everything of one position in the sequence. The regions point into the live
/// engine, so they are to be written (or forked off) before its next step.
public struct EngineImage {
    /// Raw memory under a name that is unique in the image.
    public struct Section {
        public let name: String
        public let regions: [UnsafeRawBufferPointer]
    }

    /// A named tensor of the weights, row-major.
    public struct Tensor {
        public let name: String
        public let shape: [Int]
        public let values: UnsafeBufferPointer<Float>
    }

    /// What describes the sections; JSON in the manifest.
    public struct Metadata: Codable, Equatable, Sendable {
        /// Version of the meaning of the sections.
        public static let currentFormat = 8
        public var format: Int
        public var position: Int64
        var schedule: Engine.Schedule
        public var topics: [String]
        public var partitions: Int
        public var configuration: EngineConfiguration
        /// The kernel variant whose bits these are.
        public var kernels: String
        public var modelVersion: Int64
        public var users: Int
        /// Next offset by task, `topic index/partition`.
        public var offsets: [String: Int64]
        /// Name and next offset of each partition, in order.
        public var partitionOffsets: [(partition: String, offset: Int64)] {
            tasks.map { ("\(topics[Int($0.id.topic)])[\($0.id.partition)]", $0.nextOffset) }
        }
        /// The partitions that it holds, in order.
        public var partitionIDs: [TaskID] { tasks.map(\.id) }
        var tasks: [PartitionTask.Image]
        var learner: Learner.Image
        /// What predicts up to `schedule.servesFrom`, where learning is by marks.
        var former: ServingParameters.Image?

        /// The first partition whose description differs in the other image; nil when all are equal.
        package func firstDifference(ofTasks other: Metadata) -> TaskID? {  // for tests
            tasks.first { task in other.tasks.first { $0.id == task.id } != task }?.id
        }
    }

    /// What is worth knowing of a snapshot before it is read: what it holds, and how new its model is. Decoded from
    /// the same JSON as `Metadata`.
    public struct Summary: Decodable, Equatable, Sendable {
        public let topics: [String]
        public let modelVersion: Int64
        /// Event time that the model has learned up to, ms; nil before the first learning.
        public var learnedTo: Int64? { schedule.watermark }
        /// Next offset of each partition that the snapshot holds.
        public var partitions: [(topic: String, partition: Int32, offset: Int64)] {
            offsets.compactMap { key, offset in
                let parts = key.split(separator: "/")
                guard parts.count == 2, let topic = Int(parts[0]), let partition = Int32(parts[1]),
                    topics.indices.contains(topic)
                else { return nil }
                return (topics[topic], partition, offset)
            }
        }
        let schedule: Engine.Schedule
        let offsets: [String: Int64]
    }

    public let metadata: Metadata
    public let sections: [Section]
    /// Serving weights for other programs to read; restoring uses the sections.
    public let weights: [Tensor]
    /// Copies that the regions point into.
    private let copies: [Copy]

    /// Bytes kept alive as long as the image.
    final class Copy {
        let bytes: UnsafeMutableRawBufferPointer
        init(_ source: UnsafeRawBufferPointer) {
            bytes = .allocate(byteCount: source.count, alignment: 16)
            bytes.copyMemory(from: source)
        }
        deinit { bytes.deallocate() }
    }

    init(metadata: Metadata, sections: [Section], weights: [Tensor], copies: [Copy]) {
        self.metadata = metadata
        self.sections = sections
        self.weights = weights
        self.copies = copies
    }
}

extension Engine {
    /// The present state as named pieces of memory and their description.
    /// - Parameter part: only these partitions, with the model as always; nil: all.
    public func image(of part: Set<TaskID>? = nil) -> EngineImage {
        let ordered = part.map { part in self.ordered.filter { part.contains($0.id) } } ?? self.ordered
        var sections: [EngineImage.Section] = []
        var copies: [EngineImage.Copy] = []
        func copied(_ source: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
            let copy = EngineImage.Copy(source)
            copies.append(copy)
            return UnsafeRawBufferPointer(copy.bytes)
        }
        for task in ordered {
            let name = "task-\(task.id.topic)-\(task.id.partition)"
            sections.append(.init(name: "\(name)-users", regions: [task.users.slotBytes]))
            sections.append(.init(name: "\(name)-keys", regions: [task.users.longKeyBytes]))
            sections.append(.init(name: "\(name)-former", regions: [task.users.former.bytes]))
            sections.append(.init(name: "\(name)-landmarks", regions: task.pool.regions))
            if task.aliases.image != nil {
                sections.append(.init(name: "\(name)-aliases", regions: [task.aliases.nodes.slotBytes]))
                sections.append(.init(name: "\(name)-alias-keys", regions: [task.aliases.nodes.longKeyBytes]))
            }
        }
        let learned = learner.image(copied: copied)
        sections.append(contentsOf: learned.sections)
        if schedule.marks != nil {
            let regions = former.parameters.regions(settings).map { UnsafeRawBufferPointer($0) }
            sections.append(.init(name: "former", regions: regions))
        }
        let metadata = EngineImage.Metadata(
            format: EngineImage.Metadata.currentFormat, position: position, schedule: schedule, topics: topics,
            partitions: partitions,
            configuration: configuration, kernels: Network.kernels, modelVersion: serving.version,
            users: ordered.reduce(0) { $0 + $1.users.userCount },
            offsets: Dictionary(uniqueKeysWithValues: ordered.map { ($0.id.description, $0.nextOffset) }),
            tasks: ordered.map(\.image), learner: learned.image,
            former: schedule.marks == nil ? nil : former.parameters.image)
        let weights = settings.model.tensors.map { tensor in
            EngineImage.Tensor(
                name: tensor.name, shape: tensor.shape,
                values: UnsafeBufferPointer(
                    start: serving.parameters.weights + tensor.offset, count: tensor.shape.reduce(1, *))
            )
        }
        return EngineImage(metadata: metadata, sections: sections, weights: weights, copies: copies)
    }

    /// What a partition holds apart from what a model has had a hand in: clocks, windows, totals, the latest events and
    /// event ids, user by user. Engines with different models agree on it to the bit.
    package func statistics(of id: TaskID) -> [UInt8] {
        guard let task = tasks[id] else { return [] }
        let clocks = [
            task.watermark, task.clock.stream.time, task.clock.timerHour, task.clock.scoredHour, task.nextOffset,
        ]
        return clocks.withUnsafeBytes { Array($0) } + task.users.statistics
    }

    /// Brings an empty engine to the state of an image.
    /// - Parameter section: the bytes of a section by name.
    /// - Throws: `SnapshotMismatch` when the image is of another format, configuration or set of topics.
    public func restore(_ metadata: EngineImage.Metadata, section: (String) throws -> UnsafeRawBufferPointer) throws {
        precondition(ordered.isEmpty && position == 0, "restore into a fresh engine")
        try checkCompatible(metadata)
        for image in metadata.tasks { try insert(task(image, format: metadata.format, section)) }
        try restoreModel(metadata, section: section)
    }

    /// Gives an engine that has taken in nothing yet the model of an image, with its position in the sequence and what
    /// it learns by; no partitions.
    /// - Throws: as `restore`.
    public func restoreModel(
        _ metadata: EngineImage.Metadata, section: (String) throws -> UnsafeRawBufferPointer
    ) throws {
        precondition(position == 0, "a model for a fresh engine")
        try checkCompatible(metadata)
        try learner.restore(metadata.learner) { name in
            let bytes = try section(name)
            guard name != "weights" || StateCheck.areFinite(bytes) else {
                throw SnapshotMismatch("weights that are no numbers")
            }
            return bytes
        }
        learner.publish(to: serving)
        learner.publish(to: former)
        if let image = metadata.former, learnsByMarks {
            try former.parameters.restore(image, settings, section("former"))
        }
        restore(position: metadata.position, schedule: metadata.schedule)
    }

    /// Takes on a partition with the state it has in an image; the model stays what it is.
    /// - Returns: false when the image does not hold the partition.
    /// - Throws: as `restore`.
    public func adopt(
        _ id: TaskID, from metadata: EngineImage.Metadata, section: (String) throws -> UnsafeRawBufferPointer
    ) throws -> Bool {
        guard let image = metadata.tasks.first(where: { $0.id == id }) else { return false }
        try checkCompatible(metadata)
        try insert(task(image, format: metadata.format, section))
        return true
    }

    private func task(
        _ image: PartitionTask.Image, format: Int, _ section: (String) throws -> UnsafeRawBufferPointer
    ) throws -> PartitionTask {
        let name = "task-\(image.id.topic)-\(image.id.partition)"
        var image = image
        let slots = try section("\(name)-users")
        let converted = format == 6 ? try Format6.slots(slots, &image.users, settings) : nil
        defer { converted?.deallocate() }
        return try PartitionTask(
            image: image, format: format, settings: settings,
            slots: converted.map { UnsafeRawBufferPointer($0) } ?? slots,
            longKeys: section("\(name)-keys"),
            former: image.users.former == nil
                ? UnsafeRawBufferPointer(start: nil, count: 0) : section("\(name)-former"),
            landmarks: section("\(name)-landmarks")
        ) { (try section("\(name)-aliases"), try section("\(name)-alias-keys")) }
    }

    /// What decides the layout of state and weights and the meaning of labels must be equal; rates, thresholds and
    /// budgets may differ. So may the number of partitions: a task keeps the bounds that it was made with.
    private func checkCompatible(_ metadata: EngineImage.Metadata) throws {
        guard StateFormat.isRead(metadata.format) else {
            throw SnapshotMismatch("the snapshot", ofFormat: metadata.format)
        }
        var differences: [String] = []
        func check<T: Equatable>(_ name: String, _ saved: T, _ now: T) {
            if saved != now { differences.append("\(name) was \(saved), is \(now)") }
        }
        let (saved, now) = (metadata.configuration, configuration)
        check("input topics", metadata.topics, topics)
        check("targets", saved.targets.map(\.meaning), now.targets.map(\.meaning))
        check("binEdgesDays", saved.binEdgesDays, now.binEdgesDays)
        check("model", saved.model, now.model)
        check("state.subtractRefunds", saved.state.subtractRefunds, now.state.subtractRefunds)
        check("state.hashSeed", saved.state.hashSeed, now.state.hashSeed)
        check("learning.maxLandmarks", saved.learning.maxLandmarks, now.learning.maxLandmarks)
        guard differences.isEmpty else {
            throw SnapshotMismatch("the snapshot is of another configuration: " + differences.joined(separator: "; "))
        }
        try metadata.check()
    }
}

extension EngineConfiguration.Target {
    /// Everything that decides its labels and its place in the state; not its weight in the loss.
    fileprivate var meaning: String {
        let events = events.isEmpty ? "any event" : Set(events).sorted().joined(separator: ", ")
        let days = horizonsDays.map(HorizonDays.text).joined(separator: ", ")
        return "\(name) (\(kind.rawValue) of \(events)\(category.map { " in \($0)" } ?? ""), \(days) days)"
    }
}
