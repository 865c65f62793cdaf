import CEventParser
import Foundation

@testable import EventInput

/// Schemas in memory, as a registry has them.
final class Schemas: SchemaSource {
    var known: [UInt32: WriterSchema] = [:]
    var asked: [UInt32] = []

    init(_ texts: String..., type: String = "AVRO", references: [WriterSchema.Reference] = []) {
        for (id, text) in texts.enumerated() {
            known[UInt32(id)] = WriterSchema(type: type, text: text, references: references)
        }
    }

    func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema {
        asked.append(id)
        guard let schema = known[id] else { throw SchemaUnavailable(id: id, reason: "nobody knows it") }
        return schema
    }
}

extension EventDecoder {
    /// A framed record, after its schema has been asked for.
    func decode(_ body: [UInt8], schema id: UInt32 = 0, _ schemas: Schemas) throws -> Decoded {
        let bytes = [0] + withUnsafeBytes(of: id.bigEndian, Array.init) + body
        try bytes.withUnsafeBufferPointer { bytes in
            var record = clvd_record()
            record.value = bytes.baseAddress
            record.value_length = UInt32(bytes.count)
            try [record].withUnsafeBufferPointer { try prepare($0, schemas: schemas) }
        }
        return decode(bytes: bytes)
    }
}

func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.filter { $0 != " " }.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// What an event holds, without addresses.
func content(_ decoded: Decoded) -> String {
    var event = decoded.event
    (event.user, event.event_id) = (nil, nil)
    return "\(decoded.user) \(decoded.eventID) \(event)"
}
