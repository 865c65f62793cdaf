import Yams

/// The keys of a format that go beyond places.
extension FormatReader {
    mutating func readRules(_ value: (String) -> Entry?, into format: inout EventFormat) {
        if let entry = value("root") { format.roots = pointers(entry) }
        if let entry = value("defaults") { format.defaults = defaults(entry, of: format) }
        if let entry = value("guest") { format.guests = guests(entry) }
        if let entry = value("joins"), let choice: EventFormat.Joins = choice(entry) { format.joins = choice }
        if let entry = value("placeholders") { format.placeholders = placeholders(entry) }
        if let entry = value("whole_ids"), let accepted = flag(entry) { format.wholeIDs = accepted }
        if let entry = value("where") { format.conditions = conditions(entry) }
        if let entry = value("batch") { format.batches = pointers(entry) }
        if let entry = value("decimal"), let choice: EventFormat.DecimalSign = choice(entry) { format.decimal = choice }
        if let entry = value("negative"), let choice: EventFormat.NegativeNumbers = choice(entry) {
            format.negative = choice
        }
        if let entry = value("nonzero") {
            format.nonzero = list(entry).compactMap { field($0, among: Field.ofNumbers) }
        }
    }

    /// The rule of a place.
    mutating func readRule(of entries: [Entry], into place: inout EventFormat.Place) {
        if let entry = entries.first(where: { $0.key == "as" }) { place.constant = text(entry) }
        guard let entry = entries.first(where: { $0.key == "divide" }), let text = text(entry) else { return }
        if let divisor = Double(text), divisor > 0, divisor.isFinite {
            place.divisor = divisor
        } else {
            report(entry, "\"\(text)\" is no positive number; write 100 for amounts in cents")
        }
    }

    private mutating func field(_ entry: Entry, among fields: [Field]) -> Field? {
        guard let name = text(entry) else { return nil }
        if let field = Field(rawValue: name), fields.contains(field) { return field }
        let names = fields.map(\.rawValue)
        let guess = suggestion(for: name, among: names)
        report(entry, "\"\(name)\" is none of \(names.joined(separator: ", "))\(guess)")
        return nil
    }

    private mutating func defaults(_ entry: Entry, of format: EventFormat) -> [Field: String] {
        let fields: [Field] = [.productID, .category, .price, .quantity, .amount, .currency]
        var defaults: [Field: String] = [:]
        for (field, entry) in known(entry, fields) {
            lines[entry.path] = entry.line
            guard let text = text(entry) else { continue }
            if Field.ofNumbers.contains(field), Double(text) == nil {
                report(entry, "\"\(text)\" is not a number")
            } else if format.itemFields[field] != nil {
                report(entry, "would go before what the items say; remove it, or items.\(field)")
            } else {
                defaults[field] = text
            }
        }
        return defaults
    }

    private mutating func guests(_ entry: Entry) -> EventFormat.Guests {
        if entry.node.scalar?.string == "ignore" { return .ignored }
        return .places(pointers(entry))
    }

    /// The words of a list; `usual` stands for the built-in ones.
    private mutating func placeholders(_ entry: Entry) -> [String] {
        if entry.node.sequence?.isEmpty == true { return [] }
        return list(entry).flatMap { entry -> [String] in
            lines[entry.path] = entry.line
            // Plain `null` is a word here.
            let word = entry.node.scalar?.string == "null" ? "null" : text(entry)
            return word == "usual" ? EventFormat.usualPlaceholders : word.map { [$0] } ?? []
        }
    }

    /// `/test: false`, `/status: [paid, shipped]`, `/op: { not: d }`.
    private mutating func conditions(_ entry: Entry) -> [EventFormat.Condition] {
        guard let entries = entries(of: entry.node, at: entry.path) else { return [] }
        return entries.compactMap { entry in
            lines[entry.path] = entry.line
            guard entry.key.hasPrefix("/") else {
                report(entry, "not a JSON pointer; write \"/\(entry.key.replacing(".", with: "/"))\"")
                return nil
            }
            guard entry.node.mapping != nil else {
                return EventFormat.Condition(pointer: entry.key, isNegated: false, values: values(entry))
            }
            guard let inner = self.entries(of: entry.node, at: entry.path) else { return nil }
            guard inner.count == 1, let not = inner.first(where: { $0.key == "not" }) else {
                report(entry, "expected a value, a list of values, or { not: value }")
                return nil
            }
            return EventFormat.Condition(pointer: entry.key, isNegated: true, values: values(not))
        }
    }

    /// Values of a condition; YAML's null is nil.
    private mutating func values(_ entry: Entry) -> [String?] {
        list(entry).map { entry in
            if let scalar = entry.node.scalar, entry.node.null != nil, scalar.style == .plain { return nil }
            return text(entry)
        }
    }
}
