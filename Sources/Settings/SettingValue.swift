import Engine
import Foundation
import Yams

/// A type that a key can have: how it is read from YAML or an environment variable, and written as YAML.
protocol SettingValue: Sendable, Equatable {
    /// What has to be written, with its article: `a whole number`.
    static var expectation: String { get }
    /// What the text of an environment variable says, as YAML.
    static func node(environment text: String) throws -> Node
    /// The value of a node; nil when it has none, after the reason was reported.
    static func read(_ node: Node, at place: Place, _ reading: inout Reading) -> Self?
    /// The value on one line of YAML.
    var inline: String { get }
    /// The value on lines of its own, or nil when it stands behind its key.
    var lines: [String]? { get }
}

extension SettingValue {
    static func node(environment text: String) throws -> Node {
        try Yams.compose(yaml: text) ?? Node.scalar(.init(text, .implicit, .doubleQuoted))
    }
    var lines: [String]? { nil }
}

// MARK: Scalars

protocol ScalarValue: SettingValue {
    init?(text: String)
}

extension ScalarValue {
    static func node(environment text: String) -> Node { .scalar(.init(text, .implicit, .doubleQuoted)) }

    static func read(_ node: Node, at place: Place, _ reading: inout Reading) -> Self? {
        guard let text = reading.text(of: node, at: place, expecting: expectation) else { return nil }
        if let value = Self(text: text) { return value }
        reading.report(place, "is not \(expectation)", value: node.string, "write \(expectation)")
        return nil
    }
}

/// Digits may be grouped: 1_000_000.
private func digits(_ text: String) -> String {
    text.hasPrefix("_") || text.hasSuffix("_") ? text : text.filter { $0 != "_" }
}

extension String: ScalarValue {
    static var expectation: String { "text" }
    init?(text: String) { self = text }
    var inline: String { yamlText(self) }
}

extension Bool: ScalarValue {
    static var expectation: String { "true or false" }
    init?(text: String) { self.init(text) }
    var inline: String { String(self) }
}

extension Int: ScalarValue {
    static var expectation: String { "a whole number" }
    init?(text: String) { self.init(digits(text)) }
    var inline: String { String(self) }
}

extension UInt64: ScalarValue {
    static var expectation: String { "a whole number from 0 to 2^64 - 1, decimal or 0x…" }
    init?(text: String) {
        let text = digits(text)
        if text.hasPrefix("0x") { self.init(text.dropFirst(2), radix: 16) } else { self.init(text) }
    }
    var inline: String { self < 1 << 32 ? String(self) : "0x" + String(self, radix: 16, uppercase: true) }
}

extension ScalarValue where Self: BinaryFloatingPoint & LosslessStringConvertible {
    static var expectation: String { "a number" }
    init?(text: String) {
        guard let value = Self(digits(text)), value.isFinite else { return nil }
        self = value
    }
    var inline: String {
        magnitude < 1e15 && self == rounded(.towardZero) ? String(Int(self)) : String(self)
    }
}
extension Double: ScalarValue {}
extension Float: ScalarValue {}

extension ScalarValue where Self: RawRepresentable & CaseIterable, RawValue == String {
    static var expectation: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }
    init?(text: String) { self.init(rawValue: text) }
    var inline: String { rawValue.inline }
}
extension Settings.Delivery: ScalarValue {}
extension Settings.InputSettings.Start: ScalarValue {}
extension Settings.InputSettings.Keying: ScalarValue {}
extension Settings.KafkaSettings.Assignment: ScalarValue {}
extension Settings.LogLevel: ScalarValue {}
extension EngineConfiguration.Target.Kind: ScalarValue {}
extension EngineConfiguration.Alerts.Backlog: ScalarValue {}
extension EngineConfiguration.EventTime.LateEvents: ScalarValue {}
extension EngineConfiguration.UserState.ExcessEvents: ScalarValue {}
extension EngineConfiguration.Model.Recurrent: ScalarValue {}
extension EngineConfiguration.Learning.Optimizer: ScalarValue {}
extension EngineConfiguration.Learning.Schedule: ScalarValue {}

// MARK: Lists, maps, objects

extension Array: SettingValue where Element: SettingValue {
    static var expectation: String { "a list, [a, b]" }

    static func node(environment text: String) throws -> Node {
        if text.hasPrefix("[") || !(Element.self is any ScalarValue.Type) { return try yamlNode(text) }
        let parts = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        return .sequence(.init(parts.map { .scalar(.init($0, .implicit, .doubleQuoted)) }))
    }

    static func read(_ node: Node, at place: Place, _ reading: inout Reading) -> [Element]? {
        guard case .sequence(let sequence) = node else {
            reading.report(place, "is not a list", "write \(expectation)")
            return nil
        }
        let values = sequence.enumerated().compactMap { i, element in
            Element.read(element, at: place.inner("[\(i)]", element), &reading)
        }
        return values.count == sequence.count ? values : nil
    }

    var inline: String { "[" + map(\.inline).joined(separator: ", ") + "]" }
    var lines: [String]? { isEmpty || first is any ScalarValue ? nil : map { "- " + $0.inline } }
}

extension Dictionary: SettingValue where Key == String, Value: SettingValue {
    static var expectation: String { "a map, {a: b}" }

    static func node(environment text: String) throws -> Node { try yamlNode(text) }

    static func read(_ node: Node, at place: Place, _ reading: inout Reading) -> [String: Value]? {
        guard case .mapping(let mapping) = node else {
            reading.report(place, "is not a map", "write \(expectation)")
            return nil
        }
        var values: [String: Value] = [:]
        for (name, element) in mapping {
            guard let name = name.string, !name.isEmpty else {
                reading.report(place, "has a key that is not text", "write \(expectation)")
                continue
            }
            values[name] = Value.read(element, at: place.inner("." + name, element), &reading)
        }
        return values.count == mapping.count ? values : nil
    }

    private var entries: [String] { sorted { $0.key < $1.key }.map { "\($0.key.inline): \($0.value.inline)" } }
    var inline: String { "{" + entries.joined(separator: ", ") + "}" }
    var lines: [String]? { isEmpty ? nil : entries }
}

extension Optional: SettingValue where Wrapped: SettingValue {
    static var expectation: String { Wrapped.expectation }
    static func read(_ node: Node, at place: Place, _ reading: inout Reading) -> Wrapped?? {
        if node.isNull { return .some(nil) }
        return Wrapped.read(node, at: place, &reading).map { .some($0) }
    }
    var inline: String { self?.inline ?? "null" }
}

extension EngineConfiguration.Target: SettingValue {
    static var expectation: String { "an object, {name: …, kind: …}" }

    static func read(_ node: Node, at place: Place, _ reading: inout Reading) -> Self? {
        guard case .mapping(let mapping) = node else {
            reading.report(place, "is not an object", "write \(expectation)")
            return nil
        }
        let before = reading.problems.count
        var target = Self(name: "", kind: .value, events: [], horizonsDays: [])
        let given = reading.fill(&target, keys: keys, from: mapping, at: place)
        for key in keys where key.isRequired && !given.contains(key.path) {
            reading.report(place.inner("." + key.path, node), "is missing", "write \(key.expectation)")
        }
        return reading.problems.count == before ? target : nil
    }

    var inline: String {
        let given = Self.keys.filter { $0.path != "category" || category != nil }
        return "{" + given.map { "\($0.path): \($0.inline(self))" }.joined(separator: ", ") + "}"
    }
}

// MARK: YAML text

/// YAML that has to be there: nothing at all is no list and no map either.
private func yamlNode(_ text: String) throws -> Node {
    try Yams.compose(yaml: text) ?? .scalar(.init("", .implicit, .plain))
}

extension Node {
    /// Written as nothing, `~` or `null`.
    var isNull: Bool {
        guard case .scalar(let scalar) = self, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }
}

/// Whether a string can stand in YAML without quotes: letters, digits and `_ . / -`, the first a letter, `_` or `/`, in
/// parts with `:` between them, and no word that YAML takes for something else.
private func isPlain(_ text: String) -> Bool {
    guard let first = text.utf8.first, first != 0x2E, first != 0x2D, !(0x30...0x39).contains(first) else {
        return false
    }
    var previous: UInt8 = 0
    for byte in text.utf8 {
        let isColon = byte == UInt8(ascii: ":")
        guard isLetterOrDigit(byte) || (0x2D...0x2F).contains(byte) || byte == UInt8(ascii: "_") || isColon else {
            return false
        }
        if isColon, previous == 0 || previous == byte { return false }
        previous = byte
    }
    return previous != UInt8(ascii: ":") && !yamlWords.contains(text.lowercased())
}
private let yamlWords: Set = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]

/// A string as a YAML scalar that reads back as the same text, here and in YAML 1.1 and 1.2 elsewhere.
func yamlText(_ text: String) -> String {
    if isPlain(text) { return text }
    let text = text.replacing("${", with: "$${")
    var quoted = "\""
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0x22, 0x5C: quoted += "\\\(scalar)"
        case 0x0A: quoted += "\\n"
        case 0x20...0x7E, 0xA0...0x2027, 0x202A...0xD7FF, 0xE000...0xFEFE, 0x10000...:
            quoted.unicodeScalars.append(scalar)
        default:
            let hex = String(scalar.value, radix: 16, uppercase: true)
            quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        }
    }
    return quoted + "\""
}
