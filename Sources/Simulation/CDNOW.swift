import CEventParser
public import Foundation

/// The CDNOW log: every purchase of 23,570 customers of a music shop who first bought in the first quarter of 1997, up
/// to June 1998 (Fader and Hardie).
public struct CDNOW: Sendable {
    public struct Purchase: Sendable, Equatable {
        /// Midnight UTC of the day, epoch milliseconds.
        public var timeMs: Int64
        /// Five digits.
        public var user: String
        /// CDs bought.
        public var quantity: Int
        /// US dollars.
        public var amount: Double
        /// 1-based row of the log.
        public var row: Int
    }

    /// In order of time; those of one day in the order of the log.
    public let purchases: [Purchase]

    /// Reads `CDNOW_master.txt`: customer, date (yyyymmdd), number of CDs, dollars, by position.
    /// - Throws: `SimulationError` when the file cannot be read or is another one.
    public init(path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw SimulationError("\(path): cannot read the CDNOW log; fetch it with deploy/fetch-cdnow.sh")
        }
        try self.init(data, source: path)
    }

    /// The same from the bytes of the file.
    public init(_ data: Data, source: String) throws {
        var purchases: [Purchase] = []
        var number = 0
        for line in data.split(separator: UInt8(ascii: "\n")) {
            number += 1
            let parts = String(decoding: line, as: UTF8.self).split { $0.isWhitespace }
            if parts.isEmpty { continue }
            guard parts.count == 4, let customer = Int(parts[0]), let quantity = Int(parts[2]),
                let amount = Double(parts[3]), (0...99_999).contains(customer), quantity > 0, amount.isFinite,
                amount >= 0, let timeMs = Self.midnight(parts[1])
            else {
                // The header, where there is one.
                if purchases.isEmpty, number == 1, parts[0].first?.isNumber != true { continue }
                throw SimulationError(
                    "\(source), line \(number): not customer, yyyymmdd, number of CDs and dollars; "
                        + "this is not CDNOW_master.txt, fetch it with deploy/fetch-cdnow.sh")
            }
            let digits = String(customer)
            let user = String(repeating: "0", count: 5 - digits.count) + digits
            purchases.append(
                Purchase(timeMs: timeMs, user: user, quantity: quantity, amount: amount, row: purchases.count + 1))
        }
        guard !purchases.isEmpty else {
            throw SimulationError("\(source): empty; fetch the CDNOW log with deploy/fetch-cdnow.sh")
        }
        self.purchases = purchases.sorted { ($0.timeMs, $0.row) < ($1.timeMs, $1.row) }
    }

    /// Writes the log as clvd's CSV. Throws: `SimulationError`.
    public func writeCSV(to path: String) throws {
        let csv = try CSVWriter(path: path, header: CSVWriter.columns)
        for (index, purchase) in purchases.enumerated() {
            csv.text("cd-\(index)")
            csv.integer(purchase.timeMs)
            csv.text(purchase.user)
            csv.text("purchase")
            csv.text("cd")
            csv.text("music")
            csv.number(purchase.amount / Double(purchase.quantity))
            csv.integer(Int64(purchase.quantity))
            csv.number(purchase.amount)
            let row = String(purchase.row)
            csv.text("cdnow" + String(repeating: "0", count: max(0, 6 - row.count)) + row)
            csv.empty()
            try csv.endRow()
        }
        try csv.finish()
    }

    /// Midnight UTC of a day written yyyymmdd, or nil when there is no such day.
    private static func midnight(_ day: Substring) -> Int64? {
        guard day.utf8.count == 8 else { return nil }
        let date = "\(day.prefix(4))-\(day.dropFirst(4).prefix(2))-\(day.suffix(2))"
        var timeMs: Int64 = 0
        return clvd_parse_time(date, date.utf8.count, false, &timeMs) ? timeMs : nil
    }
}
