/// What the names of librdkafka's properties say.
public enum KafkaProperties {
    private static let secretParts = ["password", "secret", "token", "key", "pem", "jaas", "oauthbearer.config"]

    /// Whether a property holds a secret, whose value must never be shown.
    public static func isSecret(_ name: String) -> Bool {
        let name = name.lowercased()
        return secretParts.contains { name.contains($0) }
    }
}
