import Foundation
import Testing

@testable import Terminal

@Suite("Numbers, text and tables")
struct FormattingTests {
    @Test(
        arguments: [
            (0, "0"), (999, "999"), (1000, "1,000"), (69_659, "69,659"), (-1_234_567, "-1,234,567"),
            (Int64.min, "-9,223,372,036,854,775,808"),
        ] as [(Int64, String)])
    func countsAreGrouped(value: Int64, text: String) { #expect(Human.count(value) == text) }

    @Test(
        arguments: [
            (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1.0 MiB"), (1_288_490_189, "1.2 GiB"),
            (Int64.max, "8.0 EiB"),
        ] as [(Int64, String)])
    func bytesUseBinaryUnits(value: Int64, text: String) { #expect(Human.bytes(value) == text) }

    @Test(
        arguments: [
            (0, "0 s"), (0.03, "30 ms"), (0.9999, "1.0 s"), (4.24, "4.2 s"), (3, "3 s"), (9.96, "10 s"),
            (59.6, "1 m 0 s"),
            (72, "1 m 12 s"), (3_725, "1 h 2 m"), (180_000, "2 d 2 h"), (-72, "-1 m 12 s"), (.infinity, "–"),
            (.nan, "–"),
        ] as [(Double, String)])
    func durationsShowTwoUnits(seconds: Double, text: String) { #expect(Human.duration(seconds) == text) }

    @Test func amountsRatesAndShares() {
        #expect(Human.money(1234.5) == "1,234.50")
        #expect(Human.money(-0.001) == "0.00")
        #expect(Human.rate(12_345.6) == "12,346 /s")
        #expect(Human.rate(3.44) == "3.4 /s")
        #expect(Human.rate(0) == "0 /s")
        #expect(Human.percent(0.643) == "64.3 %")
        #expect(Human.percent(.nan) == "–")
        #expect(Human.number(0.0341, decimals: 3, signed: true) == "+0.034")
    }

    @Test(arguments: [
        ("plain ~", "plain ~"),
        ("a\u{1b}[2Jb", "a\\x1b[2Jb"),
        ("\u{9b}31m", "\\x9b31m"),
        ("a\r\n\tb\u{7f}", "a\\x0d\\x0a\\x09b\\x7f"),
        ("abc\u{202e}def", "abc\\u{202e}def"),
        ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
        ("e\u{301}\u{302}\u{303}\u{304}", "e\u{301}\u{302}"),
        ("Grüße, 小明", "Grüße, 小明"),
    ])
    func whatATerminalCouldObeyIsSpelledOut(text: String, shown: String) { #expect(Text.safe(text) == shown) }

    @Test func textIsMeasuredAndCutByCells() {
        #expect(Text.width("Grüße") == 5)
        #expect(Text.width("e\u{301}") == 1)
        #expect(Text.width("小明🙂") == 6)
        #expect(Text.cut("小明小明", to: 6) == "小明…")
        #expect(Text.cut("abcdef", to: 6) == "abcdef")
        #expect(Text.cut("abc", to: 0) == "")
        #expect(Text.pad("小明小", to: 6, .right) == "小明小")
        #expect(Text.pad("小明小", to: 5, .right) == "小明…")
        #expect(Text.pad("7", to: 3, .right) == "  7")
    }

    @Test func tableAlignsAndNeverExceedsItsWidth() {
        var table = TextTable(columns: [.init("Snapshot"), .init("Bytes", .right), .init("Note")])
        table.addRow(["000001", "1.2 GiB", "first"])
        table.addRow(["000002", "14 B", "a rather long note\u{1b}[0m"])
        table.addRow(["3"])
        #expect(
            table.render(width: 80)
                == """
                Snapshot    Bytes  Note
                ────────  ───────  ──────────────────────
                000001    1.2 GiB  first
                000002       14 B  a rather long note\\x1b[0m
                3
                """.replacing("──────────────────────\n", with: String(repeating: "─", count: 25) + "\n"))
        for width in 0...60 {
            for line in table.render(width: width).split(separator: "\n") { #expect(Text.width(String(line)) <= width) }
        }
        #expect(table.render(width: 33).contains("1.2 GiB  first"))
    }

    @Test func barsFillByEighthsAndLookCompleteOnlyWhenComplete() {
        #expect(Blocks.bar(0, width: 4) == "    ")
        #expect(Blocks.bar(0.5, width: 4) == "██  ")
        #expect(Blocks.bar(0.53125, width: 4) == "██▏ ")
        #expect(Blocks.bar(0.999, width: 4) == "███▉")
        #expect(Blocks.bar(7, width: 4) == "████")
        #expect(Blocks.bar(.nan, width: 2) == "  ")
    }

    @Test func chartsScaleFromLeastToGreatest() {
        #expect(Blocks.sparkline([0, 1, 2, 3, 4, 5, 6, 7], width: 20) == "▁▂▃▄▅▆▇█")
        #expect(Blocks.sparkline([100, 0, 7], width: 2) == "▁█")
        #expect(Blocks.sparkline([1, .nan, 2], width: 9) == "▁ █")
        #expect(Blocks.sparkline([5, 5], width: 9) == "▅▅")
        #expect(Blocks.sparkline([-Double.greatestFiniteMagnitude, .greatestFiniteMagnitude], width: 9) == "▁█")
        #expect(Blocks.chart([0, 15], width: 2, height: 2) == [" █", "▁█"])
        #expect(Blocks.chart([], width: 2, height: 2).isEmpty)
    }
}
