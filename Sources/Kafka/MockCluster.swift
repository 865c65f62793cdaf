import CRdKafka
import Logging

/// A Kafka cluster inside this process that speaks the real protocol on loopback: librdkafka's mock cluster. It keeps
/// at most 5 MB or 100,000 records of a partition, loses them with the process, neither compacts nor hides aborted
/// records, and forgets offsets that are committed in transactions: for demonstrations and tests.
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
    public func setBroker(_ id: Int, up: Bool) throws(KafkaError) {  // for tests
        let error =
            up ? rd_kafka_mock_broker_set_up(cluster, Int32(id)) : rd_kafka_mock_broker_set_down(cluster, Int32(id))
        try client.check("broker \(id)", error)
    }

    /// Makes another broker (from 1) the leader of a partition.
    public func setLeader(of topic: String, _ partition: Int32, to id: Int) throws(KafkaError) {  // for tests
        try client.check(
            "lead \(topic)[\(partition)]", rd_kafka_mock_partition_set_leader(cluster, topic, partition, Int32(id)))
    }

    /// Makes another broker the coordinator of a group.
    public func setCoordinator(ofGroup name: String, to id: Int) throws(KafkaError) {  // for tests
        try client.check(
            "coordinate \(name)", rd_kafka_mock_coordinator_set(cluster, "group", name, Int32(id)))
    }

    /// Has the brokers say that a topic does not exist, or exists again.
    public func setTopic(_ name: String, exists: Bool) {  // for tests
        rd_kafka_mock_topic_set_error(
            cluster, name, exists ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    }

    /// A kind of request, by its key in the protocol.
    public enum Request: Int16, Sendable {  // for tests
        case produce = 0
        case fetch = 1
        case offsetCommit = 8
        case joinGroup = 11
        case heartbeat = 12
        case addPartitionsToTransaction = 24
        case endTransaction = 26
        case transactionalOffsetCommit = 28
    }

    /// What a broker may answer instead of serving a request.
    public enum Refusal: Sendable {
        case notEnoughReplicas
        case groupAuthorizationFailed
        case topicAuthorizationFailed
        case producerFenced
        case instanceFenced
        case rebalanceInProgress
        case unknownMember
        case offsetOutOfRange
        /// Hangs up.
        case disconnect

        fileprivate var code: rd_kafka_resp_err_t {
            switch self {
            case .notEnoughReplicas: RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
            case .groupAuthorizationFailed: RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            case .topicAuthorizationFailed: RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
            case .producerFenced: RD_KAFKA_RESP_ERR_PRODUCER_FENCED
            case .instanceFenced: RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
            case .unknownMember: RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
            case .offsetOutOfRange: RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
            case .rebalanceInProgress: RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
            case .disconnect: RD_KAFKA_RESP_ERR__TRANSPORT
            }
        }
    }

    /// Has the next requests of a kind refused, one for each of `refusals`.
    public func refuseNext(_ request: Request, with refusals: [Refusal]) {  // for tests
        rd_kafka_mock_push_request_errors_array(cluster, request.rawValue, refusals.count, refusals.map(\.code))
    }
}
