import Foundation
import Testing

@Suite struct CheckEvents {
    private let folder: Folder
    init() throws { folder = try Folder() }

    private func check(_ text: String, _ name: String, _ more: String...) throws -> Run {
        try clvd(["check-events", "--events", folder.write(text, to: name), "--json", "--no-progress"] + more)
    }

    /// Two orders a day of `users` users, each of 10.
    private func shop(_ users: Int) -> String {
        let rows = (0..<2 * users).map { i in
            "2024-01-\(i / users + 1 < 10 ? "0" : "")\(i / users + 1)T10:00:00Z,u\(i % users),purchase,o\(i),10\n"
        }
        return "event_time,user_id,event_type,order_id,amount\n" + rows.joined()
    }

    @Test func aSoundFileIsReady() throws {
        let customers = folder.path("customers.csv")
        let run = try check(
            shop(3) + "2024-01-03T10:00:00Z,\"a \"\"b\"\"\",purchase,x,0.1\n", "shop.csv", "--customers", customers)
        #expect(run.status == 0 && run.errors.isEmpty, "\(run)")
        let found = try run.json
        #expect(found["ready"] as? Bool == true && (found["advice"] as? [String])?.isEmpty == true)
        #expect(found["rows"] as? Int == 7 && found["accepted"] as? Int == 7 && found["customers"] as? Int == 4)
        #expect(found["sorted"] as? Bool == true && found["types"] as? [String: Int] == ["purchase": 7])
        #expect((found["amounts"] as? [String: Any])?["median"] as? Double == 10)
        #expect(found["currencies"] as? [String: Int] == ["USD": 7])
        #expect(
            try folder.read("customers.csv") == """
                user_id,orders,value_to_date,first_event,last_event
                u0,2,20,2024-01-01T10:00:00Z,2024-01-02T10:00:00Z
                u1,2,20,2024-01-01T10:00:00Z,2024-01-02T10:00:00Z
                u2,2,20,2024-01-01T10:00:00Z,2024-01-02T10:00:00Z
                "a ""b\""",1,0.1,2024-01-03T10:00:00Z,2024-01-03T10:00:00Z

                """)
        let words = try clvd("check-events", "--events", folder.path("shop.csv"), "--no-progress")
        #expect(words.status == 0 && words.output.hasSuffix("\nready\n"), "\(words.output)")
    }

    /// A program among the customers is named, whatever becomes of its events.
    @Test(arguments: ["reject", "ignore"]) func aProgramIsNamed(excess: String) throws {
        let rows = (10..<30).map { "2024-01-02T10:\($0):00Z,bot,view,,\n" }.joined()
        let config = try folder.write("state: {maxEventsPerDay: 5, excessEvents: \(excess)}\n", to: "clvd.yaml")
        let found = try check(shop(3) + rows, "bot.csv", "--config", config).json
        #expect(found["accepted"] as? Int == 11 && found["excess_events"] as? Int == 15)
        let capped = try #require(found["capped_customers"] as? [[String: Any]])
        #expect(capped.count == 1 && capped[0]["user"] as? String == "bot" && capped[0]["events"] as? Int == 15)
        let advice = try #require(found["advice"] as? [String])
        #expect(
            advice.contains { $0.hasPrefix("15 events are above state.maxEventsPerDay, most of them of \"bot\" (15)") })
        if excess == "ignore" {
            #expect(found["ignored"] as? Int == 15 && (found["refused"] as? [String: Int]) == [:])
            return
        }
        #expect(found["refused"] as? [String: Int] == ["too_many_events": 15])
        let example = (found["refused_examples"] as? [String: String])?["too_many_events"]
        #expect(
            example == "bot.csv, row 13: the customer has had 5 events on this day (UTC), the most that "
                + "state.maxEventsPerDay allows; is it a person?")
    }

    /// What a guest bought is the customer's from the identify on, and the guest is no customer.
    @Test func guestsBecomeCustomers() throws {
        let file = """
            {"type": "track", "event": "Order Completed", "messageId": "1", "timestamp": "2024-01-01T10:00:00Z", \
            "anonymousId": "web-17", "userId": null, "properties": {"order_id": "g1", "total": 19.5}}
            {"type": "identify", "messageId": "2", "timestamp": "2024-01-01T10:05:00Z", "anonymousId": "web-17", \
            "userId": "ann"}
            {"type": "alias", "messageId": "3", "timestamp": "2024-01-01T10:06:00Z", "previousId": "web-17", "userId": "ann"}
            {"type": "track", "event": "Order Completed", "messageId": "4", "timestamp": "2024-01-02T10:00:00Z", \
            "anonymousId": "web-17", "properties": {"order_id": "g2", "total": 5}}

            """
        let customers = folder.path("joined.csv")
        let run = try check(file, "guests.jsonl", "--format", "segment", "--customers", customers)
        #expect(run.status == 0, "\(run)")
        let found = try run.json
        #expect(found["accepted"] as? Int == 2 && found["identifies"] as? Int == 2 && found["joined_ids"] as? Int == 1)
        #expect(
            try folder.read("joined.csv") == """
                user_id,orders,value_to_date,first_event,last_event
                ann,2,24.5,2024-01-01T10:00:00Z,2024-01-02T10:00:00Z

                """)
    }

    /// Amounts as people write them: each its own reason, and an exit code that says so.
    @Test func refusedRowsAreNamed() throws {
        let amounts = ["4,245.42", "1.234,56", "€12.50", "12", "-1"]
        let rows = amounts.enumerated().map { i, amount in
            #"{"event_time": "2024-01-01T00:0\#(i):00Z", "user_id": "u\#(i)", "event_type": "purchase", "amount": "\#(amount)"}"#
        }
        let run = try check(rows.joined(separator: "\n"), "amounts.jsonl")
        #expect(run.status == 65)
        let found = try run.json
        #expect(found["ready"] as? Bool == false && found["accepted"] as? Int == 1)
        #expect(found["refused"] as? [String: Int] == ["wrong_type": 3, "negative_amount": 1])
        let advice = try #require(found["advice"] as? [String])
        #expect(
            advice.first
                == "3 rows are refused as wrong_type. The first: amounts.jsonl, row 1: field amount (/amount): "
                + "expected a number, got string \"4,245.42\"")
        let words = try clvd("check-events", "--events", folder.path("amounts.jsonl"), "--no-progress")
        #expect(words.status == 65 && words.output.contains("Not ready. To mend:\n- 3 rows are"), "\(words.output)")
    }

    @Test func whatIsMissingIsNamed() throws {
        func advice(_ text: String, _ name: String) throws -> String {
            let run = try check(text, name)
            #expect(run.status == 65, "\(run)")
            return try #require(run.json["advice"] as? [String]).joined(separator: "\n")
        }
        let head = "event_time,user_id,event_type,order_id,amount\n"
        let time = "2024-01-01T00:00:00Z"
        #expect(try advice(head + "\(time),u,view,,\n", "a.csv").hasPrefix("There is no purchase"))
        #expect(try advice(head, "b.csv") == "There are no rows.")
        #expect(try advice(head + "\(time),u,purchase,o,\n", "c.csv").hasPrefix("1 of 1 purchases have no money"))
        #expect(
            try advice(head + "\(time),u,purchase,o,1\n\(time),u,purchas,p,1\n", "d.csv").contains(
                "1 row is of a type \"purchas\" that the format does not know; it knows \"purchase\""))
        let crowd = (0..<40).map { "\(time),\($0 < 20 ? "bot" : "u\($0)"),purchase,o\($0),1\n" }.joined()
        #expect(try advice(head + crowd, "e.csv").hasPrefix("One customer, \"bot\", has 50 % of all events"))
    }

    @Test func anUnsortedFileIsTakenInItsOrder() throws {
        let text = """
            event_time,user_id,event_type,order_id,amount
            2024-03-01T10:00:00Z,a,purchase,o1,10
            2024-01-01T10:00:00Z,b,purchase,o2,20
            2024-02-01T10:00:00Z,c,purchase,o3,30

            """
        let run = try check(text, "export.csv", "--sorted", folder.path("sorted.csv"))
        let found = try run.json
        #expect(run.status == 0 && found["accepted"] as? Int == 3 && found["sorted"] as? Bool == false, "\(run)")
        #expect(found["late"] as? Int == 2 && found["most_behind_seconds"] as? Double == 60 * 86_400)
        #expect((found["advice"] as? [String])?.first?.contains("sort the file by time on the way") == true)
        let sorted = try folder.read("sorted.csv").split(separator: "\n").dropFirst().map {
            $0.split(separator: ",")[1]
        }
        #expect(sorted == ["b", "c", "a"])
        #expect(try check(folder.read("sorted.csv"), "again.csv").json["sorted"] as? Bool == true)

        let config = try folder.write("model: {units: 16, hidden: 16}", to: "clvd.yaml")
        let evaluated = try clvd(
            "evaluate", "--events", folder.path("export.csv"), "--config", config, "--no-progress", "--json")
        #expect(evaluated.status == 0 && evaluated.errors.contains("its rows were sorted by time"), "\(evaluated)")
        #expect(try evaluated.json["accepted"] as? Int == 3)
    }

    @Test func evaluateSaysWhenNothingCanBeUsed() throws {
        let path = try folder.write("user_id,event_time,event_type\n,2024-01-01T00:00:00Z,view\n", to: "bad.csv")
        let config = try folder.write("model: {units: 16, hidden: 16}", to: "clvd.yaml")
        let run = try clvd("evaluate", "--events", path, "--config", config, "--no-progress")
        #expect(run.status == 65)
        #expect(
            run.errors.contains(
                "none of 1 records can be used: most often missing_user (bad.csv, row 2: field user_id (/user_id): missing)"
            ),
            "\(run.errors)")
    }

    /// JSON of another format than the daemon's default, and a CSV export of another one, both live.
    @Test func demoReadsEveryFormat() throws {
        let config = try folder.write("model: {units: 16, hidden: 16}\nlearning: {enabled: false}", to: "clvd.yaml")
        let message =
            #"{"type": "track", "event": "Order Completed", "messageId": "m", "timestamp": "2024-01-01T10:00:00Z", "#
            + #""userId": "b1", "properties": {"order_id": "o1", "total": 40}}"#
        let segment = try folder.write("[\(message)]", to: "segment.json")
        let run = try clvd("demo", "--events", segment, "--format", "segment", "--config", config, "--json")
        #expect(try run.status == 0 && run.json["accepted"] as? Int == 1, "\(run)")
        let rees46 = try folder.write(
            "event_time,event_type,product_id,price,user_id,user_session\n"
                + "2019-11-01 00:00:00 UTC,purchase,1,2.5,7,s\n2019-11-01 00:00:01 UTC,purchase,1,-2.5,8,s\n",
            to: "rees46.csv")
        let other = try clvd("demo", "--events", rees46, "--config", config, "--json")
        #expect(try other.status == 0 && other.json["accepted"] as? Int == 1, "\(other)")
        #expect(try other.json["refused"] as? [String: Int] == ["negative_amount": 1])
        #expect(
            other.errors.contains(
                "Warning: 1 of 2 records (50.0 %) were refused, most often negative_amount (rees46.csv"))
    }

    /// Orders under a name that the format nearly knows bring no money: every command says so.
    @Test func unknownNamesAreTold() throws {
        let config = try folder.write("model: {units: 16, hidden: 16}\nlearning: {enabled: false}", to: "clvd.yaml")
        let lines = ["Magento Order Completed", "Order Completed", "Level Reached"].enumerated().map { i, name in
            #"{"type": "track", "event": "\#(name)", "timestamp": "2024-01-01T10:00:0\#(i)Z", "userId": "u", "#
                + #""properties": {"order_id": "o\#(i)", "total": 40}}"#
        }
        let events = try folder.write(lines.joined(separator: "\n"), to: "events.jsonl")
        for command in ["demo", "evaluate"] {
            let run = try clvd(command, "--events", events, "--format", "segment", "--config", config, "--json")
            #expect(
                try run.status == 0
                    && run.json["unknown_types"] as? [String: Int] == [
                        "Magento Order Completed": 1, "Level Reached": 1,
                    ],
                "\(run)")
            #expect(
                run.errors.contains(
                    #"Warning: 1 of 3 records (33.3 %) have a type that the format does not know, most often "Magento "#
                        + #"Order Completed" (did you mean "Order Completed"?). `clvd check-events"#), "\(run.errors)")
        }
        let words = try clvd(
            "evaluate", "--events", events, "--format", "segment", "--config", config, "--no-progress")
        #expect(
            words.output.contains(#"unknown name          1   "Magento Order Completed" (did you mean"#), "\(words)")
    }

    /// It deletes topics of its own making, never those that settings name.
    @Test(arguments: [
        ["--simulate", "--cleanup"], ["--simulate", "--bootstrap", "x:1", "--config", "c", "--cleanup"],
    ])
    func demoDeletesOnlyItsOwnTopics(arguments: [String]) throws {
        let run = try clvd(["demo"] + arguments)
        #expect(run.status == 64 && run.errors.contains("--cleanup goes with --bootstrap, and not with --config"))
    }
}
