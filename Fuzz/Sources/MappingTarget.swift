import CEventParser
import EventInput
import Foundation

/// A format in YAML, and a record decoded by it: everything up to a line of three dashes is the format.
struct MappingTarget {
    private let folder = Scratch()

    func run(_ input: UnsafeRawBufferPointer) {
        let bytes = Array(input)
        let separator = Array("\n---\n".utf8)
        let end = bytes.firstRange(of: separator)
        let path = folder.write(
            UnsafeRawBufferPointer(rebasing: input[..<(end?.lowerBound ?? bytes.count)]), to: "format.yaml")
        let value = end.map { Array(bytes[$0.upperBound...]) } ?? Array(#"{"user_id":"u","event_type":"view"}"#.utf8)
        let format: EventFormat
        do { format = try EventFormat.load(path) } catch let error as FormatError {
            precondition(!error.description.isEmpty && !error.problems.isEmpty)
            return
        } catch { fatalError("\(error)") }
        // What was read can be compiled, and decodes.
        guard let decoder = try? EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable()) else {
            return
        }
        value.withUnsafeBufferPointer { value in
            var record = clvd_record()
            record.value = value.baseAddress
            record.value_length = UInt32(value.count)
            record.timestamp_ms = -1
            withUnsafeTemporaryAllocation(of: clvd_event.self, capacity: 1) { events in
                [record].withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
                if events[0].status >= UInt8(clvd_status_first_rejection.rawValue) {
                    precondition(!decoder.explain(record, events[0]).isEmpty)
                }
            }
        }
    }
}
