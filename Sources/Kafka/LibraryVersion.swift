import CRdKafka

/// A version of librdkafka.
public struct LibraryVersion: Sendable, Comparable, CustomStringConvertible {
    public var major: Int
    public var minor: Int
    public var patch: Int

    public init(_ major: Int, _ minor: Int, _ patch: Int) {
        (self.major, self.minor, self.patch) = (major, minor, patch)
    }

    /// The one that this process runs with.
    public static let current: LibraryVersion = {
        let number = rd_kafka_version()
        return LibraryVersion(Int(number >> 24) & 255, Int(number >> 16) & 255, Int(number >> 8) & 255)
    }()

    /// The first that knows `group.protocol`.
    static let groupProtocols = LibraryVersion(2, 4, 0)
    /// The first in which `client.rack` can be used.
    public static let racks = LibraryVersion(2, 6, 1)
    /// The first that is recommended.
    public static let recommended = LibraryVersion(2, 10, 1)

    public var description: String { "\(major).\(minor).\(patch)" }

    public static func < (a: LibraryVersion, b: LibraryVersion) -> Bool {
        (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
    }
}
