/// A snapshot that is whole but does not belong to this engine: another configuration, another format.
public struct SnapshotMismatch: Error, CustomStringConvertible, Sendable {
    public let description: String
    /// A newer version wrote it: no setting of this one would fit.
    public let isOfNewerFormat: Bool

    public init(_ description: String) { (self.description, isOfNewerFormat) = (description, false) }

    /// - Parameters:
    ///   - snapshot: what it is called.
    ///   - format: one that this version does not read.
    public init(_ snapshot: String, ofFormat format: Int) {
        description = "\(snapshot) was \(StateFormat.explanation(of: format))"
        isOfNewerFormat = format > StateFormat.current
    }
}
