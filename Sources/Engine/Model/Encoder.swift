import Glibc

// The encoder, forward and backward: [event] → [inputWidth].

extension Network {
    /// Encodes an event: embeddings, numbers, zeros up to `inputWidth`.
    /// - Parameters:
    ///   - p: all parameters, as `ModelLayout` places them.
    ///   - indices: [StepInputs.indices], rows of the embedding tables.
    ///   - numerics: [numerics].
    ///   - x: [inputWidth].
    @inline(__always)
    func encode(
        _ p: UnsafePointer<Float>, indices: UnsafePointer<UInt16>, numerics: UnsafePointer<Float>,
        into x: UnsafeMutablePointer<Float>
    ) {
        let (t, c, k) = (layout.typeEmbedding, layout.categoryEmbedding, layout.crossEmbedding)
        let floats = MemoryLayout<Float>.stride
        memcpy(x, p + layout.typeTable + Int(indices[0]) * t, t * floats)
        memcpy(x + t, p + layout.categoryTable + Int(indices[1]) * c, c * floats)
        memcpy(x + t + c, p + layout.crossTable + Int(indices[2]) * k, k * floats)
        memcpy(x + t + c + k, numerics, layout.numerics * floats)
        let used = t + c + k + layout.numerics
        if used < layout.inputWidth { memset(x + used, 0, (layout.inputWidth - used) * floats) }
    }
}

extension ChunkGradient {
    /// Adds the gradient of an event's encoding to the rows of the embedding tables that it used.
    /// - Parameters:
    ///   - event: place of the event in the batch.
    ///   - dx: [inputWidth].
    func embeddings(_ batch: TrainingBatch, _ event: Int, _ dx: UnsafePointer<Float>) {
        let i = batch.indices + event * StepInputs.indices
        let (t, c, k) = (layout.typeEmbedding, layout.categoryEmbedding, layout.crossEmbedding)
        let type = gradient + layout.typeTable + Int(i[0]) * t
        let category = gradient + layout.categoryTable + Int(i[1]) * c
        let cross = gradient + layout.crossTable + Int(i[2]) * k
        for j in 0..<t { type[j] += dx[j] }
        for j in 0..<c { category[j] += dx[t + j] }
        for j in 0..<k { cross[j] += dx[t + c + j] }
    }
}
