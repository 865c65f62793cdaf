/// Text that may go to a terminal: made harmless, measured in cells, padded and cut by cells.
public enum Text {
    /// Which side of a field the text keeps to.
    public enum Alignment: Sendable { case left, right }

    /// The text with everything a terminal could obey, or that a reader could not see, spelled out.
    ///
    /// Control characters (an escape becomes `\x1b`), bidirectional overrides, invisible format characters, private
    /// and unassigned code points are written as escapes; variation selectors are dropped, since terminals disagree
    /// on their width; more than two combining marks in a row are dropped. Nothing else changes.
    public static func safe(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) { return text }
        var out = String.UnicodeScalarView()
        var marks = 0
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
                marks = 0
                let digits = String(scalar.value, radix: 16)
                let escape = scalar.value < 0x100 ? "\\x\(digits.count < 2 ? "0" : "")\(digits)" : "\\u{\(digits)}"
                out.append(contentsOf: escape.unicodeScalars)
            case .nonspacingMark, .enclosingMark, .spacingMark:
                marks += 1
                if marks <= 2, !scalar.properties.isVariationSelector { out.append(scalar) }
            default:
                marks = 0
                out.append(scalar)
            }
        }
        return String(out)
    }

    /// Cells that a safe text takes: 0 for combining marks, 2 for East Asian wide characters and emoji, else 1.
    ///
    /// Counted scalar by scalar; where terminals merge a sequence (skin tones) this counts high, never low.
    public static func width(_ text: String) -> Int {
        var cells = 0
        for scalar in text.unicodeScalars { cells += width(scalar) }
        return cells
    }

    /// At most `width` cells of a safe text; a cut shows as `…`.
    public static func cut(_ text: String, to width: Int) -> String {
        guard self.width(text) > width else { return text }
        guard width > 0 else { return "" }
        var out = String.UnicodeScalarView()
        var cells = 0
        for scalar in text.unicodeScalars {
            cells += self.width(scalar)
            if cells > width - 1 { break }
            out.append(scalar)
        }
        return String(out) + "…"
    }

    /// Exactly `width` cells: cut or filled with spaces.
    public static func pad(_ text: String, to width: Int, _ alignment: Alignment = .left) -> String {
        let text = cut(text, to: width)
        let fill = String(repeating: " ", count: max(0, width - self.width(text)))
        return alignment == .left ? text + fill : fill + text
    }

    private static func width(_ scalar: Unicode.Scalar) -> Int {
        let value = scalar.value
        if value < 0x300 { return 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark: return 0
        default: break
        }
        switch value {
        case 0x1160...0x11ff: return 0  // Hangul vowels and finals join the initial before them.
        case 0x1100...0x115f, 0x2e80...0x303e, 0x3041...0xa4cf, 0xa960...0xa97c, 0xac00...0xd7a3, 0xf900...0xfaff,
            0xfe30...0xfe6f, 0xff00...0xff60, 0xffe0...0xffe6, 0x16fe0...0x18d08, 0x1b000...0x1b2fb,
            0x1f200...0x1f265, 0x20000...0x3fffd:
            return 2
        default: return scalar.properties.isEmojiPresentation ? 2 : 1
        }
    }
}

/// Series and shares as block characters; plain text, one cell each.
enum Blocks {
    private static let heights = Array("▁▂▃▄▅▆▇█")
    private static let eighths = Array(" ▏▎▍▌▋▊▉")

    /// The last `width` values as one row, scaled from their minimum to their maximum; what is not finite is blank.
    static func sparkline(_ values: [Double], width: Int) -> String {
        chart(values, width: width, height: 1).first ?? ""
    }

    /// The last `width` values as columns, `height` rows from the top down, each of at most `width` cells.
    static func chart(_ values: [Double], width: Int, height: Int) -> [String] {
        let shown = values.suffix(max(0, width))
        let finite = shown.filter(\.isFinite)
        guard height > 0, let low = finite.min(), let high = finite.max() else { return [] }
        // At least one eighth for every value, or the lowest would look like no value at all. Halved before they
        // are subtracted: the spread of two finite numbers may be infinite.
        let steps = Double(height * 8 - 1)
        let levels = shown.map { value -> Int in
            guard value.isFinite else { return 0 }
            let share = high > low ? (value / 2 - low / 2) / (high / 2 - low / 2) : 0.5
            return 1 + Int((share * steps).rounded())
        }
        return (0..<height).reversed().map { row in
            String(
                levels.map { level -> Character in
                    let rest = level - row * 8
                    return rest <= 0 ? " " : heights[min(rest, 8) - 1]
                })
        }
    }

    /// A bar of exactly `width` cells with `fraction` (clamped to 0…1) of it filled, to an eighth of a cell.
    static func bar(_ fraction: Double, width: Int) -> String {
        guard width > 0 else { return "" }
        let clamped = fraction.isFinite ? min(1, max(0, fraction)) : 0
        // Rounded down: only what is complete looks complete.
        let filled = Int(clamped * Double(width * 8))
        let full = String(repeating: "█", count: filled / 8)
        guard filled < width * 8 else { return full }
        return full + String(eighths[filled % 8]) + String(repeating: " ", count: width - filled / 8 - 1)
    }
}
