internal import CSnapshot
public import Foundation

/// Raw memory under a name: the concatenation of its regions.
public struct SnapshotSection {
    public let name: String
    public let regions: [UnsafeRawBufferPointer]

    /// - Parameter name: any text that is unique among the sections of the snapshot.
    public init(name: String, regions: [UnsafeRawBufferPointer]) {
        self.name = name
        self.regions = regions
    }
}

/// A tensor for other programs to read, row-major.
public struct SnapshotTensor {
    public let name: String
    public let shape: [Int]
    public let values: UnsafeBufferPointer<Float>

    /// - Parameter values: as many as the product of `shape`.
    public init(name: String, shape: [Int], values: UnsafeBufferPointer<Float>) {
        precondition(shape.reduce(1, *) == values.count, "tensor \(name): \(values.count) values for shape \(shape)")
        self.name = name
        self.shape = shape
        self.values = values
    }
}

/// What one snapshot consists of. The memory belongs to the caller and is not read any more once `begin` or `write` has
/// returned: the forked child has its own copy.
public struct SnapshotContent {
    public let position: Int64
    public let metadata: Data
    public let sections: [SnapshotSection]
    public let weights: [SnapshotTensor]
    /// Whether it is a part of the state. A part replaces no other snapshot of its position.
    public let isPart: Bool
    /// Tells parts of the same position apart; the store chooses it.
    var part: Int?

    /// - Parameters:
    ///   - position: names the snapshot; not negative. A whole snapshot replaces an older whole one of its position.
    ///   - metadata: one JSON object, handed back byte for byte.
    ///   - sections: with names that differ.
    ///   - weights: with names that differ.
    ///   - isPart: whether it holds a part of the state only; it stands beside others of the same position.
    public init(
        position: Int64, metadata: Data, sections: [SnapshotSection], weights: [SnapshotTensor], isPart: Bool = false
    ) {
        precondition(position >= 0, "the position of a snapshot is not negative")
        precondition(Manifest.isObject(metadata), "the metadata of a snapshot is one JSON object")
        precondition(Set(sections.map(\.name)).count == sections.count, "sections of a snapshot differ in their names")
        precondition(Set(weights.map(\.name)).count == weights.count, "tensors of a snapshot differ in their names")
        self.position = position
        self.metadata = metadata
        self.sections = sections
        self.weights = weights
        self.isPart = isPart
    }

    var name: String { SnapshotName.text(of: position, part: part) }
    var fileNames: [String] { sections.map { Manifest.fileName(ofSection: $0.name) } + [Manifest.weightsName] }

    /// Lays out files and manifest for the C code. All of it is valid until `body` returns.
    func withPlan<R>(
        createdAt: Date, calls: UnsafePointer<clvd_file_calls>, directory: Int32, lock: Int32, temporaryName: String,
        _ body: (UnsafePointer<clvd_snapshot_plan>) throws -> R
    ) rethrows -> R {
        let arena = Arena()
        let header = arena.copy(Safetensors.header(weights, position: position))
        let head = arena.copy(
            Manifest.head(
                createdAt: createdAt, position: position, sections: sections.map(\.name), metadata: metadata))
        let contents = sections.map(\.regions) + [[header] + weights.map { UnsafeRawBufferPointer($0.values) }]
        let files = zip(fileNames, contents).map { name, regions in
            clvd_snapshot_file(
                name: arena.string(name),
                regions: arena.array(regions.map { clvd_region(bytes: $0.baseAddress, length: $0.count) }),
                region_count: regions.count)
        }
        var plan = clvd_snapshot_plan()
        plan.calls = calls
        plan.directory = directory
        plan.lock = lock
        plan.temporary_name = arena.string(temporaryName)
        plan.final_name = arena.string(name)
        plan.files = arena.array(files)
        plan.file_count = files.count
        plan.manifest_name = arena.string(Manifest.name)
        plan.head = head.baseAddress?.assumingMemoryBound(to: CChar.self)
        plan.head_length = head.count
        plan.manifest_capacity = clvd_snapshot_manifest_capacity(&plan)
        plan.manifest = arena.allocate(plan.manifest_capacity).baseAddress?.assumingMemoryBound(to: CChar.self)
        return try withExtendedLifetime(arena) { try withUnsafePointer(to: plan, body) }
    }
}

/// Memory that C reads, freed all at once.
private final class Arena {
    private var pieces: [UnsafeMutableRawBufferPointer] = []

    deinit { for piece in pieces { piece.deallocate() } }

    func allocate(_ count: Int) -> UnsafeMutableRawBufferPointer {
        pieces.append(.allocate(byteCount: count, alignment: 16))
        return pieces[pieces.count - 1]
    }

    func copy(_ bytes: some Collection<UInt8>) -> UnsafeRawBufferPointer {
        let piece = allocate(bytes.count)
        piece.copyBytes(from: bytes)
        return UnsafeRawBufferPointer(piece)
    }

    func string(_ text: String) -> UnsafePointer<CChar>? {
        copy(Array(text.utf8) + [0]).baseAddress?.assumingMemoryBound(to: CChar.self)
    }

    func array<T: BitwiseCopyable>(_ values: [T]) -> UnsafePointer<T>? {
        let piece = allocate(values.count * MemoryLayout<T>.stride).bindMemory(to: T.self)
        _ = piece.initialize(from: values)
        return UnsafePointer(piece.baseAddress)
    }
}

/// The format of the weights: length of the header, header, values (https://github.com/huggingface/safetensors).
enum Safetensors {
    /// Everything before the values, which follow in order and without gaps.
    static func header(_ tensors: [SnapshotTensor], position: Int64) -> Data {
        var json = #"{"__metadata__":{"position":"\#(position)"}"#
        var offset = 0
        for tensor in tensors {
            let end = offset + tensor.values.count * MemoryLayout<Float>.size
            json += #",\#(Manifest.json(tensor.name)):{"dtype":"F32","shape":\#(Manifest.json(tensor.shape)),"#
            json += #""data_offsets":[\#(offset),\#(end)]}"#
            offset = end
        }
        json += "}"
        // Values are aligned, so that readers can map them.
        json += String(repeating: " ", count: -json.utf8.count & 7)
        return withUnsafeBytes(of: UInt64(json.utf8.count).littleEndian) { Data($0) } + Data(json.utf8)
    }
}
