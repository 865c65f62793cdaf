public import Engine
import Foundation
public import SnapshotStore

/// The engine's image as a snapshot on disk, and back.
public enum EngineSnapshot {
    private static let infinities = (positive: "inf", negative: "-inf", nan: "nan")

    static func content(_ image: EngineImage) throws -> SnapshotContent {
        let encoder = JSONEncoder()
        // Thresholds of quantiles are infinite until they are known.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: infinities.positive, negativeInfinity: infinities.negative, nan: infinities.nan)
        encoder.outputFormatting = .sortedKeys
        return SnapshotContent(
            position: image.metadata.position, metadata: try encoder.encode(image.metadata),
            sections: image.sections.map { SnapshotSection(name: $0.name, regions: $0.regions) },
            weights: image.weights.map { SnapshotTensor(name: $0.name, shape: $0.shape, values: $0.values) })
    }

    /// - Throws: `SnapshotMismatch` when the description is not that of an engine.
    public static func metadata(_ snapshot: Snapshot) throws -> EngineImage.Metadata {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: infinities.positive, negativeInfinity: infinities.negative, nan: infinities.nan)
        do {
            return try decoder.decode(EngineImage.Metadata.self, from: snapshot.metadata)
        } catch {
            throw SnapshotMismatch("\(snapshot.info.name) is of another version of clvd: \(error)")
        }
    }
}
