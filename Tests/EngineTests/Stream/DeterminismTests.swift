import CEventParser
import Testing

@testable import Engine

/// The same records give the same bytes, whatever the cut into steps and however the work is spread.
@Suite struct DeterminismTests {
    private static func outcome(
        _ stream: TestStream, cut: Int, partitions: Int = 1, executor: any ParallelExecutor = SerialExecutor()
    ) throws -> (said: [Said], image: Written, steps: Int64) {
        let engine = Engine.make(partitions: partitions, executor: executor)
        let said = engine.run(stream, cut: cut)
        return (said, try Written(engine), engine.report(prequential: false).learning.steps)
    }

    @Test(arguments: [1, 2] as [UInt64])
    func cutIntoSteps(seed: UInt64) throws {
        let stream = RandomStream(events: 1600).make(seed: seed)
        let whole = try Self.outcome(stream, cut: .max)
        #expect(whole.steps >= 10, "the model learned on the way")
        #expect(whole.said.contains { $0.kind == .alert })
        for cut in [1, 7, 512] {
            let other = try Self.outcome(stream, cut: cut)
            #expect(firstDifferences(other.said, whole.said) == [], "steps of \(cut)")
            #expect(other.image.differences(from: whole.image) == [], "steps of \(cut)")
        }
    }

    @Test(arguments: [4, 5] as [UInt64])
    func spreadOverThreads(seed: UInt64) throws {
        let stream = RandomStream(users: 60, events: 1500, partitions: 3).make(seed: seed)
        let serial = try Self.outcome(stream, cut: 300, partitions: 3)
        #expect(serial.steps >= 10)
        let executors: [any ParallelExecutor] = [
            ThreadedExecutor(threads: 1), ThreadedExecutor(threads: 2), ThreadedExecutor(threads: 4),
            ReversedExecutor(),
        ]
        for (i, executor) in executors.enumerated() {
            let other = try Self.outcome(stream, cut: [300, 41, 1200, 127][i], partitions: 3, executor: executor)
            #expect(firstDifferences(other.said, serial.said) == [], "executor \(i)")
            #expect(other.image.differences(from: serial.image) == [], "executor \(i)")
        }
    }

    @Test func repeatsDoNotShiftTheSequence() throws {
        let stream = RandomStream(events: 1500).make(seed: 9)
        let once = try Self.outcome(stream, cut: 200)
        let engine = Engine.make()
        var said: [Said] = []
        for at in stride(from: 0, to: stream.events.count, by: 200) {
            let end = min(stream.events.count, at + 200)
            said += engine.run(stream, at..<end, cut: 200)
            #expect(engine.run(stream, max(0, at - 30)..<end, cut: 64).isEmpty, "a repeat says nothing")
        }
        #expect(firstDifferences(said, once.said) == [])
        #expect(engine.position == Int64(stream.events.count))
        #expect(engine.report(prequential: false).counters.repeated > 1500)
        #expect(engine.report(prequential: false).learning.steps == once.steps)
    }
}
