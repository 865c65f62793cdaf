import CEventParser
import Foundation
import Testing

@testable import Engine

/// Image, restore, go on: as if nothing had happened.
@Suite struct SnapshotTests {
    /// The report without the memory that is held, which depends on how it grew.
    private static func report(_ engine: Engine) throws -> String {
        var report = engine.report()
        report.userBytes = 0
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return String(decoding: try encoder.encode(report), as: UTF8.self)
    }

    @Test(arguments: [21, 22] as [UInt64])
    func goingOnFromAnImage(seed: UInt64) throws {
        let stream = RandomStream(users: 50, events: 1800, partitions: 2).make(seed: seed)
        let n = stream.events.count
        let whole = Engine.make(partitions: 2)
        let expected = whole.run(stream)
        let final = try Written(whole)
        #expect(whole.report().learning.steps >= 10 && expected.contains { $0.kind == .alert })
        for at in [0, 500, 1024, n - 100] {
            let first = Engine.make(partitions: 2)
            let before = first.run(stream, 0..<at, cut: 333)
            let image = try Written(first)
            let second = try image.restored(partitions: 2)
            #expect(try Written(second).differences(from: image) == [], "the image of what was restored")
            let after = second.run(stream, at..<n, cut: 100)
            #expect(firstDifferences(before + after, expected) == [], "cut at \(at)")
            #expect(try Written(second).differences(from: final) == [], "cut at \(at)")
            #expect(try firstDifferences([Self.report(second)], [Self.report(whole)]) == [])
        }
    }

    /// Replay after a restart: what was said before is not said again, and the state is the same.
    @Test func mutedRecordsAdvanceTheStateInSilence() throws {
        let stream = RandomStream(users: 50, events: 1500, partitions: 2).make(seed: 23)
        let n = stream.events.count
        let whole = Engine.make(partitions: 2)
        let expected = whole.run(stream)
        let first = Engine.make(partitions: 2)
        first.run(stream, 0..<600)
        for mutedTo in [600, 601, 1111, n] {
            let second = try Written(first).restored(partitions: 2)
            for partition in 0..<2 {
                let next = stream.events[mutedTo...].first { $0.partition == partition }?.offset ?? .max
                let id = TaskID(topic: 0, partition: Int32(partition))
                second.resume(id, at: second.nextOffset(id) ?? 0, firstUnpublishedOffset: next)
            }
            let said = second.run(stream, 600..<n, cut: 250)
            #expect(
                firstDifferences(said, expected.filter { $0.record >= mutedTo }) == [], "muted up to \(mutedTo)")
            #expect(try Written(second).differences(from: Written(whole)) == [], "muted up to \(mutedTo)")
        }
    }

    @Test func anotherConfigurationIsRefused() throws {
        let engine = Engine.make()
        engine.run(RandomStream(events: 300).make(seed: 24))
        let image = try Written(engine)
        let changes: [(EngineConfiguration) -> EngineConfiguration] = [
            {
                var c = $0; c.model.units = 32; return c
            },
            {
                var c = $0; c.model.recurrent = .gru; return c
            },
            {
                var c = $0; c.binEdgesDays = [2, 7, 21]; c.targets[0].horizonsDays = [2];
                c.targets[1].horizonsDays = [2]; return c
            },
            {
                var c = $0; c.targets.removeLast(); return c
            },
            {
                var c = $0; c.state.hashSeed = 1; return c
            },
            {
                var c = $0; c.learning.maxLandmarks = 4096; return c
            },
        ]
        for (i, change) in changes.enumerated() {
            #expect(throws: SnapshotMismatch.self, "change \(i)") { try image.restored(change(.small)) }
        }
        // Rates and thresholds may differ.
        var other = EngineConfiguration.small
        other.targets[1].weight = 2
        other.learning.learningRate = 1e-4
        other.alerts.raiseThreshold = 0.9
        #expect(try image.restored(other).position == engine.position)
    }

    /// Another meaning of a target's labels is another target, whatever its name; the message says what changed.
    @Test func anotherMeaningOfATargetIsRefused() throws {
        var saved = EngineConfiguration.small
        saved.targets[1].events = ["purchase", "add_to_cart"]
        let engine = Engine.make(saved)
        engine.run(RandomStream(events: 300).make(seed: 24))
        let image = try Written(engine)
        let changes: [(String, (inout EngineConfiguration) -> Void)] = [
            ("purchase (occurrence of add_to_cart", { $0.targets[1].events = ["add_to_cart"] }),
            ("churn (absence of purchase", { $0.targets[2].events = ["purchase"] }),
            ("clv (value of purchase in shoes", { $0.targets[0].category = "shoes" }),
            ("churn (absence of any event, 20 days", { $0.targets[2].horizonsDays = [20] }),
            ("subtractRefunds", { $0.state.subtractRefunds = false }),
        ]
        for (name, change) in changes {
            var other = saved
            change(&other)
            do {
                _ = try image.restored(other)
                Issue.record("\(name) was not noticed")
            } catch let mismatch as SnapshotMismatch {
                #expect(mismatch.description.contains(name), "\(mismatch)")
            }
        }
        var other = saved
        other.targets[1].events = ["add_to_cart", "purchase"]
        #expect(try image.restored(other).position == engine.position, "their order means nothing")
    }

    /// A topic has got more partitions: what there was goes on as it would have, beside the new one.
    @Test func morePartitionsThanBefore() throws {
        let stream = RandomStream(users: 50, events: 1500, partitions: 2).make(seed: 27)
        let n = stream.events.count
        let whole = Engine.make(partitions: 2)
        let expected = whole.run(stream)
        let first = Engine.make(partitions: 2)
        first.run(stream, 0..<800)
        let second = try Written(first).restored(partitions: 5)
        second.addTask(TaskID(topic: 0, partition: 4))
        let said = second.run(stream, 800..<n, cut: 100)
        #expect(firstDifferences(said, expected.filter { $0.record >= 800 }) == [])
        second.removeTask(TaskID(topic: 0, partition: 4))
        #expect(try Written(second).sections == Written(whole).sections)
    }

    /// One partition's state and the model, without what else there is: another engine goes on with it as the first.
    @Test func aPartOfTheState() throws {
        let stream = RandomStream(users: 50, events: 1500, partitions: 2).make(seed: 28)
        let engine = Engine.make(partitions: 2)
        engine.run(stream)
        let id = TaskID(topic: 0, partition: 1)
        let (part, whole) = (try Written(engine, of: [id]), try Written(engine))
        #expect(part.sections.allSatisfy { whole.sections[$0.key] == $0.value })
        #expect(part.sections.keys.sorted() == whole.sections.keys.filter { !$0.hasPrefix("task-0-0-") }.sorted())
        let other = Engine(
            configuration: .small, topics: ["events"], partitions: 2, executor: SerialExecutor())
        try part.restoreModel(into: other)
        #expect(other.modelVersion == engine.modelVersion && other.modelVersion > 0)
        #expect(other.position == engine.position && other.taskIDs.isEmpty)
        #expect(try part.adopt(id, into: other) && !(try part.adopt(TaskID(topic: 0, partition: 0), into: other)))
        #expect(try Written(other).sections == part.sections)
        let summary = try JSONDecoder().decode(EngineImage.Summary.self, from: part.metadata)
        #expect(summary.modelVersion == engine.modelVersion && summary.learnedTo != nil)
        #expect(summary.partitions.map(\.partition) == [1])
        #expect(summary.partitions.map(\.offset) == [engine.nextOffset(id)])
    }

    @Test func aTornImageIsRefused() throws {
        let engine = Engine.make()
        engine.run(RandomStream(events: 1800).make(seed: 25))
        let image = try Written(engine)
        for name in ["task-0-0-users", "task-0-0-keys", "task-0-0-landmarks", "weights", "prequential"] {
            var torn = image
            let section = try #require(torn.sections[name])
            #expect(section.count > 8, "\(name)")
            torn.sections[name] = section.dropLast(8)
            #expect(throws: SnapshotMismatch.self, "\(name) torn") { try torn.restored() }
            torn.sections[name] = nil
            #expect(throws: SnapshotMismatch.self, "\(name) missing") { try torn.restored() }
        }
    }

    /// Whole on disk, and yet a description that cannot be: each of its numbers in turn. Refused, or of no harm; never
    /// a trap.
    @Test func numbersThatCannotBeDoNoHarm() throws {
        let engine = Engine.make()
        engine.run(RandomStream(users: 12, events: 300).make(seed: 27))
        let image = try Written(engine)
        let text = String(decoding: image.metadata, as: UTF8.self)
        let start = try #require(text.firstRange(of: "\"learner\"")).lowerBound
        let numbers = text[start...].matches(of: /:(-?[0-9][0-9.eE+-]*)/).map { $0.1.startIndex..<$0.1.endIndex }
        #expect(numbers.count > 60)
        var refused = 0
        for range in numbers {
            for number in ["-1", "9223372036854775807"] {
                var changed = image
                changed.metadata = Data(text.replacingCharacters(in: range, with: number).utf8)
                do { _ = try changed.restored() } catch { refused += 1 }
            }
        }
        #expect(refused > 30)
    }

    @Test func tensorsForOtherPrograms() throws {
        let engine = Engine.make()
        engine.run(RandomStream(events: 1200).make(seed: 26))
        let image = engine.image()
        #expect(image.metadata.modelVersion > 0)
        let names = image.weights.map(\.name)
        #expect(Set(names).count == names.count && names.contains("recurrent.weight") && names.contains("heads.bias"))
        for tensor in image.weights {
            #expect(tensor.values.count == tensor.shape.reduce(1, *))
            #expect(tensor.values.count { !$0.isFinite } == 0, "\(tensor.name)")
        }
    }
}
