import CEventParser
import EventInput
import Kafka

/// What was found of a first stage: input topics against the topic of events. `records = routed + deadLetters + missing`.
public struct RouteReport: Encodable, Sendable, Equatable {
    /// Records of the input topics in the range.
    public var records: Int64 = 0
    /// Of them those that are in the topic of events.
    public var routed: Int64 = 0
    /// Of these those that held several events, and how many.
    public var split: Int64 = 0
    public var splitEvents: Int64 = 0
    /// Of them those that were stepped over, with a dead letter.
    public var deadLetters: Int64 = 0
    /// Of them those that are nowhere.
    public var missing: Int64 = 0
    /// Records of the topic of events and dead letters beyond the first of an input record.
    public var double: Int64 = 0
    /// Records of the topic of events with other bytes than the input record that they name.
    public var strange: Int64 = 0
    /// Records of the topic of events in the range whose input record is not in the log.
    public var orphans: Int64 = 0
    /// Records of the topic of events that name no origin.
    public var foreign: Int64 = 0
    /// The first that are missing, double or strange, in the order they were found.
    public var findings: [Verification.Report.Finding] = []
    public var partitions: [Verification.Report.Partition] = []

    mutating func found(
        _ kind: Verification.Report.Finding.Kind, _ p: TopicPartition, _ offset: Int64, _ remark: String
    ) {
        switch kind {
        case .missing: missing += 1
        case .double: double += 1
        case .strange: strange += 1
        }
        guard findings.count < Verification.Report.mostFindings else { return }
        findings.append(.init(kind: kind, topic: p.topic, partition: p.partition, offset: offset, remark: remark))
    }
}

/// Compares input topics with what a first stage made of them: each record has to be in the topic of events once, with its
/// bytes, or have a dead letter because an operator wanted it to be stepped over. Of a record that holds several events,
/// each has to be there once.
public final class RouteVerifier {
    private let task: Verification
    private let splitter: RecordSplitter
    /// Records of the inputs that the topic of events names.
    private var named: Int64 = 0
    private var report = RouteReport()
    private var partitions: [TopicPartition: Marks] = [:]

    /// What was found of the records of a partition.
    private struct Marks {
        var routed: OffsetSet
        var skipped: OffsetSet
        var identities: [RecordIdentity]
        /// Of records that were split, what is there.
        var parts: [Int64: Parts] = [:]

        init(_ range: Range<Int64>) {
            (routed, skipped) = (OffsetSet(range), OffsetSet(range))
            identities = Array(repeating: .unknown, count: range.count)
        }
    }

    /// Events of one record.
    private struct Parts {
        var elements: Set<Int> = []
        private(set) var sum: UInt64 = 0

        /// False: it was there.
        mutating func insert(_ element: Int, _ r: clvd_record) -> Bool {
            guard elements.insert(element).inserted else { return false }
            let bits = UInt64(RecordIdentity(bytesOf: r).bits) | UInt64(element) << 32
            sum &+= (bits ^ bits >> 29) &* 0x9E37_79B9_7F4A_7C15
            return true
        }
    }

    /// - Parameter task: the input topics and the group of the first stage; `updates` is the topic of events.
    /// - Throws: `InputError` when the limits or currencies are not usable.
    public init(_ task: Verification) throws {
        self.task = task
        splitter = try RecordSplitter(
            format: task.format, limits: task.limits, currency: task.currency, headerLookup: Consumer.headerLookup)
    }

    /// - Parameter progress: how many records of how many were read in a phase.
    /// - Throws: `VerificationError`, `KafkaError`.
    public func run(progress: (Verification.Phase, Int64, Int64) -> Void = { _, _, _ in }) throws -> RouteReport {
        let input = try TopicReader(task.cluster, topics: task.inputs, patience: task.patience, skips: task.skips)
        let ranges = try task.ranges(of: input)
        for (p, range) in ranges.sorted(by: { $0.key < $1.key }) {
            partitions[p] = Marks(range)
            report.partitions.append(
                .init(topic: p.topic, partition: p.partition, from: range.lowerBound, to: range.upperBound))
        }
        try readOutputs(progress)
        try readInputs(input, ranges, progress)
        report.orphans = partitions.values.reduce(0) { $0 + $1.routed.count } - named
        return report
    }

    private func readOutputs(_ progress: (Verification.Phase, Int64, Int64) -> Void) throws {
        let topics = [task.updates, task.deadLetters]
        let log = try TopicReader(task.cluster, topics: topics, patience: task.patience, seesAll: true).offsets()
        let reader = try TopicReader(task.cluster, topics: topics, patience: task.patience)
        let total = log.values.reduce(0) { $0 + Int64($1.count) }
        var done: Int64 = 0
        try reader.read(log, transactionPatience: task.transactionPatience) { records in
            for r in records { note(r, isDeadLetter: r.topic == 1) }
            done += Int64(records.count)
            progress(.routed, min(done, total), total)
        }
    }

    private func note(_ r: clvd_record, isDeadLetter: Bool) {
        // What the partitions of the topic say to each other, and what they have passed on, is not of this stage.
        if !isDeadLetter, RoutedRecord.isMessage(r) || RecordOrigin(passedOn: r) != nil { return }
        guard let source = OutputSource(routed: r, isDeadLetter: isDeadLetter) else {
            if !isDeadLetter { report.foreign += 1 }
            return
        }
        let p = TopicPartition(source.topic, source.partition)
        guard let range = partitions[p]?.routed.range, range.contains(source.offset) else { return }
        let element = isDeadLetter ? nil : RecordOrigin(of: r)?.element
        let before = partitions[p]!.parts[source.offset]
        var isFirst = !partitions[p]!.routed.contains(source.offset) && !partitions[p]!.skipped.contains(source.offset)
        if isDeadLetter {
            partitions[p]!.skipped.insert(source.offset)
        } else if let element {
            // What a record is split into names it more than once.
            var parts = before ?? Parts()
            isFirst = parts.insert(element, RecordOrigin.restoringKey(of: r)) && (isFirst || before != nil)
            partitions[p]!.parts[source.offset] = parts
            partitions[p]!.routed.insert(source.offset)
        } else {
            partitions[p]!.routed.insert(source.offset)
            partitions[p]!.identities[Int(source.offset - range.lowerBound)] = source.identity
        }
        guard !isFirst else { return }
        report.found(
            .double, p, source.offset,
            "once more in \(isDeadLetter ? task.deadLetters : task.updates)[\(r.partition)] at offset \(r.offset)")
    }

    private func readInputs(
        _ input: TopicReader, _ ranges: [TopicPartition: Range<Int64>],
        _ progress: (Verification.Phase, Int64, Int64) -> Void
    ) throws {
        let total = ranges.values.reduce(0) { $0 + Int64($1.count) }
        var done: Int64 = 0
        try input.read(ranges) { records in
            for r in records { judge(r) }
            done += Int64(records.count)
            progress(.inputs, min(done, total), total)
        }
    }

    private func judge(_ r: clvd_record) {
        let p = TopicPartition(task.inputs[Int(r.topic)], r.partition)
        guard let marks = partitions[p], marks.routed.range.contains(r.offset) else { return }
        report.records += 1
        if let parts = marks.parts[r.offset] {
            named += 1
            judge(p, r, parts)
        } else if marks.routed.contains(r.offset) {
            named += 1
            report.routed += 1
            if marks.identities[Int(r.offset - marks.routed.range.lowerBound)] != RecordIdentity(bytesOf: r) {
                report.found(.strange, p, r.offset, "in the topic of events it has other bytes")
            }
        } else if marks.skipped.contains(r.offset) {
            report.deadLetters += 1
        } else {
            report.found(.missing, p, r.offset, "not in the topic of events, and no dead letter")
        }
    }

    /// Judges a record of which events are in the topic of events.
    private func judge(_ p: TopicPartition, _ r: clvd_record, _ parts: Parts) {
        var right = Parts()
        let count = splitter.forEachEvent(of: r, status: splitter.status(of: r)) {
            _ = right.insert($0.index, $0.record)
        }
        let missing = right.elements.subtracting(parts.elements).sorted()
        guard missing.isEmpty else {
            let names = missing.prefix(5).map(String.init).joined(separator: ", ") + (missing.count > 5 ? ", …" : "")
            return report.found(
                .missing, p, r.offset, "of its \(count) events (from 0) these are not in the topic of events: \(names)")
        }
        report.routed += 1
        report.split += 1
        report.splitEvents += Int64(parts.elements.count)
        guard right.sum != parts.sum else { return }
        report.found(.strange, p, r.offset, "in the topic of events its events have other bytes, or there are others")
    }
}
