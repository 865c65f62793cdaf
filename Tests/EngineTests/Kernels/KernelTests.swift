import CKernels
import Foundation
import Testing

@testable import Engine

/// The variants that this machine has, `portable` first; `best` last.
private var variants: [String] { ["portable", "avx2", "avx512", "best"].filter { clvd_kernels_select($0) } }

func uniform(_ n: Int, _ limit: Double, seed: UInt64) -> [Float] {
    var random = RandomNumbers(seed: seed)
    return (0..<n).map { _ in Float((2 * random.uniform() - 1) * limit) }
}

/// Runs a kernel in every variant: the results have the same bits, and fulfil the check.
private func everywhere(_ what: String, _ kernel: () -> [Float], check: ([Float]) -> Void) {
    var first: [Float] = []
    for name in variants {
        _ = clvd_kernels_select(name)
        let result = kernel()
        if first.isEmpty {
            first = result
            check(result)
        }
        #expect(result.map(\.bitPattern) == first.map(\.bitPattern), "\(what): \(name)")
    }
    _ = clvd_kernels_select("best")
}

/// Largest difference between results and their reference.
private func worst(_ x: [Float], _ reference: [Double]) -> Double {
    #expect(x.count == reference.count)
    return zip(x, reference).map { abs(Double($0) - $1) }.max() ?? 0
}

private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

private struct Product {
    var m: Int
    var n: Int
    var k: Int
    var transposed = false
    var accumulate = true

    /// One chain of fused multiply-adds in the order of k: what the header promises, bit for bit.
    func reference(_ a: [Float], _ b: [Float], _ c: [Float]) -> [Float] {
        var c = c
        for i in 0..<m {
            for j in 0..<n {
                var sum = accumulate ? c[i * n + j] : 0
                for p in 0..<k { sum.addProduct(transposed ? a[p * m + i] : a[i * k + p], b[p * n + j]) }
                c[i * n + j] = sum
            }
        }
        return c
    }

    func run(_ a: [Float], _ b: [Float], _ c: [Float], rows: Int? = nil) -> [Float] {
        var c = c
        clvd_gemm(rows ?? m, n, k, a, transposed ? 1 : k, transposed ? m : 1, b, n, &c, n, accumulate)
        return c
    }
}

/// Every kernel in every variant of this machine against a scalar reference, and the variants against each other,
/// bit for bit. The choice of a variant is global, so each test has a process of its own.
@Suite struct KernelTests {
    @Test func theMachineHasAVariant() async {
        await #expect(processExitsWith: .success) {
            #expect(variants.count >= 2)
            #expect(!clvd_kernels_select("no such variant"))
            #expect(clvd_kernels_select("portable"))
            #expect(String(cString: clvd_kernels_name()) == "portable")
            #expect(clvd_kernels_select("best"))
            #expect(String(cString: clvd_kernels_name()) != "portable" || variants.count == 2)
        }
    }

    // MARK: Matrix product

    @Test func productIsOneChainOfFusedMultiplyAdds() async {
        await #expect(processExitsWith: .success) {
            let products = [
                Product(m: 1, n: 16, k: 1), Product(m: 3, n: 48, k: 5, accumulate: false),
                Product(m: 7, n: 64, k: 31, transposed: true), Product(m: 17, n: 80, k: 16, accumulate: false),
                Product(m: 29, n: 16, k: 600), Product(m: 5, n: 80, k: 1030, transposed: true, accumulate: false),
                Product(m: 33, n: 112, k: 47),
            ]
            for (i, product) in products.enumerated() {
                let seed = UInt64(10 * i)
                let a = uniform(product.m * product.k, 1, seed: seed)
                let b = uniform(product.k * product.n, 1, seed: seed + 1)
                let c = uniform(product.m * product.n, 1, seed: seed + 2)
                let expected = product.reference(a, b, c)
                everywhere("gemm \(product)", { product.run(a, b, c) }, check: { #expect($0 == expected) })
            }
        }
    }

    /// How many rows a call has decides how the stream was cut: a row's bits must not depend on it.
    @Test func rowsDoNotDependOnTheNumberOfRows() async {
        await #expect(processExitsWith: .success) {
            // The shapes of the default model: gates, hidden layer, heads.
            for (n, k) in [(256, 112), (64, 128), (16, 128), (64, 48)] {
                let product = Product(m: 300, n: n, k: k)
                let a = uniform(300 * k, 1, seed: 1)
                let b = uniform(k * n, 1, seed: 2)
                let c = uniform(300 * n, 1, seed: 3)
                for name in variants where name != "portable" {
                    _ = clvd_kernels_select(name)
                    let all = product.run(a, b, c)
                    for rows in 1...300 {
                        let some = product.run(a, b, c, rows: rows)
                        let bytes = rows * n * MemoryLayout<Float>.stride
                        #expect(memcmp(some, all, bytes) == 0, "\(name): \(rows) of 300 rows, n \(n), k \(k)")
                        #expect(Array(some[(rows * n)...].prefix(n)) == Array(c[(rows * n)...].prefix(n)))
                    }
                }
            }
        }
    }

    @Test func rowsAndColumns() async {
        await #expect(processExitsWith: .success) {
            let x = uniform(7 * 48, 1, seed: 1)
            let bias = uniform(48, 1, seed: 2)
            var filled = [Float](repeating: 9, count: 3 * 50)
            clvd_fill_rows(3, 48, bias, &filled, 50)
            for r in 0..<3 { #expect(Array(filled[r * 50..<r * 50 + 48]) == bias && filled[r * 50 + 48] == 9) }
            var sums = bias
            clvd_sum_rows(7, 48, x, 48, &sums)
            for j in 0..<48 { #expect(sums[j] == (0..<7).reduce(bias[j]) { $0 + x[$1 * 48 + j] }) }
            var y = x
            clvd_transpose(7, 48, x, &y)
            for i in 0..<7 { for j in 0..<48 { #expect(y[j * 7 + i] == x[i * 48 + j]) } }
        }
    }

    // MARK: Gates

    @Test func lstm() async {
        await #expect(processExitsWith: .success) {
            let n = 48
            let g = uniform(4 * n, 6, seed: 1)
            let c = uniform(n, 2, seed: 2)
            let (dh, dc) = (uniform(n, 1, seed: 3), uniform(n, 1, seed: 4))
            everywhere(
                "lstm",
                {
                    var gates = g
                    var (cNext, tc, h) = (c, c, c)
                    clvd_lstm_row(n, &gates, c, &cNext, &tc, &h)
                    var (dCell, dGates) = (dc, g)
                    clvd_lstm_row_backward(n, gates, c, tc, dh, &dCell, &dGates)
                    return gates + cNext + tc + h + dCell + dGates
                },
                check: { result in
                    func x(_ gate: Int, _ j: Int) -> Double { Double(g[gate * n + j]) }
                    var columns = [[Double]](repeating: [], count: 12)
                    for j in 0..<n {
                        let (i, f, q, o) = (
                            sigmoid(x(0, j)), sigmoid(x(1, j)), tanh(x(2, j)), sigmoid(x(3, j))
                        )
                        let cell = f * Double(c[j]) + i * q
                        let t = tanh(cell)
                        let d = Double(dc[j]) + Double(dh[j]) * o * (1 - t * t)
                        let row = [
                            i, f, q, o, cell, t, o * t, d * f, d * q * i * (1 - i), d * Double(c[j]) * f * (1 - f),
                            d * i * (1 - q * q), Double(dh[j]) * t * o * (1 - o),
                        ]
                        for (k, value) in row.enumerated() { columns[k].append(value) }
                    }
                    #expect(worst(result, columns.flatMap { $0 }) < 1e-6)
                })
        }
    }

    @Test func gru() async {
        await #expect(processExitsWith: .success) {
            let n = 32
            let (gx, gh) = (uniform(3 * n, 4, seed: 1), uniform(3 * n, 3, seed: 2))
            let (h, dh) = (uniform(n, 1, seed: 3), uniform(n, 1, seed: 4))
            everywhere(
                "gru",
                {
                    var (a, b, next) = (gx, gh, h)
                    clvd_gru_row(n, &a, &b, h, &next)
                    var (direct, dx, dy) = (dh, gx, gx)
                    clvd_gru_row_backward(n, a, b, h, &direct, &dx, &dy)
                    var (inPlace, x, y) = (h, gx, gh)
                    inPlace.withUnsafeMutableBufferPointer { clvd_gru_row(n, &x, &y, $0.baseAddress!, $0.baseAddress!) }
                    #expect(inPlace == next, "the state may be replaced in place")
                    return a + next + direct + dx + dy
                },
                check: { result in
                    var columns = [[Double]](repeating: [], count: 11)
                    for j in 0..<n {
                        let r = sigmoid(Double(gx[j]) + Double(gh[j]))
                        let z = sigmoid(Double(gx[n + j]) + Double(gh[n + j]))
                        let recurrent = Double(gh[2 * n + j])
                        let q = tanh(Double(gx[2 * n + j]) + r * recurrent)
                        let (d, state) = (Double(dh[j]), Double(h[j]))
                        let dq = d * (1 - z) * (1 - q * q)
                        let dz = d * (state - q) * z * (1 - z)
                        let dr = dq * recurrent * r * (1 - r)
                        let row = [r, z, q, (1 - z) * q + z * state, d * z, dr, dz, dq, dr, dz, dq * r]
                        for (k, value) in row.enumerated() { columns[k].append(value) }
                    }
                    #expect(worst(result, columns.flatMap { $0 }) < 1e-6)
                })
        }
    }

    @Test func tanhAndSiLU() async {
        await #expect(processExitsWith: .success) {
            let n = 64
            let (x, d) = (uniform(n, 8, seed: 1), uniform(n, 1, seed: 2))
            everywhere(
                "tanh, SiLU",
                {
                    var (h, dg, y, dx) = (x, x, x, x)
                    clvd_tanh_row(n, x, &h)
                    clvd_tanh_row_backward(n, h, d, &dg)
                    clvd_silu(n, x, &y)
                    clvd_silu_backward(n, x, d, &dx)
                    return h + dg + y + dx
                },
                check: { result in
                    var columns = [[Double]](repeating: [], count: 4)
                    for i in 0..<n {
                        let v = Double(x[i])
                        let (s, t) = (sigmoid(v), tanh(v))
                        let row = [t, Double(d[i]) * (1 - t * t), v * s, Double(d[i]) * s * (1 + v * (1 - s))]
                        for (k, value) in row.enumerated() { columns[k].append(value) }
                    }
                    let expected = columns.flatMap { $0 }
                    #expect(worst(result, expected) < 2e-6)
                })
        }
    }

    // MARK: Elementwise

    @Test func exponentialAndLogarithm() async {
        await #expect(processExitsWith: .success) {
            let n = 4099  // no multiple of the width
            let x = uniform(n, 87, seed: 1)
            everywhere(
                "exp",
                {
                    var y = x
                    clvd_exp(n, x, &y)
                    return y
                },
                check: { y in
                    let expected = x.map { exp(Double($0)) }
                    #expect(firstDifferences(y, expected) { abs(Double($0) / $1 - 1) < 2e-7 } == [])
                })
            everywhere(
                "sigmoid",
                {
                    var y = x
                    y.withUnsafeMutableBufferPointer { clvd_sigmoid(n, $0.baseAddress!, $0.baseAddress!) }
                    return y
                },
                check: { y in #expect(worst(y, x.map { sigmoid(Double($0)) }) < 2e-7) })
            let magnitudes = uniform(n, 1, seed: 2).map { abs($0) * powf(10, 12 * abs($0) - 4) } + [0, 1, 1e30]
            everywhere(
                "log1p",
                {
                    var y = magnitudes
                    clvd_log1p(magnitudes.count, magnitudes, &y)
                    return y
                },
                check: { y in
                    let expected = magnitudes.map { log1p(Double($0)) }
                    #expect(firstDifferences(y, expected) { abs(Double($0) - $1) < 3e-7 * (1 + $1) } == [])
                })
            // Beyond the range: bounded, never infinite or not a number.
            everywhere(
                "extremes",
                {
                    let extremes: [Float] = [-1e30, 1e30, -.infinity, .infinity, -88, 88]
                    var (y, z) = (extremes, extremes)
                    clvd_exp(extremes.count, extremes, &y)
                    clvd_sigmoid(extremes.count, extremes, &z)
                    return y + z
                },
                check: { for y in $0 { #expect(y.isFinite) } })
            // A lane's bits do not depend on its place.
            for shift in 1..<17 {
                var (whole, part) = (x, x)
                clvd_exp(n, x, &whole)
                Array(x[shift...]).withUnsafeBufferPointer { clvd_exp(n - shift, $0.baseAddress!, &part) }
                #expect(firstDifferences(part[0..<n - shift], whole[shift...]) == [])
            }
        }
    }

    @Test func sumsAndAverages() async {
        await #expect(processExitsWith: .success) {
            let n = 160
            let (x, y) = (uniform(n, 3, seed: 1), uniform(n, 3, seed: 2))
            everywhere(
                "add, average",
                {
                    var (sum, average) = (y, y)
                    clvd_add(n, x, &sum)
                    clvd_average(n, 0.01, x, &average)
                    return sum + average
                },
                check: { result in
                    #expect(Array(result[0..<n]) == zip(x, y).map { $0 + $1 })
                    #expect(
                        worst(Array(result[n...]), zip(x, y).map { Double($1) + 0.01 * (Double($0) - Double($1)) })
                            < 5e-7)
                })
            var bits: Set<UInt64> = []
            for name in variants {
                _ = clvd_kernels_select(name)
                let sum = clvd_sum_of_squares(n, x)
                #expect(abs(sum / x.reduce(0) { $0 + Double($1) * Double($1) } - 1) < 1e-13)
                bits.insert(sum.bitPattern)
            }
            #expect(bits.count == 1)
        }
    }

    // MARK: Optimisers

    @Test func optimisers() async {
        await #expect(processExitsWith: .success) {
            let n = 64
            let (p, g) = (uniform(n, 1, seed: 1), uniform(n, 2, seed: 2))
            let m = uniform(n, 0.5, seed: 3)
            let v = uniform(n, 0.5, seed: 4).map(abs)
            let (scale, rate, decay, l2) = (0.7, 0.01, 0.002, 0.03)
            everywhere(
                "adam",
                {
                    var (w, a, b) = (p, m, v)
                    clvd_adam(n, &w, g, &a, &b, 0.7, 0.01, 0.9, 0.999, 0.19, 0.002, 1e-8, 0.002, 0.03)
                    return w + a + b
                },
                check: { result in
                    var (w, a, b): ([Double], [Double], [Double]) = ([], [], [])
                    for i in 0..<n {
                        let d = Double(g[i]) * scale + l2 * Double(p[i])
                        a.append(0.9 * Double(m[i]) + 0.1 * d)
                        b.append(0.999 * Double(v[i]) + 0.001 * d * d)
                        let root = (b[i] / 0.002).squareRoot() + 1e-8
                        w.append(Double(p[i]) * (1 - decay) - rate * a[i] / 0.19 / root)
                    }
                    #expect(worst(result, w + a + b) < 1e-6)
                })
            everywhere(
                "adagrad",
                {
                    var (w, b) = (p, v)
                    clvd_adagrad(n, &w, g, &b, 0.7, 0.01, 1e-8, 0.002)
                    return w + b
                },
                check: { result in
                    var (w, b): ([Double], [Double]) = ([], [])
                    for i in 0..<n {
                        let d = Double(g[i]) * scale
                        b.append(Double(v[i]) + d * d)
                        w.append(Double(p[i]) * (1 - decay) - rate * d / (b[i].squareRoot() + 1e-8))
                    }
                    #expect(worst(result, w + b) < 1e-6)
                })
            everywhere(
                "sgd",
                {
                    var (w, a) = (p, m)
                    clvd_sgd(n, &w, g, &a, 0.7, 0.01, 0.9, 0.002)
                    return w + a
                },
                check: { result in
                    let a = (0..<n).map { 0.9 * Double(m[$0]) + scale * Double(g[$0]) }
                    let w = (0..<n).map { Double(p[$0]) * (1 - decay) - rate * a[$0] }
                    #expect(worst(result, w + a) < 1e-6)
                })
        }
    }

    // MARK: Conversions

    @Test func halfPrecision() async {
        await #expect(processExitsWith: .success) {
            // Every half there is comes back as itself.
            let halves = (0...UInt16.max).filter { $0 & 0x7C00 != 0x7C00 }
            var floats = [Float](repeating: 0, count: halves.count)
            let tricky: [Float] = [
                65504, 65519.99, 65520, 1e9, .infinity, 1e-8, 5.9604645e-8, 2.9802322e-8, 1 + 1 / 2048,
            ]
            everywhere(
                "half",
                {
                    clvd_float_from_half(halves.count, halves, &floats)
                    var back = halves
                    clvd_half_from_float(halves.count, floats, &back)
                    #expect(back == halves)
                    var some = [UInt16](repeating: 0, count: tricky.count)
                    clvd_half_from_float(tricky.count, tricky, &some)
                    #expect(clvd_half_of_float(tricky[1]) == some[1])
                    #expect(clvd_float_of_half(some[0]) == 65504)
                    return floats + some.map { Float($0) }
                },
                check: { result in
                    for (half, float) in zip(halves, result) {
                        let (sign, exponent, fraction) = (half >> 15, Int(half >> 10 & 31), Double(half & 1023))
                        let magnitude =
                            exponent == 0 ? fraction * 0x1p-24 : (1 + fraction / 1024) * pow(2, Double(exponent - 15))
                        #expect(Double(float) == (sign == 1 ? -magnitude : magnitude))
                    }
                    // To the nearest, ties to even; beyond the largest to infinity, below the smallest to zero.
                    let bits: [Float] = [0x7BFF, 0x7BFF, 0x7C00, 0x7C00, 0x7C00, 0, 1, 0, 0x3C00]
                    #expect(Array(result[halves.count...]) == bits)
                })
        }
    }

    @Test func eightBitsOfTheUnitRange() async {
        await #expect(processExitsWith: .success) {
            let x = uniform(1001, 1, seed: 5) + [1, -1, 0, 2, -2, 0.5 / 127, 1.5 / 127]
            var bytes = [Int8](repeating: 0, count: x.count)
            everywhere(
                "int8",
                {
                    clvd_int8_from_unit(x.count, x, &bytes)
                    var y = x
                    clvd_unit_from_int8(x.count, bytes, &y)
                    return y
                },
                check: { y in
                    #expect(firstDifferences(y, x) { abs($0 - max(-1, min(1, $1))) <= 0.5 / 127 + 1e-7 } == [])
                    #expect(bytes.suffix(7).prefix(5) == [127, -127, 0, 127, -127])
                })
        }
    }
}
