import Testing

@testable import Engine

/// Windows against a recount of all events ever made, on random streams.
@Suite struct WindowTests {
    struct Event {
        var time: Int64
        var stage: UInt8
        var money: Float
    }

    /// What the documentation of `Panes` says a window holds, counted from scratch.
    static func recount(_ events: [Event], window: Int, now: Int64) -> PaneSums {
        func floorIndex(_ t: Int64, _ hours: Int64) -> Int64 {
            Int64((Double(t) / Double(hours * 3_600_000)).rounded(.down))
        }
        var sums = PaneSums()
        for e in events {
            let inside =
                switch window {
                case 0: floorIndex(e.time, 6) > floorIndex(now, 6) - 4
                case 1: floorIndex(e.time, 24) > floorIndex(now, 24) - 7
                case 2: floorIndex(e.time, 144) > floorIndex(now, 144) - 5
                default: floorIndex(e.time, 432) > floorIndex(now, 432) - 5
                }
            guard inside else { continue }
            var one = PaneSums()
            switch e.stage {
            case 0: one.counts.0 = 1
            case 1: one.counts.1 = 1
            case 2: one.counts.2 = 1
            case 3: one.counts.3 = 1
            case 4:
                one.counts.4 = 1
                one.min = Panes.code(e.money)
                one.max = one.min
            default: break
            }
            one.sum = e.money
            sums.add(one)
        }
        return sums
    }

    @Test(arguments: 0..<16)
    func windowsEqualARecount(seed: Int) {
        var random = RandomNumbers(seed: UInt64(seed))
        let memory = UnsafeMutableRawPointer.allocate(byteCount: Panes.bytes, alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: Panes.bytes)
        let panes = Panes(memory)
        var events: [Event] = []
        var now: Int64 = 1_600_000_000_000 + Int64(random.below(1_000_000)) * 77_777
        var clock = Panes.index(now)
        let windows = UnsafeMutablePointer<PaneSums>.allocate(capacity: 4)
        defer { windows.deallocate() }
        var faults = FirstFaults()
        for _ in 0..<400 {
            // From seconds to months between two events, now and then one that comes late.
            let gap = [1_000.0, 3_600_000, 86_400_000, 700_000_000, 5_000_000_000][random.below(5)]
            let late = random.uniform() < 0.1
            if !late { now += Int64(random.uniform() * gap) }
            let time = late ? now - Int64(random.uniform() * 3_600_000) : now
            let stage = UInt8(random.below(5))
            let money: Float = stage == 4 ? Float(random.below(500)) : 0
            panes.advance(from: clock, to: Panes.index(now))
            clock = max(clock, Panes.index(now))
            panes.add(
                pane: Panes.index(time), clock: clock, stage: stage, money: money, orderTotal: stage == 4 ? money : -1,
                continues: false)
            events.append(Event(time: time, stage: stage, money: money))
            // Read at the event and at a later instant without moving anything.
            for instant in [now, now + Int64(random.uniform() * 9_000_000_000)] {
                panes.windows(clock: clock, at: Panes.index(instant), into: windows)
                for w in 0..<4 {
                    let expected = WindowTests.recount(events, window: w, now: instant)
                    faults.expect(
                        windows[w].counts == expected.counts && abs(windows[w].sum - expected.sum) < 0.01
                            && windows[w].min == expected.min && windows[w].max == expected.max,
                        "window \(w) at \(instant): \(windows[w]), not \(expected)")
                }
            }
        }
        #expect(faults.found == [])
    }

    @Test func countersSaturateInsteadOfWrapping() {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: Panes.bytes, alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: Panes.bytes)
        let panes = Panes(memory)
        for _ in 0..<300 { panes.add(pane: 100, clock: 100, stage: 0, money: 0, orderTotal: -1, continues: false) }
        let windows = UnsafeMutablePointer<PaneSums>.allocate(capacity: 4)
        defer { windows.deallocate() }
        panes.windows(clock: 100, at: 100, into: windows)
        #expect(windows[0].counts.0 == 255)
    }

    @Test func linesOfOneOrderAreOneOrder() {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: Panes.bytes, alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: Panes.bytes)
        let panes = Panes(memory)
        panes.add(pane: 7, clock: 7, stage: 4, money: 10, orderTotal: 10, continues: false)
        panes.add(pane: 7, clock: 7, stage: 4, money: 5, orderTotal: 15, continues: true)
        let windows = UnsafeMutablePointer<PaneSums>.allocate(capacity: 4)
        defer { windows.deallocate() }
        panes.windows(clock: 7, at: 7, into: windows)
        #expect(windows[0].counts.4 == 1)
        #expect(windows[0].sum == 15)
        #expect(windows[0].min == Panes.code(15))
        #expect(windows[0].max == Panes.code(15))
    }
}
