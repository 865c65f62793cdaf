/// One number read from a row of predictions: a target up to one of its horizons. Plain data, for hot loops.
struct HorizonReading: Equatable {
    var kind: TargetKind
    /// First cell of the target in the row.
    var cell: Int32
    /// Number of bins the horizon covers.
    var bins: Int32
    /// Place of the target in the configuration, which is that of its head.
    var target: Int32 = 0

    /// The first cell of a bin.
    @inline(__always)
    func cell(bin: Int) -> Int { Int(cell) + bin * kind.cellsPerBin }

    /// Money for a value target, P(at least one) for an occurrence, P(none) for an absence.
    /// - Parameter row: [cells].
    @inline(__always)
    func value(_ row: UnsafePointer<Float>) -> Float { kind.upToHorizon(row + Int(cell), bins: Int(bins)) }

    /// Appends what updates hold of the horizon.
    @inline(__always)
    func write(_ row: UnsafePointer<Float>, _ w: inout ByteWriter) {
        kind.write(row + Int(cell), bins: Int(bins), &w)
    }
}
