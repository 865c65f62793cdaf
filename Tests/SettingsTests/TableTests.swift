import Engine
import EventInput
import Foundation
import Testing
import Yams

@testable import Settings

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
        // `input.limits.futureSkewSeconds` sets it too.
        fields.removeAll { $0 == "engine.time.clockSkewSeconds" }
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
            .merging(["CLVD_INPUT_REGISTRY_AUTH": changed.input.registry.auth]) { $1 }
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
