import Foundation

/// A record for an input topic, and what has to come of it.
struct Input {
    enum Fate: Equatable {
        case update, duplicate, ignored, tombstone
        case deadLetter(String)
    }
    var key: [UInt8]?
    var value: [UInt8]?
    var timestampMs: Int64
    var partition: Int32 = 0
    /// Index of the input topic.
    var topic = 0
    var fate = Fate.update
}

/// A small shop, the same for the same seed: users who buy and browse over some months.
struct Shop {
    /// 2024-01-01 00:00 UTC.
    static let begin: Int64 = 1_704_067_200_000
    static let dayMs: Int64 = 86_400_000

    private var state: UInt64
    var now = Shop.begin
    private(set) var count = 0
    let users: Int
    private let gapMs: Int64

    /// - Parameter gapMs: between two events, on average.
    init(seed: UInt64 = 1, users: Int = 60, gapMs: Int64 = 3_600_000) {
        state = seed
        self.users = users
        self.gapMs = gapMs
    }

    mutating func random(_ below: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % UInt64(below))
    }

    static func json(
        user: String, type: String, at time: Int64, id: String? = nil, amount: String? = nil, more: String = ""
    ) -> [UInt8] {
        let id = id.map { #""event_id":"\#($0)","# } ?? ""
        let amount = amount.map { #","amount":\#($0)"# } ?? ""
        return Array(
            #"{\#(id)"event_time_ms":\#(time),"user_id":"\#(user)","event_type":"\#(type)"\#(amount)\#(more)}"#.utf8)
    }

    /// The next event. Every third user buys often; every fourth of them falls silent after two thirds of 4,000 events.
    mutating func next() -> Input {
        now += Int64(1 + random(Int(2 * gapMs)))
        var u = random(users)
        if count > 2_600, u % 4 == 0 { u = (u + 1) % users }
        count += 1
        let isPurchase = random(100) < (u % 3 == 0 ? 40 : 8)
        let value = Self.json(
            user: "user-\(u)", type: isPurchase ? "purchase" : ["view", "page_view", "add_to_cart"][random(3)],
            at: now, id: "event-\(count)", amount: isPurchase ? "\(5 + random(90))" : nil,
            more: #","category":"c\#(random(5))""#)
        return Input(key: Array("user-\(u)".utf8), value: value, timestampMs: now)
    }

    mutating func events(_ n: Int) -> [Input] { (0..<n).map { _ in next() } }
}
