import Foundation
import Synchronization

/// Shows a ``LiveView`` that repaints itself in place, below what the terminal shows already.
///
/// Without a terminal it writes a status line every five seconds instead. May be used from any thread. Whoever shows
/// must call ``finish()``, on an interrupt as well: the cursor is hidden until then.
public final class LiveScreen: Sendable {
    private struct Painting {
        var latest: LiveView.State?
        var paintedAt: Double?
        /// Lines on the screen, with the cursor on the line below them.
        var height = 0
        var size: (width: Int, height: Int)?
        var finished = false
    }

    private let output: Output
    private let clock: @Sendable () -> Double
    private let view = LiveView()
    private let painting = Mutex(Painting())

    /// What is nil is found out: `isTTY` from `handle` and TERM, `colour` from `isTTY` and NO_COLOR.
    public convenience init(to handle: FileHandle = .standardOutput, isTTY: Bool? = nil, colour: Bool? = nil) {
        self.init(Output(handle, isTTY: isTTY, colour: colour), clock: monotonicSeconds)
    }

    init(_ output: Output, clock: @escaping @Sendable () -> Double) {
        (self.output, self.clock) = (output, clock)
    }

    deinit { finish() }

    /// Shows `state`, unless the screen was painted less than a tenth of a second ago.
    public func show(_ state: LiveView.State) {
        let now = clock()
        painting.withLock { painting in
            guard !painting.finished else { return }
            painting.latest = state
            guard now - (painting.paintedAt ?? -.infinity) >= (output.isTTY ? 0.1 : 5) else { return }
            painting.paintedAt = now
            paint(state, &painting)
        }
    }

    /// Paints the last state once more, if it is not on the screen, and gives the cursor back. Later calls do nothing.
    public func finish() {
        painting.withLock { painting in
            guard !painting.finished else { return }
            painting.finished = true
            guard let latest = painting.latest else { return }
            paint(latest, &painting)
            if output.isTTY { output.write("\u{1b}[?7h\u{1b}[?25h") }
        }
    }

    private func paint(_ state: LiveView.State, _ painting: inout Painting) {
        guard output.isTTY else { return output.write(Self.statusLine(state) + "\n") }
        let size = output.size
        // The cursor rests on a line of its own, or the last line feed would scroll the screen at every repaint.
        let lines = view.lines(state, width: size.width, height: size.height - 1, colour: output.colour)
        // No cursor, no wrapping of lines while the window is being made narrower.
        var text = "\u{1b}[?25l\u{1b}[?7l"
        if let last = painting.size, last != size {
            // After a resize the places of lines are unknown: start from an empty screen.
            text += "\u{1b}[2J\u{1b}[H"
        } else if painting.height > 0 {
            text += "\r\u{1b}[\(painting.height)A"
        }
        for line in lines { text += line + "\u{1b}[K\r\n" }
        text += "\u{1b}[J"
        // One write for one picture, so that it does not flicker.
        output.write(text)
        painting.height = lines.count
        painting.size = size
    }

    /// The state in one line for a log.
    static func statusLine(_ state: LiveView.State) -> String {
        var parts: [String] = []
        if let progress = state.progress {
            let total = progress.total.map {
                " of \(Human.count($0)) (\(Human.percent(ProgressBar.fraction(progress.done, $0))))"
            }
            parts.append("\(Human.count(progress.done))\(total ?? "") events")
        }
        parts.append(Human.rate(state.eventsPerSecond))
        if let lag = state.lag { parts.append("lag \(Human.count(lag))") }
        parts.append("\(Human.count(state.users)) users")
        parts.append("\(Human.count(state.learningSteps)) learning steps")
        if let gini = state.gini {
            parts.append(
                "Gini 30 d \(Human.number(gini.model, decimals: 3)) (naive \(Human.number(gini.naive, decimals: 3)))")
        }
        parts.append("\(Human.count(state.alertsRaised)) alerts")
        if state.deadLetters > 0 { parts.append("\(Human.count(state.deadLetters)) dead letters") }
        if let time = state.eventTime { parts.append("event time \(LiveView.stamp(time))") }
        let name = [state.title, state.phase].filter { !$0.isEmpty }.joined(separator: ", ")
        return Text.safe("\(name): " + parts.joined(separator: ", "))
    }
}
