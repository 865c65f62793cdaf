package import Engine

/// What is committed along with an offset: how far the engine's clock of the partition had got, and between which
/// records it went on by idle ticks. What was published about silence is then not published again after a restart, and
/// the state becomes what it was. Little more than a kilobyte at most; brokers take four.
package struct CommitMetadata: Equatable {
    /// ms since 1970; nil before the first event.
    package var clock: Int64?
    /// The latest silences, ascending. Clocks are full hours.
    package var idleTicks: [IdleTick]

    /// As many as are kept: snapshots are seldom so far behind.
    static let mostIdleTicks = 64

    private static let prefix = "clvd1;clock="
    private static let separator = ";idleTicks="
    private static let hour: Int64 = 3_600_000

    package var text: String {
        guard let clock else { return "" }
        let list = idleTicks.suffix(Self.mostIdleTicks).map { "\($0.before):\($0.clock / Self.hour)" }
        return Self.prefix + String(clock) + (list.isEmpty ? "" : Self.separator + list.joined(separator: ","))
    }

    package init(clock: Int64?, idleTicks: [IdleTick] = []) {
        self.clock = clock
        self.idleTicks = idleTicks
    }

    /// Metadata of others is no metadata.
    package init(text: String) {
        self.init(clock: nil)
        guard text.hasPrefix(Self.prefix) else { return }
        let parts = text.dropFirst(Self.prefix.count).split(separator: ";", maxSplits: 1)
        guard let first = parts.first, let clock = Int64(first) else { return }
        var idleTicks: [IdleTick] = []
        if parts.count > 1 {
            guard let list = Self.idleTicks(parts[1]) else { return }
            idleTicks = list
        }
        (self.clock, self.idleTicks) = (clock, idleTicks)
    }

    private static func idleTicks(_ text: Substring) -> [IdleTick]? {
        let name = separator.dropFirst()
        guard text.hasPrefix(name) else { return nil }
        var idleTicks: [IdleTick] = []
        for entry in text.dropFirst(name.count).split(separator: ",", omittingEmptySubsequences: false) {
            let numbers = entry.split(separator: ":").compactMap { Int64($0) }
            guard numbers.count == 2, numbers[0] >= idleTicks.last?.before ?? 0 else { return nil }
            let (clock, overflow) = numbers[1].multipliedReportingOverflow(by: hour)
            guard !overflow else { return nil }
            idleTicks.append(IdleTick(before: numbers[0], clock: clock))
        }
        return idleTicks
    }

    /// Everything it says of silence.
    /// - Parameter offset: the one it was committed with.
    package func idleTicks(before offset: Int64) -> [IdleTick] {
        guard let clock, clock > idleTicks.last?.clock ?? .min else { return idleTicks }
        return idleTicks + [IdleTick(before: offset, clock: clock)]
    }
}
