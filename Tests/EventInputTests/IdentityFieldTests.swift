import CEventParser
import Testing

@testable import EventInput

/// Which records say that two ids are of one customer, by format.
@Suite struct IdentityFieldTests {
    private struct Case: CustomTestStringConvertible {
        var format: String
        var record: String
        /// "user < alias", "user", or the name of a status.
        var expected: String
        var testDescription: String { "\(format): \(expected)" }
    }

    private static let cases = [
        Case(
            format: "segment", record: #""type":"identify","userId":"u","anonymousId":"a""#, expected: "identify u < a"),
        Case(
            format: "segment", record: #""type":"alias","userId":"u","previousId":"p","anonymousId":"a""#,
            expected: "alias u < p"),
        Case(format: "segment", record: #""type":"identify","anonymousId":"a""#, expected: "ignored_type"),
        Case(format: "segment", record: #""type":"identify","userId":"u""#, expected: "ignored_type"),
        Case(
            format: "segment", record: #""type":"identify","userId":"u","anonymousId":"undefined""#,
            expected: "ignored_type"),
        Case(format: "segment", record: #""type":"alias","userId":"u","anonymousId":"a""#, expected: "ignored_type"),
        Case(format: "segment", record: #""type":"identify","traits":{}"#, expected: "ignored_type"),
        Case(format: "segment", record: #""type":"page","userId":"u","anonymousId":"a""#, expected: "page_view u"),
        Case(
            format: "posthog",
            record: #""event":"$identify","distinct_id":"u","properties":{"$anon_distinct_id":"a"}"#,
            expected: "identify u < a"),
        Case(
            format: "posthog", record: ##""event":"$create_alias","distinct_id":"u","properties":{"alias":"b\u0020"}"##,
            expected: "alias u < b "),
        Case(format: "posthog", record: #""event":"$identify","distinct_id":"u""#, expected: "ignored_type"),
        Case(
            format: "native", record: #""event_type":"identify","user_id":"u","anonymous_id":17"#,
            expected: "identify u < 17"),
        Case(
            format: "native", record: #""event_type":"identify","user_id":"u","anonymous_id":{"no":"id"}"#,
            expected: "ignored_type"),
        Case(format: "native", record: #""event_type":"view","user_id":"u","anonymous_id":"a""#, expected: "view u"),
    ]

    @Test(arguments: cases) private func idsAreFound(_ c: Case) throws {
        let time =
            c.format == "native" ? #""event_time":"2024-01-01T10:00:00Z""# : #""timestamp":"2024-01-01T10:00:00Z""#
        #expect(try Self.read("{\(time),\(c.record)}", c.format) == c.expected)
    }

    /// Every event with both ids joins them.
    @Test func formatsWithBothIdsInEveryEvent() throws {
        let ga4 = #"{"event_timestamp":"1704103200000000","event_name":"page_view","user_pseudo_id":"a""#
        #expect(try Self.read(ga4 + "}", "ga4") == "page_view a")
        #expect(try Self.read(ga4 + #","user_id":"u"}"#, "ga4") == "page_view u < a")
        #expect(try Self.read(ga4 + #","user_id":"a"}"#, "ga4") == "page_view a", "an id is not joined to itself")
        let snowplow = #"{"derived_tstamp":"2024-01-01 10:00:00","event_name":"page_view","domain_userid":"d""#
        #expect(try Self.read(snowplow + #","network_userid":"n"}"#, "snowplow") == "page_view d")
        #expect(try Self.read(snowplow + #","user_id":"u"}"#, "snowplow") == "page_view u < d")
    }

    /// Escaped ids of a batch have room beside escaped users and event ids.
    @Test func escapedIdsKeepTheirPlaces() throws {
        let decoder = try EventDecoder(
            format: EventFormat.load("segment"), limits: InputLimits(), currency: CurrencyTable())
        let texts = (0..<200).map { i in
            Array(
                #"{"type":"identify","timestamp":"2024-01-01T10:00:00Z","messageId":"m\u0041\#(i)","userId":"u\u0042\#(i)","#
                    .utf8) + Array(#""anonymousId":"\#(String(repeating: "\\u0043", count: 200))\#(i)"}"#.utf8)
        }
        let all = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: texts.reduce(0) { $0 + $1.count })
        defer { all.deallocate() }
        _ = all.initialize(from: texts.joined())
        var at = 0
        let records = texts.map { text in
            var r = clvd_record()
            (r.value, r.value_length, r.timestamp_ms) = (UnsafePointer(all.baseAddress! + at), UInt32(text.count), -1)
            at += text.count
            return r
        }
        var events = [clvd_event](repeating: clvd_event(), count: records.count)
        records.withUnsafeBufferPointer { decoder.decode($0, into: &events) }
        for (i, e) in events.enumerated() {
            #expect(e.status == UInt8(clvd_status_ok.rawValue))
            #expect(text(e.user, e.user_length) == "uB\(i)" && text(e.event_id, e.event_id_length) == "mA\(i)")
            #expect(text(e.alias, e.alias_length) == String(repeating: "C", count: 200) + "\(i)")
        }
    }

    private static func read(_ json: String, _ format: String) throws -> String {
        let decoder = try EventDecoder(
            format: EventFormat.load(format), limits: InputLimits(), currency: CurrencyTable())
        var bytes = Array(json.utf8)
        return bytes.withUnsafeMutableBufferPointer { buffer in
            var r = clvd_record()
            (r.value, r.value_length, r.timestamp_ms) = (UnsafePointer(buffer.baseAddress), UInt32(buffer.count), -1)
            var e = clvd_event()
            withUnsafePointer(to: r) { decoder.decode(UnsafeBufferPointer(start: $0, count: 1), into: &e) }
            guard e.status == UInt8(clvd_status_ok.rawValue) else { return String(cString: clvd_status_name(e.status)) }
            return "\(String(cString: clvd_event_type_name(e.type))) \(text(e.user, e.user_length))"
                + (e.alias == nil ? "" : " < \(text(e.alias, e.alias_length))")
        }
    }
}
