import CEventParser
import Engine
import Foundation
import Kafka
import Runtime
import Settings

/// What has to hold after every run, whatever happened during it.
struct Checks {
    private let scenario: Scenario
    private let cluster: SimulatedCluster
    private let engines: [Engine]
    private let updates: [SimulatedCluster.Output]
    private let alerts: [SimulatedCluster.Output]
    private let deadLetters: [SimulatedCluster.Output]

    init(_ scenario: Scenario, _ cluster: SimulatedCluster, _ engines: [Engine]) {
        self.scenario = scenario
        self.cluster = cluster
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
        let reference = try Reference(scenario, silences: silences())
        try checkOutputs(reference)
        try checkState(reference, counters)
    }

    /// What was said of silence, by all that was committed.
    private func silences() -> [[Int64: Int64]] {
        var silences = [[Int64: Int64]](repeating: [:], count: scenario.partitions)
        for (p, offset) in cluster.history {
            let metadata = CommitMetadata(text: offset.metadata)
            for silence in metadata.silences(before: offset.offset) {
                silences[Int(p.partition)][silence.before, default: silence.clock].raise(to: silence.clock)
            }
        }
        return silences
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

    /// No alert is said twice. Where several partitions share a model that learns, a state made again from the log is
    /// of other predictions than the first one was: an alert may then be cleared once more, at another time (seed 4747).
    private func checkAlerts() throws {
        guard scenario.isExactlyOnce else { return }
        var seen: Set<String> = []
        for alert in alerts {
            let a = try Alert(alert.value ?? [])
            let name = "\(a.id) \(a.state)" + (scenario.isAlone ? "" : " \(a.at)")
            guard seen.insert(name).inserted else { throw Violation("alert \(name) twice") }
        }
    }

    // MARK: Reference

    private func checkOutputs(_ reference: Reference) throws {
        guard scenario.isExactlyOnce else {
            // Repeats are allowed, gaps are not. What silence says may be said in other words after a crash.
            try Self.contains("dead letters", deadLetters, reference.deadLetters)
            return
        }
        if scenario.isAlone {
            try Self.equal("updates", updates, reference.updates)
            try Self.equal("alerts", alerts, reference.alerts)
            try Self.equal("dead letters", deadLetters, reference.deadLetters)
            return
        }
        // The order among partitions is open, and instances learn by themselves.
        let mine = try Self.byPlace(updates, whole: !scenario.isLearning)
        let theirs = try Self.byPlace(reference.updates, whole: !scenario.isLearning)
        for (place, text) in theirs where mine[place] != text {
            throw Violation("the update of \(place) is\n\(mine[place] ?? "none"), should be\n\(text)")
        }
        try Self.contains("dead letters", deadLetters, reference.deadLetters)
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

    private func checkState(_ reference: Reference, _ counters: TaskCounters) throws {
        // Other words of silence are other states.
        guard scenario.isExactlyOnce else { return }
        let expected = reference.engine.image()
        let images = engines.map { $0.image() }
        if scenario.isAlone, let image = images.first {
            if let difference = image.metadata.difference(from: expected.metadata) {
                throw Violation("the state differs: \(difference)")
            }
            guard image.metadata == expected.metadata else { throw Violation("the state's description differs") }
        }
        guard scenario.isAlone || !scenario.isLearning else { return }
        // The sections point into the engines and images.
        try withExtendedLifetime((engines, images, reference, expected)) {
            let found = Dictionary(images.flatMap(\.sections).map { ($0.name, $0.bytes) }) { a, _ in a }
            for section in expected.sections where scenario.isAlone || section.name.hasPrefix("task-") {
                guard found[section.name] == section.bytes else { throw Violation("\(section.name) differs") }
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

    /// What does not depend on a model.
    var statistics: String { "\(user) \(event ?? "-") \(time) \(valueToDate) \(source.offset)" }
}

private struct Alert: Decodable {
    let id: String
    let state: String
    let at: String

    private enum CodingKeys: String, CodingKey {
        case id = "alert_id"
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
    /// What differs, for people; nil when it is nothing that this knows of.
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
