import CRdKafka

/// An error of the Kafka client: what was being done, librdkafka's code and its text.
public struct KafkaError: Error, Sendable, CustomStringConvertible {
    /// librdkafka's name of the code (`_TRANSPORT`, `TOPIC_AUTHORIZATION_FAILED`).
    public let name: String
    public let code: Int32
    public let operation: String
    public let reason: String
    /// The client can do nothing any more (a fenced producer, for one).
    public let isFatal: Bool
    public let isRetriable: Bool
    /// The transaction has to be aborted; then the producer can go on.
    public let requiresAbort: Bool
    /// The topic that refused records, and bytes of the largest of them with its key; nil: no topic did.
    public internal(set) var refusal: (topic: String, bytes: Int)?

    public var description: String { "\(operation): \(reason) (\(name))" }

    init(_ operation: String, _ code: rd_kafka_resp_err_t, reason: String? = nil) {
        self.operation = operation
        self.code = code.rawValue
        name = String(cString: rd_kafka_err2name(code))
        self.reason = reason ?? String(cString: rd_kafka_err2str(code))
        isFatal = code == RD_KAFKA_RESP_ERR__FATAL
        isRetriable = false
        requiresAbort = false
    }

    /// An error of a simulated cluster.
    /// - Parameter code: one of librdkafka's.
    package init(
        _ operation: String, code: Int32, reason: String, isFatal: Bool = false, isRetriable: Bool = false,
        requiresAbort: Bool = false
    ) {
        self.operation = operation
        self.code = code
        name = String(cString: rd_kafka_err2name(rd_kafka_resp_err_t(rawValue: code)))
        self.reason = reason
        self.isFatal = isFatal
        self.isRetriable = isRetriable
        self.requiresAbort = requiresAbort
    }

    /// Takes over and destroys an error object.
    init(_ operation: String, taking error: OpaquePointer) {
        self.operation = operation
        code = rd_kafka_error_code(error).rawValue
        name = String(cString: rd_kafka_error_name(error))
        reason = String(cString: rd_kafka_error_string(error))
        isFatal = rd_kafka_error_is_fatal(error) != 0
        isRetriable = rd_kafka_error_is_retriable(error) != 0
        requiresAbort = rd_kafka_error_txn_requires_abort(error) != 0
        rd_kafka_error_destroy(error)
    }

    /// Another instance with the same transactional id or group instance id has taken over.
    public var isFenced: Bool {
        [
            RD_KAFKA_RESP_ERR__FENCED.rawValue, RD_KAFKA_RESP_ERR_PRODUCER_FENCED.rawValue,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH.rawValue, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID.rawValue,
        ].contains(code)
    }

    /// The group has another member with this one's group instance id, or believes so.
    public var isFencedMember: Bool { code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID.rawValue }

    /// The same error with more to say.
    package func adding(_ text: String) -> KafkaError {
        KafkaError(
            operation, code: code, reason: "\(reason); \(text)", isFatal: isFatal, isRetriable: isRetriable,
            requiresAbort: requiresAbort)
    }
}

extension KafkaError {
    /// A rebalance is about to happen, or has happened: the group accepts offsets again once this member has taken part
    /// in it, which takes polls.
    public var isOfGroup: Bool {
        [
            RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION.rawValue, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID.rawValue,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS.rawValue, RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST.rawValue,
            RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED.rawValue,
        ].contains(code)
    }

    /// The group has expelled this member.
    public var isOfExpelled: Bool {
        code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION.rawValue || code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID.rawValue
    }

    /// The cluster does not answer, or not now: the same call may succeed later.
    public var isPassing: Bool {
        isRetriable
            || [
                RD_KAFKA_RESP_ERR__TIMED_OUT.rawValue, RD_KAFKA_RESP_ERR__TRANSPORT.rawValue,
                RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN.rawValue, RD_KAFKA_RESP_ERR__WAIT_COORD.rawValue,
                RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT.rawValue, RD_KAFKA_RESP_ERR_NOT_COORDINATOR.rawValue,
                RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE.rawValue,
                RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS.rawValue,
                RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION.rawValue, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE.rawValue,
            ].contains(code)
    }

    /// A record is larger than the client or the broker takes.
    public var isTooLarge: Bool { code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE.rawValue }

    /// The brokers cannot do what was asked of them (transactions, for one).
    public var isUnsupported: Bool {
        code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE.rawValue
            || code == RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION.rawValue
    }

    /// A topic or a partition of it is not there (any more, or yet).
    public var isOfMissingTopic: Bool {
        [
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.rawValue, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC.rawValue,
            RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION.rawValue,
        ].contains(code)
    }

    /// Another broker leads a partition, or another log has its name.
    public var isOfLeader: Bool {
        [
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION.rawValue, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE.rawValue,
            RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH.rawValue, RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH.rawValue,
        ].contains(code)
    }

    /// The error of a log that turned out to be another one than before: the position means nothing in it.
    package static func otherLog(_ reason: String) -> KafkaError {
        KafkaError("read on", RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, reason: reason)
    }

    /// The log no longer has the offset that was asked for.
    public var isOutOfRange: Bool {
        code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET.rawValue || code == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE.rawValue
    }
}

/// A setting that librdkafka refuses.
public struct KafkaPropertyError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

/// The latest error of a client as a whole: brokers that cannot be reached, authentication and the like.
public struct ClientError: Sendable, Equatable {
    /// librdkafka's.
    public let code: Int32
    /// librdkafka's text, which may contain timings.
    public let text: String
    /// How many there were, this one among them.
    public let count: UInt64
}
