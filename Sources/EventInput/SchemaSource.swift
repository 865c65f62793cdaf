/// Where the schemas are that framed records were written with.
public protocol SchemaSource: AnyObject {
    /// The schema of an id, which never changes. It takes a few seconds at most.
    func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema
}

/// A schema, and what it refers to.
public struct WriterSchema: Sendable, Equatable {
    /// `AVRO`, `JSON` or `PROTOBUF`.
    public let type: String
    public let text: String
    /// Schemas that are referred to; each comes after those that it refers to itself.
    public let references: [Reference]

    /// A schema and the name by which it is referred to.
    public struct Reference: Sendable, Equatable, Codable {
        public let name: String
        public let text: String

        public init(name: String, text: String) {
            self.name = name
            self.text = text
        }
    }

    public init(type: String, text: String, references: [Reference]) {
        self.type = type
        self.text = text
        self.references = references
    }
}

/// A schema that cannot be had now. The records that need it can wait for it.
public struct SchemaUnavailable: Error, Sendable, Equatable, CustomStringConvertible {
    public let id: UInt32
    public let reason: String
    /// Whether the source does not answer at all, for no schema.
    public let isOfSource: Bool

    public init(id: UInt32, reason: String, isOfSource: Bool = false) {
        self.id = id
        self.reason = reason
        self.isOfSource = isOfSource
    }

    public var description: String { "schema \(id): \(reason)" }
}
