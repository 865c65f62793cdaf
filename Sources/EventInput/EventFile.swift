public import CEventParser
import Foundation

/// Reads a file of events: CSV with a header row (RFC 4180), or JSON: objects line by line, over several lines, as
/// elements of an array, or as a `batch` inside an object. Plain or gzip.
///
/// Columns of a CSV file are the fields of the same names of its format; columns that the format does not know are
/// left aside. A CSV file that is not in the given format may be in clvd's own or in REES46's, which show by their
/// columns. It belongs to one thread at a time.
public final class EventFile {
    /// The format of its rows: the given one, or the one that its columns are of.
    public let format: EventFormat
    public let path: String
    private let given: EventFormat
    private let currency: CurrencyTable
    /// Of the file, without its folder.
    let name: String
    private let limits: InputLimits
    private let reader: RowReader
    /// `reader`, or the sorted rows of the file.
    private var source: any RowSource
    let decoder: EventDecoder
    private let columns: Columns?
    private let headerText: [UInt8]?

    // The current batch. What is handed out points into these and into the source's buffer.
    private var rows: [RowReader.Row] = []
    private var records: [clvd_record] = []
    private var events = UnsafeMutableBufferPointer<clvd_event>.allocate(capacity: 0)
    /// Columns of the rejected rows, and what is wrong with rows that have no columns to speak of.
    private var rejectedColumns: [Int: [clvd_text]] = [:]
    private var faults: [Int: String] = [:]
    private let messages = RowMessages()
    /// Of each message that was handed out, its row in the batch; nil when events were handed out.
    private var rowsOfMessages: [Int]?
    /// Rows of all batches before the current one.
    private var rowsBefore: Int64 = 0
    /// Offset of the last event handed out.
    private var offset: Int64 = 0
    /// Why the file could not be read on, held back until the rows before it have been handed out.
    private var failure: InputError?
    /// Takes the rows in as they are read.
    private var sorter: SortedRows?

    /// Bytes of rows that are sorted in memory.
    public static let sortMemory = 512 << 20
    /// A batch ends when its rows hold so many bytes.
    private static let batchBytes = 4 << 20

    /// - Throws: `InputError` when the file cannot be read, is not of a known kind, or lacks a column.
    public init(path: String, format: EventFormat, limits: InputLimits, currency: CurrencyTable) throws {
        (self.path, self.limits, self.currency) = (path, limits, currency)
        name = (path as NSString).lastPathComponent
        var format = format
        // Files hold rows or JSON, whatever the topics hold.
        (format.encoding, format.encodingOptions) = (.json, [:])
        given = format
        // Limits are checked before they are used.
        let plain = try EventDecoder(format: format, limits: limits, currency: currency)
        reader = try RowReader(path: path, limit: limits.maxRecordBytes)
        source = reader
        let lists =
            ["batch"]
            + format.batches.filter { $0.hasPrefix("/") && !$0.dropFirst().contains("/") }
            .map { String($0.dropFirst()) }
        reader.layout = try Self.layout(path, reader, lists)
        guard reader.layout == .csv else {
            self.format = format
            (columns, headerText) = (nil, nil)
            decoder = plain
            return
        }
        let (header, headerText) = try Columns.header(path, reader)
        self.headerText = headerText
        self.format = try Columns.choose(header, format, path: path)
        decoder =
            self.format == format ? plain : try EventDecoder(format: self.format, limits: limits, currency: currency)
        columns = Columns(header, self.format, parser: decoder.parser)
    }

    deinit { events.deallocate() }

    /// Bytes of the file itself (compressed, if it is) that have been read; of sorted rows, their bytes.
    public var bytesRead: Int64 { source.bytesRead }
    /// Bytes of the file itself, or of the sorted rows; -1 when unknown (a pipe).
    public var bytesTotal: Int64 { source.bytesTotal }
    /// Rows that have been read, headers and empty ones not counted.
    public var rowsRead: Int64 { rowsBefore + Int64(rows.count) }
    /// Whether rows are handed out in the order of their time and not in that of the file.
    public var isSorted: Bool { source !== reader }
    /// Whether the format is not the given one, as the columns show.
    public var isOfOtherFormat: Bool { format != given }

    /// Whether a reader of a topic in this format understands the messages.
    public func isOf(_ format: EventFormat) -> Bool { self.format == format }

    /// - Parameter lists: members that may hold the events of the file.
    private static func layout(_ path: String, _ reader: RowReader, _ lists: [String]) throws -> RowReader.Layout {
        let first = try reader.firstByte()
        reader.wrappers = lists
        if try first == UInt8(ascii: "[") || reader.beginsWithWrapper() { return .documents }
        if first == UInt8(ascii: "{") { return try reader.beginsWithOpenObject() ? .documents : .lines }
        let plain = path.lowercased().hasSuffix(".gz") ? String(path.dropLast(3)) : path
        let kind = (plain as NSString).pathExtension.lowercased()
        return !["jsonl", "ndjson", "json"].contains(kind) && (first != nil || kind == "csv") ? .csv : .lines
    }

    // MARK: Events

    /// Up to `maximum` rows as events, fewer when rows are long; empty at the end. The events of a batch (`Envelope`)
    /// come together. A row that cannot be decoded comes with its status. Offsets ascend: the number of the row, where
    /// that is possible. Strings are valid until the next call.
    /// - Throws: `InputError` when the file cannot be read on; the rows before that come first.
    public func next(maximum: Int) throws -> UnsafeBufferPointer<clvd_event> {
        rowsOfMessages = nil
        try load(maximum, nil)
        return UnsafeBufferPointer(rebasing: events[..<rows.count])
    }

    /// Up to `maximum` rows as messages for a topic of this format: JSON as it is, CSV rows as JSON objects with the
    /// columns that the format knows; empty at the end. A row may make no such message: too long, without
    /// sound columns, not UTF-8. It comes as its text, with a note that tells the reader of the topic the reason. CSV rows of an
    /// ignored type are left out. Valid until the next call.
    /// - Throws: as `next`.
    public func nextMessages(maximum: Int) throws -> [EventMessage] {
        while true {
            messages.removeAll()
            var kept: [Int] = []
            try load(maximum) { [self] row, slots, text in
                guard let columns, !isLeftOut(row) else { return }
                kept.append(row)
                if isNoMessage(row) {
                    messages.append(text: text, events[row], note: note(row, slots))
                } else {
                    messages.append(events[row], slots, columns)
                }
            }
            if rows.isEmpty { return [] }
            if columns == nil {
                for row in rows.indices {
                    kept.append(row)
                    let isWhole = rows[row].total <= limits.maxRecordBytes
                    messages.append(line: text(row), events[row], note: isWhole ? nil : note(row, nil))
                }
            }
            rowsOfMessages = kept
            if !kept.isEmpty { return messages.finish(rowsRead: kept.map { rowsBefore + Int64($0) + 1 }) }
        }
    }

    private func isLeftOut(_ row: Int) -> Bool {
        let status = UInt32(events[row].status)
        return status == clvd_status_ignored_type.rawValue || status == clvd_status_filtered.rawValue
    }

    /// Whether a CSV row has no columns that say what is wrong with it.
    private func isNoMessage(_ row: Int) -> Bool {
        let status = UInt32(events[row].status)
        return faults[row] != nil || status == clvd_status_too_large.rawValue
            || status == clvd_status_invalid_utf8.rawValue
    }

    private func note(_ row: Int, _ slots: UnsafeMutableBufferPointer<clvd_text>?) -> String {
        let status = String(cString: clvd_status_name(events[row].status))
        return "\(status): \(explanation(row, slots.map { Array($0) }))"
    }

    private func text(_ row: Int) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: source.bytes + rows[row].start, count: rows[row].count)
    }

    /// Says of an element of the last batch where it stands and why it was rejected: file, row number, reason.
    public func explain(_ index: Int) -> String {
        let row = rowsOfMessages?[index] ?? index
        return explanation(row, rejectedColumns[row])
    }

    /// Where an element of the last batch stands: file and row number.
    public func place(_ index: Int) -> String {
        place(row: rowsOfMessages?[index] ?? index)
    }

    private func place(row: Int) -> String {
        let part = rows[row].part > 0 ? ", event \(rows[row].part) of its batch" : ""
        return "\(name), row \(rows[row].number)\(part)"
    }

    private func explanation(_ row: Int, _ slots: [clvd_text]?) -> String {
        let place = place(row: row)
        if let fault = faults[row] { return "\(place): \(fault)" }
        guard columns != nil else { return "\(place): \(decoder.explain(records[row], events[row]))" }
        guard let slots else {
            return "\(place): \(String(cString: clvd_status_name(events[row].status)))"
        }
        let reason = sentence {
            clvd_parser_explain_row(decoder.parser, slots, &records[row], &events[row], $0, $1)
        }
        return "\(place): \(reason)"
    }

    /// Counts, from now on, the currencies of the events.
    public func countCurrencies() { clvd_parser_count_currencies(decoder.parser, 100) }

    /// Events with money by the currency that they name, or that is assumed.
    public var currencies: [String: Int64] {
        var counts: [String: Int64] = [:]
        var code = clvd_text()
        var count: UInt64 = 0
        var index: UInt32 = 0
        while clvd_parser_currency(decoder.parser, index, &code, &count) {
            let name = UnsafeBufferPointer(start: code.data, count: Int(code.length))
            counts[String(decoding: name, as: UTF8.self)] = Int64(count)
            index += 1
        }
        return counts
    }

    // MARK: Order

    /// Finds out in which order the rows are. When some come later than `allowedLatenessSeconds` after a row with a later
    /// time, rows are handed out sorted by time from now on. For this the file is read once, or twice to be sorted.
    /// Before the first row.
    /// - Parameters:
    ///   - memory: bytes of rows that are sorted in memory; more go through temporary files.
    ///   - progress: gets the bytes read, of `bytesTotal`.
    /// - Returns: nil: not known, since it cannot be read twice (a pipe).
    /// - Throws: `InputError` when the file, or a temporary file, cannot be read or written.
    public func sortIfLate(
        allowedLatenessSeconds: Int, memory: Int = sortMemory, progress: (Int64) throws -> Void = { _ in }
    ) throws -> EventOrder? {
        guard bytesTotal >= 0 else { return nil }
        var order = EventOrder(allowedLatenessMs: Int64(allowedLatenessSeconds) * 1000)
        let look = try again()
        while case let events = try look.next(maximum: 8192), !events.isEmpty {
            for event in events { order.add(event) }
            try progress(look.bytesRead)
        }
        guard order.late > 0 else { return order }
        let rows = SortedRows(path: path, memory: memory)
        let copy = try again()
        copy.sorter = rows
        while try !copy.next(maximum: 8192).isEmpty { try progress(copy.bytesRead) }
        try rows.finish()
        source = rows
        return order
    }

    /// Writes the rows, in the order of their time where they are sorted: CSV rows as they are, below the header; JSON as one
    /// object on each line. The file is read once more.
    /// - Throws: `InputError` when something cannot be read or written.
    public func writeSorted(to target: String) throws {
        func failure() -> InputError {
            InputError("\(target): cannot write: \(String(cString: strerror(errno))); check the folder and the disk")
        }
        guard let output = clvd_output_open(target, target.lowercased().hasSuffix(".gz")) else { throw failure() }
        var isOpen = true
        defer { if isOpen { _ = clvd_output_close(output) } }
        let copy = try again()
        let rows = SortedRows(path: path, memory: Self.sortMemory)
        copy.sorter = rows
        while try !copy.next(maximum: 8192).isEmpty {}
        try rows.finish()
        if let header = copy.headerText {
            guard clvd_output_write(output, header + [0x0A], header.count + 1) else { throw failure() }
        }
        while true {
            rows.beginBatch()
            guard let row = try rows.next() else { break }
            let text = UnsafeMutableBufferPointer(start: rows.bytes + row.start, count: row.count + 1)
            // Line breaks of JSON are white space.
            if columns == nil { for i in text.indices where text[i] == 0x0A || text[i] == 0x0D { text[i] = 0x20 } }
            text[row.count] = 0x0A
            guard clvd_output_write(output, text.baseAddress, text.count) else { throw failure() }
        }
        isOpen = false
        guard clvd_output_close(output) else { throw failure() }
    }

    private func again() throws -> EventFile {
        try EventFile(path: path, format: given, limits: limits, currency: currency)
    }

    // MARK: Batches

    /// Gets a CSV row by its place in the batch, with its columns and its text.
    private typealias Visit = (Int, UnsafeMutableBufferPointer<clvd_text>, UnsafeBufferPointer<UInt8>) -> Void

    /// Reads and decodes a batch.
    private func load(_ maximum: Int, _ visit: Visit?) throws {
        rowsBefore = rowsRead
        rows.removeAll(keepingCapacity: true)
        rejectedColumns.removeAll(keepingCapacity: true)
        faults.removeAll(keepingCapacity: true)
        if let failure { throw failure }
        try readRows(maximum)
        if rows.isEmpty { return }
        makeRecords()
        if columns == nil { decodeDocuments() }
        let first = try sorter.map { sorter in
            try sorter.makeRoom()
            return rows.map { sorter.append($0, source.bytes) }[0]
        }
        if let columns {
            var copy: [UInt8] = []
            withUnsafeTemporaryAllocation(of: clvd_text.self, capacity: columns.slotCount) { slots in
                for row in rows.indices { decode(row, columns, slots, &copy, visit) }
            }
        }
        if let sorter, let first { setTimes(sorter, first) }
    }

    private func readRows(_ maximum: Int) throws {
        source.beginBatch()
        do {
            while rows.count < maximum, source.position < Self.batchBytes, let row = try source.next() {
                if !isBlank(row) { rows.append(row) }
            }
        } catch let error as InputError {
            failure = error
            if rows.isEmpty { throw error }
        }
    }

    private func isBlank(_ row: RowReader.Row) -> Bool {
        row.total == row.count
            && UnsafeBufferPointer(start: source.bytes + row.start, count: row.count).allSatisfy {
                $0 == 0x20 || $0 == 0x09 || $0 == 0x0D
            }
    }

    private func makeRecords() {
        if events.count < rows.count {
            events.deallocate()
            events = .allocate(capacity: rows.count)
        }
        records = rows.map { row in
            offset = max(offset + 1, row.number)
            return clvd_record(
                key: nil, value: UnsafePointer(source.bytes + row.start), key_length: 0,
                value_length: UInt32(clamping: row.total), offset: offset, timestamp_ms: -1, partition: 0,
                topic: 0, headers: nil, unreadable: 0)
        }
    }

    private func decodeDocuments() {
        records.withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
        guard expandBatches() else { return }
        makeRecords()
        // Rows that are decoded again are counted already.
        let new = zip(rows, records).filter { $0.0.part > 0 }.map(\.1)
        new.withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
        clvd_parser_pause_tallies(decoder.parser, true)
        records.withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
        clvd_parser_pause_tallies(decoder.parser, false)
    }

    /// Puts the events of batches in the place of their rows. Only what is no event itself is looked at. False: none.
    private func expandBatches() -> Bool {
        let broken = [clvd_status_invalid_json, clvd_status_invalid_utf8, clvd_status_too_large].map(\.rawValue)
        var parts: [Int: [Range<Int>]] = [:]
        for (row, event) in zip(rows.indices, events) where UInt32(event.status) >= clvd_status_first_rejection.rawValue
        {
            guard rows[row].part == 0, !broken.contains(UInt32(event.status)) else { continue }
            let ranges = Envelope.events(in: text(row))
            if !ranges.isEmpty { parts[row] = ranges }
        }
        guard !parts.isEmpty else { return false }
        offset = records[0].offset - 1
        rows = rows.indices.flatMap { index -> [RowReader.Row] in
            let row = rows[index]
            guard let ranges = parts[index] else { return [row] }
            return ranges.enumerated().map { i, range in
                RowReader.Row(
                    start: row.start + range.lowerBound, count: range.count, total: range.count, number: row.number,
                    part: Int32(i + 1))
            }
        }
        return true
    }

    /// Rows of one time stay in their order; a row without a usable time stays behind the one before it.
    private func setTimes(_ sorter: SortedRows, _ first: Int) {
        for (row, event) in zip(rows.indices, events) {
            lastTimeMs = event.knownTimeMs ?? lastTimeMs
            sorter.setTime(first + row, lastTimeMs)
        }
    }
    private var lastTimeMs = Int64.min

    private func decode(
        _ index: Int, _ columns: Columns, _ slots: UnsafeMutableBufferPointer<clvd_text>, _ copy: inout [UInt8],
        _ visit: Visit?
    ) {
        slots.update(repeating: clvd_text())
        let row = rows[index]
        // Quotes are taken off in place.
        let isQuoted = visit != nil && memchr(source.bytes + row.start, 0x22, row.count) != nil
        if isQuoted { copy = Array(text(index)) }
        if row.total <= limits.maxRecordBytes, let fault = columns.split(row, source.bytes, into: slots) {
            // Its columns may be shifted: no part of it is to be trusted.
            slots.update(repeating: clvd_text())
            faults[index] = fault
            var event = clvd_event()
            event.offset = records[index].offset
            event.status = UInt8(clvd_status_wrong_type.rawValue)
            events[index] = event
        } else {
            let status = clvd_parser_decode_row(decoder.parser, slots.baseAddress!, &records[index], &events[index])
            if status.rawValue >= clvd_status_first_rejection.rawValue { rejectedColumns[index] = Array(slots) }
        }
        events[index].record = UInt32(index)
        guard let visit else { return }
        if isQuoted {
            copy.withUnsafeBufferPointer { visit(index, slots, $0) }
        } else {
            visit(index, slots, text(index))
        }
    }
}

/// A row of an event file as a message for a topic.
public struct EventMessage {
    /// The user id, empty when the row has none.
    public let key: UnsafeBufferPointer<UInt8>
    public let value: UnsafeBufferPointer<UInt8>
    /// Event time, epoch milliseconds; -1 when the row has none that can be used.
    public let timeMs: Int64
    /// The `clvd_status` of the row.
    public let status: UInt8
    /// Status and reason of a row that is no message of the format, for a header of the name `CLVD_REFUSAL_HEADER`.
    public let note: String?
    /// Rows of the file up to and with this one, those of ignored types included.
    public let rowsRead: Int64
}

extension clvd_event {
    /// The event time of a record that has one, rejected or not.
    var knownTimeMs: Int64? {
        let isUsable = time_ms != 0 && UInt32(status) != clvd_status_time_out_of_range.rawValue
        return isUsable ? time_ms : nil
    }
}
