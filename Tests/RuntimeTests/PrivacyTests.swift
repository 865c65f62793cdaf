import Engine
import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing
import Verification

/// What must not be found anywhere.
@Suite struct PrivacyTests {
    /// Everything below a folder, by path.
    private static func contents(of folder: String) throws -> [String: Data] {
        let names = try #require(FileManager.default.enumerator(atPath: folder)).compactMap { $0 as? String }
        return Dictionary(
            uniqueKeysWithValues: names.compactMap { name in
                FileManager.default.contents(atPath: "\(folder)/\(name)").map { (name, $0) }
            })
    }

    /// The next snapshot after a `user_deleted` holds no byte of the id, and with `keep: 1` none is left that does; the
    /// topic of updates gets a tombstone that names its source.
    @Test(arguments: Settings.Delivery.allCases)
    func anErasedUserLeavesNoTraceOnDisk(delivery: Settings.Delivery) async throws {
        let site = try Site(Cluster(), delivery) { $0.snapshots.keep = 1 }
        // One id in its slot, one that is too long for it.
        let ids = ["erase-me-7f3a", "erase-me-too-" + String(repeating: "long-", count: 30) + "b91c"]
        var shop = Shop(seed: 21)
        var inputs: [Input] = []
        func add(_ id: String, _ type: String, more: String = "") {
            let value = Shop.json(
                user: id, type: type, at: shop.now, id: "of-\(id)-\(inputs.count)",
                amount: type == "purchase" ? "12.5" : nil, more: more)
            inputs.append(Input(key: Array(id.utf8), value: value, timestampMs: shop.now))
        }
        for i in 0..<1500 {
            inputs.append(shop.next())
            guard i % 15 == 0 else { continue }
            for id in ids { add(id, i % 45 == 0 ? "purchase" : "view", more: #","order_id":"order-\#(id)""#) }
        }
        try site.produce(inputs)
        let first = RunningDaemon(site)
        try await first.taken(inputs.count)
        try await first.stop()
        let before = try Self.contents(of: site.settings.snapshots.directory)
        for id in ids {
            #expect(before.values.contains { $0.range(of: Data(id.utf8)) != nil }, "the search finds what is there")
        }

        let deletions = inputs.count
        for id in ids { add(id, "user_deleted") }
        inputs += shop.events(50)
        try site.produce(inputs[deletions...])
        let second = RunningDaemon(site)
        try await second.taken(inputs.count - deletions)
        try await second.stop()
        #expect(second.counters.erased == 2)
        let after = try Self.contents(of: site.settings.snapshots.directory)
        #expect(
            after.keys.contains { $0.hasSuffix("manifest.json") } && after.keys.contains { $0.hasSuffix("-users.bin") })
        for (name, bytes) in after {
            for id in ids { #expect(bytes.range(of: Data(id.utf8)) == nil, "\(id) in \(name)") }
            // Nor a piece of the long one, which lay outside of its slot.
            #expect(bytes.range(of: Data("long-long-".utf8)) == nil, "\(name)")
        }

        let tombstones = try await site.cluster.read(site.settings.output.updatesTopic).filter { $0.value == nil }
        #expect(tombstones.map(\.keyText) == ids)
        #expect(tombstones.map { $0.headers["clvd.source.offset"] } == ["\(deletions)", "\(deletions + 1)"])
        #expect(tombstones.allSatisfy { $0.headers["clvd.source.topic"] == site.input[0] })
        let report = try site.verified(records: inputs.count)
        #expect(report.updates == Int64(inputs.count))
    }

    // MARK: Secrets

    /// A password reaches the broker, and nothing else: not the log with everything in it, not librdkafka's own, not
    /// what `config` prints.
    @Test(arguments: ["file", "environment", "settings"]) func secretsAreNotLogged(source: String) async throws {
        let secret = "hunter2-\(UUID().uuidString)"
        var site = try Site(Cluster())
        let file = try site.folder.write(secret + "\n", to: "password")
        let value =
            switch source {
            case "file": "file:\(file)"
            case "environment": "${CLVD_TEST_PASSWORD}"
            default: secret
            }
        site.settings.kafka.properties = [
            "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "clvd",
            "sasl.password": value, "ssl.key.password": value, "debug": "all",
        ]
        site.settings.runtime.logLevel = .debug
        // Secrets are masked in what `rendered` writes: written by hand.
        let config = try site.folder.write(
            """
            kafka:
              bootstrapServers: "\(site.settings.kafka.bootstrapServers)"
              properties:
            \(site.settings.kafka.properties.map { "    \($0): \"\($1)\"" }.joined(separator: "\n"))
            input: {topics: [\(site.input[0])]}
            runtime: {logLevel: debug}
            snapshots: {directory: \(site.settings.snapshots.directory)}
            """, to: "secret.yaml")
        let environment = ["CLVD_TEST_PASSWORD": secret]
        let program = try RunningProgram(site, ["run", "--config", config], environment: environment)
        try await eventually(30, "librdkafka's own log\n\(program.errors)") {
            program.errors.contains("sasl.password") && program.errors.contains("waiting for")
        }
        program.terminate()
        _ = try await program.status()
        #expect(!program.errors.contains(secret))
        #expect(!program.errors.contains(Data(secret.utf8).base64EncodedString()))

        let printed = try RunningProgram(site, ["config", "print", "--config", config], environment: environment)
        #expect(try await printed.status() == 0)
        #expect(printed.output.contains("sasl.password") && !printed.output.contains(secret))
        let checked = try RunningProgram(
            site, ["config", "check", "--config", config],
            environment: ["CLVD_TEST_PASSWORD": secret, "CLVD_KAFKA": "x"])
        _ = try await checked.status()
        #expect(!checked.output.contains(secret) && !checked.errors.contains(secret))
    }
}
