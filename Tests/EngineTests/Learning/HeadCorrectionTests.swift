import Testing

@testable import Engine

@Suite struct HeadCorrectionTests {
    /// A drift of amounts loosens every bin of its target in every group, and nothing else.
    @Test func driftLoosensAllBinsOfItsTargetAlone() {
        let settings = EngineSettings(.small, topics: ["events"], partitions: 1)
        let correction = HeadCorrection(settings, executor: SerialExecutor())
        let cells = settings.targetTable.cells
        for g in correction.logits.indices {
            for cell in 0..<cells {
                correction.logits[g].observe(cell: cell, mu: 1, logSpend: 1)
                correction.logits[g].observe(cell: cell, logits: [(0, true), (1, false)])
            }
        }
        let before = (correction.logits, correction.blends)
        let clv = settings.targetTable.cells(target: 0)
        correction.loosen(DriftMonitor.Alarm(cells: clv, amounts: true))
        for cell in 0..<cells {
            for g in correction.logits.indices {
                let (was, now) = (before.0[g].cells[cell], correction.logits[g].cells[cell])
                #expect(now.sums == (clv.contains(cell) ? was.sums.map { $0 * LogitCorrection.kept } : was.sums))
                #expect(now.information == was.information)
            }
            for g in correction.blends.indices {
                #expect((before.1[g].cells[cell] != correction.blends[g].cells[cell]) == clv.contains(cell))
            }
        }
        correction.loosen(DriftMonitor.Alarm(cells: settings.targetTable.cells(target: 2), amounts: false))
        for cell in 0..<cells {
            let changed = correction.logits.indices.map {
                correction.logits[$0].cells[cell].information != before.0[$0].cells[cell].information
            }
            #expect(changed == [cell >= 6, cell >= 6], "three targets of three bins: the last has the cells 6 to 8")
        }
    }

    /// Only rows without an event in an earlier bin correct a hazard; all rows that matured correct money. Of weights 0
    /// all logits are 0, so that each outcome has the information ½ · ½ beside the prior's 4.
    @Test func usersWithAnEarlierEventDoNotCorrectAHazard() {
        let settings = EngineSettings(.small, topics: ["events"], partitions: 1)
        let (layout, executor) = (settings.model, SerialExecutor())
        let weights = UnsafeMutablePointer<Float>.allocate(capacity: layout.count)
        weights.initialize(repeating: 0, count: layout.count)
        defer { weights.deallocate() }
        let batch = TrainingBatch(layout: layout, capacity: 40, steps: UserLayout.ringCount)
        batch.rows = 40
        // All rows spend in the first and the second bin, and 30 of 40 act in the first bin (`churn`, the third head).
        for r in 0..<40 {
            let labels = batch.labels + r * layout.cells
            (labels[0], labels[1]) = (20, 20)
            labels[6] = r < 30 ? 1 : 0
            labels[7] = 1
            for bin in 0..<3 { batch.matured[r * 3 + bin] = 1 }
        }
        let trainer = Trainer(layout: layout, configuration: settings.configuration.learning)
        let rates = PopulationRates(cells: layout.cells)
        func information(bin: Int) -> [Double] {
            let correction = HeadCorrection(settings, executor: executor)
            correction.observe(bin: bin, batch, trainer, network: weights, rates: rates)
            return (0..<3).map { correction.logits[0].cells[$0 * 3 + bin].information[0] }
        }
        #expect(information(bin: 0) == [14, 14, 14])
        #expect(information(bin: 1) == [14, 14, 4 + 10 * 0.25], "clv, purchase, churn")
        #expect(information(bin: 2) == [14, 14, 4])
    }

    /// Rows of different groups do not overlap.
    @Test func rowsOfCoefficientsAreApart() {
        let n = 16
        let coefficients = CorrectionCoefficients(outputs: n)
        var next: Float = 0
        let rows = (0..<LogitCorrection.groups).flatMap { a in
            ([nil] + (0..<ProcessBlend.groups).map(Optional.some)).map { coefficients.row(activity: a, blend: $0) }
        }
        for row in rows {
            for part in [row.added, row.headFactor, row.processFactor] {
                for o in 0..<n {
                    part[o] = next
                    next += 1
                }
            }
        }
        next = 0
        for row in rows {
            for part in [row.added, row.headFactor, row.processFactor] {
                for o in 0..<n {
                    #expect(part[o] == next)
                    next += 1
                }
            }
        }
        var heads: [Float] = [2]
        rows[0].added[0] = 1
        rows[0].headFactor[0] = 3
        rows[0].processFactor[0] = 5
        rows[0].apply(&heads, process: [7], count: 1)
        #expect(heads == [42], "1 + 3·2 + 5·7")
        #expect(coefficients.row(activity: 0, blend: nil).added[0] == 1)
    }
}
