/// Amounts in bounded memory: all of them, or, beyond a number, one in 2, 4, 8 ….
struct AmountSample {
    private static let most = 1 << 20
    private var values: [Double] = []
    private var stride: Int64 = 1
    private(set) var count: Int64 = 0

    mutating func add(_ amount: Double) {
        defer { count += 1 }
        guard count % stride == 0 else { return }
        values.append(amount)
        guard values.count == Self.most else { return }
        values = Swift.stride(from: 0, to: values.count, by: 2).map { values[$0] }
        stride *= 2
    }

    /// Whether all amounts are in it.
    var isWhole: Bool { stride == 1 }

    /// The amounts at these shares of all, from 0 (the least) to 1; nil without amounts.
    func quantiles(_ shares: [Double]) -> [Double]? {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        return shares.map { sorted[Int((Double(sorted.count - 1) * $0).rounded())] }
    }
}
