/// One input partition: the unit of state, restore and parallelism.
public struct TaskID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// Index into the engine's list of topics.
    public var topic: Int32
    public var partition: Int32

    public init(topic: Int32, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public static func < (a: TaskID, b: TaskID) -> Bool {
        a.topic != b.topic ? a.topic < b.topic : a.partition < b.partition
    }

    public var description: String { "\(topic)/\(partition)" }
}
