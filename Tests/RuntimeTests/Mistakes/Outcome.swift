import Foundation
import Kafka
import Settings
import Testing

extension Site {
    /// What became of the records of the first input topic, by a reader that knows nothing of clvd but its outputs.
    struct Outcome: CustomStringConvertible {
        /// Committed records without an output of the same customer and event.
        var missing = 0
        /// Outputs beyond the first of a record.
        var double = 0
        /// Updates whose record is not there, or is another customer's or another event.
        var strange = 0
        /// Customers whose last value to date is not the sum of their purchases.
        var wrong = 0
        var description: String { "\(missing) missing, \(double) double, \(strange) strange, \(wrong) wrong" }
    }

    private struct Event: Decodable {
        var userId: String
        var eventId: String?
        var eventType: String
        var amount: Double?
    }

    private struct Update: Decodable {
        var userId: String
        var eventId: String?
        var source: Source
        var valueToDate: Double
    }

    private static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    /// - Parameters:
    ///   - from: first offset that counts, in each partition; those before are not of the group.
    ///   - since: as many of the first updates of each partition do not count.
    ///   - values: whether values to date are compared; sums of records that are gone cannot be.
    func outcome(from: Int64 = 0, since: [Int32: Int64] = [:], values: Bool = true) async throws -> Outcome {
        let decoder = Self.decoder
        let ends = try cluster.committed(input[0], partitions: partitions, group: settings.kafka.groupId)
        var events: [Source: Event] = [:]
        var sums: [String: Double] = [:]
        var order: [Source: Int] = [:]
        var wanted: Set<Source> = []
        for record in try await cluster.read(input[0], partitions: partitions) {
            let source = Source(topic: input[0], partition: record.partition, offset: record.offset)
            order[source] = order.count
            guard record.offset >= from, record.offset < ends[record.partition]?.offset ?? 0 else { continue }
            wanted.insert(source)
            guard let event = try? decoder.decode(Event.self, from: Data(record.value ?? [])) else { continue }
            events[source] = event
            if event.eventType == "purchase" { sums[event.userId, default: 0] += event.amount ?? 0 }
        }
        var outcome = Outcome()
        var said: [Source: Int] = [:]
        var last: [String: (order: Int, value: Double)] = [:]
        for record in try await cluster.read(settings.output.updatesTopic, partitions: outputPartitions)
        where record.offset >= since[record.partition] ?? 0 {
            let update = try decoder.decode(Update.self, from: Data(record.value ?? []))
            guard let event = events[update.source], event.userId == update.userId, event.eventId == update.eventId
            else {
                outcome.strange += 1
                continue
            }
            said[update.source, default: 0] += 1
            let place = order[update.source] ?? 0
            if last[update.userId].map({ $0.order <= place }) ?? true {
                last[update.userId] = (place, update.valueToDate)
            }
        }
        for letter in try await cluster.read(settings.output.deadLetterTopic, partitions: outputPartitions) {
            let headers = letter.headers
            guard let topic = headers["__connect.errors.topic"],
                let partition = headers["__connect.errors.partition"].flatMap({ Int32($0) }),
                let offset = headers["__connect.errors.offset"].flatMap({ Int64($0) })
            else { continue }
            said[Source(topic: topic, partition: partition, offset: offset), default: 0] += 1
        }
        outcome.missing = wanted.count { said[$0] == nil }
        outcome.double = said.values.reduce(0) { $0 + $1 - 1 }
        if values { outcome.wrong = last.count { abs($1.value - (sums[$0] ?? 0)) > 0.005 } }
        return outcome
    }

    /// Records that the group has committed.
    func committedRecords() throws -> Int {
        try cluster.committed(input[0], partitions: partitions, group: settings.kafka.groupId)
            .values.reduce(0) { $0 + Int($1.offset) }
    }

    /// How many updates there are, by partition.
    func updateEnds() async throws -> [Int32: Int64] {
        try await cluster.read(settings.output.updatesTopic, partitions: outputPartitions)
            .reduce(into: [:]) { $0[$1.partition] = $1.offset + 1 }
    }
}
