import Foundation

/// The live screen as text: what the daemon does, what the model has learned and whether that beats the baseline.
public struct LiveView: Sendable {
    /// Everything the screen shows; nil, or an empty list, where there is nothing yet.
    public struct State: Sendable {
        /// Name of the run.
        public var title = "clvd"
        /// What it does now, in a word or two.
        public var phase = ""
        /// Events done, and how many there are when that is known.
        public var progress: Progress?
        /// Events per second, lately.
        public var eventsPerSecond = 0.0
        /// Events that wait in Kafka.
        public var lag: Int64?
        /// Users with a state in memory.
        public var users: Int64 = 0
        /// Learning steps since the model was new.
        public var learningSteps: Int64 = 0
        /// Training loss for each target.
        public var losses: [Loss] = []
        /// Gini of the 30-day forecast, against that of the naive one.
        public var gini: Gini?
        /// Quality for each forecast horizon.
        public var horizons: [Horizon] = []
        /// Records that could not be used.
        public var deadLetters: Int64 = 0
        /// Events that came again and were left out.
        public var duplicates: Int64 = 0
        /// Churn alerts raised.
        public var alertsRaised: Int64 = 0
        /// Churn alerts cleared.
        public var alertsCleared: Int64 = 0
        /// Those of the raised that silence, not an event, brought about.
        public var alertsForSilence: Int64 = 0
        /// Where event time has come to.
        public var eventTime: Date?
        /// Seconds since the start.
        public var elapsedSeconds = 0.0
        /// Events per second over time, oldest first.
        public var rateHistory: [Double] = []
        /// 30-day Gini over time, oldest first.
        public var giniHistory: [Double] = []
        /// Alerts, newest first.
        public var recentAlerts: [Alert] = []
        /// Version of the model in use.
        public var modelVersion: String?
        /// The latest snapshot.
        public var snapshot: Snapshot?

        /// A state with nothing in it yet.
        public init() {}
    }

    /// Events done of a total, if known.
    public struct Progress: Sendable {
        var done: Int64
        var total: Int64?
        /// `total` nil: no end in sight.
        public init(done: Int64, total: Int64?) { (self.done, self.total) = (done, total) }
    }

    /// Training loss of one target.
    public struct Loss: Sendable {
        var target: String
        var value: Double
        /// A smoothed loss, in its own unit.
        public init(target: String, value: Double) { (self.target, self.value) = (target, value) }
    }

    /// Gini coefficients of the model and of the naive forecast; 1 is a perfect ranking, 0 a random one.
    public struct Gini: Sendable {
        public var model: Double
        public var naive: Double
        /// Both over the same users and the same days.
        public init(model: Double, naive: Double) { (self.model, self.naive) = (model, naive) }
    }

    /// Quality at one horizon, model against naive forecast; nil until enough outcomes are known.
    public struct Horizon: Sendable {
        var days: Double
        var gini, giniNaive, mae, maeNaive, auc, aucNaive, bias: Double?

        /// `mae` in units of money; `bias` as a fraction: forecast over outcome, less one.
        public init(
            days: Double, gini: Double?, giniNaive: Double?, mae: Double?, maeNaive: Double?, auc: Double?,
            aucNaive: Double?, bias: Double?
        ) {
            self.days = days
            (self.gini, self.giniNaive, self.mae, self.maeNaive) = (gini, giniNaive, mae, maeNaive)
            (self.auc, self.aucNaive, self.bias) = (auc, aucNaive, bias)
        }
    }

    /// One churn alert.
    public struct Alert: Sendable {
        var time: Date
        var user: String
        var reason: String
        var churn: Double
        var valueAtRisk: Double

        /// `time` in event time, `churn` a probability, `valueAtRisk` in units of money.
        public init(time: Date, user: String, reason: String, churn: Double, valueAtRisk: Double) {
            (self.time, self.user, self.reason) = (time, user, reason)
            (self.churn, self.valueAtRisk) = (churn, valueAtRisk)
        }
    }

    /// The latest snapshot on disk.
    public struct Snapshot: Sendable {
        var ageSeconds: Double
        var bytes: Int64
        /// Age since it was complete, and size of the file.
        public init(ageSeconds: Double, bytes: Int64) { (self.ageSeconds, self.bytes) = (ageSeconds, bytes) }
    }

    /// A view has no settings.
    public init() {}

    /// The screen: at most `height` lines of at most `width` cells. Escape codes only where `colour` is true.
    ///
    /// Made for 80 × 24 and up. With less, numbers on the right are cut and what is farthest down is left out.
    public func lines(_ state: State, width: Int, height: Int, colour: Bool) -> [String] {
        guard width > 0, height > 0 else { return [] }
        let inner = max(1, width - 2)
        let top = header(state, inner)
        let panels = panels(state, inner)
        let quality = horizons(state, inner)
        var lines = top + [Row()] + panels + [Row()]
        // Rows beyond the least go to a chart: that says more than empty space.
        let least = lines.count + quality.count + 2 + min(6, max(1, state.recentAlerts.count))
        lines += charts(state, inner, rows: min(10, height - least - 2))
        lines += quality
        let room = height - lines.count - 2
        if room > 0 { lines += [Row()] + alerts(state, inner, rows: room) }
        return lines.prefix(height).map { (Row(" ", .plain) + $0).rendered(width: width, colour: colour) }
    }

    // MARK: Parts

    private func header(_ state: State, _ width: Int) -> [Row] {
        let left = Row(state.title, .strong) + Row(state.phase.isEmpty ? "" : "  " + state.phase, .accent)
        let right = Row(Human.duration(state.elapsedSeconds.rounded(.down)), .faint)
        var second = Row()
        if let progress = state.progress {
            if let total = progress.total {
                let fraction = ProgressBar.fraction(progress.done, total)
                var tail = "  \(Text.pad(Human.percent(fraction), to: 7, .right))  "
                tail += "\(Text.pad(Human.count(progress.done), to: Human.count(total).count, .right))"
                tail += " of \(Human.count(total))"
                let left = total - progress.done
                if left > 0, state.eventsPerSecond > 0 {
                    tail += Text.pad(
                        "  ETA " + Human.duration((Double(left) / state.eventsPerSecond).rounded(.up)), to: 17)
                }
                let bar = Blocks.bar(fraction, width: max(8, width - Text.width(tail) - 2))
                second = Row("▕", .faint) + Row(bar, .accent) + Row("▏", .faint) + Row(tail)
            } else {
                second = Row(Human.count(progress.done), .strong) + Row(" events so far", .faint)
            }
        }
        return [left.padded(to: max(0, width - right.width)) + right, second]
    }

    private func panels(_ state: State, _ width: Int) -> [Row] {
        let gap = 3
        guard width >= 70 else { return streamPanel(state, width) + [Row()] + modelPanel(state, width) }
        let column = (width - gap) / 2
        let stream = streamPanel(state, column)
        let model = modelPanel(state, width - gap - column)
        return (0..<max(stream.count, model.count)).map { index in
            let left = index < stream.count ? stream[index] : Row()
            return left.padded(to: column).padded(to: column + gap) + (index < model.count ? model[index] : Row())
        }
    }

    private func streamPanel(_ state: State, _ width: Int) -> [Row] {
        let spark = Row("  " + Blocks.sparkline(state.rateHistory, width: max(0, width - 29)), .accent)
        return [
            heading("Stream", width),
            fact("Events", Human.rate(state.eventsPerSecond)) + spark,
            fact("Event time", state.eventTime.map(Self.stamp) ?? Human.missing),
            fact("Users", Human.count(state.users)),
            fact("Lag", state.lag.map(Human.count) ?? Human.missing),
            fact("Duplicates", Human.count(state.duplicates)),
            fact(
                "Dead letters", Human.count(state.deadLetters), state.deadLetters > 0 ? .warning : .plain),
        ]
    }

    private func modelPanel(_ state: State, _ width: Int) -> [Row] {
        let version = state.modelVersion.map { Row("  " + $0, .faint) } ?? Row()
        var rows = [
            heading("Model", width), fact("Learning steps", Human.count(state.learningSteps)) + version,
        ]
        if let snapshot = state.snapshot {
            let size = Row("  \(Human.bytes(snapshot.bytes))", .faint)
            rows.append(fact("Snapshot", Human.duration(snapshot.ageSeconds.rounded(.down)) + " ago") + size)
        } else {
            rows.append(fact("Snapshot", Human.missing))
        }
        // Two losses to a line where there are many of them.
        let losses = state.losses.map { ($0.target, Human.number($0.value, decimals: 4)) }
        if losses.count <= 3 {
            rows += losses.map { fact("Loss, " + $0.0, $0.1) }
        } else {
            let cell = (width - 2) / 2
            rows.append(Row("Loss by target", .faint))
            for start in stride(from: 0, to: min(losses.count, 6), by: 2) {
                var row = Row()
                for (target, value) in losses[start..<min(start + 2, losses.count)] {
                    if !row.isEmpty { row = row + Row("  ") }
                    let name = max(0, cell - Text.width(value) - 1)
                    row = row + Row(Text.pad(Text.safe(target), to: name) + " ", .faint) + Row(value)
                }
                rows.append(row)
            }
        }
        return rows
    }

    /// The 30-day Gini against the baseline, as history where there is room, and the rate beside it.
    private func charts(_ state: State, _ width: Int, rows: Int) -> [Row] {
        var title = Row("Gini, 30 days", .strong)
        guard let gini = state.gini else {
            return [title + Row("  no outcome is 30 days old yet", .faint), Row()]
        }
        let gain = gini.model - gini.naive
        let mark = Mark(better: gain, worthwhile: 0.0005)
        title =
            title + Row("  ") + Row(Human.number(gini.model, decimals: 3), .strong)
            + Row(" \(mark.symbol) " + Human.number(gain, decimals: 3, signed: true), mark.style)
            + Row(" against naive ", .faint) + Row(Human.number(gini.naive, decimals: 3))
        guard rows >= 4 else {
            let spark = Blocks.sparkline(state.giniHistory, width: max(0, width - title.width - 3))
            return [title + Row("   " + spark, .accent), Row()]
        }
        let columns = max(0, width - 7)
        let chart = Blocks.chart(state.giniHistory, width: columns, height: rows - 1)
        let finite = state.giniHistory.suffix(columns).filter(\.isFinite)
        guard let low = finite.min(), let high = finite.max() else { return [title, Row()] }
        let drawn = chart.enumerated().map { index, line in
            let label = index == 0 ? high : index == chart.count - 1 ? low : nil
            return Row(Text.pad(label.map { Human.number($0, decimals: 3) } ?? "", to: 6, .right) + " ", .faint)
                + Row(line, .accent)
        }
        return [title] + drawn + [Row()]
    }

    private func horizons(_ state: State, _ width: Int) -> [Row] {
        // Fixed fields keep the numbers of all rows and all repaints in one place.
        let wide = width >= 100
        let group = wide ? [9, 10] : [8, 8]
        func cell(_ text: String, _ width: Int, _ style: Style = .plain) -> Row {
            Row(Text.pad(text, to: width, .right), style)
        }
        func title(_ name: String, _ scale: Int = 0) -> Row {
            cell(name, group[0] + scale, .strong) + cell("naive", group[1] + scale, .faint) + Row("  ")
        }
        let money = wide ? 3 : 1
        var rows = [
            Row(Text.pad("Horizon", to: 7), .strong) + title("Gini", -1) + title("MAE", money) + title("AUC", -1)
                + cell("Bias", group[0], .strong)
        ]
        if state.horizons.isEmpty { rows.append(Row("no outcome is old enough yet", .faint)) }
        for horizon in state.horizons {
            func pair(
                _ model: Double?, _ naive: Double?, _ decimals: Int, lowerIsBetter: Bool = false, scale: Int = 0
            ) -> Row {
                let format = { (value: Double?) in
                    value.map { lowerIsBetter ? amount($0) : Human.number($0, decimals: decimals) } ?? Human.missing
                }
                var mark = Mark(better: 0, worthwhile: 1)
                if let model, let naive {
                    let worthwhile = 0.5 * pow(10, Double(-decimals))
                    mark = Mark(better: lowerIsBetter ? naive - model : model - naive, worthwhile: worthwhile)
                }
                return cell(format(model), group[0] + scale) + cell(format(naive), group[1] + scale, .faint)
                    + Row(mark.isTie ? "  " : " \(mark.symbol)", mark.style)
            }
            let bias = horizon.bias.map { Human.number($0 * 100, decimals: 1, signed: true) + " %" }
            rows.append(
                Row(Text.pad(Human.days(horizon.days) + " d", to: 7, .right))
                    + pair(horizon.gini, horizon.giniNaive, 3, scale: -1)
                    + pair(horizon.mae, horizon.maeNaive, 2, lowerIsBetter: true, scale: money)
                    + pair(horizon.auc, horizon.aucNaive, 3, scale: -1)
                    + cell(bias ?? Human.missing, group[0]))
        }
        return rows
    }

    private func alerts(_ state: State, _ width: Int, rows: Int) -> [Row] {
        let counts = [
            ("raised", state.alertsRaised), ("for silence", state.alertsForSilence), ("cleared", state.alertsCleared),
        ]
        var head = Row("Alerts", .strong)
        for (name, count) in counts { head = head + Row("   " + Human.count(count)) + Row(" " + name, .faint) }
        let (timeWidth, churnWidth, valueWidth) = (16, 8, 11)
        let names = max(0, width - timeWidth - churnWidth - valueWidth - 5)
        let userWidth = min(36, names / 2)
        let reasonWidth = min(40, names - userWidth)
        // The headings of the numbers share the line with the counts, if there is room for both.
        let before = timeWidth + 2 + userWidth + 2 + reasonWidth + 1
        if head.width <= before, !state.recentAlerts.isEmpty {
            let titles = Text.pad("churn", to: churnWidth, .right) + Text.pad("at risk", to: valueWidth, .right)
            head = head.padded(to: before) + Row(titles, .faint)
        }
        var lines = [head]
        for alert in state.recentAlerts.prefix(rows) {
            let row =
                Row(Text.pad(Self.stamp(alert.time), to: timeWidth) + "  ", .faint)
                + Row(Text.pad(Text.safe(alert.user), to: userWidth) + "  ")
                + Row(Text.pad(Text.safe(alert.reason), to: reasonWidth) + " ", .faint)
                + Row(Text.pad(Human.percent(alert.churn), to: churnWidth, .right), .warning)
                + Row(Text.pad(amount(alert.valueAtRisk), to: valueWidth, .right))
            lines.append(row)
        }
        if state.recentAlerts.isEmpty { lines.append(Row("none yet", .faint)) }
        return lines
    }

    /// Money, without decimals where they would only take room.
    private func amount(_ value: Double) -> String {
        abs(value) < 10_000 ? Human.money(value) : Human.number(value, decimals: 0)
    }

    private func heading(_ title: String, _ width: Int) -> Row {
        Row(title, .strong) + Row(" " + String(repeating: "─", count: max(0, width - Text.width(title) - 1)), .faint)
    }

    /// A label and a number that ends in the same column as those above and below.
    private func fact(_ label: String, _ value: String, _ style: Style = .plain) -> Row {
        // A time of 16 cells is the widest value, 11 cells its label.
        let end = 27
        let label = Text.pad(Text.safe(label), to: max(11, min(22, end - Text.width(value) - 1)))
        return Row(label, .faint)
            + Row(Text.pad(value, to: max(end - Text.width(label), Text.width(value)), .right), style)
    }

    /// UTC, to the minute; calendar arithmetic by hand, since this runs ten times a second for every alert.
    static func stamp(_ date: Date) -> String {
        let seconds = date.timeIntervalSince1970
        guard abs(seconds) < 2e11 else { return Human.missing }
        let minutes = Int64((seconds / 60).rounded(.down))
        let days = Int64((Double(minutes) / 1440).rounded(.down))
        let ofDay = minutes - days * 1440
        // Days from civil, backwards: eras of 400 years that start on 1 March.
        let shifted = days + 719_468
        let era = Int64((Double(shifted) / 146_097).rounded(.down))
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func two(_ value: Int64) -> String { (value < 10 ? "0" : "") + String(value) }
        return "\(year)-\(two(month))-\(two(day)) \(two(ofDay / 60)):\(two(ofDay % 60))"
    }
}

/// Better or worse than the baseline, or neither.
struct Mark {
    let symbol: String
    let style: Style
    var isTie: Bool { symbol == "=" }

    init(better gain: Double, worthwhile: Double) {
        if gain >= worthwhile {
            (symbol, style) = ("▲", .good)
        } else if gain <= -worthwhile {
            (symbol, style) = ("▼", .bad)
        } else {
            (symbol, style) = ("=", .faint)
        }
    }
}

/// How a piece of text looks; few on purpose.
enum Style: String {
    case plain = ""
    case strong = "1"
    case faint = "2"
    case accent = "36"
    case good = "32"
    case bad = "31"
    case warning = "33"
}

/// A line in pieces, each with its style; measured before colour is added, and always safe.
struct Row {
    private var pieces: [(text: String, style: Style)] = []
    private(set) var width = 0

    init(_ text: String = "", _ style: Style = .plain) {
        let text = Text.safe(text)
        if !text.isEmpty { pieces = [(text, style)] }
        width = Text.width(text)
    }

    var isEmpty: Bool { pieces.isEmpty }

    static func + (left: Row, right: Row) -> Row {
        var row = left
        row.pieces += right.pieces
        row.width += right.width
        return row
    }

    /// Exactly `width` cells.
    func padded(to width: Int) -> Row {
        var row = cut(to: width)
        if row.width < width { row = row + Row(String(repeating: " ", count: width - row.width)) }
        return row
    }

    /// At most `width` cells, without blanks at the end, with escape codes if `colour`.
    func rendered(width: Int, colour: Bool) -> String {
        var pieces = cut(to: width).pieces
        while var last = pieces.popLast() {
            while last.text.last == " " { last.text.removeLast() }
            guard last.text.isEmpty else {
                pieces.append(last)
                break
            }
        }
        return pieces.map { colour && $0.style != .plain ? "\u{1b}[\($0.style.rawValue)m\($0.text)\u{1b}[0m" : $0.text }
            .joined()
    }

    private func cut(to limit: Int) -> Row {
        guard width > limit else { return self }
        var row = Row()
        for piece in pieces {
            let room = limit - row.width
            // A piece that fills the room to the last cell leaves no cell for the mark of the cut.
            let fits = Text.width(piece.text) < room
            row = row + Row(fits ? piece.text : Text.cut(piece.text + "…", to: room), piece.style)
            if !fits { break }
        }
        return row
    }
}
