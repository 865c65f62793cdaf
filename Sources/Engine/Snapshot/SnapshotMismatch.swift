/// A snapshot that is whole but does not belong to this engine: another configuration, another format.
public struct SnapshotMismatch: Error, CustomStringConvertible, Sendable {
    public let description: String
    public init(_ description: String) { self.description = description }
}
