import Engine
import EventInput
import Foundation
import Kafka
import Testing

@testable import Settings

/// A change of valid settings that makes them unusable, and the key that has to be named.
struct Contradiction: Sendable, CustomTestStringConvertible {
    let path: String
    let change: @Sendable (inout Settings) -> Void
    var testDescription: String { path }
    init(_ path: String, _ change: @escaping @Sendable (inout Settings) -> Void) {
        self.path = path
        self.change = change
    }

    static let all = [
        Contradiction("input.topics") { $0.input.topics = [] },
        Contradiction("input.topics[1]") { $0.input.topics = ["a", "a"] },
        Contradiction("input.topics[0]") { $0.input.topics = ["a b"] },
        Contradiction("output.updatesTopic") { $0.output.updatesTopic = "events" },
        Contradiction("output.deadLetterTopic") { $0.output.deadLetterTopic = $0.output.alertsTopic },
        Contradiction("output.alertsTopic") { $0.output.alertsTopic = "" },
        Contradiction("output.replicationFactor") { $0.output.replicationFactor = 0 },
        Contradiction("kafka.properties.group.id") { $0.kafka.properties["group.id"] = "x" },
        Contradiction("kafka.properties.group.protocol") { $0.kafka.properties["group.protocol"] = "consumer" },
        Contradiction("kafka.bootstrapServers") { $0.kafka.bootstrapServers = "a:1,b:70000" },
        Contradiction("kafka.groupId") { $0.kafka.groupId = "" },
        Contradiction("input.limits.minYear") { $0.input.limits.minYear = 2101 },
        Contradiction("input.limits.minYear") { $0.input.limits.minYear = 1969 },
        Contradiction("input.limits.maxYear") { $0.input.limits.maxYear = 2106 },
        Contradiction("input.currency.base") { $0.input.currency.base = "EURO" },
        Contradiction("input.currency.assumed") { $0.input.currency.assumed = "EUR" },
        Contradiction("input.currency.rates.EUR") { $0.input.currency.rates = ["EUR": 0] },
        Contradiction("input.currency.rates.USD") { $0.input.currency.rates = ["USD": 2] },
        Contradiction("input.currency.rates.eur") { $0.input.currency.rates = ["EUR": 1, "eur": 1] },
        Contradiction("binEdgesDays") { $0.engine.binEdgesDays = [7, 30, 90, 90] },
        Contradiction("binEdgesDays") { $0.engine.binEdgesDays += [.infinity] },
        Contradiction("binEdgesDays") { $0.engine.binEdgesDays += (1...14).map { 90 + Double($0) } },
        Contradiction("binEdgesDays") { $0.engine.binEdgesDays = [] },
        Contradiction("targets") { $0.engine.targets = Array(repeating: $0.engine.targets[0], count: 33) },
        Contradiction("targets[0].horizonsDays") { $0.engine.targets[0].horizonsDays = [7, 31] },
        Contradiction("targets[2].horizonsDays") { $0.engine.targets[2].horizonsDays = [] },
        Contradiction("targets[1].events") { $0.engine.targets[1].events = ["buy"] },
        Contradiction("targets[0].events") { $0.engine.targets[0].events = ["view"] },
        Contradiction("targets[0].events") { $0.engine.targets[0].events = ["purchase", "view"] },
        Contradiction("targets[0].events") { $0.engine.targets[0].events = ["refund"] },
        Contradiction("targets[1].name") { $0.engine.targets[1].name = "clv" },
        Contradiction("targets[1].name") { $0.engine.targets[1].name = "a\"b" },
        Contradiction("targets[1].weight") { $0.engine.targets[1].weight = .nan },
        Contradiction("model.units") { $0.engine.model.units = 40 },
        Contradiction("model.hidden") { $0.engine.model.hidden = 0 },
        Contradiction("model.categoryBuckets") { $0.engine.model.categoryBuckets = 1000 },
        Contradiction("model.crossBuckets") { $0.engine.model.crossBuckets = 4096 },
        Contradiction("learning.batchSize") { $0.engine.learning.batchSize = 0 },
        Contradiction("learning.eventLandmarkShare") { $0.engine.learning.eventLandmarkShare = -0.1 },
        Contradiction("learning.learningRate") { $0.engine.learning.learningRate = 0 },
        Contradiction("learning.emaDecay") { $0.engine.learning.emaDecay = 1 },
        Contradiction("segments.target") { $0.engine.segments.target = "churn" },
        Contradiction("segments.mid") { $0.engine.segments.mid = 0.9 },
        Contradiction("alerts.target") { $0.engine.alerts.target = "clv" },
        Contradiction("alerts.clearThreshold") { $0.engine.alerts.clearThreshold = 0.8 },
        Contradiction("alerts.rescoreHours") { $0.engine.alerts.rescoreHours = 169 },
        Contradiction("alerts.coolDownDays") { $0.engine.alerts.coolDownDays = .infinity },
    ]
}

@Suite struct Checks {
    @Test(arguments: Contradiction.all)
    func findContradictions(_ contradiction: Contradiction) {
        var settings = Settings()
        contradiction.change(&settings)
        let found = settings.validate()
        #expect(found.contains { $0.path == contradiction.path && !$0.remedy.isEmpty }, "\(found)")
    }

    @Test func racksNeedALaterLibrary() {
        var settings = Settings()
        settings.kafka.properties["client.rack"] = "a"
        for (library, isRefused) in [(LibraryVersion(2, 0, 2), true), (.init(2, 6, 0), true), (.init(2, 6, 1), false)] {
            let problems = settings.kafkaProblems(library)
            #expect(problems.map(\.path) == (isRefused ? ["kafka.properties.client.rack"] : []))
            let text = problems.first?.description ?? ""
            #expect(text.contains("librdkafka 2.6.1 or later, and \(library) is here") == isRefused)
        }
    }

    /// Only purchases bring money; refunds take it back.
    @Test func valueTargetsCountPurchases() {
        var settings = Settings()
        for events in [[], ["purchase"], ["purchase", "refund"]] {
            settings.engine.targets[0].events = events
            #expect(settings.validate() == [])
        }
        settings.engine.targets[0].events = ["view", "click"]
        #expect(
            settings.validate().map(\.description) == [
                "targets[0].events: of the value target clv has view, click, which brings no money ([view, click]), "
                    + "use [purchase], or kind: occurrence to predict whether such an event comes"
            ])
        settings.engine.targets[0].kind = .occurrence
        #expect(!settings.validate().contains { $0.path == "targets[0].events" })
    }

    /// The last value that each of these takes; the next one is among the contradictions.
    @Test func edgesAreAccepted() {
        func isSound(_ change: (inout Settings) -> Void) -> Bool {
            var settings = Settings()
            change(&settings)
            return settings.validate() == []
        }
        #expect(isSound { $0.engine.binEdgesDays = [7, 30, 90] + (1...13).map { 90 + Double($0) } })
        #expect(isSound { $0.engine.alerts.rescoreHours = 168 })
        #expect(
            isSound {
                $0.engine.learning.landmarkIntervalDays = 1; $0.engine.alerts.rescoreHours = 24
            })
        #expect(isSound { $0.engine.state.retentionDays = 1 })
        #expect(isSound { ($0.input.limits.minYear, $0.input.limits.maxYear) = (2024, 2024) })
        #expect(isSound { ($0.input.limits.minYear, $0.input.limits.maxYear) = (1970, 2105) })
    }

    @Test func threadsAreThoseOfTheSettings() {
        var runtime = Settings().runtime
        #expect(runtime.threadCount == ProcessInfo.processInfo.activeProcessorCount)
        runtime.threads = 3
        #expect(runtime.threadCount == 3)
    }

    @Test func everyNumberHasARange() {
        // Text is free, switches and enumerations cannot be wrong, seeds may be anything, lists have their own checks.
        let free = Settings.keys.filter { $0.constraint == nil }.map(\.path)
        let open: Set = [
            "kafka.staticMembership", "kafka.properties", "input.topics", "input.acceptCompacted", "input.skip",
            "input.registry.auth", "input.registry.cache", "input.currency.rates", "output.createTopics",
            "snapshots.acceptGap", "snapshots.acceptMissingOffsets", "snapshots.acceptOrigin",
            "snapshots.discardIncompatible", "targets", "binEdgesDays", "state.hashSeed", "state.subtractRefunds",
            "model.seed", "model.purchaseProcess", "learning.enabled", "learning.seed", "segments.target",
            "alerts.enabled", "alerts.target",
        ]
        #expect(Set(free) == open)
    }

    @Test func whatCouldNotBeReadIsNotJudged() throws {
        let yaml =
            "binEdgesDays: [7, x]\ntargets:\n  - {name: clv, kind: value, horizonsDays: [60]}\n"
            + "alerts: {enabled: false}"
        #expect(try problems(yaml).map(\.path) == ["binEdgesDays[1]"])
    }
}
