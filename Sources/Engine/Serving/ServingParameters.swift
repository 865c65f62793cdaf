import Glibc

/// All that the serving model takes from the learner at a position of learning. `ServingModel` swaps it in whole.
struct ServingParameters: ~Copyable {
    /// As `ModelLayout` places them.
    let weights: UnsafeMutablePointer<Float>
    private let weightCount: Int
    var standardizer = Standardizer(features: SnapshotFeatures.count)
    var amountMean: Float = 0
    var amountInverse: Float = 0
    /// Training steps behind the weights; 0 while the network has no say.
    var version: Int64 = 0
    /// In what the network has most shares (`LandmarkHeader.ledChances`). It was taught on outcomes, so that excess losses
    /// are a change of the stream.
    var led: UInt8 = 0
    /// [cells] of a prediction for a user of whom nothing is known.
    let prior: UnsafeMutablePointer<Float>
    /// [cells] of the centres of log spend.
    let meanLogSpend: UnsafeMutablePointer<Float>
    /// [cells] of the population's distribution of money, for value targets: P(any spend) and σ of log spend.
    let priorChance: UnsafeMutablePointer<Float>
    let priorSigma: UnsafeMutablePointer<Float>
    let coefficients: CorrectionCoefficients
    let base: BaseForecast
    private(set) var population = BaseForecast.Population()
    /// [value readings] of the levels of the intervals.
    let levels: UnsafeMutablePointer<Float>
    /// How far predictions rest on outcomes that were learned from, 0 to 1 (`Learner.evidence`).
    var evidence: Float = 0

    init(_ settings: EngineSettings) {
        func floats(_ count: Int, _ value: Float) -> UnsafeMutablePointer<Float> {
            let p = UnsafeMutablePointer<Float>.allocate(capacity: count)
            p.initialize(repeating: value, count: count)
            return p
        }
        let cells = settings.targetTable.cells
        weightCount = settings.model.count
        weights = floats(weightCount, 0)
        prior = floats(cells, 0)
        meanLogSpend = floats(cells, 0)
        priorChance = floats(cells, 0)
        priorSigma = floats(cells, 1)
        coefficients = CorrectionCoefficients(outputs: settings.model.outputs)
        base = BaseForecast(settings)
        levels = floats(max(1, settings.valueReadings.count), Float(SpendInterval.coverage))
    }

    deinit { for p in [weights, prior, meanLogSpend, priorChance, priorSigma, levels] { p.deallocate() } }

    mutating func set(_ population: BaseForecast.Population) {
        self.population = population
        base.set(population)
    }

    /// - Parameter source: weights as `ModelLayout` places them.
    func copy(weights source: UnsafePointer<Float>) {
        memcpy(weights, source, weightCount * MemoryLayout<Float>.stride)
    }
}

// MARK: - Snapshot

extension ServingParameters {
    /// What, beside the flat memory, makes them again.
    struct Image: Codable, Equatable {
        var mean: [Double]
        var m2: [Double]
        var observations: [Double]
        /// nil in format 7 and before, which kept only the purchases of it.
        var population: BaseForecast.Population?
        var process: PurchaseProcess?
        var version: Int64
        var led: UInt8?
        var evidence: Float

        var isWhole: Bool {
            let features = SnapshotFeatures.count + 1
            return [mean, m2, observations].allSatisfy { $0.count == features && $0.allSatisfy(\.isFinite) }
                && (population?.isWhole ?? true) && (process?.isWhole ?? true) && StateCheck.counts.contains(version)
                && evidence.isFinite
        }
    }

    var image: Image {
        Image(
            mean: standardizer.mean, m2: standardizer.m2, observations: standardizer.observations,
            population: population, version: version, led: led, evidence: evidence)
    }

    /// Flat memory of numbers, in a fixed order.
    func regions(_ settings: EngineSettings) -> [UnsafeMutableBufferPointer<Float>] {
        let cells = settings.targetTable.cells
        return [
            .init(start: weights, count: settings.model.count), .init(start: prior, count: cells),
            .init(start: meanLogSpend, count: cells), .init(start: priorChance, count: cells),
            .init(start: priorSigma, count: cells), .init(start: levels, count: settings.valueReadings.count),
            coefficients.values,
        ]
    }

    /// - Throws: `SnapshotMismatch` when the image is of another configuration.
    mutating func restore(_ image: Image, _ settings: EngineSettings, _ bytes: UnsafeRawBufferPointer) throws {
        let regions = regions(settings)
        let size = regions.reduce(0) { $0 + $1.count } * MemoryLayout<Float>.stride
        guard image.isWhole, bytes.count == size, StateCheck.areFinite(bytes) else {
            throw SnapshotMismatch("the model that served before the last learning does not fit this configuration")
        }
        var at = 0
        for region in regions {
            let count = region.count * MemoryLayout<Float>.stride
            UnsafeMutableRawBufferPointer(region).copyMemory(from: .init(rebasing: bytes[at..<at + count]))
            at += count
        }
        standardizer = Standardizer(
            features: SnapshotFeatures.count, mean: image.mean, m2: image.m2, observations: image.observations)
        (amountMean, amountInverse) = (standardizer.amountMean, standardizer.amountInverse)
        (version, led, evidence) = (image.version, image.led ?? 0, image.evidence)
        set(image.population ?? BaseForecast.Population(formerly: image.process))
        base.set(sigmas: priorSigma)
    }
}
