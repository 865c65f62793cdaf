/// Decides, from losses on held-out users, which weights serve: while the averaged ones are worse than the best so far
/// for long, the best serve and the learning rate falls.
struct EarlyStopping {
    enum Decision {
        /// The averaged weights are the best so far, and serve.
        case improved
        /// No change.
        case wait
        /// From now on the best weights serve, at a lower learning rate.
        case stopped
    }

    private let configuration: EngineConfiguration.Learning
    /// Factor on the learning rate.
    var rateFactor: Float = 1
    /// Evaluations in a row in which the averaged weights were worse.
    var strikes = 0
    /// Whether the best weights serve instead of the averaged ones.
    var isHolding = false

    init(_ configuration: EngineConfiguration.Learning) { self.configuration = configuration }

    /// Whether it is time for an evaluation.
    func isDue(step: Int64) -> Bool { step % Int64(configuration.earlyStoppingInterval) == 0 }

    /// - Parameters:
    ///   - averaged: loss of the averaged weights.
    ///   - best: loss of the best weights on the same landmarks.
    ///   - step: training steps so far.
    ///   - adapting: learning adapts to a drift. The users held out are then of before and after it: the best on them
    ///     is not what is needed now, so nothing is stopped.
    mutating func decide(averaged: Float, best: Float, step: Int64, adapting: Bool) -> Decision {
        if averaged <= best || step == Int64(configuration.earlyStoppingInterval) {
            strikes = 0
            isHolding = false
            return .improved
        }
        if adapting { return .wait }
        strikes += 1
        guard strikes >= configuration.earlyStoppingPatience else { return .wait }
        strikes = 0
        isHolding = true
        rateFactor = max(configuration.minimumRateFactor, rateFactor * configuration.earlyStoppingRateFactor)
        return .stopped
    }
}
