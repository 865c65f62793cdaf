public import CEventParser

/// Turns records into events by a format, in two stages: the format's encoding puts the values of a record into slots of
/// the C parser, and one mapping makes an event of the slots, the same for all encodings (`RecordEncoding.all`).
///
/// It belongs to one thread at a time.
public final class EventDecoder {
    let parser: OpaquePointer
    let format: EventFormat
    let limits: InputLimits
    private let records: any RecordDecoder

    /// - Parameter headerLookup: finds a header of a record by its name; without it records have no headers.
    /// - Throws: `InputError` when a limit, a currency, a rate or an option of the encoding is not usable.
    public init(
        format: EventFormat, limits: InputLimits, currency: CurrencyTable, headerLookup: clvd_header_lookup? = nil
    ) throws {
        guard let parser = clvd_parser_create() else { throw InputError("no memory for an event parser") }
        do {
            format.compile(into: parser)
            clvd_parser_set_header_lookup(parser, headerLookup)
            try EventDecoder.set(limits, of: parser)
            try EventDecoder.set(currency, assumedByFormat: format.currency, of: parser)
            records = try format.encoding.makeDecoder(parser, format, limits)
        } catch {
            clvd_parser_destroy(parser)
            throw error
        }
        self.parser = parser
        self.format = format
        self.limits = limits
    }

    deinit { clvd_parser_destroy(parser) }

    /// Gets the schemas that `records` were written with and that are not known yet. To be called before `decode`, which
    /// rejects records of other schemas.
    /// - Throws: when one of them cannot be had now; what was got is kept for the next call.
    public func prepare(
        _ records: UnsafeBufferPointer<clvd_record>, schemas: (any SchemaSource)?
    ) throws(SchemaUnavailable) {
        if let missing = missingSchemas(of: records, schemas: schemas).first { throw missing.error }
    }

    /// Gets the schemas that `records` were written with and that are not known yet, as far as they can be had now.
    /// - Returns: the records whose schemas are missing, by their indices in ascending order, and why they are.
    public func missingSchemas(
        of records: UnsafeBufferPointer<clvd_record>, schemas: (any SchemaSource)?
    ) -> [(record: Int, error: SchemaUnavailable)] {
        self.records.missingSchemas(of: records, schemas)
    }

    /// Gets a schema, unless it is known.
    /// - Throws: when it cannot be had now.
    public func prepare(schema id: UInt32, schemas: (any SchemaSource)?) throws(SchemaUnavailable) {
        try records.prepare(schema: id, schemas)
    }

    /// Decodes `records` into as many `events`; `events[i].record == i`. Strings of the events point into the
    /// records, their headers or this decoder, and stay valid until the next call.
    public func decode(
        _ records: UnsafeBufferPointer<clvd_record>, into events: UnsafeMutablePointer<clvd_event>
    ) {
        self.records.decode(records, into: events)
    }

    /// One sentence that says why the event of this record was rejected: the field, where it was looked for, what was
    /// expected and what was found.
    public func explain(_ record: clvd_record, _ event: clvd_event) -> String { records.explain(record, event) }

    // MARK: Settings

    private static func set(_ limits: InputLimits, of parser: OpaquePointer) throws {
        func require(_ sound: Bool, _ name: String, _ value: some CustomStringConvertible, _ range: String) throws {
            if !sound { throw InputError("input limit \(name) is \(value); it must be \(range)") }
        }
        try require(
            (1...1 << 30).contains(limits.maxRecordBytes), "maxRecordBytes", limits.maxRecordBytes,
            "between 1 and 1073741824")
        try require((1...4096).contains(limits.maxIdBytes), "maxIdBytes", limits.maxIdBytes, "between 1 and 4096")
        try require(limits.maxAmount > 0 && limits.maxAmount.isFinite, "maxAmount", limits.maxAmount, "positive")
        try require(
            limits.maxQuantity > 0 && limits.maxQuantity.isFinite, "maxQuantity", limits.maxQuantity, "positive")
        let years = InputLimits.years
        try require(
            years.contains(limits.minYear), "minYear", limits.minYear,
            "between \(years.lowerBound) and \(years.upperBound)")
        try require(
            limits.maxYear >= limits.minYear && limits.maxYear <= years.upperBound, "maxYear", limits.maxYear,
            "between minYear (\(limits.minYear)) and \(years.upperBound)")
        let skew = limits.futureSkewSeconds.multipliedReportingOverflow(by: 1000)
        try require(
            !skew.overflow && skew.partialValue >= 0, "futureSkewSeconds", limits.futureSkewSeconds,
            "0 or more, and less than 292 million years")
        var values = clvd_limits(
            max_record_bytes: UInt32(limits.maxRecordBytes), max_user_bytes: UInt32(limits.maxIdBytes),
            max_amount: limits.maxAmount, max_quantity: limits.maxQuantity,
            min_time_ms: max(1000, startOfYear(limits.minYear)), end_time_ms: startOfYear(limits.maxYear + 1),
            max_future_skew_ms: Int64(skew.partialValue))
        guard clvd_parser_set_limits(parser, &values) else { throw InputError("the input limits are not usable") }
    }

    private static func set(
        _ currency: CurrencyTable, assumedByFormat: String?, of parser: OpaquePointer
    ) throws {
        // What the operator says goes before what the format says.
        let assumed = currency.assumed.isEmpty ? assumedByFormat ?? currency.base : currency.assumed
        for code in [currency.base, assumed] + currency.rates.keys.sorted() where !CurrencyTable.isCode(code) {
            throw InputError("\"\(code)\" is not a currency; write its three letters (EUR)")
        }
        let base = currency.base.uppercased()
        guard clvd_parser_set_currency(parser, base, assumed) else { throw InputError("no usable currency") }
        var known: Set = [base]
        for (code, rate) in currency.rates.sorted(by: { $0.key < $1.key }) {
            guard known.insert(code.uppercased()).inserted else {
                if code.uppercased() == base, rate == 1 { continue }
                throw InputError("currency rate of \(code): it is the base currency or named twice; remove it")
            }
            guard clvd_parser_add_rate(parser, code, rate) else {
                throw InputError("currency rate of \(code) is \(rate); it must be positive: its worth in \(base)")
            }
        }
        guard known.contains(assumed.uppercased()) else {
            throw InputError(
                "events without a currency count as \(assumed), which has no rate to \(base); add a rate, or set the "
                    + "assumed currency to \(base)")
        }
    }

    /// The first instant of a year, epoch milliseconds UTC (proleptic Gregorian calendar).
    private static func startOfYear(_ year: Int) -> Int64 {
        let past = Int64(year - 1)
        return (past * 365 + past / 4 - past / 100 + past / 400 - 719_162) * 86_400_000
    }
}

/// Why a decoder or an event file cannot be used: what, where and what to do.
public struct InputError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
