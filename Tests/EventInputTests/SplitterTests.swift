import CEventParser
import Foundation
import Testing

@testable import EventInput

@Suite struct SplitterTests {
    /// The values of the records that one record is split into.
    private func parts(_ format: String, _ text: String, status: UInt8? = nil) throws -> [String] {
        let format = try format.contains("\n") ? EventFormat(yaml: format, source: "test") : EventFormat.load(format)
        let splitter = try RecordSplitter(format: format, limits: InputLimits(), currency: CurrencyTable())
        var record = clvd_record()
        var all: [String] = []
        Array(text.utf8).withUnsafeBufferPointer { bytes in
            record.value = bytes.baseAddress
            record.value_length = UInt32(bytes.count)
            record.timestamp_ms = -1
            let count = splitter.forEachEvent(of: record, status: status ?? splitter.status(of: record)) { element in
                #expect(element.index == all.count)
                let value = UnsafeBufferPointer(start: element.record.value, count: Int(element.record.value_length))
                all.append(String(decoding: value, as: UTF8.self))
            }
            #expect(count == all.count)
        }
        return all
    }

    private static func view(_ user: String) -> String {
        #"{"user_id":"\#(user)","event_time_ms":1704067200000,"event_type":"view"}"#
    }

    @Test func arraysAndBatches() throws {
        let (a, b) = (Self.view("a"), Self.view("b"))
        #expect(try parts("native", "[\(a), \(b)]") == [a, b])
        #expect(try parts("native", " [\n\(a)\n]\n") == [a])
        #expect(try parts("native", #"{"sentAt": "]{\"", "batch": [\#(a),\#(b)], "x": 1}"#) == [a, b])
        #expect(try parts("native", #"[{"batch":[\#(a),\#(b)]},[\#(a)],\#(b)]"#) == [])
        #expect(try parts("native", #"[{"batch":[\#(a),\#(b)]},\#(b)]"#) == [a, b, b])
        #expect(try parts("native", "\0\0\0\0\u{07}[\(a),\(b)]") == [a, b])
        for text in [
            a, "[]", "[1,2]", "[\(a),1]", "[\(a)", "[\(a),\(b)}", #"{"batch":{}}"#, #"{"batch":[]}"#, "", "no",
        ] {
            #expect(try parts("native", text).isEmpty, "\(text)")
        }
        // What is an event stays one, whatever it has beside.
        #expect(try parts("native", a.dropLast() + #","batch":[\#(b),\#(b)]}"#).isEmpty)
    }

    @Test func aBatchWhereTheMappingHasIt() throws {
        let mapping = """
            name: x
            fields: {user_id: /user_id, event_time: [{pointer: /event_time_ms, unit: ms}], event_type: /event_type}
            types: {view: view}
            where: {/kind: sale}
            batch: /data/events
            """
        let (a, b) = (Self.view("a"), Self.view("b"))
        let record = #"{"data":{"n":[{}],"events":[\#(a),\#(b)]}}"#
        #expect(try parts(mapping, record) == [a, b])
        let format = try EventFormat(yaml: mapping, source: "test")
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        let decoded = decoder.decode(record)
        #expect(decoded.status == clvd_status_wrong_type, "a filter that looks into events does not hide a batch")
        #expect(
            decoded.explanation.hasSuffix(
                "a batch of 2 events in one record; send each in a record of its own, or set input.keying: repartition")
        )
    }

    /// A request of the Measurement Protocol: what is around the events belongs to each.
    @Test func requestsOfGA4() throws {
        func request(_ events: String) -> String {
            #"{"client_id":"c.1","timestamp_micros":"1704067200000000","events":[\#(events)],"user_properties":{"a":[1]}}"#
        }
        let buy = #"{"name":"purchase","params":{"transaction_id":"T","value":5}}"#
        let view = #"{"name":"page_view","params":{}}"#
        #expect(try parts("ga4", request("\(buy),\(view)")) == [request(buy), request(view)])
        #expect(try parts("ga4", request(buy)).isEmpty)
        #expect(
            try parts("ga4", "[\(request("\(buy),\(view)")),\(request(buy))]") == [
                request(buy), request(view), request(buy),
            ])
    }

    /// A record that would become far more bytes, or records, than it has is left whole.
    @Test func whatGrowsTooMuchStaysWhole() throws {
        let some = String(repeating: #"{"name":"x"},"#, count: 2_000).dropLast()
        func request(_ padding: Int) -> String {
            #"{"client_id":"c","pad":"\#(String(repeating: "p", count: padding))","events":[\#(some)]}"#
        }
        #expect(try parts("ga4", request(100)).count == 2_000)
        #expect(try parts("ga4", request(9_000)).isEmpty)
        let many = "[" + String(repeating: "{},", count: 10_000) + "{}]"
        #expect(try parts("native", many).isEmpty)
        #expect(try parts("native", many.replacing("[{},", with: "[")).count == 10_000)
    }

    @Test func whatCannotBeReadStaysWhole() throws {
        for status in [clvd_status_too_large, clvd_status_invalid_utf8, clvd_status_skipped, clvd_status_ok] {
            #expect(try parts("native", "[{}]", status: UInt8(status.rawValue)).isEmpty)
        }
    }
}
