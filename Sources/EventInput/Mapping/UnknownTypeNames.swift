import CEventParser

/// Names of event types that records have brought and their format does not know, in bounded memory.
public struct UnknownTypeNames: Sendable, Equatable {
    public struct Name: Sendable, Equatable {
        /// As records have it; its first 128 bytes.
        public let name: String
        public let count: Int64
        /// The name of the format that was probably meant, or nil.
        public let nearest: String?

        /// `"Order Completd" (did you mean "Order Completed"?)`
        public var text: String { "\"\(name)\"" + (nearest.map { " (did you mean \"\($0)\"?)" } ?? "") }
    }

    /// The most frequent first; of equals, the first to come.
    public let names: [Name]
    /// Events with further names, for which there was no room.
    public let further: Int64

    public init() { (names, further) = ([], 0) }

    init(names: [Name], further: Int64) { (self.names, self.further) = (names, further) }

    public var isEmpty: Bool { names.isEmpty && further == 0 }

    /// Those that are nearly names of the format, most frequent first.
    public var misspelt: [Name] { names.filter { $0.nearest != nil } }

    /// Counts by name.
    public var counts: [String: Int64] { Dictionary(names.map { ($0.name, $0.count) }, uniquingKeysWith: +) }
}

extension EventDecoder {
    /// Counts, from now on, the names of event types that the format does not know: at most `most` names.
    public func countUnknownTypes(most: Int = 1000) {
        clvd_parser_count_unknown_types(parser, UInt32(clamping: most))
    }

    /// What has been counted since `countUnknownTypes`.
    public var unknownTypes: UnknownTypeNames {
        var names: [UnknownTypeNames.Name] = []
        var text = clvd_text()
        var count: UInt64 = 0
        while clvd_parser_unknown_type(parser, UInt32(names.count), &text, &count) {
            let name = String(decoding: UnsafeBufferPointer(start: text.data, count: Int(text.length)), as: UTF8.self)
            names.append(.init(name: name, count: Int64(count), nearest: format.nearestTypeName(to: name)))
        }
        // Sorting is stable.
        return UnknownTypeNames(
            names: names.sorted { $0.count > $1.count }, further: Int64(clvd_parser_further_unknown_types(parser)))
    }
}

extension EventFile {
    /// Counts, from now on, the names of event types that the format does not know.
    public func countUnknownTypes(most: Int = 1000) { decoder.countUnknownTypes(most: most) }

    /// What has been counted since `countUnknownTypes`.
    public var unknownTypes: UnknownTypeNames { decoder.unknownTypes }
}

extension EventFormat {
    /// The name of this format's types that was probably meant by `name`: one that is contained in it
    /// (`Shop Order Completed`), has the same words, or nearly the same letters.
    public func nearestTypeName(to name: String) -> String? {
        nearest(to: name, among: types.map(\.name)) { name, known in
            known.count >= 6 && name.firstRange(of: known) != nil
                || known.count == name.count && known.sorted() == name.sorted()
        }
    }
}
