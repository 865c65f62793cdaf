import Foundation
import Testing

@testable import Engine

/// The scaling of features follows a stream that changes: an exponential mean over a million observations.
@Suite struct StandardizerMemoryTests {
    /// A full memory of mean 0 and variance 1, then a million observations of 2 ± 3. What was known counts 1/e of what it
    /// did: second moment e⁻¹ · 1 + (1 - e⁻¹) · (9 + 4), mean (1 - e⁻¹) · 2.
    @Test func meanAndVarianceFade() {
        let memory = Standardizer.memory
        var s = Standardizer(features: 1, mean: [0, 0], m2: [memory, memory], observations: [memory, memory])
        for i in 0..<1_000_000 { s.observe(logAmount: i % 2 == 0 ? 5 : -1) }
        s.refresh()
        let left = exp(-1.0)
        let mean = (1 - left) * 2
        let variance = left + (1 - left) * 13 - mean * mean
        #expect(abs(Double(s.amountMean) - mean) < 1e-3, "\(s.amountMean)")
        #expect(abs(Double(s.amountInverse) - 1 / variance.squareRoot()) < 1e-3, "\(s.amountInverse)")
        // The other one saw nothing.
        #expect(s.center[0] == 0 && s.inverse[0] == 1)
    }
}
