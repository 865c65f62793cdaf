import CRdKafka
import Logging
import Synchronization

/// A librdkafka handle with what its callbacks need. The callbacks' state lives exactly as long as the handle.
final class Client {
    let handle: OpaquePointer
    let state: UnsafeMutablePointer<clvd_client>
    private let sink: Unmanaged<LogSink>

    /// - Parameter properties: librdkafka's own names and values.
    /// - Throws: `KafkaPropertyError` naming the property that is refused (never its value: it may be a secret).
    init(_ type: rd_kafka_type_t, properties: [(String, String)], logger: Logger) throws {
        var text = [CChar](repeating: 0, count: 512)
        let conf = rd_kafka_conf_new()!
        for (name, value) in properties {
            guard rd_kafka_conf_set(conf, name, value, &text, text.count) != RD_KAFKA_CONF_OK else { continue }
            rd_kafka_conf_destroy(conf)
            throw KafkaPropertyError(
                description: "kafka property \(name): "
                    + (KafkaProperties.isSecret(name) ? "refused by librdkafka" : CText.string(text))
                    + "; see librdkafka's CONFIGURATION.md for its properties")
        }
        sink = Unmanaged.passRetained(LogSink(logger))
        state = .allocate(capacity: 1)
        state.initialize(to: clvd_client())
        state.pointee.log = { context, level, facility, line in
            guard let context, let facility, let line else { return }
            Unmanaged<LogSink>.fromOpaque(context).takeUnretainedValue()
                .write(level: level, facility: String(cString: facility), line: String(cString: line))
        }
        state.pointee.log_context = sink.toOpaque()
        clvd_client_install(state, conf, type == RD_KAFKA_CONSUMER ? 1 : 0)
        guard let handle = rd_kafka_new(type, conf, &text, text.count) else {
            rd_kafka_conf_destroy(conf)
            state.deallocate()
            sink.release()
            throw KafkaPropertyError(description: "kafka client: \(CText.string(text))")
        }
        self.handle = handle
    }

    /// The handle is not destroyed: librdkafka 2.0.2 would wait for ever for partitions of topics that vanished.
    var skipsDestroy = false
    /// Destroyed without leaving the group: librdkafka refuses to leave for a member that another has replaced.
    var leavesSilently = false

    deinit {
        guard !skipsDestroy else { return }
        rd_kafka_destroy_flags(handle, leavesSilently ? Int32(RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) : 0)
        if let partitions = state.pointee.partitions { rd_kafka_topic_partition_list_destroy(partitions) }
        state.deallocate()
        sink.release()
    }

    /// The latest error of the client as a whole and how many there were.
    var lastError: ClientError? {
        let count = state.pointee.error_count
        guard count > 0 else { return nil }
        let text = withUnsafePointer(to: &state.pointee.error_text) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        return ClientError(code: state.pointee.error.rawValue, text: text, count: count)
    }

    /// The error that ended this client for good, if one did: the cause, which the generic code of fatal errors hides.
    func fatalError(_ operation: String) -> KafkaError? {
        var text = [CChar](repeating: 0, count: 512)
        let code = rd_kafka_fatal_error(handle, &text, text.count)
        return code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(operation, code, reason: CText.string(text))
    }

    /// A property, as it is in force; nil when it has no value.
    func text(_ property: String) -> String? {
        var text = [CChar](repeating: 0, count: 512)
        var size = text.count
        guard rd_kafka_conf_get(rd_kafka_conf(handle), property, &text, &size) == RD_KAFKA_CONF_OK else { return nil }
        return CText.string(text)
    }

    /// A property that is a number, as it is in force.
    func number(_ property: String) -> Int? { text(property).flatMap { Int($0) } }

    /// Whether a broker has said that it does not know this producer's id (any more). librdkafka says so in its log only:
    /// by the time it fails a call, it has asked for a new epoch of that id and reports itself fenced.
    var isForgotten: Bool { sink.takeUnretainedValue().isForgotten }

    func check(_ operation: String, _ code: rd_kafka_resp_err_t) throws(KafkaError) {
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        throw KafkaError(operation, code)
    }

    func check(_ operation: String, _ error: OpaquePointer?) throws(KafkaError) {
        guard let error else { return }
        throw KafkaError(operation, taking: error)
    }
}

/// librdkafka's log lines, on their way into ours.
private final class LogSink: Sendable {
    private let logger: Logger
    private let forgotten = Atomic<Bool>(false)
    /// What a broker answers when it does not know the id of a producer.
    private static let forgetting = [
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    ].map { String(cString: rd_kafka_err2str($0)) }

    init(_ logger: Logger) { self.logger = logger }

    var isForgotten: Bool { forgotten.load(ordering: .relaxed) }

    func write(level: Int32, facility: String, line: String) {
        let ours: Logger.Level =
            switch level {
            case ...2: .critical
            case 3: .error
            case 4: .warning
            case 5: .notice
            case 6: .info
            default: .debug
            }
        if level <= 4, Self.forgetting.contains(where: line.contains) { forgotten.store(true, ordering: .relaxed) }
        // Properties are given to all clients: one that does not apply to this kind of client is no news.
        let isMoot = facility == "CONFWARN" && line.contains("will be ignored by this")
        logger.log(level: isMoot ? .debug : ours, "\(line)", metadata: ["facility": "\(facility)"])
    }
}

/// Text that C wrote into a buffer of ours.
enum CText {
    static func string(_ buffer: [CChar]) -> String {
        String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
