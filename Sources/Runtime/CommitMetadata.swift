/// What is committed along with an offset: the engine's clock of the partition, so that what was published about
/// silence is not published again after a restart. At most a few dozen bytes.
package struct CommitMetadata: Equatable {
    /// ms since 1970; nil before the first event.
    package var clock: Int64?

    private static let prefix = "clvd1;clock="

    var text: String { clock.map { Self.prefix + String($0) } ?? "" }

    init(clock: Int64?) { self.clock = clock }

    /// Metadata of others is no metadata.
    package init(text: String) {
        clock = text.hasPrefix(Self.prefix) ? Int64(text.dropFirst(Self.prefix.count)) : nil
    }
}
