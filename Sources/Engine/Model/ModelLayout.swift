/// One head of the model: what it predicts for every horizon bin.
struct Head: Equatable {
    var name: String
    var kind: TargetKind
    var weight: Float
    /// Widths of a bin (`TargetRules`), kept here for hot loops.
    let outputsPerBin: Int
    let cellsPerBin: Int

    init(name: String, kind: TargetKind, weight: Float) {
        self.name = name
        self.kind = kind
        self.weight = weight
        outputsPerBin = kind.rules.outputsPerBin
        cellsPerBin = kind.rules.cellsPerBin
    }
}

/// All parameters of the model in one buffer: what each stretch is, its shape and place.
///
///     event → [type ⊕ category ⊕ cross embedding ⊕ numbers] → recurrent state h
///     [h ⊕ snapshot features] → hidden (SiLU) ; [hidden ⊕ snapshot features] → heads
struct ModelLayout {
    struct Tensor {
        let name: String
        /// Row-major.
        let shape: [Int]
        /// Index of its first parameter.
        let offset: Int
        /// Whether weight decay applies (matrices; not biases, not embeddings).
        let decays: Bool

        var count: Int { shape.reduce(1, *) }
    }

    let recurrent: EngineConfiguration.Model.Recurrent
    let heads: [Head]
    let bins: Int
    let units: Int
    let hidden: Int
    let features: Int
    let numerics: Int
    let typeEmbedding: Int
    let categoryEmbedding: Int
    let crossEmbedding: Int
    /// Width of an encoded event, a multiple of 16 (padded with zeros).
    let inputWidth: Int
    /// Width of the state row: h, then c of the LSTM.
    let stateWidth: Int
    /// Width of a row of head outputs, a multiple of 16 (the padding teaches nothing and stays zero).
    let outputs: Int
    let tensors: [Tensor]
    /// Parameters in all, a multiple of 16.
    let count: Int

    let typeTable: Int
    let categoryTable: Int
    let crossTable: Int
    /// LSTM, RNN: [inputWidth + units, gates]; GRU: of the input alone.
    let recurrentWeight: Int
    /// GRU only: [units, gates].
    let recurrentStateWeight: Int
    let recurrentBias: Int
    let recurrentStateBias: Int
    let hiddenWeight: Int
    let hiddenBias: Int
    let headWeight: Int
    let headBias: Int
    /// First output of each head, and the number of outputs in use.
    private let headOffsets: [Int]
    /// First cell of each head, and the number of cells.
    private let headCells: [Int]

    /// Gate columns: 4 for LSTM, 3 for GRU, 1 for RNN, each of `units`.
    var gates: Int {
        switch recurrent {
        case .lstm: 4 * units
        case .gru: 3 * units
        case .rnn: units
        }
    }
    var hasCell: Bool { recurrent == .lstm }
    /// Width of the input of the hidden layer, and of the heads.
    var hiddenInput: Int { units + features }
    var headInput: Int { hidden + features }
    /// Cells of a row of labels or predictions: those of one head after the other.
    var cells: Int { headCells[heads.count] }

    /// Column of the first output of a head's bin.
    func output(head: Int, bin: Int) -> Int { headOffsets[head] + bin * heads[head].outputsPerBin }
    /// The first cell of a head's bin.
    func cell(head: Int, bin: Int) -> Int { headCells[head] + bin * heads[head].cellsPerBin }
    /// All cells of a head.
    func cells(head: Int) -> Range<Int> { headCells[head]..<headCells[head + 1] }

    init(
        configuration c: EngineConfiguration.Model, heads: [Head], bins: Int, eventNumerics: Int, snapshotFeatures: Int
    ) {
        precondition(c.units % 16 == 0 && c.hidden % 16 == 0, "widths are multiples of 16")
        precondition(snapshotFeatures % 16 == 0, "the features fill whole vectors")
        func padded(_ n: Int) -> Int { (n + 15) / 16 * 16 }
        recurrent = c.recurrent
        self.heads = heads
        self.bins = bins
        units = c.units
        hidden = c.hidden
        features = snapshotFeatures
        numerics = eventNumerics
        typeEmbedding = c.typeEmbedding
        categoryEmbedding = c.categoryEmbedding
        crossEmbedding = c.crossEmbedding
        inputWidth = padded(c.typeEmbedding + c.categoryEmbedding + c.crossEmbedding + eventNumerics)
        stateWidth = c.recurrent == .lstm ? 2 * c.units : c.units
        headOffsets = heads.reduce(into: [0]) { $0.append($0.last! + $1.outputsPerBin * bins) }
        headCells = heads.reduce(into: [0]) { $0.append($0.last! + $1.cellsPerBin * bins) }
        outputs = padded(headOffsets[heads.count])

        var list: [Tensor] = []
        var at = 0
        func place(_ name: String, _ shape: [Int], decays: Bool) -> Int {
            defer { at += padded(shape.reduce(1, *)) }
            list.append(Tensor(name: name, shape: shape, offset: at, decays: decays))
            return at
        }
        let gates =
            switch c.recurrent {
            case .lstm: 4 * c.units
            case .gru: 3 * c.units
            case .rnn: c.units
            }
        typeTable = place("encoder.type_embedding", [EventType.embeddedTypes, c.typeEmbedding], decays: false)
        categoryTable = place("encoder.category_embedding", [c.categoryBuckets, c.categoryEmbedding], decays: false)
        crossTable = place("encoder.cross_embedding", [c.crossBuckets, c.crossEmbedding], decays: false)
        let isGRU = c.recurrent == .gru
        recurrentWeight = place(
            "recurrent.weight", [isGRU ? inputWidth : inputWidth + c.units, gates], decays: true)
        recurrentBias = place("recurrent.bias", [gates], decays: false)
        recurrentStateWeight = isGRU ? place("recurrent.state_weight", [c.units, gates], decays: true) : at
        recurrentStateBias = isGRU ? place("recurrent.state_bias", [gates], decays: false) : at
        hiddenWeight = place("hidden.weight", [c.units + snapshotFeatures, c.hidden], decays: true)
        hiddenBias = place("hidden.bias", [c.hidden], decays: false)
        headWeight = place("heads.weight", [c.hidden + snapshotFeatures, outputs], decays: true)
        headBias = place("heads.bias", [outputs], decays: false)
        tensors = list
        count = at
    }

    /// Random weights by seed: Glorot uniform for matrices (Glorot & Bengio 2010), small embeddings, forget gates
    /// open (bias 1), heads that predict a rare event.
    func initialise(_ p: UnsafeMutablePointer<Float>, seed: UInt64) {
        var random = RandomNumbers(seed: seed)
        p.initialize(repeating: 0, count: count)
        for tensor in tensors where tensor.shape.count == 2 {
            let isTable = tensor.name.hasSuffix("embedding")
            let limit = isTable ? 0.1 : (6.0 / Double(tensor.shape[0] + tensor.shape[1])).squareRoot()
            for i in 0..<tensor.count { p[tensor.offset + i] = Float((2 * random.uniform() - 1) * limit) }
        }
        if recurrent == .lstm { for j in units..<2 * units { p[recurrentBias + j] = 1 } }
        // The heads start at a tenth, so that the first predictions are near their biases.
        let used = headOffsets[heads.count]
        for i in 0..<headInput {
            for j in 0..<outputs { p[headWeight + i * outputs + j] *= j < used ? 0.1 : 0 }
        }
        for (h, head) in heads.enumerated() {
            for bin in 0..<bins { p[headBias + output(head: h, bin: bin)] = head.kind.rules.initialBias }
        }
    }
}
