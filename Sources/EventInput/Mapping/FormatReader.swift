import CEventParser
import Yams

/// Reads the YAML of a format and gathers everything that is wrong with it.
struct FormatReader {
    let source: String
    let encodings: [RecordEncoding]
    private var problems: [FormatError.Problem] = []
    /// Lines of the values that the parser may still refuse, by the path of their key.
    var lines: [String: Int] = [:]

    init(source: String, encodings: [RecordEncoding]) {
        self.source = source
        self.encodings = encodings
    }

    mutating func read(_ yaml: String) throws -> EventFormat {
        let root: Node?
        do {
            root = try Yams.compose(yaml: yaml)
        } catch {
            throw FormatError(source: source, problems: [Self.problem(error)])
        }
        guard let root, let entries = entries(of: root, at: "") else {
            if root == nil { report(nil, "", "empty; copy config/formats/native.yaml and change it") }
            throw FormatError(source: source, problems: problems)
        }
        let format = self.format(from: entries, line: root.mark?.line)
        if problems.isEmpty { compileOnTrial(format) }
        guard problems.isEmpty else {
            throw FormatError(source: source, problems: problems.sorted { ($0.line ?? 0) < ($1.line ?? 0) })
        }
        return format
    }

    private static let keys = [
        "name", "summary", "encoding", "root", "fields", "defaults", "guest", "placeholders", "whole_ids", "items",
        "where", "single", "batch", "headers", "types", "names", "unknown_types", "default_type", "numeric_strings",
        "decimal", "negative", "nonzero", "currency", "joins",
        "order", "order_from_session", "refund_from_items",
    ]

    private mutating func format(from entries: [Entry], line: Int?) -> EventFormat {
        refuseUnknown(entries, Self.keys)
        func value(_ key: String) -> Entry? { entries.first { $0.key == key } }
        let name = value("name").flatMap { text($0) }
        if value("name") == nil { report(line, "name", "missing; give the format a name") }
        var format = EventFormat(name: name ?? "", summary: value("summary").flatMap { text($0) } ?? "")
        if let entry = value("encoding"), let encoding = encoding(entry) {
            (format.encoding, format.encodingOptions) = encoding
        }
        if let entry = value("headers") { format.headers = headers(entry) }
        if let entry = value("fields") { format.fields = fields(entry) }
        if let entry = value("items") { (format.items, format.itemFields) = items(entry) }
        if let entry = value("single") { format.single = pointers(entry) }
        readRules(value, into: &format)
        if let entry = value("types") { format.types = types(entry) }
        if let entry = value("names"), let choice: EventFormat.Names = self.choice(entry) { format.names = choice }
        if let entry = value("unknown_types"), let choice: EventFormat.UnknownTypes = self.choice(entry) {
            format.unknownTypes = choice
        }
        if let entry = value("default_type"), let type = type(entry, ignorable: false) { format.defaultType = type }
        if let entry = value("numeric_strings"), let accepted = flag(entry) { format.numericStrings = accepted }
        if let entry = value("order"), let choice: EventFormat.OrderRecords = self.choice(entry) {
            format.order = choice
        }
        if let entry = value("order_from_session"), let flag = flag(entry) { format.orderFromSession = flag }
        if let entry = value("refund_from_items"), let flag = flag(entry) { format.refundFromItems = flag }
        if let entry = value("currency"), let code = text(entry) {
            if CurrencyTable.isCode(code) {
                format.currency = code.uppercased()
            } else {
                report(entry, "\"\(code)\" is not a currency; write its three letters (EUR)")
            }
        }
        requireFields(of: format, value("fields")?.line ?? line, fieldsAreSound: problems.isEmpty)
        return format
    }

    /// Without a user, a time and a type every record would be rejected.
    private mutating func requireFields(of format: EventFormat, _ line: Int?, fieldsAreSound: Bool) {
        guard fieldsAreSound else { return }
        if format.fields[.userID] == nil { report(line, "fields.user_id", "missing; say where the user id is") }
        if format.fields[.eventTime] == nil, format.headers[.eventTime] == nil {
            report(line, "fields.event_time", "missing; say where the time of the event is, and its unit")
        }
        if format.fields[.eventType] == nil, format.defaultType == UInt8(CLVD_TYPE_REQUIRED) {
            report(line, "fields.event_type", "missing; say where the event type is, or set default_type (purchase)")
        }
    }

    // MARK: Sections

    /// A name, or a mapping of the name and the options that this encoding has.
    private mutating func encoding(_ entry: Entry) -> (RecordEncoding, [String: String])? {
        guard entry.node.mapping != nil else { return encoding(named: entry).map { ($0, [:]) } }
        guard let entries = entries(of: entry.node, at: entry.path) else { return nil }
        guard let name = entries.first(where: { $0.key == "name" }) else {
            report(entry, "has no name; known are \(encodings.map(\.name).joined(separator: ", "))")
            return nil
        }
        guard let encoding = encoding(named: name) else { return nil }
        refuseUnknown(entries, ["name"] + encoding.options)
        var options: [String: String] = [:]
        for entry in entries where encoding.options.contains(entry.key) { options[entry.key] = text(entry) }
        return (encoding, options)
    }

    private mutating func encoding(named entry: Entry) -> RecordEncoding? {
        guard let name = text(entry) else { return nil }
        if let encoding = encodings.first(where: { $0.name == name }) { return encoding }
        let names = encodings.map(\.name)
        let guess = suggestion(for: name, among: names)
        report(entry, "unknown encoding \"\(name)\"; known are \(names.joined(separator: ", "))\(guess)")
        return nil
    }

    private mutating func fields(_ entry: Entry) -> [Field: [EventFormat.Place]] {
        var fields: [Field: [EventFormat.Place]] = [:]
        for entry in known(entry, Field.allCases) {
            let places = list(entry.entry).compactMap { place($0, of: entry.field) }
            if !places.isEmpty { fields[entry.field] = places }
        }
        return fields
    }

    private mutating func items(_ entry: Entry) -> ([String], [Field: [EventFormat.Place]]) {
        guard let entries = entries(of: entry.node, at: entry.path) else { return ([], [:]) }
        refuseUnknown(entries, ["pointer"] + Field.ofItems.map(\.rawValue))
        var fields: [Field: [EventFormat.Place]] = [:]
        var arrays: [String] = []
        for entry in entries {
            if entry.key == "pointer" {
                arrays = pointers(entry)
            } else if let field = Field(rawValue: entry.key), Field.ofItems.contains(field) {
                fields[field] = list(entry).compactMap { place($0, of: field) }
            }
        }
        if !entries.contains(where: { $0.key == "pointer" }) {
            report(entry, "has no pointer; say where the array of items is (pointer: /items)")
        }
        return (arrays, fields)
    }

    private mutating func headers(_ entry: Entry) -> [Field: String] {
        var headers: [Field: String] = [:]
        for entry in known(entry, Field.ofHeaders) {
            lines[entry.entry.path] = entry.entry.line
            headers[entry.field] = text(entry.entry)
        }
        return headers
    }

    private mutating func types(_ entry: Entry) -> [EventFormat.TypeName] {
        guard let entries = entries(of: entry.node, at: entry.path) else { return [] }
        return entries.compactMap { entry in
            lines[entry.path] = entry.line
            return type(entry, ignorable: true).map { EventFormat.TypeName(name: entry.key, type: $0) }
        }
    }

    // MARK: Values

    private mutating func place(_ entry: Entry, of field: Field) -> EventFormat.Place? {
        guard entry.node.mapping != nil else { return pointer(entry).map { EventFormat.Place(pointer: $0) } }
        guard let entries = entries(of: entry.node, at: entry.path) else { return nil }
        let isTime = field == .eventTime
        refuseUnknown(
            entries, ["pointer"] + (isTime ? ["unit"] : ["as"]) + (Field.ofNumbers.contains(field) ? ["divide"] : []))
        var place = EventFormat.Place(pointer: "")
        guard let pointerEntry = entries.first(where: { $0.key == "pointer" }) else {
            report(entry, "has no pointer; write { pointer: /\(field)\(isTime ? ", unit: iso8601" : "") }")
            return nil
        }
        if isTime, let unit = entries.first(where: { $0.key == "unit" }) {
            guard let choice: EventFormat.TimeUnit = choice(unit) else { return nil }
            place.unit = choice
        }
        readRule(of: entries, into: &place)
        guard let pointer = pointer(pointerEntry) else { return nil }
        lines[entry.path] = entry.line
        place.pointer = pointer
        return place
    }

    mutating func pointers(_ entry: Entry) -> [String] { list(entry).compactMap { pointer($0) } }

    mutating func pointer(_ entry: Entry) -> String? {
        guard let text = text(entry) else { return nil }
        lines[entry.path] = entry.line
        guard text.hasPrefix("/") else {
            report(entry, "\"\(text)\" is not a JSON pointer; write \"/\(text.replacing(".", with: "/"))\"")
            return nil
        }
        return text
    }

    mutating func type(_ entry: Entry, ignorable: Bool) -> UInt8? {
        guard let name = text(entry) else { return nil }
        if ignorable, name == "ignore" { return UInt8(CLVD_TYPE_IGNORED) }
        let known = Self.typeNames
        if let index = known.firstIndex(of: name) { return UInt8(index) }
        let names = known + (ignorable ? ["ignore"] : [])
        let guess = suggestion(for: name, among: names)
        let remedy = guess.isEmpty ? "; known are \(names.joined(separator: ", "))" : guess
        report(entry, "unknown event type \"\(name)\"\(remedy)")
        return nil
    }

    /// Names of the engine's event types, each at its number.
    static let typeNames = (0..<UInt8(clvd_type_named.rawValue)).map {
        String(cString: clvd_event_type_name($0))
    }

    mutating func choice<Choice>(_ entry: Entry) -> Choice?
    where Choice: CaseIterable & RawRepresentable<String> {
        guard let text = text(entry) else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        let names = Choice.allCases.map(\.rawValue)
        report(entry, "\"\(text)\" is none of \(names.joined(separator: ", "))\(suggestion(for: text, among: names))")
        return nil
    }

    mutating func flag(_ entry: Entry) -> Bool? {
        guard let text = text(entry) else { return nil }
        if text == "true" || text == "false" { return text == "true" }
        report(entry, "\"\(text)\" is neither true nor false")
        return nil
    }

    mutating func text(_ entry: Entry) -> String? {
        guard let text = entry.node.scalar?.string, entry.node.null == nil || entry.node.scalar?.style != .plain else {
            report(entry, "a text is expected here")
            return nil
        }
        guard !text.isEmpty, !text.utf8.contains(0) else {
            report(entry, "empty, or with a NUL character; write a value or leave the key out")
            return nil
        }
        return text
    }

    /// The elements of a list; a single value counts as a list of one.
    mutating func list(_ entry: Entry) -> [Entry] {
        let nodes = entry.node.sequence.map(Array.init) ?? [entry.node]
        if nodes.isEmpty { report(entry, "an empty list; name a place or leave the key out") }
        return nodes.enumerated().map { index, node in
            Entry(
                key: entry.key, path: "\(entry.path)[\(index)]", node: node, line: node.mark?.line ?? entry.line)
        }
    }

    // MARK: Mappings

    struct Entry {
        var key: String
        var path: String
        var node: Node
        var line: Int?
    }

    mutating func entries(of node: Node, at path: String) -> [Entry]? {
        guard let mapping = node.mapping else {
            report(node.mark?.line, path, "a mapping is expected here (key: value)")
            return nil
        }
        return mapping.compactMap { key, value in
            guard let name = key.scalar?.string, !name.isEmpty, !name.utf8.contains(0) else {
                report(key.mark?.line, path, "a key must be a text, not empty, and without NUL")
                return nil
            }
            let path = path.isEmpty ? name : "\(path).\(name)"
            return Entry(key: name, path: path, node: value, line: key.mark?.line ?? value.mark?.line)
        }
    }

    mutating func known(_ entry: Entry, _ fields: [Field]) -> [(field: Field, entry: Entry)] {
        guard let entries = entries(of: entry.node, at: entry.path) else { return [] }
        refuseUnknown(entries, fields.map(\.rawValue))
        return entries.compactMap { entry in
            Field(rawValue: entry.key).flatMap { fields.contains($0) ? ($0, entry) : nil }
        }
    }

    mutating func refuseUnknown(_ entries: [Entry], _ keys: [String]) {
        for entry in entries where !keys.contains(entry.key) {
            let guess = suggestion(for: entry.key, among: keys)
            report(entry, "unknown key\(guess.isEmpty ? "; known are \(keys.joined(separator: ", "))" : guess)")
        }
    }

    // MARK: Problems

    mutating func report(_ entry: Entry, _ message: String) { report(entry.line, entry.path, message) }

    mutating func report(_ line: Int?, _ key: String, _ message: String) {
        problems.append(.init(line: line, key: key.isEmpty ? nil : key, message: message))
    }

    /// The parser has the last word on pointers.
    private mutating func compileOnTrial(_ format: EventFormat) {
        guard let parser = clvd_parser_create() else { return }
        defer { clvd_parser_destroy(parser) }
        var refused: [String] = []
        format.compile(into: parser) { refused.append($0) }
        for key in refused {
            let message =
                key.hasPrefix("placeholders")
                ? "longer than 63 bytes, or one of more than 1,000; remove it"
                : key.hasPrefix("types.")
                    ? "a name that is there already when case, spaces, underscores and hyphens do not count (names: loose), "
                        + "or one of too many; remove it"
                    : "the parser does not take this pointer: it is malformed (~ must be ~0 or ~1, selectors are "
                        + "[name=value]), lies inside another place, or is one of too many; correct or remove it"
            report(lines[key], key, message)
        }
    }

    private static func problem(_ error: any Error) -> FormatError.Problem {
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return .init(
                line: mark.line, key: nil, message: "not valid YAML: \(problem); correct it here or just above")
        case .duplicatedKeysInMapping(let keys, let context):
            let names = keys.map { "\"\($0)\"" }.joined(separator: ", ")
            let message = "\(names) more than once in the mapping that begins here; keep one"
            return .init(line: context.mark.line, key: nil, message: message)
        default:
            return .init(line: nil, key: nil, message: "not valid YAML: \(error)")
        }
    }
}
