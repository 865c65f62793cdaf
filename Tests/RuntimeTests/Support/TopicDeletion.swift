import CRdKafka
import Logging
import Testing

@testable import Kafka

extension Cluster {
    /// Deletes a topic of a real broker, and makes another one of the same name.
    func makeAnew(_ topic: String, partitions: Int = 1) async throws {
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let client = try Client(RD_KAFKA_PRODUCER, properties: [("bootstrap.servers", bootstrap)], logger: quiet)
        try client.delete([topic], milliseconds: 20_000)
        try await eventually(20, "the end of \(topic)") {
            try client.partitionCounts([topic], milliseconds: 5_000)[topic] == nil
        }
        try createTopics([topic], partitions: partitions, configuration: ["retention.ms": "-1"])
    }
}
