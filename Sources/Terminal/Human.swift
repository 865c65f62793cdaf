import Foundation

/// Numbers as people read them; the same in every locale, so that logs and golden tests agree everywhere.
///
/// What has no value (NaN, infinity) is shown as ``Human/missing``.
public enum Human {
    /// Stands where there is no value.
    public static let missing = "–"

    /// `69659` → `69,659`.
    public static func count(_ value: Int64) -> String {
        (value < 0 ? "-" : "") + grouped(String(value.magnitude))
    }

    /// Events (or anything) per second: `12345.6` → `12,346 /s`, one decimal below ten.
    public static func rate(_ perSecond: Double) -> String {
        guard perSecond.isFinite else { return missing }
        return number(perSecond, decimals: perSecond != 0 && abs(perSecond) < 9.95 ? 1 : 0) + " /s"
    }

    /// Binary sizes: `1288490189` → `1.2 GiB`.
    public static func bytes(_ value: Int64) -> String {
        if value.magnitude < 1024 { return "\(value) B" }
        var scaled = Double(value)
        var unit = ""
        // 1023.95 rather than 1024: no "1,024.0 KiB" after rounding to one decimal.
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            (scaled, unit) = (scaled / 1024, next)
            if abs(scaled) < 1023.95 { break }
        }
        return number(scaled, decimals: 1) + " " + unit
    }

    /// Seconds in the two largest units that matter: `72` → `1 m 12 s`, `4.24` → `4.2 s`, `0.03` → `30 ms`.
    public static func duration(_ seconds: Double) -> String {
        guard seconds.isFinite, abs(seconds) < 1e12 else { return missing }
        if seconds < 0 { return "-" + duration(-seconds) }
        if seconds == 0 { return "0 s" }
        if seconds < 0.9995 { return number(seconds * 1000, decimals: 0) + " ms" }
        if seconds < 9.95 { return number(seconds, decimals: seconds == seconds.rounded() ? 0 : 1) + " s" }
        let whole = Int64(seconds.rounded())
        switch whole {
        case ..<60: return "\(whole) s"
        case ..<3600: return "\(whole / 60) m \(whole % 60) s"
        case ..<86_400: return "\(whole / 3600) h \(whole % 3600 / 60) m"
        default: return "\(count(whole / 86_400)) d \(whole % 86_400 / 3600) h"
        }
    }

    /// An amount with two decimals and no currency: `1234.5` → `1,234.50`.
    public static func money(_ amount: Double) -> String { number(amount, decimals: 2) }

    /// A fraction as percent: `0.643` → `64.3 %`.
    public static func percent(_ fraction: Double) -> String {
        fraction.isFinite ? number(fraction * 100, decimals: 1) + " %" : missing
    }

    /// Days of a horizon or a bin: `30`, `0.5`, `1,460`. The text that the engine's outputs use (`HorizonDays.text`), but
    /// for the thousands separators; written again here because this module knows no engine.
    public static func days(_ days: Double) -> String {
        days.isFinite && days != days.rounded() ? "\(days)" : number(days, decimals: 0)
    }

    /// A number with thousands separators and a fixed count of decimals; `signed` puts `+` before positive ones.
    public static func number(_ value: Double, decimals: Int, signed: Bool = false) -> String {
        guard value.isFinite else { return missing }
        let digits = String(format: "%.\(max(0, decimals))f", abs(value))
        let parts = digits.split(separator: ".", maxSplits: 1)
        let isZero = !digits.contains { $0 != "0" && $0 != "." }
        // No "-0.0": what rounds to zero has no sign.
        let sign = isZero ? "" : value < 0 ? "-" : signed ? "+" : ""
        return sign + grouped(parts[0]) + (parts.count > 1 ? "." + parts[1] : "")
    }

    private static func grouped(_ digits: some StringProtocol) -> String {
        var out = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { out.append(",") }
            out.append(digit)
        }
        return out
    }
}
