import CEventParser
import Foundation
import Testing

@testable import Engine

/// One bad number cannot hurt the rest.
@Suite struct NumericSafetyTests {
    private static func allFinite(_ x: Any) -> Bool {
        switch x {
        case let d as [String: Any]: d.values.allSatisfy { allFinite($0) }
        case let a as [Any]: a.allSatisfy { allFinite($0) }
        case let n as NSNumber: n.doubleValue.isFinite
        default: true
        }
    }

    @Test func absurdAmounts() throws {
        let stream = RandomStream(users: 25, events: 900, troubles: false).make(seed: 41)
        let spiked = TestStream()
        for (i, e) in stream.events.enumerated() {
            let user = String(decoding: UnsafeBufferPointer(start: e.user, count: Int(e.user_length)), as: UTF8.self)
            let type = try #require(EventType(rawValue: e.type))
            let absurd = [1e300, .infinity, .nan, -.infinity, 1.1e12, .greatestFiniteMagnitude]
            if i % 9 == 0 { spiked.add(user, .purchase, at: e.time_ms, amount: absurd[i / 9 % 6]) }
            // As much as passes, and taken back; at once and later.
            if i % 7 == 0 { spiked.add(user, .purchase, at: e.time_ms, amount: 1e12) }
            if i % 14 == 0 { spiked.add(user, .refund, at: e.time_ms, amount: 1e12) }
            spiked.add(user, type, at: e.time_ms, amount: e.amount)
        }
        let engine = Engine.make()
        let said = engine.run(spiked)
        let report = engine.report()
        let rejected = said.filter { $0.kind == .deadLetter }
        #expect(rejected.count == (stream.events.count + 8) / 9)
        for s in rejected { #expect(s.reason == UInt8(clvd_status_absurd_amount.rawValue)) }
        #expect(report.learning.steps > 0 && report.modelVersion > 0)
        for s in said where s.kind != .deadLetter {
            let json = try s.json()
            #expect(Self.allFinite(json), "\(s.value)")
        }
        for tensor in engine.image().weights {
            #expect(tensor.values.count { !$0.isFinite } == 0, "\(tensor.name)")
        }
        #expect(report.learning.loss.isFinite)
        for p in report.prequential { #expect((p.model.mae ?? 0).isFinite && (p.model.logLoss ?? 0).isFinite) }
    }

    /// A NaN in the gradient: the step is skipped and counted, the weights stay.
    @Test(arguments: [Float.nan, .infinity, -.infinity, 3e38])
    func aGradientThatIsNotFinite(bad: Float) {
        let layout = ModelLayout.small(.lstm)
        let weights = Weights(layout: layout, seed: 1)
        let trainer = Trainer(layout: layout, configuration: EngineConfiguration.Learning())
        let before = Array(weights.memory)
        var g = [Float](repeating: 0.001, count: layout.count)
        g[layout.hiddenWeight + 5] = bad
        let result = trainer.apply(weights, g, loss: 1, rateFactor: 1)
        if bad == 3e38 {
            // Finite, though its square is not in single precision: clipped, and taken.
            #expect(result.applied && weights.steps == 1)
            #expect((0..<layout.count).count { !weights.parameters[$0].isFinite } == 0)
            return
        }
        #expect(!result.applied)
        #expect(weights.steps == 0 && Array(weights.memory) == before)
        g[layout.hiddenWeight + 5] = 0
        #expect(!trainer.apply(weights, g, loss: .nan, rateFactor: 1).applied)
        #expect(trainer.apply(weights, g, loss: 1, rateFactor: 1).applied && weights.steps == 1)
    }

    @Test func nanInALandmarkSkipsTheStep() throws {
        let stream = RandomStream(events: 2000, troubles: false).make(seed: 42)
        let half = stream.events.count / 2
        let engine = Engine.make()
        engine.run(stream, 0..<half)
        let before = engine.report(prequential: false).learning
        #expect(before.steps > 0 && before.skipped == 0)
        // The cell state of every landmark becomes NaN: every gradient does.
        let pool = engine.task.pool.image
        let units = engine.settings.model.units
        for sequence in pool.head..<pool.tail {
            let cell = engine.task.pool.at(sequence).at(engine.settings.landmarkLayout.state + units, as: UInt16.self)
            for j in 0..<units { cell[j] = 0x7E00 }
        }
        let said = engine.run(stream, half..<stream.events.count)
        let after = engine.report(prequential: false).learning
        #expect(after.skipped > 0)
        for tensor in engine.image().weights {
            #expect(tensor.values.count { !$0.isFinite } == 0, "\(tensor.name)")
        }
        for s in said where s.kind == .update { #expect(Self.allFinite(try s.json())) }
    }
}
