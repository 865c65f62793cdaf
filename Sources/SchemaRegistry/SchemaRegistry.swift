import CHTTP
public import EventInput
import Foundation

/// A client of a schema registry with Confluent's REST API (Confluent, Apicurio's ccompat, Karapace, Redpanda). Schemas do
/// not change, so each is asked for once. One thread at a time.
public final class SchemaRegistry: SchemaSource {
    private let url: String
    private let credentials: Credentials
    private let timeoutMs: Int
    private let cache: SchemaCache?
    private var schemas: [UInt32: WriterSchema] = [:]

    private enum Credentials {
        case none
        case basic(String)
        case bearer(String)
    }

    private static let mostBytes = 4 << 20
    private static let mostReferences = 200

    /// - Parameters:
    ///   - auth: `name:password`, `Bearer TOKEN`, or empty.
    ///   - cache: a folder that keeps schemas; empty: none does.
    ///   - warn: is told when the folder cannot be used, or a file in it.
    public init(
        url: String, auth: String, cache: String = "", timeoutMs: Int = 3000,
        warn: @escaping (String) -> Void = { _ in }
    ) {
        let url = url.hasSuffix("/") ? String(url.dropLast()) : url
        self.url = url
        self.cache = cache.isEmpty ? nil : SchemaCache(folder: cache, url: url, warn: warn)
        self.timeoutMs = timeoutMs
        if auth.isEmpty {
            credentials = .none
        } else if auth.hasPrefix("Bearer ") {
            credentials = .bearer(String(auth.dropFirst(7)))
        } else {
            credentials = .basic(auth)
        }
    }

    /// A registry where there is one.
    public static func source(
        _ url: String, auth: String, cache: String, warn: @escaping @Sendable (String) -> Void
    ) -> (@Sendable () -> any SchemaSource)? {
        if url.isEmpty { return nil }
        return { SchemaRegistry(url: url, auth: auth, cache: cache, warn: warn) }
    }

    public func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema {
        if let known = schemas[id] ?? cache?.schema(id: id) {
            schemas[id] = known
            return known
        }
        let answer = try get("/schemas/ids/\(id)", id)
        var references: [WriterSchema.Reference] = []
        var names: Set<String> = []
        try add(answer.references ?? [], of: id, to: &references, &names)
        let schema = WriterSchema(type: answer.schemaType ?? "AVRO", text: answer.schema, references: references)
        schemas[id] = schema
        cache?.keep(schema, id: id)
        return schema
    }

    private struct Answer: Decodable {
        var schema: String
        var schemaType: String?
        var references: [Reference]?
    }

    private struct Reference: Decodable {
        var name: String?
        var subject: String
        var version: Int
    }

    /// What is referred to, depth first, each schema once.
    private func add(
        _ wanted: [Reference], of id: UInt32, to references: inout [WriterSchema.Reference], _ names: inout Set<String>
    ) throws(SchemaUnavailable) {
        for reference in wanted {
            guard names.insert("\(reference.subject)/\(reference.version)").inserted else { continue }
            guard names.count <= Self.mostReferences else {
                throw SchemaUnavailable(id: id, reason: "it refers to more than \(Self.mostReferences) schemas")
            }
            let subject = reference.subject.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
            let answer = try get("/subjects/\(subject)/versions/\(reference.version)", id)
            try add(answer.references ?? [], of: id, to: &references, &names)
            references.append(.init(name: reference.name ?? "", text: answer.schema))
        }
    }

    private func get(_ path: String, _ id: UInt32) throws(SchemaUnavailable) -> Answer {
        var (login, token): (String?, String?) = (nil, nil)
        switch credentials {
        case .none: break
        case .basic(let text): login = text
        case .bearer(let text): token = text
        }
        var answer = clvd_http_answer()
        clvd_http_get(url + path, login, token, timeoutMs, Self.mostBytes, &answer)
        defer { clvd_http_release(&answer) }
        let error = withUnsafeBytes(of: &answer.error) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        guard error.isEmpty else {
            throw SchemaUnavailable(id: id, reason: "\(url) cannot be reached: \(error)", isOfSource: true)
        }
        let body = answer.body.map { Data(bytes: $0, count: answer.length) } ?? Data()
        guard answer.status == 200 else {
            struct Message: Decodable { var message: String }
            let said = (try? JSONDecoder().decode(Message.self, from: body))?.message ?? ""
            throw SchemaUnavailable(
                id: id, reason: "\(url)\(path) answers \(answer.status)\(said.isEmpty ? "" : " (\(said.prefix(200)))")",
                isOfSource: [401, 429].contains(answer.status) || answer.status >= 500)
        }
        do {
            return try JSONDecoder().decode(Answer.self, from: body)
        } catch {
            throw SchemaUnavailable(
                id: id, reason: "\(url)\(path) does not answer as a schema registry; check input.registry.url")
        }
    }
}
