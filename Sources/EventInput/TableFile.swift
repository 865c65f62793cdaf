import Foundation

/// A table in a file: CSV with a header row, plain or gzip, of which some columns are wanted.
public enum TableFile {
    /// Why a row cannot be used.
    public struct RowProblem: Error {
        let reason: String
        public init(_ reason: String) { self.reason = reason }
    }

    /// Reads a table row by row. Empty rows are passed over.
    /// - Parameters:
    ///   - columns: the columns that must be there.
    ///   - optional: columns that may be missing; their fields are then empty.
    ///   - need: what the table is for, for the message about a missing column: `landmarks need`.
    ///   - body: gets the fields of the columns, then of the optional ones, unquoted; throws `RowProblem`.
    /// - Throws: `InputError` with the file, and the row that cannot be used.
    public static func read(
        _ path: String, columns: [String], optional: [String] = [], need: String, _ body: ([String]) throws -> Void
    ) throws {
        let reader = try RowReader(path: path, limit: 1 << 16)
        reader.layout = .csv
        let header = try Columns.header(path, reader).names
        let places = try columns.map { name in
            guard let place = header.firstIndex(of: name) else {
                let list = columns.dropLast().joined(separator: ", ") + " and " + (columns.last ?? "")
                throw InputError("\(path): no column \(name); \(need) \(list)")
            }
            return place
        }
        let others = optional.map { header.firstIndex(of: $0) }
        while let row = try reader.next() {
            defer { if reader.position > 1 << 20 { reader.beginBatch() } }
            let bytes = UnsafeBufferPointer(start: reader.bytes + row.start, count: row.count)
            if bytes.isEmpty { continue }
            func failure(_ reason: String) -> InputError { InputError("\(path), row \(row.number): \(reason)") }
            let fields = split(String(decoding: bytes, as: UTF8.self))
            guard fields.count == header.count, row.fault == nil, row.total == row.count else {
                throw failure("\(fields.count) columns, but the header has \(header.count)")
            }
            do {
                try body(places.map { fields[$0] } + others.map { $0.map { fields[$0] } ?? "" })
            } catch let problem as RowProblem {
                throw failure(problem.reason)
            }
        }
    }

    /// Fields of a CSV row, unquoted.
    private static func split(_ row: String) -> [String] {
        guard row.utf8.contains(UInt8(ascii: "\"")) else {
            return row.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
        var fields = [""]
        var isQuoted = false
        var afterQuote = false
        for c in row.unicodeScalars {
            if c == "\"" {
                // The second of two quotes inside quotes is one.
                if afterQuote { fields[fields.count - 1].unicodeScalars.append(c) }
                afterQuote = isQuoted
                isQuoted.toggle()
                continue
            }
            afterQuote = false
            if c == "," && !isQuoted {
                fields.append("")
            } else {
                fields[fields.count - 1].unicodeScalars.append(c)
            }
        }
        return fields
    }
}
