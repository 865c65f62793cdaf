import CEventParser
import Foundation

/// Where rows come from, batch by batch. Rows of a batch stay where they are in the buffer, which itself may move.
protocol RowSource: AnyObject {
    var bytes: UnsafeMutablePointer<UInt8> { get }
    /// Bytes of the current batch.
    var position: Int { get }
    var bytesRead: Int64 { get }
    /// -1 when unknown.
    var bytesTotal: Int64 { get }
    /// Lets go of the rows handed out so far.
    func beginBatch()
    /// The next row, or nil at the end. Throws `InputError`.
    func next() throws -> RowReader.Row?
}

/// Splits a plain or gzip file into rows.
///
/// It holds on to the rows since `beginBatch` and to what was read ahead. Of a row beyond the limit it holds only a
/// part, whatever its length.
final class RowReader: RowSource {
    /// How rows follow one another.
    enum Layout {
        /// One on each line. A comma that follows a JSON object is no part of it.
        case lines
        /// CSV records, which may have line breaks between quotes.
        case csv
        /// JSON documents on any number of lines, with white space or commas between them, or elements of arrays.
        case documents
    }

    struct Row {
        /// Bytes of the row in the reader's buffer, without the line break.
        var start: Int
        var count: Int
        /// Bytes of the row in the file; more than `count` when the row is beyond the limit.
        var total: Int
        /// 1-based, headers and empty rows counted.
        var number: Int64
        /// Which event of a batch in this row it is, 1-based; 0: the row is one event.
        var part: Int32 = 0
        var fault: Fault?
    }

    enum Fault { case textAfterQuote, unclosedQuote }

    private let file: OpaquePointer
    private let limit: Int
    var layout = Layout.lines
    private(set) var bytes: UnsafeMutablePointer<UInt8>
    private(set) var capacity = 1 << 18
    /// Where the next row begins, and where the bytes read so far end.
    private(set) var position = 0
    private var end = 0
    private var number: Int64 = 0
    /// Members that may hold the documents, where they are the first of an object: `{"orders": [{…}, {…}]}`.
    var wrappers: [String] = []
    /// Whether such an object is open.
    private var isWrapped = false

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

    /// Whether the file begins with a JSON object that goes on in the next line. A line that was cut short does not: the
    /// next one begins an object of its own. Before the first row.
    func beginsWithOpenObject() throws -> Bool {
        var scan = Scan(at: position)
        var lineEnd: Int?
        while true {
            while scan.at < end, lineEnd == nil {
                if bytes[scan.at] == 0x0A, scan.depth > 0, !scan.isInString { lineEnd = scan.at }
                if scan.document(bytes, scan.at + 1) != nil { return false }
            }
            let blank: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]
            if let lineEnd, let next = (lineEnd + 1..<end).first(where: { !blank.contains(bytes[$0]) }) {
                return bytes[next] != 0x7B
            }
            guard end < 1 << 20, try fill() else { return false }
        }
    }

    /// Whether the file begins with an object that wraps documents. Before the first row.
    func beginsWithWrapper() throws -> Bool {
        guard try firstByte() == 0x7B else { return false }
        return try insideOfWrapper() != nil
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
        if layout == .documents, try !skipSeparators() { return nil }
        let start = position
        var scan = Scan(at: start)
        var dropped = 0
        while true {
            let stop =
                switch layout {
                case .lines: scan.line(bytes, end)
                case .csv: scan.csv(bytes, end)
                case .documents: scan.document(bytes, end)
                }
            if let stop {
                position = layout == .documents ? stop : stop + 1
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

    /// Goes to the beginning of the next document. False: there is none.
    private func skipSeparators() throws -> Bool {
        let start = position
        while true {
            while position < end {
                switch bytes[position] {
                case 0x5D where isWrapped:
                    isWrapped = false
                    try skipRestOfObject()
                case 0x20, 0x09, 0x0A, 0x0D, 0x2C, 0x5B, 0x5D: position += 1
                case 0x7B where !wrappers.isEmpty && !isWrapped:
                    guard let inside = try insideOfWrapper() else { return true }
                    (position, isWrapped) = (inside, true)
                default: return true
                }
            }
            (position, end) = (start, start)
            guard try fill() else { return false }
        }
    }

    /// Where the first document of an object that wraps some begins; nil: the object here is none. Before a brace.
    func insideOfWrapper() throws -> Int? {
        // A name and what is around it.
        let most = 200
        while end - position < most, try fill() {}
        var at = position
        func skip(_ byte: UInt8) -> Bool {
            while at < end, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
            guard at < end, bytes[at] == byte else { return false }
            at += 1
            return true
        }
        guard skip(0x7B), skip(0x22), let quote = (at..<min(end, at + most)).first(where: { bytes[$0] == 0x22 }) else {
            return nil
        }
        let name = String(decoding: UnsafeBufferPointer(start: bytes + at, count: quote - at), as: UTF8.self)
        at = quote + 1
        guard wrappers.contains(name), skip(0x3A), skip(0x5B), skip(0x7B) else { return nil }
        return at - 1
    }

    /// Goes behind the object that is open here.
    private func skipRestOfObject() throws {
        let start = position
        var scan = Scan(at: position, isInObject: true)
        while true {
            if let stop = scan.document(bytes, end) {
                position = stop
                return
            }
            (end, scan.at) = (start, start)
            guard try fill() else {
                position = end
                return
            }
        }
    }

    private func row(_ start: Int, _ stop: Int, _ dropped: Int, _ fault: Fault?) -> Row {
        number += 1
        var count = stop > start && bytes[stop - 1] == 0x0D ? stop - start - 1 : stop - start
        if layout == .lines, count > 1, bytes[start + count - 1] == 0x2C, bytes[start + count - 2] == 0x7D {
            count -= 1
        }
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
        /// Of a document: brackets that are open, and where a string is.
        var depth = 0
        var isInString = false
        private var isEscaped = false
        /// Of the innermost 64 brackets, the last in the lowest bit: whether they are braces.
        private var braces: UInt64 = 0
        /// Whether there have been more: then all brackets are taken to match.
        private var isDeep = false
        /// The last byte outside of strings that is no white space; of a string, its quote.
        private var last: UInt8 = 0
        var fault: Fault?

        /// - Parameter isInObject: the object has begun before; its array ends here.
        init(at: Int, isInObject: Bool = false) {
            self.at = at
            guard isInObject else { return }
            // The bracket of the array is still to come.
            (depth, braces) = (2, 0b10)
        }

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

        /// Index after the document. One with a string that is not closed ends with that line: what comes after it is read.
        /// One with a bracket that is not closed ends where it cannot go on: before an object in the place of a member, or
        /// before the end of an array that it has not begun.
        mutating func document(_ bytes: UnsafeMutablePointer<UInt8>, _ end: Int) -> Int? {
            while at < end {
                let byte = bytes[at]
                if isInString {
                    if isEscaped {
                        isEscaped = false
                    } else if byte == 0x5C {
                        isEscaped = true
                    } else if byte == 0x22 {
                        isInString = false
                    } else if byte == 0x0A {
                        return at
                    }
                } else {
                    switch byte {
                    case 0x20, 0x09, 0x0D: break
                    case 0x0A, 0x2C:
                        if depth == 0 { return at }
                        if byte == 0x2C { last = byte }
                    case 0x5D:
                        last = byte
                        guard depth > 0, close(0) else { return at }
                        if depth == 0 { return at + 1 }
                    case 0x7D:
                        last = byte
                        if depth == 0 || close(1) && depth == 0 { return at + 1 }
                    case 0x7B where depth > 0 && !isDeep && braces & 1 == 1 && last != 0x3A: return at
                    case 0x7B, 0x5B:
                        last = byte
                        depth += 1
                        isDeep = isDeep || depth > 64
                        braces = braces << 1 | (byte == 0x7B ? 1 : 0)
                    default:
                        last = byte
                        isInString = byte == 0x22
                    }
                }
                at += 1
            }
            return nil
        }

        /// Closes the innermost bracket of a kind (1: a brace) and those inside of it, which were left open. False: there is
        /// none.
        private mutating func close(_ kind: UInt64) -> Bool {
            var (left, open) = (braces, depth)
            while open > 0 {
                let isFound = isDeep || left & 1 == kind
                left >>= 1
                open -= 1
                guard isFound else { continue }
                (braces, depth) = (left, open)
                return true
            }
            return false
        }

        private func find(_ byte: Int32, _ bytes: UnsafeMutablePointer<UInt8>, _ from: Int, _ to: Int) -> Int? {
            guard from < to, let found = memchr(bytes + from, byte, to - from) else { return nil }
            return found - UnsafeMutableRawPointer(bytes)
        }
    }
}
