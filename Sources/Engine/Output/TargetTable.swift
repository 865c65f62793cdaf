/// One number read from a row of predictions: a target up to one of its horizons. Plain data, for hot loops.
struct HorizonReading: Equatable {
    enum Kind: UInt8 { case value, occurrence, absence }
    var kind: Kind
    /// First cell of the target in the row.
    var cell: Int32
    /// Number of bins the horizon covers.
    var bins: Int32

    /// Money for a value target, P(at least one) for an occurrence, P(none) for an absence.
    @inline(__always)
    func value(_ row: UnsafePointer<Float>) -> Float {
        let cells = row + Int(cell)
        if kind == .value {
            var sum: Float = 0
            for b in 0..<Int(bins) { sum += cells[b] }
            return sum
        }
        var survival: Float = 1
        for b in 0..<Int(bins) { survival *= 1 - cells[b] }
        return kind == .occurrence ? 1 - survival : survival
    }
}

/// Which events count for a target's label. Plain data.
struct LabelRule {
    /// Whether the label is money (else a number of events).
    var isValue: Bool
    var cell: Int32
    /// Bit set of event type codes.
    var types: UInt64
    /// Only events of this category; 0 for any.
    var category: UInt64

    @inline(__always)
    func counts(type: UInt8, category c: UInt64) -> Bool {
        types & (1 << UInt64(type)) != 0 && (category == 0 || category == c)
    }
}

/// The configured targets over the shared bins: which cells of a row of [targets × bins] belong to which target,
/// how they add up to a horizon and which events teach them.
struct TargetTable {
    let targets: [EngineConfiguration.Target]
    let bins: Int
    /// Ends of the bins, ms after the instant, ascending.
    let binEnds: [Int64]
    let rules: [LabelRule]

    var cells: Int { targets.count * bins }

    init(_ configuration: EngineConfiguration, categoryHash: (String) -> UInt64) {
        let edges = configuration.binEdgesDays
        bins = edges.count
        binEnds = edges.map { Int64(($0 * Double(Clock.day)).rounded()) }
        targets = configuration.targets
        rules = configuration.targets.enumerated().map { i, target in
            var mask: UInt64 = target.events.isEmpty ? .max : 0
            for name in target.events {
                guard let type = EventType(name: name) else { preconditionFailure("unknown event type \(name)") }
                mask |= 1 << UInt64(type.rawValue)
            }
            // Refunds reduce the money that purchases bring.
            if target.kind == .value && configuration.state.subtractRefunds
                && mask & (1 << UInt64(EventType.purchase.rawValue)) != 0
            {
                mask |= 1 << UInt64(EventType.refund.rawValue)
            }
            return LabelRule(
                isValue: target.kind == .value, cell: Int32(i * edges.count), types: mask,
                category: target.category.map(categoryHash) ?? 0)
        }
    }

    /// The reading of a target at one of its horizons (days).
    func reading(target i: Int, horizon days: Double) -> HorizonReading {
        guard let bin = binEnds.firstIndex(of: Int64((days * Double(Clock.day)).rounded())) else {
            preconditionFailure("horizon \(days) d of \(targets[i].name) is no bin edge")
        }
        let kind: HorizonReading.Kind =
            switch targets[i].kind {
            case .value: .value
            case .occurrence: .occurrence
            case .absence: .absence
            }
        return HorizonReading(kind: kind, cell: Int32(i * bins), bins: Int32(bin + 1))
    }

    /// The readings that have an interval: every value target at every horizon, those of a target one after the other,
    /// the shortest first.
    var valueReadings: [HorizonReading] {
        targets.enumerated().filter { $1.kind == .value }.flatMap { i, target in
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

    /// `30` for 30.0, `0.5` for 0.5.
    static func name(_ days: Double) -> String { days == days.rounded() ? String(Int(days)) : String(days) }
}
