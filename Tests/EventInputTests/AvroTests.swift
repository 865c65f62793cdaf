import CEventParser
import Foundation
import Testing

@testable import EventInput

@Suite struct Avro {
    // MARK: A whole event

    private static let order = """
        {"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"id","type":{"type":"string","logicalType":"uuid"}},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["view","purchase"]}},
        {"name":"user","type":["null",{"type":"record","name":"User","fields":[{"name":"no","type":"long"},
            {"name":"parent","type":["null","User"]}]}]},
        {"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
        {"name":"rate","type":"float"},
        {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
            {"name":"sku","type":"int"},{"name":"price","type":"double"},{"name":"count","type":["null","int"]}]}}},
        {"name":"tags","type":{"type":"map","values":["null","string","boolean"]}},
        {"name":"params","type":{"type":"array","items":{"type":"record","name":"Param","fields":[
            {"name":"value","type":["null","string","long"]},{"name":"key","type":"string"}]}}},
        {"name":"day","type":{"type":"int","logicalType":"date"}},{"name":"gone","type":"null"},
        {"name":"done","type":"boolean"}]}
        """
    /// An order of this schema by PyPI's fastavro 1.13.1 and by Apache's avro 1.12.2, which write the same bytes, as does
    /// `AvroSerializer` of confluent-kafka 2.16.1 after the frame. `asJSON` is what was written.
    private static let written = bytes(
        """
        4830663866616435622d643963622d343639662d613136352d373038363737323839353065c0c4bcfbffa08906020251020e00040f9e
        85eb9f4104d80400000000000004400204da0400000000000010400000061063757272656e637902064555520a656d70747900087061
        696404010004040e0a7669736974020a73686f65730a67726f7570008cb50201
        """.filter { !$0.isWhitespace })
    private static let asJSON = """
        {"id":"0f8fad5b-d9cb-469f-a165-70867728950e","at":"2024-02-29T12:00:00.5Z","kind":"purchase",
        "user":{"no":-41,"parent":{"no":7,"parent":null}},"total":39.98,"rate":19.99,
        "lines":[{"sku":300,"price":2.5,"count":2},{"sku":301,"price":4.0,"count":null}],
        "tags":{"currency":"EUR","empty":null,"paid":true},
        "params":[{"value":7,"key":"visit"},{"value":"shoes","key":"group"}],
        "day":"2024-02-29T00:00:00Z","gone":null,"done":true}
        """

    private static func decoder(_ changes: String = "", encoding: String = "avro") throws -> EventDecoder {
        let fields = """
            name: shop
            encoding: \(encoding)
            fields:
              user_id: [/user/no]
              event_time: [/at]
              event_type: [/kind]
              event_id: [/id]
              amount: [/gone, /total]
              currency: [/tags/empty, /tags/currency]
              category: /params/[key=group]/value
              session_id: /params/[key=visit]/value
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

    @Test(arguments: ["", "where: { /done: true, /tags/paid: true, /gone: null }", "where: { /rate: 19.99 }"])
    func theEventIsThatOfJSON(changes: String) throws {
        let avro = try Self.decoder(changes).decode(Self.written, Schemas(Self.order))
        let json = try Self.decoder(changes, encoding: "json").decode(Self.asJSON)
        #expect(avro.status == clvd_status_ok, "\(avro.explanation)")
        #expect(content(avro) == content(json))
        // By hand as well: 39.98 EUR, 2 of 2.5 and 1 of 4, the first item's product.
        #expect(avro.user == "-41" && avro.eventID == "0f8fad5b-d9cb-469f-a165-70867728950e")
        #expect(avro.event.time_ms == 1_709_208_000_500 && avro.event.amount == 79.96)
        #expect(avro.event.quantity == 3 && avro.event.price == 5 && avro.event.product_hash == hash("300"))
        #expect(avro.event.category_hash == hash("shoes") && avro.event.session_hash == hash("7"))
        #expect(avro.event.order_hash == hash("7"))
    }

    @Test func valuesStayForTheBatch() throws {
        let (decoder, schemas) = (try Self.decoder(), Schemas(Self.order))
        _ = try decoder.decode(Self.written, schemas)
        let value = [0, 0, 0, 0, 0] + Self.written
        value.withUnsafeBufferPointer { value in
            var record = clvd_record()
            (record.value, record.value_length) = (value.baseAddress, UInt32(value.count))
            // More than one block of texts.
            let records = Array(repeating: record, count: 3000)
            withUnsafeTemporaryAllocation(of: clvd_event.self, capacity: records.count) { events in
                records.withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
                _ = decoder.explain(record, events[0])
                let users = Set(events.map { text($0.user, $0.user_length) })
                #expect(users == ["-41"] && events.allSatisfy { $0.event_id_hash == events[0].event_id_hash })
                #expect(Set(events.map(\.user)).count == records.count)
            }
        }
    }

    @Test func whatIsCutShortIsADeadLetter() throws {
        let (decoder, schemas) = (try Self.decoder(), Schemas(Self.order))
        for length in 1..<Self.written.count {
            let cut = try decoder.decode(Array(Self.written.prefix(length)), schemas)
            #expect(cut.status == clvd_status_wrong_type)
            #expect(
                cut.explanation.hasPrefix(
                    "record: Confluent framing, schema id 0: Avro: the record ends early, at byte "))
        }
        let longer = try decoder.decode(Self.written + [0], schemas)
        #expect(longer.explanation.contains("Avro: bytes follow the record, at byte 145"))
        #expect(schemas.asked == [0])
    }

    /// Any bytes give an event or a reason, the same twice. Under the address sanitizer it shows that none is read beyond.
    @Test func anyBytesGiveAStatus() throws {
        let (decoder, schemas) = (try Self.decoder(), Schemas(Self.order))
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var bytes = Self.written
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let first = try decoder.decode(bytes, schemas)
            #expect(content(first) == content(try decoder.decode(bytes, schemas)))
            #expect(first.status == clvd_status_ok || !first.explanation.isEmpty)
        }
    }

    // MARK: Values

    private static func amounts(_ type: String, fields: String = "amount: [/x]") throws -> (EventDecoder, Schemas) {
        let format = try EventFormat(
            yaml: """
                name: one
                encoding: avro
                fields: { user_id: [/u], event_time: { pointer: /t, unit: s }, \(fields) }
                default_type: purchase
                numeric_strings: true
                """, source: "one")
        let schema = """
            {"type":"record","name":"R","fields":[{"name":"u","type":"string"},{"name":"t","type":"long"},
            {"name":"x","type":\(type)}]}
            """
        return (try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable()), Schemas(schema))
    }

    /// User `a`, at 1700000000 s = 2 × 850000000, as a zigzag of 3400000000.
    private static let head = bytes("0261 80c49fd50c")

    @Test(
        arguments: [
            (#""int""#, "54", 42), (#""long""#, "80890f", 123_456), (#""double""#, "000000000000f83f", 1.5),
            (#""float""#, "9a99993f", 1.2), (#""string""#, "08312e3235", 1.25), (#"["null","int"]"#, "0206", 3),
            (#"["int","null"]"#, "0006", 3),
            (#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}"#, "0207", 0.007),
            (#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, "060007d0", 20),
            (#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":0}"#, "00", 0),
            (
                #"{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":9,"scale":2}"#, "00000801",
                20.49
            ),
            (
                #"{"type":"bytes","logicalType":"decimal","precision":60,"scale":40}"#,
                "22 01 0000 0000 0000 0000 0000 0000 0000 0000", 0.034028236692093846
            ),
            (#"{"type":"enum","name":"E","symbols":["5","7"]}"#, "02", 7),
        ] as [(String, String, Double)])
    func numbers(type: String, value: String, expected: Double) throws {
        let (decoder, schemas) = try Self.amounts(type)
        let event = try decoder.decode(Self.head + bytes(value), schemas)
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.user == "a" && event.event.time_ms == 1_700_000_000_000)
        #expect(abs(event.event.amount - expected) <= 1e-12 * expected)
    }

    @Test(arguments: [
        (#""double""#, "000000000000f87f", "got number nan"), (#""double""#, "000000000000f0ff", "got number -inf"),
        (#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, "02ff", "-0.01 is negative"),
        (#""boolean""#, "02", "a boolean is neither 0 nor 1"), (#"["null"]"#, "02", "a union has no such branch"),
        (#"["null"]"#, "01", "a union has no such branch"),
        (#"{"type":"enum","name":"E","symbols":["5"]}"#, "02", "an enum has no such symbol"),
        (#""string""#, "01", "a length is negative"), (#""string""#, "04c328", "invalid UTF-8"),
        (#""string""#, "7f", "a length is negative"), (#""string""#, "fe", "the record ends early"),
        (#""long""#, "ffffffffffffffffff03", "an integer has more than 64 bits"),
        (#""long""#, "80808080808080808080", "an integer has more than 64 bits"),
        // Two blocks of eight nulls in a record of ten bytes; 2^62 nulls; and a block of -2^63 entries that ends after the record.
        (#"{"type":"array","items":"null"}"#, "10 10 00", "the record ends early"),
        (#"{"type":"array","items":"null"}"#, "80808080808080808001", "the record ends early"),
        (#"{"type":"array","items":"null"}"#, "ffffffffffffffffff01 02", "a block ends after the record"),
        (#"{"type":"map","values":"null"}"#, "02 02", "the record ends early"),
        (
            #"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
            String(repeating: "02", count: 300), "nested deeper than 128"
        ),
    ])
    func malformedValues(type: String, value: String, reason: String) throws {
        let (decoder, schemas) = try Self.amounts(type)
        let event = try decoder.decode(Self.head + bytes(value), schemas)
        #expect(event.status.rawValue >= clvd_status_first_rejection.rawValue)
        #expect(event.explanation.contains(reason), "\(event.explanation)")
    }

    /// 2024-02-29 12:00:00.123 in each unit; a date is its midnight. What is written names the unit, the mapping need not.
    @Test(
        arguments: [
            ("timestamp-millis", "long", 1_709_208_000_123, 1_709_208_000_123),
            ("timestamp-micros", "long", 1_709_208_000_123_999, 1_709_208_000_123),
            ("timestamp-nanos", "long", 1_709_208_000_123_999_999, 1_709_208_000_123),
            ("local-timestamp-millis", "long", 1_709_208_000_123, 1_709_208_000_123),
            ("date", "int", 19_782, 1_709_164_800_000),
        ] as [(String, String, Int64, Int64)])
    func times(logical: String, type: String, value: Int64, expected: Int64) throws {
        for unit in ["iso8601", "ms", "us"] {
            let schemas = try Self.amounts(#"{"type":"\#(type)","logicalType":"\#(logical)"}"#).1
            let format = try EventFormat(
                yaml: """
                    name: one
                    encoding: avro
                    fields: { user_id: [/u], event_time: { pointer: /x, unit: \(unit) } }
                    default_type: purchase
                    """, source: "one")
            let timed = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
            var bits = UInt64(bitPattern: value << 1 ^ value >> 63)
            var varint: [UInt8] = []
            while bits >= 0x80 {
                varint.append(UInt8(bits & 0x7F) | 0x80)
                bits >>= 7
            }
            let event = try timed.decode(Self.head + varint + [UInt8(bits)], schemas)
            #expect(event.event.time_ms == expected, "\(event.explanation)")
        }
    }

    /// Blocks with their size in bytes, as Java writes them on request, and what the mapping does not read is passed over.
    @Test func blocksWithSizes() throws {
        let (decoder, schemas) = try Self.amounts(#"{"type":"array","items":"string"}"#, fields: "amount: [/x/1]")
        let event = try decoder.decode(Self.head + bytes("03 08 0237 0238 01 04 0239 00"), schemas)
        #expect(event.event.amount == 8, "\(event.explanation)")
        let (other, more) = try Self.amounts(#"{"type":"array","items":"string"}"#, fields: "amount: [/y]")
        #expect(try other.decode(Self.head + bytes("03 04 ffff 00"), more).status == clvd_status_ok)
    }

    // MARK: Schemas

    @Test(arguments: [
        ("{", "it is not JSON"), ("7", "a type is neither a name, a list nor an object"),
        (#"{"type":"strnig"}"#, "\"strnig\" is not declared"),
        (#"{"type":"record","name":"R"}"#, "\"fields\" is missing"),
        (#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#, "a record contains itself"),
        (#"{"type":"fixed","name":"F","size":-1}"#, "\"size\" is not a size"),
        (
            #"["int",{"type":"enum","name":"int2","symbols":[]},{"type":"fixed","name":"int2","size":1}]"#,
            "\"int2\" is declared twice"
        ),
        (String(repeating: "[", count: 100) + String(repeating: "]", count: 100), "it is nested deeper than 64"),
    ])
    func unusableSchemas(text: String, reason: String) throws {
        let decoder = try Self.decoder()
        let event = try decoder.decode([0], Schemas(text))
        #expect(event.status == clvd_status_wrong_type)
        #expect(event.explanation.contains("schema id 0: the schema is not usable: \(reason)"), "\(event.explanation)")
    }

    /// Records doubled thirty times over would be a thousand million values, none of which needs a byte.
    @Test func schemasOfTooManyValues() throws {
        var fields = #"{"name":"f0","type":{"type":"record","name":"R0","fields":[{"name":"n","type":"null"}]}}"#
        for i in 1...30 {
            let inner = #"{"name":"a","type":"R\#(i - 1)"},{"name":"b","type":"R\#(i - 1)"}"#
            fields += #",{"name":"f\#(i)","type":{"type":"record","name":"R\#(i)","fields":[\#(inner)]}}"#
        }
        let event = try Self.decoder().decode([0], Schemas(#"{"type":"record","name":"R","fields":[\#(fields)]}"#))
        #expect(event.explanation.contains("a record has more than 20000 values"), "\(event.explanation)")
    }

    @Test func schemasReferToOthers() throws {
        let (decoder, schemas) = try Self.amounts(#""money.Amount""#, fields: "amount: [/x/value]")
        let amount = """
            {"type":"record","name":"Amount","namespace":"money","fields":[{"name":"value","type":"Unit"}]}
            """
        let unit = #"{"type":"fixed","name":"money.Unit","size":1,"logicalType":"decimal","scale":1}"#
        schemas.known[0] = WriterSchema(
            type: "AVRO", text: schemas.known[0]!.text, references: [unit, amount].map { .init(name: "", text: $0) })
        #expect(try decoder.decode(Self.head + [25], schemas).event.amount == 2.5)
    }

    @Test func recordsWithoutASchema() throws {
        let (decoder, schemas) = (try Self.decoder(), Schemas(Self.order))
        #expect(throws: SchemaUnavailable(id: 9, reason: "nobody knows it")) {
            try decoder.decode(Self.written, schema: 9, schemas)
        }
        // It is asked for again, and then no more.
        schemas.known[9] = schemas.known[0]
        for _ in 0..<2 { #expect(try decoder.decode(Self.written, schema: 9, schemas).status == clvd_status_ok) }
        #expect(schemas.asked == [9, 9])
        schemas.known[8] = WriterSchema(type: "PROTOBUF", text: "", references: [])
        #expect(
            try decoder.decode([0], schema: 8, schemas).explanation
                == "record: Confluent framing, schema id 8: the schema is PROTOBUF, and the format says encoding: avro")
        let plain = decoder.decode(Self.asJSON)
        #expect(plain.status == clvd_status_wrong_type && plain.explanation.contains("no Confluent frame"))
        #expect(decoder.decode(bytes: nil).status == clvd_status_tombstone)
    }

    @Test func aSchemaFromAFile() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Self.order.write(to: folder.appending(path: "order.avsc"), atomically: true, encoding: .utf8)
        func decoder(_ options: String) throws -> EventDecoder {
            let path = folder.appending(path: "shop.yaml")
            try """
            name: shop
            encoding: { name: avro, \(options) }
            fields: { user_id: [/user/no], event_time: [/at], event_type: [/kind] }
            """.write(to: path, atomically: true, encoding: .utf8)
            return try EventDecoder(format: .load(path.path), limits: InputLimits(), currency: CurrencyTable())
        }
        #expect(try decoder("schema: order.avsc").decode(bytes: Self.written).user == "-41")
        let framed = try decoder("schema: order.avsc, framing: confluent")
        #expect(framed.decode(bytes: [0, 1, 2, 3, 4] + Self.written).user == "-41")
        #expect(framed.decode(bytes: Self.written).status == clvd_status_wrong_type)
        for (options, message) in [
            ("schema: none.avsc", "none.avsc cannot be read"),
            ("schema: shop.yaml", "shop.yaml is not usable: it is not JSON"),
            ("framing: none", "neither a schema nor frames"),
            ("schema: order.avsc, framing: magic", "none of confluent, none"),
        ] {
            let error = #expect(throws: InputError.self) { try decoder(options) }
            #expect(error?.description.contains(message) == true, "\(String(describing: error))")
        }
    }
}
