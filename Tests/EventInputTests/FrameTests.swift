import CEventParser
import Testing

@testable import EventInput

/// Records as a schema registry's serializers write them. `JSONSerializer` of PyPI's `confluent-kafka` 2.16.1 made just
/// these bytes of the same event, with a registry that gave the schema the id 100001.
@Suite struct Frames {
    private static let frame: [UInt8] = [0, 0, 1, 0x86, 0xA1]
    private static let event =
        #"{"event_id":"e-1","event_time":"2024-02-29T12:00:00Z","user_id":"u-1","event_type":"purchase","amount":19.5}"#

    @Test func jsonIsReadAfterTheFrame() throws {
        let decoder = try decoder()
        let plain = decoder.decode(Self.event)
        let framed = decoder.decode(bytes: Self.frame + Self.event.utf8)
        #expect(framed.status == clvd_status_ok, "\(framed.explanation)")
        #expect(framed.user == "u-1" && framed.eventID == "e-1")
        #expect(framed.event.amount == 19.5 && framed.event.time_ms == 1_709_208_000_000)
        #expect(framed.event.event_id_hash == plain.event.event_id_hash && framed.type == plain.type)
        #expect(decoder.decode(bytes: Self.frame + " \n".utf8 + Self.event.utf8).status == clvd_status_ok)
    }

    @Test func anotherBodyNamesItsSchema() throws {
        let decoder = try decoder()
        let avro = decoder.decode(bytes: Self.frame + [6, 0x75, 0x2D, 0x31])
        #expect(avro.status == clvd_status_invalid_json)
        #expect(
            avro.explanation
                == "record: Confluent framing, schema id 100001: the body is not JSON; is it Avro or Protobuf? "
                + "(encoding: avro or protobuf in the format, and input.registry)")
        let blank = decoder.decode(bytes: [0, 0xFF, 0xFF, 0xFF, 0xFF, 0x20])
        #expect(blank.explanation.contains("schema id 4294967295: the body is not JSON"))
    }

    @Test func brokenJSONSaysWhere() throws {
        let broken = try decoder().decode(bytes: Self.frame + #"{"user_id":"u-1","#.utf8)
        #expect(broken.status == clvd_status_invalid_json)
        #expect(broken.explanation.hasPrefix("record: Confluent framing, schema id 100001: invalid JSON: "))
        #expect(broken.explanation.hasSuffix("at byte 21"))
        let array = try decoder().decode(bytes: Self.frame + "[]".utf8)
        #expect(array.explanation.hasSuffix("an event is a JSON object at byte 5"))
    }

    /// A frame has a body, and what a rejection says of one record says nothing of the next.
    @Test func aFrameIsNoFrameWithoutBody() throws {
        let decoder = try decoder()
        _ = decoder.decode(bytes: Self.frame + [6])
        for bytes in [[0], [0, 0, 0, 0, 7], [0x20]] as [[UInt8]] {
            let short = decoder.decode(bytes: bytes)
            #expect(short.status == clvd_status_invalid_json && !short.explanation.contains("framing"))
        }
        #expect(!decoder.decode(#"{"user_id":1}"#).explanation.contains("framing"))
    }
}
