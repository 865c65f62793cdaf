/// Buffers for one batch of rows through the network, forward alone or with the sequence kept for the way back.
/// One per thread at a time.
final class Workspace {
    let rows: Int
    let steps: Int
    /// [steps × rows × (inputWidth + units)]: encoded event and the state before it.
    let z: UnsafeMutablePointer<Float>
    /// [steps × rows × gates]: activations; GRU: of the input, and of the state.
    let gates: UnsafeMutablePointer<Float>
    let stateGates: UnsafeMutablePointer<Float>
    /// [steps × rows × units]
    let cell: UnsafeMutablePointer<Float>
    let tanhCell: UnsafeMutablePointer<Float>
    let output: UnsafeMutablePointer<Float>
    /// [rows × hiddenInput], [rows × hidden] before and after SiLU, [rows × headInput], [rows × outputs]
    let hiddenInput: UnsafeMutablePointer<Float>
    let hiddenRaw: UnsafeMutablePointer<Float>
    let headInput: UnsafeMutablePointer<Float>
    let outputs: UnsafeMutablePointer<Float>
    private let all: UnsafeMutablePointer<Float>

    /// - Parameters:
    ///   - rows: most rows at once.
    ///   - steps: most steps of a sequence kept; 1 for serving.
    init(layout l: ModelLayout, rows: Int, steps: Int = 1) {
        self.rows = rows
        self.steps = steps
        let n = rows * steps
        let sizes = [
            n * (l.inputWidth + l.units), n * l.gates, l.recurrent == .gru ? n * l.gates : 0, n * l.units, n * l.units,
            n * l.units, rows * l.hiddenInput, rows * l.hidden, rows * l.headInput, rows * l.outputs,
        ]
        all = .allocate(capacity: sizes.reduce(0, +))
        all.initialize(repeating: 0, count: sizes.reduce(0, +))
        var at = all
        func next(_ i: Int) -> UnsafeMutablePointer<Float> {
            defer { at += sizes[i] }
            return at
        }
        z = next(0)
        gates = next(1)
        stateGates = next(2)
        cell = next(3)
        tanhCell = next(4)
        output = next(5)
        hiddenInput = next(6)
        hiddenRaw = next(7)
        headInput = next(8)
        outputs = next(9)
    }

    deinit { all.deallocate() }
}
