import Glibc

/// Quantiles of a stream of non-negative numbers, from a histogram of 1,024 logarithmic cells (24 per doubling of
/// 1 + 100 x). The past fades: counts are halved whenever they add up to `memory`. Thresholds are renewed after
/// every 256 numbers, a position in the sequence and not in time.
struct StreamQuantiles: Equatable {
    static let cells = 1024
    static let memory: UInt32 = 1 << 20
    /// Numbers between two renewals of the thresholds: a renewal sums all cells, so it is done once for many numbers.
    private static let renewalInterval: UInt32 = 256
    /// Cells per doubling: 3 % each.
    private static let perDoubling: Float = 24
    /// Numbers below 1 / this share few cells: a hundredth of the currency.
    private static let resolution: Float = 100

    private(set) var counts = [UInt32](repeating: 0, count: cells)
    private(set) var total: UInt32 = 0
    private var sinceRenewal: UInt32 = 0
    private(set) var thresholds: [Float]
    private let quantiles: [Double]

    /// - Parameter quantiles: in (0, 1).
    init(quantiles: [Double]) {
        self.quantiles = quantiles
        thresholds = Array(repeating: .infinity, count: quantiles.count)
    }

    init(quantiles: [Double], counts: [UInt32], total: UInt32, sinceRenewal: UInt32, thresholds: [Float]) {
        self.quantiles = quantiles
        self.counts = counts
        self.total = total
        self.sinceRenewal = sinceRenewal
        self.thresholds = thresholds
    }

    var renewal: UInt32 { sinceRenewal }

    mutating func add(_ x: Float) {
        let cell = min(
            StreamQuantiles.cells - 1,
            Int(StreamQuantiles.perDoubling * log2f(1 + StreamQuantiles.resolution * max(0, x))))
        counts[cell] += 1
        total += 1
        sinceRenewal += 1
        if sinceRenewal >= StreamQuantiles.renewalInterval || total < StreamQuantiles.renewalInterval { renew() }
        if total >= StreamQuantiles.memory { fade() }
    }

    private mutating func renew() {
        sinceRenewal = 0
        for (i, q) in quantiles.enumerated() {
            let rank = UInt32((Double(total) * q).rounded(.down))
            var below: UInt32 = 0
            var cell = 0
            while cell < StreamQuantiles.cells - 1 && below + counts[cell] <= rank {
                below += counts[cell]
                cell += 1
            }
            thresholds[i] = (exp2f(Float(cell) / StreamQuantiles.perDoubling) - 1) / StreamQuantiles.resolution
        }
    }

    private mutating func fade() {
        total = 0
        for i in 0..<StreamQuantiles.cells {
            counts[i] /= 2
            total += counts[i]
        }
    }
}
