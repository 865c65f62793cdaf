/// Buffers for one batch of rows, allocated once: what flows from features through the model to the outputs.
final class Scratch {
    /// Most rows of a batch.
    static let rows = 128

    let slots: UnsafeMutablePointer<UInt32>
    /// Scoring instants, ms.
    let instants: UnsafeMutablePointer<Int64>
    /// [rows × StepInputs.indices], [rows × StepInputs.numerics]
    let indices: UnsafeMutablePointer<UInt16>
    let numerics: UnsafeMutablePointer<Float>
    /// [rows × stateWidth]
    let state: UnsafeMutablePointer<Float>
    /// [rows × features], raw (log scale) and standardised
    let features: UnsafeMutablePointer<Float>
    let standard: UnsafeMutablePointer<Float>
    /// [rows × outputs], [rows × cells]
    let outputs: UnsafeMutablePointer<Float>
    let predictions: UnsafeMutablePointer<Float>
    /// [value readings × 2], lower and upper bounds of one row
    let bounds: UnsafeMutablePointer<Float>
    let workspace: Workspace

    init(layout: ModelLayout, cells: Int, intervals: Int) {
        let n = Scratch.rows
        slots = .allocate(capacity: n)
        instants = .allocate(capacity: n)
        indices = .allocate(capacity: n * StepInputs.indices)
        numerics = .allocate(capacity: n * StepInputs.numerics)
        state = .allocate(capacity: n * layout.stateWidth)
        features = .allocate(capacity: n * SnapshotFeatures.count)
        standard = .allocate(capacity: n * SnapshotFeatures.count)
        outputs = .allocate(capacity: n * layout.outputs)
        predictions = .allocate(capacity: n * cells)
        bounds = .allocate(capacity: max(1, 2 * intervals))
        workspace = Workspace(layout: layout, rows: n)
    }

    deinit {
        slots.deallocate()
        instants.deallocate()
        indices.deallocate()
        numerics.deallocate()
        state.deallocate()
        features.deallocate()
        standard.deallocate()
        outputs.deallocate()
        predictions.deallocate()
        bounds.deallocate()
    }
}
