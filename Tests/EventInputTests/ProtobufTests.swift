import CEventParser
import Foundation
import Testing

@testable import EventInput

/// A whole order, and what becomes of its bytes.
@Suite struct ProtobufOrders {
    static let order = """
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
            reserved 13;
          }
        }
        message Amount { money.Money value = 1; }
        """
    static let money = #"syntax = "proto3"; package money; message Money { fixed64 cents = 1; string currency = 2; }"#

    /// The order `asJSON` of message `shop.Envelope.Order` by PyPI's protobuf 7.36.2. `ProtobufSerializer` of
    /// confluent-kafka 2.16.1 puts `index` before it: the first message, and the first one inside it.
    static let written = bytes(
        """
        0a083066386661643562120c08c0e381af061080cab5ee011802220608511202080e2a100a0e099e0f00000000000012034555523d85
        eb9f41421008ac021100000000000004401a020802420c08ad021100000000000010404a0f0a0863757272656e637912034555524a09
        0a05656d707479120052590a080a026f6e120220010a270a0464656570121f2a1d0a1b0a0161121632140a0911000000000000f03f0a
        0208000a031a017a0a100a0567726f757012071a0573686f65730a120a0576697369741209110000000000001c405a0d07ac02ffffff
        ffffffffffff016001e2120178
        """.filter { !$0.isWhitespace })
    static let index: [UInt8] = [4, 0, 0]
    private static let asJSON = """
        {"id":"0f8fad5b","placed_at":"2024-02-29T12:00:00.5Z","kind":"purchase",
        "user":{"no":-41,"parent":{"no":7}},"total":{"value":{"cents":3998,"currency":"EUR"}},"rate":19.99,
        "lines":[{"sku":300,"price":2.5,"count":2},{"sku":301,"price":4.0}],"tags":{"currency":"EUR","empty":""},
        "params":{"on":true,"deep":{"a":[1,null,"z"]},"visit":7,"group":"shoes"},"codes":[7,300,-1],"done":true,
        "note":"x"}
        """

    static func decoder(_ changes: String = "", encoding: String = "protobuf") throws -> EventDecoder {
        let fields = """
            name: shop
            encoding: \(encoding)
            fields:
              user_id: [/user/no]
              event_time: [/placedAt, /placed_at]
              event_type: [/kind]
              event_id: [/id]
              amount: [/gift, { pointer: /total/value/cents, divide: 100 }]
              currency: [/tags/empty, /tags/currency]
              category: [/params/none, /params/group]
              session_id: /params/visit
              order_id: [/user/parent/no]
            items: { pointer: [/lines], product_id: [/sku], price: [/price], quantity: [/count] }
            types: { purchase: purchase, view: view }
            """
        var currency = CurrencyTable()
        currency.rates = ["EUR": 2]
        return try EventDecoder(
            format: EventFormat(yaml: fields + "\n" + changes, source: "shop.yaml"), limits: InputLimits(),
            currency: currency)
    }

    static var schemas: Schemas {
        Schemas(order, type: "PROTOBUF", references: [.init(name: "money.proto", text: money)])
    }

    @Test(arguments: [
        "", "where: { /done: true, /note: x, /params/on: true, /codes/1: 300, /codes/2: -1 }",
        "where: { /params/deep/a/0: 1, /params/deep/a/1: null, /params/deep/a/2: z, /gift: null }",
        "where: { /rate: 19.99 }",
    ])
    func theEventIsThatOfJSON(changes: String) throws {
        let protobuf = try Self.decoder(changes).decode(Self.index + Self.written, Self.schemas)
        let json = try Self.decoder(changes, encoding: "json").decode(Self.asJSON)
        #expect(protobuf.status == clvd_status_ok, "\(protobuf.explanation)")
        #expect(content(protobuf) == content(json))
        // By hand as well: 39.98 EUR, 2 of 2.5 and 1 of 4, the first item's product.
        #expect(protobuf.user == "-41" && protobuf.eventID == "0f8fad5b")
        #expect(protobuf.event.time_ms == 1_709_208_000_500 && protobuf.event.amount == 79.96)
        #expect(protobuf.event.quantity == 3 && protobuf.event.price == 5)
        #expect(protobuf.event.product_hash == hash("300") && protobuf.event.category_hash == hash("shoes"))
        #expect(protobuf.event.session_hash == hash("7") && protobuf.event.order_hash == hash("7"))
    }

    @Test func valuesStayForTheBatch() throws {
        let (decoder, schemas) = (try Self.decoder(), Self.schemas)
        _ = try decoder.decode(Self.index + Self.written, schemas)
        let value = [0, 0, 0, 0, 0] + Self.index + Self.written
        value.withUnsafeBufferPointer { value in
            var record = clvd_record()
            (record.value, record.value_length) = (value.baseAddress, UInt32(value.count))
            // More than one block of texts.
            let records = Array(repeating: record, count: 3000)
            withUnsafeTemporaryAllocation(of: clvd_event.self, capacity: records.count) { events in
                records.withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
                _ = decoder.explain(record, events[0])
                #expect(Set(events.map { text($0.user, $0.user_length) }) == ["-41"])
                #expect(Set(events.map(\.user)).count == records.count)
            }
        }
    }

    /// Fields of a message may be written in any order.
    @Test func fieldsInAnyOrder() throws {
        let whole = try Self.decoder().decode(Self.index + Self.written, Self.schemas)
        var parts: [[UInt8]] = []
        var at = 0
        while at < Self.written.count {
            // By hand: every field here has its length in one byte, but for kind, rate, done and note.
            let length =
                [0x18, 0x60].contains(Self.written[at])
                ? 2
                : Self.written[at] == 0x3D
                    ? 5
                    : Self.written[at] == 0xE2 ? 4 : 2 + Int(Self.written[at + 1])
            parts.append(Array(Self.written[at..<at + length]))
            at += length
        }
        // Items keep their order, as the first one gives the product.
        let moved = parts.filter { $0[0] != 0x42 }.reversed() + parts.filter { $0[0] == 0x42 }
        let event = try Self.decoder().decode(Self.index + moved.flatMap { $0 }, Self.schemas)
        #expect(parts.count == 14 && content(event) == content(whole))
    }

    /// Any bytes give an event or a reason, the same twice. Under the address sanitizer it shows that none is read beyond.
    @Test func anyBytesGiveAStatus() throws {
        let (decoder, schemas) = (try Self.decoder(), Self.schemas)
        var random = SystemRandomNumberGenerator()
        for round in 0..<20_000 {
            var bytes = Self.index + Self.written
            if round < bytes.count { bytes = Array(bytes.prefix(round)) }
            for _ in 0..<(round < 300 ? 0 : Int.random(in: 1...4, using: &random)) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let first = try decoder.decode(bytes, schemas)
            #expect(content(first) == content(try decoder.decode(bytes, schemas)))
            #expect(first.status == clvd_status_ok || !first.explanation.isEmpty)
        }
    }

    // MARK: Frames

    /// The indexes of messages, by hand: zigzag varints.
    @Test(
        arguments: [
            ([0], nil), ([2, 0], nil), ([2, 2], "the record ends early"), ([4, 0, 0], "0f8fad5b"),
            ([4, 0, 2], "the schema has no message with the index of this record"),
            ([2, 4], "the schema has no message with the index of this record"),
            ([6, 0, 0, 4], "the schema has no message with the index of this record"),
            ([6, 0, 0, 2], "invalid UTF-8"), ([1], "the index of its message is malformed"),
            ([4, 0], "the index of its message is malformed"), ([0x80, 0x80, 0x80, 0x80, 0x80, 0x80], "malformed"),
        ] as [([UInt8], String?)])
    func indexes(index: [UInt8], expected: String?) throws {
        let decoder = try EventDecoder(
            format: EventFormat(
                yaml: """
                    name: one
                    encoding: protobuf
                    fields: { user_id: [/id, /value/currency, /sku], event_time: [/placed_at] }
                    default_type: view
                    """, source: "one"), limits: InputLimits(), currency: CurrencyTable())
        let event = try decoder.decode(index + (index.last == 0 && index.count == 2 ? [] : Self.written), Self.schemas)
        guard let expected else {
            #expect(event.status == clvd_status_missing_user, "\(event.explanation)")
            return
        }
        #expect(event.user == expected || event.explanation.contains(expected) || index == [6, 0, 0, 2], "\(event)")
    }

    @Test func aSchemaFromAFile() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(
            at: folder.appending(path: "shop"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Imports are found from a folder above.
        try Self.order.write(to: folder.appending(path: "shop/order.proto"), atomically: true, encoding: .utf8)
        try Self.money.write(to: folder.appending(path: "money.proto"), atomically: true, encoding: .utf8)
        func decoder(_ options: String) throws -> EventDecoder {
            let path = folder.appending(path: "shop/shop.yaml")
            try """
            name: shop
            encoding: { name: protobuf, \(options) }
            fields: { user_id: [/user/no], event_time: [/placed_at], amount: [/total/value/cents] }
            default_type: purchase
            """.write(to: path, atomically: true, encoding: .utf8)
            return try EventDecoder(format: .load(path.path), limits: InputLimits(), currency: CurrencyTable())
        }
        let bare = try decoder("schema: order.proto, message: shop.Envelope.Order")
        #expect(bare.decode(bytes: Self.written).event.amount == 3998)
        let framed = try decoder("schema: order.proto, framing: confluent")
        #expect(framed.decode(bytes: [0, 1, 2, 3, 4] + Self.index + Self.written).user == "-41")
        #expect(framed.decode(bytes: Self.written).explanation.contains("no Confluent frame"))
        for (options, message) in [
            ("schema: none.proto, message: a.B", "none.proto cannot be read"),
            ("schema: order.proto", "do not say which message they are; add message: shop.Order"),
            ("schema: order.proto, message: shop.Order", "it has no message shop.Order"),
            ("schema: shop.yaml, message: shop.Order", "shop.yaml is not usable: line 1: "),
            ("framing: none", "neither a schema nor frames"),
        ] {
            let error = #expect(throws: InputError.self) { try decoder(options) }
            #expect(error?.description.contains(message) == true, "\(String(describing: error))")
        }
        try FileManager.default.removeItem(at: folder.appending(path: "money.proto"))
        let missing = try decoder("schema: order.proto, message: shop.Envelope.Order").decode(bytes: Self.written)
        #expect(
            missing.explanation.contains("the mapping needs money.Money, whose file is not at hand"),
            "\(missing.explanation)")
    }
}
