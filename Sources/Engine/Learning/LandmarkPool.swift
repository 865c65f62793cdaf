import Glibc

/// The landmarks of one partition task in order of their creation: a ring of fixed capacity.
///
/// The oldest leaves when the ring is full and its last bin has matured. When the ring is full of landmarks that
/// have not, the pool is thinned instead: the admission threshold is halved and every landmark whose hash lies
/// above it goes, so that what remains is a uniform sample over all instants (a reservoir by priorities). The
/// threshold rises again when the ring reaches far behind the longest horizon.
struct LandmarkPool: ~Copyable {
    let layout: LandmarkLayout
    let capacity: Int
    /// End of each bin after the instant, ms.
    let binEnds: [Int64]
    private let memory: UnsafeMutableRawPointer

    /// Sequence numbers: held are `head..<tail`.
    private(set) var head: Int64 = 1
    private(set) var tail: Int64 = 1
    /// Landmarks below it have matured in the bin.
    private(set) var frontier: [Int64]
    /// Landmarks below it have gone into the standardisation.
    var standardised: Int64 = 1
    /// Candidates with a priority below it are admitted.
    private(set) var threshold: UInt64 = 1 << 32
    /// At marks of event time that learning has not come to yet, ascending.
    private(set) var cuts: [LearningCut] = []
    /// Watermarks at the latest mark passed and at the one before, which learning has come to. nil where learning is not
    /// by marks.
    private var passed: Int64?
    private var settled: Int64?
    /// The latest mark passed.
    private(set) var lastMark = Int64.min

    init(layout: LandmarkLayout, capacity: Int, binEnds: [Int64]) {
        self.layout = layout
        self.capacity = capacity
        self.binEnds = binEnds
        frontier = Array(repeating: 1, count: binEnds.count)
        // Links may lead to places that nothing was put in yet: zeros end a chain.
        memory = calloc(capacity, layout.size)!
    }

    deinit { free(memory) }

    var count: Int { Int(tail - head) }

    /// The landmark of a sequence number that is held.
    @inline(__always)
    func at(_ sequence: Int64) -> UnsafeMutableRawPointer { memory + Int(sequence % Int64(capacity)) * layout.size }

    /// How users and landmarks name the landmark of a sequence number: its place + 1.
    @inline(__always)
    func link(_ sequence: Int64) -> UInt32 { UInt32(sequence % Int64(capacity)) + 1 }

    @inline(__always)
    static func header(_ landmark: UnsafeMutableRawPointer) -> UnsafeMutablePointer<LandmarkHeader> {
        landmark.assumingMemoryBound(to: LandmarkHeader.self)
    }

    @inline(__always)
    func admits(_ priority: UInt32) -> Bool { UInt64(priority) < threshold }

    /// Place for a new landmark of a user; its header is set but for what the caller knows.
    /// Call only after `admits`; thinning may lower the threshold below `priority`, then nil.
    mutating func append(
        user: UInt32, instant: Int64, priority: UInt32, users: borrowing UserTable
    ) -> UnsafeMutableRawPointer? {
        while count == capacity {
            if mayPopOldest { popOldest() } else { thin(users) }
            if !admits(priority) { return nil }
        }
        let place = at(tail)
        memset(place, 0, layout.size)
        let header = users.slot(user).header
        LandmarkPool.header(place).initialize(
            to: LandmarkHeader(
                instant: instant, sequence: tail, user: user, previous: header.pointee.landmark, priority: priority))
        header.pointee.landmark = link(tail)
        tail += 1
        return place
    }

    /// Whether the last bin of the oldest has matured. By marks, a function of this partition's records alone.
    private var mayPopOldest: Bool {
        guard let settled else { return head < frontier[frontier.count - 1] }
        return LandmarkPool.header(at(head)).pointee.instant + binEnds[binEnds.count - 1] < settled
    }

    private mutating func popOldest() {
        // Far more past than the longest horizon needs: admit more of what comes.
        let span = LandmarkPool.header(at(tail - 1)).pointee.instant - LandmarkPool.header(at(head)).pointee.instant
        if span > 4 * binEnds[binEnds.count - 1] && threshold < 1 << 32 && head % Int64(capacity) == 0 {
            threshold *= 2
        }
        head += 1
        clampFrontiers()
    }

    private mutating func clampFrontiers() {
        for b in frontier.indices { frontier[b] = max(frontier[b], head) }
        standardised = max(standardised, head)
        for c in cuts.indices { cuts[c].tail = max(cuts[c].tail, head) }
    }

    /// Keeps the landmarks below half the threshold, in order, and renumbers them from `head`.
    private mutating func thin(_ users: borrowing UserTable) {
        threshold = max(1, threshold / 2)
        var keptFrontier = frontier
        var keptStandardised = standardised
        var keptCuts = cuts
        var write = head
        for read in head..<tail {
            for b in frontier.indices where read == frontier[b] { keptFrontier[b] = write }
            if read == standardised { keptStandardised = write }
            for c in cuts.indices where read == cuts[c].tail { keptCuts[c].tail = write }
            let from = at(read)
            let h = LandmarkPool.header(from)
            users.setNewest(0, of: h.pointee.user)
            guard admits(h.pointee.priority), h.pointee.user != UserTable.none else { continue }
            if write != read { memcpy(at(write), from, layout.size) }
            write += 1
        }
        for b in frontier.indices { frontier[b] = frontier[b] >= tail ? write : keptFrontier[b] }
        standardised = standardised >= tail ? write : keptStandardised
        for c in cuts.indices where cuts[c].tail >= tail { keptCuts[c].tail = write }
        cuts = keptCuts
        tail = write
        for s in head..<tail {
            let h = LandmarkPool.header(at(s))
            h.pointee.sequence = s
            h.pointee.previous = users.newest(of: h.pointee.user)
            users.setNewest(link(s), of: h.pointee.user)
        }
    }

    // MARK: Marks

    /// The watermark passes marks, or learning comes to one that it has not passed yet. What is held stays until learning
    /// has come to them: there is room for what comes until then.
    /// - Parameters:
    ///   - marks: ascending, beyond `lastMark`.
    ///   - watermark: before; `next`: after.
    mutating func pass(
        _ marks: some Sequence<Int64>, from watermark: Int64, to next: Int64, records: Int64, users: borrowing UserTable
    ) {
        for mark in marks {
            settled = passed ?? .min
            passed = watermark
            lastMark = mark
            while count > capacity - capacity / Self.reserve {
                if mayPopOldest { popOldest() } else { thin(users) }
            }
        }
        cuts.append(LearningCut(watermark: watermark, through: next, tail: tail, records: records))
    }
    /// Part of the capacity that is kept for landmarks between two marks.
    private static let reserve = 8

    /// What was held at a mark; nil when the watermark has not passed it.
    func cut(at mark: Int64) -> LearningCut? { cuts.first { $0.through > mark } }

    /// Learning has come to all marks before this one.
    mutating func forgetCuts(before mark: Int64) { cuts.removeAll { $0.through <= mark } }

    /// Learning is not by marks.
    mutating func forgetMarks() { (cuts, passed, settled, lastMark) = ([], nil, nil, .min) }

    // MARK: Maturity

    /// Advances a bin's frontier to the watermark; `matured` sees each landmark that passes, in order. An event at
    /// the watermark itself may still come, so the watermark has to be past the bin's end.
    mutating func mature(bin: Int, watermark: Int64, _ matured: (UnsafeMutableRawPointer) -> Void) {
        var s = frontier[bin]
        while s < tail {
            let landmark = at(s)
            if LandmarkPool.header(landmark).pointee.instant + binEnds[bin] >= watermark { break }
            matured(landmark)
            s += 1
        }
        frontier[bin] = s
    }

    /// Sequence numbers of what matured in a bin since its frontier was at `before`, and is still held.
    func matured(bin: Int, since before: Int64) -> Range<Int64> { max(head, before)..<frontier[bin] }

    /// Visits the landmarks of a user, newest first, whose longest horizon reaches `time`.
    @inline(__always)
    func forEachOpen(
        of slot: UInt32, newest: UInt32, at time: Int64, _ body: (UnsafeMutableRawPointer) -> Void
    ) {
        var next = newest
        var before = Int64.max
        while next != 0 {
            let landmark = memory + Int(next - 1) * layout.size
            let h = LandmarkPool.header(landmark)
            guard h.pointee.user == slot, h.pointee.sequence < before, h.pointee.sequence >= head,
                h.pointee.instant + binEnds[binEnds.count - 1] >= time
            else { return }
            before = h.pointee.sequence
            next = h.pointee.previous
            body(landmark)
        }
    }

    /// The landmarks of a user become another's. A user's landmarks are linked from the newest to the oldest.
    func give(
        of slot: UInt32, newest: UInt32, to heir: UInt32, isHeldOut: Bool, users: borrowing UserTable
    ) {
        var all: [Int64] = []
        let note = { (landmark: UnsafeMutableRawPointer) in all.append(LandmarkPool.header(landmark).pointee.sequence) }
        forEachOpen(of: slot, newest: newest, at: .min, note)
        let given = all.count
        guard given > 0 else { return }
        let header = users.slot(heir).header
        forEachOpen(of: heir, newest: header.pointee.landmark, at: .min, note)
        for sequence in all.prefix(given) {
            let h = LandmarkPool.header(at(sequence))
            h.pointee.user = heir
            if isHeldOut {
                h.pointee.flags |= LandmarkHeader.holdOut
            } else {
                h.pointee.flags &= ~LandmarkHeader.holdOut
            }
        }
        var previous: UInt32 = 0
        for sequence in all.sorted() {
            LandmarkPool.header(at(sequence)).pointee.previous = previous
            previous = link(sequence)
        }
        header.pointee.landmark = previous
    }

    /// A user is held elsewhere: its landmarks mature as what they are, under another name of the user.
    func rename(user slot: UInt32, newest: UInt32, to user: UInt32) {
        forEachOpen(of: slot, newest: newest, at: Int64.min) { LandmarkPool.header($0).pointee.user = user }
    }

    /// The bytes of a user's landmarks whose longest horizon reaches `time`, the oldest first; at most the newest `most`.
    func openLandmarks(of slot: UInt32, newest: UInt32, at time: Int64, most: Int) -> [UInt8] {
        var all: [UnsafeMutableRawPointer] = []
        forEachOpen(of: slot, newest: newest, at: time) { if all.count < most { all.append($0) } }
        return all.reversed().flatMap { UnsafeRawBufferPointer(start: $0, count: layout.size) }
    }

    /// A user is erased: its landmarks keep their place but teach nothing and hold nothing of it any more.
    func forget(user slot: UInt32, newest: UInt32) {
        forEachOpen(of: slot, newest: newest, at: Int64.min) { landmark in
            let h = LandmarkPool.header(landmark)
            let (instant, sequence) = (h.pointee.instant, h.pointee.sequence)
            memset(landmark, 0, layout.size)
            h.pointee.instant = instant
            h.pointee.sequence = sequence
            h.pointee.user = UserTable.none
            h.pointee.priority = .max
        }
    }
}

// MARK: - Snapshot

extension LandmarkPool {
    struct Image: Codable, Equatable {
        var head: Int64
        var tail: Int64
        var frontier: [Int64]
        var standardised: Int64
        var threshold: UInt64
        var capacity: Int
        var landmarkBytes: Int
        var cuts: [LearningCut]
        var passed: Int64?
        var settled: Int64?
        var lastMark: Int64
    }

    var image: Image {
        Image(
            head: head, tail: tail, frontier: frontier, standardised: standardised, threshold: threshold,
            capacity: capacity, landmarkBytes: layout.size, cuts: cuts, passed: passed, settled: settled,
            lastMark: lastMark)
    }

    /// The held landmarks in order, as one or two stretches of memory.
    var regions: [UnsafeRawBufferPointer] {
        let n = Int64(capacity)
        let first = min(count, Int(n - head % n))
        var parts = [UnsafeRawBufferPointer(start: at(head), count: first * layout.size)]
        if first < count { parts.append(UnsafeRawBufferPointer(start: memory, count: (count - first) * layout.size)) }
        return parts
    }

    /// The capacity is that of the image, as the links between landmarks are places in the ring; at most `most`.
    init(
        layout: LandmarkLayout, most: Int, binEnds: [Int64], image: Image, bytes: UnsafeRawBufferPointer
    ) throws {
        let held = bytes.count / layout.size
        let capacity = image.capacity
        guard image.landmarkBytes == layout.size, image.frontier.count == binEnds.count,
            (1...most).contains(capacity), held <= capacity, held * layout.size == bytes.count, image.head >= 1,
            image.head <= Int64.max / 2, image.tail == image.head + Int64(held),
            (image.frontier + [image.standardised]).allSatisfy({ $0 >= image.head && $0 <= image.tail }),
            image.threshold <= 1 << 32, image.cuts.allSatisfy({ (image.head...image.tail).contains($0.tail) })
        else {
            throw SnapshotMismatch(
                "the landmarks were kept with another layout (learning.maxLandmarks, targets or bins changed)"
            )
        }
        self.init(layout: layout, capacity: capacity, binEnds: binEnds)
        head = image.head
        tail = image.tail
        frontier = image.frontier
        standardised = image.standardised
        threshold = image.threshold
        (cuts, passed, settled, lastMark) = (image.cuts, image.passed, image.settled, image.lastMark)
        for i in 0..<held {
            memcpy(at(head + Int64(i)), bytes.baseAddress! + i * layout.size, layout.size)
        }
    }
}
