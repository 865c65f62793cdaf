package import Engine

/// What is committed along with an offset: the engine's clock of the partition, and the latest idle ticks. After a
/// restart these ticks are replayed, so that the state becomes the same and their outputs are not published again.
/// Little more than a kilobyte at most; brokers take four.
package struct CommitMetadata: Equatable {
    /// ms since 1970; nil before the first event.
    package var clock: Int64?
    /// The latest idle ticks, ascending. Their clocks are full hours.
    package var idleTicks: [IdleTick]

    /// Most ticks that are kept: snapshots are seldom further behind.
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

    /// - Parameter text: metadata of other programs is read as none.
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

    /// All idle ticks up to the clock.
    /// - Parameter offset: the one that this was committed with.
    package func idleTicks(before offset: Int64) -> [IdleTick] {
        guard let clock, clock > idleTicks.last?.clock ?? .min else { return idleTicks }
        return idleTicks + [IdleTick(before: offset, clock: clock)]
    }
}
