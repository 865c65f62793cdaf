import CEventParser
import Foundation
import Testing

@testable import EventInput

/// An event with its strings, and the sentence about its rejection.
struct Decoded {
    var event: clvd_event
    var user: String
    var eventID: String
    var explanation: String

    var status: clvd_status { clvd_status(UInt32(event.status)) }
    var type: clvd_event_type { clvd_event_type(UInt32(event.type)) }
}

func decoder(
    _ format: String = "native", limits: InputLimits = InputLimits(), currency: CurrencyTable = CurrencyTable(),
    headerLookup: clvd_header_lookup? = nil
) throws -> EventDecoder {
    try EventDecoder(
        format: #require(EventFormat.builtIn(format)), limits: limits, currency: currency, headerLookup: headerLookup)
}

extension EventDecoder {
    func decode(
        bytes: [UInt8]?, key: [UInt8] = [], timestamp: Int64 = -1, headers: UnsafeRawPointer? = nil
    ) -> Decoded {
        var value = bytes ?? []
        let length = UInt32(value.count)
        value.append(0)  // never an empty buffer, which has no address
        return value.withUnsafeBufferPointer { value in
            key.withUnsafeBufferPointer { key in
                let record = clvd_record(
                    key: key.baseAddress, value: bytes == nil ? nil : value.baseAddress,
                    key_length: UInt32(key.count), value_length: length, offset: 7, timestamp_ms: timestamp,
                    partition: 3, topic: 1, headers: headers, unreadable: 0)
                var event = clvd_event()
                withUnsafePointer(to: record) {
                    decode(UnsafeBufferPointer(start: $0, count: 1), into: &event)
                }
                return Decoded(
                    event: event, user: text(event.user, event.user_length),
                    eventID: text(event.event_id, event.event_id_length), explanation: explain(record, event))
            }
        }
    }

    func decode(_ json: String, timestamp: Int64 = -1, headers: UnsafeRawPointer? = nil) -> Decoded {
        decode(bytes: Array(json.utf8), timestamp: timestamp, headers: headers)
    }
}

func text(_ bytes: UnsafePointer<UInt8>?, _ length: UInt32) -> String {
    String(decoding: UnsafeBufferPointer(start: bytes, count: Int(length)), as: UTF8.self)
}

func hash(_ text: String) -> UInt64 { clvd_hash(Array(text.utf8), text.utf8.count) }

/// Milliseconds of an ISO 8601 time.
func milliseconds(_ time: String) -> Int64 {
    var value: Int64 = -1
    _ = clvd_parse_time(time, time.utf8.count, true, &value)
    return value
}

/// Looks a note up that `withNote` has set.
let noteLookup: clvd_header_lookup = { headers, name, length in
    guard let name, let text = headers?.assumingMemoryBound(to: CChar.self), strcmp(name, CLVD_REFUSAL_HEADER) == 0
    else {
        return nil
    }
    length?.pointee = UInt32(strlen(text))
    return UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self)
}

/// Calls `body` with the headers of a record that has a note, for `noteLookup`; nil: without headers.
func withNote<Result>(_ note: String?, _ body: (UnsafeRawPointer?) -> Result) -> Result {
    guard let note else { return body(nil) }
    return note.withCString { body(UnsafeRawPointer($0)) }
}
