import Foundation

/// Rows in the order of their time; those of one time in the order in which they came. Up to a bound they are sorted in
/// memory; beyond it, sorted parts go to temporary files that are merged.
final class SortedRows: RowSource {
    private struct Entry {
        var timeMs: Int64
        /// Its bytes in `text`.
        var start: Int
        var row: RowReader.Row

        func comesBefore(_ other: Entry) -> Bool {
            timeMs != other.timeMs ? timeMs < other.timeMs : start < other.start
        }
    }

    private let path: String
    private let memory: Int
    // Rows that were taken in and are not in a part.
    private var text: UnsafeMutablePointer<UInt8>
    private var textCapacity = 1 << 16
    private var textCount = 0
    private var entries: [Entry] = []
    private var parts: [Part] = []
    private var nextEntry = 0
    /// Places of the parts that have rows left, the part of the earliest row first (a binary heap).
    private var heap: [Int] = []
    private(set) var bytesTotal: Int64 = 0
    private(set) var bytesRead: Int64 = 0

    // The current batch.
    private(set) var bytes: UnsafeMutablePointer<UInt8>
    private var capacity = 1 << 16
    private(set) var position = 0

    /// - Parameters:
    ///   - path: of the file, for messages.
    ///   - memory: bytes that rows may take before a part is written.
    init(path: String, memory: Int) {
        (self.path, self.memory) = (path, memory)
        text = .allocate(capacity: textCapacity)
        bytes = .allocate(capacity: capacity)
    }

    deinit {
        text.deallocate()
        bytes.deallocate()
    }

    // MARK: Taking in

    /// Takes a row in, without its time. Returns its place for `setTime`, which is to come before the next `makeRoom`.
    func append(_ row: RowReader.Row, _ source: UnsafeMutablePointer<UInt8>) -> Int {
        Self.reserve(textCount + row.count, &text, &textCapacity, used: textCount)
        memcpy(text + textCount, source + row.start, row.count)
        entries.append(Entry(timeMs: .min, start: textCount, row: row))
        textCount += row.count
        bytesTotal += Int64(row.count)
        return entries.count - 1
    }

    func setTime(_ place: Int, _ timeMs: Int64) { entries[place].timeMs = timeMs }

    /// Writes a part when there is no more room. Throws `InputError`.
    func makeRoom() throws {
        if textCount + entries.count * MemoryLayout<Entry>.stride >= memory { try writePart() }
    }

    /// Ends the taking in. Throws `InputError`.
    func finish() throws {
        guard !parts.isEmpty else { return entries.sort { $0.comesBefore($1) } }
        if !entries.isEmpty { try writePart() }
        text.deallocate()
        textCapacity = 1
        text = .allocate(capacity: textCapacity)
        heap = try parts.indices.filter { try parts[$0].advance() }
        for at in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(at) }
    }

    private func writePart() throws {
        entries.sort { $0.comesBefore($1) }
        let part = try Part(path)
        for entry in entries { try part.write(entry, text + entry.start) }
        try part.rewind()
        parts.append(part)
        entries.removeAll(keepingCapacity: true)
        textCount = 0
    }

    // MARK: Handing out

    func beginBatch() { position = 0 }

    func next() throws -> RowReader.Row? {
        if parts.isEmpty {
            guard nextEntry < entries.count else { return nil }
            let entry = entries[nextEntry]
            nextEntry += 1
            return handOut(entry.row) { memcpy($0, text + entry.start, entry.row.count) }
        }
        guard let first = heap.first else { return nil }
        let part = parts[first]
        let row = handOut(part.entry.row) { memcpy($0, part.text, part.entry.row.count) }
        if try !part.advance() {
            heap.swapAt(0, heap.count - 1)
            heap.removeLast()
        }
        sink(0)
        return row
    }

    private func handOut(_ row: RowReader.Row, _ copy: (UnsafeMutablePointer<UInt8>) -> Void) -> RowReader.Row {
        Self.reserve(position + row.count + 1, &bytes, &capacity, used: position)
        copy(bytes + position)
        var row = row
        row.start = position
        position += row.count
        bytesRead += Int64(row.count)
        return row
    }

    private func sink(_ start: Int) {
        var at = start
        while true {
            var least = at
            for child in [2 * at + 1, 2 * at + 2] where child < heap.count && isBefore(child, least) { least = child }
            if least == at { return }
            heap.swapAt(at, least)
            at = least
        }
    }

    /// Of equal times, the earlier part has the rows that came first.
    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        let (x, y) = (parts[heap[a]].entry.timeMs, parts[heap[b]].entry.timeMs)
        return x != y ? x < y : heap[a] < heap[b]
    }

    private static func reserve(
        _ count: Int, _ bytes: inout UnsafeMutablePointer<UInt8>, _ capacity: inout Int, used: Int
    ) {
        guard count > capacity else { return }
        capacity = max(2 * capacity, count)
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        memcpy(larger, bytes, used)
        bytes.deallocate()
        bytes = larger
    }

    // MARK: Parts

    /// A sorted part in a temporary file that has no name any more: it goes with the process.
    private final class Part {
        private let path: String
        private let file: UnsafeMutablePointer<FILE>
        /// The row that comes next.
        private(set) var entry = Entry(timeMs: 0, start: 0, row: .init(start: 0, count: 0, total: 0, number: 0))
        private(set) var text: UnsafeMutablePointer<UInt8>
        private var capacity = 1 << 12

        init(_ path: String) throws {
            let folder = FileManager.default.temporaryDirectory.path
            var name = Array("\(folder)/clvd-sort-XXXXXX".utf8CString)
            let descriptor = mkstemp(&name)
            guard descriptor >= 0, let file = fdopen(descriptor, "w+") else { throw Self.failure(path) }
            unlink(name)
            (self.path, self.file) = (path, file)
            text = .allocate(capacity: capacity)
        }

        deinit {
            fclose(file)
            text.deallocate()
        }

        private static func failure(_ path: String) -> InputError {
            let reason = String(cString: strerror(errno))
            let folder = FileManager.default.temporaryDirectory.path
            return InputError(
                "\(path): to sort it by time, its rows go to temporary files in \(folder): \(reason). Set TMPDIR to a "
                    + "folder with as much room as the file takes without compression, or sort it beforehand.")
        }

        func write(_ entry: Entry, _ text: UnsafeMutablePointer<UInt8>) throws {
            let isWritten = withUnsafePointer(to: entry) { fwrite($0, MemoryLayout<Entry>.size, 1, file) == 1 }
            guard isWritten, fwrite(text, 1, entry.row.count, file) == entry.row.count else { throw Self.failure(path) }
        }

        func rewind() throws {
            guard fflush(file) == 0, fseek(file, 0, SEEK_SET) == 0 else { throw Self.failure(path) }
        }

        /// Goes to the next row. False: there is none.
        func advance() throws -> Bool {
            guard withUnsafeMutablePointer(to: &entry, { fread($0, MemoryLayout<Entry>.size, 1, file) == 1 }) else {
                if ferror(file) != 0 { throw Self.failure(path) }
                return false
            }
            SortedRows.reserve(entry.row.count, &text, &capacity, used: 0)
            guard fread(text, 1, entry.row.count, file) == entry.row.count else { throw Self.failure(path) }
            return true
        }
    }
}
