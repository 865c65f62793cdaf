import CEventParser
import Engine
import EventInput
import Foundation
import Settings
import Testing

@testable import Runtime

/// Has a schema from some time on.
private final class LateSchemas: SchemaSource {
    let clock: StepClock
    let from: Double
    var asked = 0
    var onAsk: (Int) -> Void = { _ in }

    init(_ clock: StepClock, from: Double) { (self.clock, self.from) = (clock, from) }

    func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema {
        asked += 1
        onAsk(asked)
        guard clock.now >= from else { throw SchemaUnavailable(id: id, reason: "not yet") }
        return WriterSchema(type: "AVRO", text: #"{"type":"record","name":"R","fields":[]}"#, references: [])
    }
}

@Suite struct SchemaWaitTests {
    private let clock = StepClock()
    private let log = Log()
    private let shared = SharedState()

    /// A pipeline whose records are of a schema that comes at `from`, and have frames.
    private func pipeline(_ source: ScriptedSource, _ schemas: LateSchemas, in folder: Folder) throws -> Pipeline {
        let path = folder.path + "/avro.yaml"
        try """
        name: avro
        encoding: avro
        fields: { user_id: [/u], event_time: [/t] }
        default_type: view
        """.write(toFile: path, atomically: true, encoding: .utf8)
        return try Pipeline.scripted(source, in: folder, partitions: 2, clock, log, shared: shared, schemas: schemas) {
            $0.input.format = path
        }
    }

    @Test func recordsWaitForTheirSchemaAndTheLogSaysSo() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        source.value = [0, 0, 0, 0, 7, 1]
        let schemas = LateSchemas(clock, from: 1100)
        let pipeline = try pipeline(source, schemas, in: folder)
        source.next = .assign([0, 1])
        try pipeline.turn()
        source.next = .records(40)
        try pipeline.turn()
        // Asked every two seconds for a hundred, logged every thirty, and then nothing was lost.
        #expect((45...52).contains(schemas.asked), "\(schemas.asked)")
        #expect(log.count("records wait for their schema") == 4)
        #expect(pipeline.engine.report().counters.records == 40)
    }

    @Test func theDaemonStopsWhileRecordsWait() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        source.value = [0, 0, 0, 0, 7, 1]
        let schemas = LateSchemas(clock, from: .infinity)
        schemas.onAsk = { [shared] in if $0 == 3 { shared.stop() } }
        let pipeline = try pipeline(source, schemas, in: folder)
        source.next = .assign([0, 1])
        try pipeline.turn()
        source.next = .records(40)
        try pipeline.turn()
        #expect(schemas.asked == 3 && pipeline.engine.report().counters.records == 0)
    }
}
