import CKernels
import Glibc

/// Corrects the outputs of heads (`TargetRules.isCorrected`) by the outcomes that have just matured: `LogitCorrection` for users who have not bought
/// and for heads that are not of purchases, `ProcessBlend` for the others.
final class HeadCorrection {
    private let settings: EngineSettings
    private let executor: any ParallelExecutor
    /// One for each `LogitCorrection.group`.
    var logits: [LogitCorrection]
    /// One for each `ProcessBlend.group`.
    var blends: [ProcessBlend]
    /// [rows] of a batch: the group of `LogitCorrection`, and that of `ProcessBlend` where the user has bought.
    private let groups: UnsafeMutablePointer<(activity: Int, blend: Int?)>
    /// [rows × outputs] of the purchase process.
    private let processOutputs: UnsafeMutablePointer<Float>

    init(_ settings: EngineSettings, executor: any ParallelExecutor) {
        self.settings = settings
        self.executor = executor
        let cells = settings.targetTable.cells
        logits = Array(repeating: LogitCorrection(cells: cells), count: LogitCorrection.groups)
        blends = (0..<ProcessBlend.groups).map { ProcessBlend(cells: cells, group: $0) }
        let rows = settings.configuration.learning.batchSize
        groups = .allocate(capacity: rows)
        groups.initialize(repeating: (0, nil), count: rows)
        processOutputs = .allocate(capacity: rows * settings.model.outputs)
        processOutputs.initialize(repeating: 0, count: rows * settings.model.outputs)
    }

    deinit {
        groups.deallocate()
        processOutputs.deallocate()
    }

    /// Time passes, in event time: what is known fades.
    func advance(days: Double) {
        let keep = exp(-max(0, days) / settings.configuration.learning.calibrationDays)
        for g in logits.indices { logits[g].fade(keep) }
        for g in blends.indices { blends[g].advance(days: days) }
    }

    /// The stream has changed: what is known of some cells has little weight beside what comes.
    func loosen(_ alarm: DriftMonitor.Alarm) {
        for cell in alarm.cells {
            for g in logits.indices { logits[g].loosen(cell: cell, amounts: alarm.amounts) }
            for g in blends.indices where alarm.amounts { blends[g].loosenAmounts(cell: cell) }
        }
    }

    /// Writes all coefficients.
    func write(rates: borrowing PopulationRates, into coefficients: borrowing CorrectionCoefficients) {
        let ends = settings.binEndDays
        for g in logits.indices {
            logits[g].write(settings.model, rates: rates, into: coefficients.row(activity: g, blend: nil))
            for b in blends.indices {
                let row = coefficients.row(activity: g, blend: b)
                logits[g].write(settings.model, rates: rates, into: row)
                blends[b].write(settings.model, purchaseHeads: settings.purchaseHeads, binEnds: ends, into: row)
            }
        }
    }

    // MARK: Learning

    /// Finds the group of each landmark of a batch, and the outputs of the purchase process for it.
    func collectProcessOutputs(
        _ picks: [LandmarkPick], from tasks: [PartitionTask], _ purchases: PurchaseForecast, _ batch: TrainingBatch
    ) {
        let layout = settings.landmarkLayout
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { raw in
            let features = raw.baseAddress!
            for (r, pick) in picks.enumerated() {
                let row = tasks[pick.task].pool.at(pick.sequence).at(layout.featureRow, as: UInt16.self)
                clvd_float_from_half(layout.features, row, features)
                let bought = purchases.outputs(
                    features, settings.model, purchaseHeads: settings.purchaseHeads, meanLogSpend: batch.meanLogSpend,
                    into: processOutputs + r * settings.model.outputs)
                groups[r] = (LogitCorrection.group(features), bought ? ProcessBlend.group(features) : nil)
            }
        }
    }

    /// Outcomes of one head in one bin and one group of `LogitCorrection`.
    private struct ObservedOutcomes {
        var logits: [(x: Double, hit: Bool)] = []
        /// Of value heads: logit, μ, σ and the money.
        var amounts: [(logit: Double, mu: Double, sigma: Double, label: Double)] = []
    }

    /// The outcomes of one bin of a batch, by group and head.
    private struct Outcomes {
        /// [groups of `LogitCorrection` × heads]
        var heads: [ObservedOutcomes]
        /// [groups of `ProcessBlend` × heads]
        var blended: [[ProcessBlend.Sample]]
    }

    /// Learns from the outcomes of a bin of a batch, after `collectProcessOutputs`.
    /// - Parameter weights: those that serve.
    func observe(
        bin: Int, _ batch: TrainingBatch, _ trainer: Trainer, weights: UnsafePointer<Float>,
        rates: borrowing PopulationRates
    ) {
        let heads = settings.model.heads.count
        var outcomes = Outcomes(
            heads: Array(repeating: ObservedOutcomes(), count: logits.count * heads),
            blended: Array(repeating: [], count: blends.count * heads))
        trainer.outputs(weights, batch, executor: executor) { row, outputs in
            for h in 0..<heads where settings.model.heads[h].kind.isCorrected {
                collect(&outcomes, row: row, head: h, bin: bin, outputs, batch)
            }
        }
        for h in 0..<heads where settings.model.heads[h].kind.isCorrected {
            let cell = settings.model.cell(head: h, bin: bin)
            let mean = Double(rates.meanLogSpend(cell))
            let isMoney = settings.model.heads[h].kind.isMoney
            for g in logits.indices {
                learn(outcomes.heads[g * heads + h], group: g, cell: cell, isMoney: isMoney, meanLogSpend: mean)
            }
            for g in blends.indices where settings.purchaseHeads[h] {
                blends[g].observe(cell: cell, outcomes.blended[g * heads + h])
                guard isMoney else { continue }
                blends[g].observeAmounts(cell: cell, outcomes.blended[g * heads + h], meanLogSpend: mean)
            }
        }
    }

    /// Adds what a row shows of a head. Hazards after an event, and outputs that are not finite, show nothing.
    private func collect(
        _ outcomes: inout Outcomes, row: Int, head h: Int, bin: Int, _ outputs: UnsafePointer<Float>,
        _ batch: TrainingBatch
    ) {
        let layout = settings.model
        let heads = layout.heads.count
        let isMoney = layout.heads[h].kind.isMoney
        let labels = batch.labels + row * layout.cells + layout.cells(head: h).lowerBound
        let place = layout.output(head: h, bin: bin)
        let o = outputs + place
        guard layout.heads[h].kind.isAtRisk(labels, bin: bin), o[0].isFinite, !isMoney || o[1].isFinite && o[2].isFinite
        else { return }
        let label = labels[bin * layout.heads[h].cellsPerBin]
        if let blend = groups[row].blend, settings.purchaseHeads[h] {
            let process = processOutputs + row * layout.outputs + place
            let sigma = isMoney ? Network.sigma(o[2]) : 0
            let mu = isMoney ? (o[1], ProcessBlend.mu(logMean: process[1], sigma: sigma)) : (0, 0)
            outcomes.blended[blend * heads + h].append(
                .init(
                    heads: Double(o[0]), process: Double(process[0]), mu: (Double(mu.0), Double(mu.1)),
                    sigma: Double(sigma), label: Double(label)))
            return
        }
        let at = groups[row].activity * heads + h
        outcomes.heads[at].logits.append((Double(o[0]), label > 0))
        guard isMoney else { return }
        outcomes.heads[at].amounts.append(
            (Double(o[0]), Double(o[1]), Double(Network.sigma(o[2])), Double(label)))
    }

    private func learn(
        _ observed: ObservedOutcomes, group: Int, cell: Int, isMoney: Bool, meanLogSpend mean: Double
    ) {
        logits[group].observe(cell: cell, logits: observed.logits)
        guard isMoney else { return }
        for a in observed.amounts where a.label > 0 {
            let spend = log(min(Double(Losses.maximumSpend), a.label))
            logits[group].observe(cell: cell, mu: a.mu, logSpend: spend - mean)
        }
        let now = logits[group].cells[cell]
        let amount = now.amount
        for a in observed.amounts {
            let p = 1 / (1 + exp(-(now.intercept + now.slope * a.logit)))
            let logMean = min(
                Double(Network.maximumLogMean), mean + amount.offset + amount.factor * a.mu + a.sigma * a.sigma / 2)
            logits[group].observe(cell: cell, predicted: p * exp(logMean), actual: max(0, a.label))
        }
    }
}
