import CKernels
import Glibc

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
        var calibrations: [LogitCorrection]
        var blends: [ProcessBlend]
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
            random: sampler.random, report: report, credit: credit, budget: budget, rateFactor: stopping.rateFactor,
            strikes: stopping.strikes,
            served: served, taughtRows: taughtRows, optimizerSteps: weights.steps, standardMean: standardizer.mean,
            standardM2: standardizer.m2, standardObservations: standardizer.observations, rates: rates,
            process: process, calibrations: correction.logits, blends: correction.blends,
            windows: scorer.windows.map {
                .init(samples: $0.samples.count, next: $0.next, seen: $0.seen, covered: $0.covered)
            }, levels: scorer.levels, drift: drift.detector, adapting: adapting)
        let samples = scorer.windows.map { window in window.samples.withUnsafeBytes { copied($0) } }
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
        guard image.windows.count == scorer.windows.count,
            image.windows.allSatisfy({ (0...fit).contains($0.samples) && (0...$0.samples).contains($0.next) }),
            image.windows.reduce(0, { $0 + $1.samples * size }) == samples.count,
            image.standardMean.count == features, image.standardM2.count == features,
            image.standardObservations.count == features,
            image.taughtRows.count == taughtRows.count,
            image.calibrations.map(\.cells.count) == correction.logits.map(\.cells.count),
            image.blends.map(\.cells.count) == correction.blends.map(\.cells.count), image.blends.allSatisfy(\.isWhole),
            image.blends.map(\.group) == correction.blends.map(\.group),
            image.levels.values.count == scorer.levels.values.count,
            image.drift.monitors.count == drift.detector.monitors.count, image.drift.isWhole
        else { throw SnapshotMismatch("the prequential windows do not fit the targets") }
        var at = 0
        for (i, window) in image.windows.enumerated() {
            let bytes = UnsafeRawBufferPointer(rebasing: samples[at..<at + window.samples * size])
            scorer.windows[i] = PrequentialWindow(
                capacity: max(configuration.prequentialWindow, window.samples),
                samples: Array(bytes.bindMemory(to: PrequentialWindow.Sample.self)), next: window.next,
                seen: window.seen, covered: window.covered)
            at += window.samples * size
        }
        sampler.random = image.random
        report = image.report
        credit = image.credit
        budget = image.budget
        stopping.rateFactor = image.rateFactor
        stopping.strikes = image.strikes
        stopping.isHolding = image.report.holding
        served = image.served
        taughtRows = image.taughtRows
        standardizer = Standardizer(
            features: SnapshotFeatures.count, mean: image.standardMean, m2: image.standardM2,
            observations: image.standardObservations)
        rates = image.rates
        correction.logits = image.calibrations
        correction.blends = image.blends
        process = image.process
        purchases.set(process)
        scorer.levels = image.levels
        drift.detector = image.drift
        adapting = image.adapting
    }
}
