/// What the names of librdkafka's properties say.
public enum KafkaProperties {
    /// How long clients wait for an answer, `socket.timeout.ms`. A broker that is cut off without a word holds up what it
    /// leads for as long. By librdkafka's minute transactions end meanwhile and members lose their sessions.
    /// Not longer than a person's `transaction.timeout.ms`, which librdkafka refuses.
    static func answerMs(_ properties: [String: String]) -> String {
        let transaction = properties["transaction.timeout.ms"].flatMap { Int($0) } ?? .max
        return String(min(20_000, transaction))
    }
    private static let secretParts = ["password", "secret", "token", "key", "pem", "jaas", "oauthbearer.config"]

    /// Whether a property holds a secret, whose value must never be shown.
    public static func isSecret(_ name: String) -> Bool {
        let name = name.lowercased()
        return secretParts.contains { name.contains($0) }
    }
}
