/// Running mean and variance of the snapshot features and of log(1 + amount) (Welford 1962), and the scaling that
/// follows from them. Part of the model: it changes only where the model learns.
struct Standardizer {
    /// Beyond so many observations the past fades, so that the scaling follows a stream that changes.
    static let memory: Double = 1_000_000
    /// Standardised values are clipped to ± this.
    static let clip: Float = 6
    /// Below so many observations features are not scaled but left out (zero).
    static let minimum: Double = 16

    /// Features, then the amount.
    let count: Int
    private(set) var mean: [Double]
    private(set) var m2: [Double]
    private(set) var observations: [Double]
    private(set) var center: [Float]
    /// 1 / standard deviation, 0 while a feature is unknown or constant.
    private(set) var inverse: [Float]

    init(features: Int) {
        count = features + 1
        mean = Array(repeating: 0, count: count)
        m2 = mean
        observations = mean
        center = Array(repeating: 0, count: count)
        inverse = center
    }

    init(features: Int, mean: [Double], m2: [Double], observations: [Double]) {
        self.init(features: features)
        self.mean = mean
        self.m2 = m2
        self.observations = observations
        refresh()
    }

    var amountMean: Float { center[count - 1] }
    var amountInverse: Float { inverse[count - 1] }

    private mutating func observe(_ i: Int, _ x: Float) {
        if observations[i] >= Standardizer.memory {
            m2[i] *= (Standardizer.memory - 1) / Standardizer.memory
        } else {
            observations[i] += 1
        }
        let delta = Double(x) - mean[i]
        mean[i] += delta / observations[i]
        m2[i] += delta * (Double(x) - mean[i])
    }

    mutating func observe(features row: UnsafePointer<Float>) {
        for i in 0..<count - 1 { observe(i, row[i]) }
    }

    mutating func observe(logAmount: Float) { observe(count - 1, logAmount) }

    /// Makes what was observed effective.
    mutating func refresh() {
        for i in 0..<count {
            let variance = observations[i] > 1 ? m2[i] / observations[i] : 0
            center[i] = Float(mean[i])
            inverse[i] =
                observations[i] >= Standardizer.minimum && variance > 1e-8 ? Float(1 / variance.squareRoot()) : 0
        }
    }

    /// Standardised and clipped copies of `rows` feature rows.
    func apply(_ raw: UnsafePointer<Float>, rows: Int, into out: UnsafeMutablePointer<Float>) {
        let features = count - 1
        center.withUnsafeBufferPointer { c in
            inverse.withUnsafeBufferPointer { s in
                for r in 0..<rows {
                    let (x, y) = (raw + r * features, out + r * features)
                    for i in 0..<features {
                        y[i] = max(-Standardizer.clip, min(Standardizer.clip, (x[i] - c[i]) * s[i]))
                    }
                }
            }
        }
    }
}
