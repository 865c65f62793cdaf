import CEventParser

/// Records that are JSON documents.
final class JSONRecords: RecordDecoder {
    private let parser: OpaquePointer

    init(_ parser: OpaquePointer) { self.parser = parser }

    func decode(_ records: UnsafeBufferPointer<clvd_record>, into events: UnsafeMutablePointer<clvd_event>) {
        guard let base = records.baseAddress else { return }
        _ = clvd_parser_decode(parser, base, UInt32(records.count), events)
    }

    func explain(_ record: clvd_record, _ event: clvd_event) -> String {
        withUnsafePointer(to: record) { record in
            withUnsafePointer(to: event) { event in
                sentence { clvd_parser_explain(parser, record, event, $0, $1) }
            }
        }
    }
}
