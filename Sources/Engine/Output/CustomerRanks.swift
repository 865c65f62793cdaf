import Glibc

/// How the customers of a task rank by the value of their latest update: counts over 1,024 logarithmic cells (24 per
/// doubling of 1 + 100 x), each customer in one. A customer with many events counts no more than any other. A function of
/// the users' latest values, so that snapshots do not hold it.
struct CustomerRanks: ~Copyable {
    static let cells = 1024
    /// Cells per doubling: 3 % each.
    private static let perDoubling: Float = 24
    /// Numbers below 1 / this share few cells: a hundredth of the currency.
    private static let resolution: Float = 100

    /// Sums of stretches of cells (Fenwick 1994, "A new data structure for cumulative frequency tables"): element i, from
    /// 1, holds those of the cells (i - (i & -i), i].
    private let sums: UnsafeMutablePointer<UInt32>
    private(set) var count: UInt32 = 0

    init() {
        sums = .allocate(capacity: Self.cells + 1)
        sums.initialize(repeating: 0, count: Self.cells + 1)
    }

    deinit { sums.deallocate() }

    @inline(__always)
    private static func cell(_ value: Float) -> Int {
        min(cells - 1, Int(perDoubling * log2f(1 + resolution * max(0, value))))
    }

    mutating func add(_ value: Float) {
        count += 1
        change(Self.cell(value), by: 1)
    }

    mutating func remove(_ value: Float) {
        count -= 1
        change(Self.cell(value), by: UInt32.max)
    }

    /// - Parameter difference: modulo 2^32.
    @inline(__always)
    private mutating func change(_ cell: Int, by difference: UInt32) {
        var i = cell + 1
        while i <= Self.cells {
            sums[i] &+= difference
            i += i & -i
        }
    }

    /// Customers in the cells below one.
    @inline(__always)
    private func below(_ cell: Int) -> UInt32 {
        var (i, sum) = (cell, UInt32(0))
        while i > 0 {
            sum += sums[i]
            i -= i & -i
        }
        return sum
    }

    /// Share of customers with a lower value, those with the same counted by half; 0.5 while there are none.
    func share(below value: Float) -> Float {
        guard count > 0 else { return 0.5 }
        let cell = Self.cell(value)
        return (Float(below(cell)) + Float(below(cell + 1))) / (2 * Float(count))
    }
}
