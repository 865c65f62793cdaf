import CEventParser
import EventInput
import Foundation

/// A schema and a record of it: everything up to a line of three dashes is the schema.
struct AvroTarget {
    private let format: EventFormat
    private static let mapping = """
        name: avro
        encoding: avro
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

    init() { format = try! EventFormat(yaml: Self.mapping, source: "avro") }

    private final class Schema: SchemaSource {
        let text: String
        init(_ text: String) { self.text = text }
        func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema {
            WriterSchema(type: "AVRO", text: text, references: [])
        }
    }

    func run(_ input: UnsafeRawBufferPointer) {
        let separator = Array("\n---\n".utf8)
        guard let end = Array(input).firstRange(of: separator) else { return }
        let schema = Schema(String(decoding: input[..<end.lowerBound], as: UTF8.self))
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
