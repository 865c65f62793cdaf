import EventInput
import Settings
import Testing

@Suite struct RegistrySettingsTests {
    private func format(_ encoding: String) throws -> EventFormat {
        try EventFormat(
            yaml: """
                name: orders
                encoding: \(encoding)
                fields: { user_id: [/u], event_time: [/t] }
                default_type: view
                """, source: "orders")
    }

    @Test func avroNeedsARegistryOrASchema() throws {
        var settings = Settings()
        let error = #expect(throws: SettingsError.self) { try settings.requireRegistry(for: format("avro")) }
        #expect(error?.problems.map(\.path) == ["input.registry.url"])
        try settings.requireRegistry(for: format("json"))
        try settings.requireRegistry(for: format("{ name: avro, schema: orders.avsc }"))
        settings.input.registry.url = "https://registry:8081"
        try settings.requireRegistry(for: format("avro"))
        #expect(settings.validate().isEmpty)
        settings.input.registry.url = "registry:8081"
        #expect(settings.validate().map(\.path) == ["input.registry.url"])
    }
}
