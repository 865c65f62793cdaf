import Engine
import Foundation
import Testing

@testable import Settings

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
                "CLVD_KAFKA_PROPERTIES": "{client.id: r1}",
                "CLVD_TARGETS": """
                [{name: clv, kind: value, horizonsDays: [180]}, {name: churn, kind: absence, horizonsDays: [30]}]
                """,
            ])
        #expect(settings.input.topics == ["a", "b"])
        #expect(settings.engine.binEdgesDays == [7, 30, 90, 180])
        #expect(settings.kafka.properties == ["client.id": "r1"])
        #expect(settings.engine.targets.map(\.name) == ["clv", "churn"])
        #expect(settings.engine.targets[0].events == [] && settings.engine.targets[0].weight == 1)
    }

    @Test func variablesAreExpanded() throws {
        let yaml = """
            kafka:
              groupId: ${GROUP}
              properties: {client.id: "${RACK}"}
            snapshots: {directory: "clvd-${RACK}${POD}-$${POD}-$"}
            runtime: {threads: "${N}"}
            """
        let settings = try load(yaml, ["GROUP": "g: ${POD}", "POD": "7", "RACK": "file:x$", "N": "3"])
        #expect(settings.kafka.groupId == "g: ${POD}", "what a variable holds is not expanded again")
        #expect(settings.snapshots.directory == "clvd-file:x$7-${POD}-$")
        #expect(settings.kafka.properties == ["client.id": "file:x$"])
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
