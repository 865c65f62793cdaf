import CHash
import Foundation

/// A small generator of random numbers (Steele, Lea and Flood, 2014): the same seed, the same numbers.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 { clvd_splitmix(&state) }

    /// In (0, 1).
    mutating func uniform() -> Double { (Double(next() >> 11) + 0.5) * 0x1p-53 }

    /// In 0..<bound.
    public mutating func below(_ bound: Int) -> Int { min(bound - 1, Int(uniform() * Double(bound))) }

    mutating func normal() -> Double { (-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform()) }

    /// With mean 1.
    mutating func exponential() -> Double { -log(uniform()) }

    /// With the given shape and scale 1 (Marsaglia and Tsang, 2000).
    mutating func gamma(_ shape: Double) -> Double {
        if shape < 1 { return gamma(shape + 1) * pow(uniform(), 1 / shape) }
        let d = shape - 1 / 3.0
        let c = 1 / (9 * d).squareRoot()
        while true {
            let x = normal()
            let v = 1 + c * x
            if v > 0 {
                let cube = v * v * v
                if log(uniform()) < x * x / 2 + d - d * cube + d * log(cube) { return d * cube }
            }
        }
    }

    /// In (0, 1), with mean a / (a + b).
    mutating func beta(_ a: Double, _ b: Double) -> Double {
        let x = gamma(a)
        return x / (x + gamma(b))
    }
}
