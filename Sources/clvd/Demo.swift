import Engine
import Evaluation
import EventInput
import Foundation
import Kafka
import Logging
import Replay
import Runtime
import Settings
import Synchronization
import Terminal

/// A daemon, a cluster and a replay in one process, watched until all of the file has gone through.
final class Demo {
    /// What came of it, for machines.
    struct Summary: Encodable {
        var eventsIn: Int64 = 0
        var accepted: Int64 = 0
        var duplicates: Int64 = 0
        var ignored: Int64 = 0
        var deadLetters: Int64 = 0
        /// Dead letters by reason.
        var refused: [String: Int64] = [:]
        /// Events by names of types that the format does not know.
        var unknownTypes: [String: Int64] = [:]
        var updatesOut: Int64 = 0
        var alertsRaised: Int64 = 0
        var alertsForSilence: Int64 = 0
        var users = 0
        var learningSteps: Int64 = 0
        /// Normalised Gini of the 30-day forecasts, and of the customer's own rate; nil when there is no such target.
        var gini30D: Double?
        var gini30DNaive: Double?
        /// Share of the money of 30 days that the tenth with the highest forecasts brought, and the tenth with the
        /// highest own rate.
        var topTenth30D: Double?
        var topTenth30DNaive: Double?
        var seconds = 0.0

        enum CodingKeys: String, CodingKey {
            case eventsIn, accepted, duplicates, ignored, deadLetters, refused, unknownTypes, updatesOut, alertsRaised,
                alertsForSilence
            case users, learningSteps, seconds
            // The encoder's snake case would make gini30_d of it.
            case gini30D = "gini_30d"
            case gini30DNaive = "gini_30d_naive"
            case topTenth30D = "top_tenth_30d"
            case topTenth30DNaive = "top_tenth_30d_naive"
        }
    }

    struct Result {
        var summary: Summary
        /// Dead letters by reason, with the row of the file that was the first.
        var refusals: Refusals
        var unknownTypes: UnknownTypeNames
        var top: [RankedUser]
        var horizonDays: String
    }

    private let settings: Settings
    private let cluster: MockCluster?
    private let screen: LiveScreen?
    private let title: String
    private var view = LiveView.State()
    private let start = ContinuousClock.now
    private var sampledAt = 0.0
    /// Users that the result names.
    private static let rankedUsers = 10

    init(settings: Settings, embedded: Bool, isQuiet: Bool, title: String) throws {
        var settings = settings
        cluster = embedded ? try MockCluster() : nil
        if let cluster {
            settings.kafka.bootstrapServers = cluster.bootstrap
            let output = settings.output
            for topic in settings.input.topics + [output.updatesTopic, output.alertsTopic, output.deadLetterTopic] {
                try cluster.createTopic(topic, partitions: 1)
            }
        }
        self.settings = settings
        self.title = title
        screen = isQuiet ? nil : LiveScreen()
    }

    deinit { screen?.finish() }

    private var seconds: Double { (ContinuousClock.now - start) / .seconds(1) }

    /// - Throws: what stopped the replay or the daemon; `CommandFailure` when a signal did.
    func run(_ file: EventFile) throws -> Result {
        var logger = Logger(label: "clvd") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        let daemon = Daemon(settings: settings, logger: logger)
        let ranking = RankingAtEnd(count: Self.rankedUsers, daemon)
        let replay = try ReplayThread(file, settings, flowControlled: cluster != nil, daemon, logger)
        let thread = DaemonThread(daemon)
        thread.start()
        replay.start()
        var stopAt: Double?
        while thread.result == nil {
            Thread.sleep(forTimeInterval: 0.05)
            let status = daemon.status
            show(status, replay)
            tellStandstill(status)
            if StopSignal.isRequested || replay.failure != nil {
                daemon.stop()
                stopAt = stopAt ?? seconds
            }
            if let stopAt, seconds > stopAt + Self.stopSeconds { throw stuck(status, replay.failure) }
            if let sent = replay.sent, status.records >= sent { ranking.askAndStop() }
        }
        replay.abandon()
        let status = daemon.status
        show(status, replay, isLast: true)
        screen?.finish()
        if let error = replay.failure { throw error }
        try thread.result?.get()
        if StopSignal.isRequested { throw CommandFailure("stopped before the end of the file") }
        return result(status, replay.refusals, replay.unknownTypes, top: ranking.users)
    }

    // MARK: Standstill

    /// Seconds that the daemon has to end in, and after which a standstill is told.
    private static let (stopSeconds, standstillSeconds) = (30.0, 15.0)
    /// How far it was at the last look, since when, and when that was told last.
    private var reached: (records: Int64, at: Double, toldAt: Double) = (-1, 0, 0)
    /// What is waited for, when nothing goes on.
    private var obstacle: String?

    /// Says what is waited for when nothing goes on: on the screen, where there is one.
    private func tellStandstill(_ status: DaemonStatus) {
        if status.records != reached.records { reached = (status.records, seconds, seconds) }
        obstacle = nil
        let hung = status.activity == .committing ? "no answer to a commit" : nil
        guard seconds - reached.at >= Self.standstillSeconds, let cause = Self.trouble(status) ?? hung else { return }
        let brokers = "waiting for the brokers at \(settings.kafka.bootstrapServers): \(cause)"
        obstacle = brokers
        guard screen == nil, seconds - reached.toldAt >= Self.standstillSeconds else { return }
        reached.toldAt = seconds
        Report.note(
            "No record for \(Human.duration((seconds - reached.at).rounded())): \(brokers). An interrupt (Ctrl-C) ends the "
                + "demo.")
    }

    /// What a client complains of lately.
    private static func trouble(_ status: DaemonStatus) -> String? {
        status.trouble.flatMap { ContinuousClock.now - $0.at < .seconds(60) ? $0.text : nil }
    }

    /// The daemon has been told to stop and does not.
    private func stuck(_ status: DaemonStatus, _ failure: (any Error)?) -> CommandFailure {
        screen?.finish()
        let cause = Self.trouble(status).map { ": \($0)" } ?? ""
        let reason = failure.map { "\($0). " } ?? ""
        return CommandFailure(
            "\(reason)The daemon could not end within \(Int(Self.stopSeconds)) s (\(status.phaseText())): the brokers at "
                + "\(settings.kafka.bootstrapServers) do not answer\(cause). Check that they are up and reachable.")
    }

    // MARK: Result

    /// The value target whose forecasts are shown.
    private var valueTarget: String? { settings.engine.targets.first { $0.kind == .value }?.name }

    private func result(
        _ status: DaemonStatus, _ sent: Refusals, _ unknown: UnknownTypeNames, top: [RankedUser]
    ) -> Result {
        var s = Summary()
        var refusals = sent
        s.seconds = seconds
        s.unknownTypes = unknown.counts
        if let report = status.report {
            let c = report.counters
            s.eventsIn = c.records
            s.accepted = c.accepted
            s.duplicates = c.duplicates
            s.ignored = c.ignored + c.tombstones + c.erased + c.identifies
            s.deadLetters = c.deadLetters
            refusals = sent.with(reasons: c.reasons)
            s.refused = refusals.counts
            s.updatesOut = c.updates
            s.alertsRaised = c.alertsRaised
            s.alertsForSilence = c.alertsForSilence
            s.users = report.users
            s.learningSteps = report.learning.steps
            let metric = report.prequential.first { $0.target == valueTarget && $0.horizonDays == 30 }
            s.gini30D = metric?.model.gini
            s.gini30DNaive = metric?.naive.gini
            (s.topTenth30D, s.topTenth30DNaive) = (metric?.model.topTenth, metric?.naive.topTenth)
        }
        let target = settings.engine.targets.first { $0.name == settings.engine.segments.target }
        let days = target?.horizonsDays.last ?? 0
        return Result(
            summary: s, refusals: refusals, unknownTypes: unknown, top: top, horizonDays: Human.days(days))
    }

    // MARK: Screen

    private func show(_ status: DaemonStatus, _ replay: ReplayThread, isLast: Bool = false) {
        guard let screen else { return }
        view.title = title
        view.phase = isLast ? "done" : [status.phaseText(), obstacle].compactMap { $0 }.joined(separator: ", ")
        view.elapsedSeconds = seconds
        view.eventsPerSecond = status.recordsPerSecond
        view.lag = status.lag
        // In the middle of a step, its records are counted there.
        let done = max(status.records, status.report?.counters.records ?? 0)
        view.progress = .init(done: done, total: replay.total)
        if let report = status.report { fill(report) }
        view.recentAlerts = status.recentAlerts.compactMap(AlertRecord.init).map(Self.line)
        view.snapshot = status.snapshot.map { .init(ageSeconds: -$0.takenAt.timeIntervalSinceNow, bytes: $0.bytes) }
        if seconds - sampledAt >= 0.5 {
            sampledAt = seconds
            view.rateHistory.append(status.recordsPerSecond)
            if let gini = view.gini { view.giniHistory.append(gini.model) }
        }
        screen.show(view)
    }

    private func fill(_ report: EngineReport) {
        let c = report.counters
        view.users = Int64(report.users)
        view.learningSteps = report.learning.steps
        view.losses = [.init(target: "training", value: report.learning.loss)]
        if let heldOut = report.learning.holdOutLoss { view.losses.append(.init(target: "held out", value: heldOut)) }
        view.deadLetters = c.deadLetters
        view.duplicates = c.duplicates
        view.alertsRaised = c.alertsRaised
        view.alertsCleared = c.alertsCleared
        view.alertsForSilence = c.alertsForSilence
        view.eventTime = report.clock.map { Date(timeIntervalSince1970: Double($0) / 1000) }
        view.modelVersion = report.modelVersion > 0 ? "version \(report.modelVersion)" : "none yet"
        let values = report.prequential.filter { $0.target == valueTarget && $0.landmarks > 0 }
        if let month = values.first(where: { $0.horizonDays == 30 }), let gini = month.model.gini,
            let naive = month.naive.gini
        {
            view.gini = .init(model: gini, naive: naive)
        }
        view.horizons = values.map { value in
            let chance = report.prequential.first {
                $0.target != value.target && $0.horizonDays == value.horizonDays && $0.model.auc != nil
            }
            return .init(
                days: value.horizonDays, gini: value.model.gini, giniNaive: value.naive.gini,
                mae: value.model.mae, maeNaive: value.naive.mae, auc: chance?.model.auc, aucNaive: chance?.naive.auc,
                bias: value.model.bias.map { $0 - 1 })
        }
    }

    private static func line(_ alert: AlertRecord) -> LiveView.Alert {
        LiveView.Alert(
            time: alert.time ?? .distantPast, user: alert.userId, reason: "\(alert.state): \(alert.reason)",
            churn: alert.churnProbability, valueAtRisk: alert.clvAtRisk)
    }
}

/// Asks the daemon for its highest-ranked users, and stops it when it has answered.
private final class RankingAtEnd: Sendable {
    private let count: Int
    private let daemon: Daemon
    private let isAsked = Atomic(false)
    private let answer = Mutex<[RankedUser]>([])

    init(count: Int, _ daemon: Daemon) {
        self.count = count
        self.daemon = daemon
    }

    /// To be called until the daemon has stopped; asks once.
    func askAndStop() {
        guard !isAsked.load(ordering: .relaxed) else { return }
        let isTaken = daemon.requests.submit(
            .ranking(count: count) { [self] users in
                answer.withLock { $0 = users }
                daemon.stop()
            })
        isAsked.store(isTaken, ordering: .relaxed)
    }

    /// Highest first; empty before the answer.
    var users: [RankedUser] { answer.withLock { $0 } }
}

/// The replay on a thread of its own.
private final class ReplayThread: @unchecked Sendable {
    // Made here, used by the thread alone once it runs.
    private let replay: EventReplay
    private let flow: EventReplay.FlowControl?

    private struct State {
        var progress: EventReplay.Progress?
        var summary: EventReplay.Summary?
        var failure: (any Error)?
        var abandoned = false
    }
    private let state = Mutex(State())

    init(
        _ file: EventFile, _ settings: Settings, flowControlled: Bool, _ daemon: Daemon, _ logger: Logger
    ) throws {
        let kafka = settings.kafka
        // A minute without an answer is a failure.
        let producer = try Producer(
            bootstrap: kafka.bootstrapServers, transactionalId: nil,
            properties: ["message.timeout.ms": "60000"].merging(kafka.properties) { $1 }, logger: logger)
        let topic = settings.input.topics[0]
        try Admin(bootstrap: kafka.bootstrapServers, properties: kafka.properties, logger: logger)
            .ensure([TopicSpec(name: topic, partitions: 1)], mayCreate: true)
        replay = EventReplay(file, producer: producer, topic: topic)
        flow =
            flowControlled
            ? EventReplay.FlowControl(maxAhead: 12_000) { daemon.status.records } : nil
    }

    func start() {
        let thread = Thread { [self] in
            let outcome = Swift.Result {
                try replay.run(
                    flow: flow, shouldStop: { self.state.withLock { $0.abandoned } || StopSignal.isRequested },
                    onProgress: { progress in self.state.withLock { $0.progress = progress } })
            }
            state.withLock { state in
                switch outcome {
                case .success(let summary): state.summary = summary
                case .failure(let error): state.failure = error
                }
            }
        }
        thread.name = "clvd-replay"
        thread.start()
    }

    func abandon() { state.withLock { $0.abandoned = true } }

    /// Records sent, once all are.
    var sent: Int64? { state.withLock(\.summary)?.sent }
    /// Rows that are no events, once all are sent.
    var refusals: Refusals { state.withLock(\.summary)?.refusals ?? Refusals() }
    var unknownTypes: UnknownTypeNames { state.withLock(\.summary)?.unknownTypes ?? UnknownTypeNames() }
    var failure: (any Error)? { state.withLock(\.failure) }

    /// Records in all: known at the end, before that by the share of the file that was read.
    var total: Int64? {
        state.withLock { state in
            if let summary = state.summary { return summary.sent }
            guard let p = state.progress, p.bytesRead > 0, p.bytesTotal > 0 else { return nil }
            return Int64(Double(p.records) / Double(p.bytesRead) * Double(p.bytesTotal))
        }
    }
}
