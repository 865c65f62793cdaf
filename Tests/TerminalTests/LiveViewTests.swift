import Foundation
import Testing

@testable import Terminal

@Suite("Live view")
struct LiveViewTests {
    static let state: LiveView.State = {
        var state = LiveView.State()
        state.title = "clvd demo"
        state.phase = "learning"
        state.progress = .init(done: 44_790, total: 69_659)
        state.eventsPerSecond = 12_345
        state.lag = 1_204
        state.users = 23_570
        state.learningSteps = 8_412
        state.losses = [.init(target: "value", value: 0.41234), .init(target: "churn", value: 0.51)]
        state.gini = .init(model: 0.7123, naive: 0.678)
        state.horizons = [
            .init(
                days: 30, gini: 0.7123, giniNaive: 0.678, mae: 12.31, maeNaive: 14.2, auc: 0.812, aucNaive: 0.79,
                bias: 0.032),
            .init(
                days: 90, gini: 0.65, giniNaive: 0.66, mae: 1_112.31, maeNaive: 14.2, auc: 0.8121, aucNaive: 0.8121,
                bias: -0.132),
            .init(
                days: 365, gini: nil, giniNaive: nil, mae: nil, maeNaive: nil, auc: nil, aucNaive: nil, bias: nil),
        ]
        state.deadLetters = 3
        state.duplicates = 12_003
        state.alertsRaised = 1_203
        state.alertsCleared = 999
        state.alertsForSilence = 301
        state.eventTime = Date(timeIntervalSince1970: 889_710_000)
        state.elapsedSeconds = 72.3
        state.rateHistory = [1, 2, 3, 4, 5, 6, 7, 8]
        state.giniHistory = [0.3, 0.5, 0.6, 0.7123]
        state.modelVersion = "v8,412"
        state.snapshot = .init(ageSeconds: 12.4, bytes: 1_288_490_189)
        for (user, reason) in [("customer-19000", "silence"), ("ev\u{1b}[2Jil", "churn\u{9b}1m"), ("小明", "silence")] {
            state.recentAlerts.append(
                .init(
                    time: Date(timeIntervalSince1970: 889_710_000), user: user, reason: reason, churn: 0.83,
                    valueAtRisk: 1_234.5))
        }
        return state
    }()

    @Test func fullStateAt80By24() {
        let expected = """
             clvd demo  learning                                                   1 m 12 s
             ▕████████████████████▌           ▏   64.2 %  44,790 of 69,659  ETA 3 s

             Stream ──────────────────────────────   Model ────────────────────────────────
             Events            12,345 /s  ▁▂▃▄▅▆▇█   Learning steps        8,412  v8,412
             Event time 1998-03-12 13:40             Snapshot           12 s ago  1.2 GiB
             Users                23,570             Loss, value          0.4123
             Lag                   1,204             Loss, churn          0.5100
             Duplicates           12,003
             Dead letters              3

             Gini, 30 days  0.712 ▲ +0.034 against naive 0.678   ▁▄▆█

             Horizon   Gini  naive        MAE    naive      AUC  naive      Bias
                30 d  0.712  0.678 ▲    12.31    14.20 ▲  0.812  0.790 ▲  +3.2 %
                90 d  0.650  0.660 ▼ 1,112.31    14.20 ▼  0.812  0.812   -13.2 %
               365 d      –      –          –        –        –      –         –

             Alerts   1,203 raised   301 for silence   999 cleared         churn    at risk
             1998-03-12 13:40  customer-19000       silence               83.0 %   1,234.50
             1998-03-12 13:40  ev\\x1b[2Jil          churn\\x9b1m           83.0 %   1,234.50
             1998-03-12 13:40  小明                 silence               83.0 %   1,234.50
            """
        #expect(LiveView().lines(Self.state, width: 80, height: 24, colour: false).joined(separator: "\n") == expected)
    }

    @Test func emptyStateAt80By24() {
        let expected = """
             clvd                                                                       0 s


             Stream ──────────────────────────────   Model ────────────────────────────────
             Events                 0 /s             Learning steps            0
             Event time                –             Snapshot                  –
             Users                     0
             Lag                       –
             Duplicates                0
             Dead letters              0

             Gini, 30 days  no outcome is 30 days old yet

             Horizon   Gini  naive        MAE    naive      AUC  naive      Bias
             no outcome is old enough yet

             Alerts   0 raised   0 for silence   0 cleared
             none yet
            """
        let lines = LiveView().lines(LiveView.State(), width: 80, height: 24, colour: false)
        #expect(lines.joined(separator: "\n") == expected)
    }

    @Test func manyLossesAndNoTotal() {
        var state = Self.state
        state.progress = .init(done: 1_000_000, total: nil)
        state.losses = ["value 30 d", "value 90 d", "churn", "orders"].map { .init(target: $0, value: 0.25) }
        let lines = LiveView().lines(state, width: 80, height: 24, colour: false)
        #expect(lines[1] == " 1,000,000 events so far")
        #expect(lines[6].hasSuffix("   Loss by target"))
        #expect(lines[7].hasSuffix("   value 30 d  0.2500  value 90 d  0.2500"))
        #expect(lines[8].hasSuffix("   churn       0.2500  orders      0.2500"))
    }

    @Test func horizonsBelowADayAreShown() {
        var state = Self.state
        state.horizons[0].days = 0.5
        let lines = LiveView().lines(state, width: 80, height: 24, colour: false)
        #expect(lines.contains { $0.hasPrefix("   0.5 d  0.712") }, "\(lines.joined(separator: "\n"))")
    }

    @Test func tallTerminalsGetAChart() {
        let lines = LiveView().lines(Self.state, width: 160, height: 50, colour: false)
        #expect(lines.contains { $0.hasPrefix("  0.712 ") && $0.hasSuffix("█") })
        #expect(lines.contains { $0.hasPrefix("  0.300 ▁███") })
    }

    /// Every size, with names of every sort: no line too long, no line too many, nothing to obey in it.
    @Test func everySizeHolds() {
        var state = Self.state
        state.title = String(repeating: "名", count: 90)
        state.phase = "a\nb\u{1b}[H"
        state.progress = .init(done: .max, total: .max)
        state.horizons.append(
            .init(
                days: .greatestFiniteMagnitude, gini: .nan, giniNaive: 1e300, mae: 1e300, maeNaive: -1e300,
                auc: .infinity, aucNaive: 0,
                bias: 1e300))
        state.losses = (0..<9).map { .init(target: "loss\u{1b}\($0)", value: 1e300) }
        state.eventTime = Date(timeIntervalSince1970: 1e300)
        state.snapshot = .init(ageSeconds: .nan, bytes: .max)
        for width in [1, 2, 9, 40, 69, 70, 79, 80, 101, 120, 160, 300] {
            for height in [1, 2, 10, 23, 24, 50, 90] {
                let lines = LiveView().lines(state, width: width, height: height, colour: false)
                #expect(lines.count <= height)
                for line in lines {
                    #expect(Text.width(line) <= width)
                    #expect(Text.safe(line) == line)
                }
                let coloured = LiveView().lines(state, width: width, height: height, colour: true)
                #expect(coloured.map { $0.replacing(/\u{1b}\[\d*m/, with: "") } == lines)
            }
        }
    }

    @Test(
        arguments: [
            (0, "1970-01-01 00:00"), (951_782_399, "2000-02-28 23:59"), (951_782_400, "2000-02-29 00:00"),
            (951_868_800, "2000-03-01 00:00"), (-1, "1969-12-31 23:59"), (4_107_542_399, "2100-02-28 23:59"),
            (4_107_542_400, "2100-03-01 00:00"), (1e300, "–"), (.nan, "–"),
        ] as [(Double, String)])
    func timesAreUTC(seconds: Double, text: String) {
        #expect(LiveView.stamp(Date(timeIntervalSince1970: seconds)) == text)
    }
}
