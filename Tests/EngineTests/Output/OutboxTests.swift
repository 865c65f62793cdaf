import CEventParser
import Testing

@testable import Engine

/// What entries of the outbox carry for their publisher.
@Suite struct OutboxTests {
    @Test func entriesNameTheirSource() {
        let stream = TestStream()
        stream.add("a", .view, at: epoch, partition: 1, offset: 70)
        stream.add("b", .view, at: epoch, partition: 0, status: clvd_status_invalid_json, offset: 7)
        stream.add("a", .userDeleted, at: epoch, partition: 1, offset: 71)
        let engine = Engine.make(partitions: 2)
        var sources: [RecordPlace] = []
        stream.events.withUnsafeBufferPointer { events in
            engine.step(events)
            engine.forEachOutput { sources.append($0.source) }
        }
        #expect(sources == stream.events.map(RecordPlace.init))
        #expect(sources.map(\.partition) == [1, 0, 1] && sources.map(\.offset) == [70, 7, 71])
    }
}
