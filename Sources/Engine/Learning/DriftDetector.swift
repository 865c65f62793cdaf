import Glibc

/// A change of the stream that the predictions did not follow.
public struct DriftAlarm: Sendable, Codable, Equatable {
    /// Event time of the alarm, ms since 1970.
    public var timeMs: Int64
    /// What was predicted: a target, and of money whether any was spent (`chance`) or how much (`amount`).
    public var target: String
    public var part: String?
    /// Mean excess loss of the last batch, and of the time before; nats.
    public var excess: Double
    public var usual: Double
}

/// Page–Hinkley test (Page 1954) on one prequential loss, in excess of what the predictor itself expected to lose: a
/// population that changes while predictions stay right shows nothing. Losses are averaged over batches of at least a
/// day of event time and `leastCount` outcomes; a batch counts by its distance from the mean of the past in standard
/// deviations, at most `bound`, less the tolerated one. Their sum, never below 0, raises the alarm at a threshold,
/// upwards and downwards apart: too few purchases cost less than was expected.
struct PageHinkley: Codable, Equatable {
    static let leastCount = 32.0
    /// Batches that say what is normal before any can be abnormal, and batches after which the past counts a third.
    static let warmUp = 20.0
    static let memory = 60.0
    /// One batch alone is no change.
    static let bound = 4.0

    private var sum = 0.0
    private var count = 0.0
    private var days = 0.0
    private var batches = 0.0
    private(set) var mean = 0.0
    private var variance = 0.0
    private(set) var rise = 0.0
    private(set) var fall = 0.0
    /// Mean of the last batch.
    private(set) var latest = 0.0

    mutating func add(_ loss: Double) {
        guard loss.isFinite else { return }
        sum += loss
        count += 1
    }

    /// Time passes. Closes a batch that is long and large enough.
    /// - Returns: whether the loss left its band.
    mutating func advance(days passed: Double, tolerance: Double, threshold: Double) -> Bool {
        days += passed
        guard days >= 1, count >= Self.leastCount else { return false }
        latest = sum / count
        (sum, count, days) = (0, 0, 0)
        batches += 1
        if batches == 1 {
            mean = latest
            return false
        }
        let deviation = max(variance.squareRoot(), 1e-3 * abs(mean), 1e-9)
        var distance = (latest - mean) / deviation
        if batches > Self.warmUp {
            distance = max(-Self.bound, min(Self.bound, distance))
            rise = max(0, rise + distance - tolerance)
            fall = max(0, fall - distance - tolerance)
        }
        let share = 1 / min(batches, Self.memory)
        let step = distance * deviation
        mean += share * step
        variance = (1 - share) * (variance + share * step * step)
        return max(rise, fall) >= threshold
    }
}

/// Watches the prequential losses of every target at its shortest horizon, where labels come first. After an alarm a
/// monitor begins anew, and what was predicted before it and while learning adapts is no news to it.
struct DriftDetector: Codable, Equatable {
    /// Most alarms that are remembered.
    static let history = 32

    private(set) var monitors: [PageHinkley]
    private(set) var alarms: [DriftAlarm] = []
    private(set) var count: Int64 = 0
    /// Event time at which adapting to the last alarm of each monitor ends, ms; nil before the first.
    private var adaptsUntil: [Int64?]

    init(monitors: Int) {
        self.monitors = Array(repeating: PageHinkley(), count: monitors)
        adaptsUntil = Array(repeating: nil, count: monitors)
    }

    /// - Parameter instant: of the prediction, ms.
    mutating func observe(_ i: Int, loss: Double, instant: Int64) {
        if let end = adaptsUntil[i], instant < end { return }
        monitors[i].add(loss)
    }

    /// Time has passed, in event time.
    /// - Parameter name: target and part of a monitor.
    /// - Returns: monitors that raise an alarm.
    mutating func advance(
        to now: Int64, days: Double, _ c: EngineConfiguration.Learning, name: (Int) -> (target: String, part: String?)
    ) -> [Int] {
        let threshold = c.driftThreshold > 0 ? c.driftThreshold : .infinity
        let raised = monitors.indices.filter {
            monitors[$0].advance(days: days, tolerance: c.driftTolerance, threshold: threshold)
        }
        for i in raised {
            let (target, part) = name(i)
            alarms.append(
                DriftAlarm(timeMs: now, target: target, part: part, excess: monitors[i].latest, usual: monitors[i].mean)
            )
            if alarms.count > Self.history { alarms.removeFirst() }
            count += 1
            adaptsUntil[i] = now + Int64(c.driftDays * Double(Clock.day))
            monitors[i] = PageHinkley()
        }
        return raised
    }

    /// Whether a snapshot brought all that belongs together.
    var isWhole: Bool { adaptsUntil.count == monitors.count }

    func isAdapting(at now: Int64) -> Bool { adaptsUntil.contains { $0.map { now < $0 } ?? false } }
}

/// Loss of one prediction less its expectation under the prediction, nats: 0 in the mean while predictions are right.
enum ExcessLoss {
    /// Of a probability p: the cross-entropy less the entropy, (p - y)·logit(p).
    static func probability(_ p: Double, _ hit: Bool) -> Double {
        let q = min(1 - 1e-4, max(1e-4, p))
        return (q - (hit ? 1 : 0)) * log(q / (1 - q))
    }

    /// Of the amount of somebody who spends: the negative log-likelihood of its logarithm less that expected. Nobody
    /// counts for more than four standard deviations.
    static func amount(_ d: SpendDistribution, _ money: Double) -> Double {
        let z = (log(money) - Double(d.location)) / Double(d.scale)
        return (min(16, z * z) - 1) / 2
    }
}
