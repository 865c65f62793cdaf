/// The correction of head outputs as the serving model applies it:
///
///     corrected = added + headFactor · heads + processFactor · process
///
/// Owns the layout [activity groups of `LogitCorrection` × (not bought, groups of `ProcessBlend`) × 3 × outputs].
struct CorrectionCoefficients: ~Copyable {
    /// The coefficients of one group of users; [outputs] each.
    struct Row {
        let added: UnsafeMutablePointer<Float>
        let headFactor: UnsafeMutablePointer<Float>
        let processFactor: UnsafeMutablePointer<Float>

        @inline(__always)
        fileprivate init(_ base: UnsafeMutablePointer<Float>, outputs n: Int) {
            (added, headFactor, processFactor) = (base, base + n, base + 2 * n)
        }

        /// Corrects a row of head outputs in place.
        /// - Parameters:
        ///   - row: [outputs] of the heads.
        ///   - process: [outputs] of the purchase process.
        @inline(__always)
        func apply(_ row: UnsafeMutablePointer<Float>, process: UnsafePointer<Float>, count: Int) {
            for o in 0..<count { row[o] = corrected(o, row[o], process: process[o]) }
        }

        @inline(__always)
        func corrected(_ o: Int, _ head: Float, process: Float) -> Float {
            added[o] + headFactor[o] * head + processFactor[o] * process
        }
    }

    private let outputs: Int
    private let memory: UnsafeMutablePointer<Float>
    private let count: Int
    /// All of them.
    var values: UnsafeMutableBufferPointer<Float> { .init(start: memory, count: count) }

    static let groups = LogitCorrection.groups * (1 + ProcessBlend.groups)

    /// All zero.
    init(outputs: Int) {
        self.outputs = outputs
        count = Self.groups * 3 * outputs
        memory = .allocate(capacity: count)
        memory.initialize(repeating: 0, count: count)
    }

    deinit { memory.deallocate() }

    /// - Parameters:
    ///   - activity: group of `LogitCorrection`.
    ///   - blend: group of `ProcessBlend` of a user who has bought; nil for others.
    @inline(__always)
    func row(activity: Int, blend: Int?) -> Row {
        row(group: Self.group(activity: activity, blend: blend))
    }

    @inline(__always)
    static func group(activity: Int, blend: Int?) -> Int {
        activity * (1 + ProcessBlend.groups) + (blend.map { 1 + $0 } ?? 0)
    }

    /// Whether the users of a group have bought.
    static func haveBought(_ group: Int) -> Bool { group % (1 + ProcessBlend.groups) > 0 }

    @inline(__always)
    func row(group: Int) -> Row { Row(memory + group * 3 * outputs, outputs: outputs) }

    /// Those of a finished row of snapshot features.
    @inline(__always)
    func row(of features: UnsafePointer<Float>, bought: Bool) -> Row {
        row(activity: LogitCorrection.group(features), blend: bought ? ProcessBlend.group(features) : nil)
    }
}
