import CEventParser
import Foundation

/// A declarative mapping: where the fields of an event stand in a source's records, and what its event types mean.
public struct EventFormat: Sendable, Equatable {
    public let name: String
    /// One line for lists of formats.
    public let summary: String

    var encoding = RecordEncoding.json
    /// Options of the encoding that the format gives, by their keys.
    var encodingOptions: [String: String] = [:]
    /// Where the body of the event is, if not at the top; places are looked for there first.
    var roots: [String] = []
    var fields: [Field: [Place]] = [:]
    /// What fields are where no place holds anything.
    var defaults: [Field: String] = [:]
    var guests = Guests.missing
    var joins = Joins.identify
    /// Words that count as no id.
    var placeholders = EventFormat.usualPlaceholders
    /// Arrays of items, and where the fields of an item stand in each.
    var items: [String] = []
    var itemFields: [Field: [Place]] = [:]
    /// Which records count.
    var conditions: [Condition] = []
    /// Arrays of events, which make a record a batch.
    var batches: [String] = []
    /// Arrays that hold one element at most.
    var single: [String] = []
    var headers: [Field: String] = [:]
    var types: [TypeName] = []
    var names = Names.exact
    var unknownTypes = UnknownTypes.other
    /// A `clvd_event_type`, or `CLVD_TYPE_REQUIRED`.
    var defaultType = UInt8(CLVD_TYPE_REQUIRED)
    var numericStrings = false
    var decimal = DecimalSign.point
    var negative = NegativeNumbers.reject
    /// Fields whose zeros count only when no later place has something else.
    var nonzero: [Field] = []
    /// Whether `17850.0` is the id 17850.
    var wholeIDs = false
    var order = OrderRecords.lines
    /// Whether purchases without an order id belong to the order of their session.
    var orderFromSession = false
    /// Whether a refund that names priced items gives back those.
    var refundFromItems = false
    /// Currency of events that name none.
    var currency: String?

    struct Place: Sendable, Equatable {
        var pointer: String
        var unit = TimeUnit.iso8601
        /// What a number is divided by.
        var divisor = 1.0
        /// What stands for anything that is there.
        var constant: String?
    }

    /// What the value at a place must be, or, negated, must not be. nil: absent or JSON null.
    struct Condition: Sendable, Equatable {
        var pointer: String
        var isNegated: Bool
        var values: [String?]
    }

    /// What becomes of records without a user.
    enum Guests: Sendable, Equatable {
        /// They are dead letters.
        case missing
        /// They are filtered.
        case ignored
        /// These places have ids that tell guests apart.
        case places([String])
    }

    /// Which events with an `anonymous_id` say that it is the customer's.
    enum Joins: String, Sendable, CaseIterable {
        case identify
        case everyEvent = "every_event"
    }

    enum DecimalSign: String, Sendable, CaseIterable {
        case point, comma
    }

    /// What negative amounts and quantities of purchases are.
    enum NegativeNumbers: String, Sendable, CaseIterable {
        case reject, refund
    }

    /// Words that senders write where they have no id. One that is a customer's id somewhere is not among them.
    static let usualPlaceholders = [
        "undefined", "null", "none", "nil", "nan", "[object Object]", "(not set)", "n/a", "\\N", "true", "false",
        "anonymous", "guest", "distinct_id", "00000000-0000-0000-0000-000000000000",
    ]

    struct TypeName: Sendable, Equatable {
        var name: String
        /// A `clvd_event_type`, or `CLVD_TYPE_IGNORED`.
        var type: UInt8
    }

    enum TimeUnit: String, Sendable, CaseIterable {
        case iso8601
        case iso8601UTC = "iso8601_utc"
        case seconds = "s"
        case milliseconds = "ms"
        case microseconds = "us"

        var code: clvd_time_unit {
            switch self {
            case .iso8601: clvd_time_iso8601
            case .iso8601UTC: clvd_time_iso8601_utc
            case .seconds: clvd_time_seconds
            case .milliseconds: clvd_time_milliseconds
            case .microseconds: clvd_time_microseconds
            }
        }
    }

    /// How names of event types are compared.
    enum Names: String, Sendable, CaseIterable {
        case exact, loose
    }

    enum UnknownTypes: String, Sendable, CaseIterable {
        case other, ignore, reject

        var code: clvd_unknown_type {
            switch self {
            case .other: clvd_unknown_type_other
            case .ignore: clvd_unknown_type_ignore
            case .reject: clvd_unknown_type_reject
            }
        }
    }

    /// What a record of an order is.
    enum OrderRecords: String, Sendable, CaseIterable {
        /// A line of it: lines with one order id add up.
        case lines
        /// All of it: a later record with the same order id takes the place of the former.
        case whole
    }

    init(name: String, summary: String) {
        self.name = name
        self.summary = summary
    }

    /// How the records of topics are encoded, as formats write it.
    public var encodingName: String { encoding.name }

    /// Whether its records need the schemas of a registry.
    public var needsRegistry: Bool {
        [.avro, .protobuf].contains(encoding) && encodingOptions["schema"] == nil
    }

    // MARK: Getting one

    /// Names of the formats that come with clvd.
    public static let builtInNames = [
        "native", "segment", "ga4", "rees46", "shopify", "woocommerce", "posthog", "snowplow", "cloudevents",
    ]

    // They are part of the program: one that cannot be read is a defect that the tests find.
    private static let builtIns: [String: EventFormat] = [
        "native": PackageResources.native_yaml, "segment": PackageResources.segment_yaml,
        "ga4": PackageResources.ga4_yaml, "rees46": PackageResources.rees46_yaml,
        "shopify": PackageResources.shopify_yaml, "woocommerce": PackageResources.woocommerce_yaml,
        "posthog": PackageResources.posthog_yaml, "snowplow": PackageResources.snowplow_yaml,
        "cloudevents": PackageResources.cloudevents_yaml,
    ].reduce(into: [:]) { formats, file in
        let yaml = String(decoding: file.value, as: UTF8.self)
        formats[file.key] = try! EventFormat(yaml: yaml, source: file.key + ".yaml")
    }

    /// One of `builtInNames`, or nil.
    public static func builtIn(_ name: String) -> EventFormat? { builtIns[name] }

    /// Reads a format from the text of a YAML file.
    /// - Parameter source: where the text comes from, for messages.
    /// - Throws: `FormatError` with everything that is wrong with it.
    public init(yaml: String, source: String) throws {
        try self.init(yaml: yaml, source: source, encodings: RecordEncoding.all)
    }

    /// The same with other encodings than those of `RecordEncoding.all`.
    init(yaml: String, source: String, encodings: [RecordEncoding]) throws {
        var reader = FormatReader(source: source, encodings: encodings)
        self = try reader.read(yaml)
    }

    /// A built-in format by its name, or one of a YAML file by its path.
    /// - Throws: `FormatError`.
    public static func load(_ nameOrPath: String) throws -> EventFormat {
        if let format = builtIn(nameOrPath) { return format }
        func failure(_ message: String) -> FormatError {
            FormatError(source: nameOrPath, problems: [.init(line: nil, key: nil, message: message)])
        }
        guard let file = FileHandle(forReadingAtPath: nameOrPath) else {
            let names = builtInNames.joined(separator: ", ")
            let guess = suggestion(for: nameOrPath, among: builtInNames)
            throw failure(
                "neither a built-in format (\(names)) nor a file that can be read\(guess); "
                    + "correct the name, or give the path of a YAML file")
        }
        defer { try? file.close() }
        let limit = 1 << 20
        var bytes = Data()
        do {
            while bytes.count <= limit, let part = try file.read(upToCount: limit), !part.isEmpty { bytes += part }
        } catch {
            throw failure("cannot be read (\(error.localizedDescription)); check that it is a file and its rights")
        }
        guard bytes.count <= limit else { throw failure("longer than 1 MiB, which no format needs; check the path") }
        guard let yaml = String(validating: bytes, as: UTF8.self) else {
            throw failure("not UTF-8 text; save it as UTF-8")
        }
        var format = try EventFormat(yaml: yaml, source: nameOrPath)
        // Beside the mapping, wherever the program runs.
        if let schema = format.encodingOptions["schema"], !schema.hasPrefix("/") {
            format.encodingOptions["schema"] =
                ((nameOrPath as NSString).deletingLastPathComponent as NSString).appendingPathComponent(schema)
        }
        return format
    }
}

/// The fields that a mapping fills, named as formats write them.
enum Field: String, Sendable, CaseIterable, CustomStringConvertible {
    case eventID = "event_id"
    case eventTime = "event_time"
    case userID = "user_id"
    case eventType = "event_type"
    case productID = "product_id"
    case category, price, quantity, amount, currency
    case orderID = "order_id"
    case sessionID = "session_id"
    case anonymousID = "anonymous_id"
    case previousID = "previous_id"

    var description: String { rawValue }

    var code: clvd_field {
        switch self {
        case .eventID: clvd_field_event_id
        case .eventTime: clvd_field_event_time
        case .userID: clvd_field_user_id
        case .eventType: clvd_field_event_type
        case .productID: clvd_field_product_id
        case .category: clvd_field_category
        case .price: clvd_field_price
        case .quantity: clvd_field_quantity
        case .amount: clvd_field_amount
        case .currency: clvd_field_currency
        case .orderID: clvd_field_order_id
        case .sessionID: clvd_field_session_id
        case .anonymousID: clvd_field_anonymous_id
        case .previousID: clvd_field_previous_id
        }
    }

    /// Those that hold ids, which may be missing without anybody saying so.
    static let ofIDs: [Field] = [.userID, .eventID, .orderID, .sessionID, .anonymousID, .previousID]
    static let ofNumbers: [Field] = [.price, .quantity, .amount]
    static let ofItems: [Field] = [.productID, .category, .price, .quantity]
    static let ofHeaders: [Field] = [.eventID, .eventTime]
}

/// What is wrong with a format, all of it.
public struct FormatError: Error, Sendable, Equatable, CustomStringConvertible {
    public struct Problem: Sendable, Equatable, CustomStringConvertible {
        /// 1-based, or nil for the file as a whole.
        public let line: Int?
        /// Path of the key (`fields.user_id`), or nil.
        public let key: String?
        /// What is wrong and what to do.
        public let message: String

        public var description: String {
            let place = [line.map { "line \($0)" }, key].compactMap(\.self).joined(separator: ", ")
            return place.isEmpty ? message : "\(place): \(message)"
        }
    }

    /// Path or name of the format.
    public let source: String
    public let problems: [Problem]

    public var description: String {
        if problems.count == 1 { return "format \(source): \(problems[0])" }
        return "format \(source): \(problems.count) problems" + problems.map { "\n  \($0)" }.joined()
    }
}

/// `; did you mean "user_id"?` for a near miss, else nothing.
func suggestion(for word: String, among known: [String]) -> String {
    let nearest = nearest(to: word, among: known) { word, name in word.count >= 3 && name.starts(with: word) }
    return nearest.map { "; did you mean \"\($0)\"?" } ?? ""
}

/// The name that differs least from `word` in letters, if that is not much. `isNear` makes any other pair near, too.
func nearest(
    to word: String, among known: [String], isNear: (_ word: [Character], _ name: [Character]) -> Bool
) -> String? {
    func letters(_ text: String) -> [Character] { text.lowercased().filter { $0 != "_" && $0 != "-" && $0 != " " } }
    let wanted = letters(String(word.prefix(40)))
    func edits(_ name: String) -> Int {
        let name = letters(name)
        let edits = distance(wanted, name)
        return edits > 1 && isNear(wanted, name) ? 1 : edits
    }
    let nearest = known.map { ($0, edits($0)) }.min { $0.1 < $1.1 }
    guard let (name, edits) = nearest, edits <= max(1, wanted.count / 3) else { return nil }
    return name
}

/// Insertions, deletions and replacements that turn one text into the other.
private func distance(_ a: [Character], _ b: [Character]) -> Int {
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            (diagonal, row[j + 1]) = (row[j + 1], min(row[j] + 1, row[j + 1] + 1, diagonal + (x == y ? 0 : 1)))
        }
    }
    return row[b.count]
}
