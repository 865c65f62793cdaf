import CEventParser
import Foundation
import Testing

@testable import EventInput

/// Values by their types, and malformed ones: bytes and numbers by hand, after protobuf.dev, "Encoding".
@Suite struct ProtobufValues {
    /// A message with a user (1), a time in seconds (2) and what `body` declares. `x` is field 3.
    private static func one(
        _ body: String, fields: String = "amount: [/x]", syntax: String = "proto3", more: String = ""
    ) throws -> (EventDecoder, Schemas) {
        let format = try EventFormat(
            yaml: """
                name: one
                encoding: protobuf
                fields: { user_id: [/u], event_time: { pointer: /t, unit: s }, \(fields) }
                default_type: purchase
                numeric_strings: true
                \(more)
                """, source: "one")
        var limits = InputLimits()
        limits.maxAmount = 1e13
        let optional = syntax == "proto2" ? "optional " : ""
        let schema = """
            syntax = "\(syntax)";
            import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
            import "google/protobuf/struct.proto"; import "confluent/type/decimal.proto";
            import "google/type/money.proto"; import "confluent/meta.proto";
            message R { \(optional)string u = 1; \(optional)int64 t = 2; \(body) }
            """
        return (
            try EventDecoder(format: format, limits: limits, currency: CurrencyTable()),
            Schemas(schema, type: "PROTOBUF")
        )
    }

    /// The first message; user `a`; 1700000000 s.
    private static let head = bytes("00 0a0161 1080e2cfaa06")

    private static func decode(
        _ body: String, _ value: String, fields: String = "amount: [/x]", syntax: String = "proto3",
        more: String = ""
    ) throws -> Decoded {
        let (decoder, schemas) = try one(body, fields: fields, syntax: syntax, more: more)
        return try decoder.decode(head + bytes(value), schemas)
    }

    @Test(
        arguments: [
            ("int32 x = 3;", "18 2a", 42), ("int64 x = 3;", "18 80a094a58d1d", 1_000_000_000_000),
            ("uint32 x = 3;", "18 ffffffff0f", 4_294_967_295), ("uint64 x = 3;", "18 ac02", 300),
            ("sint32 x = 3;", "18 54", 42), ("sint64 x = 3;", "18 feffffff0f", 2_147_483_647),
            ("fixed32 x = 3;", "1d 01000080", 2_147_483_649), ("fixed64 x = 3;", "19 0700000000000000", 7),
            ("sfixed32 x = 3;", "1d 05000000", 5), ("sfixed64 x = 3;", "19 0001000000000000", 256),
            ("float x = 3;", "1d 9a99993f", 1.2), ("double x = 3;", "19 000000000000f83f", 1.5),
            ("string x = 3;", "1a 04312e3235", 1.25), ("bytes x = 3;", "1a 0137", 7),
            ("google.protobuf.DoubleValue x = 3;", "1a 09 09 000000000000f83f", 1.5),
            ("google.protobuf.Int64Value x = 3;", "1a 02 0803", 3),
            ("google.protobuf.Value x = 3;", "1a 0311 0000", -1),
            ("google.protobuf.Value x = 3;", "1a 09 11 000000000000f83f", 1.5),
            ("confluent.type.Decimal x = 3;", "1a 08 0a020801 1009 1802", 20.49),
            ("confluent.type.Decimal x = 3;", "1a 03 0a0107", 7),
            ("google.type.Money x = 3;", "1a 09 0a03455552 1013 1800", 19),
            ("google.type.Money x = 3;", "1a 08 1013 1880e788d803", 19.99),
            // Of an integer too wide for its type, the low bits count, as everywhere.
            ("uint32 x = 3;", "18 8780808080808001", 7),
        ] as [(String, String, Double)])
    func numbers(body: String, value: String, expected: Double) throws {
        let event = try Self.decode(body, value)
        if expected < 0 {
            #expect(event.explanation.contains("the record ends early"), "\(event.explanation)")
            return
        }
        #expect(event.status == clvd_status_ok, "\(event.explanation)")
        #expect(event.user == "a" && event.event.time_ms == 1_700_000_000_000)
        #expect(abs(event.event.amount - expected) <= 1e-12 * expected, "\(event.event.amount)")
    }

    @Test(arguments: [
        ("double x = 3;", "19 000000000000f87f", "got number nan"),
        ("int32 x = 3;", "18 ffffffffffffffffff01", "-1 is negative"),
        ("sint32 x = 3;", "18 01", "-1 is negative"), ("sfixed64 x = 3;", "19 feffffffffffffff", "-2 is negative"),
        ("bool x = 3;", "18 05", "got true"), ("double x = 3;", "19 0000", "the record ends early"),
        ("int32 x = 3;", "18 ff", "the record ends early"), ("string x = 3;", "1a 05 61", "the record ends early"),
        ("string x = 3;", "1a ffffffffffffffffff01", "the record ends early"),
        ("string x = 3;", "1a 02 c328", "invalid UTF-8"),
        ("int64 x = 3;", "18 ffffffffffffffffff02", "an integer has more than 64 bits"),
        ("int64 x = 3;", "18 80808080808080808080", "an integer has more than 64 bits"),
        ("int32 x = 3;", "00 01", "no field has this number"),
        ("int32 x = 3;", "8080808080 01", "no field has this number"),
        ("int32 x = 3;", "1e", "a field is of no known wire type"),
        ("int32 x = 3;", "2c", "a group ends that has not begun"),
        ("int32 x = 3;", "2b 18", "the record ends early"),
        ("int32 x = 3;", "2b 34", "a group ends that has not begun"),
        ("google.protobuf.Timestamp x = 3;", "1a 07 10 80c8afa004", "the record ends early"),
        (
            "google.protobuf.Timestamp x = 3;", "1a 06 10 80ca b5ee 07",
            "the nanos of a timestamp are not below a second"
        ),
        ("google.protobuf.Timestamp x = 3;", "1a 07 08 ffffffffff 7f", "a timestamp is not in the years 1 to 9999"),
        ("R x = 3;", "1a 03 1a 02 18", "the record ends early"),
        ("repeated R x = 3;", "", ""),
    ])
    func malformedValues(body: String, value: String, reason: String) throws {
        let event = try Self.decode(body, value)
        if reason.isEmpty {
            #expect(event.status == clvd_status_ok)
            return
        }
        #expect(event.status.rawValue >= clvd_status_first_rejection.rawValue)
        #expect(event.explanation.contains(reason), "\(event.explanation)")
    }

    @Test func deepNesting() throws {
        func nested(_ depth: Int) -> [UInt8] {
            (0..<depth).reduce([]) { inner, _ in
                var (length, varint): (Int, [UInt8]) = (inner.count, [])
                while length >= 0x80 {
                    varint.append(UInt8(length & 0x7F) | 0x80)
                    length >>= 7
                }
                return [0x1A] + varint + [UInt8(length)] + inner
            }
        }
        let place = String(repeating: "/x", count: 200) + "/u"
        let (decoder, schemas) = try Self.one("R x = 3;", fields: "amount: [\(place)]")
        #expect(try decoder.decode(Self.head + nested(100), schemas).status == clvd_status_ok)
        #expect(try decoder.decode(Self.head + nested(101), schemas).explanation.contains("nested deeper than 100"))
        let groups = Array(repeating: UInt8(0x2B), count: 101) + Array(repeating: 0x2C, count: 101)
        #expect(try decoder.decode(Self.head + groups, schemas).explanation.contains("nested deeper than 100"))
        #expect(try decoder.decode(Self.head + groups.dropFirst().dropLast(), schemas).status == clvd_status_ok)
    }

    // MARK: What is written more than once, or not

    @Test(
        arguments: [
            // The last one counts, and parts of a message add up.
            ("int32 x = 3;", "amount: [/x]", "1801 1807", 7),
            (
                "M x = 3; message M { int32 a = 1; int32 b = 2; }", "price: [/x/a], quantity: [/x/b]",
                "1a020802 1a021003", 6
            ),
            (
                "M x = 3; message M { int32 a = 1; int32 b = 2; }", "price: [/x/a], quantity: [/x/b]",
                "1a04 0802 1005 1a021003", 6
            ),
            ("google.type.Money x = 3;", "amount: [/x]", "1a02 1013 1a06 1880e788d803", 19.99),
            // Another member of a oneof takes the place of what was there, also one that the mapping does not read.
            ("oneof o { int32 x = 3; int32 y = 4; }", "amount: [/x, /y]", "1801 2007", 7),
            ("oneof o { int32 x = 3; int32 y = 4; } ", "amount: [/x, /z], price: [/w]", "1809 2007", 0),
            (
                "oneof o { M x = 3; int32 y = 4; } message M { int32 a = 1; int32 b = 2; }",
                "price: [/x/a], quantity: [/x/b]", "1a020802 2001 1a021003", 0
            ),
            // Written as another type than the schema's: an unknown field.
            ("int32 x = 3;", "amount: [/x]", "1807 1a0133 1d00000000", 7),
            // Elements, packed and not, and by their places.
            ("repeated int32 x = 3;", "price: [/x/0], quantity: [/x/2]", "1a020207 1804", 8),
            ("repeated int32 x = 3 [packed = false];", "price: [/x/0], quantity: [/x/2]", "1a020207 1804", 8),
            ("repeated double x = 3;", "amount: [/x/1]", "1a10 000000000000f03f 0000000000000040", 2),
            // Maps: the last entry of a key counts as a whole, and an entry without a value has the default.
            ("map<string, int32> x = 3;", "amount: [/x/k]", "1a050a016b1007 1a050a016b1008 1a050a016c1009", 8),
            ("map<string, int32> x = 3;", "amount: [/x/k, /y]", "1a050a016b1007 1a030a016b", 0),
            (
                "map<int32, M> x = 3; message M { int32 a = 1; int32 b = 2; }", "price: [/x/-2/a], quantity: [/x/-2/b]",
                "1a11 08feffffffffffffffff01 1204 0802 1003", 6
            ),
            ("map<bool, int64> x = 3;", "amount: [/x/false]", "1a02 1007", 7),
            ("map<fixed64, float> x = 3;", "amount: [/x/5]", "1a0e 15 00000040 09 0500000000000000", 2),
            // JSON names, also those that are declared.
            ("int32 unit_price = 3;", "amount: [/unitPrice]", "1807", 7),
            (#"int32 unit_price = 3 [json_name = "cost"];"#, "amount: [/cost]", "1807", 7),
            // Lists and objects of Struct.
            ("google.protobuf.Struct x = 3;", "amount: [/x/a]", "1a10 0a0e 0a0161 1209 11 0000000000001c40", 7),
            ("google.protobuf.ListValue x = 3;", "amount: [/x/1]", "1a0f 0a020800 0a09 11 0000000000001c40", 7),
            // Elements by the value of a field: the first that has it.
            (
                "repeated P x = 3; message P { int32 v = 2; string k = 1; }", "amount: [\"/x/[k=b]/v\"]",
                "1a050a01611001 1a0510070a0162 1a050a01621009", 7
            ),
            (
                "repeated P x = 3; message P { int32 v = 2; E k = 1; } enum E { a = 0; b = 1; }",
                "amount: [\"/x/[k=a]/v\"]",
                "1a0408011001 1a021007", 7
            ),
        ] as [(String, String, String, Double)])
    func repeatedValues(body: String, fields: String, value: String, expected: Double) throws {
        let event = try Self.decode(body, value, fields: fields)
        #expect(event.status == clvd_status_ok && event.event.amount == expected, "\(event) \(event.event.amount)")
    }

    /// A field without presence has its default, one with presence is not there; proto2 may declare a default.
    @Test(
        arguments: [
            ("proto3", "int32 x = 3;", "", 0, false), ("proto3", "optional int32 x = 3;", "", 9, false),
            ("proto3", "google.protobuf.Int32Value x = 3;", "", 9, false),
            ("proto3", "google.protobuf.Int32Value x = 3;", "1a00", 0, false),
            ("proto2", "optional int32 x = 3;", "", 9, false),
            ("proto2", "optional int32 x = 3 [default = 5];", "", 5, false),
            ("proto2", "optional int32 x = 3 [default = 5];", "1800", 0, false),
            ("proto2", "optional double x = 3 [default = 1.5];", "", 1.5, false),
            ("proto2", "oneof o { int32 x = 3 [default = 5]; }", "", 9, false),
            ("proto2", "optional group X = 3 { optional int32 y = 1; }", "1b 0807 1c", 7, true),
            ("proto2", "repeated group X = 3 { optional int32 y = 1; }", "1b 0807 1c 1b 0809 1c", 7, true),
            ("proto2", "required int32 x = 3; extensions 100 to 200;", "1807 a00601", 7, false),
        ] as [(String, String, String, Double, Bool)])
    func whatIsNotWritten(syntax: String, body: String, value: String, expected: Double, isInside: Bool) throws {
        let place = isInside ? (body.contains("repeated") ? "/x/0/y" : "/x/y") : "/x"
        let event = try Self.decode(
            body, value, fields: "amount: [\(place), /fallback]", syntax: syntax, more: "defaults: { amount: 9 }")
        #expect(event.status == clvd_status_ok && event.event.amount == expected, "\(event) \(event.event.amount)")
    }

    /// Names of enums, and numbers that have none. proto2's enums are closed.
    @Test(arguments: [
        ("proto3", "", "none", 1), ("proto3", "1801", "buy", 1), ("proto3", "1863", "99", 1),
        ("proto3", "1801 1863", "99", 1),
        ("proto2", "", "", 1), ("proto2", "1863", "", 1), ("proto2", "1801 1863", "buy", 1),
    ])
    func enums(syntax: String, value: String, expected: String, _: Int) throws {
        let optional = syntax == "proto2" ? "optional " : ""
        let event = try Self.decode(
            "\(optional)E x = 3; enum E { none = 0; buy = 1; }", value, fields: "category: [/x]", syntax: syntax)
        #expect(event.event.category_hash == (expected.isEmpty ? 0 : hash(expected)), "\(event)")
    }

    /// Times as JSON has them, where they are not the time of the event.
    @Test(arguments: [
        ("1a00", "1970-01-01T00:00:00Z"), ("1a0d 08c0e381af06 1080cab5ee01", ""),
        ("1a0c 08c0e381af06 1080cab5ee01", "2024-02-29T12:00:00.500Z"), ("1a02 1001", "1970-01-01T00:00:00.000000001Z"),
        ("1a0b 08ffffffffffffffffff01", "1969-12-31T23:59:59Z"), ("1a03 10e807", "1970-01-01T00:00:00.000001Z"),
        ("1a0b 088092b8c398feffffff01", "0001-01-01T00:00:00Z"), ("1a07 08fffd bcf1 f60f", ""),
    ])
    func times(value: String, expected: String) throws {
        let event = try Self.decode("google.protobuf.Timestamp x = 3;", value, fields: "category: [/x]")
        if expected.isEmpty { return }
        #expect(event.event.category_hash == hash(expected), "\(event)")
    }

    /// Every item has its own defaults, and nothing of the one before.
    @Test func itemsAreOneByOne() throws {
        let (decoder, schemas) = try Self.one(
            "repeated L x = 3; message L { string id = 1; double price = 2; optional int32 n = 3; "
                + "google.protobuf.Timestamp at = 4; repeated int32 q = 5; }",
            fields: "amount: [/none]",
            more: "items: { pointer: /x, product_id: /id, price: /price, quantity: [/n, /q/0] }")
        // 3 of 2.5; one without a price, which is 0; 2 of 1 by q.
        let items = "1a0e 0a0161 11 0000000000000440 1803 1a03 0a0162 1a0f 0a0163 11 000000000000f03f 2a0102"
        let event = try decoder.decode(Self.head + bytes(items), schemas)
        #expect(event.event.amount == 9.5 && event.event.quantity == 6, "\(event)")
        #expect(event.event.product_hash == hash("a") && event.event.price == 2.5)
    }

    // MARK: Schemas

    @Test(arguments: [
        ("{", "line 1: "),
        ("syntax = \"proto3\"; message R { int32 a = 1; int32 b = 1; }", "has already been used"),
        ("edition = \"2023\"; message R {}", "line 1: "),
        (
            "syntax = \"proto3\"; " + String(repeating: "message M {", count: 100) + String(repeating: "}", count: 100),
            "it is nested deeper than 64"
        ),
        ("syntax = \"proto3\"; import \"money.proto\";", "line 1: Expected top-level"),
    ])
    func unusableSchemas(text: String, reason: String) throws {
        let decoder = try ProtobufOrders.decoder()
        let references: [WriterSchema.Reference] =
            text.contains("money") ? [.init(name: "money.proto", text: "}")] : []
        let event = try decoder.decode([0], Schemas(text, type: "PROTOBUF", references: references))
        #expect(event.status == clvd_status_wrong_type)
        #expect(event.explanation.contains("schema id 0: the schema is not usable"), "\(event.explanation)")
        #expect(event.explanation.contains(reason) || text.contains("money"), "\(event.explanation)")
    }

    /// `FileDescriptorProto` in base64, as Python's client registers it (and a registry that keeps it so returns it): the
    /// message `R { string u = 1; int64 t = 2; }` of proto3, by hand.
    @Test func aDescriptorInsteadOfText() throws {
        let user = bytes("0a0175 1801 2001 2809"), time = bytes("0a0174 1802 2001 2803")
        let message = bytes("0a0152") + [0x12, UInt8(user.count)] + user + [0x12, UInt8(time.count)] + time
        let descriptor = bytes("0a0166") + [0x22, UInt8(message.count)] + message + bytes("6206 70726f746f33")
        let (decoder, schemas) = try Self.one("")
        schemas.known[0] = WriterSchema(
            type: "PROTOBUF", text: Data(descriptor).base64EncodedString(), references: [])
        let event = try decoder.decode(Self.head, schemas)
        #expect(event.status == clvd_status_ok && event.user == "a", "\(event.explanation)")
    }
}
