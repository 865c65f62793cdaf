package import Engine
package import Kafka

/// What is committed along with an offset: who committed it, and what the next owner of the partition has to know. After
/// a restart the idle ticks are replayed, so that the state becomes the same and their outputs are not published again.
/// Less than two kilobytes; brokers take four.
package struct CommitMetadata: Equatable {
    /// Who wrote the metadata of a committed offset.
    package enum Author: Equatable {
        case thisVersion
        /// A version of clvd that wrote less.
        case older
        /// A version of clvd that writes what this one cannot read.
        case newer(Int)
        /// Another program, or a person who moved the offset.
        case foreign
    }

    /// The offset that it was committed with; nil: an older version did not say. Where it differs, somebody has moved the
    /// offset and kept the text.
    package var offset: Int64?
    /// The engine's clock of the partition, ms since 1970; nil before the first event.
    package var clock: Int64?
    /// The latest idle ticks, ascending. Their clocks are full hours.
    package var idleTicks: [IdleTick]
    /// A record that was taken in, to be found again where it was: one of the last, or the last; nil before the first.
    package var lastRecord: RecordFingerprint?
    /// When the partition got its last record; nil: unknown.
    package var silence: Silence?
    /// Where the group began to read the partition: its state is that of the records from here on. nil: unknown.
    package var begin: Int64?
    /// The furthest snapshot when the offset was set back to before it with an operator's consent; nil: none is beyond.
    package var rewoundFrom: Int64?
    /// Id of the cluster.
    package var cluster: String?

    /// Since when a partition has been silent.
    package struct Silence: Equatable {
        /// The engine's clock then, ms of event time.
        package var clock: Int64
        /// The wall clock then, ms since 1970.
        package var wallMs: Int64

        package init(clock: Int64, wallMs: Int64) { (self.clock, self.wallMs) = (clock, wallMs) }
    }

    /// Version of the text. A version of clvd refuses those after its own.
    package static let version = 2
    /// Most ticks that are kept: snapshots are seldom further behind.
    static let mostIdleTicks = 64
    private static let hour: Int64 = 3_600_000

    package init(
        offset: Int64? = nil, clock: Int64?, idleTicks: [IdleTick] = [], lastRecord: RecordFingerprint? = nil,
        silence: Silence? = nil, begin: Int64? = nil, rewoundFrom: Int64? = nil, cluster: String? = nil
    ) {
        (self.offset, self.clock, self.idleTicks, self.lastRecord) = (offset, clock, idleTicks, lastRecord)
        (self.silence, self.begin, self.rewoundFrom, self.cluster) = (silence, begin, rewoundFrom, cluster)
    }

    // MARK: Text

    package var text: String {
        var fields = ["clvd\(Self.version)"]
        func add(_ name: String, _ value: String?) { if let value { fields.append("\(name)=\(value)") } }
        add("at", offset.map(String.init))
        add("clock", clock.map(String.init))
        let ticks = idleTicks.suffix(Self.mostIdleTicks).map { "\($0.before):\($0.clock / Self.hour)" }
        add("idleTicks", ticks.isEmpty ? nil : ticks.joined(separator: ","))
        add("record", lastRecord.map { "\($0.offset):\($0.timestampMs):\(String($0.hash, radix: 16))" })
        add("silence", silence.map { "\($0.clock):\($0.wallMs)" })
        add("begin", begin.map(String.init))
        add("rewoundFrom", rewoundFrom.map(String.init))
        add("cluster", cluster)
        return fields.joined(separator: ";")
    }

    package static func author(of text: String) -> Author {
        guard text.hasPrefix("clvd"), let first = text.dropFirst(4).split(separator: ";").first,
            let version = Int(first)
        else { return .foreign }
        return version > Self.version ? .newer(version) : version == Self.version ? .thisVersion : .older
    }

    /// - Parameter text: metadata of other programs and of newer versions is read as none.
    package init(text: String) {
        self.init(clock: nil)
        switch Self.author(of: text) {
        case .newer, .foreign: return
        case .thisVersion, .older: break
        }
        var read = CommitMetadata(clock: nil)
        for field in text.split(separator: ";", omittingEmptySubsequences: false).dropFirst() {
            let parts = field.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, read.take(parts[0], parts[1]) else { return }
        }
        self = read
    }

    /// - Returns: false when the value cannot be. A name that is not known is of a later version, which has made sure that
    ///   it can be left out.
    private mutating func take(_ name: Substring, _ value: Substring) -> Bool {
        func numbers(_ count: Int) -> [Int64]? {
            let list = value.split(separator: ":", omittingEmptySubsequences: false).compactMap { Int64($0) }
            return list.count == count ? list : nil
        }
        switch name {
        case "at": offset = Int64(value)
        case "clock": clock = Int64(value)
        case "begin": begin = Int64(value)
        case "rewoundFrom": rewoundFrom = Int64(value)
        case "cluster": cluster = String(value)
        case "idleTicks":
            guard let ticks = Self.idleTicks(value) else { return false }
            idleTicks = ticks
        case "silence":
            // Within these bounds times can be added and taken from one another.
            silence = numbers(2).flatMap { list in
                list.allSatisfy { $0.magnitude < 1 << 53 } ? Silence(clock: list[0], wallMs: list[1]) : nil
            }
        case "record":
            let parts = value.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 3, let offset = Int64(parts[0]), let time = Int64(parts[1]),
                let hash = UInt64(parts[2], radix: 16)
            else { return false }
            lastRecord = RecordFingerprint(offset: offset, timestampMs: time, hash: hash)
        default: return true
        }
        let isRead = [
            "at": offset != nil, "clock": clock != nil, "begin": begin != nil, "silence": silence != nil,
            "rewoundFrom": rewoundFrom != nil,
        ]
        return isRead[String(name)] ?? true
    }

    private static func idleTicks(_ text: Substring) -> [IdleTick]? {
        var idleTicks: [IdleTick] = []
        for entry in text.split(separator: ",", omittingEmptySubsequences: false) {
            let numbers = entry.split(separator: ":").compactMap { Int64($0) }
            guard numbers.count == 2, numbers[0] >= idleTicks.last?.before ?? 0 else { return nil }
            let (clock, overflow) = numbers[1].multipliedReportingOverflow(by: hour)
            guard !overflow else { return nil }
            idleTicks.append(IdleTick(before: numbers[0], clock: clock))
        }
        return idleTicks
    }

    /// All idle ticks up to the clock.
    /// - Parameter offset: the one that this was committed with.
    package func idleTicks(before offset: Int64) -> [IdleTick] {
        guard let clock, clock > idleTicks.last?.clock ?? .min else { return idleTicks }
        return idleTicks + [IdleTick(before: offset, clock: clock)]
    }
}
