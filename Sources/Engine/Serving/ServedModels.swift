/// Which model predicts for a record. With one partition always the newest; where learning is by marks of event time, the
/// one before until a partition's own watermark passes the mark from which the newest predicts.
struct ServedModels {
    let newest: ServingModel
    let former: ServingModel
    /// Watermark beyond which the newest predicts; nil: everywhere.
    var from: Int64?

    @inline(__always)
    func model(at watermark: Int64) -> ServingModel {
        guard let from else { return newest }
        return watermark > from ? newest : former
    }
}
