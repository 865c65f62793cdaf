import Testing

@testable import Engine

/// What one event is fed as, worked out by hand.
@Suite struct StepInputsTests {
    private static let inputs = StepInputs(categoryBuckets: 32, crossBuckets: 32)

    private static func encode(
        _ code: UInt16, at time: Int64, logAmount: Float, _ context: StepInputs.Context
    ) -> (indices: [UInt16], numerics: [Float]) {
        var indices = [UInt16](repeating: 99, count: StepInputs.indices)
        var numerics = [Float](repeating: 99, count: StepInputs.numerics)
        inputs.encode(
            StoredEvent(time: UInt32(time / 1000), code: code, amount: 0), logAmount: logAmount, context,
            indices: &indices, numerics: &numerics)
        return (indices, numerics)
    }

    private static func expectEqual(_ a: [Float], _ b: [Float]) {
        #expect(a.count == b.count)
        for (i, (x, y)) in zip(a, b).enumerated() { #expect(abs(x - y) < 1e-5, "numeric \(i): \(x), not \(y)") }
    }

    /// A Tuesday at 18:00, an hour after an event of the same category and two days after a purchase.
    @Test func anEventAfterOthers() {
        let time = epoch + day + 18 * hour
        let context = StepInputs.Context(
            previousTime: UInt32((time - hour) / 1000), previousCode: 2 << EventRing.typeShift | 5,
            lastPurchase: UInt32((time - 2 * day) / 1000), amountMean: 2, amountInverse: 0.5)
        let code = 3 << EventRing.typeShift | EventRing.sessionBit | 5
        let (indices, numerics) = Self.encode(code, at: time, logAmount: 3, context)
        #expect(indices[0] == 3 && indices[1] == 5 && indices[2] < 32)
        // ln 3601 = 8.188967, ln 172801 = 12.059896; the day is 2/7 of a week after Sunday, the hour 3/4 of a day.
        Self.expectEqual(
            numerics, [0.0472418, 0.5, 0.014974, 1, 1, -1, 0, 0.9749279, -0.2225209, 0, 0.6, 1])
    }

    /// A Sunday at 06:00, the first event of a user, without money and category.
    @Test func theFirstEvent() {
        let context = StepInputs.Context(
            previousTime: 0, previousCode: 0, lastPurchase: 0, amountMean: 2, amountInverse: 0.5)
        let (indices, numerics) = Self.encode(
            1 << EventRing.typeShift, at: epoch - day + 6 * hour, logAmount: 0, context)
        #expect(indices == [1, 0, 0])
        Self.expectEqual(numerics, [0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0])
    }

    /// Amounts are held within six standard deviations; another category than before is said to be another.
    @Test func farFromTheMean() {
        let context = StepInputs.Context(
            previousTime: UInt32(epoch / 1000), previousCode: 4, lastPurchase: 0, amountMean: 1, amountInverse: 10)
        let (_, numerics) = Self.encode(5, at: epoch + hour, logAmount: 4, context)
        #expect(numerics[1] == 6 && numerics[11] == 0 && numerics[4] == 0)
    }
}
