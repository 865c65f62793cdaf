import Engine
import EventInput
import Yams

/// What a value has to satisfy on its own.
struct Rule<Value>: Sendable {
    /// Completes "must be …".
    let phrase: String
    let holds: @Sendable (Value) -> Bool
}

extension Rule where Value: ScalarValue & Comparable {
    /// Both ends belong to it.
    static func within(_ range: ClosedRange<Value>) -> Rule {
        Rule(phrase: "from \(range.lowerBound.inline) to \(range.upperBound.inline)") { range.contains($0) }
    }
}

extension Rule where Value: ScalarValue & BinaryFloatingPoint {
    static var share: Rule { within(0...1) }
    static func above(_ low: Value, upTo high: Value) -> Rule {
        Rule(phrase: "above \(low.inline), at most \(high.inline)") { $0 > low && $0 <= high }
    }
    static func from(_ low: Value, below high: Value) -> Rule {
        Rule(phrase: "from \(low.inline), below \(high.inline)") { $0 >= low && $0 < high }
    }
}

extension Rule where Value == Int {
    static func multiple(of factor: Int, upTo high: Int) -> Rule {
        Rule(phrase: "a multiple of \(factor) from \(factor) to \(high)") {
            (factor...high).contains($0) && $0 % factor == 0
        }
    }
    static func powerOfTwo(upTo high: Int) -> Rule {
        Rule(phrase: "a power of two from 2 to \(high)") { (2...high).contains($0) && $0 & ($0 - 1) == 0 }
    }
}

extension Rule where Value == String {
    static var notEmpty: Rule { Rule(phrase: "non-empty") { !$0.isEmpty } }
    static var topic: Rule {
        Rule(phrase: "a topic name of 1 to 249 letters, digits, '.', '_' and '-'") { isTopic($0) }
    }
    /// What brokers take for a member's name and file systems for a folder's.
    static var instance: Rule {
        Rule(phrase: "1 to 128 letters, digits, '.', '_' and '-', the first no '.'") {
            isWord($0, 1...128, and: "._-") && !$0.hasPrefix(".")
        }
    }
    static var servers: Rule {
        Rule(phrase: "a list host:port,host:port") { text in
            text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { server in
                let parts = server.trimmingPrefix { $0 == " " }.split(separator: ":", omittingEmptySubsequences: false)
                guard parts.count > 1, !parts[0].isEmpty, let port = parts.last.flatMap({ Int($0) }) else {
                    return false
                }
                return (1...65_535).contains(port)
            }
        }
    }
    static var targetName: Rule {
        Rule(phrase: "1 to 64 letters, digits, '_' and '-'") { isWord($0, 1...64, and: "_-") }
    }
    static var currency: Rule {
        Rule(phrase: "the three letters of a currency, such as EUR") { CurrencyTable.isCode($0) }
    }
}

func isTopic(_ name: String) -> Bool {
    isWord(name, 1...249, and: "._-") && name != "." && name != ".."
}

/// Whether the bytes of a text, `length` of them, are ASCII letters, digits and `others`. A regular expression would be
/// compiled anew at each use.
func isWord(_ text: String, _ length: ClosedRange<Int>, and others: StaticString) -> Bool {
    length.contains(text.utf8.count) && text.utf8.allSatisfy { isLetterOrDigit($0) || isOne(of: others, $0) }
}

func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x41...0x5A).contains(byte & 0xDF) || (0x30...0x39).contains(byte)
}

private func isOne(of others: StaticString, _ byte: UInt8) -> Bool {
    others.withUTF8Buffer { $0.contains(byte) }
}

/// One row of the table from which settings are read, checked, written and documented.
struct SettingKey<Root: Sendable>: Sendable {
    /// As in YAML, sections separated by dots.
    let path: String
    let unit: String?
    let documentation: String
    let expectation: String
    /// What a value must be beyond its type, completes "must be …".
    let constraint: String?
    let isRequired: Bool
    /// Values are never shown, `file:/path` stands for the contents of a file.
    let isSecret: Bool

    let environmentNode: @Sendable (String) throws -> Node
    let read: @Sendable (Node, Place, inout Reading, inout Root) -> Void
    let inline: @Sendable (Root) -> String
    let lines: @Sendable (Root) -> [String]?
    let isSound: @Sendable (Root) -> Bool

    /// - Parameter mask: what is written in place of a value; identity where nothing is secret.
    init<Value: SettingValue>(
        _ path: String, _ member: any WritableKeyPath<Root, Value> & Sendable, _ documentation: String,
        unit: String? = nil, _ rule: Rule<Value>? = nil, isRequired: Bool = false,
        mask: (@Sendable (Value) -> Value)? = nil
    ) {
        self.path = path
        self.unit = unit
        self.documentation = documentation
        self.isRequired = isRequired
        expectation = Value.expectation
        constraint =
            rule.map { $0.phrase + (unit.map { " " + $0 } ?? "") }
            ?? (Value.self is any CaseIterable.Type ? Value.expectation : nil)
        isSecret = mask != nil
        environmentNode = { try Value.node(environment: $0) }
        read = { node, place, reading, root in
            if let value = Value.read(node, at: place, &reading) { root[keyPath: member] = value }
        }
        let shown: @Sendable (Root) -> Value = { mask?($0[keyPath: member]) ?? $0[keyPath: member] }
        inline = { shown($0).inline }
        lines = { shown($0).lines }
        isSound = { rule?.holds($0[keyPath: member]) ?? true }
    }

    /// The documentation with unit and constraint, one paragraph.
    var fullDocumentation: String {
        guard let note = constraint ?? unit else { return documentation }
        return documentation + " " + note.prefix(1).uppercased() + note.dropFirst() + "."
    }

    /// What is wrong with the value by itself, without its source.
    func problem(_ root: Root, prefix: String = "", default defaults: Root? = nil) -> SettingsProblem? {
        guard !isSound(root), let constraint else { return nil }
        return SettingsProblem(
            path: prefix + path, problem: "must be \(constraint)", value: isSecret ? nil : inline(root),
            remedy: defaults.map { "change it (default \(inline($0)))" } ?? "change it")
    }
}
