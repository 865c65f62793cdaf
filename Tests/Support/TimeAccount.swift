/// How far event time has come in a partition, by the rule as the glossary has it: most of the last 15 customers have come
/// that far, or it is the skew of clocks before the latest event. Kept in lists, to compare the engine with.
public struct TimeAccount {
    public private(set) var time = Int64.min
    private let skewMs: Int64
    private var voters: [(customer: String, latest: Int64)] = []
    private var latest = Int64.min

    public init(skewMs: Int64) { self.skewMs = skewMs }

    /// Notes an accepted event.
    public mutating func note(_ customer: String, at event: Int64) {
        latest = max(latest, event)
        if let i = voters.firstIndex(where: { $0.customer == customer }) {
            voters[i].latest = max(voters[i].latest, event)
        } else {
            voters.append((customer, event))
            if voters.count > 15 { voters.removeFirst() }
        }
        let sorted = voters.map(\.latest).sorted(by: >)
        if sorted.count >= 8 { time = max(time, sorted[7]) }
        time = max(time, latest - skewMs)
    }

    /// The customer is erased.
    public mutating func forget(_ customer: String) {
        for i in voters.indices where voters[i].customer == customer { voters[i].customer = "" }
    }

    public func watermark(latenessMs: Int64) -> Int64 { time == .min ? .min : time - latenessMs }
}
