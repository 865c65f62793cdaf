import CEventParser
import Engine
import Foundation
import Kafka
import Runtime
import Settings

/// The conditions that must hold after every run, whatever happened during it.
struct Checks {
    private let scenario: Scenario
    private let world: World
    private let cluster: SimulatedCluster
    private let engines: [Engine]
    private let updates: [SimulatedCluster.Output]
    private let alerts: [SimulatedCluster.Output]
    private let deadLetters: [SimulatedCluster.Output]

    init(_ scenario: Scenario, _ world: World, _ engines: [Engine]) {
        self.scenario = scenario
        self.world = world
        cluster = world.cluster
        self.engines = engines
        let output = scenario.settings.output
        updates = cluster.visible(output.updatesTopic)
        alerts = cluster.visible(output.alertsTopic)
        deadLetters = cluster.visible(output.deadLetterTopic).map {
            var letter = $0
            letter.headers = $0.headers.filter { DeadLetterHeader.all.contains($0.key) }
            return letter
        }
    }

    func check() throws {
        let counters = engines.map { $0.report(prequential: false).counters }.reduce(TaskCounters(), +)
        try checkAccounts(counters)
        try checkAlerts()
        let reference = try Reference(scenario, idleTicks: idleTicks())
        try checkOutputs(reference)
        try checkState(reference)
    }

    /// Whether all outputs and states must equal those of the reference, bit for bit. They need not when each instance
    /// learns on its own, nor when a new instance continues with a model that is newer than the newest undamaged state.
    private var isExact: Bool {
        scenario.isExact && !(scenario.isLearning && world.isDamaged && world.hasSucceeded)
    }

    /// What the committed idle ticks say.
    private func idleTicks() -> [[Int64: Int64]] {
        var idleTicks = [[Int64: Int64]](repeating: [:], count: scenario.partitions)
        for (p, offset) in cluster.history {
            let metadata = CommitMetadata(text: offset.metadata)
            for silence in metadata.idleTicks(before: offset.offset) {
                idleTicks[Int(p.partition)][silence.before, default: silence.clock].raise(to: silence.clock)
            }
        }
        return idleTicks
    }

    // MARK: Accounts

    /// Every record has exactly one update, dead letter or counter, the one that the oracle says.
    private func checkAccounts(_ counters: TaskCounters) throws {
        var said: [String: [Scenario.Fate]] = [:]
        for update in updates {
            guard let value = update.value else { continue }
            let source = try Update(value).source
            said["\(source.partition)/\(source.offset)", default: []].append(.update)
        }
        for letter in deadLetters {
            let place =
                "\(letter.headers[DeadLetterHeader.partition] ?? "?")/\(letter.headers[DeadLetterHeader.offset] ?? "?")"
            said[place, default: []].append(.deadLetter(letter.headers[DeadLetterHeader.reason] ?? "?"))
        }
        var expected = TaskCounters()
        for (p, fates) in scenario.fates.enumerated() {
            for (i, fate) in fates.enumerated() {
                let place = "\(p)/\(scenario.records[p][i].offset)"
                let found = said.removeValue(forKey: place) ?? []
                let isRight =
                    switch fate {
                    case .update, .deadLetter:
                        scenario.isExactlyOnce ? found == [fate] : !found.isEmpty && found.allSatisfy { $0 == fate }
                    default: found.isEmpty
                    }
                guard isRight else { throw Violation("record \(place) should be \(fate), was said to be \(found)") }
                expected.count(fate)
            }
        }
        guard said.isEmpty else { throw Violation("said of records that are none: \(said.keys.sorted())") }
        let erasures = updates.count { $0.value == nil }
        guard scenario.isExactlyOnce ? erasures == expected.erased : erasures >= expected.erased else {
            throw Violation("\(erasures) tombstones of \(expected.erased) erased users")
        }
        guard counters.accounts == expected.accounts else {
            throw Violation("counters are \(counters.accounts), should be \(expected.accounts)")
        }
    }

    /// No alert is repeated. The alerts of a user are raised and cleared in turns, and a clearing has the id of the alert
    /// that it clears. This holds whichever instance owns the user's partition, and however often it moved.
    ///
    /// Excludes partitions whose committed records were read again by a model that differs from the one that first
    /// published their outputs. The new state may lack an alert that was published. So an alert may be cleared once more
    /// at another time; it may follow one that was never cleared (seed 4747 of an earlier version); or it may be raised
    /// once more with the same id, when an idle user is scored at the time of the last event (seed 8596). An identical
    /// output is still an error.
    private func checkAlerts() throws {
        guard scenario.isExactlyOnce else { return }
        var seen: Set<String> = []
        var raised: [String: String] = [:]
        let erased = Set(updates.filter { $0.value == nil }.map(\.key))
        for alert in alerts {
            let a = try Alert(alert.value ?? [])
            let isStrict = try isExact || !world.replayed.contains(partition(of: a.user))
            guard seen.insert(isStrict ? "\(a.id) \(a.state)" : alert.text).inserted else {
                let same = alerts.filter { (try? Alert($0.value ?? []))?.id == a.id }.map(\.text)
                throw Violation("alert \(a.id) \(a.state) twice:\n" + same.joined(separator: "\n"))
            }
            // An erased user starts without alerts.
            guard isStrict, !erased.contains(alert.key) else { continue }
            let open = raised[a.user]
            guard a.state == "raised" ? open == nil : open == a.id else {
                throw Violation("alert \(a.id) of \(a.user) is \(a.state), \(open ?? "none") was raised before")
            }
            raised[a.user] = a.state == "raised" ? a.id : nil
        }
    }

    private func partition(of user: String) throws -> Int32 {
        guard let number = Int32(user.split(separator: "-").dropFirst().first ?? "") else {
            throw Violation("an alert of a user \(user)")
        }
        return number % Int32(scenario.partitions)
    }

    // MARK: Reference

    private func checkOutputs(_ reference: Reference) throws {
        guard scenario.isExactlyOnce else {
            // Repeats are allowed, gaps are not. Outputs of idle ticks may differ after a crash.
            try Self.contains("dead letters", deadLetters, reference.deadLetters)
            try checkOrder()
            return
        }
        try Self.contains("dead letters", deadLetters, reference.deadLetters)
        if scenario.partitions == 1 && isExact {
            try Self.equal("updates", updates, reference.updates)
            try Self.equal("alerts", alerts, reference.alerts)
            try Self.equal("dead letters", deadLetters, reference.deadLetters)
            return
        }
        // The order across partitions is not defined.
        let mine = try Self.byPlace(updates, whole: isExact)
        let theirs = try Self.byPlace(reference.updates, whole: isExact)
        for (place, text) in theirs where mine[place] != text {
            throw Violation("the update of \(place) is\n\(mine[place] ?? "none"), should be\n\(text)")
        }
        guard isExact else { return }
        let (ours, expected) = (Self.byUser(alerts), Self.byUser(reference.alerts))
        for user in Set(ours.keys).union(expected.keys).sorted() {
            try Self.equal("alerts of \(user)", ours[user] ?? [], expected[user] ?? [])
        }
    }

    /// With at-least-once delivery too, the outputs of a partition have the order of its records, apart from repeats.
    private func checkOrder() throws {
        try Self.checkFirstOccurrences(
            "update",
            updates.map { update in
                if let value = update.value {
                    let source = try Update(value).source
                    return (source.partition, source.offset)
                }
                return Self.place(update, SourceHeader.partition, SourceHeader.offset)
            })
        try Self.checkFirstOccurrences(
            "dead letter",
            deadLetters.map { Self.place($0, DeadLetterHeader.partition, DeadLetterHeader.offset) })
    }

    /// Partition and offset from the headers; (-1, -1) when they have none.
    private static func place(
        _ output: SimulatedCluster.Output, _ partition: String, _ offset: String
    ) -> (partition: Int, offset: Int64) {
        (output.headers[partition].flatMap { Int($0) } ?? -1, output.headers[offset].flatMap { Int64($0) } ?? -1)
    }

    private static func checkFirstOccurrences(
        _ name: String, _ places: [(partition: Int, offset: Int64)]
    ) throws {
        var seen: [Int: Set<Int64>] = [:]
        var newest: [Int: Int64] = [:]
        for (partition, offset) in places where seen[partition, default: []].insert(offset).inserted {
            guard partition >= 0 else { throw Violation("\(name) without a source") }
            if let last = newest[partition], offset < last {
                throw Violation("the first \(name) of \(partition)/\(offset) comes after that of offset \(last)")
            }
            newest[partition] = offset
        }
    }

    private static func byUser(_ outputs: [SimulatedCluster.Output]) -> [String: [SimulatedCluster.Output]] {
        Dictionary(grouping: outputs) { String(decoding: $0.key, as: UTF8.self) }
    }

    private static func equal(
        _ name: String, _ found: [SimulatedCluster.Output], _ expected: [SimulatedCluster.Output]
    ) throws {
        for i in 0..<max(found.count, expected.count) {
            let a = i < found.count ? found[i].text : "none"
            let b = i < expected.count ? expected[i].text : "none"
            if a != b {
                throw Violation(
                    "\(found.count) \(name), should be \(expected.count); number \(i) is\n\(a)\nshould be\n\(b)")
            }
        }
    }

    private static func contains(
        _ name: String, _ found: [SimulatedCluster.Output], _ expected: [SimulatedCluster.Output]
    ) throws {
        let found = Set(found.map(\.text))
        for e in expected where !found.contains(e.text) { throw Violation("\(name): missing is\n\(e.text)") }
    }

    private static func byPlace(_ outputs: [SimulatedCluster.Output], whole: Bool) throws -> [String: String] {
        var texts: [String: String] = [:]
        for output in outputs {
            guard let value = output.value else { continue }
            let update = try Update(value)
            texts["\(update.source.partition)/\(update.source.offset)"] = whole ? output.text : update.statistics
        }
        return texts
    }

    private func checkState(_ reference: Reference) throws {
        // Different idle ticks give different states.
        guard scenario.isExactlyOnce else { return }
        for p in 0..<scenario.partitions {
            let id = TaskID(topic: 0, partition: Int32(p))
            let holders = engines.filter { $0.holds(id) }
            guard holders.count == 1, let holder = holders.first else {
                throw Violation("partition \(p) is held by \(holders.count) instances")
            }
            guard holder.statistics(of: id) == reference.engine.statistics(of: id) else {
                throw Violation("windows and statistics of partition \(p) differ")
            }
        }
        guard isExact else { return }
        let expected = reference.engine.image()
        let images = engines.map { $0.image() }
        // Positions count an instance's own sequence.
        if scenario.isAlone, !world.hasSucceeded || scenario.isLearning, let image = images.first {
            if let difference = image.metadata.difference(from: expected.metadata) {
                throw Violation("the state differs: \(difference)")
            }
            guard image.metadata == expected.metadata else { throw Violation("the state's description differs") }
        }
        // The sections point into the engines and images.
        try withExtendedLifetime((engines, images, reference, expected)) {
            for image in images {
                guard let name = image.metadata.firstDifference(ofTasks: expected.metadata) else { continue }
                throw Violation("the description of partition \(name) differs")
            }
            // An instance that never owned a partition has never loaded a model.
            let sections = zip(engines, images).filter { !$0.0.taskIDs.isEmpty }.flatMap(\.1.sections)
            for section in expected.sections {
                let found = sections.filter { $0.name == section.name }
                guard !found.isEmpty, found.allSatisfy({ $0.bytes == section.bytes }) else {
                    throw Violation("\(section.name) differs")
                }
            }
        }
    }
}

// MARK: - Reading

private struct Update: Decodable {
    struct Source: Decodable {
        let partition: Int
        let offset: Int64
    }
    let user: String
    let event: String?
    let time: String
    let valueToDate: Double
    let source: Source

    private enum CodingKeys: String, CodingKey {
        case user = "user_id"
        case event = "event_id"
        case time = "event_time"
        case valueToDate = "value_to_date"
        case source
    }

    init(_ bytes: [UInt8]) throws { self = try JSONDecoder().decode(Update.self, from: Data(bytes)) }

    /// The part of the state that does not depend on a model.
    var statistics: String { "\(user) \(event ?? "-") \(time) \(valueToDate) \(source.offset)" }
}

private struct Alert: Decodable {
    let id: String
    let user: String
    let state: String
    let at: String

    private enum CodingKeys: String, CodingKey {
        case id = "alert_id"
        case user = "user_id"
        case state
        case at
    }

    init(_ bytes: [UInt8]) throws { self = try JSONDecoder().decode(Alert.self, from: Data(bytes)) }
}

extension SimulatedCluster.Output {
    fileprivate var text: String {
        let headers = headers.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        return String(decoding: key, as: UTF8.self) + ": "
            + (value.map { String(decoding: $0, as: UTF8.self) } ?? "null")
            + (headers.isEmpty ? "" : " " + headers)
    }
}

extension TaskCounters {
    fileprivate mutating func count(_ fate: Scenario.Fate) {
        records += 1
        switch fate {
        case .update: accepted += 1
        case .duplicate: duplicates += 1
        case .ignored: ignored += 1
        case .tombstone: tombstones += 1
        case .erased: erased += 1
        case .deadLetter: deadLetters += 1
        }
    }

    fileprivate var accounts: String {
        "records \(records), accepted \(accepted), duplicates \(duplicates), ignored \(ignored), "
            + "tombstones \(tombstones), erased \(erased), dead letters \(deadLetters)"
    }
}

extension EngineImage.Metadata {
    /// A description of the difference, for people; nil when this function finds none.
    fileprivate func difference(from other: EngineImage.Metadata) -> String? {
        if position != other.position { return "position \(position), should be \(other.position)" }
        if modelVersion != other.modelVersion { return "model \(modelVersion), should be \(other.modelVersion)" }
        if users != other.users { return "users \(users), should be \(other.users)" }
        return nil
    }
}

extension EngineImage.Section {
    fileprivate var bytes: Data { regions.reduce(into: Data()) { $0.append(contentsOf: $1) } }
}

extension Int64 {
    fileprivate mutating func raise(to other: Int64) { self = Swift.max(self, other) }
}
