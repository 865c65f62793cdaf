import Foundation
import Synchronization
import Testing

@testable import Terminal

@Suite("Progress and screens on terminals and elsewhere")
struct OutputTests {
    /// A pipe that collects what is written, and a clock that is set by hand.
    final class Stage: Sendable {
        let pipe = Pipe()
        private let now = Mutex(100.0)
        var clock: @Sendable () -> Double { { self.now.withLock { $0 } } }

        func advance(_ seconds: Double) { now.withLock { $0 += seconds } }
        func output(tty: Bool, colour: Bool? = nil) -> Output {
            Output(pipe.fileHandleForWriting, isTTY: tty, colour: colour, environment: ["TERM": "xterm"])
        }
        func written() throws -> String {
            try pipe.fileHandleForWriting.close()
            return String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        }
    }

    @Test func barLine() {
        let bar = ProgressBar(label: "Replay", total: 69_659, unit: "events")
        #expect(
            bar.line(done: 34_829, elapsedSeconds: 10, width: 80)
                == "Replay ▕████████▉         ▏  49.9 %  34,829 of 69,659 events  3,483 /s  ETA 10 s")
        #expect(
            bar.line(done: 69_659, elapsedSeconds: 20, width: 60)
                == "Replay ▕██████████████████▏ 100.0 %  69,659 of 69,659 events")
        #expect(bar.line(done: 69_658, elapsedSeconds: 20, width: 30) == "Replay ▕████████████▉▏  99.9 %")
        #expect(bar.line(done: 0, elapsedSeconds: 0, width: 12) == "Replay   0.…")
        for width in 0...140 {
            for done in [0, 1, 69_659, Int64.max] {
                #expect(Text.width(bar.line(done: done, elapsedSeconds: 3, width: width)) <= width)
            }
        }
    }

    @Test func unknownAndEmptyTotals() {
        let open = ProgressBar(label: "Read", total: nil, unit: .bytes)
        #expect(open.line(done: 2_097_152, elapsedSeconds: 2.1, width: 80) == "Read ⠙  2.0 MiB  975.2 KiB/s  2.1 s")
        #expect(
            ProgressBar(label: "Read", total: 0, unit: "events").line(done: 0, elapsedSeconds: 0, width: 60)
                .contains("100.0 %"))
    }

    @Test func progressOnATerminalRepaintsTenTimesASecondAtMost() throws {
        let stage = Stage()
        let reporter = ProgressReporter(
            ProgressBar(label: "Replay", total: 100, unit: "events"), stage.output(tty: true), clock: stage.clock)
        for done in 0..<100 {
            reporter.update(done: Int64(done))
            stage.advance(0.0101)
        }
        reporter.finish()
        reporter.update(done: 100)
        let text = try stage.written()
        #expect(text.count { $0 == "\r" } == 11)
        #expect(text.contains("99.0 %") && text.hasSuffix("\u{1b}[K\n"))
    }

    @Test func progressElsewhereIsAPlainLineEveryFiveSeconds() throws {
        let stage = Stage()
        let reporter = ProgressReporter(
            ProgressBar(label: "Replay", total: 1200, unit: "events"), stage.output(tty: false), clock: stage.clock)
        for second in 0..<12 {
            reporter.update(done: Int64(second * 100))
            stage.advance(1)
        }
        reporter.finish("Done\u{1b}[31m")
        #expect(
            try stage.written() == """
                Replay: 41.6 %, 500 of 1,200 events, 100 /s, ETA 7 s
                Replay: 83.3 %, 1,000 of 1,200 events, 100 /s, ETA 2 s
                Done\\x1b[31m

                """)
    }

    @Test func screenElsewhereIsAStatusLineEveryFiveSeconds() throws {
        let stage = Stage()
        let screen = LiveScreen(stage.output(tty: false, colour: true), clock: stage.clock)
        var state = LiveViewTests.state
        state.title = "demo\u{1b}]0;owned\u{7}"
        for _ in 0..<9 {
            screen.show(state)
            stage.advance(1)
        }
        screen.finish()
        let line =
            "demo\\x1b]0;owned\\x07, learning: 44,790 of 69,659 (64.2 %) events, 12,345 /s, lag 1,204, 23,570 users, "
            + "8,412 learning steps, Gini 30 d 0.712 (naive 0.678), 1,203 alerts, 3 dead letters, "
            + "event time 1998-03-12 13:40\n"
        #expect(try stage.written() == line + line + line)
    }

    @Test func screenOnATerminalRepaintsInPlaceAndRestoresTheCursor() throws {
        let stage = Stage()
        let screen = LiveScreen(stage.output(tty: true, colour: false), clock: stage.clock)
        screen.show(LiveViewTests.state)
        screen.show(LiveViewTests.state)
        screen.finish()
        screen.finish()
        screen.show(LiveViewTests.state)
        let text = try stage.written()
        // A pipe has no size: 100 × 30, one row of them for the cursor.
        let lines = LiveView().lines(LiveViewTests.state, width: 100, height: 29, colour: false)
        let picture = lines.map { $0 + "\u{1b}[K\r\n" }.joined() + "\u{1b}[J"
        let hide = "\u{1b}[?25l\u{1b}[?7l"
        #expect(text == hide + picture + hide + "\r\u{1b}[\(lines.count)A" + picture + "\u{1b}[?7h\u{1b}[?25h")
    }

    @Test func environmentDecidesOnColourAndDumbTerminals() throws {
        let handle = Pipe().fileHandleForWriting
        #expect(Output(handle, isTTY: true, environment: [:]).colour)
        #expect(Output(handle, isTTY: true, environment: ["NO_COLOR": ""]).colour)
        #expect(!Output(handle, isTTY: true, environment: ["NO_COLOR": "1"]).colour)
        #expect(!Output(handle, isTTY: false, colour: true, environment: [:]).colour)
        #expect(!Output(handle, environment: ["TERM": "xterm"]).isTTY)
        // A real terminal: the master side of a pseudo terminal counts as one.
        let master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        try #require(master >= 0)
        let terminal = FileHandle(fileDescriptor: master, closeOnDealloc: true)
        #expect(Output(terminal, environment: ["TERM": "xterm"]).isTTY)
        #expect(!Output(terminal, environment: ["TERM": "dumb"]).isTTY)
    }
}
