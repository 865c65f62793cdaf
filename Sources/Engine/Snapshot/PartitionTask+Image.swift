import Foundation

extension PartitionTask {
    /// What, beside the sections of memory, makes a task again.
    struct Image: Codable, Equatable {
        var id: TaskID
        var watermark: Int64
        /// nil in what formats before 8 kept.
        var stream: StreamTime.Image?
        var timerHour: Int64
        var scoredHour: Int64
        var nextOffset: Int64
        var evictionHand: Int
        var recordsLearned: Int64
        var counters: TaskCounters
        var users: UserTable.Image
        var pool: LandmarkPool.Image
        /// nil: there are none. Formats before 8 had none.
        var aliases: AliasTable.Image?
        /// nil: nothing was noted.
        var erasures: RecentHashes?
        var adoptions: RecentHashes?
    }

    var image: Image {
        Image(
            id: id, watermark: clock.watermark, stream: clock.stream.image, timerHour: clock.timerHour,
            scoredHour: clock.scoredHour,
            nextOffset: nextOffset, evictionHand: evictionHand, recordsLearned: recordsLearned, counters: counters,
            users: users.image, pool: pool.image, aliases: aliases.image,
            erasures: erasures.hashes.isEmpty ? nil : erasures, adoptions: adoptions.hashes.isEmpty ? nil : adoptions)
    }

    /// - Parameter aliases: slots and long keys, where the image has any.
    /// - Throws: `SnapshotMismatch` when the image was made with another configuration.
    convenience init(
        image: Image, format: Int, settings: EngineSettings, slots: UnsafeRawBufferPointer,
        longKeys: UnsafeRawBufferPointer, former: UnsafeRawBufferPointer, landmarks: UnsafeRawBufferPointer,
        aliases: () throws -> (slots: UnsafeRawBufferPointer, longKeys: UnsafeRawBufferPointer)
    ) throws {
        guard image.evictionHand >= 0 else {
            throw SnapshotMismatch("the state of partition \(image.id) does not fit its own description")
        }
        try image.check(settings)
        let table = try UserTable(
            layout: settings.userLayout, image: image.users, slots: slots, longKeys: longKeys, former: former)
        if format == 7 { Format7.convert(table) }
        self.init(
            id: image.id, settings: settings, users: table,
            pool: try LandmarkPool(
                layout: settings.landmarkLayout, most: max(1024, settings.configuration.learning.maxLandmarks),
                binEnds: settings.targetTable.binEnds, image: image.pool, bytes: landmarks),
            aliases: try image.aliases.map { image in
                let (slots, longKeys) = try aliases()
                return try AliasTable(
                    capacity: settings.usersPerTask, image: image, nodes: slots, longKeys: longKeys)
            } ?? AliasTable(capacity: settings.usersPerTask, seed: settings.configuration.state.hashSeed))
        clock.watermark = image.watermark
        if let stream = image.stream {
            clock.stream = StreamTime(stream)
        } else if image.watermark != .min {
            clock.stream = StreamTime(at: image.watermark + settings.latenessMs)
        }
        clock.timerHour = image.timerHour
        clock.scoredHour = image.scoredHour
        nextOffset = image.nextOffset
        evictionHand = image.evictionHand
        recordsLearned = image.recordsLearned
        counters = image.counters
        (erasures, adoptions) = (image.erasures ?? RecentHashes(), image.adoptions ?? RecentHashes())
        guard erasures.isWhole, adoptions.isWhole else {
            throw SnapshotMismatch("what partition \(image.id) has noted of erasures and joins")
        }
        let check = StateCheck(settings: settings, partition: id)
        try check.check(users, pool)
        try check.check(pool, users)
        try check.check(self.aliases, users)
        for i in 0..<UInt32(users.slotCount) {
            let h = users.slot(i).header.pointee
            if h.flags & UserHeader.inUse != 0 { ranks.add(h.lastValue) }
        }
    }
}
