import CEventParser
package import Engine
package import EventInput

/// Takes an event file in as the daemon does, with a small model that does not learn, and says what it holds.
package final class FileInspection {
    private let file: EventFile
    private let engine: Engine
    private var findings = FileFindings()
    private var refusals = Refusals()
    private var types = [Int64](repeating: 0, count: Int(clvd_type_count.rawValue))
    private var amounts = AmountSample()
    /// When each order came first, by the hash of its id; of so many orders.
    private var orders: [UInt64: Int64] = [:]
    private static let mostOrders = 1 << 22
    /// Events above the most of a day by customer; of so many customers.
    private var excess: [String: Int] = [:]
    private static let mostCapped = 10_000
    private let ignoresExcess: Bool

    /// - Parameters:
    ///   - file: of which nothing was read.
    ///   - configuration: of the daemon.
    package init(_ file: EventFile, _ configuration: EngineConfiguration) {
        self.file = file
        // Orders, values and times do not depend on the model.
        var configuration = configuration
        configuration.learning.enabled = false
        configuration.learning.eventLandmarkShare = 0
        configuration.learning.landmarkIntervalDays = Self.never
        configuration.learning.maxLandmarks = 1
        configuration.alerts.enabled = false
        // Their customers are named, whatever becomes of them.
        ignoresExcess = configuration.state.excessEvents == .ignore
        configuration.state.excessEvents = .reject
        // Every customer of the file is there at the end.
        configuration.state.retentionDays = Self.never
        (configuration.model.units, configuration.model.hidden) = (16, 16)
        (configuration.model.categoryBuckets, configuration.model.crossBuckets) = (32, 32)
        engine = Engine(configuration: configuration, topics: ["file"], partitions: 1, executor: SerialExecutor())
        engine.addTask(TaskID(topic: 0, partition: 0))
    }

    /// Days: longer than the years that events may have.
    private static let never = 200 * 365

    /// - Parameters:
    ///   - order: what is known of the order of the events.
    ///   - progress: gets the bytes read.
    /// - Throws: `InputError`, and what `progress` throws.
    package func run(_ order: EventOrder?, progress: (Int64) throws -> Void) throws -> FileFindings {
        file.countUnknownTypes()
        file.countCurrencies()
        while case let events = try file.next(maximum: 8192), !events.isEmpty {
            for (i, event) in events.enumerated() { look(at: event, i) }
            engine.step(events)
            noteRefusals(events)
            try progress(file.bytesRead)
        }
        take(engine.report(prequential: false).counters)
        takeCustomers()
        takeNames()
        if let order {
            findings.sorted = order.behind == 0
            (findings.behind, findings.late) = (order.behind, order.late)
            findings.mostBehindSeconds = Double(order.mostBehindMs) / 1000
        }
        findings.format = file.format.name
        if let q = amounts.quantiles([0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1]) {
            findings.amounts = .init(
                count: amounts.count, least: q[0], p5: q[1], p25: q[2], median: q[3], p75: q[4], p95: q[5], p99: q[6],
                most: q[7], isWhole: amounts.isWhole)
        }
        advise(&findings, isOfOtherFormat: file.isOfOtherFormat)
        return findings
    }

    /// What the engine refused in the last batch.
    private func noteRefusals(_ events: UnsafeBufferPointer<clvd_event>) {
        engine.forEachOutput { entry in
            guard entry.kind == .deadLetter, let text = engine.configuration.explanation(of: entry) else { return }
            let index = Int(entry.record)
            let isExcess = entry.reason == UInt8(clvd_status_too_many_events.rawValue)
            if isExcess {
                let e = events[index]
                let user = String(
                    decoding: UnsafeBufferPointer(start: e.user, count: Int(e.user_length)), as: UTF8.self)
                if excess[user] != nil || excess.count < Self.mostCapped { excess[user, default: 0] += 1 }
            }
            if !(isExcess && ignoresExcess) { refusals.note(entry.reason, "\(file.place(index)): \(text)") }
        }
    }

    private func look(at event: clvd_event, _ index: Int) {
        guard event.status == UInt8(clvd_status_ok.rawValue) else {
            if UInt32(event.status) >= clvd_status_first_rejection.rawValue {
                refusals.add(event.status, file.explain(index))
            }
            return
        }
        types[Int(event.type)] += 1
        findings.firstEventMs = min(findings.firstEventMs ?? .max, event.time_ms)
        findings.lastEventMs = max(findings.lastEventMs ?? .min, event.time_ms)
        if UInt32(event.type) == clvd_type_other.rawValue, event.amount > 0 { findings.unknownTypesWithMoney += 1 }
        if UInt32(event.type) == clvd_type_purchase.rawValue {
            amounts.add(event.amount)
            look(atOrder: event)
        }
    }

    /// A whole order that comes again is a repeat. So is a line of an order that comes at another time than its first: lines
    /// come together.
    private func look(atOrder event: clvd_event) {
        guard event.order_hash != 0, event.order_hash != event.session_hash else { return }
        if let time = orders[event.order_hash] {
            let isWhole = UInt32(event.flags) & clvd_flag_whole_order.rawValue != 0
            if isWhole || time != event.time_ms { findings.repeatedOrders += 1 }
        } else if orders.count < Self.mostOrders {
            orders[event.order_hash] = event.time_ms
        }
    }

    private func take(_ counters: TaskCounters) {
        var reasons = counters.reasons
        if ignoresExcess { reasons[Int(clvd_status_too_many_events.rawValue)] = 0 }
        let refusals = refusals.with(reasons: reasons)
        findings.rows = file.rowsRead
        findings.accepted = counters.accepted
        findings.duplicates = counters.duplicates
        findings.ignored = counters.ignored + (ignoresExcess ? counters.excessEvents : 0)
        findings.excessEvents = counters.excessEvents
        (findings.identifies, findings.joinedIds) = (counters.identifies, counters.joined)
        findings.purchasesWithoutMoney = counters.purchasesWithoutMoney
        findings.refundsWithoutPurchase = counters.refundsWithoutOrder
        findings.refused = refusals.counts
        for reason in refusals.reasons { findings.refusedExamples[reason.name] = reason.example }
        for (code, count) in types.enumerated() where count > 0 {
            findings.types[String(cString: clvd_event_type_name(UInt8(code)))] = count
        }
    }

    private func takeNames() {
        for name in file.unknownTypes.names {
            findings.unknownTypes[name.name] = name.count
            findings.nearestTypes[name.name] = name.nearest
        }
        findings.currencies = file.currencies
    }

    /// Customers that are named.
    private static let namedCustomers = 5

    private func takeCustomers() {
        findings.cappedCustomers = excess.map { .init(user: $0.key, events: $0.value) }
            .sorted { $0.events != $1.events ? $0.events > $1.events : $0.user < $1.user }
            .prefix(Self.namedCustomers).map { $0 }
        var top: [CustomerTotals] = []
        engine.forEachCustomer { customer in
            findings.customers += 1
            if top.count == Self.namedCustomers, let last = top.last, customer.events <= last.events { return }
            top.insert(customer, at: top.firstIndex { $0.events < customer.events } ?? top.count)
            if top.count > Self.namedCustomers { top.removeLast() }
        }
        let all = Double(max(1, findings.accepted))
        findings.topCustomers = top.map { .init(user: $0.user, events: $0.events, share: Double($0.events) / all) }
    }

    /// What is held of every customer at the end.
    package func forEachCustomer(_ body: (CustomerTotals) throws -> Void) rethrows { try engine.forEachCustomer(body) }
}
