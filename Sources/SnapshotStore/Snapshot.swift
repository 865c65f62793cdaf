internal import CSnapshot
public import Foundation

/// Which snapshot, where, how large, how old.
public struct SnapshotInfo: Sendable, Equatable, Codable {
    public let position: Int64
    /// The name of the snapshot and of its folder.
    public let name: String
    /// The absolute path of the folder, or what replaces it in another kind of store.
    public let path: String
    /// Bytes of all files.
    public let bytes: Int64
    /// When it was begun, to the second.
    public let createdAt: Date

    /// - Parameter path: absolute; its last component is the snapshot's name.
    public init(position: Int64, path: String, bytes: Int64, createdAt: Date) {
        self.position = position
        self.name = (path as NSString).lastPathComponent
        self.path = path
        self.bytes = bytes
        self.createdAt = createdAt
    }

    /// Describes a folder without verifying its files. The date of one with a damaged manifest is the folder's.
    init(unverified path: String, position: Int64) throws {
        let folder = try Folder(path)
        let parsed = try? folder.manifest().manifest
        var status = stat()
        fstat(folder.descriptor, &status)
        var bytes: Int64 = 0
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] {
            var file = stat()
            if fstatat(folder.descriptor, name, &file, AT_SYMLINK_NOFOLLOW) == 0 { bytes += Int64(file.st_size) }
        }
        let changed = Date(timeIntervalSince1970: Double(status.st_mtim.tv_sec))
        self.init(position: position, path: path, bytes: bytes, createdAt: parsed?.createdAt ?? changed)
    }
}

/// An open snapshot. Either all of it was verified, and its files are mapped read-only while this object exists; or its
/// sections are read and verified one by one, when they are requested.
public final class Snapshot {
    public let info: SnapshotInfo
    /// The application's JSON object, byte for byte as it was given.
    public let metadata: Data
    public let sectionNames: [String]
    /// The files, without the manifest, with their XXH3-128 as `xxh128sum` prints it; none in another kind of store.
    public let files: [(name: String, bytes: Int64, checksum: String)]
    /// The sections that were read.
    private var contents: [String: Content] = [:]
    /// Reads and verifies a section.
    private let read: (String) throws -> Content

    /// - Parameter wholly: true: verifies everything now. False: verifies the manifest now and each section when it is read;
    ///   sections are then copied into memory, because another machine may remove the files while they are in use.
    /// - Throws: `SnapshotError`: `corrupt` when it is not what was written, `missing` when there is no such folder,
    ///   `io` when it cannot be read.
    init(path: String, wholly: Bool = true) throws {
        let folder = try Folder(path)
        let (manifest, metadata, bytes) = try folder.manifest()
        if let position = SnapshotName.position(of: (path as NSString).lastPathComponent) {
            guard position == manifest.position else {
                throw SnapshotError.damaged(path, "it is of position \(manifest.position), not of that of its name")
            }
        }
        self.metadata = metadata
        sectionNames = manifest.sections
        files = manifest.files.map { ($0.name, $0.bytes, $0.xxh128) }
        info = SnapshotInfo(
            position: manifest.position, path: path, bytes: manifest.files.reduce(Int64(bytes)) { $0 + $1.bytes },
            createdAt: manifest.createdAt)
        let filesByName = Dictionary(uniqueKeysWithValues: manifest.files.map { ($0.name, $0) })
        let expected = Dictionary(
            uniqueKeysWithValues: manifest.sections.compactMap { section in
                filesByName[Manifest.fileName(ofSection: section)].map { (section, $0) }
            })
        read = { name in
            guard let file = expected[name] else { throw Snapshot.noSection(name, path) }
            return try folder.copy(file)
        }
        guard wholly else { return }
        var mapped: [String: Content] = [:]
        for file in manifest.files { mapped[file.name] = try folder.map(file) }
        contents = expected.compactMapValues { mapped[$0.name] }
    }

    /// A snapshot of another kind of store than a folder.
    /// - Parameters:
    ///   - metadata: the application's JSON object, byte for byte.
    ///   - read: the bytes of a section, one of `sectionNames`. Called when the section is first asked for; the bytes are
    ///     copied. Throws `SnapshotError`: `corrupt` when they are not what was written, `missing` when the snapshot's
    ///     owner has removed it meanwhile, `io`.
    public init(
        info: SnapshotInfo, metadata: Data, sectionNames: [String], read: @escaping (_ section: String) throws -> Data
    ) {
        self.info = info
        self.metadata = metadata
        self.sectionNames = sectionNames
        files = []
        self.read = { name in
            let bytes = try read(name)
            guard let content = Content(copying: bytes.count) else {
                throw SnapshotError("read section \(name) of", info.path, errno: errno)
            }
            if !bytes.isEmpty { bytes.copyBytes(to: UnsafeMutableRawBufferPointer(mutating: content.bytes)) }
            return content
        }
    }

    /// The bytes of a section, aligned to a page, valid while this object exists: keep it with `withExtendedLifetime`.
    /// - Throws: `SnapshotError`: `missing` when it has no such section; where it was not verified wholly `corrupt`
    ///   when it is not what was written, `missing` when its owner has removed it meanwhile, `io`.
    public func section(_ name: String) throws -> UnsafeRawBufferPointer {
        if let content = contents[name] { return content.bytes }
        guard sectionNames.contains(name) else { throw Snapshot.noSection(name, info.path) }
        let content = try read(name)
        contents[name] = content
        return content.bytes
    }

    private static func noSection(_ name: String, _ path: String) -> SnapshotError {
        SnapshotError(
            .missing, "read", path, "it has no section \(name)",
            advice: "it was written by another version of this program, or with another configuration")
    }
}

/// The bytes of a file: mapped, or a copy.
private final class Content {
    let bytes: UnsafeRawBufferPointer

    /// Memory to read a file into; nil with errno set when the system refuses.
    init?(copying count: Int) {
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        guard let start = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0), start != MAP_FAILED else {
            return nil
        }
        bytes = UnsafeRawBufferPointer(start: start, count: count)
    }

    /// nil with errno set when the system refuses.
    init?(mapping descriptor: Int32, count: Int) {
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
            return nil
        }
        bytes = UnsafeRawBufferPointer(start: start, count: count)
    }

    deinit { if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) } }
}

/// The open folder of a snapshot.
private final class Folder {
    let descriptor: Int32
    private let path: String

    init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SnapshotError("open", path, errno: errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    func manifest() throws -> (manifest: Manifest, metadata: Data, bytes: Int) {
        let bytes = try withFile(Manifest.name) { file, count throws in
            guard count <= Manifest.maxBytes else {
                throw SnapshotError.damaged(path, "the manifest is too large to be one")
            }
            var bytes = Data(count: count)
            try bytes.withUnsafeMutableBytes { try read(Manifest.name, file, $0) }
            return bytes
        }
        let (manifest, metadata) = try Manifest.parse(bytes, path: path)
        return (manifest, metadata, bytes.count)
    }

    private func read(_ name: String, _ file: Int32, _ bytes: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < bytes.count {
            let n = pread(file, bytes.baseAddress! + done, bytes.count - done, off_t(done))
            if n > 0 {
                done += n
            } else if n == 0 || errno != EINTR {
                throw unreadable(name, n == 0 ? ENODATA : errno)
            }
        }
    }

    /// Copies a file into memory and verifies the copy.
    func copy(_ expected: Manifest.File) throws -> Content {
        let name = expected.name
        return try withFile(name) { file, count throws in
            guard Int64(count) == expected.bytes else {
                throw SnapshotError.damaged(path, "\(name) has \(count) bytes instead of \(expected.bytes)")
            }
            guard let content = Content(copying: count) else { throw unreadable(name, errno) }
            try read(name, file, UnsafeMutableRawBufferPointer(mutating: content.bytes))
            var text = [CChar](repeating: 0, count: Int(CLVD_CHECKSUM_LENGTH) + 1)
            clvd_snapshot_checksum(content.bytes.baseAddress, count, &text)
            guard Manifest.string(text) == expected.xxh128 else {
                throw SnapshotError.damaged(path, "the checksum of \(name) does not fit its content")
            }
            return content
        }
    }

    /// Verifies a file, then maps it.
    func map(_ expected: Manifest.File) throws -> Content {
        let name = expected.name
        return try withFile(name) { file, count throws in
            guard Int64(count) == expected.bytes else {
                throw SnapshotError.damaged(path, "\(name) has \(count) bytes instead of \(expected.bytes)")
            }
            var text = [CChar](repeating: 0, count: Int(CLVD_CHECKSUM_LENGTH) + 1)
            let error = clvd_snapshot_checksum_file(file, UInt64(count), &text)
            guard error == 0 else { throw unreadable(name, error) }
            guard Manifest.string(text) == expected.xxh128 else {
                throw SnapshotError.damaged(path, "the checksum of \(name) does not fit its content")
            }
            guard let content = Content(mapping: file, count: count) else { throw unreadable(name, errno) }
            return content
        }
    }

    /// Opens a regular file of this folder; a link or pipe in its place is not followed or waited for.
    private func withFile<R>(
        _ name: String, _ body: (Int32, Int) throws -> R
    ) throws -> R {
        let file = openat(descriptor, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard file >= 0 else { throw unreadable(name, errno) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw unreadable(name, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw SnapshotError.damaged(path, "\(name) is no regular file")
        }
        return try body(file, Int(status.st_size))
    }

    /// Without permission, memory or descriptors nothing is known of the file; every other error means that it is damaged.
    private func unreadable(_ name: String, _ code: Int32) -> SnapshotError {
        switch code {
        // The owner may have removed it since it was opened: a removal first renames the folder.
        case ENOENT, ESTALE:
            access(path, F_OK) == 0
                ? .damaged(path, "\(name) is missing") : SnapshotError("read", path, errno: ENOENT)
        case EIO, ENODATA, ELOOP, ENXIO: .damaged(path, "\(name): \(String(cString: strerror(code)))")
        default: SnapshotError("read", "\(path)/\(name)", errno: code)
        }
    }
}
