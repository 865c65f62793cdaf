import CEventParser
import EventInput

@testable import Engine

/// Records as a source writes them, decoded by a format and taken in by an engine.
struct Ledger {
    let engine: Engine
    /// What became of each record in the decoder.
    let statuses: [UInt8]

    /// - Parameter format: a built-in one, or the YAML of one.
    init(_ format: String, _ records: [String], configuration: EngineConfiguration = .small) throws {
        let format =
            try EventFormat.builtIn(format) ?? EventFormat(yaml: format, source: "of the test")
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        let bytes = records.map { text in
            let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: text.utf8.count)
            _ = copy.initialize(from: text.utf8)
            return copy
        }
        defer { for copy in bytes { copy.deallocate() } }
        let batch = bytes.enumerated().map { i, value in
            clvd_record(
                key: nil, value: UnsafePointer(value.baseAddress), key_length: 0, value_length: UInt32(value.count),
                offset: Int64(i), timestamp_ms: -1, partition: 0, topic: 0, headers: nil, unreadable: 0)
        }
        var events = [clvd_event](repeating: clvd_event(), count: batch.count)
        batch.withUnsafeBufferPointer { decoder.decode($0, into: &events) }
        let engine = Engine.make(configuration)
        events.withUnsafeBufferPointer { engine.step($0) }
        self.engine = engine
        statuses = events.map(\.status)
    }

    var counters: TaskCounters { engine.report(prequential: false).counters }

    func value(_ user: String) -> Double? { engine.view(of: user)?.valueToDate }
    func orders(_ user: String) -> Int? { engine.view(of: user)?.orders }
}
