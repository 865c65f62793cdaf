/// Numbers as people read them. The same everywhere, whatever the locale.
enum PlainNumber {
    /// Thousands apart by commas; one decimal below 10, unless it is 0.
    static func text(_ x: Double) -> String {
        guard x.isFinite else { return "?" }
        let tenths = Int64((min(abs(x), 9e15) * 10).rounded())
        let (whole, rest) = abs(x) < 9.95 ? (tenths / 10, tenths % 10) : ((tenths + 5) / 10, 0)
        let sign = x < 0 && (whole > 0 || rest > 0) ? "-" : ""
        return sign + thousands(whole) + (rest == 0 ? "" : ".\(rest)")
    }

    /// `12.50 USD`.
    static func money(_ x: Double, _ currency: String) -> String {
        guard x.isFinite else { return "? \(currency)" }
        let cents = Int64((min(abs(x), 9e14) * 100).rounded())
        let fraction = cents % 100
        return (x < 0 && cents > 0 ? "-" : "") + thousands(cents / 100) + (fraction < 10 ? ".0" : ".")
            + "\(fraction) \(currency)"
    }

    /// `1 day`, `12 days`, `0.5 days`.
    static func count(_ x: Double, _ noun: String, _ plural: String? = nil) -> String {
        let number = text(x)
        return number == "1" ? "1 \(noun)" : "\(number) \(plural ?? noun + "s")"
    }

    static func percent(_ x: Double) -> String { "\(Int64((100 * max(0, min(1, x))).rounded())) %" }

    private static func thousands(_ n: Int64) -> String {
        let digits = String(n)
        var out = ""
        for (i, digit) in digits.enumerated() {
            if i > 0 && (digits.count - i) % 3 == 0 { out += "," }
            out.append(digit)
        }
        return out
    }
}
