import CEventParser

/// How the records of topics are encoded: what a format may say as `encoding`. A new encoding is a file with its
/// `RecordDecoder`, and its line in `all`.
struct RecordEncoding: Sendable, Equatable {
    /// As formats write it.
    let name: String
    /// Keys that a format may give with the name (`{ name: avro, schema: orders.avsc }`).
    var options: [String] = []
    /// Makes a decoder for records of a format, whose mapping and limits `parser` has. It uses `parser`, which lives
    /// longer, and `format.encodingOptions`. Throws `InputError` when an option is missing or unusable.
    let makeDecoder: @Sendable (_ parser: OpaquePointer, EventFormat, InputLimits) throws -> any RecordDecoder

    static let json = RecordEncoding(name: "json") { parser, _, _ in JSONRecords(parser) }

    /// All encodings.
    static let all: [RecordEncoding] = [json, avro, protobuf]

    static func == (a: RecordEncoding, b: RecordEncoding) -> Bool { a.name == b.name }
}

/// Puts the values of records into the slots of a parser, which makes events of them by the format's mapping. It is
/// called once for each batch. `clvd_parser_decode_row` takes slots of text; limits, tombstones and UTF-8 are its
/// concern.
protocol RecordDecoder: AnyObject {
    /// Gets what `records` need and what is not at hand. To be called before `decode`.
    /// - Returns: the indices of records whose schemas are missing, ascending.
    func missingSchemas(
        of records: UnsafeBufferPointer<clvd_record>, _ schemas: (any SchemaSource)?
    ) -> [(record: Int, error: SchemaUnavailable)]
    func prepare(schema id: UInt32, _ schemas: (any SchemaSource)?) throws(SchemaUnavailable)

    /// Decodes `records` into as many `events`, each with its index as `record` and always with a status; a record
    /// that is not in the encoding gets `clvd_status_wrong_type`. Strings stay valid until the next call.
    func decode(_ records: UnsafeBufferPointer<clvd_record>, into events: UnsafeMutablePointer<clvd_event>)

    /// One sentence that says why `event` of this record was rejected. Strings of the last batch stay valid. The status
    /// may be `clvd_status_too_late`, which the engine sets.
    func explain(_ record: clvd_record, _ event: clvd_event) -> String
}

extension RecordDecoder {
    /// Nothing is needed.
    func missingSchemas(
        of: UnsafeBufferPointer<clvd_record>, _: (any SchemaSource)?
    ) -> [(record: Int, error: SchemaUnavailable)] { [] }
    func prepare(schema id: UInt32, _: (any SchemaSource)?) throws(SchemaUnavailable) {}
}

/// The sentence that `write` puts into a buffer of the given capacity, whose length it returns.
func sentence(_ write: (UnsafeMutablePointer<CChar>, UInt32) -> UInt32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { text in
        let length = Int(write(text.baseAddress!, UInt32(text.count)))
        return String(decoding: UnsafeRawBufferPointer(text)[..<length], as: UTF8.self)
    }
}
