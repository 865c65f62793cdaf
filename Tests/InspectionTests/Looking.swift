import Engine
import EventInput
import Foundation

@testable import Inspection

/// What was found in an event file, with what is held of each customer: orders and value to date.
struct Look {
    struct Held: Equatable, ExpressibleByArrayLiteral {
        var orders: Int
        var value: Double

        /// Orders, value.
        init(arrayLiteral elements: Double...) { (orders, value) = (Int(elements[0]), elements[1]) }
        init(_ customer: CustomerTotals) {
            (orders, value) = (customer.orders, (customer.valueToDate * 1e6).rounded() / 1e6)
        }
    }

    let found: FileFindings
    private(set) var held: [String: Held] = [:]

    /// - Parameters:
    ///   - name: of the file, as its kind shows by it.
    ///   - format: name of a built-in format, or a mapping.
    init(_ content: String, _ name: String = "events.jsonl", format: String) throws {
        try self.init(bytes: Array(content.utf8), name, format: format)
    }

    init(bytes: [UInt8], _ name: String, format: String) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: name)
        try Data(bytes).write(to: path)
        let format =
            format.contains("\n")
            ? try EventFormat(yaml: format, source: "mapping") : try EventFormat.load(format)
        let file = try EventFile(
            path: path.path(), format: format, limits: InputLimits(), currency: CurrencyTable())
        let order = try file.sortIfLate(allowedLatenessSeconds: 60)
        let inspection = FileInspection(file, EngineConfiguration())
        found = try inspection.run(order) { _ in }
        inspection.forEachCustomer { held[$0.user] = Held($0) }
    }

    func advises(_ text: String) -> Bool { found.advice.contains { $0.contains(text) } }
}
