import EventInput
import Foundation
import Kafka
import Runtime
import Settings
import Testing
import Verification

@testable import Engine

/// Sites whose input is not keyed by customer: two topics, and a record in any partition of either.
extension Site {
    static let spread = 4

    static func repartitioned(
        _ cluster: Cluster, _ delivery: Settings.Delivery = .atLeastOnce, learning: Bool = false,
        _ change: (inout Settings) -> Void = { _ in }
    ) throws -> Site {
        let events = "routed-\(cluster.name)"
        // The mock makes no topics with settings, and a test may look before the first stage has made it.
        try cluster.createTopics([events], partitions: spread, configuration: ["retention.ms": "-1"])
        return try Site(cluster, delivery, topics: 2, partitions: spread, outputPartitions: 4) {
            $0.input.keying = .repartition
            $0.input.eventsTopic = events
            $0.input.alignmentWaitMs = 1000
            $0.learning(learning)
            $0.runtime.reportIntervalSeconds = 1
            change(&$0)
        }
    }

    /// The records in the order of their times, each in a partition and with a key that have nothing to do with its
    /// customer.
    static func spread(_ records: [Input], seed: UInt64 = 5) -> [Input] {
        var random = Shop(seed: seed)
        return records.map {
            var record = $0
            record.partition = Int32(random.random(spread))
            record.topic = random.random(2)
            if record.key != nil { record.key = Array("k\(random.random(1000))".utf8) }
            return record
        }
    }

    /// Produces records to their topics, in their order.
    func feed(_ records: some Collection<Input>, by producer: Producer) throws {
        let topics = try input.map { try producer.topic($0) }
        try cluster.produce(records, by: producer) { topics[$0.topic] }
    }

    /// What a stage is configured with.
    func settings(of stage: Stage) -> Site {
        var site = self
        site.settings = settings.settings(of: stage)
        return site
    }

    /// Whether each record is in the topic of events once, as `clvd verify` finds.
    @discardableResult
    func verifiedRoute(records: Int) throws -> RouteReport {
        let s = settings.settings(of: .route)
        var task = Verification(
            cluster: .init(bootstrap: s.kafka.bootstrapServers, properties: s.kafka.properties),
            inputs: s.input.topics, updates: s.output.updatesTopic, deadLetters: s.output.deadLetterTopic,
            format: try EventFormat.load(s.input.format),
            to: s.delivery == .atLeastOnce || Cluster.isReal ? .committed(group: s.kafka.groupId) : .log)
        task.skips = SkippedOffsets(s.input.skip)
        let report = try RouteVerifier(task).run()
        #expect(report.records == Int64(records))
        #expect(report.missing == 0 && report.strange == 0 && report.orphans == 0 && report.foreign == 0, "\(report)")
        if s.delivery == .exactlyOnce, Cluster.isReal { #expect(report.double == 0, "\(report)") }
        return report
    }

    /// The same records to one partition of one topic, keyed by customer, and the statistics that come of them.
    static func inOnePartition(_ records: [Input], _ engine: EngineConfiguration) async throws -> Set<Data> {
        let site = try Site(Cluster(), .atLeastOnce, partitions: 1) { $0.engine = engine }
        try site.produce(
            records.map {
                var record = $0
                (record.partition, record.topic) = (0, 0)
                return record
            })
        let daemon = RunningDaemon(site)
        try await daemon.taken(records.count, seconds: 120)
        try await daemon.stop()
        return try site.customers()
    }

    /// What is known of each customer but for what hangs on a model: id, orders, value to date, windows, last events.
    func customers() throws -> Set<Data> {
        let model = settings.engine.model
        let layout = UserLayout(units: model.units, hasCell: model.recurrent == .lstm)
        var customers: Set<Data> = []
        for state in try states().values {
            let users = state.statistics(layout)
            for start in stride(from: 0, to: users.count, by: layout.size) {
                let slot = Data(users[start..<start + layout.size])
                if slot[MemoryLayout<UserHeader>.offset(of: \.flags)!] & UserHeader.inUse != 0 {
                    #expect(customers.insert(slot).inserted)
                }
            }
        }
        return customers
    }

    /// Waits until the first stage has committed so many records, and the second all that came of them.
    func throughBothStages(_ records: Int, seconds: Double = 120, _ logs: @autoclosure () -> String) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        let group = settings.kafka.groupId
        let observer = try Consumer(
            bootstrap: cluster.bootstrap, groupId: "observer-\(cluster.name)", instanceId: nil, topics: [],
            batchRecords: 1, properties: [:], logger: Log().logger)
        var said = ""
        while ContinuousClock.now < end {
            do {
                let routed = try input.map { topic in
                    try cluster.committed(topic, partitions: Self.spread, group: "\(group)-route").values
                        .reduce(0) { $0 + $1.offset }
                }.reduce(0, +)
                let scored = try cluster.committed(settings.eventsTopic, partitions: Self.spread, group: group)
                let ends = try (0..<Int32(Self.spread)).map {
                    try observer.watermarks(TopicPartition(settings.eventsTopic, $0)).high
                }
                said = "\(routed) of \(records) routed, \(scored.mapValues(\.offset)) of \(ends) scored"
                if routed == Int64(records), ends.enumerated().allSatisfy({ scored[Int32($0)]?.offset ?? 0 == $1 }) {
                    return
                }
            } catch let error as KafkaError where error.isPassing {
                // A busy broker answers the next time.
            }
            try await Task.sleep(for: .milliseconds(200))
        }
        throw Late(description: "\(said) within \(seconds) s\n\(logs())")
    }

    /// The records of the topic of events by where they come from: those that are not there, and those that are there
    /// more than once; and the same of the outputs, by the records of that topic.
    func stages(_ records: Int) async throws -> (missing: Int, double: Int) {
        let events = try await cluster.read(settings.eventsTopic, partitions: Self.spread)
        let origins = events.compactMap { $0.headers["clvd.origin"] }
        #expect(origins.count == events.count)
        let (routed, said) = (Set(origins).count, try await accounts(events.count))
        let rejected = try await cluster.read(settings.output.deadLetterTopic, partitions: outputPartitions)
        #expect(Set(rejected.compactMap { $0.headers["clvd.routed"] }).count == rejected.count)
        return (records - routed + said.missing - rejected.count, events.count - routed + said.double)
    }
}
