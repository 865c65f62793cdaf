import Foundation
import Synchronization

/// One line that says how far a piece of work is: bar, percent, count, rate and time left.
public struct ProgressBar: Sendable {
    /// What is counted.
    public enum Unit: Sendable, ExpressibleByStringLiteral {
        /// Things with a name in the plural, "events".
        case items(String)
        /// Bytes, shown in binary multiples.
        case bytes

        /// `"events"` for `.items("events")`.
        public init(stringLiteral name: String) { self = .items(name) }
    }

    private let label: String
    private let total: Int64?
    private let unit: Unit

    /// A bar for `total` units, or a spinner and a count where the total is not known.
    public init(label: String, total: Int64?, unit: Unit) {
        (self.label, self.total, self.unit) = (Text.safe(label), total.map { max(0, $0) }, unit)
    }

    /// The line for `done` units after `elapsedSeconds`, at most `width` cells and without escape codes.
    ///
    /// With too little room, first the time left goes, then the rate, then the count, then the bar.
    public func line(done: Int64, elapsedSeconds: Double, width: Int) -> String {
        guard let total else { return spinner(done, elapsedSeconds, width) }
        let fraction = Self.fraction(done, total)
        let percent = Text.pad(Human.percent(fraction), to: 7, .right)
        let facts = facts(done, elapsedSeconds)
        for count in stride(from: facts.count, through: 0, by: -1) {
            let tail = ([percent] + facts.prefix(count)).joined(separator: "  ")
            let room = width - Text.width(label) - Text.width(tail) - 4
            guard room >= 10 else { continue }
            return "\(label) ▕\(Blocks.bar(fraction, width: min(room, 60)))▏ \(tail)"
        }
        return Text.cut("\(label) \(percent)", to: width)
    }

    /// The same facts for a log or a file: no bar, no spinner, ASCII but for the label.
    func plainLine(done: Int64, elapsedSeconds: Double) -> String {
        let percent = total.map { [Human.percent(Self.fraction(done, $0))] } ?? []
        let facts = facts(done, elapsedSeconds).map { $0.drop { $0 == " " } }
        return "\(label): " + (percent + facts.map(String.init)).joined(separator: ", ")
    }

    /// Rounded down to a tenth of a percent, so that 100.0 % means all.
    static func fraction(_ done: Int64, _ total: Int64) -> Double {
        guard total > 0 else { return 1 }
        return done >= total ? 1 : max(0, (Double(done) / Double(total) * 1000).rounded(.down) / 1000)
    }

    private func facts(_ done: Int64, _ elapsed: Double) -> [String] {
        var facts: [String] = []
        let rate = elapsed > 0 ? Double(done) / elapsed : 0
        switch unit {
        case .items(let name):
            let of = total.map { " of " + Human.count($0) } ?? ""
            // As wide as it will become: the bar must not jump about.
            let count = Text.pad(
                Human.count(done), to: max(Human.count(done).count, total.map { Human.count($0).count } ?? 0), .right)
            facts.append(count + of + (name.isEmpty ? "" : " " + Text.safe(name)))
            if rate > 0 { facts.append(Human.rate(rate)) }
        case .bytes:
            facts.append(Human.bytes(done) + (total.map { " of " + Human.bytes($0) } ?? ""))
            if rate > 0, rate < 9e18 { facts.append(Human.bytes(Int64(rate)) + "/s") }
        }
        if let total, done >= total {
            facts.append("in " + Human.duration(elapsed))
        } else if let total, rate > 0 {
            facts.append("ETA " + Human.duration(Double(total - done) / rate))
        } else if total == nil {
            facts.append(Human.duration(elapsed))
        }
        return facts
    }

    private func spinner(_ done: Int64, _ elapsed: Double, _ width: Int) -> String {
        let frames = Array("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
        let frame = elapsed.isFinite && elapsed > 0 ? Int((elapsed * 10).truncatingRemainder(dividingBy: 10)) : 0
        return Text.cut(([label + " \(frames[frame])"] + facts(done, elapsed)).joined(separator: "  "), to: width)
    }
}

/// Keeps one progress line up to date: repainted in place on a terminal, a plain line every five seconds elsewhere.
///
/// May be called from any thread, as often as is convenient; it paints at most ten times a second.
public final class ProgressReporter: Sendable {
    private struct State {
        var done: Int64 = 0
        var paintedAt: Double?
        var finished = false
    }

    private let bar: ProgressBar
    private let output: Output
    private let clock: @Sendable () -> Double
    private let startedAt: Double
    private let state = Mutex(State())

    /// Starts the clock; writes nothing yet. `isTTY` nil: found out from `handle` and TERM.
    public convenience init(
        label: String, total: Int64?, unit: ProgressBar.Unit, to handle: FileHandle = .standardError,
        isTTY: Bool? = nil
    ) {
        self.init(
            ProgressBar(label: label, total: total, unit: unit), Output(handle, isTTY: isTTY), clock: monotonicSeconds)
    }

    init(_ bar: ProgressBar, _ output: Output, clock: @escaping @Sendable () -> Double) {
        (self.bar, self.output, self.clock, startedAt) = (bar, output, clock, clock())
    }

    /// `done` units are done in all (not: more).
    public func update(done: Int64) {
        let now = clock()
        state.withLock { state in
            guard !state.finished else { return }
            state.done = done
            // Elsewhere the first line, too, waits: work of a moment needs no log line.
            guard now - (state.paintedAt ?? (output.isTTY ? -.infinity : startedAt)) >= (output.isTTY ? 0.1 : 5)
            else { return }
            state.paintedAt = now
            paint(state.done, now)
        }
    }

    /// Ends the line with the last state, or replaces it by `message`. Later calls do nothing.
    public func finish(_ message: String? = nil) {
        let now = clock()
        state.withLock { state in
            guard !state.finished else { return }
            state.finished = true
            if let message {
                output.write((output.isTTY ? "\r\u{1b}[K" : "") + Text.safe(message) + "\n")
            } else {
                paint(state.done, now)
                if output.isTTY { output.write("\n") }
            }
        }
    }

    /// Ends and takes the line away. Later calls do nothing.
    public func clear() {
        state.withLock { state in
            guard !state.finished else { return }
            state.finished = true
            if output.isTTY, state.paintedAt != nil { output.write("\r\u{1b}[K") }
        }
    }

    private func paint(_ done: Int64, _ now: Double) {
        let elapsed = now - startedAt
        guard output.isTTY else { return output.write(bar.plainLine(done: done, elapsedSeconds: elapsed) + "\n") }
        // One cell stays free: a full last column makes some terminals wrap.
        let line = bar.line(done: done, elapsedSeconds: elapsed, width: output.size.width - 1)
        output.write("\r" + line + "\u{1b}[K")
    }
}
