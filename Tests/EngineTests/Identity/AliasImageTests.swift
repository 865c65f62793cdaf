import Foundation
import Testing

@testable import Engine

/// Aliases of a snapshot of another instance are not trusted.
@Suite struct AliasImageTests {
    private static let section = "task-0-0-aliases"

    private static func lived() throws -> (engine: Engine, image: Written) {
        let stream = TestStream()
        for i in 0..<60 {
            let name = i % 9 == 0 ? "\(i) of a length that does not fit a node, so that it lies in the arena" : "\(i)"
            stream.add("anon-\(name)", .view, at: epoch + Int64(i))
            stream.add("user-\(i / 3)", .identify, at: epoch + Int64(i), alias: "anon-\(name)")
        }
        let engine = Engine.make()
        engine.run(stream)
        #expect(engine.task.aliases.count == 60 && engine.task.aliases.nodes.userCount == 80)
        return (engine, try Written(engine))
    }

    private static func taken(_ image: Written) -> Engine? { try? image.restored() }

    @Test func linksThatCannotBeAreRefused() throws {
        let (engine, image) = try Self.lived()
        #expect(Self.taken(image)?.task.aliases.count == 60)
        let layout = UserLayout.ofAliases
        // Fields of 32 bits, in their order.
        let fields = ["customer", "first", "next", "previous", "older", "newer"]
        #expect(MemoryLayout<AliasTable.Link>.offset(of: \.newer) == 28)
        for place in 0..<engine.task.aliases.nodes.slotCount {
            for (i, field) in fields.enumerated() {
                let at = place * layout.size + layout.rolling + 8 + 4 * i
                let now = image.sections[Self.section]!.withUnsafeBytes {
                    $0.loadUnaligned(fromByteOffset: at, as: UInt32.self)
                }
                for value in [UInt32(place), 0, 7, 79, 80, UserTable.none] where value != now {
                    var damaged = image
                    withUnsafeBytes(of: value) {
                        damaged.sections[Self.section]!.replaceSubrange(at..<at + 4, with: $0)
                    }
                    // What nothing reads of a customer may be anything.
                    guard let taken = Self.taken(damaged) else { continue }
                    #expect(taken.task.aliases.count == 60)
                    // Each customer comes before its three aliases.
                    #expect(place % 4 == 0 && ["older", "newer"].contains(field), "\(place) \(field) \(value)")
                }
            }
        }
    }

    /// Nothing is held of an alias: what was, is the customer's.
    @Test func aUserWhoIsAnAliasIsRefused() throws {
        let (engine, image) = try Self.lived()
        var damaged = image
        let users = engine.settings.userLayout
        let slot = (0..<UInt32(engine.task.users.slotCount)).first {
            engine.task.users.slot($0).header.pointee.keyLength == 6
        }
        let at = Int(try #require(slot)) * users.size
        let key = Data("anon-1".utf8)
        damaged.sections["task-0-0-users"]!.replaceSubrange(at + users.key..<at + users.key + 6, with: key)
        #expect(Self.taken(damaged) == nil)
    }
}
