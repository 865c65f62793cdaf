/// How far event time has come in a partition: as far as most of the customers who came last have, each by its latest
/// event; and in any case to within the largest error of a device's clock of the latest event.
///
/// One clock that runs ahead is no majority, so it makes nobody else late. Where customers are few or come seldom, the
/// second rule moves time, since an event is never further ahead than `skewMs`. A function of the accepted events alone.
struct StreamTime: Equatable {
    /// Customers that have a say: those who came last, each once.
    static let voters = 15
    /// So many of them have come as far as the time, unless the second rule is further.
    static let majority = voters / 2 + 1

    /// ms; `Int64.min` before the first event. Never goes back.
    private(set) var time = Int64.min
    /// Short hashes of the voters and their latest event times; `Int64.min` where there is none yet.
    private var customers = InlineArray<15, UInt32>(repeating: 0)
    private var times = InlineArray<15, Int64>(repeating: .min)
    /// Whose place the next new customer takes.
    private var oldest = 0

    init() {}

    /// Notes an event.
    /// - Parameters:
    ///   - event: its time, ms, but not after its record was written, where that is known.
    ///   - customer: hash of its customer.
    ///   - skewMs: by how much a device's clock may be ahead.
    @inline(__always)
    mutating func note(_ event: Int64, of customer: UInt64, skewMs: Int64) {
        let customer = UInt32(truncatingIfNeeded: customer)
        var place = 0
        while place < Self.voters && (customers[place] != customer || times[place] == .min) { place += 1 }
        if place == Self.voters {
            place = oldest
            oldest = oldest + 1 == Self.voters ? 0 : oldest + 1
            customers[place] = customer
            times[place] = event
        } else if event > times[place] {
            times[place] = event
        }
        if event > time { move(to: event, skewMs) }
    }

    /// An event is ahead of the time.
    private mutating func move(to event: Int64, _ skewMs: Int64) {
        time = max(time, event - skewMs)
        var (ahead, least) = (0, Int64.max)
        for i in 0..<Self.voters where times[i] > time {
            ahead += 1
            least = min(least, times[i])
        }
        // Before this event it was a minority, so the last of them stands where the majority begins.
        if ahead >= Self.majority { time = least }
    }

    /// A customer is erased: what it had to say stays, without its name.
    mutating func forget(_ customer: UInt64) {
        for i in 0..<Self.voters where customers[i] == UInt32(truncatingIfNeeded: customer) { customers[i] = 0 }
    }

    /// The time once an event is noted.
    @inline(__always)
    func after(_ event: Int64, of customer: UInt64, skewMs: Int64) -> Int64 {
        guard event > time else { return time }
        var next = self
        next.note(event, of: customer, skewMs: skewMs)
        return next.time
    }

    static func == (a: StreamTime, b: StreamTime) -> Bool { a.image == b.image }
}

// MARK: - Snapshot

extension StreamTime {
    struct Image: Codable, Equatable {
        var time: Int64
        var oldest: Int
        var customers: [UInt32]
        var times: [Int64]

        /// Whether a snapshot brought what can be gone on from.
        var isWhole: Bool {
            customers.count == voters && times.count == voters && (0..<voters).contains(oldest)
                && (times + [time]).allSatisfy { $0 == .min || StateCheck.instants.contains($0) }
        }
    }

    var image: Image {
        Image(
            time: time, oldest: oldest, customers: (0..<Self.voters).map { customers[$0] },
            times: (0..<Self.voters).map { times[$0] })
    }

    /// - Parameter image: whole.
    init(_ image: Image) {
        (time, oldest) = (image.time, image.oldest)
        for i in 0..<Self.voters { (customers[i], times[i]) = (image.customers[i], image.times[i]) }
    }

    /// Of a state that did not keep it: of nobody's latest event is known.
    init(at time: Int64) { self.time = time }
}
