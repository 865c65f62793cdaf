import CEventParser
import EventInput
import Foundation
import TestSupport
import Testing

@testable import Engine

/// The same events, once as JSON and once as Protobuf.
@Suite struct EncodedStreams {
    /// The wire format, written by hand: an independent encoder of just what is needed here.
    private struct Message {
        var bytes: [UInt8] = []

        private mutating func varint(_ value: UInt64) {
            var rest = value
            while rest >= 0x80 {
                bytes.append(UInt8(rest & 0x7F) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }

        mutating func add(_ number: UInt64, _ part: [UInt8]) {
            varint(number << 3 | 2)
            varint(UInt64(part.count))
            bytes += part
        }
        mutating func add(_ number: UInt64, _ text: String) { add(number, Array(text.utf8)) }
        mutating func add(_ number: UInt64, _ value: UInt64) {
            varint(number << 3)
            varint(value)
        }
        mutating func add(_ number: UInt64, _ value: Double) {
            varint(number << 3 | 1)
            withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
        }
    }

    private static let schema = """
        syntax = "proto3";
        import "google/protobuf/timestamp.proto";
        message Event {
          message Item { string sku = 1; double price = 2; sint32 count = 3; }
          string user_id = 4;
          google.protobuf.Timestamp event_time = 1;
          enum Kind { other = 0; view = 1; purchase = 2; refund = 3; }
          Kind event_type = 2;
          string event_id = 3;
          optional double amount = 5;
          string order_id = 6;
          string category = 7;
          repeated Item items = 8;
        }
        """

    private static func format(_ encoding: String) throws -> EventFormat {
        try EventFormat(
            yaml: """
                name: events
                encoding: \(encoding)
                fields:
                  user_id: [/user_id]
                  event_time: [/event_time]
                  event_type: [/event_type]
                  event_id: [/event_id]
                  amount: [/amount]
                  order_id: [/order_id]
                  category: [/category]
                items: { pointer: [/items], product_id: [/sku], price: [/price], quantity: [/count] }
                types: { view: view, purchase: purchase, refund: refund }
                """, source: "events.yaml")
    }

    /// Updates, alerts and dead letters of values under a format.
    private static func outputs(_ values: [[UInt8]], _ format: EventFormat) throws -> [Said] {
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        let memory = values.map { value in
            let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: value.count)
            _ = copy.initialize(from: value)
            return copy
        }
        defer { for copy in memory { copy.deallocate() } }
        let records = memory.enumerated().map { offset, value in
            var record = clvd_record()
            (record.value, record.value_length) = (UnsafePointer(value.baseAddress), UInt32(value.count))
            (record.offset, record.timestamp_ms) = (Int64(offset), -1)
            return record
        }
        let engine = Engine.make()
        var said: [Said] = []
        var events = Array(repeating: clvd_event(), count: 100)
        for start in stride(from: 0, to: records.count, by: 100) {
            records[start..<start + 100].withUnsafeBufferPointer { records in
                events.withUnsafeMutableBufferPointer { events in
                    decoder.decode(records, into: events.baseAddress!)
                    engine.step(UnsafeBufferPointer(events))
                }
            }
            engine.forEachOutput { entry in
                said.append(
                    Said(
                        kind: entry.kind, reason: entry.reason, record: start + Int(entry.record),
                        key: String(decoding: entry.key, as: UTF8.self),
                        value: String(decoding: entry.value, as: UTF8.self)))
            }
        }
        return said
    }

    @Test func jsonAndProtobufGiveTheSameOutputs() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).proto").path
        try Self.schema.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        var random = RandomNumbers(seed: 5)
        var (json, protobuf): ([[UInt8]], [[UInt8]]) = ([], [])
        for i in 0..<2000 {
            let user = "user-\(random.below(40))", kind = [1, 1, 1, 2, 2, 3, 0][random.below(7)]
            let (seconds, thousandths) = (1_609_718_400 + Int64(i) * 6_000, random.below(1000))
            let amount = Double(random.below(10_000)) / 100
            let whole = Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601).dropLast()
            let name = ["other", "view", "purchase", "refund"][kind]
            var text = #"{"user_id":"\#(user)","event_time":"\#(whole).\#(String(thousandths + 1000).dropFirst())Z""#
            text += #","event_type":"\#(name)","category":"c\#(i % 5)""#
            var message = Message()
            var time = Message()
            time.add(1, UInt64(seconds))
            time.add(2, UInt64(thousandths) * 1_000_000)
            // Not in the order of their numbers.
            message.add(4, user)
            if kind != 0 { message.add(2, UInt64(kind)) }
            message.add(1, time.bytes)
            message.add(7, "c\(i % 5)")
            if i % 4 != 0 {
                text += #","event_id":"e\#(i % 900)""#
                message.add(3, "e\(i % 900)")
            }
            if kind >= 2, i % 2 == 0 {
                text += #","amount":\#(amount),"order_id":"o\#(i / 3)""#
                message.add(5, amount)
                message.add(6, "o\(i / 3)")
            } else if kind == 2 {
                var lines: [String] = []
                for n in 0..<(1 + random.below(3)) {
                    let (price, count) = (Double(random.below(900)) / 8, 1 + random.below(4))
                    lines.append(#"{"sku":"s\#(n)","price":\#(price),"count":\#(count)}"#)
                    var item = Message()
                    item.add(1, "s\(n)")
                    item.add(2, price)
                    item.add(3, UInt64(count) << 1)
                    message.add(8, item.bytes)
                }
                text += #","items":[\#(lines.joined(separator: ","))]"#
            }
            json.append(Array((text + "}").utf8))
            protobuf.append(message.bytes)
        }
        let expected = try Self.outputs(json, Self.format("json"))
        let said = try Self.outputs(
            protobuf, Self.format("{ name: protobuf, schema: \(path), message: Event }"))
        let (updates, refused) = (expected.count { $0.kind == .update }, expected.count { $0.kind == .deadLetter })
        #expect(updates > 1400 && refused == 0, "\(updates) \(refused)")
        #expect(said == expected)
    }
}
