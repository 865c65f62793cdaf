public import CEventParser
import Foundation

/// Reads a file of events: CSV with a header row (RFC 4180) or JSON lines, plain or gzip.
///
/// Columns of a CSV file are the fields of the same names of its format; columns that the format does not know are
/// left aside. A CSV file that is not in the given format may be in clvd's own or in REES46's, which show by their
/// columns. It belongs to one thread at a time.
public final class EventFile {
    private let name: String
    private let limits: InputLimits
    private let reader: RowReader
    let decoder: EventDecoder
    private let columns: Columns?

    // The current batch. What is handed out points into these and into the reader's buffer.
    private var rows: [RowReader.Row] = []
    private var records: [clvd_record] = []
    private var events = UnsafeMutableBufferPointer<clvd_event>.allocate(capacity: 0)
    /// Columns of the rejected rows, and what is wrong with rows that have no columns to speak of.
    private var rejectedColumns: [Int: [clvd_text]] = [:]
    private var faults: [Int: String] = [:]
    private let messages = NativeMessages()
    /// Of each message that was handed out, its row in the batch; nil when events were handed out.
    private var rowsOfMessages: [Int]?
    /// Rows of all batches before the current one.
    private var rowsBefore: Int64 = 0
    /// Why the file could not be read on, held back until the rows before it have been handed out.
    private var failure: InputError?

    /// A batch ends when its rows hold so many bytes.
    private static let batchBytes = 4 << 20

    /// - Throws: `InputError` when the file cannot be read, is not of a known kind, or lacks a column.
    public init(path: String, format: EventFormat, limits: InputLimits, currency: CurrencyTable) throws {
        name = (path as NSString).lastPathComponent
        self.limits = limits
        var format = format
        // Files hold rows or JSON, whatever the topics hold.
        (format.encoding, format.encodingOptions) = (.json, [:])
        // Limits are checked before they are used.
        let given = try EventDecoder(format: format, limits: limits, currency: currency)
        reader = try RowReader(path: path, limit: limits.maxRecordBytes)
        guard try Self.holdsColumns(path, reader) else {
            columns = nil
            decoder = given
            return
        }
        reader.quoted = true
        let header = try Columns.header(path, reader)
        let chosen = try Columns.choose(header, format, path: path)
        decoder = chosen == format ? given : try EventDecoder(format: chosen, limits: limits, currency: currency)
        columns = Columns(header, chosen, parser: decoder.parser)
    }

    deinit { events.deallocate() }

    /// Bytes of the file itself (compressed, if it is) that have been read.
    public var bytesRead: Int64 { reader.bytesRead }
    /// Bytes of the file itself; -1 when unknown (a pipe).
    public var bytesTotal: Int64 { reader.bytesTotal }
    /// Rows that have been read, headers and empty ones not counted.
    public var rowsRead: Int64 { rowsBefore + Int64(rows.count) }

    private static func holdsColumns(_ path: String, _ reader: RowReader) throws -> Bool {
        let first = try reader.firstByte()
        if first == UInt8(ascii: "{") { return false }
        if first == UInt8(ascii: "[") {
            throw InputError("\(path): a JSON array; write one event per line (jq -c '.[]')")
        }
        let plain = path.lowercased().hasSuffix(".gz") ? String(path.dropLast(3)) : path
        let kind = (plain as NSString).pathExtension.lowercased()
        return !["jsonl", "ndjson", "json"].contains(kind) && (first != nil || kind == "csv")
    }

    // MARK: Events

    /// Up to `maximum` rows as events, fewer when rows are long; empty at the end. A row that cannot be decoded comes
    /// with its status. `offset` is the number of the row. Strings are valid until the next call.
    /// - Throws: `InputError` when the file cannot be read on; the rows before that come first.
    public func next(maximum: Int) throws -> UnsafeBufferPointer<clvd_event> {
        rowsOfMessages = nil
        try load(maximum) { _ in }
        return UnsafeBufferPointer(rebasing: events[..<rows.count])
    }

    /// Up to `maximum` rows as messages for a topic: lines of JSON as they are, CSV rows as JSON in the format
    /// `native`; empty at the end. A CSV row that cannot be decoded becomes JSON with what it had, which the daemon
    /// rejects in its turn; rows of an ignored type are left out. Valid until the next call.
    /// - Throws: as `next`.
    public func nextMessages(maximum: Int) throws -> [EventMessage] {
        while true {
            messages.removeAll()
            var kept: [Int] = []
            try load(maximum) { row in
                guard let columns else { return }
                let status = events[row].status
                if status == UInt8(clvd_status_ignored_type.rawValue) || status == UInt8(clvd_status_filtered.rawValue)
                {
                    return
                }
                kept.append(row)
                messages.append(events[row], decoder.parser, currency: columns.currency)
            }
            if rows.isEmpty { return [] }
            if columns == nil {
                for row in rows.indices {
                    kept.append(row)
                    messages.append(line: records[row], events[row])
                }
            }
            rowsOfMessages = kept
            for (index, row) in kept.enumerated() where isReplaced(row) {
                messages.replace(
                    index, error: explain(index),
                    row: rows[row].total > limits.maxRecordBytes
                        ? nil : UnsafeBufferPointer(start: reader.bytes + rows[row].start, count: rows[row].count))
            }
            if !kept.isEmpty { return messages.finish(rowsRead: kept.map { rowsBefore + Int64($0) + 1 }) }
        }
    }

    /// Rows that make no message of their own: too long to send, or without sound columns.
    private func isReplaced(_ row: Int) -> Bool { rows[row].total > limits.maxRecordBytes || faults[row] != nil }

    /// Says of an element of the last batch where it stands and why it was rejected: file, row number, reason.
    public func explain(_ index: Int) -> String {
        let row = rowsOfMessages?[index] ?? index
        let place = "\(name), row \(rows[row].number)"
        if let fault = faults[row] { return "\(place): \(fault)" }
        guard columns != nil else { return "\(place): \(decoder.explain(records[row], events[row]))" }
        guard let slots = rejectedColumns[row] else {
            return "\(place): \(String(cString: clvd_status_name(events[row].status)))"
        }
        let reason = sentence {
            clvd_parser_explain_row(decoder.parser, slots, &records[row], &events[row], $0, $1)
        }
        return "\(place): \(reason)"
    }

    // MARK: Batches

    /// Reads and decodes a batch; `visit` gets each CSV row as soon as it is decoded.
    private func load(_ maximum: Int, _ visit: (Int) -> Void) throws {
        rowsBefore = rowsRead
        rows.removeAll(keepingCapacity: true)
        rejectedColumns.removeAll(keepingCapacity: true)
        faults.removeAll(keepingCapacity: true)
        if let failure { throw failure }
        try readRows(maximum)
        if rows.isEmpty { return }
        if events.count < rows.count {
            events.deallocate()
            events = .allocate(capacity: rows.count)
        }
        records = rows.map { row in
            clvd_record(
                key: nil, value: UnsafePointer(reader.bytes + row.start), key_length: 0,
                value_length: UInt32(clamping: row.total), offset: row.number, timestamp_ms: -1, partition: 0,
                topic: 0, headers: nil, unreadable: 0)
        }
        guard let columns else {
            records.withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
            return
        }
        withUnsafeTemporaryAllocation(of: clvd_text.self, capacity: columns.slotCount) { slots in
            for row in rows.indices {
                decode(row, columns, slots)
                visit(row)
            }
        }
    }

    private func readRows(_ maximum: Int) throws {
        reader.beginBatch()
        do {
            while rows.count < maximum, reader.position < Self.batchBytes, let row = try reader.next() {
                if !isBlank(row) { rows.append(row) }
            }
        } catch let error as InputError {
            failure = error
            if rows.isEmpty { throw error }
        }
    }

    private func isBlank(_ row: RowReader.Row) -> Bool {
        row.total == row.count
            && UnsafeBufferPointer(start: reader.bytes + row.start, count: row.count).allSatisfy {
                $0 == 0x20 || $0 == 0x09 || $0 == 0x0D
            }
    }

    private func decode(_ index: Int, _ columns: Columns, _ slots: UnsafeMutableBufferPointer<clvd_text>) {
        slots.update(repeating: clvd_text())
        let row = rows[index]
        if row.total <= limits.maxRecordBytes, let fault = columns.split(row, reader.bytes, into: slots) {
            // Its columns may be shifted: no part of it is to be trusted.
            slots.update(repeating: clvd_text())
            faults[index] = fault
            clvd_parser_decode_row(decoder.parser, slots.baseAddress!, &records[index], &events[index])
            events[index].status = UInt8(clvd_status_wrong_type.rawValue)
            events[index].rejected_field = 0
        } else {
            let status = clvd_parser_decode_row(decoder.parser, slots.baseAddress!, &records[index], &events[index])
            if status.rawValue >= clvd_status_first_rejection.rawValue { rejectedColumns[index] = Array(slots) }
        }
        events[index].record = UInt32(index)
    }
}

/// A row of an event file as a message for a topic.
public struct EventMessage {
    /// The user id, empty when the row has none.
    public let key: UnsafeBufferPointer<UInt8>
    public let value: UnsafeBufferPointer<UInt8>
    /// Event time, epoch milliseconds; -1 when the row was rejected.
    public let timeMs: Int64
    /// The `clvd_status` of the row.
    public let status: UInt8
    /// Rows of the file up to and with this one, those of ignored types included.
    public let rowsRead: Int64
}
