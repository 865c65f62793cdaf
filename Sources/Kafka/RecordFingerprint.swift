public import CEventParser
import CHash

/// What tells a record apart from another one at the same offset of a topic that was made anew.
public struct RecordFingerprint: Sendable, Equatable, Codable {
    public var offset: Int64
    /// The record's timestamp, ms since 1970; -1: it has none.
    public var timestampMs: Int64
    /// XXH3-64 of value and key.
    public var hash: UInt64

    package init(offset: Int64, timestampMs: Int64, hash: UInt64) {
        (self.offset, self.timestampMs, self.hash) = (offset, timestampMs, hash)
    }

    public init(_ r: clvd_record) {
        offset = r.offset
        timestampMs = r.timestamp_ms
        let key = clvd_seeded_hash(r.key, Int(r.key_length), 0)
        hash = clvd_seeded_hash(r.value, Int(r.value_length), key)
    }
}
