import CEventParser
import EventInput
import Foundation

/// Records of every built-in format, from Kafka (JSON, keys, headers) and from files (CSV and JSON lines).
///
/// The first byte chooses the format and whether the rest is a record or a file. Of a record the second byte says how
/// many of its first bytes are its key.
struct DecoderTarget {
    private let decoders: [EventDecoder]
    private let formats: [EventFormat]
    private let limits: InputLimits
    private let folder = Scratch()

    init() {
        var limits = InputLimits()
        limits.maxRecordBytes = 4096
        limits.maxIdBytes = 64
        self.limits = limits
        var currency = CurrencyTable()
        currency.rates = ["EUR": 1.25]
        formats = EventFormat.builtInNames.map { try! EventFormat.load($0) }
        decoders = formats.map {
            try! EventDecoder(
                format: $0, limits: limits, currency: currency, headerLookup: Self.header)
        }
    }

    /// Headers are made of the record itself, whose address stands for them.
    private static let header: clvd_header_lookup = { headers, name, length in
        guard let headers, let name, let length else { return nil }
        let bytes = headers.assumingMemoryBound(to: UInt8.self)
        guard bytes[0] & 1 != 0, strcmp(name, "ce_id") == 0 || strcmp(name, "ce_time") == 0 else { return nil }
        length.pointee = UInt32(bytes[0] % 24)
        return bytes
    }

    func run(_ input: UnsafeRawBufferPointer) {
        guard input.count > 2 else { return }
        let choice = Int(input[0]) % (2 * decoders.count)
        if choice >= decoders.count { return file(input.dropFirst(1), formats[choice - decoders.count]) }
        record(input, decoders[choice])
    }

    private func record(_ input: UnsafeRawBufferPointer, _ decoder: EventDecoder) {
        let keyLength = min(Int(input[1]), input.count - 2)
        // Of their own size each, so that a byte read beyond is noticed.
        let key = UnsafeMutableRawBufferPointer.allocate(byteCount: keyLength, alignment: 1)
        let value = UnsafeMutableRawBufferPointer.allocate(byteCount: input.count - 2 - keyLength, alignment: 1)
        defer {
            key.deallocate()
            value.deallocate()
        }
        key.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[2..<2 + keyLength]))
        value.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[(2 + keyLength)...]))
        func text(_ bytes: UnsafeMutableRawBufferPointer) -> UnsafePointer<UInt8>? {
            bytes.baseAddress.map { UnsafePointer($0.assumingMemoryBound(to: UInt8.self)) }
        }
        var record = clvd_record()
        record.key = text(key)
        record.key_length = UInt32(key.count)
        record.value = value.isEmpty ? nil : text(value)
        record.value_length = UInt32(value.count)
        record.timestamp_ms = input[1] & 1 == 0 ? -1 : 1_704_067_200_000
        record.headers = value.count >= 24 ? UnsafeRawPointer(value.baseAddress!) : nil
        // Twice in a batch: what a record leaves behind must not show in the next.
        withUnsafeTemporaryAllocation(of: clvd_event.self, capacity: 2) { events in
            [record, record].withUnsafeBufferPointer { decoder.decode($0, into: events.baseAddress!) }
            check(events[0], decoder, record)
            precondition(events[0].status == events[1].status && events[0].amount == events[1].amount)
        }
    }

    private func check(_ e: clvd_event, _ decoder: EventDecoder, _ record: clvd_record) {
        guard e.status == UInt8(clvd_status_ok.rawValue) else {
            if e.status >= UInt8(clvd_status_first_rejection.rawValue) {
                precondition(!decoder.explain(record, e).isEmpty)
            }
            return
        }
        let user = UnsafeBufferPointer(start: e.user, count: Int(e.user_length))
        precondition((1...limits.maxIdBytes).contains(user.count) && !user.contains(0))
        precondition(String(validating: user, as: UTF8.self) != nil)
        precondition(e.amount.isFinite && abs(e.amount) <= limits.maxAmount * 1e6 && e.price.isFinite)
        precondition(e.quantity.isFinite && e.type < 16)
    }

    private func file(_ bytes: Slice<UnsafeRawBufferPointer>, _ format: EventFormat) {
        for name in ["events.csv", "events.jsonl"] {
            let path = folder.write(UnsafeRawBufferPointer(rebasing: bytes), to: name)
            do {
                let file = try EventFile(path: path, format: format, limits: limits, currency: CurrencyTable())
                while case let events = try file.next(maximum: 64), !events.isEmpty {
                    for i in events.indices where events[i].status >= UInt8(clvd_status_first_rejection.rawValue) {
                        precondition(!file.explain(i).isEmpty)
                    }
                }
                let again = try EventFile(path: path, format: format, limits: limits, currency: CurrencyTable())
                while try !again.nextMessages(maximum: 64).isEmpty {}
            } catch is InputError {
                continue
            } catch { fatalError("\(error)") }
        }
    }
}

/// A folder in memory.
struct Scratch {
    let path: String

    init() {
        var template = Array("/dev/shm/clvd-fuzz-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        Self.last = path
        // libFuzzer leaves by exit().
        atexit { try? FileManager.default.removeItem(atPath: Scratch.last) }
    }
    private nonisolated(unsafe) static var last = ""

    func write(_ bytes: UnsafeRawBufferPointer, to name: String) -> String {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        precondition(descriptor >= 0 && Foundation.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count)
        close(descriptor)
        return file
    }
}
