import CEventParser
import Foundation

/// Splits a plain or gzip file into rows: lines, or CSV records, which may have line breaks between quotes.
///
/// It holds on to the rows since `beginBatch` and to what was read ahead. Of a row beyond the limit it holds only a
/// part, whatever its length.
final class RowReader {
    struct Row {
        /// Bytes of the row in the reader's buffer, without the line break.
        var start: Int
        var count: Int
        /// Bytes of the row in the file; more than `count` when the row is beyond the limit.
        var total: Int
        /// 1-based, headers and empty rows counted.
        var number: Int64
        var fault: Fault?
    }

    enum Fault { case textAfterQuote, unclosedQuote }

    private let file: OpaquePointer
    private let limit: Int
    /// Whether rows are CSV records.
    var quoted = false
    private(set) var bytes: UnsafeMutablePointer<UInt8>
    private(set) var capacity = 1 << 18
    /// Where the next row begins, and where the bytes read so far end.
    private(set) var position = 0
    private var end = 0
    private var number: Int64 = 0

    /// - Throws: `InputError` when the file cannot be opened or is not text.
    init(path: String, limit: Int) throws {
        guard !path.isEmpty, !path.utf8.contains(0) else { throw InputError("the path of an event file is empty") }
        var reason = [CChar](repeating: 0, count: 1400)
        guard let file = clvd_file_open(path, &reason, reason.count) else {
            throw InputError(reason.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })
        }
        self.file = file
        self.limit = limit
        bytes = .allocate(capacity: capacity)
        while end < 4, try fill() {}
        if starts(with: [0xFF, 0xFE]) || starts(with: [0xFE, 0xFF]) {
            throw InputError("\(path): UTF-16 text; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
        }
        if starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    deinit {
        clvd_file_close(file)
        bytes.deallocate()
    }

    var bytesRead: Int64 { clvd_file_position(file) }
    var bytesTotal: Int64 { clvd_file_size(file) }

    /// The first byte that is not white space, or nil in an empty file. Before the first row.
    func firstByte() throws -> UInt8? {
        var at = position
        while true {
            while at < end {
                if ![0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { return bytes[at] }
                at += 1
            }
            guard end < 1 << 20, try fill() else { return nil }
        }
    }

    private func starts(with prefix: [UInt8]) -> Bool {
        end - position >= prefix.count && prefix.indices.allSatisfy { bytes[position + $0] == prefix[$0] }
    }

    // MARK: Rows

    /// Lets go of the rows handed out so far.
    func beginBatch() {
        end -= position
        memmove(bytes, bytes + position, end)
        position = 0
    }

    /// The next row, or nil at the end. Rows of a batch stay where they are in the buffer, which itself may move.
    func next() throws -> Row? {
        let start = position
        var scan = Scan(at: start)
        var dropped = 0
        while true {
            if let stop = quoted ? scan.csv(bytes, end) : scan.line(bytes, end) {
                position = stop + 1
                return row(start, stop, dropped, scan.fault)
            }
            if end - start > limit {
                dropped += end - start
                end = start
                scan.at = start
            }
            if try !fill() {
                guard dropped > 0 || end > start else { return nil }
                position = end
                return row(start, end, dropped, scan.state == .quoted ? .unclosedQuote : scan.fault)
            }
        }
    }

    private func row(_ start: Int, _ stop: Int, _ dropped: Int, _ fault: Fault?) -> Row {
        number += 1
        let count = stop > start && bytes[stop - 1] == 0x0D ? stop - start - 1 : stop - start
        return Row(start: start, count: count, total: dropped + count, number: number, fault: fault)
    }

    /// Reads on. False at the end of the file.
    private func fill() throws -> Bool {
        if capacity - end < 1 << 16 {
            let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity * 2)
            memcpy(larger, bytes, end)
            bytes.deallocate()
            bytes = larger
            capacity *= 2
        }
        let count = clvd_file_read(file, bytes + end, capacity - end)
        guard count >= 0 else { throw InputError(String(cString: clvd_file_error(file))) }
        end += Int(count)
        return count > 0
    }

    /// A search for the end of a row, which goes on where it stopped when more bytes have come.
    private struct Scan {
        enum State { case fieldStart, unquoted, quoted, quoteInQuotes }

        var at: Int
        var state = State.fieldStart
        var fault: Fault?

        init(at: Int) { self.at = at }

        /// Index of the line feed.
        mutating func line(_ bytes: UnsafeMutablePointer<UInt8>, _ end: Int) -> Int? {
            let found = find(0x0A, bytes, at, end)
            at = end
            return found
        }

        /// Index of the line feed outside of quotes.
        mutating func csv(_ bytes: UnsafeMutablePointer<UInt8>, _ end: Int) -> Int? {
            if state == .fieldStart || state == .unquoted {
                let stop = find(0x0A, bytes, at, end)
                if find(0x22, bytes, at, stop ?? end) == nil {
                    if stop == nil, at < end { state = bytes[end - 1] == 0x2C ? .fieldStart : .unquoted }
                    at = end
                    return stop
                }
            }
            while at < end {
                let byte = bytes[at]
                switch (state, byte) {
                case (.quoted, 0x22): state = .quoteInQuotes
                case (.quoted, _): break
                case (_, 0x0A): return at
                case (_, 0x2C): state = .fieldStart
                case (.fieldStart, 0x22), (.quoteInQuotes, 0x22): state = .quoted
                case (.fieldStart, _): state = .unquoted
                case (.quoteInQuotes, 0x0D): break
                case (.quoteInQuotes, _):
                    fault = .textAfterQuote
                    state = .unquoted
                case (.unquoted, _): break
                }
                at += 1
            }
            return nil
        }

        private func find(_ byte: Int32, _ bytes: UnsafeMutablePointer<UInt8>, _ from: Int, _ to: Int) -> Int? {
            guard from < to, let found = memchr(bytes + from, byte, to - from) else { return nil }
            return found - UnsafeMutableRawPointer(bytes)
        }
    }
}
