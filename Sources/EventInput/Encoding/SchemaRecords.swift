import CEventParser
import Foundation

extension RecordEncoding {
    /// Avro in its binary encoding. Without a `schema`, records have a schema registry's frame, and the registry has the
    /// schemas.
    static let avro = RecordEncoding(name: "avro", options: ["schema", "framing"]) { parser, format, _ in
        try SchemaRecords(parser, .avro, format.encodingOptions)
    }

    /// Protobuf, likewise. `message` is the full name of the message that records are, where no frame says it.
    static let protobuf = RecordEncoding(name: "protobuf", options: ["schema", "framing", "message"]) {
        parser, format, _ in
        try SchemaRecords(parser, .protobuf, format.encodingOptions)
    }
}

/// Records that need the schema that they were written with: one from a file, or those that their frames name.
final class SchemaRecords: RecordDecoder {
    /// An encoding with schemas.
    struct Dialect {
        let name: String
        let code: clvd_encoding
        /// As registries name it.
        let type: String
        /// A file of a schema, for messages.
        let example: String

        static let avro = Dialect(name: "avro", code: clvd_encoding_avro, type: "AVRO", example: "orders.avsc")
        static let protobuf = Dialect(
            name: "protobuf", code: clvd_encoding_protobuf, type: "PROTOBUF", example: "orders.proto")
    }

    private let parser: OpaquePointer
    private let dialect: Dialect
    private let schemas: OpaquePointer

    init(_ parser: OpaquePointer, _ dialect: Dialect, _ options: [String: String]) throws {
        let (name, path, message) = (dialect.name, options["schema"], options["message"])
        let framing = options["framing"] ?? (path == nil ? "confluent" : "none")
        guard framing == "confluent" || (framing == "none" && path != nil) else {
            throw InputError(
                path == nil
                    ? "encoding \(name) has neither a schema nor frames that name it; add schema: \(dialect.example), or "
                        + "remove framing"
                    : "encoding \(name): framing \"\(framing)\" is none of confluent, none")
        }
        if dialect.code == clvd_encoding_protobuf, framing == "none", message == nil {
            throw InputError(
                "encoding protobuf: records without frames do not say which message they are; add message: shop.Order")
        }
        var settings = clvd_schema_options(
            encoding: dialect.code, framed: framing == "confluent", single: path != nil, message: nil,
            import_folder: nil)
        let folder = path.map { URL(fileURLWithPath: $0).deletingLastPathComponent().path }
        let made = message.withOptionalCString { message in
            folder.withOptionalCString { folder in
                (settings.message, settings.import_folder) = (message, folder)
                return clvd_schemas_create(parser, &settings)
            }
        }
        guard let made else { throw InputError("no memory for schemas") }
        (self.parser, self.dialect, schemas) = (parser, dialect, made)
        guard let path else { return }
        guard let text = FileManager.default.contents(atPath: path) else {
            throw InputError("encoding \(name): \(path) cannot be read; name the file of the schema")
        }
        let file = (path as NSString).lastPathComponent
        if let fault = add([(file, Array(text))], as: 0) {
            throw InputError("encoding \(name): \(path) is not usable: \(fault)")
        }
    }

    deinit { clvd_schemas_destroy(schemas) }

    func missingSchemas(
        of records: UnsafeBufferPointer<clvd_record>, _ source: (any SchemaSource)?
    ) -> [(record: Int, error: SchemaUnavailable)] {
        var missing: [(record: Int, error: SchemaUnavailable)] = []
        var errors: [UInt32: SchemaUnavailable] = [:]
        var silence: SchemaUnavailable?
        var (index, id): (UInt32, UInt32) = (0, 0)
        while clvd_schemas_unknown(schemas, records.baseAddress, UInt32(records.count), &index, &id) {
            // A registry that does not answer is not asked for each schema.
            if errors[id] == nil, let silence {
                errors[id] = SchemaUnavailable(id: id, reason: silence.reason, isOfSource: true)
            }
            if errors[id] == nil {
                do throws(SchemaUnavailable) {
                    try prepare(schema: id, source)
                    continue
                } catch {
                    errors[id] = error
                    if error.isOfSource { silence = error }
                }
            }
            if let error = errors[id] { missing.append((Int(index), error)) }
            index += 1
        }
        return missing
    }

    func prepare(schema id: UInt32, _ source: (any SchemaSource)?) throws(SchemaUnavailable) {
        if clvd_schemas_knows(schemas, id) { return }
        guard let source else {
            throw SchemaUnavailable(id: id, reason: "there is no schema registry; set input.registry.url")
        }
        let schema = try source.schema(id: id)
        guard schema.type == dialect.type else {
            _ = clvd_schemas_refuse(
                schemas, id, "the schema is \(schema.type), and the format says encoding: \(dialect.name)")
            return
        }
        let parts = schema.references.map { ($0.name, Array($0.text.utf8)) } + [("", Array(schema.text.utf8))]
        if let fault = add(parts, as: id) {
            _ = clvd_schemas_refuse(schemas, id, "the schema is not usable: \(fault)")
        }
    }

    /// What is wrong with the schema, if anything.
    private func add(_ parts: [(name: String, text: [UInt8])], as id: UInt32) -> String? {
        let bytes = parts.flatMap { [Array($0.name.utf8), $0.text] }
        var texts: [clvd_text] = []
        func add(_ rest: ArraySlice<[UInt8]>) -> String? {
            guard let first = rest.first else {
                let parts = stride(from: 0, to: texts.count, by: 2).map {
                    clvd_schema_part(name: texts[$0], text: texts[$0 + 1])
                }
                var isAdded = false
                let fault = sentence { error, capacity in
                    isAdded = clvd_schemas_add(schemas, id, parts, UInt32(parts.count), error, Int(capacity))
                    return isAdded ? 0 : UInt32(strlen(error))
                }
                return isAdded ? nil : fault
            }
            return first.withUnsafeBufferPointer {
                texts.append(clvd_text(data: $0.baseAddress, length: UInt32($0.count)))
                return add(rest.dropFirst())
            }
        }
        return add(bytes[...])
    }

    func decode(_ records: UnsafeBufferPointer<clvd_record>, into events: UnsafeMutablePointer<clvd_event>) {
        guard let base = records.baseAddress else { return }
        _ = clvd_schemas_decode(parser, schemas, base, UInt32(records.count), events)
    }

    func explain(_ record: clvd_record, _ event: clvd_event) -> String {
        withUnsafePointer(to: record) { record in
            withUnsafePointer(to: event) { event in
                sentence { clvd_schemas_explain(parser, schemas, record, event, $0, $1) }
            }
        }
    }
}

extension String? {
    /// The text for C, or NULL.
    fileprivate func withOptionalCString<T>(_ body: (UnsafePointer<CChar>?) -> T) -> T {
        self?.withCString { body($0) } ?? body(nil)
    }
}
