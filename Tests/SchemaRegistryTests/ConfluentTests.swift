import CEventParser
import EventInput
import Foundation
import SchemaRegistry
import Testing

/// Frames by the serializers of PyPI's `confluent-kafka[avro,protobuf]`, read by the schemas that they have registered.
/// `CLVD_TEST_CONFLUENT` names a Python that has it, and `grpcio-tools`.
@Suite struct Confluent {
    private static let python = ProcessInfo.processInfo.environment["CLVD_TEST_CONFLUENT"]

    private static let order = """
        syntax = "proto3";
        package shop;
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        import "google/protobuf/struct.proto";
        import "money.proto";
        message Envelope {
          message Order {
            enum Kind { KIND_UNSPECIFIED = 0; view = 1; purchase = 2; }
            message User { sint64 no = 1; User parent = 2; }
            message Line { int32 sku = 1; double price = 2; google.protobuf.Int32Value count = 3; }
            string id = 1;
            google.protobuf.Timestamp placed_at = 2;
            Kind kind = 3;
            User user = 4;
            oneof worth { Amount total = 5; string gift = 6; }
            float rate = 7;
            repeated Line lines = 8;
            map<string, string> tags = 9;
            google.protobuf.Struct params = 10;
            repeated int32 codes = 11;
            bool done = 12;
            bytes note = 300;
          }
        }
        message Amount { money.Money value = 1; }
        """
    private static let money =
        #"syntax = "proto3"; package money; message Money { fixed64 cents = 1; string currency = 2; }"#

    @Test(.enabled(if: python != nil)) func itsFramesAreRead() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Self.order.write(to: folder.appending(path: "order.proto"), atomically: true, encoding: .utf8)
        try Self.money.write(to: folder.appending(path: "money.proto"), atomically: true, encoding: .utf8)
        let process = Process()
        let (input, output) = (Pipe(), Pipe())
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "confluent.py")
        process.executableURL = URL(fileURLWithPath: try #require(Self.python))
        process.arguments = [script.path, folder.path]
        (process.standardInput, process.standardOutput) = (input, output)
        try process.run()
        defer { process.terminate() }
        var said = Data()
        while said.count(where: { $0 == UInt8(ascii: "\n") }) < 2 {
            guard let part = try output.fileHandleForReading.read(upToCount: 1), !part.isEmpty else { break }
            said += part
        }
        let lines = String(decoding: said, as: UTF8.self).split(separator: "\n")
        try #require(lines.count == 2)
        let digits = lines[1].split(separator: " ")[1].compactMap(\.hexDigitValue)
        let frame = stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
        let format = try EventFormat(
            yaml: """
                name: shop
                encoding: protobuf
                fields:
                  user_id: [/user/no]
                  event_time: [/placedAt]
                  event_type: [/kind]
                  event_id: [/id]
                  amount: { pointer: /total/value/cents, divide: 100 }
                  currency: [/tags/currency]
                  session_id: /params/visit
                items: { pointer: [/lines], product_id: [/sku], price: [/price], quantity: [/count] }
                types: { purchase: purchase }
                """, source: "shop")
        var currency = CurrencyTable()
        currency.rates = ["EUR": 2]
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: currency)
        let registry = SchemaRegistry(url: String(lines[0]), auth: "")
        try frame.withUnsafeBufferPointer { frame in
            var record = clvd_record()
            (record.value, record.value_length, record.timestamp_ms) = (frame.baseAddress, UInt32(frame.count), -1)
            try [record].withUnsafeBufferPointer { records in
                try decoder.prepare(records, schemas: registry)
                var event = clvd_event()
                decoder.decode(records, into: &event)
                let user = String(
                    decoding: UnsafeBufferPointer(start: event.user, count: Int(event.user_length)), as: UTF8.self)
                #expect(event.status == UInt8(clvd_status_ok.rawValue), "\(decoder.explain(record, event))")
                #expect(user == "-41" && event.time_ms == 1_709_208_000_500 && event.amount == 79.96)
                #expect(event.quantity == 3 && event.session_hash == clvd_hash(Array("7".utf8), 1))
            }
        }
    }
}
