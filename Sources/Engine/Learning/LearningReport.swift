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
    /// Drifts of the stream that were noticed; whether learning still adapts to the last one; and the latest ones.
    public var drifts: Int64 = 0
    public var adapting: Bool = false
    public var driftAlarms: [DriftAlarm] = []
}
