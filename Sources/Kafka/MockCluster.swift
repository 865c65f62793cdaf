import CRdKafka
import Logging

/// A Kafka cluster inside this process that speaks the real protocol on loopback: librdkafka's mock cluster. It keeps
/// at most 5 MB or 100,000 records of a partition, loses them with the process, and neither compacts nor hides aborted
/// records: for demonstrations and tests.
public final class MockCluster {
    private let client: Client
    private let cluster: OpaquePointer

    public init(brokers: Int = 1) throws {
        client = try Client(
            RD_KAFKA_PRODUCER, properties: [("log_level", "3")], logger: Logger(label: "clvd.mock-cluster"))
        guard let cluster = rd_kafka_mock_cluster_new(client.handle, Int32(brokers)) else {
            throw KafkaPropertyError(description: "the embedded Kafka cluster cannot listen on loopback")
        }
        self.cluster = cluster
    }

    deinit { rd_kafka_mock_cluster_destroy(cluster) }

    /// `host:port` of its brokers.
    public var bootstrap: String { String(cString: rd_kafka_mock_cluster_bootstraps(cluster)) }

    public func createTopic(_ name: String, partitions: Int) throws(KafkaError) {
        try client.check(
            "create topic \(name)", rd_kafka_mock_topic_create(cluster, name, Int32(partitions), 1))
    }

    /// Takes a broker (from 1) off the net, or back on.
    public func setBroker(_ id: Int, up: Bool) throws(KafkaError) {
        let error =
            up ? rd_kafka_mock_broker_set_up(cluster, Int32(id)) : rd_kafka_mock_broker_set_down(cluster, Int32(id))
        try client.check("broker \(id)", error)
    }
}
