import Testing

@testable import Engine

/// Engines that serve a model whose churn probability depends on nothing but the time since the last event:
/// logit of an event in a bin = 2 - 3·log(1 + days), so the probability of silence passes 0.5 within two days.
enum KnownModel {
    private static func configuration(_ change: (inout EngineConfiguration) -> Void = { _ in }) -> EngineConfiguration {
        var c = EngineConfiguration.small
        c.learning.enabled = false
        c.alerts.rescoreHours = 6
        c.alerts.coolDownDays = 20
        change(&c)
        return c
    }

    static func engine(partitions: Int = 1, _ change: (inout EngineConfiguration) -> Void = { _ in }) throws -> Engine {
        let engine = Engine.make(configuration(change), partitions: partitions)
        try install(engine)
        return engine
    }

    /// One that predicts by population rates until `install`.
    static func untaughtEngine(_ change: (inout EngineConfiguration) -> Void) -> Engine {
        Engine.make(configuration(change))
    }

    static func restored(_ written: Written) throws -> Engine {
        let engine = try written.restored(configuration())
        try install(engine)
        return engine
    }

    static func install(_ engine: Engine) throws {
        let layout = engine.settings.model
        let parameters = UnsafeMutablePointer<Float>.allocate(capacity: layout.count)
        defer { parameters.deallocate() }
        parameters.initialize(repeating: 0, count: layout.count)
        let recency = try #require(SnapshotFeatures.definitions.firstIndex { $0.name == "recency" })
        for bin in 0..<layout.bins {
            let column = layout.output(head: 2, bin: bin)
            parameters[layout.headBias + column] = 2
            parameters[layout.headWeight + (layout.hidden + recency) * layout.outputs + column] = -3
        }
        engine.serving.parameters.copy(weights: parameters)
        let n = SnapshotFeatures.count + 1
        engine.serving.parameters.standardizer = Standardizer(
            features: SnapshotFeatures.count, mean: [Double](repeating: 0, count: n),
            m2: [Double](repeating: 100, count: n), observations: [Double](repeating: 100, count: n))
        engine.serving.parameters.version = 7
        // The network alone answers.
        let learner = engine.learner
        learner.correction.shares = .all(groups: CorrectionCoefficients.groups, cells: layout.cells)
        learner.correction.write(rates: learner.rates, into: engine.serving.parameters.coefficients)
    }
}
