import Glibc

/// What a user spends up to a horizon, as the model expects it: nothing with some probability, else a log-normal amount.
///
/// The heads give one such distribution a horizon bin. Their sum over independent bins keeps its exact probability of
/// nothing; its positive part is the log-normal of the same mean and variance (Fenton 1960), exact for a single bin.
struct SpendDistribution: Equatable {
    /// P(nothing is spent).
    var zero: Float
    /// Mean and standard deviation of the logarithm of the money of those who spend.
    var location: Float
    var scale: Float

    /// Adds up bins, the first first. Plain data.
    struct Sum {
        private var logZero = 0.0
        private var mean = 0.0
        private var variance = 0.0

        /// - Parameters:
        ///   - chance: P(anything is spent in the bin).
        ///   - expected: money expected in the bin, `chance` times that of a spender.
        ///   - sigma: of log spend of a spender.
        @inline(__always)
        mutating func add(chance: Float, expected: Float, sigma: Float) {
            let p = max(1e-9, min(1 - 1e-7, Double(chance)))
            let (e, s) = (Double(expected), Double(sigma))
            logZero += log1p(-p)
            mean += e
            variance += max(0, e * e * (exp(s * s) / p - 1))
        }

        var distribution: SpendDistribution {
            let some = -expm1(logZero)
            guard mean > 0, some > 0 else { return SpendDistribution(zero: 1, location: 0, scale: 1) }
            let m = mean / some
            // Never below the square of the mean, but for rounding.
            let ratio = max(1, (variance / (mean * mean) + 1) * some)
            let s = max(Double(Network.minimumSigma), log(ratio).squareRoot())
            return SpendDistribution(
                zero: Float(exp(logZero)), location: Float(log(m) - s * s / 2), scale: Float(s))
        }
    }

    /// P(spend ≤ y) for y > 0.
    func cumulative(_ y: Double) -> Double {
        let z = Double(zero)
        return z + (1 - z) * erfc(-(log(y) - Double(location)) / (Double(scale) * 2.0.squareRoot())) / 2
    }

    /// The least amount that is not exceeded with a probability of `u`.
    func quantile(_ u: Double) -> Double {
        let z = Double(zero)
        if u <= z { return 0 }
        let v = min(1 - 1e-12, max(1e-12, (u - z) / (1 - z)))
        return exp(Double(location) + Double(scale) * Normal.quantile(v))
    }

    /// The part (ℓ, ℓ + level] of the probability that an interval of this level holds: nothing is left out below zero,
    /// so what is left out lies above; only where nearly all users spend, part of it lies below.
    @inline(__always)
    private func lowerLevel(_ level: Double) -> Double { max(0, (1 - level) / 2 - Double(zero)) }

    func interval(level: Double) -> SpendInterval {
        let l = lowerLevel(level)
        return SpendInterval(
            lower: Float(quantile(l)), upper: Float(min(1e30, quantile(l + level))), zeroShare: Float(zeroShare(level)))
    }

    /// How much of the mass at zero the interval holds, as a share of it.
    private func zeroShare(_ level: Double) -> Double {
        let (l, z) = (lowerLevel(level), Double(zero))
        return z > 0 ? (min(z, l + level) - min(z, l)) / z : 0
    }

    /// Whether an amount lies in the interval of a level; for nothing, the share of it (see `SpendInterval.coverage`).
    func coverage(of y: Double, level: Double) -> Double {
        if y <= 0 { return zeroShare(level) }
        let (l, u) = (lowerLevel(level), cumulative(y))
        return u >= l && u <= l + level ? 1 : 0
    }
}

/// An interval for the money that a user spends up to a horizon.
public struct SpendInterval: Sendable, Equatable {
    /// The published coverage: of the probability, this share lies inside.
    public static let coverage = 0.8

    /// Of one who surely spends nothing.
    public static let nothing = SpendInterval(lower: 0, upper: 0, zeroShare: 0.8)

    /// Base currency, 0 ≤ lower ≤ upper.
    public var lower: Float
    public var upper: Float
    /// The share of the probability of spending nothing that belongs to the 80 %: less than 1 where nothing alone is
    /// likelier than that (the interval is then [0, 0]), and where nearly everybody spends.
    public var zeroShare: Float

    /// How an outcome counts for the coverage. Where nothing is spent with 95 %, every interval that holds 0 holds
    /// more than 80 %, and none without 0 holds them. Such an outcome counts by the share of its probability that
    /// belongs to the 80 % (the non-randomised probability integral transform of Czado, Gneiting & Held 2009), so that
    /// a right model has 0.8, a wrong one more or less, whatever the share of zeros.
    public func coverage(of money: Double) -> Double {
        if money <= 0 { return Double(zeroShare) }
        return isInside(money) ? 1 : 0
    }

    /// Whether the outcome lies between the bounds, which are part of it.
    public func isInside(_ money: Double) -> Bool { Double(lower) <= money && money <= Double(upper) }
}

enum Normal {
    /// Quantile of the standard normal distribution, 0 < p < 1, to about seven digits: algorithm AS 241, PPND7
    /// (Wichura 1988).
    static func quantile(_ p: Double) -> Double {
        let q = p - 0.5
        if abs(q) <= 0.425 {
            let r = 0.180625 - q * q
            return q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)
                / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1)
        }
        var r = (-log(q < 0 ? p : 1 - p)).squareRoot()
        var x: Double
        if r <= 5 {
            r -= 1.6
            x =
                (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777)
                / ((0.12021132975 * r + 0.73700164250) * r + 1)
        } else {
            r -= 5
            x =
                (((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150)
                / ((0.012258202635 * r + 0.24197894225) * r + 1)
        }
        if q < 0 { x = -x }
        return x
    }
}
