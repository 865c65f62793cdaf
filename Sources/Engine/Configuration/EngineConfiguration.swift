/// Everything that shapes what the engine computes. Plain data: two engines with equal configurations and
/// equal input sequences produce equal bytes. Defaults are one set for all data.
public struct EngineConfiguration: Sendable, Equatable, Codable {
    /// What is predicted. The heads of the model are built from this list, in its order.
    public var targets: [Target] = Target.defaults
    /// Upper edges of the horizon bins in days, ascending. Every horizon of every target is one of them.
    public var binEdgesDays: [Double] = [7, 30, 90]
    public var time = EventTime()
    public var state = UserState()
    public var model = Model()
    public var learning = Learning()
    public var segments = Segments()
    public var alerts = Alerts()

    public init() {}

    /// One thing to predict about a user's future.
    public struct Target: Sendable, Equatable, Codable {
        public enum Kind: String, Sendable, Equatable, Codable, CaseIterable {
            /// Money in (t, t+h]: a zero-inflated log-normal per horizon bin.
            case value
            /// P(at least one such event in (t, t+h]): a discrete-time hazard per bin.
            case occurrence
            /// P(no such event in (t, t+h]): the survival function of the same hazard.
            case absence
        }
        /// Name in the outputs, metrics and logs.
        public var name: String
        public var kind: Kind
        /// Event types that count, by engine name (`purchase`, `refund`, …); empty means any event.
        public var events: [String]
        /// Days, ascending; each is one of `binEdgesDays`.
        public var horizonsDays: [Double]
        /// Weight of this target in the loss.
        public var weight: Float = 1
        /// When set, only events of this category count (value tables aside, a category's own demand).
        public var category: String?

        public init(
            name: String, kind: Kind, events: [String], horizonsDays: [Double], weight: Float = 1,
            category: String? = nil
        ) {
            self.name = name
            self.kind = kind
            self.events = events
            self.horizonsDays = horizonsDays
            self.weight = weight
            self.category = category
        }

        /// CLV, purchase and churn.
        public static let defaults = [
            Target(name: "clv", kind: .value, events: ["purchase"], horizonsDays: [7, 30, 90]),
            Target(name: "purchase", kind: .occurrence, events: ["purchase"], horizonsDays: [7, 30, 90]),
            Target(name: "churn", kind: .absence, events: [], horizonsDays: [30]),
        ]
    }

    public struct EventTime: Sendable, Equatable, Codable {
        /// How far behind the time of its partition (`StreamTime`) an event may be.
        public var allowedLatenessSeconds: Int = 3600
        /// By how much a device's clock may be ahead. What the settings allow for the future, at most `mostSkewSeconds`.
        public var clockSkewSeconds: Int = 3600
        /// A single event moves time to a day before it, whatever clocks are allowed.
        public static let mostSkewSeconds = 86_400
        public enum LateEvents: String, Sendable, Equatable, Codable, CaseIterable { case reject, accept }
        /// What becomes of an event that is older than the watermark.
        public var lateEvents = LateEvents.reject
        /// With `accept`: how much older than the watermark an event may be. The longest window is 90 days.
        public var lateEventDays: Int = 90
        public init() {}
    }

    public struct UserState: Sendable, Equatable, Codable {
        /// Users idle longer than this (event time) give up their slots; 0: nobody for that reason. What is left of them is a
        /// record of totals (`FormerCustomers`).
        public var retentionDays: Int = 0
        /// Most users held; above it the users idle longest give up theirs first. As many records are kept.
        public var maxUsers: Int = 20_000_000
        /// Seed of the user hash; kept in the snapshot.
        public var hashSeed: UInt64 = 0x5DEE_CE66_D1CE_4E5B
        /// A pause longer than this starts a new session when the events carry no session id.
        public var sessionGapMinutes: Int = 30
        /// A line whose order has had none for more days than this opens a new order: a subscription that charges under
        /// one id. Less than a week, for weekly ones; lines of one checkout come within days.
        public var orderGapDays: Int = 6
        /// Refunds reduce the value of a user (their amount is subtracted).
        public var subtractRefunds: Bool = true
        /// Most events of a customer on a day (UTC); 0: any number. No person comes near the default, which is a click
        /// every three seconds for more than four hours.
        public var maxEventsPerDay: Int = 5000
        public enum ExcessEvents: String, Sendable, Equatable, Codable, CaseIterable { case reject, ignore }
        /// What becomes of those above.
        public var excessEvents = ExcessEvents.reject
        public init() {}
    }

    public struct Model: Sendable, Equatable, Codable {
        public enum Recurrent: String, Sendable, Equatable, Codable, CaseIterable { case lstm, gru, rnn }
        public var recurrent: Recurrent = .lstm
        /// Width of the recurrent state. A multiple of 16.
        public var units: Int = 64
        /// Width of the hidden layer. A multiple of 16.
        public var hidden: Int = 64
        public var typeEmbedding: Int = 8
        public var categoryEmbedding: Int = 8
        /// Rows of the hashed category embedding. A power of two, at most 2,048.
        public var categoryBuckets: Int = 1024
        public var crossEmbedding: Int = 4
        /// Rows of the hashed embedding of category × hour of day. A power of two, at most 2,048.
        public var crossBuckets: Int = 1024
        /// Whether a process of purchases ("buy till you die") has a say beside the heads for who has bought.
        public var purchaseProcess: Bool = true
        /// Seed of the initial weights.
        public var seed: UInt64 = 1
        public init() {}
    }

    public struct Learning: Sendable, Equatable, Codable {
        public enum Optimizer: String, Sendable, Equatable, Codable, CaseIterable { case adam, adamw, adagrad, sgd }
        public enum Schedule: String, Sendable, Equatable, Codable, CaseIterable { case constant, inverseSqrt, cosine }
        /// Off: the weights and the standardisation stay as they are.
        public var enabled: Bool = true
        public var optimizer: Optimizer = .adamw
        public var learningRate: Float = 3e-3
        public var schedule: Schedule = .inverseSqrt
        /// Steps over which the learning rate rises from zero.
        public var warmupSteps: Int = 100
        /// Steps of one cosine period, or the knee of the inverse square root.
        public var scheduleSteps: Int = 1000
        /// The schedule never falls below this share of `learningRate`.
        public var minimumRateFactor: Float = 0.1
        public var beta1: Float = 0.9
        public var beta2: Float = 0.999
        public var epsilon: Float = 1e-8
        /// SGD only.
        public var momentum: Float = 0.9
        public var weightDecay: Float = 0.1
        /// Largest global L2 norm of a gradient.
        public var clipNorm: Float = 1.0
        public var dropoutState: Float = 0.3
        public var dropoutHidden: Float = 0.3
        /// Decay per step of the exponential moving average that serves.
        public var emaDecay: Float = 0.99
        /// Landmarks in a minibatch.
        public var batchSize: Int = 256
        /// Learning happens after every so many consumed records, a fixed position in the sequence.
        public var intervalRecords: Int = 512
        /// Learning happens earlier where so many hours of event time pass in fewer records, at the pace of the records
        /// before; 0: not.
        public var intervalHours: Int = 24
        /// Days of event time after which what matured counts a third in the correction of the heads; 0: no correction.
        public var calibrationDays: Double = 60
        /// Compute budget: minibatch steps per day of event time, beside those per thousand records.
        public var stepsPerDay: Double = 16
        /// Compute budget: minibatch steps per thousand consumed records.
        public var stepsPerThousandEvents: Double = 64
        /// How often, on average, a matured landmark bin is drawn.
        public var drawsPerLandmark: Double = 2
        /// Landmarks held in memory, open and matured together, over all partitions.
        public var maxLandmarks: Int = 200_000
        /// Days between the grid landmarks of a user.
        public var landmarkIntervalDays: Int = 7
        /// Share of events that become landmarks as well.
        public var eventLandmarkShare: Double = 0.25
        /// Share of a minibatch drawn from near each bin's frontier; the rest is uniform.
        public var frontierShare: Double = 0.5
        /// Landmarks behind a bin's frontier that count as near.
        public var frontierLandmarks: Int = 20_000
        /// Share of users never trained on.
        public var holdOutShare: Double = 0.05
        /// Hold-out evaluations are made every so many steps.
        public var earlyStoppingInterval: Int = 200
        /// So many evaluations in a row without improvement hold the serving weights and lower the rate.
        public var earlyStoppingPatience: Int = 8
        /// Factor on the learning rate at each early stop.
        public var earlyStoppingRateFactor: Float = 0.5
        /// Steps before the network may have a say in forecasts; from then on it has the share that it earns.
        public var minimumSteps: Int = 20
        /// Sum of excess losses, in standard deviations of a day, that is a drift of the stream; 0: no detection.
        public var driftThreshold: Double = 20
        /// Excess of a day's loss that is no sign of drift, in standard deviations.
        public var driftTolerance: Double = 0.5
        /// Factor on the learning rate after a drift.
        public var driftRateFactor: Float = 2
        /// Days of event time for which learning adapts faster after a drift.
        public var driftDays: Double = 30
        /// Seed of sampling and dropout.
        public var seed: UInt64 = 1
        /// Matured landmarks in the sliding prequential metrics, per horizon.
        public var prequentialWindow: Int = 20_000
        public init() {}
    }

    public struct Segments: Sendable, Equatable, Codable {
        /// Name of the value target whose longest horizon ranks users.
        public var target: String = "clv"
        /// Quantile above which a user is `high`.
        public var high: Double = 0.9
        /// Quantile above which a user is `mid`.
        public var mid: Double = 0.5
        public init() {}
    }

    public struct Alerts: Sendable, Equatable, Codable {
        public var enabled: Bool = true
        /// Name of the absence target that is watched, at its longest horizon.
        public var target: String = "churn"
        /// An alert rises when the probability crosses this from below.
        public var raiseThreshold: Double = 0.8
        /// It clears when the probability falls to this.
        public var clearThreshold: Double = 0.6
        /// After a raise no second one for this long.
        public var coolDownDays: Double = 30
        /// Only users with at least so many purchases.
        public var minimumPurchases: Int = 1
        /// Only users whose expected value over the longest horizon is at least this.
        public var minimumValueAtRisk: Double = 0
        /// Silent users are scored again every so many hours of event time.
        public var rescoreHours: Int = 24
        /// Factors named in an alert.
        public var factors: Int = 3
        /// What becomes of alerts for silence that began before a model served.
        public var backlog: Backlog = .mark
        /// With `mark`, most of them that are published, over all partitions; the rest is dropped.
        public var backlogLimit: Int = 1000

        public enum Backlog: String, Sendable, Equatable, Codable, CaseIterable { case mark, drop }
        public init() {}
    }
}
