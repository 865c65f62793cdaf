/// Share of rows or purchases above which something has to be mended.
private let tolerated = 0.01

/// Share of the events above which one customer is hardly one.
private let crowd = 0.2

/// Writes what to mend, and after that what is good to know, and whether the file is ready.
func advise(_ f: inout FileFindings, isOfOtherFormat: Bool) {
    var (faults, remarks): ([String], [String]) = ([], [])
    func judge(_ count: Int64, of all: Int64, _ text: String) {
        if count == 0 { return }
        if Double(count) > tolerated * Double(all) { faults.append(text) } else { remarks.append(text) }
    }
    if f.rows == 0 {
        faults.append("There are no rows.")
    } else if f.accepted == 0 {
        faults.append("No row can be used.")
    }
    for (reason, count) in f.refused.sorted(by: { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }) {
        let example = f.refusedExamples[reason].map { ". The first: \($0)" } ?? ""
        judge(count, of: f.rows, "\(rows(count)) refused as \(reason)\(example)\(remedy(reason, f))")
    }
    for (name, count) in f.unknownTypes.sorted(by: { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }) {
        guard let nearest = f.nearestTypes[name] else { continue }
        judge(
            count, of: f.rows,
            "\(rows(count)) of a type \"\(name)\" that the format does not know; it knows \"\(nearest)\". Add the name to "
                + "the types of the format, as another name or as ignore")
    }
    if f.unknownTypesWithMoney > 0, !f.unknownTypes.isEmpty {
        let names = f.unknownTypes.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.prefix(3)
        remarks.append(
            "\(rows(f.unknownTypesWithMoney)) of types that the format does not know and with money, which counts for "
                + "nothing; the most frequent of these types: \(names.map { "\"\($0.key)\"" }.joined(separator: ", "))")
    }
    let purchases = f.types["purchase"] ?? 0
    if f.accepted > 0, purchases == 0 {
        faults.append("There is no purchase. clvd forecasts purchases: look at event_type and types of the format")
    }
    judge(
        f.purchasesWithoutMoney, of: purchases,
        "\(f.purchasesWithoutMoney) of \(purchases) purchases have no money. Map amount, or price and quantity")
    judge(
        f.refundsWithoutPurchase, of: 10 * (f.types["refund"] ?? 0),
        "\(f.refundsWithoutPurchase) refunds have no purchase before them. Is the beginning missing, or the order id?")
    if let top = f.topCustomers.first, f.customers >= 20, top.share > crowd {
        faults.append(
            "One customer, \"\(top.user)\", has \(Int((100 * top.share).rounded())) % of all events. Is it a placeholder, or "
                + "a program?")
    }
    if !f.cappedCustomers.isEmpty {
        let names = f.cappedCustomers.map { "\"\($0.user)\" (\($0.events))" }.joined(separator: ", ")
        remarks.append(
            "\(f.excessEvents) events are above state.maxEventsPerDay, most of them of \(names). Are they people? "
                + "state.excessEvents says what becomes of such events")
    }
    if f.late > 0 {
        let seconds = Int(f.mostBehindSeconds.rounded(.up))
        remarks.append(
            "\(rows(f.late)) too late for a stream, by \(f.mostBehindSeconds) s at most behind the latest event. "
                + "`clvd replay`, `evaluate` and `demo` sort the file by time on the way; `--sorted FILE` writes it sorted. A "
                + "stream takes all of them with time.allowedLatenessSeconds: \(seconds), or with time.lateEvents: accept"
        )
    }
    if isOfOtherFormat { remarks.append("The columns are those of the format \(f.format); set input.format to it") }
    f.ready = faults.isEmpty
    f.advice = faults + remarks
}

/// What settings help, where it is settings.
private func remedy(_ reason: String, _ f: FileFindings) -> String {
    switch reason {
    case "unknown_currency":
        let most = f.currencies.max { $0.value != $1.value ? $0.value < $1.value : $0.key > $1.key }?.key ?? "EUR"
        return
            ". Values are in input.currency.base: set it to \(most) (CLVD_INPUT_CURRENCY_BASE=\(most) before the command "
            + "does it, too), or give rates (input.currency.rates)"
    case "too_large": return ". Write one event a line, or raise input.limits.maxRecordBytes"
    default: return ""
    }
}

private func rows(_ count: Int64) -> String { count == 1 ? "1 row is" : "\(count) rows are" }
