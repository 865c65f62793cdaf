import CKernels
import Foundation
import Testing

@testable import Engine

/// A multiply-add that is rounded once, in every variant, where rounding twice would show: against the standard library.
@Suite struct FusedMultiplyAddTests {
    /// One row of inputs of `clvd_gemm`: C += a · b of 16 elements.
    private struct Inputs {
        var a: Float
        var b: [Float]
        var c: [Float]
    }

    private static func random(_ kind: Int, _ random: inout RandomNumbers) -> Inputs {
        /// A float with this exponent, a random sign and a random significand of so many bits.
        func float(_ exponent: Int, bits: Int = 23) -> Float {
            let r = random.next()
            let fraction = UInt32(truncatingIfNeeded: r) & 0x7F_FFFF & ~((1 << (23 - UInt32(bits))) - 1)
            return Float(bitPattern: UInt32(r >> 63) << 31 | UInt32(max(0, min(254, exponent + 127))) << 23 | fraction)
        }
        func many(_ next: () -> Float) -> [Float] { (0..<16).map { _ in next() } }
        switch kind {
        // Of all sizes.
        case 0:
            return Inputs(
                a: float(random.below(20) - 10), b: many { float(random.below(20) - 10) },
                c: many { float(random.below(40) - 20) })
        // Few bits, so that many sums lie in the middle of two floats.
        case 1:
            return Inputs(
                a: float(random.below(3), bits: 11), b: many { float(random.below(3), bits: 12) },
                c: many { float(random.below(12)) })
        // Subnormal sums.
        case 2:
            let e = random.below(60) - 90
            return Inputs(
                a: float(e), b: many { float(-149 - e + random.below(36)) },
                c: many { float(random.below(2) == 0 ? -127 : -126 + random.below(4)) })
        // Half a unit in the last place of c less 2^-46 of it and more: (1 + k·2^-23)(1 - k·2^-23) = 1 - k²·2^-46.
        case 3:
            let k = Float(random.below(64)) * 0x1p-23
            let sign: Float = random.below(2) == 0 ? 1 : -1
            return Inputs(a: sign * (1 + k), b: many { random.below(3) == 0 ? 1 : 1 - k }, c: many { float(24) })
        // The ends of the range: zeros, the smallest, the largest, infinity.
        default:
            let ends: [Float] = [
                0, -0.0, .leastNonzeroMagnitude, .leastNormalMagnitude, .greatestFiniteMagnitude, .infinity, 1,
                -1, Float(1).nextUp, 0.5, -.greatestFiniteMagnitude,
            ]
            return Inputs(
                a: ends[random.below(ends.count)], b: many { ends[random.below(ends.count)] },
                c: many { ends[random.below(ends.count)] })
        }
    }

    @Test func isRoundedOnce() async {
        await #expect(processExitsWith: .success) {
            var random = RandomNumbers(seed: 71)
            var wrong: [String] = []
            for i in 0..<62_500 {
                let x = FusedMultiplyAddTests.random(i % 5, &random)
                for name in ["portable", "avx2", "avx512"] where clvd_kernels_select(name) {
                    var y = x.c
                    withUnsafePointer(to: x.a) { clvd_gemm(1, 16, 1, $0, 1, 1, x.b, 16, &y, 16, true) }
                    for k in 0..<16 {
                        let expected = x.c[k].addingProduct(x.a, x.b[k])
                        if y[k].bitPattern != expected.bitPattern && !(y[k].isNaN && expected.isNaN) {
                            wrong.append("\(name): \(x.a) · \(x.b[k]) + \(x.c[k]) = \(y[k]), not \(expected)")
                        }
                    }
                }
            }
            #expect(wrong.isEmpty, "\(wrong.count): \(wrong.prefix(3))")
        }
    }

    /// Rounding to integers, and every half there is with the floats in the middle between it and the next.
    @Test func conversionsAreThoseOfTheHardware() async {
        await #expect(processExitsWith: .success) {
            let halves = (0...UInt16.max).map { $0 }
            var floats: [Float] = []
            for bits in stride(from: UInt32(0x3300_0000), to: 0x4790_0000, by: 0x1000) {
                floats += [Float(bitPattern: bits - 1), Float(bitPattern: bits), -Float(bitPattern: bits + 1)]
            }
            var first: [UInt32] = []
            for name in ["portable", "avx2", "avx512"] where clvd_kernels_select(name) {
                var values = [Float](repeating: 0, count: halves.count)
                clvd_float_from_half(halves.count, halves, &values)
                var back = [UInt16](repeating: 0, count: floats.count)
                clvd_half_from_float(floats.count, floats, &back)
                var exponentials = [Float](repeating: 0, count: floats.count)
                clvd_exp(floats.count, floats.map { $0 / 100 }, &exponentials)
                let result = (values + exponentials).map(\.bitPattern) + back.map { UInt32($0) }
                if first.isEmpty { first = result }
                #expect(result == first, "\(name)")
            }
        }
    }
}
