/// A plain table with aligned columns, for summaries and lists.
public struct TextTable: Sendable {
    /// A column: its heading and the side its cells keep to.
    public struct Column: Sendable {
        let title: String
        let alignment: Text.Alignment

        /// Numbers read best on the right, names on the left; left columns give way first when room is short.
        public init(_ title: String, _ alignment: Text.Alignment = .left) {
            (self.title, self.alignment) = (Text.safe(title), alignment)
        }
    }

    private let columns: [Column]
    private var rows: [[String]] = []

    /// A table without rows.
    public init(columns: [Column]) { self.columns = columns }

    /// Appends a row; missing cells stay empty, surplus ones are dropped. Cells are made safe for a terminal.
    public mutating func addRow(_ cells: [String]) {
        rows.append(columns.indices.map { $0 < cells.count ? Text.safe(cells[$0]) : "" })
    }

    /// Heading, rule and rows, separated by line breaks, none after the last; no line takes more than `width` cells.
    public func render(width: Int) -> String {
        guard !columns.isEmpty else { return "" }
        var widths = columns.indices.map { column in
            rows.reduce(Text.width(columns[column].title)) { max($0, Text.width($1[column])) }
        }
        let gap = 2
        var surplus = widths.reduce(0, +) + gap * (columns.count - 1) - width
        // The widest left column gives cells until it fits or all are at their least; then the right ones.
        for side in [Text.Alignment.left, .right] {
            while surplus > 0 {
                let candidates = columns.indices.filter { columns[$0].alignment == side && widths[$0] > 4 }
                guard let widest = candidates.max(by: { widths[$0] < widths[$1] }) else { break }
                widths[widest] -= 1
                surplus -= 1
            }
        }
        func line(_ cells: [String]) -> String {
            let padded = columns.indices.map { Text.pad(cells[$0], to: widths[$0], columns[$0].alignment) }
            return trimmed(Text.cut(padded.joined(separator: "  "), to: width))
        }
        let rule = widths.map { String(repeating: "─", count: $0) }
        return ([line(columns.map(\.title)), line(rule)] + rows.map(line)).joined(separator: "\n")
    }

    private func trimmed(_ line: String) -> String {
        var line = line
        while line.last == " " { line.removeLast() }
        return line
    }
}
