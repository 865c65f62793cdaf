import Glibc

/// What happens to users on average, per cell of a target's bins, learned as bins mature. Predicts before the model is
/// taught, and gives μ of the value heads its centre. Beyond `memory` landmarks the past fades.
struct PopulationRates: Codable, Equatable {
    static let memory = 100_000.0

    struct Cell: Codable, Equatable {
        /// Landmarks at risk (hazards: without an earlier occurrence), those with a hit, their money and log money.
        var atRisk = 0.0
        var hits = 0.0
        var money = 0.0
        var logMoney = 0.0
    }
    private(set) var cells: [Cell]

    init(cells: Int) { self.cells = Array(repeating: Cell(), count: cells) }

    /// A matured cell of a landmark, if its bin was at risk (`TargetRules.isAtRisk`).
    mutating func add(cell: Int, label: Float, atRisk: Bool) {
        guard atRisk else { return }
        if cells[cell].atRisk >= PopulationRates.memory {
            let keep = (PopulationRates.memory - 1) / PopulationRates.memory
            cells[cell].atRisk *= keep
            cells[cell].hits *= keep
            cells[cell].money *= keep
            cells[cell].logMoney *= keep
        }
        cells[cell].atRisk += 1
        if label > 0 {
            cells[cell].hits += 1
            cells[cell].money += Double(label)
            cells[cell].logMoney += log(Double(label))
        }
    }

    /// Centre of log spend of a value cell; 0 until something was spent.
    func meanLogSpend(_ cell: Int) -> Float {
        cells[cell].hits > 0 ? Float(cells[cell].logMoney / cells[cell].hits) : 0
    }

    /// Mean money of a landmark at which something was spent; 0 until something was.
    func moneyPerHit(_ cell: Int) -> Double { cells[cell].hits > 0 ? cells[cell].money / cells[cell].hits : 0 }

    /// P(anything is spent) in a bin of a value target. A bin that has not matured borrows that of the bin before, by
    /// their lengths.
    func chance(_ rule: LabelRule, bin: Int, binEnds: [Int64]) -> Float {
        let cell = cells[rule.cell(bin: bin)]
        if cell.atRisk > 0 { return Float(cell.hits / cell.atRisk) }
        guard bin > 0 else { return 0 }
        return 1 - powf(1 - chance(rule, bin: bin - 1, binEnds: binEnds), ratio(bin, binEnds))
    }

    /// σ of the log-normal with the mean and the mean logarithm of what was spent; that of the bin before where nothing
    /// was, and 1 for the first.
    func sigma(_ rule: LabelRule, bin: Int) -> Float {
        let cell = cells[rule.cell(bin: bin)]
        guard cell.hits > 1 else { return bin > 0 ? sigma(rule, bin: bin - 1) : 1 }
        let square = 2 * (log(cell.money / cell.hits) - cell.logMoney / cell.hits)
        return max(Network.minimumSigma, min(Network.maximumSigma, Float(max(0, square).squareRoot())))
    }

    /// Length of a bin in lengths of the bin before.
    private func ratio(_ bin: Int, _ binEnds: [Int64]) -> Float {
        Float(binEnds[bin] - binEnds[bin - 1]) / Float(binEnds[bin - 1] - (bin > 1 ? binEnds[bin - 2] : 0))
    }

    /// Landmarks behind the rate of a cell, faded.
    func evidence(_ cell: Int) -> Double { cells[cell].atRisk }

    /// The predictions of a target's bins for a user of whom nothing is known. A bin that has not matured borrows from
    /// the bin before it, by their lengths.
    /// - Parameter row: [bins × cellsPerBin].
    func writePriors(_ rule: LabelRule, binEnds: [Int64], into row: UnsafeMutablePointer<Float>) {
        let kind = rule.kind.rules
        let width = kind.cellsPerBin
        cells.withUnsafeBufferPointer { cells in
            for bin in binEnds.indices {
                let (rates, out) = (cells.baseAddress! + rule.cell(bin: bin), row + bin * width)
                if rates.pointee.atRisk > 0 {
                    kind.prior(rates, into: out)
                } else if bin > 0 {
                    kind.prior(before: out - width, ratio: ratio(bin, binEnds), into: out)
                } else {
                    kind.firstPrior(into: out)
                }
            }
        }
    }
}
