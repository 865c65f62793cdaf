import Foundation
import Kafka
import Settings
import Testing

/// Two versions that follow one another.
extension MistakeTests {
    @Test func committedByANewerVersion() async throws {
        try await Mistake.commit("11a", "an older version comes back after a newer one has committed") { m in
            let site = try Self.site()
            var shop = Shop(seed: 12)
            try await Self.live(m, site, &shop, 1000)
            try await Administration(site.cluster).reset(
                site.settings.kafka.groupId, site.input[0], to: 1000, text: "clvd99;at=1000;clock=0")
            try site.produce(site.events(&shop, 100))
            _ = try await m.refuses(m.start(site), ["version"])
            m.counts(try await site.outcome(values: false))
        }
    }

    private static let older = ProcessInfo.processInfo.environment["CLVD_TEST_OLDER_PROGRAM"]

    /// The older program with those of a site's settings that it knows.
    private static func runOlder(_ site: Site) async throws -> RunningProgram {
        let path = try #require(older)
        let print = try RunningProgram(site, ["config", "print", "--reference"], program: path)
        #expect(try await print.status() == 0)
        func key(_ line: Substring) -> Substring? { line.firstMatch(of: /^\s*(\w+):/)?.1 }
        let known = Set(print.output.split(separator: "\n").compactMap(key))
        let lines = site.settings.rendered().split(separator: "\n").filter { key($0).map(known.contains) ?? true }
        let config = try site.folder.write(lines.joined(separator: "\n"), to: "older.yaml")
        return try RunningProgram(site, ["run", "--config", config], program: path)
    }

    /// The older version begins, the newer one joins, the older one leaves.
    @Test(.enabled(if: older != nil, "CLVD_TEST_OLDER_PROGRAM is not set"))
    func aRollingUpgrade() async throws {
        try await Mistake.commit("11b", "rolling upgrade: an older and a newer instance in one group") { m in
            let old = try Site(Cluster(), .exactlyOnce, partitions: 4) {
                $0.learning(false)
                $0.snapshots.intervalSeconds = 1
                $0.runtime.reportIntervalSeconds = 1
            }
            let new = old.instance("1")
            var shop = Shop(seed: 13)
            try old.produce(old.events(&shop, 1000))
            let older = try await Self.runOlder(old)
            try await m.reaches(1000, old, older)
            let newer = try m.start(new)
            try await eventually(40, "the newer one has partitions\n\(newer.errors)") {
                newer.errors.contains("partition begins") || !newer.isRunning
            }
            try old.produce(old.events(&shop, 1000))
            try await m.reaches(2000, old, newer)
            m.expect(newer.isRunning, "the newer one has ended")
            if older.isRunning { try await m.stops(older) } else { m.did("older: exit \(try await older.status())") }
            m.note(older.errors)
            try old.produce(old.events(&shop, 1000))
            try await m.reaches(3000, old, newer)
            m.reads(newer, ["partition begins"])
            try await m.stops(newer)
            try await m.countsBoth(new)
        }
    }
}
