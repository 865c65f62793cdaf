import Foundation
import Terminal

/// A chart of lines as SVG, with its numbers in a table below for those who do not see it.
struct Chart {
    struct Series {
        var name: String
        var points: [(Double, Double)]
        var hasDots = false
        /// What others are compared with.
        var isFaint = false
    }
    var title: String
    /// What the axes measure.
    var x: String
    var y: String
    var xRange = 0.0...1.0
    var yRange = 0.0...1.0
    /// Axes in percent; x in epoch milliseconds.
    var isShare = false
    var isTime = false
    var series: [Series] = []
    /// Vertical lines.
    var marks: [Double] = []

    private static let width = 420.0
    private static let height = 280.0
    private static let left = 52.0
    private static let right = 12.0
    private static let top = 26.0
    private static let bottom = 40.0

    init(title: String, x: String, y: String) { (self.title, self.x, self.y) = (title, x, y) }

    static func escape(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }

    static func day(_ ms: Double) -> String {
        String(Date(timeIntervalSince1970: ms / 1000).formatted(.iso8601).prefix(10))
    }

    private func place(_ point: (Double, Double)) -> (Double, Double) {
        let spanX = max(1e-12, xRange.upperBound - xRange.lowerBound)
        let spanY = max(1e-12, yRange.upperBound - yRange.lowerBound)
        let y = min(yRange.upperBound, max(yRange.lowerBound, point.1))
        return (
            Self.left + (point.0 - xRange.lowerBound) / spanX * (Self.width - Self.left - Self.right),
            Self.height - Self.bottom - (y - yRange.lowerBound) / spanY * (Self.height - Self.top - Self.bottom)
        )
    }

    private func text(_ value: Double, time: Bool, span: Double) -> String {
        if time { return Self.day(value) }
        if isShare { return Human.number(value * 100, decimals: 0) + " %" }
        return Human.number(value, decimals: span >= 50 ? 0 : span >= 5 ? 1 : span >= 0.5 ? 2 : 3)
    }

    var svg: String {
        let summary = series.filter { !$0.isFaint }.compactMap { s in
            s.points.last.map { "\(s.name) ends at \(Human.number($0.1, decimals: 3))" }
        }.joined(separator: "; ")
        var out = "<figure>\n<figcaption>\(Self.escape(title))</figcaption>\n"
        out += "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" "
        out += "aria-label=\"\(Self.escape("\(title). \(summary)."))\">\n"
        out += axes
        for mark in marks where xRange.contains(mark) {
            let (at, _) = place((mark, 0))
            out += "<line class=\"mark\" x1=\"\(n(at))\" x2=\"\(n(at))\" y1=\"\(n(Self.top))\" "
            out += "y2=\"\(n(Self.height - Self.bottom))\"><title>drift \(Self.day(mark))</title></line>\n"
        }
        var color = 0
        var legend = Self.left
        for s in series {
            let style = s.isFaint ? "faint" : "s\(color)"
            if !s.isFaint { color += 1 }
            let points = s.points.map(place)
            out += "<polyline class=\"\(style)\" points=\""
            out += points.map { "\(n($0.0)),\(n($0.1))" }.joined(separator: " ") + "\"/>\n"
            if s.hasDots {
                for p in points { out += "<circle class=\"\(style)\" cx=\"\(n(p.0))\" cy=\"\(n(p.1))\" r=\"3\"/>\n" }
            }
            out += "<rect class=\"\(style)\" x=\"\(n(legend))\" y=\"8\" width=\"12\" height=\"4\"/>"
            out += "<text x=\"\(n(legend + 16))\" y=\"14\">\(Self.escape(s.name))</text>\n"
            legend += 30 + 6.5 * Double(s.name.count)
        }
        return out + "</svg>\n\(table)</figure>\n"
    }

    private func n(_ x: Double) -> String { String(format: "%.1f", x) }

    private var axes: String {
        var out = ""
        for i in 0...4 {
            let share = Double(i) / 4
            let y = yRange.lowerBound + share * (yRange.upperBound - yRange.lowerBound)
            let at = place((xRange.lowerBound, y))
            out += "<line class=\"axis\" x1=\"\(n(Self.left))\" x2=\"\(n(Self.width - Self.right))\" "
            out += "y1=\"\(n(at.1))\" y2=\"\(n(at.1))\"/>"
            out += "<text x=\"\(n(Self.left - 6))\" y=\"\(n(at.1 + 4))\" text-anchor=\"end\">"
            out += text(y, time: false, span: yRange.upperBound - yRange.lowerBound) + "</text>\n"
            guard !isTime || i % 2 == 0 else { continue }
            let x = xRange.lowerBound + share * (xRange.upperBound - xRange.lowerBound)
            let anchor = i == 0 ? "start" : i == 4 ? "end" : "middle"
            out +=
                "<text x=\"\(n(place((x, 0)).0))\" y=\"\(n(Self.height - Self.bottom + 16))\" text-anchor=\"\(anchor)\">"
            out += text(x, time: isTime, span: xRange.upperBound - xRange.lowerBound) + "</text>\n"
        }
        let middle = (Self.left + Self.width - Self.right) / 2
        out += "<text x=\"\(n(middle))\" y=\"\(n(Self.height - 6))\" text-anchor=\"middle\">\(Self.escape(x))</text>\n"
        let center = (Self.top + Self.height - Self.bottom) / 2
        out +=
            "<text transform=\"translate(12 \(n(center))) rotate(-90)\" text-anchor=\"middle\">\(Self.escape(y))</text>\n"
        return out
    }

    private var table: String {
        var out = "<details><summary>Numbers</summary><table><caption>\(Self.escape(title))</caption>\n"
        for s in series where !s.isFaint {
            out += "<tr><th scope=\"col\">\(Self.escape(isTime ? "time" : x))</th>"
            out += "<th scope=\"col\">\(Self.escape(s.name))</th></tr>\n"
            for p in s.points {
                out += "<tr><td>\(isTime ? Self.day(p.0) : Human.number(p.0, decimals: 4))</td>"
                out += "<td>\(Human.number(p.1, decimals: 4))</td></tr>\n"
            }
        }
        return out + "</table></details>\n"
    }
}
