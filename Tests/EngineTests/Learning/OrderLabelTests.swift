import Testing

@testable import Engine

/// Labels of targets of a category when orders have several lines, counted by hand: an order counts once, with its first
/// line of that category; money counts line by line.
@Suite struct OrderLabelTests {
    /// Every event of a user with at most four a day becomes a landmark.
    private static var configuration: EngineConfiguration {
        var c = EngineConfiguration.small
        c.learning.eventLandmarkShare = 1
        c.targets += [
            .init(name: "hats_value", kind: .value, events: ["purchase"], horizonsDays: [20], category: "hats"),
            .init(name: "hats", kind: .occurrence, events: ["purchase"], horizonsDays: [20], category: "hats"),
            .init(name: "no_hats", kind: .absence, events: ["purchase"], horizonsDays: [20], category: "hats"),
        ]
        return c
    }

    private struct Labels: Equatable {
        /// Of orders with any category.
        var orders: Float
        var hatsMoney: Float
        var hatsOrders: Float
    }

    /// The labels of the first bin (two days) of the landmark at an instant.
    private static func labels(_ engine: Engine, at instant: Int64) throws -> Labels {
        let pool = engine.task.pool.image
        let found = try #require(
            (pool.head..<pool.tail).map { engine.task.pool.at($0) }
                .first { LandmarkPool.header($0).pointee.instant == instant })
        let labels = found.at(engine.settings.landmarkLayout.labels, as: Float.self)
        func first(_ name: String) throws -> Float {
            let target = try #require(engine.configuration.targets.firstIndex { $0.name == name })
            return labels[engine.settings.targetTable.cells(target: target).lowerBound]
        }
        #expect(try first("hats") == first("no_hats"), "both are about the same events")
        return Labels(
            orders: try first("purchase"), hatsMoney: try first("hats_value"), hatsOrders: try first("hats"))
    }

    /// - Parameter lines: hours after the first event, order, category and money.
    private static func engine(_ lines: [(hour: Int64, order: String, category: String, amount: Double)]) -> Engine {
        let stream = TestStream()
        stream.add("user", .view, at: epoch)
        for line in lines {
            stream.add(
                "user", .purchase, at: epoch + line.hour * hour, amount: line.amount, order: line.order,
                category: line.category)
        }
        let engine = Engine.make(configuration)
        engine.run(stream)
        return engine
    }

    @Test func aLaterLineCountsForItsCategory() throws {
        let engine = Self.engine([(30, "a", "shoes", 10), (30, "a", "hats", 20)])
        #expect(try Self.labels(engine, at: epoch) == Labels(orders: 1, hatsMoney: 20, hatsOrders: 1))
    }

    @Test func anOrderCountsOnceForACategory() throws {
        let engine = Self.engine([(30, "a", "hats", 10), (30, "a", "hats", 20), (31, "a", "shoes", 40)])
        #expect(try Self.labels(engine, at: epoch) == Labels(orders: 1, hatsMoney: 30, hatsOrders: 1))
    }

    @Test func interleavedOrdersCountEachForItself() throws {
        let engine = Self.engine([
            (30, "a", "shoes", 1), (31, "b", "hats", 2), (32, "a", "hats", 4), (33, "b", "hats", 8),
        ])
        #expect(try Self.labels(engine, at: epoch) == Labels(orders: 2, hatsMoney: 14, hatsOrders: 2))
        // After both have begun: `a` brings its first hat, `b` another one.
        let between = try Self.labels(engine, at: epoch + 31 * hour)
        #expect(between == Labels(orders: 0, hatsMoney: 12, hatsOrders: 1))
    }

    @Test func aLandmarkBetweenTheLinesOfAnOrder() throws {
        let sameCategory = Self.engine([(30, "a", "hats", 10), (32, "a", "hats", 20)])
        let later = epoch + 30 * hour
        #expect(try Self.labels(sameCategory, at: later) == Labels(orders: 0, hatsMoney: 20, hatsOrders: 0))
        let otherCategory = Self.engine([(30, "a", "shoes", 10), (32, "a", "hats", 20)])
        #expect(try Self.labels(otherCategory, at: later) == Labels(orders: 0, hatsMoney: 20, hatsOrders: 1))
    }

    /// Lines without an order id are orders of their own.
    @Test func linesWithoutAnOrder() throws {
        let stream = TestStream()
        stream.add("user", .view, at: epoch)
        for i in 0..<3 { stream.add("user", .purchase, at: epoch + day + Int64(i), amount: 5, category: "hats") }
        let engine = Engine.make(Self.configuration)
        engine.run(stream)
        #expect(try Self.labels(engine, at: epoch) == Labels(orders: 3, hatsMoney: 15, hatsOrders: 3))
    }
}
