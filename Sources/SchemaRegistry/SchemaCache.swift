import CEventParser
import EventInput
import Foundation

/// Schemas that a registry has given, in a folder, so that a restart has them while the registry is away. Instances may
/// share the folder. A file has a checksum over the registry's address, the id and the schema, and appears whole or not at
/// all; one that is damaged counts as not there.
final class SchemaCache {
    /// Beyond these, the files that were written first go.
    static let mostFiles = 1_000
    static let mostBytes = 64 << 20

    private let folder: String
    private let url: String
    private let warn: (String) -> Void
    /// The folder cannot be written to, which was said.
    private var isRefused = false

    /// - Parameter url: of the registry; schemas of another one have other files.
    init(folder: String, url: String, warn: @escaping (String) -> Void) {
        (self.folder, self.url, self.warn) = (folder, url, warn)
    }

    private struct Content: Codable {
        var type: String
        var text: String
        var references: [WriterSchema.Reference]
    }

    func schema(id: UInt32) -> WriterSchema? {
        let path = path(id)
        guard let file = FileManager.default.contents(atPath: path) else { return nil }
        guard let end = file.firstIndex(of: UInt8(ascii: "\n")) else { return damaged(path) }
        let body = file[file.index(after: end)...]
        guard file[..<end].elementsEqual(checksum(id, body).utf8),
            let content = try? JSONDecoder().decode(Content.self, from: body)
        else { return damaged(path) }
        return WriterSchema(type: content.type, text: content.text, references: content.references)
    }

    private func damaged(_ path: String) -> WriterSchema? {
        warn("the schema in \(path) is damaged; it is fetched again")
        return nil
    }

    func keep(_ schema: WriterSchema, id: UInt32) {
        let content = Content(type: schema.type, text: schema.text, references: schema.references)
        guard let body = try? JSONEncoder().encode(content) else { return }
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try write(Array(checksum(id, body).utf8) + [UInt8(ascii: "\n")] + body, to: path(id))
            try limit()
        } catch {
            if !isRefused { warn("schemas cannot be kept in \(folder), set as input.registry.cache: \(error)") }
            isRefused = true
        }
    }

    // MARK: Files

    private var prefix: String { "schema-" + hexadecimal(hash(Array(url.utf8))) + "-" }

    private func path(_ id: UInt32) -> String { "\(folder)/\(prefix)\(id)" }

    private func checksum(_ id: UInt32, _ body: Data) -> String {
        hexadecimal(hash(Array("\(url)\n\(id)\n".utf8) + body))
    }

    private func hash(_ bytes: [UInt8]) -> UInt64 { clvd_hash(bytes, bytes.count) }

    private func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Writes a file whole, or not at all.
    private func write(_ bytes: [UInt8], to path: String) throws {
        let part = "\(path).\(getpid())"
        let descriptor = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        let isWritten =
            bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress!, $0.count) } == bytes.count
            && fsync(descriptor) == 0
        let isClosed = close(descriptor) == 0
        guard isWritten, isClosed, rename(part, path) == 0 else {
            let code = errno
            unlink(part)
            throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EIO)
        }
    }

    /// Removes the oldest files of this cache, of any registry, while there are too many.
    private func limit() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix("schema-") }
        var files = names.compactMap { name -> (path: String, bytes: Int, time: Double)? in
            var status = stat()
            let path = "\(folder)/\(name)"
            guard stat(path, &status) == 0 else { return nil }
            let time = Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9
            return (path, Int(status.st_size), time)
        }
        var bytes = files.reduce(0) { $0 + $1.bytes }
        files.sort { ($0.time, $0.path) < ($1.time, $1.path) }
        for file in files.dropLast() {
            guard files.count > Self.mostFiles || bytes > Self.mostBytes else { return }
            unlink(file.path)
            bytes -= file.bytes
            files.removeFirst()
        }
    }
}
