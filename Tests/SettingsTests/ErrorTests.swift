import Foundation
import Testing

@testable import Settings

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
        for (wrong, right) in [
            ("CLVD_SNAPSHOT_DIRECTORY", "CLVD_SNAPSHOTS_DIRECTORY"),
            ("CLVD_STORE_DIRECTORY", "CLVD_SNAPSHOTS_DIRECTORY"),
            ("CLVD_KAFAK_BOOTSTRAP_SERVERS", "CLVD_KAFKA_BOOTSTRAP_SERVERS"),
        ] {
            let found = try problems(nil, [wrong: "1"]).map(\.description)
            #expect(found == ["\(wrong): there is no such setting, did you mean \(right)?"])
        }
        let fromElsewhere = ["CLVD_TEST_BOOTSTRAP": "localhost:9092", "CLVD_IMAGE_TAG": "1.2"]
        #expect(try load(nil, fromElsewhere) == Settings())
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
