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
        /// nil in format 7 and before, which kept only the purchases of it.
        var population: BaseForecast.Population?
        var process: PurchaseProcess?
        var shares: ForecastShares?
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
            population: population, shares: correction.shares, calibrations: correction.logits,
            blends: correction.blends,
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
        try checkFit(image)
        try checkFit(image.windows, samples: samples.count / size, rest: samples.count % size)
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
        population = image.population ?? BaseForecast.Population(formerly: image.process)
        base.set(population)
        // Before format 8 the network had no other beside it once it served.
        let (groups, cells) = (CorrectionCoefficients.groups, settings.targetTable.cells)
        correction.shares =
            image.shares ?? (served > 0 ? .all(groups: groups, cells: cells) : .init(groups: groups, cells: cells))
        scorer.levels = image.levels
        drift.detector = image.drift
        adapting = image.adapting
    }

    /// - Throws: `SnapshotMismatch` that names the first part of the image which does not fit this learner.
    private func checkFit(_ image: Image) throws {
        func count(_ name: String, _ saved: Int, _ now: Int) throws {
            guard saved == now else {
                throw SnapshotMismatch("\(name) of the learner has \(saved) entries, this configuration \(now)")
            }
        }
        func whole(_ name: String, _ isWhole: Bool) throws {
            guard isWhole else { throw SnapshotMismatch("\(name) of the learner is incomplete") }
        }
        let (features, cells) = (SnapshotFeatures.count + 1, settings.targetTable.cells)
        try count("standardMean", image.standardMean.count, features)
        try count("standardM2", image.standardM2.count, features)
        try count("standardObservations", image.standardObservations.count, features)
        try count("taughtRows", image.taughtRows.count, taughtRows.count)
        try count("rates", image.rates.cells.count, cells)
        try whole("population", image.population?.isWhole ?? image.process?.isWhole ?? true)
        try whole(
            "shares", image.shares?.isWhole(groups: CorrectionCoefficients.groups, cells: cells) ?? true)
        try count("calibrations", image.calibrations.count, correction.logits.count)
        for (g, saved) in image.calibrations.enumerated() {
            try count("calibrations[\(g)]", saved.cells.count, cells)
            try whole("calibrations[\(g)]", saved.isWhole)
        }
        try count("blends", image.blends.count, correction.blends.count)
        for (g, saved) in image.blends.enumerated() {
            try count("blends[\(g)]", saved.cells.count, cells)
            try whole("blends[\(g)]", saved.isWhole)
            guard saved.group == g else {
                throw SnapshotMismatch("blends[\(g)] of the learner is of group \(saved.group)")
            }
        }
        try count("levels", image.levels.values.count, scorer.levels.values.count)
        try count("drift", image.drift.monitors.count, drift.detector.monitors.count)
        try whole("drift", image.drift.isWhole)
    }

    /// - Parameters:
    ///   - samples: whole samples in the section.
    ///   - rest: bytes of the section beyond them.
    private func checkFit(_ saved: [Image.Window], samples: Int, rest: Int) throws {
        guard saved.count == scorer.windows.count else {
            throw SnapshotMismatch(
                "windows of the learner has \(saved.count) entries, this configuration \(scorer.windows.count)")
        }
        var left = samples
        for (i, window) in saved.enumerated() {
            guard (0...left).contains(window.samples), (0..<max(1, window.samples)).contains(window.next) else {
                throw SnapshotMismatch(
                    "windows[\(i)] of the learner has \(window.samples) samples, the oldest at \(window.next); "
                        + "the section \"prequential\" has \(left) left")
            }
            left -= window.samples
        }
        guard left == 0, rest == 0 else {
            throw SnapshotMismatch(
                "the section \"prequential\" has \(left) samples and \(rest) bytes that belong to no window")
        }
    }
}
