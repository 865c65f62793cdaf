import CEventParser
import EventInput
import Foundation

/// A schema and a record of it, of an encoding with schemas: everything up to a line of three dashes is the schema.
struct SchemaTarget {
    private let type: String
    private let format: EventFormat
    private static func mapping(_ encoding: String) -> String {
        """
        name: fuzz
        encoding: \(encoding)
        fields:
          user_id: [/user/no, /u]
          event_time: [/at, { pointer: /t, unit: s }]
          event_type: [/kind]
          amount: [/total]
          category: /params/[key=group]/value
          session_id: /params/0/value
          currency: [/tags/currency]
        items: { pointer: [/lines], product_id: [/sku], price: [/price], quantity: [/count] }
        single: [/events]
        batch: [/batch]
        default_type: purchase
        """
    }

    /// - Parameter encoding: avro or protobuf.
    init(_ encoding: String) {
        type = encoding.uppercased()
        format = try! EventFormat(yaml: Self.mapping(encoding), source: encoding)
    }

    private final class Schema: SchemaSource {
        let type: String
        let text: String
        init(_ type: String, _ text: String) { (self.type, self.text) = (type, text) }
        func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema {
            WriterSchema(type: type, text: text, references: [])
        }
    }

    func run(_ input: UnsafeRawBufferPointer) {
        let separator = Array("\n---\n".utf8)
        guard let end = Array(input).firstRange(of: separator) else { return }
        let schema = Schema(type, String(decoding: input[..<end.lowerBound], as: UTF8.self))
        let decoder = try! EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        // Of its own size, so that a byte read beyond is noticed.
        let body = [0, 0, 0, 0, 0] + input[end.upperBound...]
        let value = UnsafeMutableRawBufferPointer.allocate(byteCount: body.count, alignment: 1)
        defer { value.deallocate() }
        value.copyBytes(from: body)
        var record = clvd_record()
        record.value = UnsafePointer(value.baseAddress!.assumingMemoryBound(to: UInt8.self))
        record.value_length = UInt32(value.count)
        record.timestamp_ms = -1
        withUnsafeTemporaryAllocation(of: clvd_event.self, capacity: 2) { events in
            [record, record].withUnsafeBufferPointer {
                try! decoder.prepare($0, schemas: schema)
                decoder.decode($0, into: events.baseAddress!)
            }
            precondition(events[0].status == events[1].status)
            if events[0].status >= UInt8(clvd_status_first_rejection.rawValue) {
                precondition(!decoder.explain(record, events[0]).isEmpty)
            }
        }
    }
}
