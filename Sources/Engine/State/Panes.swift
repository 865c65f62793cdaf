import Glibc

/// Counts and money of one pane or window.
struct PaneSums {
    /// Events by `FunnelStage`; purchases are orders.
    var counts: (UInt32, UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0, 0)
    /// Net money, base currency.
    var sum: Float = 0
    /// Smallest and largest order as codes of `Panes.code`; 0 when there is none.
    var min: UInt8 = 0
    var max: UInt8 = 0

    mutating func add(_ other: PaneSums) {
        counts.0 += other.counts.0
        counts.1 += other.counts.1
        counts.2 += other.counts.2
        counts.3 += other.counts.3
        counts.4 += other.counts.4
        sum += other.sum
        if other.min != 0 { min = min == 0 ? other.min : Swift.min(min, other.min) }
        max = Swift.max(max, other.max)
    }
}

/// The sliding windows of a user, as 18 panes that grow coarser with age. A pane is kept once, at the finest
/// level whose window still reaches it, and moves as a whole to the next coarser level:
///
/// | level | pane    | panes | window it completes                                    |
/// |-------|---------|-------|--------------------------------------------------------|
/// | 0     | 6 hours | 4     | 1 day: panes q-3…q of the current six hours q           |
/// | 1     | 1 day   | 6     | 7 days: calendar days d-6…d (UTC)                       |
/// | 2     | 6 days  | 4     | 30 days: six-day panes i-4…i                            |
/// | 3     | 18 days | 4     | 90 days: eighteen-day panes j-4…j                       |
///
/// Pane indices count from 1970-01-01 UTC, so a window is exact in terms of panes: it holds the events whose
/// pane index at its level lies in the range above. Counters saturate at the limits of their fields.
struct Panes {
    static let windows = 4
    /// Lengths of the windows, days, the shortest first.
    static let windowDays = [1, 7, 30, 90]
    static let paneHours: Int64 = 6
    static let perDay: Int32 = 4
    static let perSixDays: Int32 = 24
    static let perEighteenDays: Int32 = 72

    private static let sizes = (4, 6, 4, 4)
    static let count = 18
    /// Layout: sums f32[18], views u16[18], browses, carts, checkouts, purchases, min, max u8[18] each.
    static let bytes = count * (4 + 2 + 6)

    let sums: UnsafeMutablePointer<Float>
    let views: UnsafeMutablePointer<UInt16>
    let bytesBase: UnsafeMutablePointer<UInt8>

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer) {
        sums = base.assumingMemoryBound(to: Float.self)
        views = (base + 4 * Panes.count).assumingMemoryBound(to: UInt16.self)
        bytesBase = (base + 6 * Panes.count).assumingMemoryBound(to: UInt8.self)
    }

    /// Index of the pane of six hours that holds an instant.
    @inline(__always)
    static func index(_ timeMs: Int64) -> Int32 {
        Int32(truncatingIfNeeded: Clock.index(timeMs, per: paneHours * Clock.hour))
    }

    /// Log-scale code of an amount: 18 steps per factor e of (1 + amount), so within 3 %; 0 means none.
    @inline(__always)
    static func code(_ amount: Float) -> UInt8 {
        UInt8(Swift.min(255, 1 + (18 * log1pf(Swift.max(0, amount))).rounded()))
    }

    /// log(1 + amount) of a code; 0 for none.
    @inline(__always)
    static func logAmount(_ code: UInt8) -> Float { code == 0 ? 0 : Float(code - 1) / 18 }

    @inline(__always)
    private static func floorDivide(_ x: Int32, _ n: Int32) -> Int32 {
        let q = x / n
        return x % n < 0 ? q - 1 : q
    }

    @inline(__always)
    private static func modulo(_ x: Int32, _ n: Int32) -> Int {
        let r = x % n
        return Int(r < 0 ? r + n : r)
    }

    /// The finest level whose window, at `now`, still reaches pane `x` (both six-hour indices); 4 when none does.
    @inline(__always)
    static func level(of x: Int32, at now: Int32) -> Int {
        if x > now - 4 { return 0 }
        if floorDivide(x, perDay) > floorDivide(now, perDay) - 7 { return 1 }
        if floorDivide(x, perSixDays) > floorDivide(now, perSixDays) - 5 { return 2 }
        if floorDivide(x, perEighteenDays) > floorDivide(now, perEighteenDays) - 5 { return 3 }
        return 4
    }

    /// Position of the pane that holds six-hour index `x` at a level.
    @inline(__always)
    private static func position(_ x: Int32, level: Int) -> Int {
        switch level {
        case 0: modulo(x, 4)
        case 1: 4 + modulo(floorDivide(x, perDay), 6)
        case 2: 10 + modulo(floorDivide(x, perSixDays), 4)
        default: 14 + modulo(floorDivide(x, perEighteenDays), 4)
        }
    }

    /// Six-hour index of the first moment in the pane at a position, given the clock the panes stand at. The
    /// first stands for all: what a coarse pane holds is never newer than its level, and its later moments may
    /// still lie in a finer one.
    @inline(__always)
    private static func paneIndex(position: Int, clock: Int32) -> Int32 {
        func latest(_ now: Int32, _ n: Int32, _ slot: Int) -> Int32 {
            now - Int32(modulo(now - Int32(slot), n))
        }
        switch position {
        case 0..<4: return latest(clock, 4, position)
        case 4..<10: return latest(floorDivide(clock, perDay) - 1, 6, position - 4) * perDay
        case 10..<14: return latest(floorDivide(clock, perSixDays) - 1, 4, position - 10) * perSixDays
        default: return latest(floorDivide(clock, perEighteenDays) - 1, 4, position - 14) * perEighteenDays
        }
    }

    @inline(__always)
    private func isEmpty(_ p: Int) -> Bool {
        views[p] == 0 && sums[p] == 0
            && bytesBase[p] | bytesBase[18 + p] | bytesBase[36 + p] | bytesBase[54 + p] | bytesBase[90 + p] == 0
    }

    @inline(__always)
    private func read(_ p: Int) -> PaneSums {
        var s = PaneSums()
        s.counts = (
            UInt32(bytesBase[p]), UInt32(views[p]), UInt32(bytesBase[18 + p]), UInt32(bytesBase[36 + p]),
            UInt32(bytesBase[54 + p])
        )
        s.sum = sums[p]
        s.min = bytesBase[72 + p]
        s.max = bytesBase[90 + p]
        return s
    }

    private func write(_ p: Int, _ s: PaneSums) {
        bytesBase[p] = UInt8(clamping: s.counts.0)
        views[p] = UInt16(clamping: s.counts.1)
        bytesBase[18 + p] = UInt8(clamping: s.counts.2)
        bytesBase[36 + p] = UInt8(clamping: s.counts.3)
        bytesBase[54 + p] = UInt8(clamping: s.counts.4)
        sums[p] = s.sum
        bytesBase[72 + p] = s.min
        bytesBase[90 + p] = s.max
    }

    /// Moves the panes from where they stand to `now`. Coarse levels go first, which frees their places.
    func advance(from clock: Int32, to now: Int32) {
        guard now > clock else { return }
        var p = Panes.count - 1
        while p >= 0 {
            if !isEmpty(p) {
                let x = Panes.paneIndex(position: p, clock: clock)
                let level = Panes.level(of: x, at: now)
                let target = level < 4 ? Panes.position(x, level: level) : -1
                if target != p {
                    var s = read(p)
                    write(p, PaneSums())
                    if target >= 0 {
                        s.add(read(target))
                        write(target, s)
                    }
                }
            }
            p -= 1
        }
    }

    /// Counts an event in the pane of its own time; `clock` is where the panes stand (at or after it).
    /// - Parameters:
    ///   - stage: funnel stage or 255 for none.
    ///   - money: added to the pane's sum.
    ///   - orderTotal: money of the order so far, or negative when the event is no purchase.
    ///   - continues: whether it is a further line of an order already counted.
    func add(pane x: Int32, clock: Int32, stage: UInt8, money: Float, orderTotal: Float, continues: Bool) {
        let level = Panes.level(of: x, at: clock)
        guard level < 4 else { return }
        let p = Panes.position(x, level: level)
        switch stage {
        case 0: if bytesBase[p] < .max { bytesBase[p] += 1 }
        case 1: if views[p] < .max { views[p] += 1 }
        case 2: if bytesBase[18 + p] < .max { bytesBase[18 + p] += 1 }
        case 3: if bytesBase[36 + p] < .max { bytesBase[36 + p] += 1 }
        case 4: if !continues && bytesBase[54 + p] < .max { bytesBase[54 + p] += 1 }
        default: break
        }
        sums[p] += money
        guard orderTotal >= 0 else { return }
        let code = Panes.code(orderTotal)
        if bytesBase[54 + p] <= 1 && continues {
            bytesBase[72 + p] = code  // the only order of the pane grew
            bytesBase[90 + p] = code
        } else {
            if !continues { bytesBase[72 + p] = bytesBase[72 + p] == 0 ? code : Swift.min(bytesBase[72 + p], code) }
            bytesBase[90 + p] = Swift.max(bytesBase[90 + p], code)
        }
    }

    /// Adds panes that stand at the same clock.
    func add(_ other: Panes) {
        for p in 0..<Panes.count where !other.isEmpty(p) {
            var sums = read(p)
            sums.add(other.read(p))
            write(p, sums)
        }
    }

    /// The days (UTC, since 1970) of the last seven in which something was counted, and whether orders were.
    func forEachDay(clock: Int32, _ body: (_ day: UInt32, _ hasOrders: Bool) -> Void) {
        for p in 0..<10 where !isEmpty(p) {
            let day = Panes.floorDivide(Panes.paneIndex(position: p, clock: clock), Panes.perDay)
            if day >= 0 { body(UInt32(day), bytesBase[54 + p] > 0) }
        }
    }

    /// The windows of 1, 7, 30 and 90 days at `now`, without moving anything; `clock` is where the panes stand.
    func windows(clock: Int32, at now: Int32, into w: UnsafeMutablePointer<PaneSums>) {
        for i in 0..<Panes.windows { w[i] = PaneSums() }
        for p in 0..<Panes.count where !isEmpty(p) {
            let level = Panes.level(of: Panes.paneIndex(position: p, clock: clock), at: now)
            if level < 4 { w[level].add(read(p)) }
        }
        for i in 1..<Panes.windows { w[i].add(w[i - 1]) }
    }
}
