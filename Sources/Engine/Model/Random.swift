import CHash
import Glibc

/// A seeded generator (SplitMix64; Steele, Lea, Flood 2014). Its whole state is one number, kept in snapshots.
public struct RandomNumbers: Codable, Equatable, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    /// 64 uniform bits.
    public mutating func next() -> UInt64 { clvd_splitmix(&state) }

    /// Uniform in [0, 1).
    public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Uniform in 0..<n.
    public mutating func below(_ n: Int) -> Int {
        precondition(n > 0, "an empty range has no numbers")
        return Int(next().multipliedFullWidth(by: UInt64(n)).high)
    }

    /// Standard normal (Box–Muller).
    public mutating func normal() -> Double {
        let u = 1 - uniform()
        return (-2 * log(u)).squareRoot() * cos(2 * Double.pi * uniform())
    }
}
