import Foundation

extension PartitionTask {
    /// What, beside the sections of memory, makes a task again.
    struct Image: Codable, Equatable {
        var id: TaskID
        var watermark: Int64
        var timerHour: Int64
        var scoredHour: Int64
        var nextOffset: Int64
        var evictionHand: Int
        var recordsLearned: Int64
        var counters: TaskCounters
        var users: UserTable.Image
        var pool: LandmarkPool.Image
        /// [`StreamQuantiles.cells`] of `UInt32`, as memory: so many numbers would be most of the description.
        var quantileCounts: Data
        var quantileTotal: UInt32
        var quantileRenewal: UInt32
        var quantileThresholds: [Float]
    }

    var image: Image {
        Image(
            id: id, watermark: clock.watermark, timerHour: clock.timerHour, scoredHour: clock.scoredHour,
            nextOffset: nextOffset, evictionHand: evictionHand, recordsLearned: recordsLearned, counters: counters,
            users: users.image, pool: pool.image, quantileCounts: quantiles.counts.withUnsafeBytes { Data($0) },
            quantileTotal: quantiles.total, quantileRenewal: quantiles.renewal,
            quantileThresholds: quantiles.thresholds)
    }

    /// - Throws: `SnapshotMismatch` when the image was made with another configuration.
    convenience init(
        image: Image, settings: EngineSettings, slots: UnsafeRawBufferPointer, longKeys: UnsafeRawBufferPointer,
        landmarks: UnsafeRawBufferPointer
    ) throws {
        let fresh = StreamQuantiles(quantiles: settings.segmentQuantiles)
        guard image.evictionHand >= 0, image.quantileCounts.count == 4 * fresh.counts.count,
            image.quantileThresholds.count == fresh.thresholds.count
        else { throw SnapshotMismatch("the state of partition \(image.id) does not fit its own description") }
        try image.check(settings)
        self.init(
            id: image.id, settings: settings,
            users: try UserTable(layout: settings.userLayout, image: image.users, slots: slots, longKeys: longKeys),
            pool: try LandmarkPool(
                layout: settings.landmarkLayout, most: max(1024, settings.configuration.learning.maxLandmarks),
                binEnds: settings.targetTable.binEnds, image: image.pool, bytes: landmarks),
            quantiles: StreamQuantiles(
                quantiles: settings.segmentQuantiles,
                counts: Array(unsafeUninitializedCapacity: StreamQuantiles.cells) { counts, n in
                    n = image.quantileCounts.copyBytes(to: counts) / 4
                }, total: image.quantileTotal, sinceRenewal: image.quantileRenewal,
                thresholds: image.quantileThresholds))
        clock.watermark = image.watermark
        clock.timerHour = image.timerHour
        clock.scoredHour = image.scoredHour
        nextOffset = image.nextOffset
        evictionHand = image.evictionHand
        recordsLearned = image.recordsLearned
        counters = image.counters
        let check = StateCheck(settings: settings, partition: id)
        try check.check(users, pool)
        try check.check(pool, users)
    }
}
