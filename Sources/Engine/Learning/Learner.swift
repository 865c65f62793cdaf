import CHash
import CKernels
import Glibc

/// Learns as labels mature: takes in what matured, follows gradients as far as the budget allows, keeps the serving
/// weights. Everything happens at fixed positions of the sequence, with its own random generator.
final class Learner {
    /// Most minibatches of landmarks that wait to be drawn. Landmarks beyond are never drawn, so that a stream above
    /// the budget does not learn from the same past for ever.
    static let mostOwedBatches = 1000.0
    /// Most intervals whose unused budget is kept, so that a pause of learning does not end in a burst of steps.
    static let mostSavedIntervals = 16.0
    /// Days of an interval beyond which its event time brings no more budget: a gap in the stream is no reason to learn
    /// more from what came before it.
    static let mostDaysOfBudget = 7.0
    /// Share of the present step in the reported loss, a mean over some 100 steps, and that of the mean before.
    static let lossShare = 0.01
    static let lossKept = 0.99

    let settings: EngineSettings
    let configuration: EngineConfiguration.Learning
    private let executor: any ParallelExecutor
    let weights: Weights
    private let trainer: Trainer
    private let builder: MinibatchBuilder
    var sampler: LandmarkSampler
    var standardizer: Standardizer
    var rates: PopulationRates
    var population = BaseForecast.Population()
    let base: BaseForecast
    let correction: HeadCorrection
    var scorer: OutcomeScorer
    var drift: DriftMonitor
    var stopping: EarlyStopping
    /// Whether this interval adapts to a drift.
    var adapting = false
    var report = LearningReport()
    /// Landmarks still to be drawn, and steps the budget allows.
    var credit = 0.0
    var budget = 0.0
    /// Steps of the weights that serve.
    var served: Int64 = 0
    /// Rows of training that taught each bin so far.
    var taughtRows: [Double]
    /// Filled and exchanged with the parameters of the serving model at each learning.
    var spare: ServingParameters
    /// Whether learning is by marks of event time. Then what a step draws depends on the mark and its number alone, so
    /// that runs which differ a little draw nearly the same.
    var isByMarks = false

    init(_ settings: EngineSettings, executor: any ParallelExecutor) {
        self.settings = settings
        self.executor = executor
        configuration = settings.configuration.learning
        weights = Weights(layout: settings.model, seed: settings.configuration.model.seed)
        trainer = Trainer(layout: settings.model, configuration: configuration)
        builder = MinibatchBuilder(settings, executor: executor)
        sampler = LandmarkSampler(settings)
        standardizer = Standardizer(features: SnapshotFeatures.count)
        rates = PopulationRates(cells: settings.targetTable.cells)
        base = BaseForecast(settings)
        correction = HeadCorrection(settings, executor: executor)
        scorer = OutcomeScorer(settings)
        drift = DriftMonitor(settings, metrics: scorer.metrics)
        stopping = EarlyStopping(configuration)
        taughtRows = Array(repeating: 0, count: settings.targetTable.bins)
        spare = ServingParameters(settings)
    }

    /// One learning interval: labels that matured since the last, then as many steps as they and the budget allow.
    /// - Parameters:
    ///   - cuts: of each task, up to where it teaches.
    ///   - records: records since the last.
    ///   - days: event time since the last.
    ///   - now: event time, ms.
    func learn(_ tasks: [PartitionTask], _ cuts: [LearningCut], records: Int64, days: Double, now: Int64) {
        let before = tasks.map { $0.pool.frontier }
        for (task, cut) in zip(tasks, cuts) { mature(task, watermark: cut.watermark) }
        for (task, cut) in zip(tasks, cuts) { standardise(task, below: cut.tail) }
        standardizer.refresh()
        base.set(population)
        watch(days: days, now: now)
        correctHeads(tasks, since: before, days: days)
        let allowance =
            configuration.stepsPerThousandEvents * Double(records) / 1000
            + configuration.stepsPerDay * min(days, Self.mostDaysOfBudget)
        budget += allowance
        let batchSize = Double(configuration.batchSize)
        var number: UInt64 = 0
        while credit >= batchSize && budget >= 1 {
            budget -= 1
            credit -= batchSize
            number += 1
            guard step(tasks, noise: isByMarks ? noise(now, number) : nil) else { break }
        }
        credit = min(credit, Self.mostOwedBatches * batchSize)
        budget = min(budget, max(1, Self.mostSavedIntervals * allowance))
    }

    func prequentialReports() -> [PrequentialReport] { scorer.reports() }

    // MARK: Outcomes

    private func mature(_ task: PartitionTask, watermark: Int64) {
        let bins = settings.targetTable.bins
        for bin in 0..<bins {
            var fresh = 0
            task.pool.mature(bin: bin, watermark: watermark) { landmark in
                let h = LandmarkPool.header(landmark)
                guard h.pointee.user != UserTable.none else { return }
                let labels = landmark.at(settings.landmarkLayout.labels, as: Float.self)
                for rule in settings.rules { observe(rule, labels, bin) }
                scorer.observe(landmark, bin: bin, drift: &drift)
                if h.pointee.flags & LandmarkHeader.holdOut == 0 { fresh += 1 }
                if bin == bins - 1 { report.matured += 1 }
            }
            credit += Double(fresh) * configuration.drawsPerLandmark / Double(bins)
        }
    }

    private func observe(_ rule: LabelRule, _ labels: UnsafePointer<Float>, _ bin: Int) {
        let atRisk = rule.kind.isAtRisk(labels + Int(rule.cell), bin: bin)
        let first = rule.cell(bin: bin)
        for cell in first..<first + rule.kind.cellsPerBin { rates.add(cell: cell, label: labels[cell], atRisk: atRisk) }
    }

    /// Adds the landmarks that are new to the scaling of features and to the population of `BaseForecast`.
    private func standardise(_ task: PartitionTask, below tail: Int64) {
        let layout = settings.landmarkLayout
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { row in
            for sequence in task.pool.standardised..<max(task.pool.standardised, tail) {
                let landmark = task.pool.at(sequence)
                let h = LandmarkPool.header(landmark)
                guard h.pointee.user != UserTable.none else { continue }
                clvd_float_from_half(
                    layout.features, landmark.at(layout.featureRow, as: UInt16.self), row.baseAddress!)
                standardizer.observe(features: row.baseAddress!)
                observe(population: row.baseAddress!)
                guard h.pointee.steps > 0 else { continue }
                let last = landmark.at(layout.events, as: StoredEvent.self)[Int(h.pointee.steps) - 1]
                let amount = clvd_float_of_half(last.amount)
                if amount > 0 { standardizer.observe(logAmount: amount) }
            }
        }
        task.pool.standardised = max(task.pool.standardised, tail)
    }

    /// - Parameter features: a finished row.
    private func observe(population features: UnsafePointer<Float>) {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: PurchaseProcess.nodes) { r in
            let responsibilities = r.baseAddress!
            let activity = PurchaseProcess.History(activity: features)
            base.activity.responsibilities(activity, into: responsibilities)
            var isNew = population.activity.observe(activity, responsibilities: responsibilities)
            if let history = PurchaseProcess.History(features) {
                base.purchases.responsibilities(history, into: responsibilities)
                if population.purchases.observe(history, responsibilities: responsibilities) { isNew = true }
            }
            population.observeConversion(features)
            if isNew { base.set(population) }
        }
    }

    /// Raises an alarm where predictions have become worse than they were: the corrections of just these cells then
    /// count little beside what comes, and for a while learning takes larger steps.
    private func watch(days: Double, now: Int64) {
        guard configuration.driftThreshold > 0 else { return }
        for alarm in drift.advance(to: now, days: days) { correction.loosen(alarm) }
        adapting = drift.detector.isAdapting(at: now)
        report.drifts = drift.detector.count
        report.adapting = adapting
        report.driftAlarms = drift.detector.alarms
    }

    /// Judges base and network, and corrects both, bin by bin, by the outcomes that matured since `frontiers`
    /// ([tasks][bins]).
    private func correctHeads(_ tasks: [PartitionTask], since frontiers: [[Int64]], days: Double) {
        correction.advance(days: days, steps: Double(served))
        writeSigmas()
        for bin in 0..<settings.targetTable.bins {
            sampler.pickFresh(tasks, bin: bin, since: frontiers)
            if sampler.picks.isEmpty { continue }
            builder.fill(sampler.picks, from: tasks, standardizer: standardizer, rates: rates)
            correction.collectBase(sampler.picks, from: tasks, base, builder.batch)
            correction.observe(
                bin: bin, builder.batch, trainer,
                network: networkIsAwake && taughtRows[bin] > 0 ? servingWeights : nil, rates: rates)
        }
    }

    /// Whether the network has taken the steps from which it may have a say.
    var networkIsAwake: Bool { served > 0 && served >= Int64(configuration.minimumSteps) }

    private func writeSigmas() {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: settings.targetTable.cells) { sigmas in
            sigmas.initialize(repeating: 1)
            for rule in settings.rules where rule.isValue {
                for bin in 0..<settings.targetTable.bins { sigmas[rule.cell(bin: bin)] = rates.sigma(rule, bin: bin) }
            }
            base.set(sigmas: sigmas.baseAddress!)
        }
    }

    /// The weights that serve, as `ModelLayout` places them.
    var servingWeights: UnsafeMutablePointer<Float> { stopping.isHolding ? weights.best : weights.average }

    // MARK: Steps

    /// Seed of a step at a mark.
    private func noise(_ mark: Int64, _ number: UInt64) -> UInt64 {
        clvd_mix(configuration.seed &+ number, UInt64(bitPattern: mark))
    }

    /// One minibatch. False when there is nothing to learn from yet.
    /// - Parameter noise: seed of what it draws; nil: drawing goes on where the step before ended.
    private func step(_ tasks: [PartitionTask], noise: UInt64?) -> Bool {
        if let noise { sampler.random = RandomNumbers(seed: noise) }
        guard sampler.draw(tasks, heldOut: false) else { return false }
        builder.fill(sampler.picks, from: tasks, standardizer: standardizer, rates: rates)
        let batch = builder.batch
        let result = trainer.step(
            weights, batch, rateFactor: stopping.rateFactor * (adapting ? configuration.driftRateFactor : 1),
            noise: noise, executor: executor)
        report.learningRate = result.learningRate
        guard result.applied else {
            report.skipped += 1
            return true
        }
        report.steps += 1
        for row in 0..<batch.rows {
            for b in taughtRows.indices where batch.matured[row * taughtRows.count + b] != 0 { taughtRows[b] += 1 }
        }
        let loss = Double(result.loss)
        report.loss = report.steps == 1 ? loss : Self.lossKept * report.loss + Self.lossShare * loss
        if stopping.isDue(step: report.steps) { evaluateHoldOut(tasks) }
        if !stopping.isHolding { served = report.steps }
        return true
    }

    /// Compares the averaged weights with the best so far on the same fresh sample of held-out users.
    private func evaluateHoldOut(_ tasks: [PartitionTask]) {
        guard sampler.draw(tasks, heldOut: true) else { return }
        builder.fill(sampler.picks, from: tasks, standardizer: standardizer, rates: rates)
        let averaged = trainer.loss(weights.average, builder.batch, executor: executor)
        let best = trainer.loss(weights.best, builder.batch, executor: executor)
        report.holdOutLoss = Double(min(averaged, stopping.isHolding ? best : averaged))
        switch stopping.decide(averaged: averaged, best: best, step: report.steps, adapting: adapting) {
        case .improved: weights.keepBest()
        case .wait: break
        case .stopped: report.earlyStops += 1
        }
        report.holding = stopping.isHolding
    }
}
