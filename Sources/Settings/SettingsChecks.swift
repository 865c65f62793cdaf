import Engine
import EventInput
import Kafka

extension Settings {
    /// Every value by itself, and what values have to do with each other.
    /// - Returns: all problems; none when the settings can be used.
    public func validate() -> [SettingsProblem] {
        let defaults = Settings()
        return Settings.keys.compactMap { $0.problem(self, default: defaults) }
            + kafkaProblems() + topicProblems + inputProblems + horizonProblems + targetProblems + decisionProblems
    }

    /// Refuses a format that needs a schema registry when there is none.
    /// - Throws: `SettingsError`.
    public func requireRegistry(for format: EventFormat) throws {
        guard format.needsRegistry, input.registry.url.isEmpty else { return }
        throw SettingsError(problems: [
            SettingsProblem(
                path: "input.registry.url", problem: "is empty", value: "\"\"",
                remedy: "name the schema registry that format \(format.name) needs, or a schema in its encoding "
                    + "({ name: \(format.encodingName), schema: … })", related: ["input.format"])
        ])
    }

    /// - Parameter library: the version of librdkafka that is to be used.
    func kafkaProblems(_ library: LibraryVersion = .current) -> [SettingsProblem] {
        let ours = [
            "bootstrap.servers": "kafka.bootstrapServers", "metadata.broker.list": "kafka.bootstrapServers",
            "group.id": "kafka.groupId", "group.instance.id": "kafka.instanceId",
            "transactional.id": "kafka.instanceId", "auto.offset.reset": "input.start",
            "enable.auto.commit": "delivery", "enable.auto.offset.store": "delivery", "enable.idempotence": "delivery",
            "isolation.level": "delivery", "partition.assignment.strategy": "kafka.assignment",
        ]
        var problems = kafka.properties.keys.sorted().compactMap { name in
            ours[name].map {
                SettingsProblem(
                    path: "kafka.properties.\(name)", problem: "belongs to clvd", remedy: "remove it and set \($0)")
            }
        }
        if let value = kafka.properties["group.protocol"] {
            problems.append(
                SettingsProblem(
                    path: "kafka.properties.group.protocol",
                    problem: "belongs to clvd, which uses the classic protocol of groups: by that of KIP-848, a second "
                        + "instance of a name is refused instead of the first one replaced",
                    value: value, remedy: "remove it"))
        }
        if let value = kafka.properties["client.rack"], library < .racks {
            problems.append(
                SettingsProblem(
                    path: "kafka.properties.client.rack",
                    problem:
                        "needs librdkafka \(LibraryVersion.racks) or later, and \(library) is here: after an offset out "
                        + "of range it can ask the follower for offsets without end (librdkafka issue 4616)",
                    value: value, remedy: "remove it, or use a later librdkafka"))
        }
        return problems
    }

    private var topicProblems: [SettingsProblem] {
        var problems: [SettingsProblem] = []
        if input.topics.isEmpty {
            problems.append(
                SettingsProblem(
                    path: "input.topics", problem: "is empty", value: "[]", remedy: "name the topics to read"))
        }
        var owners: [String: String] = [:]
        let inputs = input.topics.enumerated().map { ("input.topics[\($0)]", $1) }
        for (path, topic) in inputs where !isTopic(topic) {
            let rule = Rule<String>.topic
            problems.append(
                SettingsProblem(
                    path: path, problem: "must be \(rule.phrase)", value: topic.inline, remedy: "correct the name"))
        }
        // The topic between the stages is read and written.
        let between = input.keying == .repartition ? [("input.eventsTopic", eventsTopic)] : []
        if let (path, topic) = between.first, !isTopic(topic) {
            problems.append(
                SettingsProblem(
                    path: path, problem: "must be a topic name, and so must the group's name with -events",
                    value: topic.inline, remedy: "name the topic", related: ["kafka.groupId"]))
        }
        let outputs =
            between + [
                ("output.updatesTopic", output.updatesTopic), ("output.alertsTopic", output.alertsTopic),
                ("output.deadLetterTopic", output.deadLetterTopic),
            ]
        for (path, topic) in inputs + outputs {
            if let owner = owners[topic] {
                problems.append(
                    SettingsProblem(
                        path: path, problem: "is the topic of \(owner) as well", value: topic.inline,
                        remedy: "give each its own", related: [owner]))
            } else {
                owners[topic] = path
            }
        }
        return problems
    }

    private var inputProblems: [SettingsProblem] {
        var problems = skipProblems
        if input.limits.minYear > input.limits.maxYear {
            problems.append(
                SettingsProblem(
                    path: "input.limits.minYear", problem: "is after maxYear \(input.limits.maxYear)",
                    value: input.limits.minYear.inline, remedy: "lower it or raise maxYear",
                    related: ["input.limits.maxYear"]))
        }
        let currency = input.currency
        var known: Set = [currency.base.uppercased()]
        for (code, rate) in currency.rates.sorted(by: { $0.key < $1.key }) {
            let path = "input.currency.rates.\(code)"
            if !CurrencyTable.isCode(code) {
                problems.append(
                    SettingsProblem(
                        path: path, problem: "is not a currency", remedy: "write its three letters, such as EUR"))
            } else if !known.insert(code.uppercased()).inserted, code.uppercased() != currency.base.uppercased() {
                problems.append(
                    SettingsProblem(
                        path: path, problem: "is there twice, in other letters", remedy: "keep one of the rates"))
            } else if code.uppercased() == currency.base.uppercased(), rate != 1 {
                problems.append(
                    SettingsProblem(
                        path: path, problem: "is the base currency, whose rate is 1", value: rate.inline,
                        remedy: "remove it", related: ["input.currency.base"]))
            } else if !(rate > 0 && rate.isFinite) {
                problems.append(
                    SettingsProblem(
                        path: path, problem: "is not positive", value: rate.inline,
                        remedy: "write what one \(code) is worth in \(currency.base)"))
            }
        }
        if CurrencyTable.isCode(currency.assumed), !known.contains(currency.assumed.uppercased()) {
            problems.append(
                SettingsProblem(
                    path: "input.currency.assumed", problem: "has no rate", value: currency.assumed.inline,
                    remedy: "add input.currency.rates.\(currency.assumed) or use \(currency.base)",
                    related: ["input.currency.rates", "input.currency.base"]))
        }
        return problems
    }

    private var skipProblems: [SettingsProblem] {
        let topics = input.topics + (input.keying == .repartition ? [eventsTopic] : [])
        return input.skip.enumerated().filter { !SkippedOffsets.isSound($1, topics: topics) }.map {
            SettingsProblem(
                path: "input.skip[\($0)]", problem: "names no offset of input.topics", value: $1.inline,
                remedy: "write topic/partition/offset or topic/partition/from-to", related: ["input.topics"])
        }
    }

    private var horizonProblems: [SettingsProblem] {
        var problems: [SettingsProblem] = []
        let edges = engine.binEdgesDays
        let ascending = zip(edges, edges.dropFirst()).allSatisfy { $0 < $1 }
        // Shorter than a quarter of an hour, two edges could be the same millisecond and no bin teaches anything.
        if !(1...16).contains(edges.count) || !ascending || !edges.allSatisfy({ (0.01...3650).contains($0) }) {
            problems.append(
                SettingsProblem(
                    path: "binEdgesDays", problem: "must be 1 to 16 ascending numbers from 0.01 to 3650",
                    value: edges.inline, remedy: "change it (default \(EngineConfiguration().binEdgesDays.inline))"))
        }
        for (i, target) in engine.targets.enumerated() {
            for days in target.horizonsDays where !edges.contains(days) {
                problems.append(
                    SettingsProblem(
                        path: "targets[\(i)].horizonsDays", problem: "\(days.inline) is none of binEdgesDays",
                        value: target.horizonsDays.inline, remedy: "use \(edges.inline) or add it there",
                        related: ["binEdgesDays"]))
            }
        }
        return problems
    }

    private var targetProblems: [SettingsProblem] {
        var problems: [SettingsProblem] = []
        if !(1...32).contains(engine.targets.count) {
            problems.append(
                SettingsProblem(
                    path: "targets", problem: "must be 1 to 32", value: engine.targets.count.inline,
                    remedy: "say what to predict; without the key it is CLV, purchase and churn"))
        }
        var names: Set<String> = []
        for (i, target) in engine.targets.enumerated() {
            problems += EngineConfiguration.Target.keys.compactMap { $0.problem(target, prefix: "targets[\(i)].") }
            if !names.insert(target.name).inserted {
                problems.append(
                    SettingsProblem(
                        path: "targets[\(i)].name", problem: "is the name of another target", value: target.name.inline,
                        remedy: "rename one of them"))
            }
            for event in target.events where EventType(name: event) == nil {
                let known = EventType.allCases.map(\.name).joined(separator: ", ")
                problems.append(
                    SettingsProblem(
                        path: "targets[\(i)].events", problem: "has an unknown event type", value: event.inline,
                        remedy: "use \(known)"))
            }
            problems += moneyProblem(target, at: i).map { [$0] } ?? []
        }
        return problems
    }

    /// Purchases bring money, and refunds take it back; all other events count as 0, whatever amount they name. A value
    /// target of any event is one of purchases and refunds.
    private func moneyProblem(_ target: EngineConfiguration.Target, at index: Int) -> SettingsProblem? {
        let others = target.events.filter { $0 != "purchase" && $0 != "refund" }
        guard target.kind == .value, !target.events.isEmpty, target.events.allSatisfy({ EventType(name: $0) != nil }),
            !others.isEmpty || !target.events.contains("purchase")
        else { return nil }
        return SettingsProblem(
            path: "targets[\(index)].events",
            problem: others.isEmpty
                ? "has no purchase, so \(target.name.inline) would have no money to predict"
                : "of the value target \(target.name.inline) has \(others.joined(separator: ", ")), which brings no money",
            value: target.events.inline,
            remedy: "use [purchase], or kind: occurrence to predict whether such an event comes")
    }

    private var decisionProblems: [SettingsProblem] {
        var problems: [SettingsProblem] = []
        let (segments, alerts) = (engine.segments, engine.alerts)
        func require(_ name: String, _ kind: EngineConfiguration.Target.Kind, for path: String) {
            let names = engine.targets.filter { $0.kind == kind }.map(\.name)
            if names.contains(name) { return }
            problems.append(
                SettingsProblem(
                    path: path, problem: "is no target of kind \(kind.rawValue)", value: name.inline,
                    remedy: names.isEmpty ? "add one to targets" : "use \(names.joined(separator: " or "))",
                    related: ["targets"]))
        }
        // Without a value target users are ranked by the first one there is.
        if engine.targets.contains(where: { $0.kind == .value }) || alerts.enabled {
            require(segments.target, .value, for: "segments.target")
        }
        if alerts.enabled { require(alerts.target, .absence, for: "alerts.target") }
        if segments.mid >= segments.high {
            problems.append(
                SettingsProblem(
                    path: "segments.mid", problem: "is not below segments.high \(segments.high.inline)",
                    value: segments.mid.inline, remedy: "lower it", related: ["segments.high"]))
        }
        if alerts.clearThreshold >= alerts.raiseThreshold {
            problems.append(
                SettingsProblem(
                    path: "alerts.clearThreshold",
                    problem: "is not below alerts.raiseThreshold \(alerts.raiseThreshold.inline)",
                    value: alerts.clearThreshold.inline, remedy: "lower it", related: ["alerts.raiseThreshold"]))
        }
        if alerts.rescoreHours > 24 * engine.learning.landmarkIntervalDays {
            problems.append(
                SettingsProblem(
                    path: "alerts.rescoreHours",
                    problem: "is longer than learning.landmarkIntervalDays \(engine.learning.landmarkIntervalDays)",
                    value: alerts.rescoreHours.inline, remedy: "lower it; a user's turn is when landmarks are made",
                    related: ["learning.landmarkIntervalDays"]))
        }
        return problems
    }
}
