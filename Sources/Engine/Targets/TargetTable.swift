/// Which events count for a target's label. Plain data.
struct LabelRule {
    var kind: TargetKind
    /// First cell of the target.
    var cell: Int32
    /// Bit set of event type codes.
    var types: UInt64
    /// Only events of this category; 0 for any.
    var category: UInt64

    /// Whether the label is money.
    @inline(__always)
    var isValue: Bool { kind.isMoney }

    /// The first cell of a bin.
    @inline(__always)
    func cell(bin: Int) -> Int { Int(cell) + bin * kind.cellsPerBin }

    @inline(__always)
    func counts(type: UInt8, category c: UInt64) -> Bool {
        types & (1 << UInt64(type)) != 0 && (category == 0 || category == c)
    }
}

/// The configured targets over the shared bins: which cells of a row belong to which target (one target after the
/// other, each [bins × cellsPerBin]), how they add up to a horizon and which events teach them.
struct TargetTable {
    let targets: [EngineConfiguration.Target]
    let bins: Int
    /// Ends of the bins, ms after the instant, ascending.
    let binEnds: [Int64]
    /// One for each target, at most 32, so that a set of them is 32 bits.
    let rules: [LabelRule]

    /// First cell of each target, and the number of cells.
    private let firstCells: [Int]

    /// Cells of a row.
    var cells: Int { firstCells[targets.count] }

    /// Cells of a target.
    func cells(target i: Int) -> Range<Int> { firstCells[i]..<firstCells[i + 1] }

    init(_ configuration: EngineConfiguration, categoryHash: (String) -> UInt64) {
        let edges = configuration.binEdgesDays
        bins = edges.count
        binEnds = edges.map { Int64(($0 * Double(Clock.day)).rounded()) }
        targets = configuration.targets
        let first = targets.reduce(into: [0]) { $0.append($0.last! + $1.kind.rules.cellsPerBin * edges.count) }
        firstCells = first
        rules = configuration.targets.enumerated().map { i, target in
            var mask: UInt64 = target.events.isEmpty ? .max : 0
            for name in target.events {
                guard let type = EventType(name: name) else { preconditionFailure("unknown event type \(name)") }
                mask |= 1 << UInt64(type.rawValue)
            }
            // Refunds and returns reduce the money that purchases bring.
            if target.kind.isMoney && configuration.state.subtractRefunds
                && mask & (1 << UInt64(EventType.purchase.rawValue)) != 0
            {
                mask |= 1 << UInt64(EventType.refund.rawValue) | 1 << UInt64(EventType.return.rawValue)
            }
            return LabelRule(
                kind: target.kind, cell: Int32(first[i]), types: mask,
                category: target.category.map(categoryHash) ?? 0)
        }
        precondition(rules.count <= UInt32.bitWidth, "more than \(UInt32.bitWidth) targets")
    }

    /// The rules that an event matches (a bit each).
    @inline(__always)
    func matchingRules(type: UInt8, category: UInt64) -> UInt32 {
        var matching: UInt32 = 0
        for i in rules.indices where rules[i].counts(type: type, category: category) { matching |= 1 << UInt32(i) }
        return matching
    }

    /// The rules that a later line of an order may count for, as the first need not be of their category (a bit each).
    var categoryRules: UInt32 {
        let purchase: UInt64 = 1 << UInt64(EventType.purchase.rawValue)
        return rules.indices.reduce(0) { bits, i in
            let isOne = rules[i].category != 0 && !rules[i].isValue && rules[i].types & purchase != 0
            return bits | (isOne ? 1 << UInt32(i) : 0)
        }
    }

    /// The reading of a target at one of its horizons (days).
    func reading(target i: Int, horizon days: Double) -> HorizonReading {
        guard let bin = binEnds.firstIndex(of: Int64((days * Double(Clock.day)).rounded())) else {
            preconditionFailure("horizon \(days) d of \(targets[i].name) is no bin edge")
        }
        return HorizonReading(
            kind: targets[i].kind, cell: Int32(firstCells[i]), bins: Int32(bin + 1), target: Int32(i))
    }

    /// The readings that have an interval: every target of money at every horizon, those of a target one after the other,
    /// the shortest first.
    var valueReadings: [HorizonReading] {
        targets.enumerated().filter { $1.kind.isMoney }.flatMap { i, target in
            target.horizonsDays.map { reading(target: i, horizon: $0) }
        }
    }

    /// The reading of a named target of a kind at its longest horizon.
    func longest(named name: String, kind: EngineConfiguration.Target.Kind) -> HorizonReading? {
        guard let i = targets.firstIndex(where: { $0.name == name && $0.kind == kind }),
            let last = targets[i].horizonsDays.last
        else { return nil }
        return reading(target: i, horizon: last)
    }
}
