/// The topic between the stages, as it has to be.
enum EventsTopic {
    /// Bytes that a record needs beyond what it had in an input topic: origin, key and original key, each of 4 KiB at
    /// most but for what is not an id of a customer.
    static let headroom = 65_536

    /// The settings with which it is created. It keeps records as long as the inputs do, so that the state can be made
    /// again from it as far back, and takes the largest of their records.
    /// - Parameters:
    ///   - inputs: what the brokers say of the input topics.
    ///   - count: how many there are. When the brokers do not tell of one of them, records are kept for good.
    static func configuration(_ inputs: [[String: String]], count: Int) -> [String: String] {
        var configuration = ["cleanup.policy": "delete", "message.timestamp.type": "CreateTime"]
        let retentions = inputs.compactMap { $0["retention.ms"].flatMap { Int64($0) } }
        let isKnown = retentions.count == count && !retentions.contains { $0 < 0 }
        configuration["retention.ms"] = isKnown ? retentions.max().map { String($0) } ?? "-1" : "-1"
        if let largest = largest(inputs) { configuration["max.message.bytes"] = String(largest + headroom) }
        return configuration
    }

    /// The largest record that the input topics take; nil: unknown.
    static func largest(_ inputs: [[String: String]]) -> Int? {
        inputs.compactMap { $0["max.message.bytes"].flatMap { Int($0) } }.max()
    }
}
