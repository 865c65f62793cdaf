import CEventParser
import Foundation

extension RecordEncoding {
    /// Avro in its binary encoding. Without a `schema`, records have a schema registry's frame, and the registry has the
    /// schemas.
    static let avro = RecordEncoding(name: "avro", options: ["schema", "framing"]) { parser, format, _ in
        try AvroRecords(parser, format.encodingOptions)
    }
}

/// Records that are Avro, of one schema from a file or of the schemas that their frames name.
final class AvroRecords: RecordDecoder {
    private let parser: OpaquePointer
    private let avro: OpaquePointer

    init(_ parser: OpaquePointer, _ options: [String: String]) throws {
        let path = options["schema"]
        let framing = options["framing"] ?? (path == nil ? "confluent" : "none")
        guard framing == "confluent" || (framing == "none" && path != nil) else {
            throw InputError(
                path == nil
                    ? "encoding avro has neither a schema nor frames that name it; add schema: orders.avsc, or remove framing"
                    : "encoding avro: framing \"\(framing)\" is none of confluent, none")
        }
        guard let avro = clvd_avro_create(parser, framing == "confluent", path != nil) else {
            throw InputError("no memory for Avro schemas")
        }
        self.parser = parser
        self.avro = avro
        guard let path else { return }
        let text: String
        do {
            text = try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw InputError("encoding avro: \(path) cannot be read as UTF-8 text; name the file of the Avro schema")
        }
        if let fault = add([text], as: 0) { throw InputError("encoding avro: \(path) is not usable: \(fault)") }
    }

    deinit { clvd_avro_destroy(avro) }

    func prepare(
        _ records: UnsafeBufferPointer<clvd_record>, _ schemas: (any SchemaSource)?
    ) throws(SchemaUnavailable) {
        var id: UInt32 = 0
        while clvd_avro_unknown(avro, records.baseAddress, UInt32(records.count), &id) {
            guard let schemas else {
                throw SchemaUnavailable(id: id, reason: "there is no schema registry; set input.registry.url")
            }
            let schema = try schemas.schema(id: id)
            guard schema.type == "AVRO" else {
                _ = clvd_avro_refuse(avro, id, "the schema is \(schema.type), and the format says encoding: avro")
                continue
            }
            if let fault = add(schema.references + [schema.text], as: id) {
                _ = clvd_avro_refuse(avro, id, "the schema is not usable: \(fault)")
            }
        }
    }

    /// What is wrong with the schema, if anything.
    private func add(_ texts: [String], as id: UInt32) -> String? {
        let bytes = texts.map { Array($0.utf8) }
        var parts: [clvd_text] = []
        func add(_ rest: ArraySlice<[UInt8]>) -> String? {
            guard let first = rest.first else {
                var isAdded = false
                let fault = sentence { error, capacity in
                    isAdded = clvd_avro_add(avro, id, parts, UInt32(parts.count), error, Int(capacity))
                    return isAdded ? 0 : UInt32(strlen(error))
                }
                return isAdded ? nil : fault
            }
            return first.withUnsafeBufferPointer {
                parts.append(clvd_text(data: $0.baseAddress, length: UInt32($0.count)))
                return add(rest.dropFirst())
            }
        }
        return add(bytes[...])
    }

    func decode(_ records: UnsafeBufferPointer<clvd_record>, into events: UnsafeMutablePointer<clvd_event>) {
        guard let base = records.baseAddress else { return }
        _ = clvd_avro_decode(parser, avro, base, UInt32(records.count), events)
    }

    func explain(_ record: clvd_record, _ event: clvd_event) -> String {
        withUnsafePointer(to: record) { record in
            withUnsafePointer(to: event) { event in
                sentence { clvd_avro_explain(parser, avro, record, event, $0, $1) }
            }
        }
    }
}
