// long: several passes over the same marks, which nothing else sees
import CEventParser
import EventInput
import Foundation
import Kafka
import Logging

/// Compares input topics with what came of them, from the topics alone: nothing the daemon counted is believed.
///
/// Outputs name their source; two bits for each input record say what was found, and 32 what its output says of it:
/// customer and event must be those of the record. Records without an output are decoded
/// by the same mapping. Tombstones and ignored types need none. An event whose id an earlier event of the same user in
/// the same partition had is a duplicate; to find that, the input is read a second time with the suspects in memory.
public final class Verifier {
    private let task: Verification
    private let decoder: EventDecoder
    private let schemas: (any SchemaSource)?
    /// A schema that could not be had: records could not be read, and nothing is known.
    private var unavailable: SchemaUnavailable?
    private var report = Verification.Report()
    /// Records asked about that have an output.
    private var asked: Int64 = 0
    private var partitions: [Marks] = []
    private var indices: [TopicPartition: Int] = [:]
    /// The newest offset with an update of each user of a partition; only for compacted topics.
    private var newest: [PartitionUser: Int64] = [:]
    private var customers = JoinedIDs()
    private var suspects: [Suspect] = []
    private var keying = KeyingSample()
    /// The earliest offset at which the user and event id of a suspect had an update.
    private var originals: [UInt64: Int64] = [:]
    /// Events of the customers of suspects by day, and, by partition, offsets of such as came when the day was full.
    private var days: DayCounts
    private var excess: [Int: Set<Int64>] = [:]
    private var events: UnsafeMutablePointer<clvd_event>
    private var picked: UnsafeMutablePointer<clvd_record>
    private var room = 0

    /// What was found of the records of a partition.
    private struct Marks {
        let partition: TopicPartition
        /// From where the log begins: duplicates may be of events before those that are asked about.
        let range: Range<Int64>
        /// First offset that is asked about.
        let from: Int64
        var updated: OffsetSet
        /// Records with a dead letter; later also those that were judged.
        var settled: OffsetSet
        /// Records that are in the topic of events once more, for the partition of the customer.
        var passedOn: OffsetSet
        /// What the outputs of the records that are asked about say of them.
        private var identities: [RecordIdentity]
        var asked: Range<Int64> { from..<range.upperBound }

        init(_ partition: TopicPartition, _ range: Range<Int64>, from: Int64) {
            (self.partition, self.range, self.from) = (partition, range, from)
            updated = OffsetSet(range)
            settled = OffsetSet(range)
            passedOn = OffsetSet(range)
            identities = Array(repeating: .unknown, count: (from..<range.upperBound).count)
        }

        /// - Parameter offset: one that is asked about.
        subscript(identity offset: Int64) -> RecordIdentity {
            get { identities[Int(offset - from)] }
            set { identities[Int(offset - from)] = newValue }
        }
    }

    private struct Suspect {
        var user: PartitionUser
        var offset: Int64
        /// Hash of the event's id.
        var event: UInt64
    }

    /// - Throws: `InputError` when the limits or currencies are not usable.
    public init(_ task: Verification) throws {
        self.task = task
        days = DayCounts(most: task.mostEventsPerDay)
        decoder = try EventDecoder(
            format: task.format, limits: task.limits, currency: task.currency, headerLookup: Consumer.headerLookup)
        schemas = task.schemas?()
        events = .allocate(capacity: 0)
        picked = .allocate(capacity: 0)
    }

    deinit {
        events.deallocate()
        picked.deallocate()
    }

    /// - Parameter progress: how many records of how many were read in a phase.
    /// - Throws: `VerificationError`, `KafkaError`.
    public func run(progress: (Verification.Phase, Int64, Int64) -> Void = { _, _, _ in }) throws
        -> Verification.Report
    {
        // What is committed is asked for before the outputs are read: all outputs up to there are then in the log.
        let input = try TopicReader(
            task.cluster, topics: task.inputs, patience: task.patience, skips: task.skips)
        try lay(out: task.ranges(of: input))
        report.compacted = task.compacted
        try readOutputs(progress)
        if task.isRouted { try readPassedOn(input, progress) }
        if task.compacted { try noteNewest(input, progress) }
        try judge(input, progress)
        if let unavailable { throw VerificationError("records cannot be read: \(unavailable)") }
        report.orphans = asked - report.updates - report.deadLetters
        (report.keying.customers, report.keying.splitCustomers) = (keying.customers, keying.split)
        report.keying.oneIn = keying.factor
        return report
    }

    // MARK: Ranges

    private func lay(out ranges: [TopicPartition: Range<Int64>]) {
        for (p, range) in ranges.sorted(by: { $0.key < $1.key }) {
            indices[p] = partitions.count
            let from = min(max(range.lowerBound, task.from ?? .min), range.upperBound)
            partitions.append(Marks(p, range, from: from))
            report.partitions.append(
                .init(topic: p.topic, partition: p.partition, from: from, to: range.upperBound))
        }
    }

    private var askedRanges: [TopicPartition: Range<Int64>] {
        Dictionary(uniqueKeysWithValues: partitions.map { ($0.partition, $0.asked) })
    }

    // MARK: Outputs

    private func readOutputs(_ progress: (Verification.Phase, Int64, Int64) -> Void) throws {
        let topics = task.updates == task.deadLetters ? [task.updates] : [task.updates, task.deadLetters]
        let log = try TopicReader(task.cluster, topics: topics, patience: task.patience, seesAll: true).offsets()
        let reader = try TopicReader(task.cluster, topics: topics, patience: task.patience)
        let total = log.values.reduce(0) { $0 + Int64($1.count) }
        var done: Int64 = 0
        // Later ones are of later records, which are not looked at.
        try reader.read(log, transactionPatience: task.transactionPatience) {
            records in
            for r in records { note(r, isUpdate: topics[Int(r.topic)] == task.updates) }
            done += Int64(records.count)
            progress(.outputs, min(done, total), total)
        }
    }

    private func note(_ r: clvd_record, isUpdate: Bool) {
        if isUpdate, OutputSource.isJoin(r) { return }
        guard let source = isUpdate ? OutputSource(update: r) : OutputSource(deadLetter: r) else {
            report.foreign += 1
            return
        }
        let p = TopicPartition(source.topic, source.partition)
        guard let i = indices[p], partitions[i].range.contains(source.offset) else { return }
        let (updated, rejected) = (
            partitions[i].updated.contains(source.offset), partitions[i].settled.contains(source.offset)
        )
        let isAsked = source.offset >= partitions[i].from
        if updated || rejected {
            if isAsked {
                noteDouble(p, source.offset, r, isUpdate: isUpdate, updated: updated)
                compare(i, source, isSameKind: isUpdate == updated)
            }
            // Whichever came first, the record counts as one that has an update.
            if isUpdate { partitions[i].updated.insert(source.offset) }
            return
        }
        if isAsked {
            asked += 1
            partitions[i][identity: source.offset] = source.identity
        }
        if isUpdate { partitions[i].updated.insert(source.offset) } else { partitions[i].settled.insert(source.offset) }
    }

    private func noteDouble(_ p: TopicPartition, _ offset: Int64, _ r: clvd_record, isUpdate: Bool, updated: Bool) {
        let place = "\(isUpdate ? task.updates : task.deadLetters)[\(r.partition)] offset \(r.offset)"
        let article = updated == isUpdate ? "another" : isUpdate ? "an" : "a"
        report.found(
            .double, p, offset,
            "\(updated ? "an update" : "a dead letter") and, at \(place), \(article) "
                + (isUpdate ? "update" : "dead letter"))
    }

    /// Compares a further output of a record with the one before.
    private func compare(_ i: Int, _ source: OutputSource, isSameKind: Bool) {
        let first = partitions[i][identity: source.offset]
        if isSameKind, first == source.identity || first == .unknown || source.identity == .unknown { return }
        // One of them is not compared with the record; if it is strange, that has been told.
        partitions[i][identity: source.offset] = .unknown
        guard isSameKind else { return }
        report.found(
            .strange, partitions[i].partition, source.offset,
            "two outputs, of different events: one is not the record's")
    }

    // MARK: Records

    /// Notes which records of the topic of events are in it once more, passed on to the partition of the customer.
    private func readPassedOn(
        _ input: TopicReader, _ progress: (Verification.Phase, Int64, Int64) -> Void
    ) throws {
        let ranges = Dictionary(uniqueKeysWithValues: partitions.map { ($0.partition, $0.range) })
        let total = ranges.values.reduce(0) { $0 + Int64($1.count) }
        var done: Int64 = 0
        try input.read(ranges) { records in
            for r in records {
                guard let from = RecordOrigin(passedOn: r), let i = indices[TopicPartition(from.topic, from.partition)],
                    partitions[i].range.contains(from.offset)
                else { continue }
                if partitions[i].passedOn.contains(from.offset) {
                    report.found(
                        .double, partitions[i].partition, from.offset,
                        "passed on once more to \(task.inputs[Int(r.topic)])[\(r.partition)] offset \(r.offset)")
                }
                partitions[i].passedOn.insert(from.offset)
            }
            done += Int64(records.count)
            progress(.routed, min(done, total), total)
        }
    }

    private func judge(_ input: TopicReader, _ progress: (Verification.Phase, Int64, Int64) -> Void) throws {
        let total = partitions.reduce(0) { $0 + Int64($1.asked.count) }
        var isFirst = true
        var hasMore = true
        while hasMore {
            hasMore = false
            var done: Int64 = 0
            try input.read(askedRanges) { records in
                pick(records) { i, r in
                    guard r.offset >= partitions[i].from else { return false }
                    let updated = partitions[i].updated.contains(r.offset)
                    let settled = partitions[i].settled.contains(r.offset)
                    if isFirst {
                        report.records += 1
                        if updated { report.updates += 1 } else if settled { report.deadLetters += 1 }
                    }
                    guard updated || settled else { return true }
                    guard isFirst, partitions[i][identity: r.offset] != .unknown else { return false }
                    if !updated { compare(i, deadLetterOf: task.isRouted ? RecordOrigin.restoringKey(of: r) : r) }
                    return updated
                } each: { i, record, event in
                    customers.note(event)
                    if isFirst { noteCustomer(i, event) }
                    if partitions[i].updated.contains(record.offset) {
                        compare(i, updateOf: event)
                    } else if !judge(i, record, event) {
                        hasMore = true
                    }
                }
                done += Int64(records.count)
                progress(.records, min(done, total), total)
            }
            isFirst = false
            try resolve(input, progress)
        }
    }

    /// Notes in which partition the customer of a valid record is.
    private func noteCustomer(_ i: Int, _ e: clvd_event) {
        guard e.status == UInt8(clvd_status_ok.rawValue) else { return }
        let place = KeyingSample.Sighting(topic: Int32(i), partition: 0, offset: .at(e.offset))
        let pair = keying.note(clvd_hash(e.user, Int(e.user_length)), at: place)
        guard let pair, report.keying.example.isEmpty else { return }
        report.keying.example = [pair.first, pair.second].compactMap { sighting in
            guard case .at(let offset) = sighting.offset else { return nil }
            let p = partitions[Int(sighting.topic)].partition
            return .init(topic: p.topic, partition: p.partition, offset: offset)
        }
    }

    /// Compares a record with what its update says of it.
    private func compare(_ i: Int, updateOf event: clvd_event) {
        let said = partitions[i][identity: event.offset]
        let remark: String
        if event.status == UInt8(clvd_status_message.rawValue) { return }
        if event.status == UInt8(clvd_status_ok.rawValue) {
            let record = RecordIdentity(of: event)
            if !said.isSameUser(as: record) {
                remark = "its update is of another customer"
            } else if !said.isSameEvent(as: record) {
                remark = "its update is of another event of the customer"
            } else {
                return
            }
        } else {
            remark = "an update, but the record is \(String(cString: clvd_status_name(event.status)))"
        }
        report.found(.strange, partitions[i].partition, event.offset, remark)
    }

    private func compare(_ i: Int, deadLetterOf r: clvd_record) {
        guard partitions[i][identity: r.offset] != RecordIdentity(bytesOf: r) else { return }
        report.found(.strange, partitions[i].partition, r.offset, "its dead letter has other bytes")
    }

    /// Judges a record without an output.
    /// - Returns: false when there is no room for a further suspect.
    private func judge(_ i: Int, _ record: clvd_record, _ event: clvd_event) -> Bool {
        let p = partitions[i].partition
        switch event.status {
        case _ where partitions[i].passedOn.contains(record.offset): report.reasons.passedOn += 1
        case UInt8(clvd_status_message.rawValue): report.reasons.messages += 1
        case UInt8(clvd_status_tombstone.rawValue): report.reasons.tombstones += 1
        case UInt8(clvd_status_ignored_type.rawValue), UInt8(clvd_status_filtered.rawValue):
            report.reasons.ignored += 1
        case UInt8(clvd_status_ok.rawValue):
            if event.isIdentity {
                report.reasons.identifies += 1
            } else if task.compacted, isSuperseded(i, event) {
                report.reasons.superseded += 1
            } else if event.event_id != nil || task.mostEventsPerDay > 0 {
                guard suspects.count < task.mostSuspects else { return false }
                suspects.append(
                    Suspect(user: user(i, event), offset: event.offset, event: event.event_id_hash))
            } else {
                report.found(.missing, p, record.offset, "no update and no dead letter")
            }
        default:
            report.found(
                .missing, p, record.offset,
                "no dead letter of what is \(String(cString: clvd_status_name(event.status)))")
        }
        partitions[i].settled.insert(record.offset)
        return true
    }

    /// Reads the input once more and finds which suspects repeat an earlier event.
    private func resolve(_ input: TopicReader, _ progress: (Verification.Phase, Int64, Int64) -> Void) throws {
        guard !suspects.isEmpty else { return }
        var ranges: [TopicPartition: Range<Int64>] = [:]
        for s in suspects {
            originals[key(s.user, s.event)] = .max
            days.follow(key(s.user, 0))
        }
        for s in suspects {
            let mark = partitions[s.user.partition]
            let end = max(ranges[mark.partition]?.upperBound ?? mark.range.lowerBound, s.offset + 1)
            // Before what is looked at may be the original of what is in it.
            ranges[mark.partition] = mark.range.lowerBound..<end
        }
        let total = ranges.values.reduce(0) { $0 + Int64($1.count) }
        var done: Int64 = 0
        try input.read(ranges) { records in
            pick(records) { i, r in
                partitions[i].updated.contains(r.offset) || task.mostEventsPerDay > 0
            } each: { i, _, event in
                guard event.status == UInt8(clvd_status_ok.rawValue), !event.isIdentity else { return }
                let isDeletion = event.type == UInt8(clvd_type_user_deleted.rawValue)
                let customer = key(user(i, event), 0)
                guard partitions[i].updated.contains(event.offset) else {
                    if days.isFull(customer, at: event.time_ms) { excess[i, default: []].insert(event.offset) }
                    return
                }
                days.note(customer, at: event.time_ms, isDeletion: isDeletion)
                guard event.event_id != nil, !isDeletion else { return }
                let key = key(user(i, event), event.event_id_hash)
                if let earliest = originals[key], event.offset < earliest { originals[key] = event.offset }
            }
            done += Int64(records.count)
            progress(.repeats, min(done, total), total)
        }
        for s in suspects {
            if originals[key(s.user, s.event)]! < s.offset {
                report.reasons.duplicates += 1
            } else if excess[s.user.partition]?.contains(s.offset) == true {
                report.reasons.ignored += 1
            } else {
                let mark = partitions[s.user.partition]
                let (p, low) = (mark.partition, mark.range.lowerBound)
                report.found(
                    .missing, p, s.offset,
                    "no update and no dead letter, and no earlier event with its id"
                        + (low > 0 ? " from offset \(low), where the log begins" : ""))
            }
        }
        suspects.removeAll(keepingCapacity: true)
        (days, excess) = (DayCounts(most: task.mostEventsPerDay), [:])
        originals.removeAll(keepingCapacity: true)
    }

    // MARK: Compacted updates

    private func noteNewest(_ input: TopicReader, _ progress: (Verification.Phase, Int64, Int64) -> Void) throws {
        let total = partitions.reduce(0) { $0 + Int64($1.asked.count) }
        var done: Int64 = 0
        let isDeletion = { (e: clvd_event) in e.type == UInt8(clvd_type_user_deleted.rawValue) }
        try input.read(askedRanges) { records in
            pick(records) { _, _ in
                true
            } each: { i, r, event in
                customers.note(event)
                guard event.status == UInt8(clvd_status_ok.rawValue),
                    partitions[i].updated.contains(r.offset) || isDeletion(event)
                else { return }
                newest[user(i, event)] = event.offset
            }
            done += Int64(records.count)
            progress(.users, min(done, total), total)
        }
        // What an alias did last is as old as what its customer did.
        for (user, offset) in newest where customers.customer(of: user.id) != user.id {
            let customer = PartitionUser(partition: user.partition, id: customers.customer(of: user.id))
            newest[customer] = max(offset, newest[customer] ?? .min)
        }
    }

    /// Whether a later update of the user is there, or this was the user's deletion: compaction removes tombstones too.
    private func isSuperseded(_ i: Int, _ event: clvd_event) -> Bool {
        let user = PartitionUser(partition: i, id: customers.customer(of: user(i, event).id))
        guard let last = newest[user] else { return false }
        return last > event.offset || event.type == UInt8(clvd_type_user_deleted.rawValue)
    }

    // MARK: Decoding

    /// Decodes the records in the ranges that `condition` wants.
    private func pick(
        _ records: UnsafeBufferPointer<clvd_record>, where condition: (Int, clvd_record) -> Bool,
        each body: (Int, clvd_record, clvd_event) -> Void
    ) {
        if records.count > room {
            events.deallocate()
            picked.deallocate()
            room = records.count
            events = .allocate(capacity: room)
            picked = .allocate(capacity: room)
        }
        var places: [Int] = []
        var last: (topic: Int32, partition: Int32, index: Int?) = (-1, -1, nil)
        for r in records {
            if r.topic != last.topic || r.partition != last.partition {
                last = (r.topic, r.partition, indices[TopicPartition(task.inputs[Int(r.topic)], r.partition)])
            }
            guard let i = last.index, partitions[i].range.contains(r.offset), condition(i, r) else { continue }
            picked[places.count] = task.isRouted ? RecordOrigin.restoringKey(of: r) : r
            places.append(i)
        }
        guard !places.isEmpty else { return }
        let chosen = UnsafeBufferPointer(start: UnsafePointer(picked), count: places.count)
        do throws(SchemaUnavailable) {
            try decoder.prepare(chosen, schemas: schemas)
        } catch {
            unavailable = unavailable ?? error
        }
        decoder.decode(chosen, into: events)
        task.skips.mark(chosen, events, topics: task.inputs)
        for (n, r) in chosen.enumerated() where task.isRouted && RoutedRecord.isMessage(r) {
            events[n].status = UInt8(clvd_status_message.rawValue)
        }
        for (n, i) in places.enumerated() { body(i, picked[n], events[n]) }
    }

    private func user(_ partition: Int, _ e: clvd_event) -> PartitionUser {
        PartitionUser(partition: partition, id: clvd_hash(e.user, Int(e.user_length)))
    }

    /// Hash of a customer's event. It changes when ids turn out to be of one customer.
    private func key(_ user: PartitionUser, _ event: UInt64) -> UInt64 {
        let parts = [UInt64(user.partition), customers.customer(of: user.id), event]
        return parts.withUnsafeBytes { clvd_hash($0.baseAddress!.assumingMemoryBound(to: UInt8.self), $0.count) }
    }
}
