/// A minibatch of landmarks as flat buffers. Rows are landmarks.
final class TrainingBatch {
    let capacity: Int
    let steps: Int
    var rows = 0
    /// Events after the initial state, 0…steps.
    let lengths: UnsafeMutablePointer<Int32>
    /// [rows × steps × StepInputs.indices], [rows × steps × numerics]
    let indices: UnsafeMutablePointer<UInt16>
    let numerics: UnsafeMutablePointer<Float>
    /// [rows × stateWidth]
    let initialState: UnsafeMutablePointer<Float>
    /// [rows × features], standardised
    let features: UnsafeMutablePointer<Float>
    /// [rows × heads × bins]: money for value heads, number of events for hazard heads.
    let labels: UnsafeMutablePointer<Float>
    /// [rows × bins]: 1 where the bin has matured.
    let matured: UnsafeMutablePointer<UInt8>
    /// [heads × bins]: centre of log spend of value heads.
    let meanLogSpend: UnsafeMutablePointer<Float>

    init(layout l: ModelLayout, capacity n: Int, steps t: Int) {
        capacity = n
        steps = t
        func zeros<T>(_ count: Int, _ zero: T) -> UnsafeMutablePointer<T> {
            let p = UnsafeMutablePointer<T>.allocate(capacity: count)
            p.initialize(repeating: zero, count: count)
            return p
        }
        lengths = zeros(n, 0)
        indices = zeros(n * t * StepInputs.indices, 0)
        numerics = zeros(n * t * l.numerics, 0)
        initialState = zeros(n * l.stateWidth, 0)
        features = zeros(n * l.features, 0)
        labels = zeros(n * l.cells, 0)
        matured = zeros(n * l.bins, 0)
        meanLogSpend = zeros(l.cells, 0)
    }

    deinit {
        lengths.deallocate()
        indices.deallocate()
        numerics.deallocate()
        initialState.deallocate()
        features.deallocate()
        labels.deallocate()
        matured.deallocate()
        meanLogSpend.deallocate()
    }
}
