import CEventParser
import Kafka
import Runtime

/// A Kafka cluster in memory: one input topic, output topics, transactions, fencing by epochs, and a consumer group. Its
/// clients behave as those of librdkafka.
final class SimulatedCluster {
    struct Output {
        let topic: String
        var key: [UInt8]
        var value: [UInt8]?
        var headers: [String: String]
        /// nil: not in a transaction.
        let transaction: Int?
    }

    private enum Transaction { case open, committed, aborted }

    let id = "simulated"
    let partitions: [TopicPartition]
    private let records: [[clvd_record]]
    /// Number of records of each partition that are in the log so far, and that retention has removed.
    private var written: [Int]
    private var lost: [Int]
    private var lows: [Int64]
    private var outputs: [Output] = []
    private var transactions: [Transaction] = []
    /// Epoch and open transaction by transactional id.
    private var producers: [String: (epoch: Int, open: Int?)] = [:]

    private(set) var committed: [TopicPartition: PartitionOffset] = [:]
    /// Every commit, in order.
    private(set) var history: [(partition: TopicPartition, offset: PartitionOffset)] = []
    /// When the latest records of each partition were committed (s), with which clock (ms).
    private(set) var lastProgress: [TopicPartition: (at: Double, clock: Int64)] = [:]
    /// Times at which the records of each partition were written, s.
    private(set) var writtenAt: [[Double]]

    private let isCooperative: Bool
    private var members: [String: SimulatedConsumer] = [:]
    private var owners: [TopicPartition: SimulatedConsumer] = [:]
    /// Names whose member the group has lost track of, and the end of the session of the one that it believes in.
    private var ghosts: [String: Double] = [:]
    private let clock: SimulatedClock
    /// Time until which the group refuses offsets because of a rebalance.
    private var unsettledUntil = 0.0
    private var dice: Dice

    init(topic: String, records: [[clvd_record]], isCooperative: Bool, clock: SimulatedClock, seed: UInt64) {
        self.records = records
        self.isCooperative = isCooperative
        self.clock = clock
        partitions = records.indices.map { TopicPartition(topic, Int32($0)) }
        written = records.map { _ in 0 }
        lost = written
        writtenAt = records.map { _ in [] }
        lows = records.map { _ in 0 }
        dice = Dice(seed: seed)
    }

    // MARK: Log

    /// Puts the next records of a partition into the log.
    func write(_ count: Int, to p: Int) {
        written[p] = min(records[p].count, written[p] + count)
        while writtenAt[p].count < written[p] { writtenAt[p].append(clock.now) }
    }

    var isWritten: Bool { zip(written, records).allSatisfy { $0 == $1.count } }

    func low(_ p: TopicPartition) -> Int64 { lows[Int(p.partition)] }

    func high(_ p: TopicPartition) -> Int64 {
        let i = Int(p.partition)
        return written[i] == 0 ? 0 : records[i][written[i] - 1].offset + 1
    }

    /// Retention: removes records below an offset that the owner of the partition has read.
    func truncate(_ p: TopicPartition, below limit: Int64) {
        let i = Int(p.partition)
        let offset = min(limit, owners[p]?.positions[p] ?? limit)
        lost[i] = max(lost[i], index(p, offset))
        lows[i] = max(lows[i], offset)
    }

    private func index(_ p: TopicPartition, _ offset: Int64) -> Int {
        let list = records[Int(p.partition)]
        var (low, high) = (0, written[Int(p.partition)])
        while low < high {
            let middle = (low + high) / 2
            if list[middle].offset < offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// A partition whose log is another one for now: other records, at the same offsets.
    var madeAnew: TopicPartition?

    /// Somebody sets the group's offset.
    func set(_ p: TopicPartition, committed offset: PartitionOffset?) { committed[p] = offset }

    /// Records from an offset on, at most `most`.
    func read(_ p: TopicPartition, from offset: Int64, most: Int) throws(KafkaError) -> [clvd_record] {
        let i = Int(p.partition)
        let start = index(p, offset)
        guard start >= lost[i] else { throw .outOfRange(p) }
        let found = Array(records[i][start..<min(written[i], start + most)])
        guard p == madeAnew else { return found }
        return found.map {
            var other = $0
            other.timestamp_ms += 86_400_000
            return other
        }
    }

    /// What `read_committed` readers see.
    func visible(_ topic: String) -> [Output] {
        outputs.filter { $0.topic == topic && ($0.transaction.map { transactions[$0] == .committed } ?? true) }
    }

    /// Whether everything in the log was processed.
    var isConsumed: Bool { isWritten && partitions.allSatisfy { committed[$0]?.offset ?? 0 >= high($0) } }

    // MARK: Transactions

    /// Registers a producer: fences an older one of its name and aborts that one's open transaction.
    func register(_ id: String) -> Int {
        abortOpen(id)
        producers[id, default: (0, nil)].epoch += 1
        return producers[id]!.epoch
    }

    /// Aborts a transaction that was open for too long and fences its producer.
    func expireTransaction(_ id: String) {
        guard producers[id]?.open != nil else { return }
        _ = register(id)
    }

    private func abortOpen(_ id: String) {
        guard let open = producers[id]?.open else { return }
        transactions[open] = .aborted
        producers[id]?.open = nil
    }

    func isFenced(_ id: String, epoch: Int) -> Bool { producers[id]?.epoch != epoch }

    func begin(_ id: String) {
        transactions.append(.open)
        producers[id]?.open = transactions.count - 1
    }

    func append(_ output: Output) { outputs.append(output) }

    func open(_ id: String) -> Int? { producers[id]?.open }

    func end(_ id: String, committing offsets: [TopicPartition: PartitionOffset]?) {
        guard let open = producers[id]?.open else { return }
        producers[id]?.open = nil
        transactions[open] = offsets == nil ? .aborted : .committed
        if let offsets { commit(offsets) }
    }

    func commit(_ offsets: [TopicPartition: PartitionOffset]) {
        for (p, offset) in offsets.sorted(by: { $0.key < $1.key }) {
            if offset.offset != committed[p]?.offset {
                lastProgress[p] = CommitMetadata(text: offset.metadata).clock.map { (clock.now, $0) }
            }
            committed[p] = offset
            history.append((p, offset))
        }
    }

    // MARK: Group

    /// Adds a member. An older member of the same name is removed and fenced.
    func join(_ member: SimulatedConsumer) {
        ghosts[member.name] = nil
        if let old = members[member.name] {
            old.isFenced = true
            release(old)
            // A static member that returns within its session keeps its partitions, without a rebalance.
            members[member.name] = member
            return
        }
        members[member.name] = member
        rebalance()
    }

    func leave(_ member: SimulatedConsumer) {
        guard members[member.name] === member else { return }
        release(member)
        members[member.name] = nil
        rebalance()
    }

    /// The broker crashes and believes in an earlier member of a name: it fences the one that is there.
    func loseTrack(of name: String) {
        guard let member = members[name] else { return }
        release(member)
        member.isFenced = true
        members[name] = nil
        ghosts[name] = clock.now + Double(member.sessionTimeoutMs) / 1000
        rebalance()
    }

    /// Whether the group has another member of this one's name, or believes so.
    func holdsAnother(_ member: SimulatedConsumer) -> Bool {
        if let holder = members[member.name] { return holder !== member }
        return ghosts[member.name] ?? 0 > clock.now
    }

    /// Removes a member whose session has timed out.
    func expire(_ name: String) {
        guard let member = members[name] else { return }
        member.isExpelled = true
        leave(member)
    }

    private func release(_ member: SimulatedConsumer) {
        for (p, owner) in owners where owner === member { owners[p] = nil }
    }

    private func rebalance() {
        if dice.chance(0.5) { unsettledUntil = clock.now + dice.uniform() * 3 }
        for member in members.values { member.hasToRejoin = true }
    }

    private func target(_ p: TopicPartition) -> SimulatedConsumer? {
        let names = members.keys.sorted()
        return names.isEmpty ? nil : members[names[Int(p.partition) % names.count]]
    }

    /// The rebalance that a member's poll returns.
    func rebalance(_ member: SimulatedConsumer) -> Consumer.Rebalance? {
        let owned = partitions.filter { owners[$0] === member }
        let give = isCooperative ? owned.filter { target($0) !== member } : member.hasToRejoin ? owned : []
        if !give.isEmpty {
            member.hasToRejoin = false
            return .revoke(give)
        }
        member.hasToRejoin = false
        let mine = partitions.filter { target($0) === member }
        // With the eager protocol, members get partitions only after all members have released theirs.
        if !isCooperative && members.values.contains(where: { $0.hasToRejoin && $0 !== member && holdsAny($0) }) {
            return nil
        }
        let take = mine.filter { owners[$0] == nil }
        guard !take.isEmpty else { return nil }
        for p in take { owners[p] = member }
        return .assign(take)
    }

    private func holdsAny(_ member: SimulatedConsumer) -> Bool { owners.values.contains { $0 === member } }

    func unassign(_ member: SimulatedConsumer, _ list: [TopicPartition]) {
        for p in list where owners[p] === member { owners[p] = nil }
    }

    func owns(_ member: SimulatedConsumer, _ p: TopicPartition) -> Bool { owners[p] === member }

    /// Checks that the group accepts offsets from a member.
    func check(
        _ operation: String, _ member: SimulatedConsumer, _ offsets: [TopicPartition: PartitionOffset]
    ) throws(KafkaError) {
        if member.isFenced { throw .fencedMember(operation, isFatal: false) }
        guard members[member.name] === member, offsets.keys.allSatisfy({ owns(member, $0) }) else {
            throw .unknownMember(operation)
        }
        if clock.now < unsettledUntil { throw .rebalancing(operation) }
    }

    /// Ends refusals.
    func calmDown() { unsettledUntil = 0 }
}
