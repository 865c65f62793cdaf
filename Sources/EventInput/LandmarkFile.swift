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
        var rows: [(id: String, user: String, timeMs: Int64, horizons: [Double])] = []
        var lists: [String: [Double]] = [:]
        try TableFile.read(
            path, columns: ["landmark_id", "user_id", "time_ms", "horizons"], need: "landmarks need"
        ) { fields in
            guard let time = Int64(fields[2]) else { throw TableFile.RowProblem("time_ms is no whole number") }
            let text = fields[3]
            let list = lists[text] ?? text.split(separator: "|").compactMap { Double($0) }
            guard !list.isEmpty, list.allSatisfy({ $0 > 0 && $0 <= 3650 }),
                list.count == text.split(separator: "|", omittingEmptySubsequences: false).count
            else { throw TableFile.RowProblem("horizons are days from above 0 to 3650, separated by |") }
            lists[text] = list
            rows.append((fields[0], fields[1], time, list))
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
}
