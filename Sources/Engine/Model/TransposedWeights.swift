import CKernels

/// Matrices of the parameters, transposed once a step for the way back.
struct TransposedWeights: ~Copyable {
    let recurrent: UnsafeMutablePointer<Float>
    let recurrentState: UnsafeMutablePointer<Float>
    let hidden: UnsafeMutablePointer<Float>
    let head: UnsafeMutablePointer<Float>
    private let layout: ModelLayout
    private let all: UnsafeMutablePointer<Float>

    init(_ l: ModelLayout) {
        layout = l
        let gru = l.recurrent == .gru
        let first = l.gates * (gru ? l.inputWidth : l.inputWidth + l.units)
        let second = gru ? l.gates * l.units : 0
        let third = l.hidden * l.hiddenInput
        all = .allocate(capacity: first + second + third + l.outputs * l.headInput)
        recurrent = all
        recurrentState = all + first
        hidden = all + first + second
        head = all + first + second + third
    }

    deinit { all.deallocate() }

    func take(_ p: UnsafePointer<Float>) {
        let l = layout
        let gru = l.recurrent == .gru
        clvd_transpose(gru ? l.inputWidth : l.inputWidth + l.units, l.gates, p + l.recurrentWeight, recurrent)
        if gru { clvd_transpose(l.units, l.gates, p + l.recurrentStateWeight, recurrentState) }
        clvd_transpose(l.hiddenInput, l.hidden, p + l.hiddenWeight, hidden)
        clvd_transpose(l.headInput, l.outputs, p + l.headWeight, head)
    }
}
