import Foundation

/// The instants at which somebody wants to know what the model says: CSV with a header row, plain or gzip, columns
/// `landmark_id`, `user_id`, `time_ms` and `horizons` (days, separated by `|`).
public struct LandmarkFile: Sendable {
    public struct Landmark: Sendable, Equatable {
        public var id: String
        public var user: String
        /// Epoch milliseconds. Events at it count as known.
        public var timeMs: Int64
        /// Days, as indices into `horizons`.
        public var horizons: [Int]
    }

    /// In the order of their time; those of one instant in the order of the file.
    public let landmarks: [Landmark]
    /// Every horizon that some landmark asks for, in days, ascending.
    public let horizons: [Double]

    /// - Throws: `InputError` with the row that cannot be used.
    public init(path: String) throws {
        let reader = try RowReader(path: path, limit: 1 << 16)
        reader.quoted = true
        let header = try Columns.header(path, reader)
        let places = try ["landmark_id", "user_id", "time_ms", "horizons"].map { name in
            guard let place = header.firstIndex(of: name) else {
                throw InputError(
                    "\(path): no column \(name); landmarks need landmark_id, user_id, time_ms and horizons")
            }
            return place
        }
        var rows: [(id: String, user: String, timeMs: Int64, horizons: [Double])] = []
        var lists: [String: [Double]] = [:]
        while let row = try reader.next() {
            defer { if reader.position > 1 << 20 { reader.beginBatch() } }
            let bytes = UnsafeBufferPointer(start: reader.bytes + row.start, count: row.count)
            if bytes.isEmpty { continue }
            func failure(_ reason: String) -> InputError { InputError("\(path), row \(row.number): \(reason)") }
            let fields = Self.split(String(decoding: bytes, as: UTF8.self))
            guard fields.count == header.count, row.fault == nil, row.total == row.count else {
                throw failure("\(fields.count) columns, but the header has \(header.count)")
            }
            guard let time = Int64(fields[places[2]]) else { throw failure("time_ms is no whole number") }
            let text = fields[places[3]]
            let list = lists[text] ?? text.split(separator: "|").compactMap { Double($0) }
            guard !list.isEmpty, list.allSatisfy({ $0 > 0 && $0 <= 3650 }),
                list.count == text.split(separator: "|", omittingEmptySubsequences: false).count
            else { throw failure("horizons are days from above 0 to 3650, separated by |") }
            lists[text] = list
            rows.append((fields[places[0]], fields[places[1]], time, list))
        }
        let horizons = Set(lists.values.joined()).sorted()
        let order = rows.indices.sorted { (rows[$0].timeMs, $0) < (rows[$1].timeMs, $1) }
        landmarks = order.map { i in
            Landmark(
                id: rows[i].id, user: rows[i].user, timeMs: rows[i].timeMs,
                horizons: rows[i].horizons.compactMap { horizons.firstIndex(of: $0) })
        }
        self.horizons = horizons
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
