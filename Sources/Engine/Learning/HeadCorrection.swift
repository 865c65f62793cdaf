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
    var shares: ForecastShares
    /// The network's coefficients alone.
    private let ofNetwork: CorrectionCoefficients
    /// [rows] of a batch: the group of `LogitCorrection`, and that of `ProcessBlend` where the user has bought.
    private let groups: UnsafeMutablePointer<(activity: Int, blend: Int?)>
    /// [rows × outputs] of `BaseForecast`.
    private let processOutputs: UnsafeMutablePointer<Float>

    init(_ settings: EngineSettings, executor: any ParallelExecutor) {
        self.settings = settings
        self.executor = executor
        let cells = settings.targetTable.cells
        logits = Array(repeating: LogitCorrection(cells: cells), count: LogitCorrection.groups)
        blends = (0..<ProcessBlend.groups).map { ProcessBlend(cells: cells, group: $0) }
        shares = ForecastShares(groups: CorrectionCoefficients.groups, cells: cells)
        ofNetwork = CorrectionCoefficients(outputs: settings.model.outputs)
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

    private var calibrationDays: Double { settings.configuration.learning.calibrationDays }

    /// Time passes, in event time: what is known fades.
    /// - Parameter steps: of the weights that serve.
    func advance(days: Double, steps: Double) {
        guard calibrationDays > 0 else { return shares.advance(days: days, keep: 1, steps: steps) }
        let keep = exp(-max(0, days) / calibrationDays)
        for g in logits.indices { logits[g].fade(keep) }
        for g in blends.indices { blends[g].advance(days: days) }
        shares.advance(days: days, keep: keep, steps: steps)
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
        writeNetwork(rates: rates, into: coefficients)
        for g in 0..<CorrectionCoefficients.groups {
            shares.write(settings.model, group: g, into: coefficients.row(group: g))
        }
    }

    /// Those of the corrected network alone.
    func writeNetwork(rates: borrowing PopulationRates, into coefficients: borrowing CorrectionCoefficients) {
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

    /// Finds the group of each landmark of a batch, and the outputs of `BaseForecast` for it.
    func collectBase(
        _ picks: [LandmarkPick], from tasks: [PartitionTask], _ base: BaseForecast, _ batch: TrainingBatch
    ) {
        let layout = settings.landmarkLayout
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { raw in
            let features = raw.baseAddress!
            for (r, pick) in picks.enumerated() {
                let row = tasks[pick.task].pool.at(pick.sequence).at(layout.featureRow, as: UInt16.self)
                clvd_float_from_half(layout.features, row, features)
                let bought = base.outputs(
                    features, meanLogSpend: batch.meanLogSpend, into: processOutputs + r * settings.model.outputs)
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

    /// Learns from the outcomes of a bin of a batch, after `collectBase`.
    /// - Parameters:
    ///   - network: the weights that serve; nil while the network sleeps.
    func observe(
        bin: Int, _ batch: TrainingBatch, _ trainer: Trainer, network weights: UnsafePointer<Float>?,
        rates: borrowing PopulationRates
    ) {
        let heads = settings.model.heads.count
        let groups = CorrectionCoefficients.groups
        var judged = [[ForecastShares.Sample]](repeating: [], count: groups * heads)
        guard let weights else {
            for row in 0..<batch.rows { judge(&judged, row: row, bin: bin, nil, batch) }
            return learnShares(judged, bin: bin)
        }
        writeNetwork(rates: rates, into: ofNetwork)
        var outcomes = Outcomes(
            heads: Array(repeating: ObservedOutcomes(), count: logits.count * heads),
            blended: Array(repeating: [], count: blends.count * heads))
        trainer.outputs(weights, batch, executor: executor) { row, outputs in
            judge(&judged, row: row, bin: bin, outputs, batch)
            for h in 0..<heads where settings.model.heads[h].kind.isCorrected {
                collect(&outcomes, row: row, head: h, bin: bin, outputs, batch)
            }
        }
        learnShares(judged, bin: bin)
        guard calibrationDays > 0 else { return }
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

    private func learnShares(_ judged: [[ForecastShares.Sample]], bin: Int) {
        let layout = settings.model
        for g in 0..<CorrectionCoefficients.groups {
            for (h, head) in layout.heads.enumerated() where head.kind.isCorrected {
                shares.observe(
                    group: g, cell: layout.cell(head: h, bin: bin),
                    before: bin > 0 ? layout.cell(head: h, bin: bin - 1) : nil, judged[g * layout.heads.count + h],
                    isMoney: head.kind.isMoney,
                    corrects: calibrationDays > 0
                        && !(CorrectionCoefficients.haveBought(g) && settings.purchaseHeads[h]))
            }
        }
    }

    /// Sets what the base and the corrected network said of a row beside its outcome.
    /// - Parameter outputs: of the network; nil while it sleeps.
    private func judge(
        _ judged: inout [[ForecastShares.Sample]], row: Int, bin: Int, _ outputs: UnsafePointer<Float>?,
        _ batch: TrainingBatch
    ) {
        let layout = settings.model
        let group = CorrectionCoefficients.group(activity: groups[row].activity, blend: groups[row].blend)
        let base = processOutputs + row * layout.outputs
        let corrected = ofNetwork.row(group: group)
        for (h, head) in layout.heads.enumerated() where head.kind.isCorrected {
            let labels = batch.labels + row * layout.cells + layout.cells(head: h).lowerBound
            guard head.kind.isAtRisk(labels, bin: bin) else { continue }
            let o = layout.output(head: h, bin: bin)
            let mean = Double(batch.meanLogSpend[layout.cell(head: h, bin: bin)])
            var sample = ForecastShares.Sample(
                base: Double(base[o]), label: Double(labels[bin * head.kind.cellsPerBin]))
            if head.kind.isMoney {
                sample.amount.base = mean + Double(base[o + 1])
                sample.variance = Self.variance(base[o + 2])
            }
            if let outputs, outputs[o].isFinite,
                !head.kind.isMoney || outputs[o + 1].isFinite && outputs[o + 2].isFinite
            {
                sample.network = Double(corrected.corrected(o, outputs[o], process: base[o]))
                if groups[row].blend == nil || !settings.purchaseHeads[h] { sample.plain = Double(outputs[o]) }
                if head.kind.isMoney {
                    let variance = Self.variance(outputs[o + 2])
                    // The process gives the log of the mean, of which μ is less by half the variance.
                    let process = ProcessBlend.mu(logMean: base[o + 1], sigma: Float(variance.squareRoot()))
                    let mu = Double(corrected.corrected(o + 1, outputs[o + 1], process: process))
                    sample.amount.network = min(Double(Network.maximumLogMean), mean + mu + variance / 2)
                    sample.variance = variance
                }
            }
            judged[group * layout.heads.count + h].append(sample)
        }
    }

    private static func variance(_ raw: Float) -> Double {
        let sigma = Double(Network.sigma(raw))
        return sigma * sigma
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
