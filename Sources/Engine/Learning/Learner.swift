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
    /// Of each `Calibration.group`.
    private var calibrations: [Calibration]
    private var windows: [PrequentialWindow]
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

    private struct Metric {
        var target: Int
        var horizon: Double
        var reading: Reading
        /// Bin whose maturity completes the horizon.
        var bin: Int
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
        rates = PopulationRates(cells: settings.horizons.cells)
        calibrations = Array(repeating: Calibration(cells: settings.horizons.cells), count: Calibration.groups)
        metrics = settings.horizons.targets.enumerated().flatMap { i, target in
            target.horizonsDays.map { days in
                let reading = settings.horizons.reading(target: i, horizon: days)
                return Metric(target: i, horizon: days, reading: reading, bin: Int(reading.bins) - 1)
            }
        }
        windows = metrics.map { _ in PrequentialWindow(capacity: settings.configuration.learning.prequentialWindow) }
        taughtRows = Array(repeating: 0, count: settings.horizons.bins)
        picks = []
        picks.reserveCapacity(configuration.batchSize)
    }

    /// One learning interval: labels that matured since the last, then as many steps as they and the budget allow.
    /// - Parameters:
    ///   - records: records since the last.
    ///   - days: event time since the last.
    func learn(_ tasks: [PartitionTask], records: Int64, days: Double) {
        let before = tasks.map { $0.pool.frontier }
        for task in tasks { mature(task) }
        for task in tasks { standardise(task) }
        standardizer.refresh()
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
        let bins = settings.horizons.bins
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
        let target = settings.horizons.targets[metric.target]
        let sample: PrequentialWindow.Sample =
            switch target.kind {
            case .value: .init(prediction: prediction, naive: h.pointee.naiveValuePerDay * days, label: max(0, total))
            case .occurrence:
                .init(prediction: prediction, naive: 1 - expf(-naiveRate(target, h) * days), label: total > 0 ? 1 : 0)
            case .absence:
                .init(prediction: prediction, naive: expf(-naiveRate(target, h) * days), label: total > 0 ? 0 : 1)
            }
        windows[i].add(sample)
    }

    private func naiveRate(
        _ target: EngineConfiguration.Target, _ h: UnsafeMutablePointer<LandmarkHeader>
    ) -> Float {
        target.events.isEmpty ? h.pointee.naiveEventsPerDay : h.pointee.naiveOrdersPerDay
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
                guard h.pointee.steps > 0 else { continue }
                let last = landmark.at(layout.events, as: StoredEvent.self)[Int(h.pointee.steps) - 1]
                let amount = clvd_float_of_half(last.amount)
                if amount > 0 { standardizer.observe(logAmount: amount) }
            }
        }
        task.pool.standardised = task.pool.tail
    }

    // MARK: Calibration

    /// What matured since `frontiers` shows, bin by bin, how the serving weights fare.
    private func calibrate(_ tasks: [PartitionTask], since frontiers: [[Int64]], days: Double) {
        guard configuration.calibrationDays > 0, served >= Int64(configuration.minimumSteps) else { return }
        for g in calibrations.indices { calibrations[g].fade(exp(-max(0, days) / configuration.calibrationDays)) }
        let most = Int64(configuration.batchSize)
        for bin in 0..<settings.horizons.bins where taughtRows[bin] > 0 {
            picks.removeAll(keepingCapacity: true)
            var fresh: Int64 = 0
            for (t, task) in tasks.enumerated() {
                fresh += task.pool.frontier[bin] - max(task.pool.head, frontiers[t][bin])
            }
            let stride = max(1, (fresh + most - 1) / most)
            for (t, task) in tasks.enumerated() {
                var sequence = max(task.pool.head, frontiers[t][bin])
                while sequence < task.pool.frontier[bin], picks.count < configuration.batchSize {
                    if LandmarkPool.header(task.pool.at(sequence)).pointee.user != UserTable.none {
                        picks.append(Pick(task: t, sequence: sequence))
                    }
                    sequence += stride
                }
            }
            if picks.isEmpty { continue }
            fill(tasks)
            let place = settings.landmarkLayout.featureRow + 2 * SnapshotFeatures.recency
            let groups = picks.map {
                tasks[$0.task].pool.at($0.sequence).loadUnaligned(fromByteOffset: place, as: UInt16.self) == 0 ? 0 : 1
            }
            for g in calibrations.indices { calibrate(&calibrations[g], bin) { groups[$0] == g } }
        }
    }

    private func calibrate(_ calibration: inout Calibration, _ bin: Int, _ isMember: (Int) -> Bool) {
        let layout = settings.model
        var logits: [[(x: Double, hit: Bool)]] = Array(repeating: [], count: layout.heads.count)
        var amounts = logits.map { _ in [(p: Double, mu: Double, sigma: Double, label: Double)]() }
        trainer.outputs(report.holding ? weights.best : weights.average, batch, executor: executor) { row, outputs in
            guard isMember(row) else { return }
            let labels = batch.labels + row * layout.cells
            for (h, head) in layout.heads.enumerated() {
                let label = labels[h * layout.bins + bin]
                let o = outputs + layout.output(head: h, bin: bin)
                if head.kind == .hazard && (0..<bin).contains(where: { labels[h * layout.bins + $0] > 0 }) { continue }
                guard o[0].isFinite, head.kind == .hazard || o[1].isFinite && o[2].isFinite else { continue }
                logits[h].append((Double(o[0]), label > 0))
                if head.kind == .value {
                    amounts[h].append((Double(o[0]), Double(o[1]), Double(Network.sigma(o[2])), Double(label)))
                }
            }
        }
        for (h, head) in layout.heads.enumerated() {
            let cell = h * layout.bins + bin
            calibration.observe(cell: cell, logits: logits[h])
            guard head.kind == .value else { continue }
            let mean = Double(rates.meanLogSpend(cell))
            for a in amounts[h] where a.label > 0 {
                let spend = log(min(Double(Losses.maximumSpend), a.label))
                calibration.observe(cell: cell, mu: a.mu, logSpend: spend - mean)
            }
            let now = calibration.cells[cell]
            let amount = now.amount
            for a in amounts[h] {
                let p = 1 / (1 + exp(-(now.intercept + now.slope * a.p)))
                let logMean = min(
                    Double(Network.maximumLogMean),
                    mean + amount.offset + amount.factor * a.mu + a.sigma * a.sigma / 2)
                calibration.observe(cell: cell, predicted: p * exp(logMean), actual: max(0, a.label))
            }
        }
    }

    // MARK: Steps

    /// One minibatch. False when there is nothing to learn from yet.
    private func step(_ tasks: [PartitionTask]) -> Bool {
        guard sample(tasks, heldOut: false) else { return false }
        fill(tasks)
        let result = trainer.step(weights, batch, rateFactor: rateFactor, executor: executor)
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
            let frontier = !heldOut && random.uniform() < configuration.frontierShare
            let bin = frontier || heldOut ? random.below(settings.horizons.bins) : 0
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
        for cell in 0..<settings.horizons.cells { batch.meanLogSpend[cell] = rates.meanLogSpend(cell) }
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
        for (g, calibration) in calibrations.enumerated() {
            let at = g * settings.model.outputs
            calibration.write(settings.model, rates: rates, offset: serving.offset + at, factor: serving.factor + at)
        }
        serving.copy(report.holding ? weights.best : weights.average)
        for rule in settings.rules {
            for bin in 0..<settings.horizons.bins {
                let cell = Int(rule.cell) + bin
                serving.prior[cell] = rates.prior(rule, bin: bin, binEnds: settings.binEnds)
                serving.meanLogSpend[cell] = rule.isValue ? rates.meanLogSpend(cell) : 0
            }
        }
    }

    func prequentialReports() -> [PrequentialReport] {
        zip(metrics, windows).map { metric, window in
            window.report(target: settings.horizons.targets[metric.target], horizon: metric.horizon)
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
        var calibrations: [Calibration]
        var windows: [Window]

        struct Window: Codable, Equatable {
            var samples: Int
            var next: Int
            var seen: Int64
        }
    }

    func image(
        copied: (UnsafeRawBufferPointer) -> UnsafeRawBufferPointer
    ) -> (image: Image, sections: [EngineImage.Section]) {
        let image = Image(
            random: random, report: report, credit: credit, budget: budget, rateFactor: rateFactor, strikes: strikes,
            served: served, taughtRows: taughtRows, optimizerSteps: weights.steps, standardMean: standardizer.mean,
            standardM2: standardizer.m2, standardObservations: standardizer.observations, rates: rates,
            calibrations: calibrations,
            windows: windows.map { .init(samples: $0.samples.count, next: $0.next, seen: $0.seen) })
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
            image.calibrations.map(\.cells.count) == calibrations.map(\.cells.count)
        else { throw SnapshotMismatch("the prequential windows do not fit the targets") }
        var at = 0
        for (i, window) in image.windows.enumerated() {
            let bytes = UnsafeRawBufferPointer(rebasing: samples[at..<at + window.samples * size])
            windows[i] = PrequentialWindow(
                capacity: max(configuration.prequentialWindow, window.samples),
                samples: Array(bytes.bindMemory(to: PrequentialWindow.Sample.self)), next: window.next,
                seen: window.seen)
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
    }
}
