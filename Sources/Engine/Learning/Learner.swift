import CHash
import CKernels
import Glibc

/// How learning goes.
public struct LearningReport: Sendable, Codable, Equatable {
    public var steps: Int64 = 0
    /// Steps that were skipped because a gradient was not finite.
    public var skipped: Int64 = 0
    /// Mean training loss of a landmark, over the last steps (exponential mean).
    public var loss: Double = 0
    /// Loss of the serving weights on users never trained on, at the latest evaluation.
    public var holdOutLoss: Double?
    public var learningRate: Float = 0
    /// How often early stopping held the serving weights and lowered the rate.
    public var earlyStops: Int64 = 0
    public var holding: Bool = false
    /// Landmarks that matured in their last bin.
    public var matured: Int64 = 0
    /// Drifts of the stream that were noticed; whether learning adapts to the last one still; and the latest ones.
    public var drifts: Int64 = 0
    public var adapting: Bool = false
    public var driftAlarms: [DriftAlarm] = []
}

/// Learns as labels mature: samples minibatches of landmarks, follows gradients, keeps the serving weights.
/// Everything happens at fixed positions of the sequence, with its own random generator.
final class Learner {
    private let settings: EngineSettings
    private let configuration: EngineConfiguration.Learning
    private let executor: any ParallelExecutor
    private let network: Network
    private let weights: Weights
    private let batch: TrainingBatch
    private let trainer: Trainer
    private var random: RandomNumbers
    private(set) var standardizer: Standardizer
    private(set) var rates: PopulationRates
    private(set) var process = PurchaseProcess()
    private let purchases: PurchaseForecast
    /// Of each `Calibration.group`.
    private var calibrations: [Calibration]
    /// Of each `Blend.group`.
    private var blends: [Blend]
    private var windows: [PrequentialWindow]
    private var levels: IntervalLevels
    private var drift: DriftDetector
    private let watched: [Watched]
    /// Whether this interval adapts to a drift.
    private var adapting = false
    private let metrics: [Metric]
    private(set) var report = LearningReport()
    /// Landmarks still to be drawn, and steps the budget allows.
    private var credit = 0.0
    private var budget = 0.0
    private var rateFactor: Float = 1
    private var strikes = 0
    /// Steps of the weights that serve.
    private var served: Int64 = 0
    /// Rows of training that taught each bin so far.
    private var taughtRows: [Double]
    private var picks: [Pick]
    /// Of each picked landmark: its `Calibration.group`, its `Blend.group` where the user has bought, and [outputs] of
    /// the purchase process.
    private let groups: UnsafeMutablePointer<(calibration: Int, blend: Int?)>
    private let opinions: UnsafeMutablePointer<Float>

    private struct Metric {
        var target: Int
        var horizon: Double
        var reading: HorizonReading
        /// Bin whose maturity completes the horizon.
        var bin: Int
        /// Place among the value readings; nil of other targets.
        var interval: Int?
    }

    /// A loss that is watched for drift.
    private struct Watched {
        var metric: Int
        var part: String?
    }

    private struct Pick {
        var task: Int
        var sequence: Int64
    }

    init(_ settings: EngineSettings, executor: any ParallelExecutor) {
        self.settings = settings
        self.executor = executor
        configuration = settings.configuration.learning
        network = Network(settings.model)
        weights = Weights(layout: settings.model, seed: settings.configuration.model.seed)
        batch = TrainingBatch(layout: settings.model, capacity: configuration.batchSize, steps: UserLayout.ringCount)
        trainer = Trainer(layout: settings.model, configuration: configuration)
        random = RandomNumbers(seed: configuration.seed)
        standardizer = Standardizer(features: SnapshotFeatures.count)
        rates = PopulationRates(cells: settings.targetTable.cells)
        purchases = PurchaseForecast(ends: settings.binEndDays)
        calibrations = Array(repeating: Calibration(cells: settings.targetTable.cells), count: Calibration.groups)
        blends = (0..<Blend.groups).map { Blend(cells: settings.targetTable.cells, group: $0) }
        metrics = settings.targetTable.targets.enumerated().flatMap { i, target in
            target.horizonsDays.map { days in
                let reading = settings.targetTable.reading(target: i, horizon: days)
                return Metric(
                    target: i, horizon: days, reading: reading, bin: Int(reading.bins) - 1,
                    interval: settings.valueReadings.firstIndex(of: reading))
            }
        }
        windows = metrics.map { _ in PrequentialWindow(capacity: settings.configuration.learning.prequentialWindow) }
        let all = metrics
        watched = all.indices.filter { $0 == 0 || all[$0 - 1].target != all[$0].target }.flatMap { i in
            all[i].interval == nil
                ? [Watched(metric: i, part: nil)]
                : [Watched(metric: i, part: "chance"), Watched(metric: i, part: "amount")]
        }
        drift = DriftDetector(monitors: watched.count)
        levels = IntervalLevels(count: settings.valueReadings.count)
        taughtRows = Array(repeating: 0, count: settings.targetTable.bins)
        groups = .allocate(capacity: configuration.batchSize)
        groups.initialize(repeating: (0, nil), count: configuration.batchSize)
        opinions = .allocate(capacity: configuration.batchSize * settings.model.outputs)
        opinions.initialize(repeating: 0, count: configuration.batchSize * settings.model.outputs)
        picks = []
        picks.reserveCapacity(configuration.batchSize)
    }

    deinit {
        groups.deallocate()
        opinions.deallocate()
    }

    /// One learning interval: labels that matured since the last, then as many steps as they and the budget allow.
    /// - Parameters:
    ///   - records: records since the last.
    ///   - days: event time since the last.
    ///   - now: event time, ms.
    func learn(_ tasks: [PartitionTask], records: Int64, days: Double, now: Int64) {
        let before = tasks.map { $0.pool.frontier }
        for task in tasks { mature(task) }
        for task in tasks { standardise(task) }
        standardizer.refresh()
        watch(days: days, now: now)
        calibrate(tasks, since: before, days: days)
        let allowance =
            configuration.stepsPerThousandEvents * Double(records) / 1000 + configuration.stepsPerDay * min(days, 7)
        budget += allowance
        let batchSize = Double(configuration.batchSize)
        while credit >= batchSize && budget >= 1 {
            budget -= 1
            credit -= batchSize
            guard step(tasks) else { break }
        }
        // What the budget cannot serve is not owed for ever, nor does an idle budget pile up.
        credit = min(credit, 1000 * batchSize)
        budget = min(budget, max(1, 16 * allowance))
    }

    // MARK: Labels

    private func mature(_ task: PartitionTask) {
        let layout = settings.landmarkLayout
        let bins = settings.targetTable.bins
        for bin in 0..<bins {
            var fresh = 0
            task.pool.mature(bin: bin, watermark: task.watermark) { landmark in
                let h = LandmarkPool.header(landmark)
                guard h.pointee.user != UserTable.none else { return }
                let labels = landmark.at(layout.labels, as: Float.self)
                for rule in settings.rules { observe(rule, labels, bin) }
                for (i, metric) in metrics.enumerated() where metric.bin == bin { measure(i, metric, landmark, labels) }
                if h.pointee.flags & LandmarkHeader.holdOut == 0 { fresh += 1 }
                if bin == bins - 1 { report.matured += 1 }
            }
            credit += Double(fresh) * configuration.drawsPerLandmark / Double(bins)
        }
    }

    private func observe(_ rule: LabelRule, _ labels: UnsafePointer<Float>, _ bin: Int) {
        let row = labels + Int(rule.cell)
        var atRisk = true
        for b in 0..<bin where row[b] > 0 { atRisk = false }
        rates.add(cell: Int(rule.cell) + bin, label: row[bin], isValue: rule.isValue, atRisk: atRisk)
    }

    private func measure(
        _ i: Int, _ metric: Metric, _ landmark: UnsafeMutableRawPointer, _ labels: UnsafePointer<Float>
    ) {
        let h = LandmarkPool.header(landmark)
        guard h.pointee.flags & LandmarkHeader.fromModel != 0 else { return }
        let prediction = metric.reading.value(landmark.at(settings.landmarkLayout.predictions, as: Float.self))
        let row = labels + Int(metric.reading.cell)
        var total: Float = 0
        for b in 0...metric.bin { total += row[b] }
        let days = Float(metric.horizon)
        let target = settings.targetTable.targets[metric.target]
        var sample: PrequentialWindow.Sample =
            switch target.kind {
            case .value: .init(prediction: prediction, naive: h.pointee.naiveValuePerDay * days, label: max(0, total))
            case .occurrence:
                .init(prediction: prediction, naive: 1 - expf(-naiveRate(target, h) * days), label: total > 0 ? 1 : 0)
            case .absence:
                .init(prediction: prediction, naive: expf(-naiveRate(target, h) * days), label: total > 0 ? 0 : 1)
            }
        if let interval = metric.interval {
            let spread = landmark.at(settings.landmarkLayout.spreads, as: LandmarkSpread.self)[interval]
            let y = Double(sample.label)
            let published = spread.distribution.interval(level: Double(spread.level))
            sample.covered = Float(published.coverage(of: y))
            sample.inside = published.isInside(y) ? 1 : 0
            levels.observe(interval, spread.distribution, outcome: y)
            observeLosses(i, sample, spread.distribution, instant: h.pointee.instant)
        } else {
            observeLosses(i, sample, nil, instant: h.pointee.instant)
        }
        windows[i].add(sample)
    }

    private func naiveRate(
        _ target: EngineConfiguration.Target, _ h: UnsafeMutablePointer<LandmarkHeader>
    ) -> Float {
        target.events.isEmpty ? h.pointee.naiveEventsPerDay : h.pointee.naiveOrdersPerDay
    }

    // MARK: Drift

    /// Raises an alarm where predictions have become worse than they were: what is known of the level of just these counts
    /// little beside what comes, and for a while learning takes larger steps.
    private func watch(days: Double, now: Int64) {
        guard configuration.driftThreshold > 0 else { return }
        let alarmed = drift.advance(to: now, days: days, configuration) { i in
            let metric = metrics[watched[i].metric]
            return (settings.targetTable.targets[metric.target].name, watched[i].part)
        }
        for i in alarmed {
            let first = Int(metrics[watched[i].metric].reading.cell)
            for cell in first..<first + settings.targetTable.bins {
                let amounts = watched[i].part == "amount"
                for g in calibrations.indices { calibrations[g].loosen(cell: cell, amounts: amounts) }
                for g in blends.indices where amounts { blends[g].loosenAmounts(cell: cell) }
            }
        }
        adapting = drift.isAdapting(at: now)
        report.drifts = drift.count
        report.adapting = adapting
        report.driftAlarms = drift.alarms
    }

    /// Tells the detector what a prediction came to.
    private func observeLosses(
        _ i: Int, _ sample: PrequentialWindow.Sample, _ distribution: SpendDistribution?, instant: Int64
    ) {
        for (w, watch) in watched.enumerated() where watch.metric == i {
            guard let distribution else {
                let loss = ExcessLoss.probability(Double(sample.prediction), sample.label > 0)
                drift.observe(w, loss: loss, instant: instant)
                continue
            }
            let spends = sample.label > 0
            if watch.part == "amount" {
                guard spends else { continue }
                drift.observe(w, loss: ExcessLoss.amount(distribution, Double(sample.label)), instant: instant)
            } else {
                let loss = ExcessLoss.probability(1 - Double(distribution.zero), spends)
                drift.observe(w, loss: loss, instant: instant)
            }
        }
    }

    /// Lets the scaling of features see the landmarks that are new.
    private func standardise(_ task: PartitionTask) {
        let layout = settings.landmarkLayout
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { row in
            for sequence in task.pool.standardised..<task.pool.tail {
                let landmark = task.pool.at(sequence)
                let h = LandmarkPool.header(landmark)
                guard h.pointee.user != UserTable.none else { continue }
                clvd_float_from_half(
                    layout.features, landmark.at(layout.featureRow, as: UInt16.self), row.baseAddress!)
                standardizer.observe(features: row.baseAddress!)
                if let history = PurchaseProcess.History(row.baseAddress!) { observe(history) }
                guard h.pointee.steps > 0 else { continue }
                let last = landmark.at(layout.events, as: StoredEvent.self)[Int(h.pointee.steps) - 1]
                let amount = clvd_float_of_half(last.amount)
                if amount > 0 { standardizer.observe(logAmount: amount) }
            }
        }
        task.pool.standardised = task.pool.tail
    }

    private func observe(_ history: PurchaseProcess.History) {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: PurchaseProcess.nodes) { r in
            purchases.responsibilities(history, into: r.baseAddress!)
            if process.observe(history, responsibilities: r.baseAddress!) { purchases.set(process) }
        }
    }

    // MARK: Calibration

    /// What matured since `frontiers` shows, bin by bin, how the serving weights fare.
    private func calibrate(_ tasks: [PartitionTask], since frontiers: [[Int64]], days: Double) {
        guard configuration.calibrationDays > 0, served >= Int64(configuration.minimumSteps) else { return }
        let keep = exp(-max(0, days) / configuration.calibrationDays)
        for g in calibrations.indices { calibrations[g].fade(keep) }
        for g in blends.indices { blends[g].advance(days: days) }
        let most = configuration.batchSize
        for bin in 0..<settings.targetTable.bins where taughtRows[bin] > 0 {
            picks.removeAll(keepingCapacity: true)
            let fresh = tasks.enumerated().map { t, task in task.pool.matured(bin: bin, since: frontiers[t][bin]) }
            let step = max(1, (fresh.reduce(0) { $0 + $1.count } + most - 1) / most)
            for (t, task) in tasks.enumerated() {
                for sequence in stride(from: fresh[t].lowerBound, to: fresh[t].upperBound, by: step) {
                    if picks.count == most { break }
                    if LandmarkPool.header(task.pool.at(sequence)).pointee.user != UserTable.none {
                        picks.append(Pick(task: t, sequence: sequence))
                    }
                }
            }
            if picks.isEmpty { continue }
            fill(tasks)
            consult(tasks)
            calibrate(bin)
        }
    }

    /// Of each picked landmark: its group, and what the purchase process says.
    private func consult(_ tasks: [PartitionTask]) {
        let layout = settings.landmarkLayout
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { raw in
            let features = raw.baseAddress!
            for (r, pick) in picks.enumerated() {
                let row = tasks[pick.task].pool.at(pick.sequence).at(layout.featureRow, as: UInt16.self)
                clvd_float_from_half(layout.features, row, features)
                let bought = purchases.outputs(
                    features, settings.model, purchaseHeads: settings.purchaseHeads, meanLogSpend: batch.meanLogSpend,
                    into: opinions + r * settings.model.outputs)
                groups[r] = (Calibration.group(features), bought ? Blend.group(features) : nil)
            }
        }
    }

    /// What a batch showed of one head in one group of `Calibration`.
    private struct Shown {
        var logits: [(x: Double, hit: Bool)] = []
        var amounts: [(p: Double, mu: Double, sigma: Double, label: Double)] = []
    }

    private func calibrate(_ bin: Int) {
        let layout = settings.model
        let heads = layout.heads.count
        var shown = Array(repeating: Shown(), count: calibrations.count * heads)
        var blended = Array(repeating: [Blend.Sample](), count: blends.count * heads)
        trainer.outputs(report.holding ? weights.best : weights.average, batch, executor: executor) { row, outputs in
            let labels = batch.labels + row * layout.cells
            for (h, head) in layout.heads.enumerated() {
                let label = labels[h * layout.bins + bin]
                let o = outputs + layout.output(head: h, bin: bin)
                if head.kind == .hazard && (0..<bin).contains(where: { labels[h * layout.bins + $0] > 0 }) { continue }
                guard o[0].isFinite, head.kind == .hazard || o[1].isFinite && o[2].isFinite else { continue }
                if let blend = groups[row].blend, settings.purchaseHeads[h] {
                    let process = opinions + row * layout.outputs + layout.output(head: h, bin: bin)
                    let sigma = head.kind == .value ? Network.sigma(o[2]) : 0
                    let mu = head.kind == .value ? (o[1], Blend.mu(logMean: process[1], sigma: sigma)) : (0, 0)
                    blended[blend * heads + h].append(
                        .init(
                            heads: Double(o[0]), process: Double(process[0]), mu: (Double(mu.0), Double(mu.1)),
                            sigma: Double(sigma), label: Double(label)))
                    continue
                }
                let at = groups[row].calibration * heads + h
                shown[at].logits.append((Double(o[0]), label > 0))
                if head.kind == .value {
                    shown[at].amounts.append((Double(o[0]), Double(o[1]), Double(Network.sigma(o[2])), Double(label)))
                }
            }
        }
        for h in 0..<heads {
            let cell = h * layout.bins + bin
            for group in calibrations.indices { learn(shown[group * heads + h], group: group, head: h, bin: bin) }
            for group in blends.indices where settings.purchaseHeads[h] {
                blends[group].observe(cell: cell, blended[group * heads + h])
                guard layout.heads[h].kind == .value else { continue }
                blends[group].observeAmounts(
                    cell: cell, blended[group * heads + h], meanLogSpend: Double(rates.meanLogSpend(cell)))
            }
        }
    }

    private func learn(_ shown: Shown, group: Int, head h: Int, bin: Int) {
        let cell = h * settings.model.bins + bin
        calibrations[group].observe(cell: cell, logits: shown.logits)
        guard settings.model.heads[h].kind == .value else { return }
        let mean = Double(rates.meanLogSpend(cell))
        for a in shown.amounts where a.label > 0 {
            let spend = log(min(Double(Losses.maximumSpend), a.label))
            calibrations[group].observe(cell: cell, mu: a.mu, logSpend: spend - mean)
        }
        let now = calibrations[group].cells[cell]
        let amount = now.amount
        for a in shown.amounts {
            let p = 1 / (1 + exp(-(now.intercept + now.slope * a.p)))
            let logMean = min(
                Double(Network.maximumLogMean), mean + amount.offset + amount.factor * a.mu + a.sigma * a.sigma / 2)
            calibrations[group].observe(cell: cell, predicted: p * exp(logMean), actual: max(0, a.label))
        }
    }

    // MARK: Steps

    /// One minibatch. False when there is nothing to learn from yet.
    private func step(_ tasks: [PartitionTask]) -> Bool {
        guard sample(tasks, heldOut: false) else { return false }
        fill(tasks)
        let result = trainer.step(
            weights, batch, rateFactor: rateFactor * (adapting ? configuration.driftRateFactor : 1),
            executor: executor)
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
        report.loss = report.steps == 1 ? loss : 0.99 * report.loss + 0.01 * loss
        if report.steps % Int64(configuration.earlyStoppingInterval) == 0 { evaluateHoldOut(tasks) }
        if !report.holding { served = report.steps }
        return true
    }

    /// Draws a minibatch: a share near the frontier of a random bin, the rest from all matured landmarks.
    private func sample(_ tasks: [PartitionTask], heldOut: Bool) -> Bool {
        picks.removeAll(keepingCapacity: true)
        let matured = tasks.reduce(Int64(0)) { $0 + $1.pool.frontier[0] - $1.pool.head }
        guard matured >= Int64(configuration.batchSize) else { return false }
        let near = Int64(max(1, configuration.frontierLandmarks / max(1, tasks.count)))
        // A draw may hit a landmark of the other group or of a user who left; so many misses mean there is none.
        var misses = 0
        while picks.count < configuration.batchSize && misses < 64 * configuration.batchSize {
            let frontier = !heldOut && (random.uniform() < configuration.frontierShare)
            let bin = frontier || heldOut ? random.below(settings.targetTable.bins) : 0
            guard let pick = draw(tasks, bin: bin, near: frontier || heldOut ? near : .max) else {
                misses += 1
                continue
            }
            let h = LandmarkPool.header(tasks[pick.task].pool.at(pick.sequence))
            let isHeldOut = h.pointee.flags & LandmarkHeader.holdOut != 0
            if h.pointee.user == UserTable.none || isHeldOut != heldOut {
                misses += 1
                continue
            }
            picks.append(pick)
        }
        return picks.count == configuration.batchSize
    }

    /// A uniform draw among the `near` newest landmarks of each task that matured in `bin`.
    private func draw(_ tasks: [PartitionTask], bin: Int, near: Int64) -> Pick? {
        func range(_ task: PartitionTask) -> Int64 { min(near, task.pool.frontier[bin] - task.pool.head) }
        let total = tasks.reduce(Int64(0)) { $0 + range($1) }
        guard total > 0 else { return nil }
        var at = Int64(random.below(Int(total)))
        for (t, task) in tasks.enumerated() {
            let n = range(task)
            if at < n { return Pick(task: t, sequence: task.pool.frontier[bin] - 1 - at) }
            at -= n
        }
        return nil
    }

    /// Fills the batch from the picked landmarks, in parallel: every row has its place.
    private func fill(_ tasks: [PartitionTask]) {
        batch.rows = picks.count
        for cell in 0..<settings.targetTable.cells { batch.meanLogSpend[cell] = rates.meanLogSpend(cell) }
        let chunks = (picks.count + Trainer.chunkRows - 1) / Trainer.chunkRows
        nonisolated(unsafe) let (learner, source) = (self, tasks)
        let drawn = picks
        executor.run(count: chunks) { chunk in
            for r in chunk * Trainer.chunkRows..<min(drawn.count, (chunk + 1) * Trainer.chunkRows) {
                let pool = source[drawn[r].task]
                learner.fill(row: r, pool.pool.at(drawn[r].sequence), sequence: drawn[r].sequence, pool.pool.frontier)
            }
        }
    }

    private func fill(row r: Int, _ landmark: UnsafeMutableRawPointer, sequence: Int64, _ frontier: [Int64]) {
        let layout = settings.landmarkLayout
        let h = LandmarkPool.header(landmark)
        let steps = Int(h.pointee.steps)
        batch.lengths[r] = Int32(steps)
        settings.codec.unpack(landmark + layout.state, into: batch.initialState + r * settings.stateWidth)
        var context = StepInputs.Context(
            previousTime: h.pointee.contextTime, previousCode: h.pointee.contextCode,
            lastPurchase: h.pointee.contextPurchase,
            amountMean: standardizer.amountMean, amountInverse: standardizer.amountInverse)
        let events = landmark.at(layout.events, as: StoredEvent.self)
        for t in 0..<steps {
            let at = r * UserLayout.ringCount + t
            settings.inputs.encode(
                events[t], logAmount: clvd_float_of_half(events[t].amount), context,
                indices: batch.indices + at * StepInputs.indices, numerics: batch.numerics + at * StepInputs.numerics)
            context.previousTime = events[t].time
            context.previousCode = events[t].code
            if events[t].code >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) {
                context.lastPurchase = events[t].time
            }
        }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { raw in
            clvd_float_from_half(layout.features, landmark.at(layout.featureRow, as: UInt16.self), raw.baseAddress!)
            standardizer.apply(raw.baseAddress!, rows: 1, into: batch.features + r * layout.features)
        }
        memcpy(
            batch.labels + r * layout.cells, landmark + layout.labels, layout.cells * MemoryLayout<Float>.stride)
        for b in 0..<frontier.count { batch.matured[r * frontier.count + b] = sequence < frontier[b] ? 1 : 0 }
    }

    // MARK: Early stopping

    /// Compares the averaged weights with the best so far on the same fresh sample of held-out users: while the
    /// averaged ones are worse for long, the best serve and the rate falls.
    private func evaluateHoldOut(_ tasks: [PartitionTask]) {
        guard sample(tasks, heldOut: true) else { return }
        fill(tasks)
        let averaged = trainer.loss(weights.average, batch, executor: executor)
        let best = trainer.loss(weights.best, batch, executor: executor)
        report.holdOutLoss = Double(min(averaged, report.holding ? best : averaged))
        if averaged <= best || report.steps == Int64(configuration.earlyStoppingInterval) {
            weights.keepBest()
            strikes = 0
            if report.holding { report.holding = false }
            return
        }
        // The users held out are of before and after the drift: the best on them is not what is needed now.
        if adapting { return }
        strikes += 1
        if strikes >= configuration.earlyStoppingPatience {
            strikes = 0
            report.holding = true
            report.earlyStops += 1
            rateFactor = max(configuration.minimumRateFactor, rateFactor * configuration.earlyStoppingRateFactor)
        }
    }

    // MARK: Serving

    /// Hands the current serving weights, scaling and population rates to the model that predicts.
    func publish(to serving: ServingModel) {
        serving.standardizer = standardizer
        serving.amountMean = standardizer.amountMean
        serving.amountInverse = standardizer.amountInverse
        serving.version = served >= Int64(configuration.minimumSteps) ? served : 0
        // A quarter of the first model's teaching makes a bin's weights better than what its predecessor suggests.
        let enough = Double(configuration.minimumSteps * configuration.batchSize) / 4
        serving.taughtBins = taughtRows.prefix { $0 >= enough }.count
        let ends = settings.binEndDays
        for g in calibrations.indices {
            for blend in [nil] + blends.indices.map({ $0 }) {
                let c = serving.coefficients(calibration: g, blend: blend)
                calibrations[g].write(settings.model, rates: rates, into: c)
                guard let blend else { continue }
                blends[blend].write(settings.model, purchaseHeads: settings.purchaseHeads, binEnds: ends, into: c)
            }
        }
        serving.purchases.set(process)
        serving.evidence = Float(evidence(taughtBins: serving.taughtBins))
        for i in levels.values.indices { serving.levels[i] = Float(levels.values[i]) }
        serving.copy(report.holding ? weights.best : weights.average)
        for rule in settings.rules {
            for bin in 0..<settings.targetTable.bins {
                let cell = Int(rule.cell) + bin
                serving.prior[cell] = rates.prior(rule, bin: bin, binEnds: settings.binEnds)
                serving.meanLogSpend[cell] = rule.isValue ? rates.meanLogSpend(cell) : 0
                guard rule.isValue else { continue }
                serving.priorChance[cell] = rates.chance(rule, bin: bin, binEnds: settings.binEnds)
                serving.priorSigma[cell] = rates.sigma(rule, bin: bin)
            }
        }
    }

    /// Matured landmarks that make a half of full evidence.
    static let halfEvidence = 1000.0

    /// How far predictions of the ranking target rest on outcomes that were learned from: the mean over its bins of
    /// n / (n + 1,000), where n landmarks matured lately; a bin that was not taught counts 0.
    private func evidence(taughtBins: Int) -> Double {
        let reading = settings.segmentReading
        let known = (0..<min(taughtBins, Int(reading.bins))).reduce(0.0) {
            let n = rates.evidence(Int(reading.cell) + $1)
            return $0 + n / (n + Learner.halfEvidence)
        }
        return known / Double(reading.bins)
    }

    func prequentialReports() -> [PrequentialReport] {
        zip(metrics, windows).map { metric, window in
            window.report(target: settings.targetTable.targets[metric.target], horizon: metric.horizon)
        }
    }
}

// MARK: - Snapshot

extension Learner {
    struct Image: Codable, Equatable {
        var random: RandomNumbers
        var report: LearningReport
        var credit: Double
        var budget: Double
        var rateFactor: Float
        var strikes: Int
        var served: Int64
        var taughtRows: [Double]
        var optimizerSteps: Int64
        var standardMean: [Double]
        var standardM2: [Double]
        var standardObservations: [Double]
        var rates: PopulationRates
        var process: PurchaseProcess
        var calibrations: [Calibration]
        var blends: [Blend]
        var windows: [Window]
        var levels: IntervalLevels
        var drift: DriftDetector
        var adapting: Bool

        struct Window: Codable, Equatable {
            var samples: Int
            var next: Int
            var seen: Int64
            var covered: Double
        }
    }

    func image(
        copied: (UnsafeRawBufferPointer) -> UnsafeRawBufferPointer
    ) -> (image: Image, sections: [EngineImage.Section]) {
        let image = Image(
            random: random, report: report, credit: credit, budget: budget, rateFactor: rateFactor, strikes: strikes,
            served: served, taughtRows: taughtRows, optimizerSteps: weights.steps, standardMean: standardizer.mean,
            standardM2: standardizer.m2, standardObservations: standardizer.observations, rates: rates,
            process: process, calibrations: calibrations, blends: blends,
            windows: windows.map {
                .init(samples: $0.samples.count, next: $0.next, seen: $0.seen, covered: $0.covered)
            }, levels: levels,
            drift: drift, adapting: adapting)
        let samples = windows.map { window in window.samples.withUnsafeBytes { copied($0) } }
        return (
            image,
            [
                .init(name: "weights", regions: [weights.memory]),
                .init(name: "prequential", regions: samples),
            ]
        )
    }

    func restore(_ image: Image, section: (String) throws -> UnsafeRawBufferPointer) throws {
        let saved = try section("weights")
        guard saved.count == weights.memory.count else {
            throw SnapshotMismatch("the weights have \(saved.count) bytes, this model \(weights.memory.count)")
        }
        weights.restore(saved, steps: image.optimizerSteps)
        let samples = try section("prequential")
        let size = MemoryLayout<PrequentialWindow.Sample>.stride
        let fit = samples.count / size
        let features = SnapshotFeatures.count + 1
        guard image.windows.count == windows.count,
            image.windows.allSatisfy({ (0...fit).contains($0.samples) && (0...$0.samples).contains($0.next) }),
            image.windows.reduce(0, { $0 + $1.samples * size }) == samples.count,
            image.standardMean.count == features, image.standardM2.count == features,
            image.standardObservations.count == features,
            image.taughtRows.count == taughtRows.count,
            image.calibrations.map(\.cells.count) == calibrations.map(\.cells.count),
            image.blends.map(\.cells.count) == blends.map(\.cells.count), image.blends.allSatisfy(\.isWhole),
            image.blends.map(\.group) == blends.map(\.group),
            image.levels.values.count == levels.values.count,
            image.drift.monitors.count == drift.monitors.count, image.drift.isWhole
        else { throw SnapshotMismatch("the prequential windows do not fit the targets") }
        var at = 0
        for (i, window) in image.windows.enumerated() {
            let bytes = UnsafeRawBufferPointer(rebasing: samples[at..<at + window.samples * size])
            windows[i] = PrequentialWindow(
                capacity: max(configuration.prequentialWindow, window.samples),
                samples: Array(bytes.bindMemory(to: PrequentialWindow.Sample.self)), next: window.next,
                seen: window.seen, covered: window.covered)
            at += window.samples * size
        }
        random = image.random
        report = image.report
        credit = image.credit
        budget = image.budget
        rateFactor = image.rateFactor
        strikes = image.strikes
        served = image.served
        taughtRows = image.taughtRows
        standardizer = Standardizer(
            features: SnapshotFeatures.count, mean: image.standardMean, m2: image.standardM2,
            observations: image.standardObservations)
        rates = image.rates
        calibrations = image.calibrations
        blends = image.blends
        process = image.process
        purchases.set(process)
        levels = image.levels
        drift = image.drift
        adapting = image.adapting
    }
}
