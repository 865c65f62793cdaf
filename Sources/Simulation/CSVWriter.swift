import CEventParser
import Foundation

/// Writes rows of CSV through a buffer; gzip when the file's name ends in `.gz`.
public final class CSVWriter {
    /// The columns of clvd's own CSV files.
    static let columns =
        "event_id,event_time_ms,user_id,event_type,item_id,category,price,quantity,amount,order_id,session_id"

    private let path: String
    /// nil once it is closed.
    private var file: OpaquePointer?
    private var row: [UInt8] = []

    /// Opens the file and writes the header row.
    /// - Throws: `SimulationError` when the file cannot be written.
    public init(path: String, header: String) throws {
        guard let file = clvd_output_open(path, path.lowercased().hasSuffix(".gz")) else {
            throw SimulationError(path, "cannot write", errno)
        }
        self.path = path
        self.file = file
        text(header)
        try endRow()
    }

    deinit { if let file { _ = clvd_output_close(file) } }

    /// Writes what is still buffered and closes the file. Without this call a full disk stays unnoticed.
    public func finish() throws {
        defer { file = nil }
        if let file, !clvd_output_close(file) { throw SimulationError(path, "cannot write", errno) }
    }

    /// A value that needs no quotes.
    public func text(_ value: some StringProtocol) {
        row.append(contentsOf: value.utf8)
        comma()
    }

    /// A whole number.
    public func integer(_ value: Int64) { text(String(value)) }

    /// A number in its shortest form.
    public func number(_ value: Double) {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { digits in
            let count = Int(clvd_write_number(value, digits.baseAddress))
            row.append(contentsOf: UnsafeRawBufferPointer(digits)[..<count])
        }
        comma()
    }

    /// A number in its shortest form.
    static func shortest(_ value: Double) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { digits in
            let count = Int(clvd_write_number(value, digits.baseAddress))
            return String(decoding: UnsafeRawBufferPointer(digits)[..<count], as: UTF8.self)
        }
    }

    /// A missing value.
    public func empty() { comma() }

    /// Ends the row, which has at least one value.
    public func endRow() throws {
        row[row.count - 1] = UInt8(ascii: "\n")
        guard clvd_output_write(file, row, row.count) else { throw SimulationError(path, "cannot write", errno) }
        row.removeAll(keepingCapacity: true)
    }

    private func comma() { row.append(UInt8(ascii: ",")) }
}

/// Why a file of simulated or recorded events, or of predictions, cannot be read or written.
public struct SimulationError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }

    init(_ path: String, _ action: String, _ code: Int32) {
        description =
            "\(path): \(action): \(String(cString: strerror(code))); check the folder, its rights and the disk"
    }
}
