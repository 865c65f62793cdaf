import Kafka
import Testing

@testable import Runtime

@Suite struct StartPlanTests {
    /// A situation and what follows; nil facts are "none".
    struct Case: CustomTestStringConvertible, Sendable {
        var state: Int64?
        var committed: Int64?
        var log: ClosedRange<Int64>
        var latest = false
        var acceptGap = false
        /// Where reading and publishing begin; nil: refused.
        var from: Int64?
        var firstUnpublishedOffset: Int64?
        /// Parts of the warning or of the refusal.
        var says: [String] = []

        var testDescription: String {
            "state \(state.map(String.init) ?? "-"), committed \(committed.map(String.init) ?? "-"), log \(log)"
                + (latest ? ", latest" : "") + (acceptGap ? ", acceptGap" : "")
        }
    }

    static let cases = [
        // The first start.
        Case(log: 0...10, from: 0, firstUnpublishedOffset: 0),
        Case(log: 0...10, latest: true, from: 10, firstUnpublishedOffset: 10),
        Case(log: 4...10, from: 4, firstUnpublishedOffset: 4),
        Case(log: 0...0, latest: true, from: 0, firstUnpublishedOffset: 0),
        // The snapshots are gone: made again in silence.
        Case(
            committed: 7, log: 0...10, from: 0, firstUnpublishedOffset: 7,
            says: ["no snapshot", "from 0", "committed 7"]),
        Case(committed: 7, log: 0...10, latest: true, from: 0, firstUnpublishedOffset: 7, says: ["no snapshot"]),
        Case(committed: 0, log: 0...10, from: 0, firstUnpublishedOffset: 0),
        Case(
            committed: 7, log: 3...10, says: ["events[2]", "offset 0", "begins at 3", "3 records", "acceptGap: true"]),
        Case(
            committed: 7, log: 3...10, acceptGap: true, from: 3, firstUnpublishedOffset: 7,
            says: ["3 records are gone", "committed 7"]),
        Case(
            committed: 2, log: 3...10, acceptGap: true, from: 3, firstUnpublishedOffset: 3, says: ["3 records are gone"]
        ),
        Case(committed: 11, log: 0...10, says: ["events[2]", "offset 11", "ends at 10", "acceptGap: true"]),
        Case(committed: 11, log: 0...10, acceptGap: true, from: 0, firstUnpublishedOffset: 0, says: ["ends at 10"]),
        // The usual restart.
        Case(state: 5, committed: 7, log: 0...10, from: 5, firstUnpublishedOffset: 7),
        Case(state: 5, committed: 5, log: 0...10, from: 5, firstUnpublishedOffset: 5),
        Case(state: 5, committed: 7, log: 5...7, from: 5, firstUnpublishedOffset: 7),
        Case(state: 10, committed: 10, log: 0...10, latest: true, from: 10, firstUnpublishedOffset: 10),
        // A cluster that keeps no offsets: on from the state.
        Case(state: 5, log: 0...10, from: 5, firstUnpublishedOffset: 5),
        Case(state: 5, log: 0...10, latest: true, from: 5, firstUnpublishedOffset: 5),
        // Somebody reset the group.
        Case(
            state: 5, committed: 2, log: 0...10, from: 5, firstUnpublishedOffset: 5,
            says: ["offset 2", "state's 5", "snapshots"]),
        // The log lost its beginning.
        Case(state: 5, committed: 7, log: 6...10, says: ["events[2]", "offset 5", "begins at 6", "1 records"]),
        Case(state: 5, log: 6...10, says: ["offset 5", "begins at 6", "snapshots.acceptGap: true"]),
        Case(
            state: 5, committed: 9, log: 6...10, acceptGap: true, from: 6, firstUnpublishedOffset: 9,
            says: ["1 records are gone"]),
        Case(
            state: 5, committed: 5, log: 8...10, acceptGap: true, from: 8, firstUnpublishedOffset: 8,
            says: ["3 records are gone"]),
        Case(state: 5, log: 8...10, acceptGap: true, from: 8, firstUnpublishedOffset: 8, says: ["3 records are gone"]),
        // Another log under the same name.
        Case(state: 12, committed: 12, log: 0...10, says: ["events[2]", "the state is at offset 12", "ends at 10"]),
        Case(state: 12, log: 0...10, says: ["kafka.bootstrapServers", "snapshots.acceptGap: true"]),
        Case(
            state: 12, committed: 12, log: 2...10, acceptGap: true, from: 2, firstUnpublishedOffset: 2,
            says: ["ends at 10"]),
        // … whose end lies between the state and the commit: what is new in it must not be muted.
        Case(state: 5, committed: 12, log: 0...10, says: ["events[2]", "the group is at offset 12", "ends at 10"]),
        Case(
            state: 5, committed: 12, log: 0...10, acceptGap: true, from: 0, firstUnpublishedOffset: 0,
            says: ["ends at 10"]),
    ]

    @Test(arguments: cases) func goesOnWhereItShould(_ c: Case) {
        let facts = StartPlan.Facts(
            partition: TopicPartition("events", 2), state: c.state, committed: c.committed, low: c.log.lowerBound,
            high: c.log.upperBound)
        do {
            let plan = try StartPlan.make(facts, latest: c.latest, acceptGap: c.acceptGap)
            #expect(plan.from == c.from && plan.firstUnpublishedOffset == c.firstUnpublishedOffset)
            #expect((plan.warning == nil) == c.says.isEmpty)
            for part in c.says { #expect(plan.warning?.contains(part) == true, "\(plan.warning ?? "")") }
        } catch {
            #expect(c.from == nil, "refused: \(error)")
            for part in c.says { #expect(error.description.contains(part), "\(error)") }
        }
    }
}
