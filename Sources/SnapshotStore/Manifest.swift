internal import CSnapshot
import Foundation

/// `snapshot-` and a position of 20 digits, so that names sort as positions do; `-part-` and a number when it holds a
/// part of the state only, of which there may be several at one position.
enum SnapshotName {
    static let prefix = "snapshot-"
    static let writing = ".writing-"
    static let removing = ".removing-"
    private static let part = "-part-"

    static func text(of position: Int64, part number: Int? = nil) -> String {
        let digits = String(position)
        return prefix + String(repeating: "0", count: 20 - digits.count) + digits
            + (number.map { part + String($0) } ?? "")
    }

    /// nil for a name that no snapshot has.
    static func position(of name: String) -> Int64? { parse(name)?.position }

    /// nil for one that is no part.
    static func part(of name: String) -> Int? { parse(name)?.part }

    private static func parse(_ name: String) -> (position: Int64, part: Int?)? {
        guard name.hasPrefix(prefix) else { return nil }
        let rest = name.dropFirst(prefix.count)
        let place = rest.firstRange(of: part)
        guard let position = Int64(rest[..<(place?.lowerBound ?? rest.endIndex)]), position >= 0 else { return nil }
        var number: Int?
        if let place {
            guard let found = Int(rest[place.upperBound...]), found > 0 else { return nil }
            number = found
        }
        return text(of: position, part: number) == name ? (position, number) : nil
    }

    /// Newest last: by position; at equal positions the whole snapshot after the parts, since it is written after them.
    static func precedes(_ a: String, _ b: String) -> Bool {
        guard let x = parse(a), let y = parse(b) else { return a < b }
        return (x.position, x.part ?? .max) < (y.position, y.part ?? .max)
    }
}

/// `manifest.json`: one line of JSON whose first keys and last ones are at fixed places.
///
///     {"format":1,"createdAt":…,"position":…,"sections":[…],"metadata":{…},"files":[…],"checksum":"…"}
struct Manifest: Decodable {
    static let format = 1
    static let name = "manifest.json"
    static let weightsName = "weights.safetensors"
    /// Most bytes of a manifest that is read into memory.
    static let maxBytes = 256 << 20
    /// Limit of the length that a manifest may state for a file, so that sums of lengths cannot overflow.
    static let maxFileBytes: Int64 = 1 << 44

    struct File: Decodable {
        let name: String
        let bytes: Int64
        let xxh128: String
    }

    let format: Int
    let createdAt: Date
    let position: Int64
    /// A JSON object; its bytes are kept unchanged.
    private let metadata: Object
    let sections: [String]
    let files: [File]

    /// The file of a section. A section whose name is no valid file name (too long, or other characters) is named by its checksum.
    static func fileName(ofSection name: String) -> String {
        let isPlain = name.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        return (isPlain && (1...200).contains(name.utf8.count) ? name : checksum(Data(name.utf8))) + ".bin"
    }

    static func checksum(_ bytes: Data) -> String {
        var text = [CChar](repeating: 0, count: Int(CLVD_CHECKSUM_LENGTH) + 1)
        bytes.withUnsafeBytes { clvd_snapshot_checksum($0.baseAddress, $0.count, &text) }
        return string(text)
    }

    static func string(_ text: [CChar]) -> String {
        String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    static func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        // Text and numbers, nothing that could fail.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "null"
    }

    static func isObject(_ json: Data) -> Bool { (try? JSONDecoder().decode(Object.self, from: json)) != nil }

    /// The part that is known before anything is written.
    static func head(createdAt: Date, position: Int64, sections: [String], metadata: Data) -> Data {
        let time = createdAt.formatted(.iso8601)
        let start =
            #"{"format":\#(format),"createdAt":"\#(time)","position":\#(position),"sections":\#(json(sections))"#
        return Data(start.utf8) + Data(#","metadata":"#.utf8) + metadata
    }

    /// Checks the bytes of a manifest from the outside in; nothing is used before it was checked.
    /// - Returns: the manifest and the application's metadata.
    /// - Throws: `SnapshotError` of kind `corrupt`, about `path`.
    static func parse(_ bytes: Data, path: String) throws -> (Manifest, metadata: Data) {
        let (opening, closing) = (#"],"checksum":""#, "\"}\n")
        let length = Int(CLVD_CHECKSUM_LENGTH)
        let covered = bytes.count - length - closing.utf8.count
        guard covered > 0, bytes.suffix(closing.utf8.count) == Data(closing.utf8),
            bytes.prefix(covered).suffix(opening.utf8.count) == Data(opening.utf8),
            bytes.dropFirst(covered).prefix(length) == Data(checksum(bytes.prefix(covered)).utf8)
        else { throw SnapshotError.damaged(path, "the checksum of the manifest does not fit its content") }
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        // Long manifests take time, so a valid one is read only once.
        let manifest = try? decoder.decode(Manifest.self, from: bytes)
        guard let found = manifest?.format ?? (try? decoder.decode(Format.self, from: bytes).format) else {
            throw SnapshotError.damaged(path, "this is no manifest of a snapshot")
        }
        guard found == format else {
            throw SnapshotError.damaged(path, "it has format \(found), this program reads \(format)")
        }
        // A quote within text has a backslash before it, so neither of these is found inside of text; no later key is
        // called `files`.
        guard let manifest, manifest.isSound,
            let start = bytes.range(of: Data(#","metadata":"#.utf8))?.upperBound,
            let stop = bytes.range(of: Data(#","files":["#.utf8), options: .backwards)?.lowerBound, start <= stop
        else { throw SnapshotError.damaged(path, "the manifest lacks something, or says what cannot be") }
        return (manifest, Data(bytes[start..<stop]))
    }

    /// Files must be exactly those of the sections and the weights, each once, with names that stay inside the folder.
    private var isSound: Bool {
        let expected = Set(sections.map(Self.fileName) + [Self.weightsName])
        return position >= 0 && expected.count == sections.count + 1 && files.count == expected.count
            && Set(files.map(\.name)) == expected && files.allSatisfy { (0...Self.maxFileBytes).contains($0.bytes) }
    }

    private struct Format: Decodable { let format: Int }

    private struct Object: Decodable {
        enum Key: CodingKey {}
        init(from decoder: any Decoder) throws { _ = try decoder.container(keyedBy: Key.self) }
    }
}
