import CRdKafka
import Logging
import Testing

@testable import Kafka

extension Cluster {
    /// Deletes a topic of a real broker, and makes another one of the same name.
    func makeAnew(_ topic: String, partitions: Int = 1) async throws {
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let client = try Client(RD_KAFKA_PRODUCER, properties: [("bootstrap.servers", bootstrap)], logger: quiet)
        var request = rd_kafka_DeleteTopic_new(topic)
        let queue = rd_kafka_queue_new(client.handle)
        defer {
            rd_kafka_DeleteTopic_destroy(request)
            rd_kafka_queue_destroy(queue)
        }
        rd_kafka_DeleteTopics(client.handle, &request, 1, nil, queue)
        let event = try #require(rd_kafka_queue_poll(queue, 20_000))
        defer { rd_kafka_event_destroy(event) }
        try #require(rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
        try await eventually(20, "the end of \(topic)") {
            try client.partitionCounts([topic], milliseconds: 5_000)[topic] == nil
        }
        try createTopics([topic], partitions: partitions, configuration: ["retention.ms": "-1"])
    }
}
