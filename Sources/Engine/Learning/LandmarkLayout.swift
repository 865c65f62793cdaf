/// The fixed head of a landmark: a user and an instant at which the model was asked and will be taught.
struct LandmarkHeader {
    /// Event time in ms; labels are of (instant, instant + horizon].
    var instant: Int64 = 0
    /// Position in the order of creation, unique in its pool.
    var sequence: Int64 = 0
    /// Slot of the user; for a former customer `FormerCustomers.bit` and its place, or `FormerCustomers.gone`.
    /// `UserTable.none` once the user was erased: such a landmark teaches nothing.
    var user: UInt32 = 0
    /// Place of the user's previous landmark + 1, 0 when none. Valid while its sequence is smaller.
    var previous: UInt32 = 0
    /// Uniform hash; landmarks below the pool's threshold are kept when the pool is thinned.
    var priority: UInt32 = 0
    /// What a straight line through the user's own past says, per day: money, orders and events.
    var naiveValuePerDay: Float = 0
    var naiveOrdersPerDay: Float = 0
    var naiveEventsPerDay: Float = 0
    /// Inputs of the first stored event depend on these (`StepInputs.Context`).
    var contextTime: UInt32 = 0
    var contextPurchase: UInt32 = 0
    var contextCode: UInt16 = 0
    /// Stored events, 0…16, those after the boundary state.
    var steps: UInt8 = 0
    var flags: UInt8 = 0

    static let holdOut: UInt8 = 1
    /// The network had a say in the prediction.
    static let fromModel: UInt8 = 2
    /// The network had most shares in its chances; a say in its amounts of money.
    static let ledChances: UInt8 = 4
    static let ledAmounts: UInt8 = 8
}

/// What a landmark's prediction of money said beside the mean, for one value reading.
struct LandmarkSpread {
    var distribution: SpendDistribution
    /// Level of the interval that was published with it.
    var level: Float
}

/// Where everything of one landmark lies:
///
///     header | boundary state | events (8 bytes each) | features f16 | labels f32 | predictions f32 | spreads f32
///
/// Labels and predictions are [cells], as `TargetTable` places them.
/// Spreads are [value readings × 4]: the distribution of spend and the level of its interval (`LandmarkSpread`).
struct LandmarkLayout: Equatable {
    let features: Int
    let cells: Int

    let state: Int
    let events: Int
    let featureRow: Int
    let labels: Int
    let predictions: Int
    let spreads: Int
    let size: Int

    init(user: UserLayout, features: Int, cells: Int, spreads readings: Int = 0) {
        self.features = features
        self.cells = cells
        state = MemoryLayout<LandmarkHeader>.stride
        events = (state + user.stateBytes + 7) / 8 * 8
        featureRow = events + UserLayout.ringCount * MemoryLayout<StoredEvent>.stride
        labels = (featureRow + 2 * features + 3) / 4 * 4
        predictions = labels + 4 * cells
        spreads = predictions + 4 * cells
        size = (spreads + MemoryLayout<LandmarkSpread>.stride * readings + 7) / 8 * 8
    }
}
