/// Which task takes the records of an input partition. Today each task has one input, the partition of its own id;
/// inputs and tasks are kept apart here so that a task may have several.
struct PartitionRouting {
    /// Input partitions in the order of their positions.
    private(set) var inputs: [TaskID] = []
    /// [inputs] of the place of the task, in the engine's order of tasks.
    private(set) var tasks: [Int] = []
    private var indices: [TaskID: Int] = [:]

    init(_ ordered: [PartitionTask] = []) {
        for (place, task) in ordered.enumerated() {
            indices[task.id] = inputs.count
            inputs.append(task.id)
            tasks.append(place)
        }
    }

    /// Index of an input among `inputs`.
    /// - Parameter guess: index of the input that the record before came from, -1 for none; runs of records of one
    ///   partition are the rule.
    @inline(__always)
    func index(topic: Int32, partition: Int32, guess: Int) -> Int {
        if guess >= 0, inputs[guess].topic == topic, inputs[guess].partition == partition { return guess }
        let id = TaskID(topic: topic, partition: partition)
        guard let found = indices[id] else { preconditionFailure("a record of partition \(id), which is not held") }
        return found
    }
}
