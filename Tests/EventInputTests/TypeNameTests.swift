import CEventParser
import Testing

@testable import EventInput

@Suite struct TypeNames {
    private func decode(_ name: String, _ decoder: EventDecoder) -> Decoded {
        decoder.decode(
            #"{"userId":"u","timestamp":"2024-03-01T10:20:30Z","type":"track","event":"\#(name)"}"#)
    }

    @Test(arguments: [
        "Order Completed", "order completed", "order_completed", "ORDER-COMPLETED", "OrderCompleted",
        " Order Completed ", "Completed Order", "completed_order", #"Order\u0020Completed"#,
    ])
    func segmentsNamesInTheWildAreOneName(name: String) throws {
        #expect(decode(name, try decoder("segment")).type == clvd_type_purchase)
    }

    /// Letters beyond ASCII are compared as they are, and a name with anything more is another name.
    @Test(arguments: ["Order Completed!", "Orders Completed", "", "____", "Ordér Completed", "x Order Completed"])
    func otherNamesAreNot(name: String) throws {
        #expect(decode(name, try decoder("segment")).type != clvd_type_purchase)
    }

    @Test func namesAreComparedExactlyUnlessTheFormatSaysOtherwise() throws {
        let event = try decoder().decode(
            #"{"event_time":"2024-01-01T00:00:00Z","user_id":"u","event_type":"Purchase"}"#)
        #expect(event.type == clvd_type_other)
    }

    @Test func namesLongerThanAnyDoNotMatchTheirBeginning() throws {
        let long = String(repeating: "n", count: 256)
        let yaml = CustomFormats.minimal + "\nnames: loose\ntypes: { \(long.dropLast()): view, \(long): click }"
        let error = #expect(throws: FormatError.self) { try EventFormat(yaml: yaml, source: "test") }
        #expect(error?.problems.map(\.key) == ["types.\(long)"])
    }

    @Test func twoWaysToWriteOneNameAreRefusedInATableThatIsLoose() throws {
        let yaml = CustomFormats.minimal + "\nnames: loose\ntypes:\n  order placed: purchase\n  Order_Placed: other"
        let error = #expect(throws: FormatError.self) { try EventFormat(yaml: yaml, source: "test") }
        #expect(error?.problems.map(\.line) == [9])
        #expect(error?.description.contains("there already") == true)
    }

    @Test func everyNameOfABigTableIsFound() throws {
        let names = (0..<3000).map { "name \($0 * 7919 % 3000) of many" }
        let yaml =
            CustomFormats.minimal.replacing("fields:", with: "fields:\n  event_type: [/e]")
            + "\ntypes:\n" + names.map { "  \($0): click\n" }.joined()
        let format = try EventFormat(yaml: yaml, source: "test")
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        for name in names {
            #expect(decoder.decode(#"{"u":"a","t":1700000000,"e":"\#(name)"}"#).type == clvd_type_click)
        }
        #expect(decoder.decode(#"{"u":"a","t":1700000000,"e":"name 3000 of many"}"#).type == clvd_type_other)
    }

    @Test func unknownNamesAreCountedWithTheNearestKnownOne() throws {
        let decoder = try decoder("segment")
        _ = decode("Before Counting", decoder)
        decoder.countUnknownTypes(most: 3)
        for name in [
            "Shop Order Completed", "Order Completd", "Shop Order Completed", "Level Reached", "Order Completed",
            "A Fourth", "A Fifth", "A Fourth",
        ] {
            _ = decode(name, decoder)
        }
        let found = decoder.unknownTypes
        #expect(found.names.map(\.name) == ["Shop Order Completed", "Order Completd", "Level Reached"])
        #expect(found.names.map(\.count) == [2, 1, 1])
        #expect(found.names.map(\.nearest) == ["Order Completed", "Order Completed", nil])
        #expect(found.further == 3)
    }

    /// A rejected record is decoded once more for its sentence: that is no second record.
    @Test func anExplanationIsNoFurtherRecord() throws {
        let yaml =
            CustomFormats.minimal.replacing("fields:", with: "fields:\n  event_type: [/e]") + "\nunknown_types: reject"
        let format = try EventFormat(yaml: yaml, source: "test")
        let decoder = try EventDecoder(format: format, limits: InputLimits(), currency: CurrencyTable())
        decoder.countUnknownTypes()
        #expect(decoder.decode(#"{"u":"a","t":1700000000,"e":"sold"}"#).explanation.contains("sold"))
        #expect(decoder.unknownTypes.names == [.init(name: "sold", count: 1, nearest: nil)])
    }

    @Test func longNamesAreCutBetweenCharacters() throws {
        let decoder = try decoder("segment")
        decoder.countUnknownTypes()
        _ = decode("x" + String(repeating: "é", count: 100), decoder)
        #expect(decoder.unknownTypes.names.map(\.name) == ["x" + String(repeating: "é", count: 63)])
    }
}
