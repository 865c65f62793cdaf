import Kafka
import Testing

@testable import Runtime

@Suite struct StartPlanTests {
    /// A situation and what follows; nil facts are "none".
    struct Case: CustomTestStringConvertible, Sendable {
        var state: Int64?
        var committed: Int64?
        /// What was committed with it; nil: what clvd writes, with `begin`.
        var metadata: String?
        var begin: Int64? = 0
        var log: ClosedRange<Int64>
        /// The furthest snapshot, when it is not the state.
        var furthest: Int64?
        var stateRecord = RecordFate.unknown
        var groupRecord = RecordFate.unknown
        /// The snapshot is of a version that said nothing of its log.
        var isOld = false
        var consent = StartPlan.Consent()
        /// Where reading and publishing begin; nil: refused.
        var from: Int64?
        var firstUnpublishedOffset: Int64?
        /// What is remembered as the beginning; nil: it is not compared.
        var begins: Int64?
        var rewoundFrom: Int64?
        /// Parts of the warning or of the refusal.
        var says: [String] = []

        var testDescription: String {
            "state \(state.map(String.init) ?? "-"), committed \(committed.map(String.init) ?? "-") "
                + "(\(metadata ?? "own")), log \(log), \(consent)"
        }

        var facts: StartPlan.Facts {
            let own = committed.map { CommitMetadata(offset: $0, clock: 1, begin: begin, cluster: "k1").text }
            return StartPlan.Facts(
                partition: TopicPartition("events", 2), low: log.lowerBound, high: log.upperBound, state: state,
                origin: isOld ? nil : .init(anchor: nil, begin: begin), furthest: furthest ?? state,
                committed: committed, metadata: metadata ?? own ?? "", stateRecord: stateRecord,
                groupRecord: groupRecord, group: "g", cluster: "k1")
        }
    }

    private static let latest = StartPlan.Consent(latest: true)
    private static let gap = StartPlan.Consent(gap: true)
    private static let missing = StartPlan.Consent(missingOffsets: true)

    static let cases = [
        // The first start.
        Case(log: 0...10, from: 0, firstUnpublishedOffset: 0),
        Case(log: 0...10, consent: latest, from: 10, firstUnpublishedOffset: 10),
        Case(log: 4...10, from: 4, firstUnpublishedOffset: 4),
        Case(log: 0...0, consent: latest, from: 0, firstUnpublishedOffset: 0),
        // The snapshots are gone: made again in silence.
        Case(
            committed: 7, log: 0...10, from: 0, firstUnpublishedOffset: 7,
            says: ["no snapshot", "from 0", "committed 7"]),
        Case(committed: 7, log: 0...10, consent: latest, from: 0, firstUnpublishedOffset: 7, says: ["no snapshot"]),
        Case(committed: 0, log: 0...10, from: 0, firstUnpublishedOffset: 0),
        Case(
            committed: 7, log: 3...10, says: ["events[2]", "offset 0", "begins at 3", "3 records", "acceptGap: true"]),
        Case(
            committed: 7, log: 3...10, consent: gap, from: 3, firstUnpublishedOffset: 7,
            says: ["3 records are gone", "committed 7"]),
        Case(
            committed: 2, log: 3...10, consent: gap, from: 3, firstUnpublishedOffset: 3, says: ["3 records are gone"]
        ),
        Case(committed: 11, log: 0...10, says: ["events[2]", "offset 11", "ends at 10", "acceptGap: true"]),
        Case(committed: 11, log: 0...10, consent: gap, from: 0, firstUnpublishedOffset: 0, says: ["ends at 10"]),
        // The usual restart.
        Case(state: 5, committed: 7, log: 0...10, from: 5, firstUnpublishedOffset: 7),
        Case(state: 5, committed: 5, log: 0...10, from: 5, firstUnpublishedOffset: 5),
        Case(state: 5, committed: 7, log: 5...7, from: 5, firstUnpublishedOffset: 7),
        Case(state: 10, committed: 10, log: 0...10, consent: latest, from: 10, firstUnpublishedOffset: 10),
        // A cluster that keeps no offsets: on from the state, with consent.
        Case(state: 5, log: 0...10, consent: missing, from: 5, firstUnpublishedOffset: 5),
        // The log lost its beginning.
        Case(state: 5, committed: 7, log: 6...10, says: ["events[2]", "offset 5", "begins at 6", "1 records"]),
        Case(
            state: 5, log: 6...10, consent: missing, says: ["offset 5", "begins at 6", "snapshots.acceptGap: true"]),
        Case(
            state: 5, committed: 9, log: 6...10, consent: gap, from: 6, firstUnpublishedOffset: 9,
            says: ["1 records are gone"]),
        Case(
            state: 5, committed: 5, log: 8...10, consent: gap, from: 8, firstUnpublishedOffset: 8,
            says: ["3 records are gone"]),
        Case(
            state: 5, log: 8...10, consent: .init(gap: true, missingOffsets: true), from: 8, firstUnpublishedOffset: 8,
            says: ["3 records are gone"]),
        // Another log under the same name.
        Case(state: 12, committed: 12, log: 0...10, says: ["events[2]", "the state is at offset 12", "ends at 10"]),
        Case(state: 12, log: 0...10, says: ["kafka.bootstrapServers", "snapshots.acceptGap: true"]),
        Case(
            state: 12, committed: 12, log: 2...10, consent: gap, from: 2, firstUnpublishedOffset: 2, begins: 2,
            rewoundFrom: 12, says: ["ends at 10"]),
        // … whose end lies between the state and the commit: what is new in it must not be muted.
        Case(state: 5, committed: 12, log: 0...10, says: ["events[2]", "the group is at offset 12", "ends at 10"]),
        Case(
            state: 5, committed: 12, log: 0...10, consent: gap, from: 0, firstUnpublishedOffset: 0, rewoundFrom: 5,
            says: ["ends at 10"]),
    ]

    private static let was = RecordFingerprint(offset: 4, timestampMs: 1_704_067_200_500, hash: 7)
    private static let later = RecordFingerprint(offset: 4, timestampMs: 1_704_153_600_000, hash: 7)
    private static let alike = RecordFingerprint(offset: 4, timestampMs: 1_704_067_200_500, hash: 8)
    private static let older = "clvd1;clock=5"
    /// As `clvd offsets accept` commits.
    private static func accepted(_ offset: Int64) -> String { "clvd2;at=\(offset);cluster=k1" }

    /// The log, the group and the cluster are others than those that the state is of.
    static let strangeCases = [
        // A topic that was made anew and filled beyond the state.
        Case(
            state: 5, committed: 7, log: 0...90, stateRecord: .other(was: was, now: later),
            says: [
                "events[2]: the record at offset 4", "2024-01-01T00:00:00.500Z", "2024-01-02T00:00:00.000Z",
                "made anew",
                "kafka.bootstrapServers", "snapshots.acceptGap: true",
            ]),
        Case(
            state: 5, committed: 7, log: 0...90, groupRecord: .other(was: was, now: alike),
            says: ["offset 4", "same time with another key or value"]),
        Case(
            state: 5, log: 0...90, stateRecord: .other(was: was, now: nil),
            says: ["offset 4", "no record there any more", "made anew"]),
        Case(committed: 7, log: 0...90, groupRecord: .other(was: was, now: later), says: ["offset 4", "made anew"]),
        Case(
            state: 5, committed: 7, log: 3...90, stateRecord: .other(was: was, now: later), consent: gap, from: 3,
            firstUnpublishedOffset: 3, begins: 3, rewoundFrom: 5, says: ["offset 4", "beginning at 3"]),
        Case(
            state: 5, committed: 7, log: 0...90, stateRecord: .same, groupRecord: .same, from: 5,
            firstUnpublishedOffset: 7),
        // Nothing is committed where there is state.
        Case(
            state: 5, log: 0...10,
            says: [
                "newest snapshot is at offset 5", "\"g\" has committed nothing", "expired", "made anew",
                "kafka.groupId",
                "clvd offsets accept", "clvd offsets rewind --to published", "snapshots.acceptMissingOffsets: true",
            ]),
        Case(state: 5, log: 0...10, consent: latest, says: ["has committed nothing"]),
        // A foreign offset, forwards.
        Case(
            state: 5, committed: 9, metadata: "", log: 0...10,
            says: [
                "is at offset 9", "did not commit (its metadata is \"\")", "newest snapshot is at 5", "moved forwards",
                "\"g\"", "clvd offsets rewind --to published", "clvd offsets accept", "before 9 count as published",
            ]),
        Case(state: 5, committed: 9, metadata: "k\u{1B}[2J", log: 0...10, says: ["is \"k?[2J\""]),
        Case(
            state: 5, committed: 9, metadata: "clvd2;at=7;clock=1", log: 0...10,
            says: ["clvd had committed 7", "moved forwards"]),
        Case(committed: 9, metadata: "x", log: 0...10, says: ["there is no snapshot", "clvd offsets accept"]),
        // … and backwards: an older snapshot would be chosen, or none.
        Case(
            state: 5, committed: 6, metadata: "", log: 0...10, furthest: 8,
            says: ["is at offset 6", "newest snapshot is at 8", "moved backwards", "from 6 on will be published again"]),
        Case(committed: 2, metadata: "", log: 0...10, furthest: 8, says: ["offset 2", "moved backwards"]),
        Case(
            state: 5, committed: 6, metadata: "clvd2;at=7;clock=1", log: 0...10,
            says: ["clvd had committed 7", "moved backwards"]),
        Case(state: 8, committed: 8, metadata: "", log: 0...10, says: ["offset 8", "moved backwards"]),
        // The brokers lost commits.
        Case(state: 5, committed: 6, log: 0...10, furthest: 8, says: ["which clvd committed", "8", "moved backwards"]),
        Case(state: 5, committed: 6, metadata: older, log: 0...10, furthest: 8, says: ["moved backwards"]),
        // What an operator has accepted.
        Case(state: 5, committed: 9, metadata: accepted(9), log: 0...10, from: 5, firstUnpublishedOffset: 9),
        Case(
            state: 5, committed: 6, metadata: accepted(6), log: 0...10, furthest: 8, from: 5, firstUnpublishedOffset: 6,
            rewoundFrom: 8),
        Case(
            committed: 6, metadata: accepted(6), log: 3...10, furthest: 8, from: 3, firstUnpublishedOffset: 6,
            begins: 3,
            rewoundFrom: 8, says: ["from 3 to the committed 6"]),
        Case(committed: 2, metadata: accepted(2), log: 3...10, says: ["from offset 2", "begins at 3", "1 records"]),
        Case(state: 5, committed: 7, metadata: accepted(6), log: 0...10, says: ["clvd had committed 6"]),
        // … is remembered until the snapshots are reached.
        Case(
            state: 6, committed: 7, metadata: "clvd2;at=7;clock=1;begin=0;rewoundFrom=8", log: 0...10, furthest: 8,
            from: 6, firstUnpublishedOffset: 7, begins: 0, rewoundFrom: 8),
        Case(
            state: 6, committed: 7, metadata: "clvd2;at=7;clock=1;begin=0;rewoundFrom=8", log: 0...10, furthest: 9,
            says: ["moved backwards"]),
        // Other versions.
        Case(
            state: 5, committed: 7, metadata: "clvd9;whatever", log: 0...10,
            says: ["offset 7", "newer clvd (metadata version 9", "upgrade this instance"]),
        Case(state: 5, committed: 7, metadata: older, log: 0...10, isOld: true, from: 5, firstUnpublishedOffset: 7),
        Case(state: 0, committed: 0, metadata: "", log: 0...10, isOld: true, from: 0, firstUnpublishedOffset: 0),
        Case(state: 5, committed: 7, metadata: "", log: 0...10, isOld: true, says: ["earlier version", "accept"]),
        Case(committed: 7, metadata: older, log: 3...10, says: ["from offset 0", "3 records"]),
        // Another cluster.
        Case(
            state: 5, committed: 7, metadata: "clvd2;at=7;clock=1;cluster=k0", log: 0...10,
            says: ["cluster \"k0\"", "\"k1\"", "kafka.bootstrapServers", "snapshots.acceptOrigin: true"]),
        Case(
            state: 5, committed: 7, metadata: "clvd2;at=7;clock=1;cluster=k0", log: 0...10,
            consent: .init(origin: true), from: 5, firstUnpublishedOffset: 7),
        // Where the group began, at the end of the log, before it was stopped without a snapshot.
        Case(
            committed: 8, begin: 6, log: 0...10, consent: latest, from: 6, firstUnpublishedOffset: 8, begins: 6,
            says: ["from 6 to the committed 8"]),
        Case(committed: 6, begin: 6, log: 0...10, from: 6, firstUnpublishedOffset: 6, begins: 6),
        Case(committed: 8, begin: 6, log: 5...10, from: 6, firstUnpublishedOffset: 8, says: ["from 6"]),
        Case(committed: 8, begin: 6, log: 7...10, says: ["from offset 6", "begins at 7", "1 records"]),
        Case(state: 8, committed: 8, begin: 6, log: 0...10, from: 8, firstUnpublishedOffset: 8, begins: 6),
        Case(log: 0...10, consent: latest, from: 10, firstUnpublishedOffset: 10, begins: 10),
    ]

    @Test(arguments: cases + strangeCases) func goesOnWhereItShould(_ c: Case) {
        do {
            let plan = try StartPlan.make(c.facts, c.consent)
            #expect(plan.from == c.from && plan.firstUnpublishedOffset == c.firstUnpublishedOffset)
            #expect(plan.rewoundFrom == c.rewoundFrom)
            if let begins = c.begins { #expect(plan.begin == begins) }
            #expect((plan.warning == nil) == c.says.isEmpty)
            for part in c.says { #expect(plan.warning?.contains(part) == true, "\(plan.warning ?? "")") }
        } catch {
            #expect(c.from == nil, "refused: \(error)")
            for part in c.says { #expect(error.description.contains(part), "\(error)") }
        }
    }

    // MARK: Without a state

    /// The facts of a stage that keeps none: own metadata unless other is given.
    private static func stateless(
        _ committed: Int64?, log: ClosedRange<Int64>, metadata: String? = nil
    ) -> StartPlan.Facts {
        var facts = Case(committed: committed, metadata: metadata, log: log).facts
        (facts.isStateless, facts.origin) = (true, nil)
        return facts
    }

    /// It goes on where its group is, and reads nothing again.
    @Test func withoutAStateItGoesOnWhereTheGroupIs() throws {
        let plan = try StartPlan.make(Self.stateless(7, log: 3...10), StartPlan.Consent())
        #expect(plan == StartPlan(from: 7, firstUnpublishedOffset: 7, begin: 0))
        #expect(try StartPlan.make(Self.stateless(nil, log: 3...10), StartPlan.Consent()).from == 3)
        #expect(try StartPlan.make(Self.stateless(nil, log: 3...10), Self.latest).from == 10)
    }

    @Test func withoutAStateRecordsThatAreGoneAreRefused() throws {
        let facts = Self.stateless(2, log: 5...10)
        let error = #expect(throws: RecoveryError.self) { try StartPlan.make(facts, StartPlan.Consent()) }
        #expect(error?.description.contains("3 records were removed before they were read") == true)
        let plan = try StartPlan.make(facts, Self.gap)
        #expect(plan.from == 5 && plan.firstUnpublishedOffset == 5)
        #expect(plan.warning?.contains("3 records are gone") == true)
    }

    @Test(arguments: ["", "spark", "clvd2;at=6"]) func withoutAStateOffsetsOfOthersAreRefused(metadata: String) {
        let facts = Self.stateless(7, log: 0...10, metadata: metadata)
        let error = #expect(throws: RecoveryError.self) { try StartPlan.make(facts, StartPlan.Consent()) }
        #expect(error?.description.contains("clvd did not commit") == true)
        // No version without metadata had such a stage.
        let old = Self.stateless(3, log: 3...10, metadata: "")
        #expect(throws: RecoveryError.self) { try StartPlan.make(old, StartPlan.Consent()) }
        let newer = Self.stateless(7, log: 0...10, metadata: "clvd9;at=7")
        #expect(throws: RecoveryError.self) { try StartPlan.make(newer, StartPlan.Consent()) }
        #expect(throws: RecoveryError.self) {
            try StartPlan.make(Self.stateless(12, log: 0...10), StartPlan.Consent())
        }
    }
}
