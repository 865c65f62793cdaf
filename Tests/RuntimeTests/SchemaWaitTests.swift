import CEventParser
import Engine
import EventInput
import Foundation
import Kafka
import MetricsTestKit
import Settings
import Testing

@testable import Runtime

/// Has a schema from some time on.
private final class LateSchemas: SchemaSource {
    let clock: StepClock
    let from: Double
    var asked = 0
    /// How long an answer takes, s.
    var delay = 0.0

    init(_ clock: StepClock, from: Double) { (self.clock, self.from) = (clock, from) }

    func schema(id: UInt32) throws(SchemaUnavailable) -> WriterSchema {
        clock.sleep(delay)
        let text = #"{"type":"record","name":"R","fields":[]}"#
        if id == 1 { return WriterSchema(type: "AVRO", text: text, references: []) }
        asked += 1
        guard clock.now >= from else { throw SchemaUnavailable(id: id, reason: "not yet", isOfSource: delay > 0) }
        return WriterSchema(type: "AVRO", text: text, references: [])
    }
}

@Suite struct SchemaWaitTests {
    private let clock = StepClock()
    private let log = Log()
    private let shared = SharedState()

    /// A pipeline whose records have frames: of partition 0 of a schema that comes at `from`, of the other partitions of
    /// one that is there.
    private func pipeline(_ source: ScriptedSource, _ schemas: LateSchemas, in folder: Folder) throws -> Pipeline {
        let path = folder.path + "/avro.yaml"
        try """
        name: avro
        encoding: avro
        fields: { user_id: [/u], event_time: [/t] }
        default_type: view
        """.write(toFile: path, atomically: true, encoding: .utf8)
        source.high = 1_000_000
        source.value = [0, 0, 0, 0, 1, 1]
        source.values = [0: [0, 0, 0, 0, 7, 1]]
        return try Pipeline.scripted(source, in: folder, partitions: 2, clock, log, shared: shared, schemas: schemas) {
            $0.input.format = path
            $0.output.commitIntervalMs = 0
            $0.delivery = .atLeastOnce
        }
    }

    private func turn(_ pipeline: Pipeline, _ source: ScriptedSource, _ step: ScriptedSource.Step = .nothing) throws {
        source.next = step
        try pipeline.turn()
    }

    private func next(_ pipeline: Pipeline, _ partition: Int32) -> Int64? {
        pipeline.engine.nextOffset(TaskID(topic: 0, partition: partition))
    }

    /// Only the partition whose schema is missing stands still, and goes on without a gap when the schema is there.
    @Test func onlyThePartitionThatNeedsTheSchemaWaits() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        let schemas = LateSchemas(clock, from: 1100)
        let pipeline = try pipeline(source, schemas, in: folder)
        try turn(pipeline, source, .assign([0, 1]))
        // An end that comes with the records lies behind those that wait.
        source.ends = [0: 20, 1: 20]
        try turn(pipeline, source, .records(40))
        #expect(source.paused == [0] && next(pipeline, 0) == 0 && next(pipeline, 1) == 20)
        let wait = try #require(shared.status.schemaWaits["events[0]"])
        #expect(wait.schema == 7 && wait.offset == 0 && wait.reason == "not yet")
        #expect(log.count("records wait for their schema") == 1 && log.count("input.skip: [\"events/0/0\"]") == 1)
        while clock.now < 1090 { try turn(pipeline, source, .records(2)) }
        // Asked about every two seconds, logged every thirty.
        #expect((30...50).contains(schemas.asked), "\(schemas.asked)")
        #expect(log.count("records wait for their schema") == 3)
        let others = try #require(next(pipeline, 1))
        #expect(others > 1000 && source.committed[1] ?? 0 > 1000 && source.committed[0] ?? 0 == 0)
        #expect(shared.status.schemaWaits["events[0]"] == wait)
        while clock.now < 1110 { try turn(pipeline, source) }
        #expect(source.paused.isEmpty && shared.status.schemaWaits.isEmpty)
        #expect(log.count("a partition goes on that has waited for its schema") == 1)
        try turn(pipeline, source, .records(40))
        // Read again from the record that waited.
        #expect(next(pipeline, 0) == 20 && next(pipeline, 1) == others + 20)
    }

    /// Records before the first one of the missing schema are taken in, and the partition can be given up meanwhile.
    @Test func aWaitingPartitionCanBeRevoked() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        let schemas = LateSchemas(clock, from: 1050)
        let pipeline = try pipeline(source, schemas, in: folder)
        source.values = [:]
        try turn(pipeline, source, .assign([0, 1]))
        try turn(pipeline, source, .records(40))
        source.values = [0: [0, 0, 0, 0, 7, 1]]
        try turn(pipeline, source, .records(40))
        #expect(source.paused == [0] && next(pipeline, 0) == 20 && next(pipeline, 1) == 40)
        try turn(pipeline, source, .revoke([0]))
        #expect(source.committed[0] == 20 && shared.status.schemaWaits.isEmpty)
        try turn(pipeline, source, .assign([0]))
        #expect(next(pipeline, 0) == 20 && source.paused.isEmpty)
        try turn(pipeline, source, .records(20))
        #expect(source.paused == [0] && next(pipeline, 0) == 20 && next(pipeline, 1) == 50)
        try pipeline.drain()
        #expect(source.committed[0] == 20 && source.committed[1] == 50)
    }

    /// A registry that takes long to fail is asked seldom: nothing else is done meanwhile.
    @Test func aSlowRegistryIsAskedSeldom() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        let schemas = LateSchemas(clock, from: .infinity)
        let pipeline = try pipeline(source, schemas, in: folder)
        source.values = [0: [0, 0, 0, 0, 7, 1], 1: [0, 0, 0, 0, 8, 1]]
        schemas.delay = 3
        try turn(pipeline, source, .assign([0, 1]))
        try turn(pipeline, source, .records(40))
        #expect(schemas.asked == 1 && source.paused == [0, 1])
        let began = clock.now
        while clock.now < began + 180 { try turn(pipeline, source) }
        #expect((8...12).contains(schemas.asked), "\(schemas.asked)")
    }

    /// An operator may step over the records.
    @Test func skippedRecordsDoNotWait() throws {
        let folder = try Folder()
        let source = ScriptedSource(clock)
        let schemas = LateSchemas(clock, from: .infinity)
        let path = folder.path + "/avro.yaml"
        try "name: a\nencoding: avro\nfields: { user_id: [/u], event_time: [/t] }\ndefault_type: view"
            .write(toFile: path, atomically: true, encoding: .utf8)
        source.value = [0, 0, 0, 0, 7, 1]
        let pipeline = try Pipeline.scripted(
            source, in: folder, partitions: 2, clock, log, shared: shared, schemas: schemas
        ) {
            $0.input.format = path
            $0.input.skip = ["events/0/0-1", "events/1/0-9"]
        }
        try turn(pipeline, source, .assign([0, 1]))
        try turn(pipeline, source, .records(20))
        #expect(next(pipeline, 0) == 2 && next(pipeline, 1) == 10 && source.paused == [0])
        #expect(shared.status.schemaWaits["events[0]"]?.offset == 2)
    }
}
