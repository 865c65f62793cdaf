import Engine
import EventInput
import Foundation
import Testing
import Yams

@testable import Settings

/// Loads YAML from a file that is gone afterwards.
private func load(_ yaml: String?, _ environment: [String: String] = [:]) throws -> Settings {
    guard let yaml else { return try Settings.load(path: nil, environment: environment) }
    return try withFile(Data(yaml.utf8)) { try Settings.load(path: $0, environment: environment) }
}

private func withFile<T>(_ data: Data, _ body: (String) throws -> T) throws -> T {
    let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let file = directory.appending(path: "test.yaml")
    try data.write(to: file)
    return try body(file.path)
}

/// The problems of settings that must not load.
private func problems(_ yaml: String?, _ environment: [String: String] = [:]) throws -> [SettingsProblem] {
    try #require(throws: SettingsError.self) { try load(yaml, environment) }.problems
}

private let config = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "config")

/// Valid, and no key has its default. Secrets are left out: they are not written.
private let changed: Settings = {
    var s = Settings()
    s.kafka.bootstrapServers = "one.example:9093,two.example:9094"
    s.kafka.groupId = "a group: \"quoted\" # ${HOME}\n\u{2028}é😀"
    s.kafka.instanceId = "null"
    s.kafka.staticMembership = false
    s.kafka.assignment = .roundrobin
    s.kafka.properties = ["security.protocol": "PLAINTEXT", "client.rack": "yes"]
    s.input.topics = ["a", "b.c"]
    s.input.format = "/etc/clvd/format.yaml"
    s.input.start = .latest
    s.input.alignmentWaitMs = 250
    s.input.limits.maxRecordBytes = 4096
    s.input.limits.maxIdBytes = 64
    s.input.limits.maxAmount = 1234.5
    s.input.limits.maxQuantity = 1e11 + 0.1
    s.input.limits.minYear = 2001
    s.input.limits.maxYear = 2050
    s.input.limits.futureSkewSeconds = 5
    s.input.currency.base = "EUR"
    s.input.currency.assumed = "USD"
    s.input.currency.rates = ["USD": 0.92, "GBP": 1.0 / 3]
    s.output.updatesTopic = "updates"
    s.output.alertsTopic = "alerts"
    s.output.deadLetterTopic = "dead"
    s.output.createTopics = false
    s.output.partitions = 12
    s.output.replicationFactor = 3
    s.output.commitIntervalMs = 99
    s.output.commitRecords = 77
    s.delivery = .atLeastOnce
    s.snapshots.directory = "/var/lib/clvd 1"
    s.snapshots.intervalSeconds = 61
    s.snapshots.keep = 4
    s.snapshots.acceptGap = true
    s.snapshots.discardIncompatible = true
    s.runtime.threads = 2
    s.runtime.batchRecords = 100
    s.runtime.idleTickSeconds = 0
    s.runtime.reportIntervalSeconds = 1
    s.runtime.logLevel = .debug
    var e = EngineConfiguration()
    e.targets = [
        .init(name: "money", kind: .value, events: ["purchase", "refund"], horizonsDays: [0.5, 14], weight: 0.3),
        .init(name: "shoes", kind: .occurrence, events: ["view"], horizonsDays: [14], category: "shoes, red"),
        .init(name: "gone", kind: .absence, events: [], horizonsDays: [14]),
    ]
    e.binEdgesDays = [0.5, 14]
    e.time.allowedLatenessSeconds = 1
    e.state.retentionDays = 20
    e.state.maxUsers = 1000
    e.state.hashSeed = .max
    e.state.sessionGapMinutes = 31
    e.state.subtractRefunds = false
    e.model.recurrent = .gru
    e.model.units = 32
    e.model.hidden = 48
    e.model.typeEmbedding = 9
    e.model.categoryEmbedding = 10
    e.model.categoryBuckets = 2048
    e.model.crossEmbedding = 5
    e.model.crossBuckets = 512
    e.model.seed = 1 << 40
    e.learning.enabled = false
    e.learning.optimizer = .sgd
    e.model.purchaseProcess = false
    e.learning.learningRate = 1e-5
    e.learning.schedule = .cosine
    e.learning.warmupSteps = 0
    e.learning.scheduleSteps = 9
    e.learning.minimumRateFactor = 0.2
    e.learning.beta1 = 0.8
    e.learning.beta2 = 0.99
    e.learning.epsilon = 1e-7
    e.learning.momentum = 0
    e.learning.weightDecay = 1.0 / 3
    e.learning.clipNorm = 5
    e.learning.dropoutState = 0
    e.learning.dropoutHidden = 0.2
    e.learning.emaDecay = 0.9
    e.learning.batchSize = 64
    e.learning.intervalRecords = 100
    e.learning.intervalHours = 5
    e.learning.calibrationDays = 7.5
    e.learning.stepsPerDay = 3
    e.learning.stepsPerThousandEvents = 0.125
    e.learning.drawsPerLandmark = 3
    e.learning.maxLandmarks = 5000
    e.learning.landmarkIntervalDays = 3
    e.learning.eventLandmarkShare = 0.1
    e.learning.frontierShare = 1
    e.learning.frontierLandmarks = 300
    e.learning.holdOutShare = 0.1
    e.learning.earlyStoppingInterval = 10
    e.learning.earlyStoppingPatience = 2
    e.learning.earlyStoppingRateFactor = 0.7
    e.learning.minimumSteps = 0
    e.learning.driftThreshold = 12
    e.learning.driftTolerance = 0.25
    e.learning.driftRateFactor = 5
    e.learning.driftDays = 21
    e.learning.seed = 7
    e.learning.prequentialWindow = 500
    e.segments.target = "money"
    e.segments.high = 0.8
    e.segments.mid = 0.3
    e.alerts.enabled = false
    e.alerts.target = "gone"
    e.alerts.raiseThreshold = 0.7
    e.alerts.clearThreshold = 0.1
    e.alerts.coolDownDays = 0.5
    e.alerts.minimumPurchases = 3
    e.alerts.minimumValueAtRisk = 12.25
    e.alerts.rescoreHours = 6
    e.alerts.factors = 1
    s.engine = e
    return s
}()

@Suite struct Table {
    @Test func everyFieldHasAKey() {
        var fields: [String] = []
        func collect(_ value: Any, _ path: String) {
            for child in Mirror(reflecting: value).children {
                let path = path + (path.isEmpty ? "" : ".") + child.label!
                if child.value is any SettingValue { fields.append(path) } else { collect(child.value, path) }
            }
        }
        collect(Settings(), "")
        let keys = Settings.keys.map(\.path)
        #expect(Set(fields.map { $0.replacing(/^engine\./, with: "") }) == Set(keys))
        #expect(Set(keys).count == keys.count)
    }

    @Test func defaultsAreValid() throws {
        #expect(Settings().validate() == [])
        #expect(try load(nil) == Settings())
        #expect(try load("{}\n") == Settings())
        #expect(try load("# nothing yet\n") == Settings())
        #expect(try load("kafka:\n  # groupId: x\n") == Settings())
    }

    @Test func everyKeyRoundTripsThroughYAML() throws {
        for key in Settings.keys {
            #expect(key.inline(changed) != key.inline(Settings()), "\(key.path): change it in this test")
        }
        #expect(try load(changed.rendered()) == changed)
    }

    @Test func everyKeyRoundTripsThroughTheEnvironment() throws {
        let environment = Dictionary(
            uniqueKeysWithValues: Settings.keys.map { (Settings.variable($0.path), $0.inline(changed)) }
        ).merging(["CLVD_KAFKA_GROUP_ID": changed.kafka.groupId.replacing("${", with: "$${")]) { $1 }
            .merging(["CLVD_KAFKA_INSTANCE_ID": "null", "CLVD_SNAPSHOTS_DIRECTORY": changed.snapshots.directory]) { $1 }
            .merging(["CLVD_KAFKA_BOOTSTRAP_SERVERS": changed.kafka.bootstrapServers]) { $1 }
        #expect(try load(nil, environment) == changed)
    }

    @Test func referenceIsTheFileAndTheDefaults() throws {
        let file = try String(contentsOf: config.appending(path: "clvd.yaml"), encoding: .utf8)
        #expect(file == Settings.reference(), "write Settings.reference() to config/clvd.yaml")
        #expect(try load(file) == Settings())
        #expect(file.split(separator: "\n").allSatisfy { $0.count <= 120 })
        for section in Settings.sections(of: Settings.keys.map(\.path)) {
            #expect(Settings.sectionTitles[section] != nil, "no title for \(section)")
        }
    }

    @Test func tableHasEveryKey() {
        let rows = Settings.referenceTable().split(separator: "\n").dropFirst(2)
        #expect(rows.count == Settings.keys.count + EngineConfiguration.Target.keys.count)
        for key in Settings.keys { #expect(rows.contains { $0.hasPrefix("| `\(key.path)` | ") }) }
        #expect(rows.allSatisfy { $0.count(where: { $0 == "|" }) == 4 })
    }

    @Test func demoSaysOnlyWhatDiffers() throws {
        let path = config.appending(path: "demo.yaml").path
        let demo = try Settings.load(path: path, environment: [:])
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let same = Settings.keys.filter { $0.inline(demo) == $0.inline(Settings()) }
        var given: [String] = []
        func collect(_ node: Node, _ path: String) {
            for (name, value) in node.mapping ?? [:] {
                let inner = path + name.string!
                given.append(inner)
                collect(value, inner + ".")
            }
        }
        collect(try #require(try Yams.compose(yaml: text)), "")
        #expect(same.filter { given.contains($0.path) }.map(\.path) == [])
    }
}

@Suite struct Sources {
    @Test func environmentGoesBeforeTheFile() throws {
        let yaml = "kafka:\n  groupId: file\n  instanceId: file\nlearning: {maxLandmarks: 5_000}"
        let settings = try load(
            yaml, ["CLVD_KAFKA_GROUP_ID": "env", "CLVD_KAFKA_INSTANCE_ID": "", "CLVD_LEARNING_MAX_LANDMARKS": "6000"])
        #expect(settings.kafka.groupId == "env")
        #expect(settings.kafka.instanceId == "file", "an empty variable counts as unset")
        #expect(settings.engine.learning.maxLandmarks == 6000)
    }

    @Test func listsAndObjectsInTheEnvironment() throws {
        let settings = try load(
            nil,
            [
                "CLVD_INPUT_TOPICS": "a, b", "CLVD_BIN_EDGES_DAYS": "7,30,90,180",
                "CLVD_KAFKA_PROPERTIES": "{client.rack: r1}",
                "CLVD_TARGETS": """
                [{name: clv, kind: value, horizonsDays: [180]}, {name: churn, kind: absence, horizonsDays: [30]}]
                """,
            ])
        #expect(settings.input.topics == ["a", "b"])
        #expect(settings.engine.binEdgesDays == [7, 30, 90, 180])
        #expect(settings.kafka.properties == ["client.rack": "r1"])
        #expect(settings.engine.targets.map(\.name) == ["clv", "churn"])
        #expect(settings.engine.targets[0].events == [] && settings.engine.targets[0].weight == 1)
    }

    @Test func variablesAreExpanded() throws {
        let yaml = """
            kafka:
              groupId: ${GROUP}
              properties: {client.rack: "${RACK}"}
            snapshots: {directory: "clvd-${RACK}${POD}-$${POD}-$"}
            runtime: {threads: "${N}"}
            """
        let settings = try load(yaml, ["GROUP": "g: ${POD}", "POD": "7", "RACK": "file:x$", "N": "3"])
        #expect(settings.kafka.groupId == "g: ${POD}", "what a variable holds is not expanded again")
        #expect(settings.snapshots.directory == "clvd-file:x$7-${POD}-$")
        #expect(settings.kafka.properties == ["client.rack": "file:x$"])
        #expect(settings.runtime.threads == 3)

        let missing = try problems(yaml, ["GROUP": "g", "RACK": "r", "POD": "7"])
        #expect(
            missing.map(\.description) == [
                "runtime.threads: the environment variable N is not set (test.yaml line 5), "
                    + "set it or write the value here"
            ])
        #expect(try problems("kafka: {groupId: \"a${b c}\"}").map(\.path) == ["kafka.groupId"])
    }

    @Test(arguments: ["se cret", "se cret\n", "se cret\r\n"])
    func propertiesFromFiles(contents: String) throws {
        try withFile(Data(contents.utf8)) { path in
            let settings = try load(
                "kafka: {properties: {sasl.password: 'file:${DIR}/test.yaml'}}",
                [
                    "DIR": String(path.dropLast("/test.yaml".count))
                ])
            #expect(settings.kafka.properties == ["sasl.password": "se cret"])
            let variable = ["CLVD_KAFKA_PROPERTIES": "{sasl.password: 'file:\(path)'}"]
            #expect(try load(nil, variable).kafka.properties == ["sasl.password": "se cret"])
        }
        let missing = try problems("kafka: {properties: {sasl.password: 'file:/no/such'}}")
        #expect(missing.map(\.problem) == ["the file /no/such cannot be read"])
    }
}

@Suite struct Secrets {
    private let secret = "hunter2"

    @Test(arguments: [
        "sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.pem", "ssl.key.password", "some.TOKEN",
        "sasl.oauthbearer.config", "sasl.jaas.config",
    ])
    func areNeverRendered(name: String) {
        var settings = Settings()
        settings.kafka.properties = [name: secret, "sasl.username": "clvd"]
        #expect(!settings.rendered().contains(secret))
        #expect(settings.rendered().contains("\(name): \"********\""))
        #expect(settings.rendered().contains("sasl.username: clvd"))
    }

    @Test(arguments: [
        "kafka: {properties: hunter2}",
        "kafka: {properties: [hunter2]}",
        "kafka: {properties: {sasl.password: [hunter2]}}",
        "kafka: {properties: {sasl.password: 'hunter2${'}}",
        "kafka: {properties: {sasl.password: 'hunter2${NONE}'}}",
        "kafka: {properties: {group.id: hunter2}}",
        "kafka: {sasl.password: hunter2}",
        "kafka: hunter2",
        "kafka:\n  properties:\n    sasl.password: \"hunter2",
        "kafka:\n  properties:\n    sasl.password: hunter2: hunter2",
        "kafka:\n  properties:\n\t  sasl.password: hunter2",
        "kafka:\n  properties:\n    a: hunter2\n    a: hunter2",
        "kafka:\n  properties:\n    a: *hunter",
        "runtime: {threads: '${SECRET}'}",
    ])
    func areNeverInErrors(yaml: String) throws {
        for problem in try problems(yaml, ["SECRET": secret]) { #expect(!problem.description.contains(secret)) }
    }

    @Test func areNeverReportedAsValues() {
        var reading = Reading(environment: [:])
        reading.report(Place(path: "kafka.properties.x", isSecret: true), "is wrong", value: secret, "correct it")
        #expect(reading.problems.map(\.description) == ["kafka.properties.x: is wrong, correct it"])
    }

    @Test(arguments: ["{sasl.password: \"hunter2}", "hunter2", "{sasl.password: [hunter2]}"])
    func areNeverInErrorsOfTheEnvironment(text: String) throws {
        let found = try problems(nil, ["CLVD_KAFKA_PROPERTIES": text])
        #expect(found.allSatisfy { $0.source == "CLVD_KAFKA_PROPERTIES" && !$0.description.contains(secret) })
    }
}

@Suite struct Errors {
    @Test func allAtOnceWithTheirLines() throws {
        let yaml = """
            kafka:
              groupId:
              bootstrapServers: localhost
            input:
              start: newest
            learning:
              batchSize: many
              holdOutShare: 1.5
            model: {units: 50}
            targets:
              - {name: clv, kind: value, events: [buy], horizonsDays: [7, 31]}
              - {nmae: churn, kind: absence, horizonsDays: [30]}
            """
        let found = try problems(yaml, ["CLVD_RUNTIME_THREADS": "-1"]).map(\.description)
        let expected = [
            "kafka.groupId: has no value (test.yaml line 2), write text or remove the line",
            "input.start: is not one of earliest, latest (newest, test.yaml line 5), write one of earliest, latest",
            "learning.batchSize: is not a whole number (many, test.yaml line 7), write a whole number",
            "targets[1].nmae: there is no such key (test.yaml line 12), did you mean targets[1].name?",
            "targets[1].name: is missing (test.yaml line 12), write text",
            "kafka.bootstrapServers: must be a list host:port,host:port (localhost, test.yaml line 3), "
                + "change it (default localhost:9092)",
            "runtime.threads: must be from 0 to 1024 (-1, CLVD_RUNTIME_THREADS), change it (default 0)",
            "model.units: must be a multiple of 16 from 16 to 1024 (50, test.yaml line 9), change it (default 64)",
            "learning.holdOutShare: must be from 0 to 1 (1.5, test.yaml line 8), change it (default 0.05)",
        ]
        #expect(found == expected)
        let text = "\(try #require(throws: SettingsError.self) { try load(yaml) })"
        #expect(text.hasPrefix("8 problems with the settings:\n  kafka.groupId"))
    }

    @Test(arguments: [
        ("learning: {batch_size: 1}", "did you mean learning.batchSize?"),
        ("learnings: {batchSize: 1}", "did you mean learning?"),
        ("learning: {maxLandmark: 1}", "did you mean learning.maxLandmarks?"),
        ("kafka: {topics: [a]}", "did you mean input.topics?"),
        ("input: {limit: {}}", "did you mean input.limits?"),
        ("engine: {}", "remove it; config/clvd.yaml lists all keys"),
    ])
    func unknownKeys(yaml: String, remedy: String) throws {
        let found = try problems(yaml)
        #expect(found.map(\.problem) == ["there is no such key"])
        #expect(found.map(\.remedy) == [remedy])
        #expect(found[0].source == "test.yaml line 1")
    }

    @Test func unknownVariables() throws {
        let found = try problems(nil, ["CLVD_LEARNING_MAX_LANDMARK": "1"])
        #expect(
            found.map(\.description) == [
                "CLVD_LEARNING_MAX_LANDMARK: there is no such setting, did you mean CLVD_LEARNING_MAX_LANDMARKS?"
            ])
        let fromKubernetes = [
            "CLVD_SERVICE_HOST": "10.0.0.1", "CLVD_PORT_9090_TCP": "x", "CLVD_KAFKA_PORT_9092_TCP_ADDR": "10.0.0.2",
            "CLVD_KAFKA_SERVICE_PORT": "9092", "CLVD_KAFKA_PORT": "tcp://10.0.0.2:9092",
        ]
        #expect(try load(nil, fromKubernetes) == Settings())
    }

    @Test(arguments: [
        ("", "is empty"), (" \n\n", "is empty"),
        ("kafka:\n\tgroupId: a", "is indented with a tab, YAML wants spaces (line 2)"),
        ("kafka:\n  groupId: a: b\n", "is not YAML: mapping values are not allowed in this context (line 2)"),
        ("runtime:\n  threads: 1\n  threads: 2", "has the key \"threads\" twice in one section (line 2)"),
        ("- a", "is not a map of settings"), ("a\u{1}: b", "is not YAML: control characters are not allowed (line 1)"),
        ("{}\n---\n{}", "is not YAML: but found another document (line 2)"),
    ])
    func unreadableYAML(yaml: String, expected: String) throws {
        let found = try problems(yaml)
        #expect(found.count == 1)
        #expect(found[0].description.contains("/test.yaml: \(expected), "))
    }

    @Test func unreadableFiles() throws {
        let missing = try #require(throws: SettingsError.self) {
            try Settings.load(path: "/no/such.yaml", environment: [:])
        }
        #expect("\(missing)".hasPrefix("/no/such.yaml: there is no such file, create it"))
        let directory = try #require(throws: SettingsError.self) { try Settings.load(path: "/tmp", environment: [:]) }
        #expect("\(directory)".hasPrefix("/tmp: is a directory, "))
        try withFile(Data([0xFF, 0xFE, 0x00])) { path in
            let binary = try #require(throws: SettingsError.self) { try Settings.load(path: path, environment: [:]) }
            #expect("\(binary)".contains("is not UTF-8"))
        }
    }

    @Test(arguments: [
        "runtime: {threads: 1.5}", "runtime: {threads: [1]}", "runtime: {threads: 99999999999999999999}",
        "runtime: [threads]", "input: {topics: events}", "output: {createTopics: 1}", "binEdgesDays: 7",
        "learning: {learningRate: .nan}", "learning: {learningRate: nan}", "learning: {clipNorm: inf}",
        "state: {hashSeed: -1}", "targets: {name: clv}", "targets: [clv]", "input: {currency: {rates: [EUR]}}",
    ])
    func wrongTypes(yaml: String) throws {
        let found = try problems(yaml)
        #expect(found.count == 1)
        #expect(found[0].problem.hasPrefix("is "))
    }
}

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
        Contradiction("state.retentionDays") { $0.engine.state.retentionDays = 89 },
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
        #expect(isSound { $0.engine.state.retentionDays = 90 })
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
            "kafka.staticMembership", "kafka.properties", "input.topics", "input.currency.rates", "output.createTopics",
            "snapshots.acceptGap",
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
