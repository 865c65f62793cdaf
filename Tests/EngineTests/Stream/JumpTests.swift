import CEventParser
import Testing

@testable import Engine

/// Event time that jumps: the timers of all hours run in slices, and the bits are those of one piece.
@Suite struct JumpTests {
    private struct Outcome {
        var said: [Said] = []
        var image: Written
        var slices = 0
    }

    private static func outcome(
        _ stream: TestStream, work: Int, cut: Int = 512, executor: any ParallelExecutor = SerialExecutor()
    ) throws -> Outcome {
        var configuration = EngineConfiguration.small
        // Some leave while time jumps.
        configuration.state.retentionDays = 60
        let engine = Engine.make(configuration, partitions: 2, executor: executor)
        engine.sliceWork = work
        var slices = 0
        var said = engine.run(stream, cut: cut) { slices += 1 }
        let steps = slices
        let newest = stream.events.map(\.time_ms).max() ?? 0
        said += engine.idle(until: newest + 10 * day) { slices += 1 }
        #expect(engine.report(prequential: false).learning.steps >= 5, "the model has learned")
        #expect(engine.report(prequential: false).counters.evictedIdle > 10)
        #expect((steps == 0) == (work == .max) && (slices == steps) == (work == .max))
        return Outcome(said: said, image: try Written(engine), slices: slices)
    }

    @Test func slicesChangeNoBit() throws {
        var random = RandomStream(users: 30, events: 1600, days: 50, partitions: 2)
        random.jumps = [500: 4 * day, 900: 90 * day, 1400: 3 * day]
        let stream = random.make(seed: 91)
        let whole = try Self.outcome(stream, work: .max)
        #expect(whole.said.contains { $0.kind == .alert && $0.value.contains("silence") })
        let cases: [(work: Int, cut: Int, executor: any ParallelExecutor)] = [
            (1, 512, SerialExecutor()), (37, 1, SerialExecutor()), (20, 64, ThreadedExecutor(threads: 2)),
        ]
        for (work, cut, executor) in cases {
            let other = try Self.outcome(stream, work: work, cut: cut, executor: executor)
            let name = "slices of \(work), steps of \(cut)"
            let difference = zip(other.said, whole.said).enumerated().first { $1.0 != $1.1 }
            #expect(other.said.count == whole.said.count && difference == nil, "\(name)")
            #expect(other.image.differences(from: whole.image) == [], "\(name)")
        }
    }

    private struct Stop: Error {}

    @Test func anErrorBetweenSlicesEndsTheStep() throws {
        let stream = TestStream()
        stream.add("a", .view, at: epoch)
        stream.add("b", .view, at: epoch + 30 * day)
        let engine = Engine.make()
        engine.sliceWork = 1
        _ = stream.events.withUnsafeBufferPointer { events in
            #expect(throws: Stop.self) { try engine.step(events) { throw Stop() } }
        }
    }
}
