import CEventParser
import Foundation

/// The encoding of rows: the columns of a CSV file as slots of a format.
struct Columns {
    /// Of each column its slot in the parser, or -1 when the format does not know it.
    private let slots: [Int32]
    let slotCount: Int
    /// What an amount is in when the row does not say.
    let currency: String?

    // MARK: The header row

    /// Reads the header row. Throws: `InputError`.
    static func header(_ path: String, _ reader: RowReader) throws -> [String] {
        func failure(_ reason: String) -> InputError { InputError("\(path): \(reason)") }
        let kinds = "CSV with a header row, or one JSON object per line, plain or gzip"
        var row = try reader.next()
        while let blank = row, blank.total == 0 { row = try reader.next() }
        guard let row else { throw failure("empty; expected \(kinds)") }
        guard row.total == row.count, row.fault == nil,
            case let bytes = UnsafeBufferPointer(start: reader.bytes + row.start, count: row.count),
            !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self)
        else { throw failure("its first row is not text; expected \(kinds)") }
        // Names hold neither commas nor line breaks: quotes can only stand around them.
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.trimmingCharacters(in: CharacterSet(charactersIn: " \t\""))
        }
        if let twice = names.indices.first(where: { !names[$0].isEmpty && names[..<$0].contains(names[$0]) }) {
            throw failure("column \"\(safe(names[twice]))\" is there twice; rename or remove one")
        }
        return names
    }

    /// The format whose columns these are: the given one, or, when it is not one for these columns, clvd's own or
    /// REES46's. Throws: `InputError`, with the columns found and those expected.
    static func choose(_ header: [String], _ given: EventFormat, path: String) throws -> EventFormat {
        let own = ["native", "rees46"].compactMap(EventFormat.builtIn)
        func lacking(_ format: EventFormat) -> [[String]] {
            var needed: [[String]] = [format.columns(of: .userID), format.columns(of: .eventTime)]
            if format.defaultType == UInt8(CLVD_TYPE_REQUIRED) { needed.append(format.columns(of: .eventType)) }
            return needed.filter { Set($0).isDisjoint(with: header) }
        }
        func known(_ format: EventFormat) -> Int {
            Set(Field.allCases.flatMap(format.columns)).intersection(header).count
        }
        if given != own[0], lacking(given).isEmpty { return given }
        let fitting = ([given] + own.filter { $0 != given }).filter { lacking($0).isEmpty }
        if let best = fitting.max(by: { known($0) < known($1) }) {
            // Of equals the first: `max` would take the last.
            return fitting.first { known($0) == known(best) } ?? best
        }
        let reference = given.columns(of: .userID).isEmpty ? own[0] : given
        let missing = lacking(reference).map { $0.joined(separator: " or ") }.joined(separator: "; ")
        let expected = Field.allCases.flatMap(reference.columns).joined(separator: ", ")
        let found = header.prefix(30).map(safe).joined(separator: ", ") + (header.count > 30 ? ", …" : "")
        throw InputError(
            "\(path): no column \(missing). Found: \(found). Expected, separated by commas, in any order: \(expected). "
                + "Rename the columns, or describe them in a format of your own.")
    }

    init(_ header: [String], _ format: EventFormat, parser: OpaquePointer) {
        slots = header.map { name in
            clvd_parser_find_slot(
                parser, "/" + name.replacing("~", with: "~0").replacing("/", with: "~1"))
        }
        slotCount = Int(clvd_parser_slot_count(parser))
        currency = format.currency
    }

    /// At most 40 characters of a name, none of which moves the cursor of a terminal.
    private static func safe(_ name: String) -> String {
        String(String.UnicodeScalarView(name.unicodeScalars.prefix(40).map { $0.properties.isControl ? "?" : $0 }))
    }

    // MARK: Rows

    /// Puts the columns of a row into the slots; quoted ones are unquoted in place. Returns what is wrong with the row.
    func split(
        _ row: RowReader.Row, _ bytes: UnsafeMutablePointer<UInt8>, into values: UnsafeMutableBufferPointer<clvd_text>
    ) -> String? {
        switch row.fault {
        case .textAfterQuote: return "text between a closing quote and the next comma; write a quote in quotes twice"
        case .unclosedQuote: return "a quote that opens in this row is not closed by the end of the file"
        case nil: break
        }
        let end = row.start + row.count
        var at = row.start
        var column = 0
        while true {
            var start = at
            var count: Int
            if at < end, bytes[at] == 0x22 {
                start = at + 1
                (count, at) = Self.unquote(bytes, start, end)
            } else {
                let comma = memchr(bytes + at, 0x2C, end - at)
                at = comma.map { $0 - UnsafeMutableRawPointer(bytes) } ?? end
                count = at - start
            }
            if column < slots.count, slots[column] >= 0 {
                values[Int(slots[column])] = clvd_text(data: bytes + start, length: UInt32(count))
            }
            column += 1
            if at >= end { break }
            at += 1
        }
        return column == slots.count ? nil : "\(column) columns, but the header has \(slots.count)"
    }

    /// Turns doubled quotes into single ones up to the closing quote. Returns the length of the text and the index
    /// after that quote.
    private static func unquote(
        _ bytes: UnsafeMutablePointer<UInt8>, _ start: Int, _ end: Int
    ) -> (count: Int, after: Int) {
        var from = start
        var to = start
        while from < end {
            if bytes[from] == 0x22 {
                from += 1
                if from == end || bytes[from] != 0x22 { break }
            }
            bytes[to] = bytes[from]
            to += 1
            from += 1
        }
        // The row as a whole stays valid UTF-8.
        for rest in to..<from { bytes[rest] = 0x20 }
        return (to - start, from)
    }
}

extension EventFormat {
    /// Names of the columns that a field may come from: those of its places that are not inside an object.
    func columns(of field: Field) -> [String] {
        (fields[field] ?? []).compactMap { place -> String? in
            let name = String(place.pointer.dropFirst())
            guard !name.contains("/"), !name.hasPrefix("[") else { return nil }
            return name.replacing("~1", with: "/").replacing("~0", with: "~")
        }
    }
}

extension Unicode.Scalar.Properties {
    fileprivate var isControl: Bool {
        switch generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }
}
