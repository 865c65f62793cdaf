import Engine

extension Settings {
    static let stateKeys: [SettingKey<Settings>] = [
        SettingKey(
            "time.allowedLatenessSeconds", \.engine.time.allowedLatenessSeconds,
            "How far behind the event time of its partition an event may be.", unit: "seconds",
            .within(0...315_360_000)),
        SettingKey(
            "time.lateEvents", \.engine.time.lateEvents,
            "What becomes of events that are later: dead letters, or counted at their own time."),
        SettingKey(
            "time.lateEventDays", \.engine.time.lateEventDays,
            "With lateEvents accept: how much later than allowed an event may be.", unit: "days", .within(1...3650)),
        SettingKey(
            "state.retentionDays", \.engine.state.retentionDays, "Of users idle longer only totals stay; 0: no limit.",
            unit: "days", .within(0...36_500)),
        SettingKey(
            "state.maxUsers", \.engine.state.maxUsers, "Most users held; of those idle longest only totals stay.",
            .within(1...2_000_000_000)),
        SettingKey("state.hashSeed", \.engine.state.hashSeed, "Seed of the user hash; snapshots keep theirs."),
        SettingKey(
            "state.sessionGapMinutes", \.engine.state.sessionGapMinutes,
            "A longer pause starts a new session when the events carry no session id.", unit: "minutes",
            .within(1...525_600)),
        SettingKey(
            "state.orderGapDays", \.engine.state.orderGapDays,
            "An order id that comes again after more days is a new order, where a record is a line of one.",
            unit: "days", .within(0...36_500)),
        SettingKey(
            "state.subtractRefunds", \.engine.state.subtractRefunds, "Refunds reduce the value of a user."),
        SettingKey(
            "state.maxEventsPerDay", \.engine.state.maxEventsPerDay,
            "Most events of a customer on a day (UTC); 0: any number.", .within(0...65_535)),
        SettingKey(
            "state.excessEvents", \.engine.state.excessEvents,
            "What becomes of those above: dead letters, or counted as ignored."),
    ]
}
