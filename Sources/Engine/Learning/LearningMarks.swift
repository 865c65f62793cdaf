/// When several partitions learn: at marks of event time, full hours that their watermarks pass.
///
/// The order in which the records of several partitions come differs from run to run, and with it what each partition
/// holds at a position of the sequence. What it holds when its own watermark passes a mark (`LearningCut`) does not. So
/// learning at a mark takes all partitions as they were then. It happens once the furthest is half an interval beyond
/// the mark. The model that comes of it predicts from the next mark on, again by each partition's own watermark.
/// While no partition is more than half an interval behind the furthest, nothing depends on the order but the landmarks of
/// users who are erased in between.
struct LearningMarks: Codable, Equatable {
    /// Intervals to choose from, hours. Marks are multiples of the interval, so that runs whose intervals differed for a
    /// while come to the same marks again.
    static let hours: [Int64] = [1, 2, 4, 8, 24, 48, 96, 192]
    /// A learning costs as much as some records, also when event time flies: the least records of an interval.
    static let fewestRecords = 16.0
    private static let kept = 6

    /// Ascending, ms: marks that are past, the one that is due, and the one that follows it.
    private(set) var times: [Int64]
    /// Index of the interval among `hours`.
    private var interval: Int

    /// - Parameter watermark: of the first record.
    init(after watermark: Int64) {
        interval = Self.hours.firstIndex(of: 24)!
        // Many logs begin at midnight. Whichever record comes first there, the first mark is the same.
        let due = Self.next(watermark + 12 * Clock.hour, Self.hours[interval])
        times = [due, Self.next(due, Self.hours[interval])]
    }

    private static func next(_ time: Int64, _ hours: Int64) -> Int64 {
        (Clock.index(time, per: hours * Clock.hour) + 1) * hours * Clock.hour
    }

    var due: Int64 { times[times.count - 2] }
    /// Where the model of the mark that is due begins to predict.
    var following: Int64 { times[times.count - 1] }
    /// Learning at `due` happens before the first record that takes a watermark beyond.
    var trigger: Int64 { due + (following - due) / 2 }

    /// The mark that is due is past.
    /// - Parameter records: that came between the mark before and it.
    mutating func advance(records: Int64, _ c: EngineConfiguration.Learning) {
        let passed = times.count > 2 ? due - times[times.count - 3] : Self.hours[interval] * Clock.hour
        let perHour = Double(records) / (Double(passed) / Double(Clock.hour))
        let most = c.intervalHours > 0 ? Double(c.intervalHours) : .infinity
        let wanted = max(Self.fewestRecords / perHour, min(most, Double(c.intervalRecords) / perHour))
        // One step up at a time: a quiet day is no reason to learn nothing for a week.
        interval = min(interval + 1, Self.hours.lastIndex { Double($0) <= wanted } ?? 0)
        times.append(Self.next(following, Self.hours[interval]))
        if times.count > Self.kept { times.removeFirst() }
    }

    /// Whether a snapshot brought marks that can be gone on from.
    var isWhole: Bool {
        (2...Self.kept).contains(times.count) && Self.hours.indices.contains(interval)
            && zip(times, times.dropFirst()).allSatisfy { $0 < $1 } && times.allSatisfy(StateCheck.instants.contains)
    }
}

/// What a partition held when its watermark passed a mark, which learning goes by.
struct LearningCut: Codable, Equatable {
    /// Before and after the record that passed it: the cut is that of all marks from the one to below the other.
    var watermark: Int64
    var through: Int64
    /// Landmarks from this sequence number on came later.
    var tail: Int64
    /// Records taken in.
    var records: Int64
}
