import Engine
import Foundation
import Settings
import Testing

@testable import Runtime

/// Ids whose events and whose customers are in different partitions.
@Suite struct GuestTests {
    @Test func guestsOfAnyPartitionBecomeCustomers() async throws {
        let site = try Site.repartitioned(Cluster(), Cluster.isReal ? .exactlyOnce : .atLeastOnce)
        let (told, known) = try Guests.events(800, seed: 41, users: 20)
        let producer = try site.cluster.producer()
        let inputs = Site.spread(told)
        let route = RunningDaemon(site, stage: .route)
        let score = RunningDaemon(site, stage: .score)
        for start in stride(from: 0, to: inputs.count, by: 100) {
            try site.feed(inputs[start..<min(start + 100, inputs.count)], by: producer)
        }
        try await route.taken(inputs.count)
        // What is passed on is read again, until nothing more comes.
        var read = -1
        while true {
            try await Task.sleep(for: .seconds(1))
            let count = try await site.cluster.read(site.settings.eventsTopic, partitions: Site.spread).count
            if count == read { break }
            read = count
            try await score.taken(count)
        }
        try await route.stop()
        try await score.stop()
        let c = score.counters
        #expect(c.joined == c.adopted && c.joined > 20 && c.forwarded > 50 && c.messagesRefused == 0, "\(c)")
        #expect(c.accepted == known.count && c.deadLetters == 0)
        let found = try await site.verifiedGuests(records: inputs.count)
        #expect(found.double == 0 && found.routed == inputs.count)
        try await site.expectFigures(of: known)
        // The rows of guests have gone.
        let updates = try await site.cluster.read(site.settings.output.updatesTopic, partitions: site.outputPartitions)
        var newest: [String: Bool] = [:]
        for update in updates { newest[update.keyText] = update.value != nil }
        #expect(Set(newest.filter(\.value).keys) == Set((0..<20).map { "user-\($0)" }))
    }
}
