public import Engine
import Foundation
public import SnapshotStore

/// The engine's image as a snapshot on disk, and back.
public enum EngineSnapshot {
    /// The engine's description and the origin, as one object.
    private struct Description: Encodable {
        var metadata: EngineImage.Metadata
        var origin: SnapshotOrigin?
        private enum Key: CodingKey { case origin }

        func encode(to encoder: any Encoder) throws {
            try metadata.encode(to: encoder)
            var container = encoder.container(keyedBy: Key.self)
            try container.encodeIfPresent(origin, forKey: .origin)
        }
    }

    private static let infinities = (positive: "inf", negative: "-inf", nan: "nan")

    /// Calls `body` with an image as a store takes it. The content points into memory of the image: it is valid inside
    /// `body` only.
    /// - Parameter isPart: whether the image is of some partitions only.
    public static func withContent<T>(
        of image: EngineImage, isPart: Bool = false, _ body: (SnapshotContent) throws -> T
    ) throws -> T {
        try withContent(of: image, from: nil, isPart: isPart, body)
    }

    /// - Parameter origin: where the state comes from; it stands beside the engine's description.
    package static func withContent<T>(
        of image: EngineImage, from origin: SnapshotOrigin?, isPart: Bool = false,
        _ body: (SnapshotContent) throws -> T
    ) throws -> T {
        let encoder = JSONEncoder()
        // Thresholds of quantiles are infinite until they are known.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: infinities.positive, negativeInfinity: infinities.negative, nan: infinities.nan)
        encoder.outputFormatting = .sortedKeys
        return try withExtendedLifetime(image) {
            try body(
                SnapshotContent(
                    position: image.metadata.position,
                    metadata: encoder.encode(Description(metadata: image.metadata, origin: origin)),
                    sections: image.sections.map { SnapshotSection(name: $0.name, regions: $0.regions) },
                    weights: image.weights.map {
                        SnapshotTensor(name: $0.name, shape: $0.shape, values: $0.values)
                    }, isPart: isPart))
        }
    }

    /// - Throws: `SnapshotMismatch` when the description is not that of an engine.
    public static func metadata(_ snapshot: Snapshot) throws -> EngineImage.Metadata {
        // What another format says of itself may not even be readable.
        let format = SnapshotShelf.format(snapshot.metadata)
        if let format, !StateFormat.isRead(format) { throw SnapshotMismatch(snapshot.info.name, ofFormat: format) }
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: infinities.positive, negativeInfinity: infinities.negative, nan: infinities.nan)
        do {
            let description =
                format == StateFormat.current ? snapshot.metadata : try StateFormat.completed(snapshot.metadata)
            return try decoder.decode(EngineImage.Metadata.self, from: description)
        } catch {
            throw SnapshotMismatch("\(snapshot.info.name) is of another version of clvd: \(error)")
        }
    }
}
